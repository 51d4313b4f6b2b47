"""Read sky-map configurations of the Rubin pipelines: Python text, which is parsed and never run, or JSON.

``pex_config`` writes a list of assignments (``config.skyMap['rings'].numRings=120``). Files written by hand may also
contain arithmetic on numbers. Anything else in such a file is an error.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from typing import Any

from dcrflow.base.errors import ConfigError, brief

Path = tuple[str, ...]

_ROOTS = ("config", "root")
_OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
_LARGEST = 1e15  # largest number, so that no product takes long

#: Keys of lsst.skymap, and the corresponding keys of dcrflow.
_KEYS = {
    "numRings": "num_rings", "raStart": "ra_start", "raList": "ra", "decList": "dec", "radiusList": "radius",
    "tractOverlap": "tract_overlap", "pixelScale": "pixel_scale", "projection": "projection", "rotation": "rotation",
    "patchInnerDimensions": "patch_inner", "patchInner": "patch_inner", "patchBorder": "patch_border",
    "border": "patch_border", "version": "version",
}  # fmt: skip
_CELLS = {
    "cellInnerDimensions": "cell_inner", "cellBorder": "cell_border", "numCellsPerPatchInner": "cells_per_patch",
    "numCellsInPatchBorder": "cells_in_border",
}  # fmt: skip
_KINDS = ("rings", "discrete")


def is_python_config(text: str) -> bool:
    """Whether a text looks like Python that assigns to ``config``."""
    lines = (line.strip() for line in text.splitlines())
    return any(line.startswith(tuple(f"{root}{mark}" for root in _ROOTS for mark in ".[")) for line in lines)


def parse_python_config(text: str, where: str) -> dict[Path, Any]:
    """Settings of a configuration in Python text, by path; of several assignments to one path the last is used.

    Raises
    ------
    ConfigError
        If the text is not Python, or has anything but imports, assertions and assignments of plain values.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{where} is no Python text of a configuration: {error}") from None
    found: dict[Path, Any] = {}
    for statement in tree.body:
        line = f"{where}, line {statement.lineno}"
        if isinstance(statement, ast.Import | ast.ImportFrom | ast.Assert):
            continue  # pex_config states the class of the configuration in this way
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            raise ConfigError(f"{line}: expected `config.key = value`; a configuration is read, not run")
        try:
            path, value = _target(statement.targets[0]), _value(statement.value)
        except (ValueError, ArithmeticError, RecursionError) as error:
            raise ConfigError(f"{line}: {error}") from None
        found[path] = value
    return found


def _target(node: ast.expr) -> Path:
    """``config.skyMap['rings'].numRings`` as ("skyMap", "rings", "numRings")."""
    path: list[str] = []
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            path.append(node.attr)
            node = node.value
        elif (
            isinstance(node, ast.Subscript)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            path.append(node.slice.value)
            node = node.value
        else:
            raise ValueError(f"{ast.unparse(node)[:80]} is not a key of a configuration")
    if node.id not in _ROOTS or not path:
        raise ValueError(f"expected a key of `config`, found {node.id!r}")
    return tuple(reversed(path))


def _value(node: ast.expr) -> Any:
    """A plain value: a number, a string, a list of these, or arithmetic (+ - * /) on numbers."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(element) for element in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _number(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_number(node.left), _number(node.right))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "float" and len(node.args) == 1:
        return float(_value(node.args[0]))  # pex_config writes NaN as float('nan')
    raise ValueError(f"{ast.unparse(node)[:80]} is no plain value; a configuration is read, not run")


def _number(node: ast.expr) -> float:
    value = _value(node)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        raise ValueError(f"{ast.unparse(node)[:80]} is not a number")
    return value


def flattened(values: Mapping[str, Any]) -> dict[Path, Any]:
    """Nested mappings as settings by path, without the level ``values`` of a choice (pex_config's ``toDict``)."""
    found: dict[Path, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = flattened(value)
            found |= {(path if key == "values" else (str(key), *path)): v for path, v in inner.items()}
        else:
            found[(str(key),)] = value
    return found


def from_lsst(settings: Mapping[Path, Any], where: str) -> dict[str, Any]:
    """Translate settings of lsst.skymap to keys and values of dcrflow's configuration of a sky map.

    Raises
    ------
    ConfigError
        If the kind of sky map or a key is unknown.
    """
    kind, prefix = _chosen(settings, where)
    found: dict[str, Any] = {"kind": kind, "projection": "STG"}
    name = settings.get(("name",))
    if isinstance(name, str) and name != kind:
        found["name"] = name
    for path, value in settings.items():
        key = path[len(prefix) :]
        if path[: len(prefix)] == prefix:
            found |= _translated(key, value, where, strict=bool(prefix))
        elif prefix and path[: len(prefix) - 1] == prefix[:-1] and path[len(prefix) - 1 : len(prefix)] == ("active",):
            found |= _translated(path[len(prefix) :], value, where, strict=True)
    return found


def _chosen(settings: Mapping[Path, Any], where: str) -> tuple[str, Path]:
    """The kind of sky map, and the common path of its settings."""
    named = settings.get(("skyMap", "name"), settings.get(("skyMap",)))
    if named is not None:
        if named not in _KINDS:
            raise ConfigError(f"{where}: sky maps of kind {brief(named)} are not known, expected rings or discrete")
        return named, ("skyMap", named)
    alone = settings.get(("name",))  # the registry field alone, exported with its choices
    if alone in _KINDS and any(path[0] == alone for path in settings):
        return alone, (alone,)
    for kind, key in (("rings", "numRings"), ("discrete", "raList")):
        if (key,) in settings:
            return kind, ()
        if (kind, key) in settings:
            return kind, (kind,)
    raise ConfigError(
        f"{where} does not say which sky map it is: expected `kind`, or `skyMap.name` and its keys as lsst.skymap has "
        "them"
    )


def _translated(key: Path, value: Any, where: str, *, strict: bool) -> dict[str, Any]:
    """One setting of lsst.skymap as keys and values of dcrflow."""
    if len(key) == 1 and key[0] in _KEYS:
        return {_KEYS[key[0]]: value}
    if key in {("tractBuilder",), ("tractBuilder", "name")}:
        return {"layout": value}
    if len(key) == 3 and key[0] == "tractBuilder":
        known = _CELLS if key[1] == "cells" else _KEYS if key[1] == "legacy" else {}
        if key[2] in known:
            return {known[key[2]]: value}
    if strict and key:
        raise ConfigError(f"{where}: unknown key {brief('.'.join(key))} of a sky map")
    if key and key[0] not in {"name", "coaddName", "doWrite", "skyMap"}:
        raise ConfigError(f"{where}: unknown key {brief('.'.join(key))} of a sky map")
    return {}
