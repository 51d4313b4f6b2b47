"""What compiled kernels do with vectors of float32, in LLVM's terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

_INDEX = ir.IntType(32)


def pick(builder: Any, a: Any, b: Any, which: Sequence[int]) -> Any:
    """A vector of some elements of two: those of `b` are counted on after those of `a`."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INDEX, len(which)), list(which)))


def spread(builder: Any, vector: ir.VectorType, value: Any) -> Any:
    """A vector with the same value everywhere."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_INDEX, 0))
    return pick(builder, one, one, [0] * vector.count)


def turn(builder: Any, rows: Sequence[Any]) -> list[Any]:
    """The columns of eight rows of eight elements."""
    halves = []
    for four in (rows[:4], rows[4:]):
        low = [pick(builder, four[i], four[i + 1], [0, 8, 1, 9, 4, 12, 5, 13]) for i in (0, 2)]
        high = [pick(builder, four[i], four[i + 1], [2, 10, 3, 11, 6, 14, 7, 15]) for i in (0, 2)]
        near, far = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
        halves.append([pick(builder, two[0], two[1], which) for two in (low, high) for which in (near, far)])
    ends = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
    return [pick(builder, halves[0][n], halves[1][n], which) for which in ends for n in range(4)]
