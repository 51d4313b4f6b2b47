"""Science images as FITS files laid out like the Rubin pipelines' exposures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.model.visit import DetectorVisit


def write_exposure(
    path: Path,
    visit: DetectorVisit,
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.int32],
    *,
    longitude: float,
    psf: NDArray[np.float32] | None = None,
    psf_nodes: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> None:
    """Write a detector-visit's image.

    The primary header holds the data ID and the observation; HDUs ``IMAGE`` (nJy), ``MASK`` (with ``MP_`` cards) and
    ``VARIANCE`` (nJy^2) follow, each with the WCS of the array. ``LTV1`` and ``LTV2`` are minus the absolute index of
    the first column and row, as the pipelines write them.

    Parameters
    ----------
    path : Path
        To write; replaced if there.
    visit : DetectorVisit
        Whose image it is.
    image, variance : ndarray of float32, shape of `visit.bbox`
        nJy, nJy^2.
    mask : ndarray of int32, shape of `visit.bbox`
        `STANDARD_PLANES`.
    longitude : float
        Of the telescope, degrees, east positive.
    psf : ndarray of float32, shape (num_nodes, size, size), optional
        Kernels of the PSF, each of which sums to the share of a star's light inside: HDU ``PSF``.
    psf_nodes : (ndarray, ndarray) of float64, shape (num_nodes,), optional
        Absolute detector pixels (x, y) of the kernels: HDU ``PSF_NODES``.
    """
    planes: dict[str, str | int] = {f"MP_{name}": bit for name, bit in STANDARD_PLANES.items()}
    hdus: list[Any] = [fits.PrimaryHDU(header=observation_header(visit, longitude))]
    for name, array, cards in (
        ("IMAGE", image, {"BUNIT": "nJy"}),
        ("MASK", mask, planes),
        ("VARIANCE", variance, {"BUNIT": "nJy2"}),
    ):
        header = _array_wcs(visit)
        header.extend(_header(cards).cards)
        hdus.append(fits.ImageHDU(array, header=header, name=name))
    if psf is not None and psf_nodes is not None:
        hdus.append(fits.ImageHDU(psf, name="PSF"))
        columns = [fits.Column(n, "D", array=v, unit="pixel") for n, v in zip("xy", psf_nodes, strict=True)]
        hdus.append(fits.BinTableHDU.from_columns(columns, name="PSF_NODES"))
    fits.HDUList(hdus).writeto(path, overwrite=True)


def observation_header(visit: DetectorVisit, longitude: float) -> fits.Header:
    """The data ID and the observation, by the keywords of the Rubin pipelines.

    ``PARANGLE`` is not one of theirs: a simulated visit has an altitude and a parallactic angle but no time.
    """
    observation = visit.observation
    cards: dict[str, str | float | int | None] = {
        "INSTRUME": visit.instrument,
        "VISIT": visit.visit,
        "DETECTOR": visit.detector,
        "BAND": visit.band,
        "FILTER": visit.physical_filter,
        "IDNUM": visit.visit,
        "BORE-RA": observation.ra,
        "BORE-DEC": observation.dec,
        "BORE-ALT": observation.altitude,
        "PARANGLE": observation.parallactic_angle,
        "BORE-ROTANG": observation.rotation_angle,
        "ROTTYPE": "SKY",
        "OBS-LONG": longitude,
        "OBS-LAT": observation.latitude,
        "OBS-ELEV": observation.height,
        "AIRTEMP": observation.weather.temperature,
        "AIRPRESS": observation.weather.pressure,
        "HUMIDITY": observation.weather.humidity,
        "LSST BUTLER DATAID INSTRUMENT": visit.instrument,
        "LSST BUTLER DATAID VISIT": visit.visit,
        "LSST BUTLER DATAID DETECTOR": visit.detector,
        "LSST BUTLER DATAID BAND": visit.band,
        "LSST BUTLER DATAID PHYSICAL_FILTER": visit.physical_filter,
    }
    return _header({key: value for key, value in cards.items() if value is not None})


def _array_wcs(visit: DetectorVisit) -> fits.Header:
    """The detector's WCS for an array whose first pixel is the bbox's."""
    header = visit.wcs.header
    for axis, first in ((1, visit.bbox.x0), (2, visit.bbox.y0)):
        header[f"CRPIX{axis}"] -= first
        header[f"LTV{axis}"] = float(-first)
    return header


def _header(cards: Mapping[str, str | float | int | None]) -> fits.Header:
    """A header; keywords of more than 8 characters by the HIERARCH convention, as the pipelines write them."""
    header = fits.Header()
    for key, value in cards.items():
        header[f"HIERARCH {key}" if len(key) > 8 or " " in key else key] = value
    return header
