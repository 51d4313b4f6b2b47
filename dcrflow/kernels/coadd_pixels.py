"""Loops over the pixels of a visit on a cell of a coadd: holes, outliers, the equations of self-calibration."""

from __future__ import annotations

import numpy as np

from dcrflow.compat.numba_cache import njit

_ALL_VALID = np.uint64(0x0101010101010101)  # eight of bool


@njit(cache=True, nogil=True)
def add_pixels(image, holes, weight, light, lacked, number):  # type: ignore[no-untyped-def]
    """Add a visit's pixels to the sum of weighted light; and its weight, and 1, where it has none, to two other sums.

    The image is 0 at the places `holes`, which are indices of the flattened image.
    """
    w, pixels, sums = np.float32(weight), image.reshape(-1), light.reshape(-1)
    for i in range(len(pixels)):
        sums[i] += w * pixels[i]
    weights, numbers = lacked.reshape(-1), number.reshape(-1)
    for hole in holes:
        at = np.uint64(hole)
        weights[at] += weight
        numbers[at] += np.int16(1)


@njit(cache=True, nogil=True)
def blank_holes(image, valid):  # type: ignore[no-untyped-def]
    """Pixels that are not finite become invalid, and invalid ones 0, in place."""
    height, width = image.shape
    for y in range(height):
        for x in range(width):
            good = valid[y, x] & (abs(image[y, x]) < np.float32(np.inf))
            valid[y, x] = good
            image[y, x] = image[y, x] if good else np.float32(0)


