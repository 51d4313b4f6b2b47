"""One tract around some visits, for who has no sky map."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dcrflow.base.errors import ConfigError
from dcrflow.geometry import sphere
from dcrflow.geometry.box import Box
from dcrflow.geometry.layout import ListedSkyMap, PatchLayout
from dcrflow.geometry.skymap import Outline, Tract
from dcrflow.model.visit import DetectorVisit

_USUAL = 0.2  # arcsec
_NEARLY = 0.03  # of the scale, within which the usual one is taken
_STEP = 64  # pixels of which a patch's side is a multiple
_WIDEST = 5.0  # degrees from the middle to any detector, for one tangent plane


def auto_skymap(
    visits: Sequence[DetectorVisit],
    *,
    pixel_scale: float | None = None,
    patch_inner: int = 4000,
    patch_border: int = 100,
) -> ListedSkyMap:
    """A sky map of one tract, number 0, that holds all detectors: north up, tangent in their middle.

    Parameters
    ----------
    visits : sequence of DetectorVisit
        One or more.
    pixel_scale : float, optional
        Arcsec; otherwise the median of the visits' own, to three digits, or 0.2 where that is within 3 % of it.
    patch_inner : int
        Largest side of a patch's inner part, pixels; smaller where the visits leave no more to cover.
    patch_border : int
        Pixels.

    Raises
    ------
    ConfigError
        If there are no visits, or they are too far apart for one tract.
    """
    if not visits:
        raise ConfigError("no usable visits: there is nothing to make a sky map around")
    outlines = [Outline.of(v.wcs, v.bbox, 4) for v in visits]
    centre = _middle(outlines)
    for visit, outline in zip(visits, outlines, strict=True):
        away = float(sphere.separation(*centre, *outline.centre))
        if away > _WIDEST:
            raise ConfigError(
                f"{visit.label} at RA {outline.centre[0]:.3f} Dec {outline.centre[1]:.3f} is {away:.1f} deg from the "
                f"middle of the visits, expected {_WIDEST:g} at most for one tract; give a sky map of rings "
                "(--skymap FILE), or choose visits of one field (--where)"
            )
    scale = pixel_scale or _scale(visits)
    layout = PatchLayout(scale, patch_border=patch_border)
    plane = layout.wcs(centre, (0.0, 0.0))
    x, y = (np.concatenate(v) for v in zip(*(plane.sky_to_pixel(o.ra, o.dec) for o in outlines), strict=True))
    covered = Box.around(x, y)
    (width, nx), (height, ny) = (_axis(n, patch_inner) for n in (covered.width, covered.height))
    x0 = covered.x0 - (nx * width - covered.width) // 2
    y0 = covered.y0 - (ny * height - covered.height) // 2
    tract = Tract(
        tract=0,
        wcs=layout.wcs(centre, (-float(x0), -float(y0))),
        bbox=Box(0, 0, nx * width, ny * height),
        patch_inner=(width, height),
        patch_border=patch_border,
        num_patches=(nx, ny),
    )
    return ListedSkyMap((tract,), "auto")


def _middle(outlines: Sequence[Outline]) -> tuple[float, float]:
    """The middle of the detectors, to 1e-4 degrees: the same for nearly the same visits."""
    ra, dec = (np.deg2rad([o.centre[i] for o in outlines]) for i in (0, 1))
    x, y, z = np.mean(np.cos(dec) * np.cos(ra)), np.mean(np.cos(dec) * np.sin(ra)), np.mean(np.sin(dec))
    if math.hypot(float(x), float(y), float(z)) < 0.1:
        raise ConfigError("the visits are spread over the sky; give a sky map of rings (--skymap FILE)")
    lon, lat = math.degrees(math.atan2(float(y), float(x))), math.degrees(math.atan2(float(z), math.hypot(x, y)))
    lat = round(lat, 4)
    return (0.0 if abs(lat) == 90.0 else round(lon % 360.0, 4)), lat


def _scale(visits: Sequence[DetectorVisit]) -> float:
    own = float(np.median([v.wcs.pixel_scale(v.bbox.x0 + v.bbox.width / 2, v.bbox.y0 + v.bbox.height / 2)
                           for v in visits]))  # fmt: skip
    return _USUAL if abs(own / _USUAL - 1) < _NEARLY else float(f"{own:.3g}")


def _axis(extent: int, most: int) -> tuple[int, int]:
    """Side of a patch's inner part, and how many, to cover an extent."""
    number = math.ceil(extent / most)
    return min(most, math.ceil(extent / number / _STEP) * _STEP), number
