"""Modules that are read in one sitting, functions that are seen at once, and no room that the README does not name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dcrflow

ROOT = Path(dcrflow.__file__).parent
MODULES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}

LINES_OF_A_MODULE = 400
LINES_OF_A_FUNCTION = 60  # without its docstring; of a command without its options, which are a list with their help

#: Modules that are longer, and why they still are.
LONG_MODULES: dict[str, str] = {}

#: Functions that are longer, and why.
LONG_FUNCTIONS: dict[str, str] = {
    "kernels/convolve.py:_tile": "a kernel: writes out one loop in LLVM's language, which is read from top to bottom",
    "kernels/convolve.py:tile": "part of _tile",
    "kernels/convolve.py:generate": "part of _tile",
    "kernels/row_vectors.py:merge_pixels": "a kernel: writes out one step in LLVM's language",
    "kernels/row_vectors.py:generate": "part of merge_pixels",
    "kernels/warp.py:_weighted_sums": "a kernel: writes out one loop in LLVM's language",
    "kernels/warp.py:sums": "part of _weighted_sums",
    "kernels/warp.py:generate": "part of _weighted_sums",
    "kernels/quintic.py:warp_quintic": "a kernel: one pass over the pixels, eight at a time",
    "kernels/warp.py:_warp": "a kernel: one pass over the pixels, whose sums stay in registers",
}


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring, of a command without its options."""
    assert function.end_lineno is not None
    arguments = [*function.args.args, *function.args.kwonlyargs]
    is_command = any("typer." in ast.unparse(a.annotation) for a in arguments if a.annotation)
    first = function.body[0].lineno if is_command else function.lineno
    lines = function.end_lineno - first + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    assert docstring.end_lineno is not None
    return lines - (docstring.end_lineno - docstring.lineno + 1)


def long_functions() -> Iterator[str]:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > LINES_OF_A_FUNCTION:
                yield f"{module}:{node.name}"


def test_modules() -> None:
    found = {module for module, path in MODULES.items() if len(path.read_text().splitlines()) > LINES_OF_A_MODULE}
    assert found - set(LONG_MODULES) == set(), f"split them: they have more than {LINES_OF_A_MODULE} lines"
    assert set(LONG_MODULES) - found == set(), "they are short enough: take them out of LONG_MODULES"


def test_functions() -> None:
    found = set(long_functions())
    assert found - set(LONG_FUNCTIONS) == set(), f"split them: they have more than {LINES_OF_A_FUNCTION} lines"
    assert set(LONG_FUNCTIONS) - found == set(), "they are short enough: take them out of LONG_FUNCTIONS"


def test_a_docstring_does_not_count() -> None:
    (function,) = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n').body
    assert isinstance(function, ast.FunctionDef)
    assert length(function) == 2


def test_the_readme_names_every_room() -> None:
    readme = ROOT.parent / "README.md"
    if not readme.is_file():
        pytest.skip("dcrflow is installed, not checked out")
    table = readme.read_text().partition("| room |")[2].partition("\n\n")[0]
    named = {name.rstrip("/") for row in table.splitlines() for name in re.findall(r"`([\w/.]+)`", row.split("|")[1])}
    rooms = {path.name for path in ROOT.iterdir() if path.name not in ("__init__.py", "__main__.py", "py.typed")}
    assert {room for room in rooms if not room.startswith((".", "__"))} == named
