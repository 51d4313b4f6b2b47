"""A small language for conditions on columns; expressions are parsed and never executed as Python.

It has column names, numbers, strings, comparisons (chained, ``in``, ``not in``), ``and``, ``or``, ``not``,
``+ - * /``, ``abs`` and ``isnan``. Python's parser makes the syntax tree, and this module evaluates it. Any other node
is an error that names it.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_LONGEST = 1 << 16  # characters; a list of several thousand visits must fit
_DEEPEST = 100  # levels of nesting

Kind = Literal["number", "text", "truth"]

_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
_INSTEAD = {  # what users of pandas or numpy write
    "BitAnd": "'&' is not understood, write and", "BitOr": "'|' is not understood, write or",
    "Invert": "'~' is not understood, write not", "Is": "'is' is not understood, write ==",
    "IsNot": "'is not' is not understood, write !=", "Pow": "'**' is not understood", "Mod": "'%' is not understood",
    "FloorDiv": "'//' is not understood", "MatMult": "'@' is not understood", "BitXor": "'^' is not understood",
    "LShift": "'<<' is not understood", "RShift": "'>>' is not understood", "NamedExpr": "':=' is not understood",
    "IfExp": "'if' is not understood", "Lambda": "lambda is not understood",
    "JoinedStr": "an f-string is not understood",
}  # fmt: skip


def holds(condition: str, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Evaluate a condition for each row.

    Parameters
    ----------
    condition : str
        A condition in the language of this module. Every name is that of a column.
    columns : mapping of str to ndarray
        Columns of equal length: numbers, strings or booleans. Comparison and arithmetic follow numpy.

    Returns
    -------
    ndarray of bool
        Whether the condition is true; one element per row.

    Raises
    ------
    ValueError
        If the condition is not understood; names the part that is not.
    """
    if len(condition) > _LONGEST:
        raise ValueError(f"it has {len(condition)} letters, expected {_LONGEST} at most")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of a string with an invalid backslash escape
            tree = ast.parse(condition.strip(), mode="eval").body
    except SyntaxError as error:
        what = "'@' is not understood" if "@" in condition else error.msg
        raise ValueError(f"{what}, at letter {error.offset or 1}") from None
    except (MemoryError, RecursionError):
        raise ValueError("it is nested too deep") from None
    number = len(next(iter(columns.values()), ()))
    with np.errstate(all="ignore"):
        kind, values = _Conditions(columns).value(tree, 0)
    if kind != "truth":
        raise ValueError("it is not a condition that is true or false for each row")
    return np.broadcast_to(np.asarray(values, np.bool_), (number,))


