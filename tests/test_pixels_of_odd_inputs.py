"""Pixels of inputs that few surveys have, against scipy's splines in float64 and astropy's WCS: nothing of dcrflow's.

The oracle: subfilters are moved by the template's own shifts and added, patches and tracts are averaged with weights
variance^-1/2, and the quintic spline through the result is evaluated where astropy says that the detector's pixels are.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from astropy.wcs import WCS
from scenes import TRACT, coadds, tan, visit
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter1d
from zarr.storage import MemoryStore

import dcrflow
from dcrflow.base.masks import planes_from_attributes
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.model.visit import DetectorVisit

SHAPE = TRACT.bbox.shape
BOX = Box(3, -5, 60, 50)


def field(seed: int = 1, subfilters: int = 3) -> np.ndarray:
    """Noise as smooth as a well-sampled image, float64."""
    rng = np.random.default_rng(seed)
    return np.stack([gaussian_filter(rng.normal(size=SHAPE), 1.8) * 1e3 for _ in range(subfilters)])


FIELD = field()


def made(store: Any, where: DetectorVisit, **settings: Any) -> xr.Dataset:
    return dcrflow.build_template(store, where, border=7, **settings).compute(scheduler="synchronous")


def positions(where: DetectorVisit, tract: Tract, found: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Where on a tract's array (y, x) the pixels of a template are, and their area in its pixels."""
    x, y = np.meshgrid(found.x.values.astype(float), found.y.values.astype(float))
    here, there = (WCS(w.wcs.header, relax=True) for w in (where, tract))

    def on_tract(dx: float, dy: float) -> np.ndarray:
        sky = here.wcs_pix2world(np.stack([x + dx, y + dy], -1).reshape(-1, 2), 0)
        px = there.wcs_world2pix(sky, 0).reshape(*x.shape, 2)
        return np.stack([px[..., 1] - tract.bbox.y0, px[..., 0] - tract.bbox.x0])

    across, up = (on_tract(*d) - on_tract(-d[0], -d[1]) for d in ((0.5, 0.0), (0.0, 0.5)))
    return on_tract(0.0, 0.0), np.abs(across[0] * up[1] - across[1] * up[0])


def oracle(image: np.ndarray, where: DetectorVisit, tract: Tract, found: xr.Dataset) -> np.ndarray:
    """What a template shows of a tract's subfilters, float64, on its own pixels."""
    at, area = positions(where, tract, found)
    return map_coordinates(image.sum(axis=0), at, order=5, mode="mirror") * area


def at_zenith(**changes: Any) -> DetectorVisit:
    """Where light is not refracted, turned by 25 degrees."""
    return visit(tan(30.0, 22.0, 25.0), BOX, altitude=90.0, **changes)


def close(found: np.ndarray, expected: np.ndarray, limit: float = 3e-4) -> None:
    assert np.abs(found - expected).max() <= limit * np.abs(expected).max()


def rewritten(store: MemoryStore, dtypes: dict[str, str], **changes: Any) -> MemoryStore:
    """A store's variables as another program writes them: of other types, most significant byte first."""
    root = zarr.open_group(store, mode="r+")
    for patch in range(4):
        group = root[f"7/{patch}/g"]
        assert isinstance(group, zarr.Group)
        for name, dtype in dtypes.items():
            old = group[name]
            assert isinstance(old, zarr.Array)
            values, about = np.asarray(old[...]), {**old.attrs.asdict(), **changes.get(name, {})}
            new = group.create_array(
                name, shape=values.shape, dtype=dtype, chunks=(1,) * (values.ndim - 2) + (97, 97), fill_value=0,
                compressors=None, serializer=zarr.codecs.BytesCodec(endian="big"), attributes=about, overwrite=True,
                dimension_names=old.metadata.dimension_names,
            )  # fmt: skip
            new[...] = values.astype(dtype) if name != "mask" else changes["moved"](values)
    return store


