"""Private interfaces of dependencies are used in `dcrflow.compat` only, and each module there says why."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dcrflow

ROOT = Path(dcrflow.__file__).parent
MODULES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}
#: Only `dcrflow.lsst` may import lsst, so what is private there has its reasons in that room.
PRIVATE_OF_LSST = "lsst/datasets.py"
ELSEWHERE = [name for name in MODULES if not name.startswith("compat/") and name != PRIVATE_OF_LSST]
COMPAT = [name for name in MODULES if name.startswith("compat/") and not name.endswith("__init__.py")]

#: Modules without an underscore that their projects do not document as theirs to import.
UNDOCUMENTED = {
    "astropy.wcs.wcsapi.fitswcs", "dask.array.core", "dask.base", "distributed.batched", "distributed.client",
    "distributed.core", "distributed.scheduler", "distributed.utils", "distributed.worker", "numba.core",
    "numba.np", "tornado.platform", "xarray.core", "xarray.namedarray", "zarr.core",
}  # fmt: skip

#: Documented after all: numba's guide to writing intrinsics imports it.
DOCUMENTED = {"numba.core.cgutils"}

#: Underscored, but documented.
OF_OS = {"os._exit"}

#: Underscored, but documented: methods of named tuples.
NAMED_TUPLE = {"_replace", "_asdict", "_fields", "_make"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def own_names(tree: ast.AST) -> set[str]:
    """Private names that a module gives to its own functions, classes, attributes and variables."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            found.add(node.attr)
    return found


def private_uses(source: str) -> Iterator[str]:
    """Imports of and accesses to private names that are not the module's own or dcrflow's."""
    tree = ast.parse(source)
    own = own_names(tree) | NAMED_TUPLE
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not f"{node.module}.".startswith("dcrflow."):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if not alias.name.startswith("dcrflow.")]
        else:
            names = []
        for name in names:
            undocumented = any(f"{name}.".startswith(f"{u}.") for u in UNDOCUMENTED) and name not in DOCUMENTED
            if undocumented or any(is_private(part) for part in name.split(".") if name != "_thread"):
                yield f"line {node.lineno}: import of {name}"
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            inherited = ast.unparse(node.value) in ("self", "cls")  # a base class offers it to its subclasses
            names = [] if inherited or ast.unparse(node) in OF_OS else [ast.unparse(node)]
            yield from (f"line {node.lineno}: {name}" for name in names)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr", "delattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(str(name.value)) and name.value not in own:
                yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("module", ELSEWHERE)
def test_no_private_names_of_dependencies(module: str) -> None:
    assert list(private_uses(MODULES[module].read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "from dask._task_spec import Task",
        "import zarr.storage._common",
        "from zarr.core.sync import sync",
        "from zarr.core import codec_pipeline",
        "from distributed.utils import get_mp_context",
        "from multiprocessing import forkserver\nforkserver._forkserver",
        "getattr(store, '_store_dict')",
        "calibration._isConstant",
    ],
)
def test_the_check_finds_them(source: str) -> None:
    assert len(list(private_uses(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from numba.core import cgutils",
        "import zarr.storage",
        "a._replace(b=1)",
        "class A:\n    _b = 1\nA()._b",
        "__file__",
    ],
)
def test_the_check_allows_the_rest(source: str) -> None:
    assert list(private_uses(source)) == []


@pytest.mark.parametrize("module", COMPAT)
def test_each_says_why_and_for_how_long(module: str) -> None:
    text = ast.get_docstring(ast.parse(MODULES[module].read_text())) or ""
    headings = re.findall(r"^(\w.*[^.])$\n(?=    )", text, flags=re.M)
    assert headings == ["Why", "Public ways tried", "Versions", "Remove when"]


@pytest.mark.parametrize("module", COMPAT)
def test_it_is_used(module: str) -> None:
    name = f"dcrflow.compat.{Path(module).stem}"
    assert any(f"from {name} import" in MODULES[other].read_text() for other in ELSEWHERE), f"{name} can be removed"
