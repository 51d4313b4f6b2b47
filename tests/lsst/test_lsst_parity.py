"""The LSST pipeline's own numbers, reproduced; what differs is stated with its cause.

By LSST's method (`dcr: split`, `rotation: boresight`, `warp: lanczos3`, `combine: variance`, `fill: 0`). The figures
come from `lsst.ip.diffim.GetDcrTemplateTask` of July 2026. Where LSST is wrong: `test_where_lsst_errs.py`.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from dcrflow.base.masks import NO_DATA
from dcrflow.demo.parity import Case, Parity, compare, golden_cases, golden_coadds
from dcrflow.geometry.mapping import map_pixels
from dcrflow.steps import make_tile
from dcrflow.stores.coadds.store import DcrCoadds

HERE = "1003/3"  # part of the repository; the others lie beside a checkout
DETECTORS = ["1001/0", "1002/1", "1002/2", HERE]
TAN = ["1001/0", "1002/2", HERE]
DISTORTED = "1002/1"


@pytest.fixture
def compared(request: pytest.FixtureRequest, detector: str) -> tuple[DcrCoadds, Case, Parity]:
    """The coadds, the plan and LSST's output, and how ours differs from it."""
    coadds, cases = everything(request.getfixturevalue("golden_here" if detector == HERE else "golden"))
    return coadds, *cases[detector]


@lru_cache(maxsize=2)
def everything(directory: Path) -> tuple[DcrCoadds, dict[str, tuple[Case, Parity]]]:
    coadds = golden_coadds(directory)
    cases = {f"{c.plan.visit.visit}/{c.plan.visit.detector}": c for c in golden_cases(directory, coadds)}
    return coadds, {name: (case, compare(coadds, case)) for name, case in cases.items()}


@pytest.mark.parametrize("detector", DETECTORS)
def test_shifts(compared: tuple[DcrCoadds, Case, Parity]) -> None:
    assert compared[2].shift < 1e-6


@pytest.mark.parametrize("detector", DETECTORS)
def test_matched_coadds(compared: tuple[DcrCoadds, Case, Parity]) -> None:
    """To the last pixel of the patches' edges, which only `rotation: boresight` treats as LSST does."""
    assert compared[2].matched < 1e-6


@pytest.mark.parametrize("detector", TAN)
def test_template(compared: tuple[DcrCoadds, Case, Parity]) -> None:
    _, _, found = compared
    assert found.image < 1e-5
    assert found.variance < 1e-4


def test_template_of_a_distorted_detector(golden: Path) -> None:
    found = everything(golden)[1][DISTORTED][1]
    assert found.image < 1e-3
    assert found.variance < 5e-3


def test_the_distorted_detector_differs_because_of_lsst_coordinates(golden: Path) -> None:
    """LSST interpolates coordinates over 100 px whatever the error: with its grid its numbers come out; they are wrong.

    Compared on its whole cells; its last row and column of cells are narrower than ours.
    """
    coadds, cases = everything(golden)
    case, parity = cases[DISTORTED]
    theirs = case.with_lsst_coordinates()
    found = compare(coadds, theirs)
    whole = np.s_[:299, :299]
    assert np.nanmax(found.image_map[whole]) < 3e-5
    assert np.nanmax(parity.image_map[whole]) > 1e-4

    box = case.plan.visit.bbox
    x, y = np.meshgrid(np.arange(box.x0, 279.0), np.arange(box.y0, 279.0))

    def error(of: Case) -> float:
        """Largest distance of the interpolated coordinates from the exact ones, by bilinear interpolation."""
        pixel_map = of.plan.tracts[0].pixel_map
        exact = map_pixels(pixel_map.source, pixel_map.target, x, y)
        step, corner = pixel_map.step, pixel_map.bbox
        gx, gy = (x - corner.x0) // step * step + corner.x0, (y - corner.y0) // step * step + corner.y0
        tx, ty = (x - gx) / step, (y - gy) / step
        linear = np.zeros((2, *x.shape))
        for dx, dy, share in (
            (0, 0, (1 - tx) * (1 - ty)), (step, 0, tx * (1 - ty)), (0, step, (1 - tx) * ty), (step, step, tx * ty),
        ):  # fmt: skip
            linear += share * map_pixels(pixel_map.source, pixel_map.target, gx + dx, gy + dy)
        return float(np.hypot(*(linear - exact)).max())

    assert error(case) < 2.5e-4
    assert error(theirs) > 2e-3


@pytest.mark.parametrize(("detector", "limit"), [("1001/0", 1e-4), ("1002/1", 1e-4), ("1002/2", 1e-4), (HERE, 2e-3)])
def test_mask(compared: tuple[DcrCoadds, Case, Parity], limit: float) -> None:
    """Identical on 99.99 % of the pixels; on 99.8 % of detector 1003/3.

    The pixels of that one lie within 3e-5 px of the tract's everywhere, so that the last digits of the coordinates
    decide which two pixels a bilinear footprint, with weights of 1 and 1e-6, is made of.
    """
    _, case, parity = compared
    assert parity.mask < limit
    if limit > 1e-4:
        box = case.plan.bbox
        y, x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1].astype(float)
        for tract in case.plan.tracts:
            places = np.stack(map_pixels(case.plan.visit.wcs, tract.tract.wcs, x, y))
            assert np.abs(places - np.round(places)).max() < 3e-5


@pytest.mark.parametrize("detector", DETECTORS[:-1])  # the last has data everywhere
def test_no_data_outline(compared: tuple[DcrCoadds, Case, Parity]) -> None:
    """The same to within one pixel."""
    coadds, case, _ = compared
    made = make_tile(coadds, case.plan, case.plan.bbox).pixels
    ours = (made.mask >> case.plan.planes[NO_DATA]) & 1 == 1
    theirs = (case.expected.mask >> case.expected.planes[NO_DATA]) & 1 == 1
    assert theirs.any()
    for a, b in ((ours, theirs), (theirs, ours)):
        near = np.zeros_like(b)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                near |= np.roll(b, (dy, dx), axis=(0, 1))
        assert not np.any(a & ~near)