@pytest.mark.parametrize(
    ("pixels", "masks"),
    [("float64", "uint8"), ("float64", "int16"), ("float32", "uint32"), ("float64", "int64"), ("float16", "uint64")],
)
def test_big_endian_stores_of_any_type(pixels: str, masks: str) -> None:
    """Planes at the highest bits of the type, the sign bit among them, keep their meaning."""
    kind = np.dtype(masks)
    top = 8 * kind.itemsize - 1
    flags = {"TRAIL": top, "NO_DATA": top - 1, "SAT": 0}
    mask = np.zeros(SHAPE, np.int32)
    mask[280:300, 280:300] = 1 << 1  # SAT, of STANDARD_PLANES
    mask[310:330, 310:330] = 1 << 5  # DETECTED
    values = [-(1 << b) if kind.kind == "i" and b == top else 1 << b for b in flags.values()]

    def moved(old: np.ndarray) -> np.ndarray:
        wide = ((old >> 1) & 1).astype(np.uint64) | (((old >> 5) & 1).astype(np.uint64) << np.uint64(top))
        return wide.astype(kind)

    flat = np.round(FIELD / 8) if pixels == "float16" else FIELD
    store = rewritten(
        coadds(flat, mask=mask), {"image": pixels, "variance": pixels, "mask": masks},
        mask={"flag_meanings": " ".join(flags), "flag_masks": values}, moved=moved,
    )  # fmt: skip
    where = at_zenith()
    found = made(store, where)
    close(found.image.values, oracle(flat, where, TRACT, found))
    planes = planes_from_attributes(found.mask.attrs)
    at, _ = positions(where, TRACT, found)
    for name, low, high in (("SAT", 280, 299), ("TRAIL", 310, 329)):
        is_set = (found.mask.values >> planes[name] & 1).astype(bool)
        inside = ((at > low) & (at < high)).all(axis=0)
        near = ((at > low - 4) & (at < high + 4)).all(axis=0)
        assert inside.any()
        assert is_set[inside].all()
        assert not is_set[~near].any()
    assert not (found.mask.values >> planes["NO_DATA"] & 1).any()


