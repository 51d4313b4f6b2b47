"""How large DCR's residuals would be without matching: from refraction and a range of spectra alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.dcr import dcr_model
from dcrflow.planning.coadds import CoaddBand

_TEMPERATURES = (3000.0, 15000.0)  # kelvin, of the reddest and the bluest stars
_HC_OVER_K = 1.438776877e7  # h c / k, nm kelvin
_WORTH = 0.01  # of a star's peak, from which residuals are seen on stars of 100 times the noise


@dataclass(frozen=True)
class Need:
    """DCR of one visit in one band.

    Parameters
    ----------
    visit, detector : int
        The data ID.
    band : str
        Of the visit.
    zenith_angle : float
        Of the boresight, degrees.
    shift : float
        Distance between the bluest and the reddest stars' images, arcsec, along the zenith direction.
    residual : float
        Largest residual of such a star subtracted with a template of mean colour at the zenith, as a fraction of its
        peak, for a Gaussian PSF of the given width.
    width : float
        How much the band's light is spread along the zenith direction, rms, arcsec.
    """

    visit: int
    detector: int
    band: str
    zenith_angle: float
    shift: float
    residual: float
    width: float

    @property
    def is_worth_it(self) -> bool:
        """Whether matching gains anything on stars of 100 times the noise or more."""
        return self.residual > _WORTH


def need_of(visit: DetectorVisit, band: CoaddBand, fwhm: float) -> Need:
    """What DCR does to one visit.

    A star of another colour than the template's mean is moved by half the range of the shifts, and spread. A Gaussian
    of standard deviation s, moved by d and subtracted, leaves at most d / s exp(-1/2) of its peak, and one wider by v
    (in variance) v / (2 s^2) of it.

    Parameters
    ----------
    visit : DetectorVisit
        Its observation counts.
    band : CoaddBand
        Its transmission.
    fwhm : float
        Of the PSF, arcsec.
    """
    seen = visit.observation
    model = dcr_model("spectral", band.bandpass, band.edges, band.effective_wavelength, seen)
    angle = 90.0 - seen.altitude
    displacement = model.displacement(np.array(math.tan(math.radians(angle))))
    flat = model.weights @ band.bandpass.shares(band.edges)
    means, spreads = [], []
    for temperature in _TEMPERATURES:
        photons = model.wavelength**-4.0 / np.expm1(_HC_OVER_K / (model.wavelength * temperature))
        light = flat * photons / np.sum(flat * photons)
        mean = float(np.sum(light * displacement))
        means.append(mean)
        spreads.append(float(np.sum(light * (displacement - mean) ** 2)))
    shift, sigma = abs(means[1] - means[0]), fwhm / 2.3548
    residual = 0.5 * shift / sigma * math.exp(-0.5) + float(np.mean(spreads)) / (2 * sigma**2)
    return Need(visit.visit, visit.detector, visit.band, angle, shift, residual, math.sqrt(float(np.mean(spreads))))


def needs(visits: Iterable[DetectorVisit], bands: dict[str, CoaddBand], fwhm: float) -> list[Need]:
    """The same of many, the worst first; visits of bands that are not given are passed over."""
    found = [need_of(v, bands[v.band], v.psf_fwhm or fwhm) for v in visits if v.band in bands]
    return sorted(found, key=lambda n: -n.residual)


@dataclass(frozen=True)
class BandNeed:
    """What DCR does to the visits of one band.

    Parameters
    ----------
    band : str
        The band.
    visits : int
        Number of visits.
    low, high : float
        Smallest and largest zenith angle, degrees.
    median, largest : float
        Residual of the median visit and of the worst, as of `Need`; each visit counts by its worst detector.
    worth_it : int
        Visits for which matching gains something.
    """

    band: str
    visits: int
    low: float
    high: float
    median: float
    largest: float
    worth_it: int


def by_visit(found: Iterable[Need]) -> list[Need]:
    """The worst detector of each visit, the worst visit first."""
    worst: dict[tuple[str, int], Need] = {}
    for need in found:
        kept = worst.get((need.band, need.visit))
        if kept is None or need.residual > kept.residual:
            worst[need.band, need.visit] = need
    return sorted(worst.values(), key=lambda n: -n.residual)


def by_band(found: Iterable[Need]) -> list[BandNeed]:
    """A summary of each band, the one with the largest residual first."""
    bands: dict[str, list[Need]] = {}
    for need in by_visit(found):
        bands.setdefault(need.band, []).append(need)
    summary = [
        BandNeed(
            band, len(visits), min(n.zenith_angle for n in visits), max(n.zenith_angle for n in visits),
            float(np.median([n.residual for n in visits])), visits[0].residual, sum(n.is_worth_it for n in visits),
        )
        for band, visits in bands.items()
    ]  # fmt: skip
    return sorted(summary, key=lambda b: -b.largest)
