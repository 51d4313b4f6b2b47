"""The interpolations from one pixel grid to another: what each looks at, what it needs, and who computes it.

`INTERPOLATIONS` is the only list of them: the configuration offers its names, the plan asks an entry for its margin,
the compiled warp for its weights. To add one, add an entry (and its test).

Nothing here imports numba, so that a plan can be made without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

#: Radius of the FIR filter from pixels to B-spline coefficients, by the degrees that it undoes. What is cut off sums up
#: to less than 1e-7 of the amplitude of anything that the filter is for: where it undoes two bases the pixels have been
#: through one of them, which leaves 0.13 of the highest frequency, where the tails are.
_FILTER_RADIUS = {(): 0, (3,): 14, (5,): 22, (3, 3): 16, (3, 5): 22, (5, 5): 24}


@dataclass(frozen=True)
class Interpolation:
    """One way to interpolate between pixels.

    What computes it: the compiled warp if it has weights, else the `reproject` package if it names a function of it,
    else the nearest pixel is taken.

    Parameters
    ----------
    name : str
        As in the configuration.
    support : int
        Pixels that it looks at along each axis, even; the number of taps if it has weights.
    degree : int, optional
        It evaluates B-splines of this degree, and its input must be their coefficients; pixels if None.
    weight : callable, optional
        Weight of a pixel by its distance from the place, pixels; arrays of float64. Need not be normalised.
    reproject : str, optional
        Function of the `reproject` package.
    variance : str, optional
        The interpolation whose squared weights spread the variance; its own if left out. Empty: not known, and the
        effect on the variance is measured.
    """

    name: str
    support: int
    degree: int | None = None
    weight: Callable[[Float], Float] | None = None
    reproject: str | None = None
    variance: str | None = None

    @property
    def half_width(self) -> int:
        """Pixels that it looks at beyond the pixel next to the place, on each side."""
        return self.support // 2 - 1

    @property
    def margin(self) -> int:
        """How far around a region its input must be known, pixels; two of them are to spare."""
        return self.support // 2 + 2

    @property
    def depends_on_place(self) -> bool:
        """Whether what it makes of a star depends on the star's place between the pixels, by up to 1 % of the peak."""
        return self.weight is not None and self.degree is None

    @property
    def of_variance(self) -> Interpolation:
        """The interpolation whose squared weights spread the variance."""
        return INTERPOLATIONS[self.variance] if self.variance else self

    def weights(self, fraction: Float) -> Float:
        """Weights of the pixels around places.

        Parameters
        ----------
        fraction : ndarray of float64, shape (n,)
            Fraction of a pixel from the pixel below to the place, 0 to 1.

        Returns
        -------
        ndarray of float64, shape (n, support)
            Of the pixels floor(x) - support / 2 + 1 and following; each row sums to 1.

        Raises
        ------
        ValueError
            If this interpolation has no weights.
        """
        if self.weight is None:
            raise ValueError(f"the interpolation {self.name} has no weights; it is not done by the compiled warp")
        weights = self.weight(fraction[:, None] + self.half_width - np.arange(self.support))
        weights /= weights.sum(axis=1, keepdims=True)
        return weights


def bspline(degree: int, x: Any) -> Any:
    """The centred B-spline basis function of degree 3 or 5 at x; zero from (degree + 1) / 2 on."""
    a = np.abs(x)
    first, second = np.maximum(2 - a, 0.0), np.maximum(1 - a, 0.0)
    if degree == 3:
        return (first * first * first - 4 * (second * second * second)) / 6
    outer, first2, second2 = np.maximum(3 - a, 0.0), first * first, second * second
    outer2 = outer * outer
    return (outer * (outer2 * outer2) - 6 * (first * (first2 * first2)) + 15 * (second * (second2 * second2))) / 120


def _spline(degree: int) -> Interpolation:
    """Noise of a spline is nearly that of Lanczos-3, whose weights are few enough to be squared."""
    return Interpolation(
        f"spline{degree}", degree + 1, degree, lambda distance: bspline(degree, distance), variance="lanczos3"
    )


def _lanczos(lobes: int) -> Interpolation:
    return Interpolation(
        f"lanczos{lobes}", 2 * lobes, weight=lambda distance: np.sinc(distance) * np.sinc(distance / lobes)
    )


#: All interpolations by name.
INTERPOLATIONS = {
    interpolation.name: interpolation
    for interpolation in (
        _spline(5),
        _spline(3),
        _lanczos(3),
        _lanczos(4),
        _lanczos(5),
        Interpolation("bilinear", 2, weight=lambda distance: 1 - np.abs(distance)),
        Interpolation("nearest", 2),
        Interpolation("reproject-interp", 2, reproject="reproject_interp", variance="bilinear"),
        Interpolation("reproject-adaptive", 10, reproject="reproject_adaptive", variance=""),
        Interpolation("reproject-exact", 4, reproject="reproject_exact", variance=""),
    )
}


def filter_radius(degrees: tuple[int, ...]) -> int:
    """Radius of the filter from pixels to the coefficients of B-splines, pixels.

    Parameters
    ----------
    degrees : tuple of int
        The degrees that it undoes, sorted; none, one or two of 3 and 5.
    """
    return _FILTER_RADIUS[degrees]