@pytest.mark.parametrize("number", [30, 24])
@pytest.mark.parametrize("kind", ["int32", "uint32"])
def test_as_many_planes_as_a_mask_has_bits(number: int, kind: str) -> None:
    """31 planes of the coadds with the sign bit, and HIGH_VARIANCE: none of them lost or moved onto another."""
    names = ["BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "SUSPECT"]
    bits = [b for b in range(number) if b != 8] + [31]
    names += [f"P{bit}" for bit in bits[len(names) :]]
    mask = np.zeros(SHAPE, np.int64)
    blocks = {name: (230 + 25 * (n % 6), 230 + 25 * (n // 6)) for n, name in enumerate(names)}
    for bit, (y, x) in zip(bits, blocks.values(), strict=True):
        mask[y : y + 9, x : x + 9] |= 1 << bit
    flags = [-(1 << 31) if b == 31 and kind == "int32" else 1 << b for b in bits]
    store = rewritten(
        coadds(FIELD, mask=mask.astype(np.int32)), {"mask": kind}, moved=lambda m: m.astype(kind),
        mask={"flag_meanings": " ".join(names), "flag_masks": flags},
    )  # fmt: skip
    found = made(store, visit(TRACT.wcs, Box(225, 225, 160, 160), altitude=90.0))
    planes = planes_from_attributes(found.mask.attrs)
    assert set(planes) >= set(names) | {"HIGH_VARIANCE", "INTRP", "NO_DATA"}
    assert len(set(planes.values())) == len(planes) <= 32
    assert not (found.mask.values >> planes["NO_DATA"] & 1).any()
    for name, (y, x) in blocks.items():
        is_set = (found.mask.values >> planes[name] & 1).astype(bool)
        assert is_set[y - 218 : y - 209, x - 218 : x - 209].all(), name
        is_set[y - 218 - 4 : y - 209 + 4, x - 218 - 4 : x - 209 + 4] = False
        assert not is_set.any(), name


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20000, 3), (2, 5000), (1, 301)])
def test_detectors_of_any_shape(width: int, height: int) -> None:
    box = Box(-7, 11, width, height)
    where = visit(tan(-7 + width / 2, 11 + height / 2, 25.0), box, altitude=90.0)
    found = made(coadds(FIELD), where)
    assert found.image.shape == (height + 14, width + 14)
    at, _ = positions(where, TRACT, found)
    inside = ((at > 12) & (at < 587)).all(axis=0)
    expected = oracle(FIELD, where, TRACT, found)
    planes = planes_from_attributes(found.mask.attrs)
    no_data = (found.mask.values >> planes["NO_DATA"] & 1).astype(bool)
    assert inside.sum() > 100
    assert not no_data[inside].any()
    close(found.image.values[inside & (np.abs(at - 300) < 280).all(axis=0)],
          expected[inside & (np.abs(at - 300) < 280).all(axis=0)])  # fmt: skip
    assert no_data[((at < -1) | (at > 600)).any(axis=0)].all()
    assert np.isnan(found.image.values[no_data]).all()


def blobs(tract: Tract) -> np.ndarray:
    """Stars on the sky of `TRACT`, as a tract of another projection has them."""
    y, x = np.mgrid[200:400, 200:400].astype(float)
    x, y = TRACT.wcs.sky_to_pixel(*tract.wcs.pixel_to_sky(x, y))
    rng = np.random.default_rng(3)
    image = np.zeros(SHAPE)
    for cx, cy, brightness in zip(*rng.uniform(260, 340, (2, 30)), rng.uniform(500, 1000, 30), strict=True):
        image[200:400, 200:400] += brightness * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 12.0)
    return image


def noise_left(at: np.ndarray) -> np.ndarray:
    """What the quintic spline leaves of the variance of independent pixels: the sum of its squared weights."""
    steps = np.linspace(0.0, 1.0, 65)
    impulses = spline_filter1d(np.eye(61), order=5, axis=1)
    weights = [map_coordinates(row, [30 + steps], order=5, prefilter=False) for row in impulses]
    left = np.square(weights).sum(axis=0)
    return np.interp(at[0] % 1, steps, left) * np.interp(at[1] % 1, steps, left)


def test_patches_and_three_tracts_are_averaged_by_their_noise() -> None:
    tracts = tuple(replace(TRACT, tract=n, wcs=tan(rotation=a)) for n, a in ((7, 0.0), (8, 30.0), (9, 110.0)))
    levels = {7: (1.0, 4.0), 8: (1.05, 9.0), 9: (0.9, 25.0)}
    fields = {tract.tract: np.stack([blobs(tract)] * 3) for tract in tracts}

    def change(tract: int, patch: int, arrays: dict[str, np.ndarray]) -> None:
        place = TRACT.patch(patch).bbox.slices(TRACT.bbox)
        arrays["image"][...] = fields[tract][(..., *place)] * levels[tract][0]
        arrays["variance"][...] = levels[tract][1] * (1 + patch)

    where = at_zenith()
    found = made(coadds(FIELD, tracts=tracts, change=change), where)
    total, weights = np.zeros(found.image.shape), np.zeros(found.image.shape)
    for tract in tracts:
        variance, weight = np.zeros(SHAPE), np.zeros(SHAPE)
        for patch in tract.patches:
            place, here = patch.bbox.slices(tract.bbox), 3 * levels[tract.tract][1] * (1 + patch.patch)
            variance[place] += here**0.5
            weight[place] += here**-0.5
        at, _ = positions(where, tract, found)
        noise = map_coordinates(variance / weight, at, order=1) * noise_left(at)
        total += oracle(fields[tract.tract], where, tract, found) * levels[tract.tract][0] * noise**-0.5
        weights += noise**-0.5
    close(found.image.values, total / weights, 6e-3)


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.99999, 12.0), (0.0, 90.0), (77.0, -90.0), (180.0, 89.99)])
@pytest.mark.parametrize("dcr", [False, True])
def test_anywhere_on_the_sky(ra: float, dec: float, dcr: bool) -> None:
    """At RA 0 and at the poles; with refraction the subfilters are moved before they are added."""
    tract = replace(TRACT, wcs=tan(ra=ra, dec=dec))
    where = visit(tan(30.0, 22.0, 25.0, ra=ra, dec=dec), BOX, altitude=50.0 if dcr else 90.0)
    where = replace(where, observation=replace(where.observation, ra=ra % 360, dec=dec))
    found = made(coadds(FIELD, tracts=(tract,)), where, dcr="midpoint")
    if not dcr:
        close(found.image.values, oracle(FIELD, where, tract, found))
        return
    at, area = positions(where, tract, found)
    shifts = np.array(json.loads(found.attrs["dcr"])["shift"])[:, :, None, None]
    seen = [map_coordinates(f, at - s, order=5, mode="mirror") for f, s in zip(FIELD, shifts, strict=True)]
    close(found.image.values, np.sum(seen, axis=0) * area)