class _Conditions:
    """Evaluates expressions to a value and its kind; one method per kind of node."""

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._columns = columns

    def value(self, node: ast.expr, depth: int) -> tuple[Kind, Any]:
        """The value of an expression."""
        if depth > _DEEPEST:
            raise ValueError("it is nested too deep")
        match node:
            case ast.Name():
                return self._column(node.id)
            case ast.Constant():
                return _literal(node.value)
            case ast.BoolOp():
                parts = [self._truth(part, depth) for part in node.values]
                combine = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
                found = parts[0]
                for part in parts[1:]:
                    found = combine(found, part)
                return "truth", found
            case ast.UnaryOp(op=ast.Not()):
                return "truth", np.logical_not(self._truth(node.operand, depth))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                value = self._number(node.operand, depth)
                return "number", -value if isinstance(node.op, ast.USub) else value
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                left, right = self._number(node.left, depth), self._number(node.right, depth)
                return "number", _arithmetic(_ARITHMETIC[type(node.op)], left, right)
            case ast.Compare():
                return "truth", self._comparison(node, depth)
            case ast.Call():
                return self._call(node, depth)
        raise _not_understood(node)

    def _column(self, name: str) -> tuple[Kind, Any]:
        if name not in self._columns:
            raise ValueError(f"there is no column {name!r}")
        values = self._columns[name]
        kind: Kind = "truth" if values.dtype.kind == "b" else "text" if values.dtype.kind == "U" else "number"
        return kind, values

    def _number(self, node: ast.expr, depth: int) -> Any:
        return self._of_kind("number", node, depth)

    def _truth(self, node: ast.expr, depth: int) -> Any:
        return self._of_kind("truth", node, depth)

    def _of_kind(self, wanted: Kind, node: ast.expr, depth: int) -> Any:
        kind, value = self.value(node, depth + 1)
        if kind != wanted:
            expected = "a number" if wanted == "number" else "true or false"
            raise ValueError(f"{_name_of(node)} is not {expected}")
        return value

    def _comparison(self, node: ast.Compare, depth: int) -> Any:
        found: Any = True
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                one = self._is_in(left, right, depth)
                one = np.logical_not(one) if isinstance(op, ast.NotIn) else one
            elif type(op) in _COMPARE:
                one = self._compared(_COMPARE[type(op)], left, right, depth)
            else:
                raise _not_understood(op)
            found, left = np.logical_and(found, one), right
        return found

    def _compared(self, compare: Callable[[Any, Any], Any], left: ast.expr, right: ast.expr, depth: int) -> Any:
        (kind, a), (other, b) = self.value(left, depth + 1), self.value(right, depth + 1)
        if kind != other:
            raise ValueError(f"{_name_of(left)} ({kind}) cannot be compared with {_name_of(right)} ({other})")
        return compare(a, b)

    def _is_in(self, left: ast.expr, right: ast.expr, depth: int) -> Any:
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            raise ValueError(f"in {_name_of(right)} is not understood, write a list, as in [1, 2]")
        kind, value = self.value(left, depth + 1)
        literals: list[Any] = []
        found: Any = False
        for element in right.elts:
            other, one = self.value(element, depth + 1)
            if kind != other:
                raise ValueError(f"{_name_of(left)} ({kind}) cannot be compared with {_name_of(element)} ({other})")
            if isinstance(one, np.ndarray):
                found = np.logical_or(found, value == one)
            else:
                literals.append(one)
        of_one_type = {type(one) for one in literals}
        for each in of_one_type:  # integers apart from other numbers: numpy would convert a mixed list to floats
            found = np.logical_or(found, np.isin(value, [one for one in literals if type(one) is each]))
        return found

    def _call(self, node: ast.Call, depth: int) -> tuple[Kind, Any]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in ("abs", "isnan"):
            raise ValueError(f"a call of {_name_of(node.func)} is not understood, only calls of abs and isnan are")
        if len(node.args) != 1 or node.keywords or isinstance(node.args[0], ast.Starred):
            raise ValueError(f"{name} takes one number")
        value = self._number(node.args[0], depth)
        return ("number", abs(value)) if name == "abs" else ("truth", np.isnan(value))


def _literal(value: object) -> tuple[Kind, Any]:
    if isinstance(value, bool):
        return "truth", value
    if isinstance(value, str):
        return "text", value
    if isinstance(value, float):
        return "number", value
    if isinstance(value, int):
        try:
            return "number", value if abs(value) < 1 << 63 else float(value)
        except OverflowError:
            return "number", float("inf")
    raise ValueError(f"{value!r} is not understood, only numbers and strings are")


def _arithmetic(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """Arithmetic as in numpy; raises if integers would overflow."""
    integers = all(np.asarray(v).dtype.kind in "iu" for v in (left, right))
    if not integers or operation is operator.truediv:
        return operation(np.asarray(left, np.float64), np.asarray(right, np.float64))
    about = operation(np.asarray(left, np.float64), np.asarray(right, np.float64))
    if np.any(np.abs(about) >= 2.0**63):
        raise ValueError("it makes integers beyond 2^63")
    return operation(np.asarray(left, np.int64), np.asarray(right, np.int64))


def _not_understood(node: ast.AST) -> ValueError:
    for inner in (getattr(node, "op", None), node):
        words = _INSTEAD.get(type(inner).__name__)
        if words is not None:
            return ValueError(words)
    return ValueError(f"{_name_of(node)} is not understood")


def _name_of(node: ast.AST) -> str:
    """The name of a part of an expression, for messages."""
    try:
        words = ast.unparse(node)
    except (ValueError, RecursionError):
        words = type(node).__name__
    return words if len(words) <= 60 else f"{words[:57]}..."
