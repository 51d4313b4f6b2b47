"""Loops over single pixels of visits on a cell: what they show of a sky, and the adjoint of this.

A place is the index of a pixel in the flattened image of a cell, int32. The sky is continued periodically, as Fourier
transforms do, by `pad` pixels on each side. A visit's response, that of its pixel to the sky around it, is a list of
pieces of eight pixels side by side.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.vectors import numbers_at, spread

LANES = 8  #: pixels of a piece
TOGETHER = 4  #: the number of pieces is a multiple of it

_VECTOR = ir.VectorType(ir.FloatType(), LANES)


@intrinsic
def _see_piece(typing, sky, at, values, piece, total, n):  # type: ignore[no-untyped-def]
    """Add eight pixels of the sky, from `at` on, times those of a piece, to row n of `total`."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        at, piece, n = (context.cast(builder, arguments[k], signature.args[k], types.intp) for k in (1, 3, 5))
        lanes, contract = ir.Constant(ir.IntType(64), LANES), ("contract",)
        places = [
            numbers_at(context, builder, signature.args[k], arguments[k], index, LANES)
            for k, index in ((0, at), (2, builder.mul(piece, lanes)), (4, builder.mul(n, lanes)))
        ]
        light, value, sums = (builder.load(place, align=4) for place in places)
        product = builder.fmul(light, value, flags=contract)
        builder.store(builder.fadd(sums, product, flags=contract), places[2], align=4)
        return context.get_dummy_value()

    return types.void(sky, at, values, piece, total, n), generate


@intrinsic
def _spread_piece(typing, values, piece, factor, out, at):  # type: ignore[no-untyped-def]
    """Add a factor times a piece to eight pixels of `out`, from `at` on."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        piece, at = (context.cast(builder, arguments[k], signature.args[k], types.intp) for k in (1, 4))
        first, contract = builder.mul(piece, ir.Constant(ir.IntType(64), LANES)), ("contract",)
        source = numbers_at(context, builder, signature.args[0], arguments[0], first, LANES)
        place = numbers_at(context, builder, signature.args[3], arguments[3], at, LANES)
        factor = spread(builder, _VECTOR, arguments[2])
        product = builder.fmul(factor, builder.load(source, align=4), flags=contract)
        builder.store(builder.fadd(builder.load(place, align=4), product, flags=contract), place, align=4)
        return context.get_dummy_value()

    return types.void(values, piece, factor, out, at), generate


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def see_pixels(sky, offsets, values, places, side, pad, out):  # type: ignore[no-untyped-def]
    """What a visit shows at some places: the sky times its response.

    Parameters
    ----------
    sky : ndarray of float32, shape (num_terms, side + 2 pad, side + 2 pad)
        Padded, contiguous.
    offsets : ndarray of int32, shape (num_pieces,)
        Where the pieces are in the flattened sky, seen from a pixel whose place there is counted without padding.
    values : ndarray of float32, shape (num_pieces, LANES)
        The response; the number of pieces is a multiple of `TOGETHER`.
    places : ndarray of int32, shape (n,)
        Pixels.
    side, pad : int
        Of the cell, and of the padding.
    out : ndarray of float32, shape (n,)
        Overwritten.
    """
    light, total = sky.reshape(-1), np.empty((TOGETHER, LANES), np.float32)
    for n in range(len(places)):
        origin = places[n] // side * (side + 2 * pad) + places[n] % side
        total[:] = 0
        for first in range(0, len(offsets), TOGETHER):
            for k in range(TOGETHER):
                piece = np.uint64(first + k)
                _see_piece(light, origin + offsets[piece], values, piece, total, k)  # type: ignore[call-arg]
        out[n] = total.sum()


@njit(cache=True, nogil=True)
def spread_pixels(vector, offsets, values, places, side, pad, out):  # type: ignore[no-untyped-def]
    """Add the adjoint of `see_pixels` to `out`, which has the shape of the padded sky."""
    light = out.reshape(-1)
    for n in range(len(places)):
        origin, factor = places[n] // side * (side + 2 * pad) + places[n] % side, vector[n]
        for piece in range(len(offsets)):
            at = origin + offsets[np.uint64(piece)]
            _spread_piece(values, piece, factor, light, at)  # type: ignore[call-arg]


@njit(cache=True, nogil=True)
def pad_periodically(images, pad, out):  # type: ignore[no-untyped-def]
    """Continue square images of shape (n, side, side) by `pad` pixels on each side, to `out`."""
    num, side, _ = images.shape
    for j in range(num):
        for y in range(side + 2 * pad):
            line, to = images[j, (y - pad) % side], out[j, y]
            to[:pad] = line[side - pad :]
            to[pad : side + pad] = line
            to[side + pad :] = line[:pad]


@njit(cache=True, nogil=True)
def fold(padded, pad, out):  # type: ignore[no-untyped-def]
    """The adjoint of `pad_periodically`: add what lies in the padding to the pixels that it stands for."""
    num, side, _ = out.shape
    out[:] = 0
    for j in range(num):
        for y in range(side + 2 * pad):
            line, to = padded[j, y], out[j, (y - pad) % side]
            to += line[pad : side + pad]
            to[side - pad :] += line[:pad]
            to[:pad] += line[side + pad :]


@njit(cache=True, nogil=True)
def crop_round(images, reach, out):  # type: ignore[no-untyped-def]
    """Pixels at most `reach` from pixel 0 of periodic square images, to shape (n, 2 reach + 1, 2 reach + 1)."""
    num, side, _ = images.shape
    for n in range(num):
        for y in range(2 * reach + 1):
            line, to = images[n, (y - reach) % side], out[n, y]
            to[:reach] = line[side - reach :]
            to[reach:] = line[: reach + 1]
