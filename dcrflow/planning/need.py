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
