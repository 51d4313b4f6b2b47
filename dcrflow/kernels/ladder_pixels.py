"""Loops over the pixels and frequencies of a cell while its equations are solved at the rungs of the ladder."""

from __future__ import annotations

import numpy as np

from dcrflow.compat.numba_cache import njit

_MIDDLE = 0x3F3504F3  # bits of sqrt(1/2) in single precision: mantissas are taken from there to sqrt(2)
_LN2, _LN10 = np.float32(np.log(2.0)), np.float32(np.log(10.0))


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def smooth_symmetric(one, other, taps, rows, out):  # type: ignore[no-untyped-def]
    """Convolve an image, or the product of two, along both axes with a symmetric kernel; 0 beyond the edges.

    Two pixels as far from the middle have one tap, and four taps are added in one pass over a row, which is in the
    cache: a row is loaded and stored once for eight pixels of the kernel.

    Parameters
    ----------
    one, other : ndarray of float32, shape (height, width)
        The image, and the other factor, or None.
    taps : ndarray of float32, shape (4 n + 1,)
        The kernel from its middle on: ``taps[d]`` is the weight d pixels away.
    rows : ndarray of float32, shape (height + 8 n, width)
        Overwritten.
    out : ndarray of float32, shape (height, width)
        Overwritten.
    """
    height, width = one.shape
    reach = len(taps) - 1
    rows[:reach], rows[height + reach :] = 0, 0
    padded = np.zeros(width + 2 * reach, np.float32)
    for y in range(height):
        if other is None:
            for x in range(width):
                padded[reach + x] = one[y, x]
        else:
            for x in range(width):
                padded[reach + x] = one[y, x] * other[y, x]
        middle = np.uint64(reach)
        target = rows[y + reach]
        for x in range(width):
            target[x] = taps[0] * padded[middle + np.uint64(x)]
        for d in range(1, reach, 4):
            a, b, c, e = taps[d], taps[d + 1], taps[d + 2], taps[d + 3]
            before, after = padded[reach - d - 3 :], padded[reach + d :]
            for x in range(width):
                target[x] += (
                    a * (before[x + 3] + after[x]) + b * (before[x + 2] + after[x + 1])
                    + c * (before[x + 1] + after[x + 2]) + e * (before[x] + after[x + 3])
                )  # fmt: skip
    for y in range(height):
        target, middle_row = out[y], rows[y + reach]
        for x in range(width):
            target[x] = taps[0] * middle_row[x]
        for d in range(1, reach, 4):
            a, b, c, e = taps[d], taps[d + 1], taps[d + 2], taps[d + 3]
            at = y + reach
            a0, a1, b0, b1 = rows[at - d], rows[at + d], rows[at - d - 1], rows[at + d + 1]
            c0, c1, e0, e1 = rows[at - d - 2], rows[at + d + 2], rows[at - d - 3], rows[at + d + 3]
            for x in range(width):
                target[x] += a * (a0[x] + a1[x]) + b * (b0[x] + b1[x]) + c * (c0[x] + c1[x]) + e * (e0[x] + e1[x])


@njit(cache=True, nogil=True, error_model="numpy")
def rungs(power, noise, factor, last, out):  # type: ignore[no-untyped-def]
    """log10 of factor * (power - noise), from 0 to `last`, with an error of 1e-6; vectorised.

    Parameters
    ----------
    power : ndarray of float32, shape (height, width)
        Finite.
    noise, factor, last : float
        See above; `last` at most 30.
    out : ndarray of float32, shape (height, width)
        Overwritten; not `power`.
    """
    height, width = power.shape
    least, scale, most = np.float32(noise), np.float32(factor), np.float32(10.0**last)
    values, exponents = np.empty(width, np.float32), np.empty(width, np.int32)
    bits = values.view(np.int32)
    for y in range(height):
        for x in range(width):
            values[x] = min(max(scale * (power[y, x] - least), np.float32(1)), most)
        for x in range(width):
            exponents[x] = np.int32((bits[x] - np.int32(_MIDDLE)) >> np.int32(23))
            bits[x] = np.int32(bits[x] - (exponents[x] << np.int32(23)))
        for x in range(width):  # log m = 2 artanh z, z at most 0.172: what is left out is below 1e-9
            z = (values[x] - np.float32(1)) / (values[x] + np.float32(1))
            s = z * z
            series = np.float32(1 / 7) + s * np.float32(1 / 9)
            series = np.float32(1) + s * (np.float32(1 / 3) + s * (np.float32(1 / 5) + s * series))
            out[y, x] = (np.float32(exponents[x]) * _LN2 + np.float32(2) * z * series) / _LN10


@njit(cache=True, nogil=True, error_model="numpy")
def with_local_colours(flux, products, power, shrink, rung, out):  # type: ignore[no-untyped-def]
    """The terms of a sky of local colours: flux * products_j / (power + shrink_j), and the flux itself as the first.

    Parameters
    ----------
    flux : ndarray of float32, shape (side, side)
        c_0.
    products : ndarray of float32, shape (num_terms - 1, side, side)
        Gauss(c_j c_0).
    power : ndarray of float32, shape (side, side)
        Gauss(c_0^2).
    shrink : ndarray of float32, shape (num_rungs, num_terms - 1)
        What is added to the power at each rung; linear between the rungs.
    rung : ndarray of float32, shape (side, side)
        From 0 to num_rungs - 1.
    out : ndarray of float32, shape (num_terms, side, side)
        Overwritten; its first term may be `flux`.
    """
    height, width = flux.shape
    above = np.int32(len(shrink) - 2)
    for y in range(height):
        for x in range(width):
            out[0, y, x] = flux[y, x]
        for j in range(len(products)):
            for x in range(width):
                n = min(np.int32(rung[y, x]), above)
                part = rung[y, x] - np.float32(n)
                low = shrink[np.uint32(n), j]
                more = low + part * (shrink[np.uint32(n) + np.uint32(1), j] - low)
                light = max(power[y, x], np.float32(0)) + more
                out[j + 1, y, x] = flux[y, x] * (products[j, y, x] / light)


