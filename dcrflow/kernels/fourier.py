"""Loops over spatial frequencies: small Hermitian systems, and what visits show of their solutions.

Arrays of transforms are those of `scipy.fft.rfft2`: [term, fy, fx] with fx from 0 to half the sampling frequency. A
Hermitian matrix of n terms is kept as its upper triangle, row by row: 00, 01, ..., 11, ...
"""

from __future__ import annotations

import numpy as np

from dcrflow.compat.numba_cache import njit


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def predict(transfer, sky, out):  # type: ignore[no-untyped-def]
    """The transform of what a visit shows of a sky: sum of T_j sky_j."""
    num, ny, nh = transfer.shape
    for y in range(ny):
        for x in range(nh):
            out[y, x] = transfer[0, y, x] * sky[0, y, x]
        for j in range(1, num):
            for x in range(nh):
                out[y, x] += transfer[j, y, x] * sky[j, y, x]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def multiply(normal, prior, sky, out):  # type: ignore[no-untyped-def]
    """(A + diag(prior)) sky."""
    num, ny, nh = sky.shape
    for y in range(ny):
        for i in range(num):
            p = np.float32(prior[i])
            for x in range(nh):
                out[i, y, x] = p * sky[i, y, x]
        pair = 0
        for i in range(num):
            for j in range(i, num):
                for x in range(nh):
                    a = normal[pair, y, x]
                    out[i, y, x] += a * sky[j, y, x]
                    if j > i:
                        out[j, y, x] += a.conjugate() * sky[i, y, x]
                pair += 1


@njit(cache=True, nogil=True, error_model="numpy")
def factor(normal, prior, y, x, lower, diagonal):  # type: ignore[no-untyped-def]
    """L D L^H of A + diag(prior) at one frequency; rounding that makes it indefinite is cut off at the prior."""
    num = len(prior)
    for j in range(num):
        pair = j * num - j * (j - 1) // 2
        d = normal[pair, y, x].real + prior[j]
        for k in range(j):
            d -= (lower[j, k] * lower[j, k].conjugate()).real * diagonal[k]
        diagonal[j] = max(d, prior[j])
        for i in range(j + 1, num):
            v = np.complex128(normal[pair + i - j, y, x]).conjugate()
            for k in range(j):
                v -= lower[i, k] * lower[j, k].conjugate() * diagonal[k]
            lower[i, j] = v / diagonal[j]


