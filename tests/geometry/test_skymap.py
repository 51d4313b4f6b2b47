"""Tracts and patches, and their overlap with a detector against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Outline, Tract, clipped_area, overlapping_patches
from dcrflow.geometry.wcs import SkyWcs


def tan(ra: float, dec: float, x: float, y: float, rotation: float = 0.0, flip: float = -1.0) -> SkyWcs:
    c, s = np.cos(np.deg2rad(rotation)) * 5e-5, np.sin(np.deg2rad(rotation)) * 5e-5
    return SkyWcs.from_header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": x + 1, "CRPIX2": y + 1, "CRVAL1": ra, "CRVAL2": dec,
            "CD1_1": flip * c, "CD1_2": -flip * s, "CD2_1": s, "CD2_2": c,
        }
    )  # fmt: skip


TRACT = Tract(5, tan(53.0, -28.0, 500, 400), Box(0, 0, 1000, 800), (250, 200), 20, (4, 4))


def test_patches() -> None:
    first, last, middle = TRACT.patch(0), TRACT.patch(15), TRACT.patch(5)
    assert first.bbox == Box(0, 0, 270, 220)
    assert last.bbox == Box(730, 580, 270, 220)
    assert middle.bbox == Box(230, 180, 290, 240)
    assert len(TRACT.patches) == 16
    with pytest.raises(LookupError, match="patches 0 to 15, not 16"):
        TRACT.patch(16)


@settings(max_examples=60)
@given(
    ra=st.floats(52.96, 53.04),
    dec=st.floats(-28.035, -27.965),
    rotation=st.floats(0, 360),
    flip=st.sampled_from([-1, 1]),
)
def test_overlap_against_brute_force(ra: float, dec: float, rotation: float, flip: float) -> None:
    wcs, box = tan(ra, dec, 60, 50, rotation, flip), Box(0, 0, 120, 100)
    found = {p.patch for p in overlapping_patches(Outline.of(wcs, box), TRACT, TRACT.patches)}
    x, y = np.meshgrid(np.linspace(-0.5, 119.5, 121), np.linspace(-0.5, 99.5, 101))
    u, v = TRACT.wcs.sky_to_pixel(*wcs.pixel_to_sky(x, y))
    surely = {
        p.patch for p in TRACT.patches
        if np.any((u > p.bbox.x0) & (u < p.bbox.x1 - 1) & (v > p.bbox.y0) & (v < p.bbox.y1 - 1))
    }  # fmt: skip
    perhaps = {
        p.patch for p in TRACT.patches
        if np.any((u > p.bbox.x0 - 2) & (u < p.bbox.x1 + 1) & (v > p.bbox.y0 - 2) & (v < p.bbox.y1 + 1))
    }  # fmt: skip
    assert surely <= found <= perhaps


@given(box=st.builds(Box, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 9), st.integers(1, 9)))
def test_clipped_area_of_a_box_is_the_intersection(box: Box) -> None:
    other = Box(-3, -2, 7, 6)
    assert clipped_area(*box.outline(3), other) == pytest.approx(box.intersection(other).area)


def test_a_detector_on_the_other_side_of_the_sky_overlaps_nothing() -> None:
    """A gnomonic projection maps the antipode onto the tangent point: distance on the sky comes first."""
    outline = Outline.of(tan(233.0, 28.0, 60, 50), Box(0, 0, 120, 100))
    assert overlapping_patches(outline, TRACT, TRACT.patches) == ()


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.999, 10.0), (120.0, 89.999), (10.0, -89.9999)])
def test_across_ra_zero_and_at_the_poles(ra: float, dec: float) -> None:
    tract = Tract(1, tan(ra, dec, 500, 400), Box(0, 0, 1000, 800), (250, 200), 20, (4, 4))
    outline = Outline.of(tan(ra, dec, 60, 50, 33.0), Box(0, 0, 120, 100))
    found = {p.patch for p in overlapping_patches(outline, tract, tract.patches)}
    assert found == {5, 6, 9, 10}
    assert tract.radius == pytest.approx(np.hypot(500, 400) * 5e-5, rel=0.01)


@pytest.mark.parametrize("margin", [0.0, 60.0, 400.0])
def test_near_patches_are_all_that_an_outline_touches(margin: float) -> None:
    tract = Tract(3, TRACT.wcs, Box(-40, 25, 1010, 700), (100, 90), 12, (11, 8))
    rng = np.random.default_rng(4)
    for _ in range(20):
        x, y = (rng.uniform(-300, 1200) + rng.uniform(-90, 90, 5) for _ in range(2))
        near = {p.patch for p in tract.patches_near(x, y, margin)}
        touched = {p.patch for p in tract.patches if clipped_area(x, y, p.bbox.grown(int(margin))) > 0}
        assert touched <= near
        assert all(tract.patch(p) in tract.patches for p in near)
    assert tract.patches_near(np.array([1e9]), np.array([-1e12]), 0.0) == ()