@njit(cache=True, nogil=True)
def add_share(image, rows, rung, step, out):  # type: ignore[no-untyped-def]
    """Add to some rows of `out` an image of them times max(1 - abs(rung - step), 0): its share of a ladder of images.

    Parameters
    ----------
    image : ndarray of float32, shape (num_rows, width)
        The rows.
    rows : ndarray of int, shape (num_rows,)
        Which they are.
    rung : ndarray of float32, shape (height, width)
        Place on the ladder.
    step : int
        The image's.
    out : ndarray of float32, shape (height, width)
        Changed.
    """
    s = np.float32(step)
    for n in range(len(rows)):
        y = rows[n]
        for x in range(image.shape[1]):
            out[y, x] += max(np.float32(1) - abs(rung[y, x] - s), np.float32(0)) * image[n, x]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def unexplained(normal, psf, undo, sky, right, out):  # type: ignore[no-untyped-def]
    """G (b - A c / G): what the terms of a sky leave of the right-hand side, at the output PSF.

    Parameters
    ----------
    normal : ndarray of complex64, shape (num_terms (num_terms + 1) / 2, ny, nh)
        Upper triangle of A.
    psf, undo : ndarray of complex64, shape (ny, nh)
        G, and 1 / G.
    sky : ndarray of complex64, shape (num_terms, ny, nh)
        Transforms of the terms, at the output PSF.
    right : ndarray of complex64, shape (num_terms, ny, nh)
        b.
    out : ndarray of complex64, shape (num_terms, ny, nh)
        Overwritten; may be `sky`.
    """
    num, ny, nh = sky.shape
    terms = np.empty((num, nh), np.complex64)
    for y in range(ny):
        for j in range(num):
            for x in range(nh):
                terms[j, x] = undo[y, x] * sky[j, y, x]
        for j in range(num):
            for x in range(nh):
                out[j, y, x] = right[j, y, x]
        pair = 0
        for i in range(num):
            for j in range(i, num):
                for x in range(nh):
                    out[i, y, x] -= normal[pair, y, x] * terms[j, x]
                if j > i:
                    for x in range(nh):
                        out[j, y, x] -= normal[pair, y, x].conjugate() * terms[i, x]
                pair += 1
        for j in range(num):
            for x in range(nh):
                out[j, y, x] *= psf[y, x]


@njit(cache=True, nogil=True, error_model="numpy")
def noise_of_three(normal, priors, psf, step):  # type: ignore[no-untyped-def]
    """Variance of each of three terms of a solution, as `dcrflow.kernels.fourier.noise_power`, for several priors.

    With M = (A + L)^-1, u^H M A M u = u^H (M - M L M) u, of which only M is needed. The first term, whose prior is the
    same for all, is eliminated once; what is left for each prior is a matrix of two by two.

    Parameters
    ----------
    normal : ndarray of complex64, shape (6, ny, nh)
        Upper triangle of A.
    priors : ndarray of float64, shape (n, 3)
        Diagonals of L; positive, the same in all rows of the first column.
    psf : ndarray of complex64, shape (ny, nh)
        Transform G of the output PSF.
    step : int
        Every step-th row and column of frequencies is evaluated, from the middle of the first step on.

    Returns
    -------
    ndarray of float64, shape (n, 3)
        Means over all frequencies of |G|^2 (M - M L M)_jj: variances of a pixel.
    """
    _, ny, nh = normal.shape
    total, count, p0 = np.zeros((len(priors), 3)), 0.0, priors[0, 0]
    for y in range(step // 2, ny, step):
        for x in range(step // 2, nh, step):
            twice = 1.0 if x == 0 or 2 * x == ny else 2.0
            g = psf[y, x]
            count += twice
            power = twice * (g.real * g.real + g.imag * g.imag)
            i0 = 1.0 / (normal[0, y, x].real + p0)
            a01, a02 = np.complex128(normal[1, y, x]), np.complex128(normal[2, y, x])
            l1, l2 = a01 * i0, a02 * i0
            s1 = normal[3, y, x].real - (a01.real * a01.real + a01.imag * a01.imag) * i0
            s2 = normal[5, y, x].real - (a02.real * a02.real + a02.imag * a02.imag) * i0
            e = normal[4, y, x] - l1.conjugate() * a02
            size = e.real * e.real + e.imag * e.imag
            for n in range(len(priors)):
                p1, p2 = priors[n, 1], priors[n, 2]
                i1 = 1.0 / max(s1 + p1, p1)
                m22 = 1.0 / max(s2 + p2 - size * i1, p2)
                m12 = -e * (i1 * m22)
                m11 = i1 + size * i1 * i1 * m22
                m01, m02 = -(l1 * m11 + l2 * m12.conjugate()), -(l1 * m12 + l2 * m22)
                m00 = i0 - (m01 * l1.conjugate() + m02 * l2.conjugate()).real
                b01 = m01.real * m01.real + m01.imag * m01.imag
                b02 = m02.real * m02.real + m02.imag * m02.imag
                b12 = m12.real * m12.real + m12.imag * m12.imag
                total[n, 0] += power * (m00 - p0 * m00 * m00 - p1 * b01 - p2 * b02)
                total[n, 1] += power * (m11 - p0 * b01 - p1 * m11 * m11 - p2 * b12)
                total[n, 2] += power * (m22 - p0 * b02 - p1 * b12 - p2 * m22 * m22)
    return total / count
