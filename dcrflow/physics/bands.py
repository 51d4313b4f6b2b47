"""What is known of bands by name: the LSST bands' limits, for who gives no transmission curve."""

from __future__ import annotations

from collections.abc import Mapping

#: Effective, shortest and longest wavelength of the LSST bands, nm, as the Rubin instruments define their filters
#: (obs_lsst; L. Jones 2010. There the limits of i and z are those of the next band; these are each band's own).
BANDS: Mapping[str, tuple[float, float, float]] = {
    "u": (364.59, 324.0, 395.0),
    "g": (476.31, 405.0, 552.0),
    "r": (619.42, 552.0, 691.0),
    "i": (752.06, 691.0, 818.0),
    "z": (866.85, 818.0, 921.0),
    "y": (971.68, 922.0, 997.0),
}
