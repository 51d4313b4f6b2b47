"""How the noise of a patch's subfilters is correlated, if the coadds say so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST = 65  # pixels a side of the correlation
_CUT = 0.1  # negative power over the largest, as a cut-off correlation may have it; 0.02 for PSFs of 10 pixels


@dataclass(frozen=True)
class SubfilterNoise:
    """Noise that the subfilters share: in empty sky, each has its share of one noise image.

    Coadds built from visits have such noise: the colours of the empty sky are held at those of a flat spectrum, and
    neighbouring pixels are correlated, since all visits are brought to one PSF. Templates of them have another variance
    than templates of independent pixels.

    Parameters
    ----------
    shares : tuple of float, one for each subfilter
        Share of the noise of the sum of the subfilters; they add up to 1.
    correlation : tuple of tuple of float
        Correlation of the noise of neighbouring pixels of this sum, axes (y, x), odd sides; 1 in the middle.
    """

    shares: tuple[float, ...]
    correlation: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, shares: NDArray[np.floating], correlation: NDArray[np.floating]) -> SubfilterNoise:
        """From arrays, rounded to what matters."""
        rows = tuple(tuple(float(v) for v in row) for row in np.round(correlation, 5))
        return cls(tuple(float(s) for s in np.round(shares, 6)), rows)

    def as_attribute(self) -> dict[str, Any]:
        """As it is written to a store."""
        return {"shares": list(self.shares), "correlation": [list(row) for row in self.correlation]}

    @classmethod
    def from_attribute(cls, value: Any, num_subfilters: int) -> SubfilterNoise:
        """Read what a store says.

        Raises
        ------
        ValueError
            If it is not what `as_attribute` writes, for this number of subfilters.
        """
        try:
            shares = tuple(float(s) for s in value["shares"])
            rows = tuple(tuple(float(v) for v in row) for row in value["correlation"])
        except (KeyError, TypeError, ValueError, OverflowError):  # an integer may be too large for a float
            raise ValueError("expected {'shares': [...], 'correlation': [[...], ...]} of numbers") from None
        if len(shares) != num_subfilters or not math.isclose(sum(shares), 1.0, abs_tol=1e-3) or min(shares) < 0:
            raise ValueError(f"expected {num_subfilters} shares, none negative, that add up to 1")
        side = len(rows)
        if side % 2 == 0 or side > _MOST or any(len(row) != side for row in rows):
            raise ValueError(f"expected a square correlation with an odd side of at most {_MOST}")
        middle = rows[side // 2][side // 2]
        if not (math.isclose(middle, 1.0, abs_tol=1e-3) and all(abs(v) <= 1.001 for row in rows for v in row)):
            raise ValueError("expected a correlation of 1 in the middle, and none beyond 1")
        found = np.array(rows)
        power = np.fft.fft2(np.fft.ifftshift(found)).real
        if not np.allclose(found, found[::-1, ::-1], rtol=0, atol=1e-3) or power.min() < -_CUT * power.max():
            raise ValueError("expected the correlation of some noise: symmetric, with no negative power")
        return cls(shares, rows)
