"""Sky maps against what the Rubin pipelines' own package makes of the same configuration, and against geometry."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from dcrflow.base.errors import ConfigError, NoOverlapError
from dcrflow.geometry.layout import ComputedSkyMap, ListedSkyMap, PatchLayout, Rings, described

HERE = Path(__file__).parent.parent
GOLDEN = HERE / "data/skymap_rings_18.json"
WHOLE = HERE.parent.parent / "shared/golden/skymap_rings_18.json"


def rings(config: dict, version: int = 1, projection: str = "TAN") -> ComputedSkyMap:
    layout = PatchLayout(
        pixel_scale=config["pixelScale"],
        projection=projection,
        tract_overlap=config["tractOverlap"],
        patch_inner=(config["patchInner"],) * 2,
        patch_border=config["border"],
    )
    return ComputedSkyMap.of_rings(Rings(config["numRings"], config["raStart"], version), layout)


@pytest.mark.parametrize("path", [GOLDEN, WHOLE], ids=["part", "whole"])
def test_rings_are_those_of_lsst_skymap(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"{path} is not there")
    golden = json.loads(path.read_text())["rings_18"]
    skymap = rings(golden["config"])
    assert len(skymap.tract_ids) == golden["num_tracts"]
    for expected in golden["tracts"]:
        found = described(skymap.tract(expected["tract"]))
        patch = found["patches"][expected["patch"]]
        assert found["bbox"] == expected["bbox"]
        assert found["num_patches"] == expected["num_patches"]
        assert (patch["inner"], patch["outer"]) == (expected["inner"], expected["outer"])
        assert found["center"] == pytest.approx(expected["center"], abs=1e-12)
        assert [found["wcs"]["CRPIX1"] - 1, found["wcs"]["CRPIX2"] - 1] == pytest.approx(expected["crpix"], abs=1e-9)
    for ra, dec, tract, patch in golden["lookups_ra_dec_tract_patch"]:
        assert skymap.find(ra, dec) == (tract, patch)


def test_the_numbers_of_rings_of_120() -> None:
    """What surveys that use it report: DC2 and HSC have 18938 tracts, and 28000 px of 0.2 arcsec in one."""
    skymap = ComputedSkyMap.of_rings(Rings(120), PatchLayout(0.2, tract_overlap=1 / 60))
    assert len(skymap.tract_ids) == 18938
    assert skymap.tract(3828).bbox.shape == (28000, 28000)
    assert skymap.tract(3828).centre == pytest.approx((56.6497, -36.4463), abs=2e-4)  # quoted of DC2's tract 3828


@given(st.floats(0, 360, exclude_max=True), st.floats(-90, 90))
@settings(max_examples=60, deadline=None)
def test_every_position_is_on_an_inner_part_that_the_wcs_has_there(ra: float, dec: float) -> None:
    skymap = ComputedSkyMap.of_rings(Rings(40, 33.0), PatchLayout(1.0, tract_overlap=0.02))
    found = skymap.find(ra, dec)
    tract = skymap.tract(found.tract)
    x, y = WCS(tract.wcs.header).all_world2pix(ra, dec, 0)
    box = tract.inner(found.patch)
    assert box.x0 - 0.5 <= x <= box.x1 - 0.5
    assert box.y0 - 0.5 <= y <= box.y1 - 0.5
    assert found.tract in {t.tract for t in skymap.near(ra, dec, 0.01)}


def test_the_old_numbering_has_one_tract_twice_and_one_not_at_all() -> None:
    config = {"numRings": 18, "raStart": 10.0, "pixelScale": 1.0, "tractOverlap": 0.2, "patchInner": 3000, "border": 50}
    new, old = rings(config), rings(config, version=0)
    first = int(Rings(18).numbers[0])
    assert (old.ra[1], old.dec[1]) == pytest.approx((old.ra[first + 1] % 360, old.dec[first + 1]))
    moved = np.flatnonzero(~(np.isclose(new.ra, old.ra) & np.isclose(new.dec, old.dec)))
    assert list(moved) == list(1 + np.cumsum(Rings(18).numbers)[:-1])
    for number in (1, 5, first + 2, 250):  # found where they are
        assert old.find(float(old.ra[number]), float(old.dec[number])).tract == number


@pytest.mark.parametrize("projection", ["TAN", "STG"])
@pytest.mark.parametrize("rotation", [0.0, 30.0, 90.0])
def test_a_tract_holds_its_radius(projection: str, rotation: float) -> None:
    layout = PatchLayout(2.0, projection, rotation, 0.05, (500, 300), 20)
    tract = layout.tract(0, (200.0, -33.0), 0.5)
    middle = SkyCoord(200.0, -33.0, unit="deg")
    for angle in (0, 90, 180, 270):
        point = middle.directional_offset_by(angle * 1.0 * _deg(), 0.55 * _deg())
        x, y = tract.wcs.sky_to_pixel(point.ra.deg, point.dec.deg)
        assert tract.patch_at(float(x), float(y)) is not None
    assert (tract.bbox.width % 500, tract.bbox.height % 300) == (0, 0)
    x, y = tract.wcs.sky_to_pixel(200.0, -33.0)
    assert abs(x - tract.bbox.width / 2) < 2
    assert abs(y - tract.bbox.height / 2) < 2
    north = middle.directional_offset_by(0 * _deg(), 0.01 * _deg())
    u, v = tract.wcs.sky_to_pixel(north.ra.deg, north.dec.deg)
    assert math.degrees(math.atan2(u - x, v - y)) == pytest.approx(rotation, abs=1e-3)


def _deg():
    from astropy import units as u

    return u.deg


def test_patches_of_cells_reach_over_the_tract() -> None:
    legacy = PatchLayout(0.2, patch_inner=(3000, 3000), patch_border=200).tract(0, (10, 0), 0.2)
    cells = PatchLayout(0.2, patch_inner=(3000, 3000), patch_border=200, clipped=False).tract(0, (10, 0), 0.2)
    assert legacy.patch(0).bbox.as_list() == [0, 0, 3200, 3200]
    assert cells.patch(0).bbox.as_list() == [-200, -200, 3400, 3400]


def test_what_lies_outside_is_said() -> None:
    tract = PatchLayout(1.0).tract(3, (10.0, 0.0), 0.5)
    skymap = ListedSkyMap((tract,), "field")
    assert skymap.find(10.1, 0.1).tract == 3
    with pytest.raises(NoOverlapError, match="nearest tract is 3"):
        skymap.find(40.0, 0.0)
    with pytest.raises(NoOverlapError, match="no tract 4"):
        skymap.tract(4)
    with pytest.raises(ConfigError, match="no position"):
        skymap.find(40.0, 95.0)
    assert not list(skymap.near(40.0, 0.0, 1.0))
