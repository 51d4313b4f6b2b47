"""Coordinate maps: the interpolation error is what it says, and does not depend on the tile."""

import numpy as np
import pytest
from test_wcs import SIP, TAN, TPV

from dcrflow.base.errors import WcsError
from dcrflow.geometry import mapping
from dcrflow.geometry.box import Box
from dcrflow.geometry.mapping import TOLERANCE, PixelMap, map_pixels
from dcrflow.geometry.wcs import SkyWcs

TRACT = SkyWcs.from_header(TAN | {"CD1_1": -5.5e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 5.5e-5})
DETECTOR = Box(-20, -20, 1040, 840)


def interpolated(pixel_map: PixelMap, tile: Box) -> tuple[np.ndarray, np.ndarray]:
    y, x, y0, x0 = pixel_map.nodes(tile)
    step = pixel_map.step
    jy, jx = np.divmod(y0 + np.arange(tile.height), step), np.divmod(x0 + np.arange(tile.width), step)
    ty, tx = jy[1][:, None] / step, jx[1][None, :] / step
    out = []
    for grid in (x, y):
        a, b = grid[jy[0]][:, jx[0]], grid[jy[0]][:, jx[0] + 1]
        c, d = grid[jy[0] + 1][:, jx[0]], grid[jy[0] + 1][:, jx[0] + 1]
        out.append((1 - ty) * ((1 - tx) * a + tx * b) + ty * ((1 - tx) * c + tx * d))
    return out[0], out[1]


@pytest.mark.parametrize("header", [TAN, SIP, TPV], ids=["TAN", "TAN-SIP", "TPV"])
def test_error_bound_holds_on_every_pixel(header: dict[str, object]) -> None:
    detector = SkyWcs.from_header(header)
    pixel_map = PixelMap.measured(detector, TRACT, DETECTOR)
    assert pixel_map.error <= TOLERANCE
    x, y = interpolated(pixel_map, DETECTOR)
    exact = map_pixels(
        detector, TRACT, *np.meshgrid(np.arange(DETECTOR.x0, DETECTOR.x1), np.arange(DETECTOR.y0, DETECTOR.y1))
    )
    worst = np.hypot(x - exact[0], y - exact[1]).max()
    assert worst <= 1.5 * TOLERANCE
    assert worst <= 1.5 * pixel_map.error + 1e-6


def test_stronger_distortion_needs_a_finer_grid() -> None:
    weak, strong = (
        PixelMap.measured(SkyWcs.from_header(SIP | {"A_2_0": a, "B_0_2": a}), TRACT, DETECTOR).step
        for a in (1e-8, 1e-5)
    )
    assert strong < weak


def test_tiles_see_the_same_coordinates() -> None:
    pixel_map = PixelMap.measured(SkyWcs.from_header(SIP), TRACT, DETECTOR)
    whole = interpolated(pixel_map, DETECTOR)
    for tile in (Box(-20, -20, 33, 45), Box(100, 201, 64, 64), Box(1000, 800, 20, 20)):
        part = interpolated(pixel_map, tile)
        for axis in (0, 1):
            np.testing.assert_array_equal(part[axis], whole[axis][tile.slices(DETECTOR)])


@pytest.mark.parametrize("few", [0, mapping._FEW])
def test_coordinates_made_at_once_are_those_of_a_tile(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "_FEW", few)
    pixel_map = PixelMap(SkyWcs.from_header(SIP), TRACT, DETECTOR, 64, 0.0)
    for tile in (Box(-20, -20, 33, 45), Box(107, 201, 64, 64), Box(1000, 800, 20, 20)):
        y, x, y0, x0 = pixel_map.nodes(tile)
        first_x, first_y = tile.x0 - x0, tile.y0 - y0
        assert (first_x - DETECTOR.x0) % 64 == (first_y - DETECTOR.y0) % 64 == 0
        places = np.meshgrid(first_x + 64.0 * np.arange(x.shape[1]), first_y + 64.0 * np.arange(x.shape[0]))
        exact = map_pixels(pixel_map.source, TRACT, *places)
        np.testing.assert_array_equal((x, y), exact)
        assert places[0][0, -2] < tile.x1 <= places[0][0, -1] + 1


def test_not_finite_is_an_error() -> None:
    away = SkyWcs.from_header(TAN | {"CRVAL1": 233.0, "CRVAL2": 28.0})
    broken = SkyWcs.from_header(TAN | {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"})
    with pytest.raises(WcsError, match="not finite"):
        PixelMap.measured(away, broken, DETECTOR)