@pytest.mark.parametrize("scale", [1e-42, 1e-38, 1e-30, 1e15, 1e30])
def test_any_size_of_numbers(scale: float) -> None:
    """Numbers near both ends of float32, in a float64 store too; variance no smaller than float32 has it."""
    where = at_zenith()
    flat = np.full(SHAPE, max(scale, 1e-42) if scale < 1 else 1e30, np.float32)
    found = made(coadds((FIELD * scale).astype(np.float32), variance=flat), where)
    stored = (FIELD * scale).astype(np.float32).astype(np.float64)
    limit = 3e-4 if scale > 1e-35 else 2e-2
    close(found.image.values, oracle(stored, where, TRACT, found), limit)
    assert np.isfinite(found.variance.values).all()
    assert (found.variance.values >= 0).all()


def test_faint_beside_bright_keeps_its_digits() -> None:
    """A dynamic range of 10^30: what is bright reaches no farther than its light does."""
    bright = FIELD.copy()
    bright[:, :300, :300] *= 1e27
    where = visit(altitude=90.0)
    found = made(coadds(bright.astype(np.float32)), where)
    at, _ = positions(where, TRACT, found)
    for far, field in (((at > 350).any(axis=0), FIELD), ((at < 288).all(axis=0), bright)):
        assert far.sum() > 100
        close(found.image.values[far], oracle(field, where, TRACT, found)[far])


def test_variance_that_is_no_variance() -> None:
    """NaN, infinite, zero, negative: no data in that pixel, and no other is touched."""
    variance = np.full(SHAPE, 4.0, np.float32)
    spots = {(270, 290): np.nan, (290, 290): np.inf, (290, 310): -np.inf, (310, 310): 0.0, (310, 290): -4.0}
    for place, value in spots.items():
        variance[place] = value
    where = visit(TRACT.wcs, Box(260, 260, 80, 80), altitude=90.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = made(coadds(FIELD, variance=variance), where)
    far = np.ones(found.image.shape, bool)
    planes = planes_from_attributes(found.mask.attrs)
    for y, x in spots:
        far[y - 253 - 12 : y - 253 + 13, x - 253 - 12 : x - 253 + 13] = False
        pixel = found.sel(x=x, y=y)
        assert np.isnan(float(pixel.image))
        assert int(pixel.mask) >> planes["NO_DATA"] & 1
    close(found.image.values[far], FIELD.sum(axis=0)[253:347, 253:347][far])
    np.testing.assert_allclose(found.variance.values[far], 12.0, rtol=1e-3)
