"""Coadds from arrays: the same template as from a store that was written patch by patch, in any unit and cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.wcs import WCS
from scenes import EDGES, IMAGE, TRACT, visit

import dcrflow
from dcrflow.base.masks import planes_from_attributes

SIZE = TRACT.bbox.height


def array_wcs() -> WCS:
    return WCS(TRACT.wcs.header)


def template(coadds: dcrflow.DcrCoadds, **config: object) -> np.ndarray:
    return dcrflow.build_template(coadds, visit(), **config).image.compute(scheduler="synchronous").values


def test_units_and_zero_points_give_the_same_nanojansky() -> None:
    """1 uJy is 1000 nJy; AB magnitude 31.4 is 1 nJy, so 28.9 is 10."""
    variance = np.ones((SIZE, SIZE))
    known = {"band": "g", "subfilter_edges": EDGES}
    nano = dcrflow.coadds_from_arrays(IMAGE, array_wcs(), unit="nJy", variance=variance, **known)
    micro = dcrflow.coadds_from_arrays(IMAGE / 1e3, array_wcs(), unit="uJy", variance=variance / 1e6, **known)
    counts = dcrflow.coadds_from_arrays(IMAGE / 10, array_wcs(), zero_point=28.9, variance=variance / 100, **known)
    box = TRACT.bbox
    want = nano.read(0, 0, "g", box, {"NO_DATA": 0})
    for other in (micro, counts):
        got = other.read(0, 0, "g", box, {"NO_DATA": 0})
        np.testing.assert_allclose(got.image, want.image, rtol=1e-6)
        np.testing.assert_allclose(got.variance, want.variance, rtol=1e-6)
    np.testing.assert_array_equal(want.image, IMAGE)


def test_cut_into_patches_gives_the_template_of_one_patch() -> None:
    variance = np.ones((SIZE, SIZE))
    known = {"band": "g", "subfilter_edges": EDGES, "unit": "nJy", "variance": variance}
    one = dcrflow.coadds_from_arrays(IMAGE, array_wcs(), **known)
    cut = dcrflow.coadds_from_arrays(IMAGE, array_wcs(), patch_inner=(300, 200), patch_border=40, **known)
    assert [len(c.patches(0, "g")) for c in (one, cut)] == [1, 6]
    np.testing.assert_allclose(template(cut), template(one), rtol=1e-5, atol=1e-5 * np.nanmax(IMAGE))


def test_absolute_origin_keeps_the_sky(tmp_path: Path) -> None:
    known = {"band": "g", "subfilter_edges": EDGES, "unit": "nJy", "variance": np.ones((SIZE, SIZE))}
    there = dcrflow.coadds_from_arrays(IMAGE, array_wcs(), origin=(1000, -70), store=tmp_path / "c.zarr", **known)
    tract = there.tracts[0]
    assert (tract.bbox.x0, tract.bbox.y0) == (1000, -70)
    np.testing.assert_allclose(tract.wcs.pixel_to_sky(1000, -70), array_wcs().pixel_to_world_values(0, 0), atol=1e-9)


def test_two_images_are_two_tracts() -> None:
    other = WCS(TRACT.wcs.header)
    other.wcs.crpix += 500.0
    noise = [np.ones((SIZE, SIZE)), np.full((SIZE, SIZE), 4.0)]
    both = dcrflow.coadds_from_arrays(
        [IMAGE, IMAGE], [array_wcs(), other], band="g", subfilter_edges=EDGES, unit="nJy", variance=noise
    )
    assert sorted(both.tracts) == [0, 1]


def test_variance_is_estimated_from_the_sky_and_said() -> None:
    sigma = np.array([1.0, 2.0, 3.0])
    noisy = IMAGE + np.random.default_rng(1).normal(size=IMAGE.shape) * sigma[:, None, None]
    with pytest.warns(UserWarning, match="estimated from the scatter of the sky"):
        coadds = dcrflow.coadds_from_arrays(noisy, array_wcs(), band="g", subfilter_edges=EDGES, unit="nJy")
    found = coadds.read(0, 0, "g", TRACT.bbox, {"NO_DATA": 0}).variance[:, 0, 0]
    np.testing.assert_allclose(np.sqrt(found), sigma, rtol=0.1)  # the stars' wings add to the faintest


def test_masks_of_bool_are_bad_and_nan_is_no_data() -> None:
    image = IMAGE.copy()
    image[1, 10, 20] = np.nan
    bad = np.zeros((SIZE, SIZE), bool)
    bad[5, 6] = True
    coadds = dcrflow.coadds_from_arrays(
        image, array_wcs(), band="g", subfilter_edges=EDGES, unit="nJy", mask=bad, variance=np.ones((SIZE, SIZE))
    )
    planes = coadds.info(0, 0, "g").planes
    mask = coadds.read(0, 0, "g", TRACT.bbox, {"BAD": 0, "NO_DATA": 1}).mask[0]
    assert set(planes) == {"BAD", "NO_DATA"}
    assert mask[5, 6] == 1
    assert mask[10, 20] == 2
    assert np.count_nonzero(mask) == 2


def test_a_curve_says_the_edges() -> None:
    coadds = dcrflow.coadds_from_arrays(
        IMAGE, array_wcs(), band="g", transmission=([400, 410, 540, 550], [0, 1, 1, 0]), unit="nJy",
        variance=np.ones((SIZE, SIZE)),
    )  # fmt: skip
    info = coadds.info(0, 0, "g")
    np.testing.assert_allclose(info.subfilter_edges, EDGES)
    assert info.transmission is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": None}, "how bright"),
        ({"zero_point": 25.0}, "how bright"),
        ({"unit": "adu"}, "zero_point="),
        ({"subfilter_edges": None}, "which subfilters"),
        ({"subfilter_edges": EDGES[:2]}, "3 subfilters need"),
        ({"mask": np.ones((SIZE, SIZE), int)}, "planes="),
        ({"variance": np.ones((5, 5))}, "shape"),
        ({"psf": np.zeros((5, 5))}, "positive sum"),
        ({"patch_inner": 0}, "patch_inner"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, object], message: str) -> None:
    known = {"band": "g", "subfilter_edges": EDGES, "unit": "nJy", "variance": np.ones((SIZE, SIZE))}
    with pytest.raises((ValueError, dcrflow.CoaddStoreError), match=message):
        dcrflow.coadds_from_arrays(IMAGE, array_wcs(), **{**known, **change})


def test_flags_of_the_template_name_the_planes() -> None:
    bad = np.zeros((SIZE, SIZE), bool)
    bad[250:260, 250:260] = True
    coadds = dcrflow.coadds_from_arrays(
        IMAGE, array_wcs(), band="g", subfilter_edges=EDGES, unit="nJy", mask=bad, variance=np.ones((SIZE, SIZE))
    )
    made = dcrflow.build_template(coadds, visit()).compute(scheduler="synchronous")
    plane = 1 << planes_from_attributes(made.mask.attrs)["BAD"]
    assert np.any(made.mask.values & plane)
