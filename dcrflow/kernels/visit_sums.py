"""Sums over visits of products of their transfer functions and images, by spatial frequency.

Several visits are added row by row, so that the sums are read and written once for all of them. For three terms eight
frequencies are taken at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.fourier import add_adjoint, add_normal
from dcrflow.kernels.vectors import numbers_at, pick, spread

_LANES = 8
_TERMS = 3
_VECTOR = ir.VectorType(ir.FloatType(), _LANES)
# (i, j) of weight conj(T_i) T_j; T_3 is the image
_PAIRS = [(i, j) for i in range(_TERMS) for j in range(i, _TERMS + 1)]
_ROWS = 2 * len(_PAIRS)


@intrinsic
def _add_eight(typing, transfer, apart, image, at, weight, sums, x):  # type: ignore[no-untyped-def]
    """Add the products of eight frequencies of a visit to rows of `sums`, real and imaginary parts from x on.

    `transfer` and `image` are flattened, and `at` is where the frequencies are in the first term, and in the image.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        apart, at, x = (context.cast(builder, arguments[n], signature.args[n], types.intp) for n in (1, 3, 6))

        def parts(array: int, first: Any) -> list[Any]:
            place = numbers_at(context, builder, signature.args[array], arguments[array], first, 2 * _LANES)
            both = builder.load(place, align=4)
            return [pick(builder, both, both, range(n, 2 * _LANES, 2)) for n in (0, 1)]

        values, first = [], at
        for _ in range(_TERMS):
            values.append(parts(0, first))
            first = builder.add(first, apart)
        values.append(parts(2, at))
        weights = spread(builder, _VECTOR, arguments[4])
        weighted = [[builder.fmul(weights, part) for part in value] for value in values[:_TERMS]]
        rows = context.make_array(signature.args[5])(context, builder, arguments[5])
        width = builder.udiv(builder.extract_value(rows.strides, 0), ir.Constant(ir.IntType(64), 4))

        def add(row: int, one: tuple[Any, Any], other: tuple[Any, Any], minus: bool) -> None:
            index = builder.add(builder.mul(width, ir.Constant(ir.IntType(64), row)), x)
            place = numbers_at(context, builder, signature.args[5], arguments[5], index, _LANES)
            total = builder.load(place, align=4)
            for (a, b), to in zip((one, other), (builder.fadd, builder.fsub if minus else builder.fadd), strict=True):
                total = to(total, builder.fmul(a, b, flags=("contract",)), flags=("contract",))
            builder.store(total, place, align=4)

        for n, (i, j) in enumerate(_PAIRS):
            (a, b), (c, d) = weighted[i], values[j]
            add(2 * n, (a, c), (b, d), False)
            if i != j:
                add(2 * n + 1, (a, d), (b, c), True)
        return context.get_dummy_value()

    return types.void(transfer, apart, image, at, weight, sums, x), generate


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def add_visits(transfers, images, weights, normal, right):  # type: ignore[no-untyped-def]
    """Add what `add_normal` and `add_adjoint` add for each of several visits.

    Parameters
    ----------
    transfers : tuple of ndarray of complex64, shape (num_terms, ny, nh)
        Transfer functions T of each visit.
    images : tuple of ndarray of complex64, shape (ny, nh)
        Transform D of each visit's image.
    weights : ndarray of float64, shape (num_visits,)
        Weights w.
    normal : ndarray of complex64, shape (num_terms (num_terms + 1) / 2, ny, nh)
        w conj(T_i) T_j is added.
    right : ndarray of complex64, shape (num_terms, ny, nh)
        w conj(T_i) D is added.
    """
    num, ny, nh = right.shape
    if num != _TERMS:
        for n in range(len(transfers)):
            add_normal(transfers[n], weights[n], normal)
            add_adjoint(transfers[n], images[n], weights[n], right)
        return
    whole = nh // _LANES * _LANES
    sums = np.empty((_ROWS, whole + _LANES), np.float32)
    for y in range(ny):
        sums[:] = 0
        for n in range(len(transfers)):
            transfer, image, w = transfers[n], images[n], np.float32(weights[n])
            light, seen = transfer.view(np.float32).reshape(-1), image.view(np.float32).reshape(-1)
            for x in range(0, whole, _LANES):
                at = 2 * (y * nh + x)
                _add_eight(light, 2 * ny * nh, seen, at, w, sums, x)  # type: ignore[call-arg]
            for x in range(whole, nh):
                row = 0
                for i in range(_TERMS):
                    weighted = w * transfer[i, y, x].conjugate()
                    for j in range(i, _TERMS + 1):
                        product = weighted * (image[y, x] if j == _TERMS else transfer[j, y, x])
                        sums[row, x] += product.real
                        sums[row + 1, x] += product.imag
                        row += 2
        row, pair = 0, 0
        for i in range(_TERMS):
            for j in range(i, _TERMS + 1):
                to = right[i, y] if j == _TERMS else normal[pair, y]
                for x in range(nh):
                    to[x] += complex(sums[row, x], sums[row + 1, x])
                pair += j < _TERMS
                row += 2
