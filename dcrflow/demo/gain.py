"""Residuals around stars with unmatched and with DCR-matched templates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from dcrflow.base.attributes import objects
from dcrflow.demo.subtraction import subtract
from dcrflow.model.visit import DetectorVisit

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

RADIUS = 10  # pixels around a star that count
BRIGHT = 40.0  # a star counts if its flux is so many times the noise of its aperture
_IGNORED = ("BAD", "SAT", "CR", "EDGE", "SUSPECT", "NO_DATA", "INTRP")


@dataclass(frozen=True)
class Gain:
    """Residuals of one detector-visit.

    Parameters
    ----------
    visit, detector : int
        The data ID.
    zenith_angle : float
        At the middle of the detector, degrees.
    stars : int
        Bright stars that were looked at.
    unmatched, matched : float
        Residual rms around them, science minus template, nJy.
    noise : float
        The rms that the variances of science image and template lead one to expect, nJy.
    coverage : float
        Fraction of the detector's pixels that the template has data for.
    """

    visit: int
    detector: int
    zenith_angle: float
    stars: int
    unmatched: float
    matched: float
    noise: float
    coverage: float

    @property
    def ratio(self) -> float:
        """Unmatched over matched."""
        return self.unmatched / self.matched

    @property
    def excess_ratio(self) -> float:
        """Unmatched over matched, both with the noise subtracted in quadrature; infinite if nothing is left."""
        rest = self.matched**2 - self.noise**2
        return float(np.sqrt((self.unmatched**2 - self.noise**2) / rest)) if rest > 0 else float("inf")


@dataclass(frozen=True)
class Difference:
    """A science image, two templates, and where their stars are; all arrays [y, x] on the detector's own pixels."""

    visit: DetectorVisit
    science: Float
    variance: Float
    plain: Float
    matched: Float
    good: Bool
    star_x: Float
    star_y: Float
    star_flux: Float


def read_science(path: Path) -> tuple[Float, Float, Bool]:
    """Image, variance (nJy, nJy^2) and which pixels are usable, of an LSST-style FITS exposure."""
    with fits.open(path, memmap=False) as hdus:
        mask, header = hdus["MASK"].data, hdus["MASK"].header
        bits = sum(1 << header[f"MP_{name}"] for name in _IGNORED if f"MP_{name}" in header)
        return (
            hdus["IMAGE"].data.astype(np.float64),
            hdus["VARIANCE"].data.astype(np.float64),
            (mask & bits) == 0,
        )


def compare(
    visit: DetectorVisit,
    science: Path,
    plain: xr.Dataset,
    matched: xr.Dataset,
    truth: Table,
    *,
    free_kernel: bool = False,
) -> tuple[Gain, Difference]:
    """Subtract both templates from a science image and measure what is left around its bright stars.

    Parameters
    ----------
    visit : DetectorVisit
        Whose.
    science : Path
        Its image, as `dcrflow simulate` writes it.
    plain, matched : xarray.Dataset
        Templates without and with DCR matching.
    truth : Table
        Columns ra, dec (deg), flux (nJy) and half_light_radius (0 for stars).
    free_kernel : bool
        Fit a matching kernel to each template first, as image subtraction does where the PSFs differ.
    """
    image, noise, good = read_science(science)
    box = visit.bbox
    own = {"x": slice(box.x0, box.x1 - 1), "y": slice(box.y0, box.y1 - 1)}
    plain, matched = plain.sel(own).compute(), matched.sel(own).compute()
    meanings = str(matched["mask"].attrs["flag_meanings"]).split()
    bits = sum(f for f, n in zip(matched["mask"].attrs["flag_masks"], meanings, strict=True) if n in _IGNORED)
    good &= (matched["mask"].values & bits) == 0
    good &= np.isfinite(matched["image"].values) & np.isfinite(plain["image"].values)
    sky_noise, noise = noise, noise + matched["variance"].values
    x, y = visit.wcs.sky_to_pixel(np.asarray(truth["ra"]), np.asarray(truth["dec"]))
    flux = np.asarray(truth["flux"], np.float64)
    sky = float(np.sqrt(np.median(noise[good]) * np.pi * RADIUS**2))
    edge = RADIUS + 1  # of the disk around the nearest pixel
    inside = (x > box.x0 + edge) & (x < box.x1 - edge) & (y > box.y0 + edge) & (y < box.y1 - edge)
    kept = inside & (flux > BRIGHT * sky) & (np.asarray(truth["half_light_radius"]) == 0)
    around = np.zeros(box.shape, np.bool_)
    yy, xx = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    disk = xx**2 + yy**2 <= RADIUS**2
    for cx, cy in zip(np.rint(x[kept]).astype(int) - box.x0, np.rint(y[kept]).astype(int) - box.y0, strict=True):
        around[cy - RADIUS : cy + RADIUS + 1, cx - RADIUS : cx + RADIUS + 1] |= disk
    around &= good
    templates = [np.asarray(t["image"].values, np.float64) for t in (plain, matched)]
    if free_kernel:
        subtractions = [subtract(image, template, sky_noise, around) for template in templates]
        templates = [one.template for one in subtractions]
        noise = sky_noise  # that of the templates is small, and correlated by the kernel
        good &= np.isfinite(templates[0]) & np.isfinite(templates[1])
        around &= good
    left = [np.sqrt(np.mean((image - template)[around] ** 2)) for template in templates]
    gain = Gain(
        visit=visit.visit,
        detector=visit.detector,
        zenith_angle=float(objects(matched.attrs)["dcr"]["zenith_angle"]),
        stars=int(kept.sum()),
        unmatched=float(left[0]),
        matched=float(left[1]),
        noise=float(np.sqrt(np.mean(noise[around]))),
        coverage=float(matched.attrs.get("coverage", np.mean(np.isfinite(matched["image"].values)))),
    )
    difference = Difference(visit, image, noise, templates[0], templates[1], good, x[kept], y[kept], flux[kept])
    return gain, difference