@njit(cache=True, nogil=True)
def holes_of(valid):  # type: ignore[no-untyped-def]
    """Places of the pixels that are not valid, int32, as indices of the flattened image."""
    flat, number = valid.reshape(-1), 0
    eights = flat[: len(flat) // 8 * 8].view(np.uint64)  # few of which have any
    for i in range(len(eights)):
        if eights[i] != _ALL_VALID:
            for k in range(8 * i, 8 * i + 8):
                number += not flat[k]
    for k in range(8 * len(eights), len(flat)):
        number += not flat[k]
    out, at = np.empty(number + 1, np.int32), 0  # and one place to write to beyond the last
    for i in range(len(eights)):
        if eights[i] != _ALL_VALID:
            for k in range(8 * i, 8 * i + 8):
                out[at] = k
                at += not flat[k]
    for k in range(8 * len(eights), len(flat)):
        out[at] = k
        at += not flat[k]
    return out[:number]


@njit(cache=True, nogil=True)
def subtract_model(image, valid, model, out):  # type: ignore[no-untyped-def]
    """Image minus model where the image is valid, 0 elsewhere."""
    height, width = image.shape
    for y in range(height):
        for x in range(width):
            out[y, x] = image[y, x] - model[y, x] if valid[y, x] else np.float32(0)


@njit(cache=True, nogil=True)
def interpolate(values, at, out):  # type: ignore[no-untyped-def]
    """Values given at 0, 1, 2, ..., interpolated linearly to places that are not beyond the last of them."""
    height, width = at.shape
    for y in range(height):
        for x in range(width):
            n = min(int(at[y, x]), len(values) - 2)
            part = at[y, x] - n
            out[y, x] = values[n] + part * (values[n + 1] - values[n])


@njit(cache=True, nogil=True)
def add_scaled(what, factor, to, out):  # type: ignore[no-untyped-def]
    """out = to + factor * what, for contiguous arrays of complex64; `out` may be one of the others."""
    one, other, sums = what.reshape(-1), to.reshape(-1), out.reshape(-1)
    f = np.float32(factor)
    for i in range(len(one)):
        sums[i] = other[i] + f * one[i]


@njit(cache=True, nogil=True)
def largest_around(image, reach, out):  # type: ignore[no-untyped-def]
    """Largest value of an image, which has no NaN, in a square of 2 reach + 1 pixels around each; `out` is filled."""
    height, width = image.shape
    rows = np.empty((height, width), np.float32)
    for y in range(height):
        rows[y] = image[y]
        for d in range(1, min(reach, width - 1) + 1):
            for x in range(width - d):
                rows[y, x] = max(rows[y, x], image[y, x + d])
            for x in range(d, width):
                rows[y, x] = max(rows[y, x], image[y, x - d])
    for y in range(height):
        out[y] = rows[y]
        for yy in range(max(0, y - reach), min(height, y + reach + 1)):
            for x in range(width):
                out[y, x] = max(out[y, x], rows[yy, x])


@njit(cache=True, nogil=True, error_model="numpy")
def note_deviation(flux, light, scale, least, model_error, gain, place, within, largest, whose):  # type: ignore[no-untyped-def]
    """Keep, at each pixel, the visit that deviates most.

    Parameters
    ----------
    flux : ndarray of float32, shape (side, side)
        Flux of a point source in a visit's residual, in its standard errors from the sky.
    light : ndarray of float32, shape (side, side)
        Flux of a point source in the model.
    scale : float
        Standard error of the flux from the sky, in the unit of `light`.
    least : float
        Deviations below this are not kept, standard errors.
    model_error : float
        Error of the model as a fraction of its light.
    gain : float
        Photon noise: variance per unit of light.
    place : int
        Number of the visit.
    within : tuple of int
        (y0, y1, x0, x1) of the pixels to look at.
    largest, whose : ndarray, shape (side, side)
        Updated: the largest deviation, in standard errors, and the number of the visit.

    Returns
    -------
    float
        The largest deviation of this visit; 0 if none is kept.
    """
    y0, y1, x0, x1 = within
    most = np.float32(0)
    for y in range(y0, y1):
        for x in range(x0, x1):
            if abs(flux[y, x]) <= least:  # the sky alone explains most pixels
                continue
            bright = light[y, x] / np.float32(scale)
            variance = np.float32(1) + (np.float32(model_error) * bright) ** 2
            variance += np.float32(gain / scale) * bright
            found = abs(flux[y, x]) / np.sqrt(variance)
            most = max(most, found)
            if found > largest[y, x]:
                largest[y, x] = found
                whose[y, x] = place
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def note_by_square(flux, light, scale, least, model_error, gain, place, squares, largest, whose, most):  # type: ignore[no-untyped-def]
    """`note_deviation` in several squares, shape (num, 4); `most` becomes the largest deviation in each."""
    for n in range(len(squares)):
        y0, y1, x0, x1 = squares[n]
        within = (y0, y1, x0, x1)
        most[n] = note_deviation(flux, light, scale, least, model_error, gain, place, within, largest, whose)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def calibration_sums(residual, model, valid, within, variance, model_error, out):  # type: ignore[no-untyped-def]
    """Normal equations of (scale, dy, dx, background) of a visit, shape (4, 5); `dcrflow.coadding.calibrate`.

    Parameters
    ----------
    residual, model : ndarray of float32, shape (side, side)
        Data minus model, and the model.
    valid : ndarray of bool, shape (side, side)
        Pixels that count.
    within : tuple of int
        (y0, y1, x0, x1) of the pixels to sum over; 4 or more pixels from the edges.
    variance : float
        Of the sky.
    model_error : float
        Error of the model as a fraction of its light.
    out : ndarray of float64, shape (4, 5)
        Overwritten.

    Returns
    -------
    float
        Sum of the squares of the residual over the valid pixels.
    """
    y0, y1, x0, x1 = within
    out[:] = 0.0
    v, e = np.float32(variance), np.float32(model_error)
    total = 0.0
    width = x1 - x0
    w, dy, dx = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(y0, y1):
        # in several loops, because a compiler vectorises only those with few sums and few arrays
        m, r, good = model[y, x0:x1], residual[y, x0:x1], valid[y, x0:x1]
        for i in range(width):
            w[i] = np.float32(good[i]) / (v + (e * m[i]) ** 2)
        _down(model, y, x0, dy)
        _across(model, y, x0, dx)
        mm = my = mx = m1 = np.float32(0)
        for i in range(width):
            wm = w[i] * m[i]
            mm += wm * m[i]
            my += wm * dy[i]
            mx += wm * dx[i]
            m1 += wm
        rm = ry = rx = r1 = np.float32(0)
        for i in range(width):
            wr = w[i] * r[i]
            rm += wr * m[i]
            ry += wr * dy[i]
            rx += wr * dx[i]
            r1 += wr
        yy = yx = y1_ = rr = np.float32(0)
        for i in range(width):
            wy = w[i] * dy[i]
            yy += wy * dy[i]
            yx += wy * dx[i]
            y1_ += wy
            rr += r[i] * r[i]
        xx = x1_ = ww = np.float32(0)
        for i in range(width):
            wx = w[i] * dx[i]
            xx += wx * dx[i]
            x1_ += wx
            ww += w[i]
        out[0, 0] += mm
        out[0, 1] += my
        out[0, 2] += mx
        out[0, 3] += m1
        out[1, 1] += yy
        out[1, 2] += yx
        out[1, 3] += y1_
        out[2, 2] += xx
        out[2, 3] += x1_
        out[3, 3] += ww
        out[0, 4] += rm
        out[1, 4] += ry
        out[2, 4] += rx
        out[3, 4] += r1
        total += float(rr)
    for i in range(4):
        for j in range(i):
            out[i, j] = out[j, i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def sums_by_square(residual, model, valid, squares, variance, model_error, out, total, used):  # type: ignore[no-untyped-def]
    """`calibration_sums` in several squares, shape (num, 4): equations, sums of squares, numbers of valid pixels."""
    for n in range(len(squares)):
        y0, y1, x0, x1 = squares[n]
        total[n] = calibration_sums(residual, model, valid, (y0, y1, x0, x1), variance, model_error, out[n])
        used[n] = 0
        for y in range(y0, y1):
            for x in range(x0, x1):
                used[n] += valid[y, x]


@njit(cache=True, nogil=True)
def cut_periodic(image, y0, x0, out):  # type: ignore[no-untyped-def]
    """Copy a part of an image from (y0, x0) on, which may be negative, as if the image were repeated."""
    height, width = image.shape
    for y in range(out.shape[0]):
        line = image[(y0 + y) % height]
        for x in range(out.shape[1]):
            out[y, x] = line[(x0 + x) % width]


@njit(cache=True, nogil=True)
def subtract_in_window(image, valid, model, y0, x0, border, rest, good):  # type: ignore[no-untyped-def]
    """`subtract_model` in a part of an image that is repeated; `good` becomes the same part of `valid`.

    Parameters
    ----------
    image, valid : ndarray, shape (side, side)
        A visit.
    model : ndarray of float32, shape (n, n)
        What it shows from (y0, x0) on.
    y0, x0 : int
        May be negative.
    border : int
        Pixels of the window at each side where the model is not known; 0 there.
    rest, good : ndarray, shape (n, n)
        Overwritten.
    """
    height, width = image.shape
    n = len(model)
    for y in range(n):
        row = (y0 + y) % height
        inside = border <= y < n - border
        for x in range(n):
            column = (x0 + x) % width
            good[y, x] = valid[row, column]
            there = good[y, x] and inside and border <= x < n - border
            rest[y, x] = image[row, column] - model[y, x] if there else np.float32(0)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _down(model, y, x0, out):  # type: ignore[no-untyped-def]
    """Derivatives of row y of an image by a shift down, from pixel x0 on: central differences, eighth order."""
    a, b = np.float32(4 / 5), np.float32(-1 / 5)
    c, d = np.float32(4 / 105), np.float32(-1 / 280)
    x1 = x0 + len(out)
    one, other, two, others = model[y - 1, x0:x1], model[y + 1, x0:x1], model[y - 2, x0:x1], model[y + 2, x0:x1]
    for i in range(len(out)):
        out[i] = a * (one[i] - other[i]) + b * (two[i] - others[i])
    one, other, two, others = model[y - 3, x0:x1], model[y + 3, x0:x1], model[y - 4, x0:x1], model[y + 4, x0:x1]
    for i in range(len(out)):
        out[i] += c * (one[i] - other[i]) + d * (two[i] - others[i])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _across(model, y, x0, out):  # type: ignore[no-untyped-def]
    """The same by a shift to the right."""
    a, b = np.float32(4 / 5), np.float32(-1 / 5)
    c, d = np.float32(4 / 105), np.float32(-1 / 280)
    m = model[y, x0 - 4 : x0 + len(out) + 4]
    for i in range(len(out)):
        out[i] = (
            a * (m[i + 3] - m[i + 5]) + b * (m[i + 2] - m[i + 6]) + c * (m[i + 1] - m[i + 7]) + d * (m[i] - m[i + 8])
        )
