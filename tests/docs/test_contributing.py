"""The recipes of the page for contributors, followed to the letter in a copy of the sources."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "dcrflow" / "docs" / "contributing.md"

if not PAGE.is_file():
    pytest.skip("dcrflow is installed, not checked out", allow_module_level=True)


def recipe(title: str) -> str:
    """The text of a recipe."""
    return PAGE.read_text().partition(f"## Recipe: {title}")[2].partition("\n## ")[0]


def block(text: str, language: str, number: int = 0) -> str:
    """A fenced block of a text."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)[number]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, to be changed by the recipes."""
    place = tmp_path_factory.mktemp("contributed")
    shutil.copytree(ROOT / "dcrflow", place / "dcrflow", ignore=shutil.ignore_patterns("__pycache__", "docs"))
    return place


def run(sources: Path, code: str) -> str:
    """Run Python on the copy, and on the tests' own scenes."""
    path = os.pathsep.join([str(sources), str(ROOT / "tests")])
    command = [sys.executable, "-c", code]
    settings = {"PYTHONPATH": path, "NUMBA_OPT": "0"}  # the kernels are compiled for one template
    done = subprocess.run(command, env=os.environ | settings, cwd=sources, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def change(file: Path, before: str, text: str) -> None:
    """Insert a text before a line that is there once."""
    whole = file.read_text()
    assert whole.count(before) == 1
    file.write_text(whole.replace(before, text + before))


@pytest.mark.parametrize(
    "line", re.findall(r"^- (`.+)$", PAGE.read_text(), flags=re.M), ids=lambda line: line.split("`")[1]
)
def test_the_files_are_there(line: str) -> None:
    name = line.split("`")[1]
    assert (ROOT / name).exists() != ("(new)" in line)
    assert (ROOT / name).parent.is_dir()


def test_paths_in_the_text_are_there() -> None:
    for name in re.findall(r"`((?:dcrflow|tests|deploy|\.ci)/[\w./]+)`", PAGE.read_text()):
        assert (ROOT / name).exists() or f"`{name}` (new)" in PAGE.read_text(), name


def test_a_warper_is_one_entry(sources: Path) -> None:
    text = recipe("add a warper")
    table = sources / "dcrflow/kernels/interpolation.py"
    change(table, "#: All interpolations by name.", block(text, "python", 0) + "\n\n")
    change(table, '        Interpolation("nearest", 2),', f"        {block(text, 'python', 1).strip()},\n")
    code = """
import dcrflow, numpy as np
from scenes import IMAGE, TRACT, coadds, visit
made = dcrflow.build_template(coadds(IMAGE), visit(), warp="cubic").image.values
like = dcrflow.build_template(coadds(IMAGE), visit(), warp="lanczos3").image.values
print(np.nanmax(np.abs(made - like)) < 0.05 * np.nanmax(like), np.isfinite(made).all())
"""
    assert run(sources, code).split() == ["True", "True"]


def test_a_backend_is_one_file_and_one_line(sources: Path) -> None:
    backends = sources / "dcrflow/cluster/backends"
    (backends / "threads.py").write_text(block(recipe("add a cluster backend"), "python"))
    change(backends / "__init__.py", '    "scheduler_file",', '    "threads",\n')
    code = """
import dcrflow
from dcrflow.cluster import KINDS
with dcrflow.connect("threads", workers=2) as client:
    print("threads" in KINDS, client.submit(sum, [1, 2]).result(), len(client.nthreads()))
"""
    assert run(sources, code).split() == ["True", "3", "2"]


def test_an_instrument_is_one_file(sources: Path) -> None:
    mapping = block(recipe("add an instrument or a file format"), "yaml")
    (sources / "dcrflow/stores/visits/instruments/mycam.yaml").write_text(mapping)
    code = """
from dcrflow.stores.visits.mapping import built_in_mappings
print(built_in_mappings()["mycam"].instrument)
"""
    assert run(sources, code).split() == ["MyCam"]
