"""The layers of the house: imports point down only, and each layer knows only what it may."""

import ast
from functools import cache
from pathlib import Path

import pytest

import dcrflow

ROOT = Path(dcrflow.__file__).parent

#: From the ground up. A module may import from its own layer and from those before it.
LAYERS = [
    ("foundation", ["base", "errors", "compat", "view.cards"]),
    ("kernels", ["kernels"]),
    ("geometry", ["geometry"]),
    ("physics", ["physics"]),
    ("model", ["model", "coadding.cells"]),
    ("figures", ["view", "view.plots", "view.accessor"]),
    ("stores", ["stores"]),
    ("planning", ["planning"]),
    ("views of plans", ["view.diagrams", "view.thumbnails"]),
    ("steps", ["steps", "coadding"]),
    ("graph", ["graph", "coadd_graph"]),
    ("campaign", ["cluster", "campaign", "campaign.verify", "campaign.html", "live"]),
    ("simulation", ["simulate"]),
    ("demo", ["demo"]),
    ("Rubin", ["lsst"]),
    ("public", [""]),
    ("command line", ["cli", "__main__"]),
    ("documentation", ["docs"]),
]

#: What a part of the house must not know.
FORBIDDEN = {
    "kernels": {"dask", "distributed", "xarray", "zarr", "astropy", "dcrflow.geometry", "dcrflow.physics"},
    "geometry": {"dask", "distributed", "xarray", "zarr", "numba"},
    "physics": {"dask", "distributed", "xarray", "zarr", "numba"},
    "stores": {"dask", "distributed", "numba"},
    "planning": {"dask", "distributed", "xarray", "zarr", "numba"},
    "view.accessor": {"dask", "distributed", "zarr", "astropy", "numba"},
    "steps": {"dask", "distributed", "zarr", "astropy"},
    "coadding": {"dask", "distributed", "xarray", "zarr", "astropy"},
    "coadd_graph": {"distributed", "numba", "zarr", "astropy", "scipy"},
    "graph": {"distributed", "numba", "zarr", "astropy", "scipy"},
    "cluster": {"astropy", "numpy", "xarray", "zarr", "numba"},
    "campaign": {"numpy", "astropy", "xarray", "zarr", "numba"},
    "live": {"xarray", "zarr", "numba"},
    "simulate": {"dask", "distributed"},
    "cli": {"numpy", "astropy", "xarray", "zarr", "numba", "dask", "distributed"},
}


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


def part_of(module: str) -> str:
    """The longest name in LAYERS that holds a module: its room, or the module itself where it is placed by name."""
    placed = {part for _, parts in LAYERS for part in parts}
    parts = module.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in placed), parts[0])


def layer_of(module: str) -> int:
    part = part_of(module)
    return next(i for i, (_, parts) in enumerate(LAYERS) if part in parts)


@cache
def imports(path: Path) -> set[str]:
    """Absolute names of what a module imports when it runs; imports for type checking alone do not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_module_has_a_layer() -> None:
    placed = {part for _, parts in LAYERS for part in parts}
    assert {part_of(m) for m in modules()} == placed


@pytest.mark.parametrize("module", modules())
def test_imports_point_down(module: str) -> None:
    known = modules()
    for name in imports(modules()[module]):
        if name != "dcrflow" and not name.startswith("dcrflow."):
            continue
        target = name.removeprefix("dcrflow").removeprefix(".")
        while target and target not in known:
            target = target.rpartition(".")[0]
        assert layer_of(target) <= layer_of(module), f"{module} ({LAYERS[layer_of(module)][0]}) imports {name}"


@pytest.mark.parametrize("module", modules())
def test_layers_know_only_what_they_may(module: str) -> None:
    for name in imports(modules()[module]):
        for banned in FORBIDDEN.get(part_of(module), ()):
            assert not f"{name}.".startswith(f"{banned}."), f"{module} imports {name}"


@pytest.mark.parametrize("module", modules())
def test_only_the_front_door_knows_rubin(module: str) -> None:
    rubin = {n.split(".")[0] for n in imports(modules()[module])} & {"lsst", "astro_metadata_translator", "starlink"}
    if module == "stores.visits.summaries.ast_wcs":
        rubin -= {"starlink"}  # AST, the language of the WCS in afw's files, which is read where those files are
    assert not rubin or part_of(module) == "lsst"


def test_the_plan_knows_kernels_by_their_reach_alone() -> None:
    known = {n for p in (ROOT / "planning").glob("*.py") for n in imports(p) if n.startswith("dcrflow.kernels")}
    assert all(n.startswith("dcrflow.kernels.interpolation.") for n in known)


def test_top_level_folders() -> None:
    top = ROOT.parent
    if not (top / "pyproject.toml").is_file():
        pytest.skip("dcrflow is installed, not checked out")
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=top, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    folders = {line.split("/")[0] for line in listed.stdout.splitlines() if "/" in line}
    assert folders <= {"dcrflow", "tests", "deploy", "notebooks", ".ci"}