@njit(cache=True, nogil=True, error_model="numpy")
def solve_many(normal, prior, right, out):  # type: ignore[no-untyped-def]
    """(A + diag(prior))^-1 right, for any number of terms; `prior` positive."""
    num, ny, nh = right.shape
    lower, diagonal = np.zeros((num, num), np.complex128), np.zeros(num)
    v = np.zeros(num, np.complex128)
    for y in range(ny):
        for x in range(nh):
            factor(normal, prior, y, x, lower, diagonal)
            for i in range(num):
                v[i] = right[i, y, x]
                for k in range(i):
                    v[i] -= lower[i, k] * v[k]
            for i in range(num - 1, -1, -1):
                v[i] = v[i] / diagonal[i]
                for k in range(i + 1, num):
                    v[i] -= lower[k, i].conjugate() * v[k]
            for i in range(num):
                out[i, y, x] = v[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def solve_three(normal, priors, right, out):  # type: ignore[no-untyped-def]
    """`solve_many` for three terms and several priors, written out: ten times as fast.

    The first term, whose prior is the same for all, is eliminated once. What is left for each prior is a system of two.

    Parameters
    ----------
    normal : ndarray of complex64, shape (6, ny, nh)
        Upper triangle of A.
    priors : ndarray of float64, shape (n, 3)
        Positive; the same in all rows of the first column.
    right : ndarray of complex64, shape (3, ny, nh)
        The right-hand side.
    out : ndarray of complex64, shape (n, 3, ny, nh)
        Overwritten.
    """
    _, ny, nh = right.shape
    p0 = priors[0, 0]
    # of a row, real and imaginary parts apart, so that the loops over the priors are vectorised
    s1, s2 = np.empty(nh), np.empty(nh)
    re, im = np.empty((6, nh)), np.empty((6, nh))
    to_re, to_im = np.empty((3, nh), np.float32), np.empty((3, nh), np.float32)
    for y in range(ny):
        for x in range(nh):
            a01, a02 = np.complex128(normal[1, y, x]), np.complex128(normal[2, y, x])
            i0 = 1.0 / (normal[0, y, x].real + p0)
            l10, l20 = a01 * i0, a02 * i0
            e12 = normal[4, y, x] - l10.conjugate() * a02
            y0 = np.complex128(right[0, y, x])
            y1, y2 = right[1, y, x] - l10.conjugate() * y0, right[2, y, x] - l20.conjugate() * y0
            y0 *= i0
            s1[x] = normal[3, y, x].real - (a01.real * a01.real + a01.imag * a01.imag) * i0
            s2[x] = normal[5, y, x].real - (a02.real * a02.real + a02.imag * a02.imag) * i0
            re[0, x], re[1, x], re[2, x], re[3, x] = l10.real, l20.real, e12.real, y0.real
            im[0, x], im[1, x], im[2, x], im[3, x] = l10.imag, l20.imag, e12.imag, y0.imag
            re[4, x], re[5, x], im[4, x], im[5, x] = y1.real, y2.real, y1.imag, y2.imag
        for n in range(len(priors)):
            p1, p2 = priors[n, 1], priors[n, 2]
            for x in range(nh):
                i1 = 1.0 / max(s1[x] + p1, p1)
                er, ei = re[2, x], im[2, x]
                i2 = 1.0 / max(s2[x] + p2 - (er * er + ei * ei) * i1, p2)
                y1r, y1i = re[4, x] * i1, im[4, x] * i1
                x2r = (re[5, x] - (er * y1r + ei * y1i)) * i2
                x2i = (im[5, x] - (er * y1i - ei * y1r)) * i2
                x1r = y1r - (er * x2r - ei * x2i) * i1
                x1i = y1i - (er * x2i + ei * x2r) * i1
                br, bi, cr, ci = re[0, x], im[0, x], re[1, x], im[1, x]
                to_re[0, x] = re[3, x] - (br * x1r - bi * x1i) - (cr * x2r - ci * x2i)
                to_im[0, x] = im[3, x] - (br * x1i + bi * x1r) - (cr * x2i + ci * x2r)
                to_re[1, x], to_im[1, x], to_re[2, x], to_im[2, x] = x1r, x1i, x2r, x2i
            for j in range(3):
                for x in range(nh):
                    out[n, j, y, x] = np.complex64(complex(to_re[j, x], to_im[j, x]))


@njit(cache=True, nogil=True, error_model="numpy")
def noise_power(normal, prior, psf, terms, step):  # type: ignore[no-untyped-def]
    """Variance of combinations of the terms of a solution whose data have the noise that A supposes.

    Parameters
    ----------
    normal, prior
        A and the prior.
    psf : ndarray of complex64, shape (ny, nh)
        Transform G of the output PSF.
    terms : ndarray of complex64, shape (num_combinations, num_terms)
        Which sums of terms.
    step : int
        Every step-th row and column of frequencies is evaluated, from the middle of the first step on.

    Returns
    -------
    ndarray of float64, shape (num_combinations,)
        Mean over all frequencies of |G|^2 u^H M A M u with M = (A + diag(prior))^-1: variance of a pixel.
    """
    num, ny, nh = len(prior), normal.shape[1], normal.shape[2]
    lower, diagonal = np.zeros((num, num), np.complex128), np.zeros(num)
    v, total, count = np.zeros(num, np.complex128), np.zeros(len(terms)), 0.0
    for y in range(step // 2, ny, step):
        for x in range(step // 2, nh, step):
            twice = 1.0 if x == 0 or 2 * x == ny else 2.0
            g = psf[y, x]
            count += twice
            power = twice * (g.real * g.real + g.imag * g.imag)
            factor(normal, prior, y, x, lower, diagonal)
            for c in range(len(terms)):
                for i in range(num):
                    v[i] = terms[c, i]
                    for k in range(i):
                        v[i] -= lower[i, k] * v[k]
                for i in range(num - 1, -1, -1):
                    v[i] = v[i] / diagonal[i]
                    for k in range(i + 1, num):
                        v[i] -= lower[k, i].conjugate() * v[k]
                pair, q = 0, 0.0
                for i in range(num):
                    for j in range(i, num):
                        a = (v[i].conjugate() * normal[pair, y, x] * v[j]).real
                        q += a if i == j else 2.0 * a
                        pair += 1
                total[c] += power * q
    return total / count


@njit(cache=True, nogil=True, error_model="numpy")
def free_power(normal, prior, transfers, weights):  # type: ignore[no-untyped-def]
    """Power of each visit's PSF, and how much of it the model leaves free: what a visit alone says.

    Parameters
    ----------
    normal, prior
        A and the prior, at some of the frequencies.
    transfers : ndarray of complex64, shape (num_visits, num_terms, ny, nh)
        Transfer functions at the same frequencies; the first term is the PSF P.
    weights : ndarray of float64, shape (num_visits,)
        Of the visits.

    Returns
    -------
    ndarray of float64, shape (num_visits, 2)
        Means over the frequencies of |P|^2 (1 - h) and of |P|^2. h = weight T^H (A + diag(prior))^-1 T is a visit's
        leverage: the part of its own data in the prediction of it.
    """
    visits, num, ny, nh = transfers.shape
    lower, diagonal = np.zeros((num, num), np.complex128), np.zeros(num)
    v, out, count = np.zeros(num, np.complex128), np.zeros((visits, 2)), 0.0
    for y in range(ny):
        for x in range(nh):
            twice = 1.0 if x == 0 or 2 * x == ny else 2.0
            count += twice
            factor(normal, prior, y, x, lower, diagonal)
            for n in range(visits):
                h = 0.0
                for i in range(num):
                    v[i] = transfers[n, i, y, x]
                    for k in range(i):
                        v[i] -= lower[i, k] * v[k]
                    h += (v[i].real * v[i].real + v[i].imag * v[i].imag) / diagonal[i]
                p = transfers[n, 0, y, x]
                power = twice * (p.real * p.real + p.imag * p.imag)
                out[n, 0] += power * max(1.0 - weights[n] * h, 0.0)
                out[n, 1] += power
    return out / count


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def predict_each(transfers, sky, out):  # type: ignore[no-untyped-def]
    """`predict` of several visits, shapes (num_visits, num_terms, ny, nh) and (num_visits, ny, nh)."""
    for n in range(len(transfers)):
        predict(transfers[n], sky, out[n])
