"""Where LSST's template has no data, by its rules written out pixel by pixel; dcrflow's outline is held against it.

The rules are those of `lsst.ip.diffim.GetTemplateTask` and `lsst.afw.math.warpExposure`, with Lanczos-3 for the image
and bilinear interpolation for the mask. They are checked on what LSST wrote. Then patches are taken away and detectors
distorted, of which there are no files.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt

from dcrflow.base.masks import NO_DATA
from dcrflow.demo.parity import AS_LSST, Case, golden_cases, golden_coadds
from dcrflow.geometry.skymap import Patch
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.model.visit import DetectorVisit
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.steps import make_tile
from dcrflow.stores.coadds.store import DcrCoadds

Bool = NDArray[np.bool_]

#: SIP terms that bend the sides of a detector of 400 pixels by several pixels, outwards and inwards.
DISTORTION = {"A_ORDER": 3, "A_1_2": 1e-6, "A_2_0": 4e-5, "B_ORDER": 3, "B_0_2": -1.5e-4, "B_2_1": 1e-6}


class Without:
    """Coadds less some patches, given by (tract, patch)."""

    def __init__(self, coadds: DcrCoadds, gone: set[tuple[int, int]]) -> None:
        self._coadds, self._gone = coadds, gone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coadds, name)

    def patches(self, tract: int, band: str) -> tuple[Patch, ...]:
        return tuple(p for p in self._coadds.patches(tract, band) if (tract, p.patch) not in self._gone)


def outline_by_rules(coadds: Any, plan: TemplatePlan) -> Bool:
    """Which pixels of the template have NO_DATA in LSST's way; shape (y, x). Coordinates are exact."""
    box, wcs = plan.bbox, plan.visit.wcs
    rows, columns = np.mgrid[box.y0 : box.y1, box.x0 : box.x1].astype(float)
    corners = np.meshgrid([box.x0 - 0.5, box.x1 - 0.5], [box.y0 - 0.5, box.y1 - 0.5])
    without, weight = np.zeros(box.shape, bool), np.zeros(box.shape, bool)
    for planned in plan.tracts:
        tract, boxes = planned.tract, [p.bbox for p in planned.patches]
        weighed = np.zeros(np.add(tract.bbox.shape, 8), bool)
        for patch in planned.patches:
            variance = coadds.read(patch.tract, patch.patch, plan.band, patch.bbox, plan.planes).variance
            weighed[patch.bbox.y0 : patch.bbox.y1, patch.bbox.x0 : patch.bbox.x1] |= np.all(variance > 0, axis=0)
        x, y = tract.wcs.sky_to_pixel(*wcs.pixel_to_sky(*corners))
        x0 = max(min(b.x0 for b in boxes), np.floor(x.min() + 0.5) - 5)
        y0 = max(min(b.y0 for b in boxes), np.floor(y.min() + 0.5) - 5)
        x1 = min(max(b.x1 for b in boxes), np.ceil(x.max() - 0.5) + 6)
        y1 = min(max(b.y1 for b in boxes), np.ceil(y.max() - 0.5) + 6)
        u, v = tract.wcs.sky_to_pixel(*wcs.pixel_to_sky(columns, rows))
        i, j = np.floor(u).astype(int), np.floor(v).astype(int)
        whole = (i - 2 >= x0) & (i + 3 < x1) & (j - 2 >= y0) & (j + 3 < y1)  # the kernel's 6 x 6 pixels are there
        i, j = np.where(whole, i, 2), np.where(whole, j, 2)
        gap = ~(weighed[j, i] & weighed[j, i + 1] & weighed[j + 1, i] & weighed[j + 1, i + 1])
        some = np.any([weighed[j + dy, i + dx] for dy in range(-2, 4) for dx in range(-2, 4)], axis=0)
        weight |= whole & some
        without |= whole & some & gap
    return without | ~weight


def no_data(coadds: Any, plan: TemplatePlan) -> Bool:
    made = make_tile(coadds, plan, plan.bbox).pixels
    found = made.mask >> plan.planes[NO_DATA] & 1 == 1
    assert np.all(made.image[found] == plan.config.fill)
    assert np.all(made.variance[found] == plan.config.fill)
    return np.asarray(found)


def distance(one: Bool, other: Bool) -> int:
    """How far the farthest pixel of either is from the other, pixels along an axis or a diagonal."""
    assert one.any()
    assert other.any()
    return max(int(distance_transform_cdt(~b, "chessboard")[a].max()) for a, b in ((one, other), (other, one)))


def distorted(visit: DetectorVisit) -> DetectorVisit:
    """The detector-visit with SIP terms of `DISTORTION`."""
    plain = {k: v for k, v in visit.wcs.header.items() if not k.startswith(("A_", "B_", "AP_", "BP_"))}
    sip = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"} | DISTORTION
    return replace(visit, wcs=SkyWcs.from_header(plain | sip))


@lru_cache(maxsize=2)
def everything(directory: Path) -> tuple[DcrCoadds, list[Case]]:
    coadds = golden_coadds(directory)
    return coadds, list(golden_cases(directory, coadds))


def test_the_rules_are_those_of_lsst(golden: Path) -> None:
    """On what LSST wrote, to single pixels, whose coordinates are whole numbers to their last digits."""
    coadds, cases = everything(golden)
    for case in cases:
        theirs = case.expected.mask >> case.expected.planes[NO_DATA] & 1 == 1
        by_rules = outline_by_rules(coadds, case.plan)
        assert distance(by_rules, theirs) <= 1
        assert np.sum(by_rules != theirs) <= 3


@pytest.mark.parametrize("sip", [False, True], ids=["TAN", "TAN-SIP"])
@pytest.mark.parametrize("gone", [{(0, 3)}, {(0, 0), (0, 3)}, {(0, 1)}], ids=str)
def test_missing_patches(golden_here: Path, gone: set[tuple[int, int]], sip: bool) -> None:
    check(golden_here, gone, sip)


@pytest.mark.parametrize("sip", [False, True], ids=["TAN", "TAN-SIP"])
@pytest.mark.parametrize("gone", [{(0, 3), (1, 0)}, {(0, 2)}, {(1, 1), (1, 2)}], ids=str)
def test_patches_missing_in_one_tract(golden: Path, gone: set[tuple[int, int]], sip: bool) -> None:
    """Where the other tract has data there is a seam of NO_DATA, three pixels wide, along the missing patch."""
    check(golden, gone, sip)


def check(directory: Path, gone: set[tuple[int, int]], sip: bool) -> None:
    whole, cases = everything(directory)
    coadds: Any = Without(whole, gone)
    for case in cases:
        visit = distorted(case.plan.visit) if sip else case.plan.visit
        plan = plan_template(coadds, visit, AS_LSST.model_copy(update={"tile": 200}))
        ours, theirs = no_data(coadds, plan), outline_by_rules(coadds, plan)
        assert distance(ours, theirs) <= 1
