"""Solve the equations of a cell without missing pixels, in two steps, with a prior that depends on the local light.

The solution at the output PSF G is c = G (A + L(q))^-1 b. L_j = 1 / (tau_j^2 q) is the prior of the spectral slope,
curvature and so on, for a sky with local power q (flux^2 per pixel). The flux c_0 has no such prior.

One q for all pixels would be a poor compromise, since stars need less regularisation than the sky. Therefore the
equations are solved for several values of q (the rungs of a ladder), and the solutions are blended, pixel by pixel,
according to the local power. In the first step the prior is centred on a flat spectrum. In the second step it is
centred on the local colours found in the first step, and it is tighter because the sky should be close to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import batched

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.workspace import NEW_MEMORY, Workspace
from dcrflow.coadding.transfer import Transform, backward, forward
from dcrflow.kernels.coadd_pixels import interpolate
from dcrflow.kernels.fourier import multiply, noise_power, solve_many, solve_three
from dcrflow.kernels.ladder_pixels import (
    add_share,
    noise_of_three,
    rungs,
    smooth_symmetric,
    unexplained,
    with_local_colours,
)

Image = NDArray[np.float32]
Float = NDArray[np.float64]

RUNGS = 9  # number of rungs, one per decade of q
# precision of the prior on the flux, relative to the largest A_00: frequencies with a smaller A_00 are damped
_FLUX_PRIOR = 1e-7  # nearly no prior; a smaller one amplifies signal without PSF shape
POWER_WIDTH = 5.0  # pixels; sigma of the Gaussian window for the local power
_COLOUR_WIDTH = 2.0  # pixels; sigma of the Gaussian window for the colours
_LAGS = 8  # pixels, of the noise's correlation
_GAUSS_REACH = 4.0  # sigma at which Gaussian windows end
_EVERY = 8  # the noise is evaluated at every 8th frequency along each axis
_AT_ONCE = 5  # rungs that are solved in one pass over the frequencies; few cells need more
_REPEATS = 2  # how often the second step is done
_DARK = 1e-4  # relative to G at frequency 0; frequencies where G is smaller are not divided by it


@dataclass(frozen=True, eq=False)
class System:
    """The equations of a cell, the output PSF and the prior.

    Parameters
    ----------
    normal : ndarray of complex64
        Upper triangle of A.
    psf : ndarray of complex64, shape (side, side // 2 + 1)
        Fourier transform G of the output PSF.
    prior : tuple of float
        tau_1, tau_2, ...
    """

    normal: Transform
    psf: Transform
    prior: tuple[float, ...]

    @property
    def num_terms(self) -> int:
        """Number of coefficients."""
        return len(self.prior) + 1

    @cached_property
    def lowest(self) -> float:
        """The q of the first rung: the variance of a point source's flux in the coadd."""
        side = self.normal.shape[1]
        flux = self.normal[0].real
        mean = (2 * flux.sum(dtype=np.float64) - flux[:, 0].sum(dtype=np.float64)) / side**2
        return 1.0 / max(float(mean), 1e-300)

    @cached_property
    def area(self) -> float:
        """Effective area of the output PSF, 1 / sum G^2, pixels."""
        power = np.abs(self.psf) ** 2
        return float(self.psf.shape[0] ** 2 / (2 * power.sum(dtype=np.float64) - power[:, 0].sum(dtype=np.float64)))

    @cached_property
    def _flux_precision(self) -> float:
        return max(_FLUX_PRIOR * float(np.max(self.normal[0].real)), 1e-300)

    def precision(self, q: float) -> Float:
        """The diagonal L(q), shape (num_terms,)."""
        return np.array([self._flux_precision, *(1.0 / (t * t * q) for t in self.prior)])

    def solve(self, right: Transform, q: float) -> Transform:
        """(A + L(q))^-1 right."""
        out = np.empty_like(right)
        self.solve_each(right, [q], out[None])
        return out

    def solve_each(self, right: Transform, qs: Sequence[float], out: Transform) -> None:
        """`solve` for several q, to `out` of shape (number of q, num_terms, side, side // 2 + 1)."""
        priors = np.array([self.precision(q) for q in qs])
        if self.num_terms == 3:
            solve_three(self.normal, priors, right, out)
        else:
            for prior, one in zip(priors, out, strict=True):
                solve_many(self.normal, prior, right, one)

    def apply(self, sky: Transform, q: float | None = None) -> Transform:
        """(A + L(q)) sky, or A sky if q is None."""
        out = np.empty_like(sky)
        multiply(self.normal, np.zeros(self.num_terms) if q is None else self.precision(q), sky, out)
        return out

    def sky_correlation(self) -> Float:
        """Correlation of the flux of neighbouring pixels of an empty sky, shape (2 n + 1, 2 n + 1), axes (y, x)."""
        side = self.normal.shape[1]
        step = 4 if side % 4 == 0 else 2  # all that the correlation, which is short, needs of the frequencies
        few = System(self.normal[:, ::step, ::step].copy(), self.psf[::step, ::step].copy(), self.prior)
        flux = np.zeros((self.num_terms, *few.psf.shape), np.complex64)
        flux[0] = 1.0
        answer = few.solve(flux, self.lowest)
        power = np.einsum("jyx,jyx->yx", answer.conj(), few.apply(answer)).real * np.abs(few.psf) ** 2
        found = np.fft.irfft2(power, s=(side // step, side // step))
        at = np.arange(-_LAGS, _LAGS + 1)
        return np.asarray(found[np.ix_(at, at)] / found[0, 0])

    @cached_property
    def noise(self) -> Float:
        """Variance of a pixel of each coefficient at every rung, shape (RUNGS, num_terms)."""
        steps = np.array([self.precision(self.lowest * 10.0**step) for step in range(RUNGS)])
        if self.num_terms == 3:
            return np.asarray(noise_of_three(self.normal, steps, self.psf, _EVERY))
        each = np.eye(self.num_terms, dtype=np.complex64)
        return np.array([noise_power(self.normal, prior, self.psf, each, _EVERY) for prior in steps])


def smooth(image: Image, sigma: float, other: Image | None = None, workspace: Workspace = NEW_MEMORY) -> Image:
    """Convolve an image, or the product of two, with a Gaussian; pixels beyond the edges count as 0.

    Fourier transforms are not used: they would spread the rounding error of a bright star over the whole cell.
    """
    reach = int(np.ceil(_GAUSS_REACH * sigma))
    taps = np.zeros(-(-reach // 4) * 4 + 1)  # as many as the loop takes at a time; the last ones may be 0
    taps[: reach + 1] = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    taps /= 2 * taps.sum() - taps[0]
    height, width = image.shape
    rows = workspace.array("ladder: smooth rows", (height + 2 * (len(taps) - 1), width), np.float32)
    out = np.empty(image.shape, np.float32)
    smooth_symmetric(image, other, taps.astype(np.float32), rows, out)
    return out


def rung_of(system: System, flux: Image, noise: float, scale: float, workspace: Workspace = NEW_MEMORY) -> Image:
    """The rung of each pixel, 0 to RUNGS - 1: log10 of the ratio of the local power to the lowest q.

    Parameters
    ----------
    system : System
        The equations of the cell.
    flux : ndarray of float32, shape (side, side)
        The flux c_0.
    noise : float
        Variance of a pixel of `flux`.
    scale : float
        RMS of the coefficients to solve for, relative to the flux.
    workspace : Workspace, optional
        Lends memory.
    """
    out = np.empty_like(flux)
    power = smooth(flux, POWER_WIDTH, flux, workspace)
    rungs(power, noise, scale**2 * system.area / system.lowest, RUNGS - 1, out)
    return out


def add_blended(
    system: System, seen: Transform, rung: Image, out: Image, workspace: Workspace, first: Image | None = None
) -> None:  # fmt: skip
    """Add (A + L(q))^-1 `seen` with the q of each pixel to `out`, shape (num_terms, side, side).

    `seen` is the right-hand side times G. Only those rows of an image are made that have pixels near its rung. `first`
    is the solution of the first rung, if it is known.
    """
    lowest, highest = rung.min(axis=1), rung.max(axis=1)
    near = {step: np.flatnonzero((lowest < step + 1) & (highest > step - 1)) for step in range(RUNGS)}
    if first is not None:
        rows = np.arange(len(rung))
        for image, part in zip(first, out, strict=True):
            add_share(image, rows, rung, 0, part)
        near.pop(0)
    for some in batched((step for step, rows in near.items() if len(rows)), _AT_ONCE):
        solved = workspace.array("ladder: rungs", (len(some), *seen.shape), np.complex64)
        system.solve_each(seen, [system.lowest * 10.0**step for step in some], solved)
        for step, terms in zip(some, solved, strict=True):
            rows = near[step]
            for term, part in zip(terms, out, strict=True):
                add_share(backward(term, rows), rows, rung, step, part)


def along_ladder(values: Float, rung: Image) -> Image:
    """Interpolate values given at the rungs, shape (RUNGS,), to the rung of each pixel, linearly in log q."""
    out = np.empty(rung.shape, np.float32)
    interpolate(values, rung, out)
    return out


def local_mean(system: System, terms: Image, rung: Image, workspace: Workspace) -> Image:
    """Terms with the local colours r_j = c_j / c_0, j > 0, of a solution: (c_0, r_1 c_0, ...).

    The colours are found by regression in a Gaussian window; they tend to 0 where there is no light.

    Parameters
    ----------
    system : System
        The equations of the cell.
    terms : ndarray of float32, shape (num_terms, side, side)
        Coefficients c.
    rung : ndarray of float32, shape (side, side)
        Rung of the ladder at each pixel, which tells the noise of c.
    workspace : Workspace
        Lends memory.
    """
    flux = terms[0]
    power = smooth(flux, _COLOUR_WIDTH, flux, workspace)
    products = workspace.array("ladder: products", terms[1:].shape, np.float32)
    for term, product in zip(terms[1:], products, strict=True):
        product[:] = smooth(term, _COLOUR_WIDTH, flux, workspace)
    shrink = system.noise[:, 1:] / (np.square(system.prior) * 4 * np.pi * _COLOUR_WIDTH**2)
    out = np.empty_like(terms)
    with_local_colours(flux, products, power, shrink.astype(np.float32), rung, out)
    return out


@dataclass(frozen=True, eq=False)
class Solution:
    """Spectral coefficients of a cell at the output PSF.

    Parameters
    ----------
    terms : ndarray of float32, shape (num_terms, side, side)
        Coefficients c.
    rung : ndarray of float32, shape (side, side)
        Rung of the ladder at each pixel.
    """

    terms: Image
    rung: Image


def two_steps(
    system: System, right: Transform, deviation: float, workspace: Workspace = NEW_MEMORY
) -> Solution:  # fmt: skip
    """Solve for the coefficients.

    Parameters
    ----------
    system : System
        The equations of the cell.
    right : ndarray of complex64, shape (num_terms, side, side // 2 + 1)
        Right-hand side b, from visits whose pixels without data are filled.
    deviation : float
        Expected RMS deviation of the coefficients from the local colours, relative to the first step's prior.
    workspace : Workspace, optional
        Lends memory.
    """
    if system.num_terms == 1:
        terms = backward(system.psf * system.solve(right, system.lowest))
        return Solution(terms, np.zeros(terms.shape[1:], np.float32))
    seen = system.psf * right
    first = backward(system.solve(seen, system.lowest))
    noise = float(system.noise[0, 0])
    rung = rung_of(system, first[0], noise, 1.0, workspace)
    terms = np.zeros_like(first)
    add_blended(system, seen, rung, terms, workspace, first)
    dark = _DARK * abs(system.psf[0, 0])
    undo = np.asarray(np.conj(system.psf) / (np.abs(system.psf) ** 2 + dark**2), np.complex64)
    for _ in range(_REPEATS):
        mean = local_mean(system, terms, rung, workspace)
        for term, transform in zip(mean, seen, strict=True):
            transform[:] = forward(term)
        unexplained(system.normal, system.psf, undo, seen, right, seen)
        rung = rung_of(system, terms[0], noise, deviation, workspace)
        terms = mean
        add_blended(system, seen, rung, terms, workspace)
    return Solution(terms, rung)
