"""Memory that is lent again, and to whom."""

import ast
from collections import defaultdict
from pathlib import Path

import numpy as np

import dcrflow
from dcrflow.base.workspace import NEW_MEMORY, UNSET_MEMORY, Workspace


def test_the_same_memory_for_the_same_name() -> None:
    workspace = Workspace()
    first = workspace.array("a", (3, 4), np.float64)
    first.fill(7)
    smaller = workspace.array("a", (2, 5), np.float32)
    assert np.shares_memory(first, smaller)
    assert (smaller.shape, smaller.dtype) == ((2, 5), np.float32)
    assert not np.shares_memory(first, workspace.array("b", (3, 4), np.float64))
    larger = workspace.array("a", (30, 4), np.float64)
    assert not np.shares_memory(first, larger), "what was lent before stays as large as it was"
    assert not np.shares_memory(larger, Workspace().array("a", (30, 4), np.float64))


def test_new_memory_is_lent_once_and_zero() -> None:
    first, second = (NEW_MEMORY.array("a", (3, 4), np.int32) for _ in range(2))
    assert not np.shares_memory(first, second)
    assert not first.any()
    first, second = (UNSET_MEMORY.array("a", (3, 4), np.int32) for _ in range(2))
    assert not np.shares_memory(first, second)


def test_a_name_belongs_to_one_module() -> None:
    """Else one module would overwrite what another still uses."""
    modules = defaultdict(set)
    for path in Path(dcrflow.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "array" and len(node.args) == 3:
                name = node.args[0]
                text = name.values[0] if isinstance(name, ast.JoinedStr) else name
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    assert ":" in text.value, f"{path}: begin a workspace's names with the module's and a colon"
                    modules[text.value.partition(":")[0]].add(path.name)
    assert set(modules) > {"match", "prefilter", "warp", "mosaic"}
    assert {prefix: files for prefix, files in modules.items() if len(files) > 1} == {}
