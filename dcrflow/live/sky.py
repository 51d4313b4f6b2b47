"""Where a campaign's detector-visits are, for its map: outlines of a few thousand, counts in HEALPix cells of more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
from astropy import units as u
from astropy_healpix import HEALPix
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch, Tract
from dcrflow.geometry.sphere import separation
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.live.places import FINEST
from dcrflow.model.visit import DetectorVisit

SINGLE = 3000  # detector-visits that are drawn one by one
CELLS = 1500  # cells of a map, at most
TRACTS = 300  # outlines of tracts, at most
_SAMPLE = 500  # detector-visits that tracts are looked for around
_NEAR = 1.5  # deg; how far the nearest detector may be from a tract's outline, for the tract to be drawn

Float = NDArray[np.float64]


def corners_of(wcs: SkyWcs, bbox: Box) -> list[list[float]]:
    """The four corners of a box, (RA, Dec) in ICRS degrees, from the lower left, counter-clockwise."""
    ra, dec = wcs.pixel_to_sky(*bbox.outline(1))
    return _pairs(ra, dec)


def position_of(visit: DetectorVisit) -> tuple[float, float]:
    """ICRS position of a detector's middle, degrees."""
    box = visit.bbox
    ra, dec = visit.wcs.pixel_to_sky(box.x0 + box.width / 2, box.y0 + box.height / 2)
    return float(ra), float(dec)


def cells_at(ra: Float, dec: Float) -> NDArray[np.int64]:
    """HEALPix cells of order `FINEST`, nested, of some positions (ICRS degrees); -1 where one is not finite."""
    known = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90)
    found = np.full(len(ra), -1, np.int64)
    found[known] = _healpix(FINEST).lonlat_to_healpix(ra[known] * u.deg, dec[known] * u.deg)
    return found


@cache
def _healpix(order: int) -> HEALPix:
    return HEALPix(nside=2**order, order="nested")


def cell_counts(cells: NDArray[np.int64], most: int = CELLS) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """Count positions in cells of the finest order that has no more than `most` of them.

    Returns
    -------
    order : int
    cells, numbers : ndarray of int64, shape (n,)
        The cells, in order, and how many positions are in each.
    """
    cells = np.sort(cells[cells >= 0])
    order = FINEST
    found, numbers = np.unique(cells, return_counts=True)
    while len(found) > most and order > 0:
        order -= 1
        found, numbers = np.unique(cells >> 2 * (FINEST - order), return_counts=True)
    return order, found, numbers


def map_event(cells: NDArray[np.int64], with_corners: bool = True) -> dict[str, Any]:
    """The event that sets up a map in cells: ``order``, ``cells`` with (cell, number, corners)."""
    order, found, numbers = cell_counts(cells)
    corners: Sequence[Any] = [None] * len(found)
    if with_corners and len(found):
        ra, dec = _healpix(order).boundaries_lonlat(found, step=1)
        corners = [_pairs(a, d) for a, d in zip(ra.deg, dec.deg, strict=True)]
    rows = zip(found.tolist(), numbers.tolist(), corners, strict=True)
    return {"event": "sky", "order": order, "cells": [list(row) for row in rows]}


def centres_of(order: int, cells: Sequence[int]) -> tuple[Float, Float]:
    """ICRS positions of the middles of some cells, degrees."""
    ra, dec = _healpix(order).healpix_to_lonlat(np.asarray(cells, np.int64))
    return ra.to_value(u.deg), dec.to_value(u.deg)


def cells_of(visits: Iterable[DetectorVisit]) -> NDArray[np.int64]:
    """HEALPix cells of order `FINEST` that the middles of some detectors are in."""
    return cells_at(*_positions(visits))


def footprint_event(visits: Iterable[DetectorVisit]) -> dict[str, Any]:
    """The event that adds some detectors' outlines to a map."""
    rows = [[v.visit, v.detector, corners_of(v.wcs, v.bbox)] for v in visits]
    return {"event": "sky", "footprints": rows}


def patch_cells(patches: Sequence[tuple[Tract, Patch]]) -> NDArray[np.int64]:
    """HEALPix cells of order `FINEST` that the middles of some patches are in."""
    middles = [tract.wcs.pixel_to_sky(*(np.array([m]) for m in _middle(patch.bbox))) for tract, patch in patches]
    places = np.array(middles, np.float64).reshape(-1, 2)
    return cells_at(places[:, 0], places[:, 1])


def _middle(box: Box) -> tuple[float, float]:
    return box.x0 + box.width / 2, box.y0 + box.height / 2


def patch_event(patches: Sequence[tuple[Tract, Patch]]) -> dict[str, Any]:
    """The event that adds some patches' outlines to a map."""
    rows = [[tract.tract, patch.patch, corners_of(tract.wcs, patch.bbox)] for tract, patch in patches]
    return {"event": "sky", "footprints": rows}


def _positions(visits: Iterable[DetectorVisit]) -> tuple[Float, Float]:
    places = np.array([position_of(visit) for visit in visits]).reshape(-1, 2)
    return places[:, 0], places[:, 1]


def tract_event(tracts: Mapping[int, Tract], visits: Sequence[DetectorVisit]) -> dict[str, Any]:
    """The event with the outlines of the tracts near some of the detector-visits."""
    step = max(1, len(visits) // _SAMPLE)
    ra, dec = _positions(visits[::step])

    def is_near(tract: Tract) -> bool:
        return bool(len(ra) and np.nanmin(separation(*tract.centre, ra, dec) - tract.radius) < _NEAR)

    return outlines_event(tract for tract in tracts.values() if is_near(tract))


def outlines_event(tracts: Iterable[Tract]) -> dict[str, Any]:
    """The event with the outlines of some tracts, of the first few hundred."""
    outlines = []
    for tract in islice(tracts, TRACTS):
        edge = tract.wcs.pixel_to_sky(*tract.bbox.outline(4))
        outlines.append({"tract": tract.tract, "corners": _pairs(*edge)})
    return {"event": "sky", "tracts": outlines}


def _pairs(ra: Any, dec: Any) -> list[list[float]]:
    """(RA, Dec) of some points; none if a WCS does not know them all."""
    pairs = np.round(np.stack([ra, dec], axis=1), 5)
    return pairs.tolist() if np.isfinite(pairs).all() else []
