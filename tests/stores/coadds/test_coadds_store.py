"""Reading DCR-coadd stores: those of plain xarray, all the ways to be wrong, and what is touched."""

import json
import pickle
import shutil
import threading
import tracemalloc
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from scenes import EDGES, TRACT, coadds, stars, tan
from watched import WatchedStore
from zarr.storage import LocalStore, MemoryStore, StorePath, ZipStore

from dcrflow.base.errors import CoaddStoreError
from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.geometry.box import Box
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds

BOX = TRACT.patch(3).bbox  # 330 x 330 from (270, 270)
PIXEL = np.random.default_rng(5)
IMAGE = PIXEL.normal(size=(3, *BOX.shape))
VARIANCE = PIXEL.uniform(1, 2, size=(3, *BOX.shape))
FOREIGN_PLANES = {"DETECTED": 0, "NO_DATA": 3, "STREAK": 5}


def patch_dataset(per_subfilter: bool = True, dtype: str = "float64") -> xr.Dataset:
    """A patch as another program would make it, to the contract's letter."""
    dims = ("subfilter", "y", "x") if per_subfilter else ("y", "x")
    mask = np.zeros((3, *BOX.shape) if per_subfilter else BOX.shape, np.int16)
    mask[..., 5, 7] = 1 << 3
    mask[..., 6, :] = 1 << 0
    return xr.Dataset(
        {
            "image": (("subfilter", "y", "x"), IMAGE.astype(dtype)),
            "variance": (dims, (VARIANCE if per_subfilter else VARIANCE[0]).astype(dtype)),
            "mask": (dims, mask, {"flag_masks": [1, 8, 32], "flag_meanings": "DETECTED NO_DATA STREAK"}),
            "subfilter_edges": (("subfilter", "edge"), np.array(EDGES)),
        },
        coords={
            "x": np.arange(BOX.x0, BOX.x1),
            "y": np.arange(BOX.y0, BOX.y1),
            "subfilter": np.array(EDGES).mean(axis=1),
        },
        attrs={
            "band": "g", "physical_filter": "", "units": "nJy", "photometric_zero_point": 31.4, "tract": 7, "patch": 3,
            "wcs": cards(), "effective_wavelength": 475.0, "bandwidth": 150.0,
            "transmission": {"wavelength": [390.0, 470.0, 560.0], "throughput": [0.0, 1.0, 0.0]},
        },
    )  # fmt: skip


def cards() -> dict[str, Any]:
    return {card.keyword: card.value for card in TRACT.wcs.header.cards}


def foreign(store: Any, data: xr.Dataset | None = None, chunks: tuple[int, int] = (50, 64)) -> Any:
    """A store that plain zarr and xarray write: no sharding, chunks of any shape."""
    root = zarr.create_group(store, attributes={"dcrflow": {"kind": "dcr-coadds", "version": 1}, "skymap": "theirs"})
    root.create_group(
        "7",
        attributes={
            "wcs": cards(), "bbox": [0, 0, 600, 600], "patch_inner": [300, 300], "patch_border": 30,
            "num_patches": [2, 2],
        },
    )  # fmt: skip
    data = patch_dataset() if data is None else data
    encoding = {
        name: {"chunks": (*(1,) * (data[name].ndim - 2), *chunks)}
        for name in ("image", "variance", "mask")
        if name in data and data[name].dims[-2:] == ("y", "x")
    }
    data.to_zarr(store, group="7/3/g", consolidated=False, zarr_format=3, encoding=encoding)
    return store


@pytest.fixture(scope="module")
def ours() -> MemoryStore:
    return coadds(stars())


@pytest.mark.parametrize("per_subfilter", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32", ">f4"])
def test_a_store_of_plain_xarray(per_subfilter: bool, dtype: str) -> None:
    opened = open_coadds(foreign(MemoryStore(), patch_dataset(per_subfilter, dtype)))
    assert (opened.skymap, opened.bands, list(opened.tracts)) == ("theirs", ("g",), [7])
    assert opened.tracts[7] == TRACT
    assert opened.patches(7, "g") == (TRACT.patch(3),)
    assert opened.patches(7, "r") == ()
    info = opened.info(7, 3, "g")
    assert (info.tract, info.patch, info.band, info.physical_filter, info.units) == (7, 3, "g", "", "nJy")
    assert (info.bbox, info.num_subfilters, info.subfilter_edges, info.chunks) == (BOX, 3, EDGES, (1, 50, 64))
    assert info.photometric_zero_point == 31.4
    assert (info.effective_wavelength, info.bandwidth) == (475.0, 150.0)
    assert info.transmission == ((390.0, 470.0, 560.0), (0.0, 1.0, 0.0))
    assert info.planes == FOREIGN_PLANES
    assert info.variance_per_subfilter == info.mask_per_subfilter == per_subfilter

    box = Box(BOX.x0 + 3, BOX.y0 + 2, 111, 97)
    planes = {**STANDARD_PLANES, "STREAK": 12}
    pixels = opened.read(7, 3, "g", box, planes)
    rows, columns = box.slices(BOX)
    image = IMAGE[:, rows, columns].astype("f4")
    image[:, 3, 4] = np.nan
    np.testing.assert_array_equal(pixels.image, image)
    assert pixels.variance.shape[0] == pixels.mask.shape[0] == (3 if per_subfilter else 1)
    np.testing.assert_array_equal(pixels.variance, VARIANCE[: len(pixels.variance), rows, columns].astype("f4"))
    assert set(np.unique(pixels.mask)) == {0, 1 << STANDARD_PLANES["NO_DATA"], 1 << STANDARD_PLANES["DETECTED"]}
    for array, kind in ((pixels.image, np.float32), (pixels.variance, np.float32), (pixels.mask, np.int32)):
        assert array.dtype == kind
        assert array.flags.c_contiguous


def test_a_shared_no_data_pixel_is_nan_in_each_subfilter(ours: MemoryStore) -> None:
    mask = np.zeros(TRACT.bbox.shape, np.int32)
    mask[400, 410] = 1 << STANDARD_PLANES["NO_DATA"]
    pixels = open_coadds(coadds(stars(), mask=mask)).read(7, 3, "g", Box(405, 398, 9, 5), STANDARD_PLANES)
    assert np.isnan(pixels.image[:, 2, 5]).all()
    assert np.isnan(pixels.image).sum() == 3


@pytest.mark.parametrize(
    "box", [BOX, Box(BOX.x0, BOX.y0, 1, 1), Box(BOX.x1 - 1, BOX.y1 - 1, 1, 1), Box(319, 320, 30, 100)]
)
def test_read_touches_the_chunks_under_the_box_once_each(box: Box) -> None:
    store = foreign(WatchedStore(), chunks=(50, 64))
    opened = open_coadds(store)
    opened.info(7, 3, "g")
    store.watch.reads.clear()
    opened.read(7, 3, "g", box, {**STANDARD_PLANES, "STREAK": 12})
    rows = range((box.y0 - BOX.y0) // 50, (box.y1 - 1 - BOX.y0) // 50 + 1)
    columns = range((box.x0 - BOX.x0) // 64, (box.x1 - 1 - BOX.x0) // 64 + 1)
    expected = sorted(f"{k}/{i}/{j}" for k in range(3) for i in rows for j in columns)
    for name in ("image", "variance", "mask"):
        assert store.watch.chunks_read(name) == expected
    assert not [key for key, *_ in store.watch.reads if key.endswith("zarr.json")]  # metadata is read once


def test_read_takes_no_byte_of_a_shard_twice() -> None:
    store = WatchedStore(coadds(stars())._store_dict)
    opened = open_coadds(store)
    opened.info(7, 3, "g")
    store.watch.reads.clear()
    opened.read(7, 3, "g", Box(300, 300, 200, 210), STANDARD_PLANES)
    spans: dict[str, list[tuple[int, int]]] = {}
    for key, first, last in store.watch.reads:
        spans.setdefault(key, []).append((first, last))
    assert sorted(k.partition("7/3/g/")[2] for k in spans) == ["image/c/0/0/0", "image/c/1/0/0", "image/c/2/0/0",
                                                               "mask/c/0/0", "variance/c/0/0"]  # fmt: skip
    for some in spans.values():
        some.sort()
        assert all(a[1] <= b[0] for a, b in pairwise(some))


def test_read_outside_the_patch_or_without_bits(ours: MemoryStore) -> None:
    opened = open_coadds(ours)
    with pytest.raises(ValueError, match="reaches outside"):
        opened.read(7, 3, "g", BOX.grown(1), STANDARD_PLANES)
    with pytest.raises(ValueError, match=r"no bit is given for its mask planes BAD, CR"):
        opened.read(7, 3, "g", BOX, {"NO_DATA": 8})


def test_every_way_to_open(tmp_path: Path) -> None:
    path = tmp_path / "coadds.zarr"
    foreign(LocalStore(path))
    shutil.make_archive(str(tmp_path / "coadds"), "zip", path)
    inside = MemoryStore()
    zarr.create_group(inside)
    foreign(StorePath(inside, "below/here"))
    expected = open_coadds(path)
    assert open_coadds(expected) is expected
    assert repr(expected) == f"<DcrCoadds {path}: 1 tracts, bands g>"
    pixels = expected.read(7, 3, "g", BOX, {**STANDARD_PLANES, "STREAK": 12})
    with ZipStore(tmp_path / "coadds.zip", mode="r") as archive:
        for source in (
            str(path), f"file://{path}", LocalStore(path), LocalStore(path, read_only=True),
            StorePath(LocalStore(path)), zarr.open_group(path, mode="r"), tmp_path / "coadds.zip", archive,
            zarr.open_group(inside, path="below/here", mode="r"),
        ):  # fmt: skip
            opened = open_coadds(source)
            assert opened.info(7, 3, "g") == expected.info(7, 3, "g")
            found = opened.read(7, 3, "g", BOX, {**STANDARD_PLANES, "STREAK": 12})
            np.testing.assert_array_equal(found.image, pixels.image)
    assert open_coadds(zarr.open_group(inside, path="below/here", mode="r")).url.endswith("below/here")
    for source in (str(path), f"file://{path}", LocalStore(path), zarr.open_group(path, mode="r")):
        assert open_coadds(source).url == str(path)
        assert open_coadds(source).digest == expected.digest


@pytest.mark.parametrize("kind", ["path", "zip", "memory"])
def test_pickling(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "coadds.zarr"
    store = foreign(MemoryStore() if kind == "memory" else LocalStore(path))
    if kind == "zip":
        shutil.make_archive(str(tmp_path / "coadds"), "zip", path)
        store = tmp_path / "coadds.zip"
    opened = open_coadds(store)
    again = pickle.loads(pickle.dumps(opened))
    assert (again.url, again.digest) == (opened.url, opened.digest)
    assert again.info(7, 3, "g") == opened.info(7, 3, "g")
    assert pickle.loads(pickle.dumps(opened)) is again  # opened once a process
    assert pickle.loads(pickle.dumps(again)) is again
    if kind != "memory":
        assert len(pickle.dumps(opened)) < 1000


def test_threads_share_a_store(ours: MemoryStore) -> None:
    opened = DcrCoadds(ours)
    found: list[float] = []

    def read() -> None:
        pixels = opened.read(7, 3, "g", Box(300, 300, 50, 50), STANDARD_PLANES)
        found.append(float(pixels.image.sum()))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_digest_tells_stores_apart_and_reads_no_pixels() -> None:
    store = WatchedStore(coadds(stars())._store_dict)
    first = open_coadds(store).digest
    assert first == open_coadds(store).digest == open_coadds(store).__dask_tokenize__()
    assert not any("/c/" in key for key, *_ in store.watch.reads)
    del store._store_dict["7/3/g/zarr.json"]
    for key in [k for k in store._store_dict if k.startswith("7/3/")]:
        del store._store_dict[key]
    assert open_coadds(store).digest != first


def test_discovery_lists_the_store_once() -> None:
    store = WatchedStore(coadds(stars())._store_dict)
    opened = open_coadds(store)
    assert [p.patch for p in opened.patches(7, "g")] == [0, 1, 2, 3]
    reads = len(store.watch.reads)
    store._store_dict.clear()
    assert opened.bands == ("g",)
    assert len(opened.patches(7, "g")) == 4
    assert len(store.watch.reads) == reads


def test_stale_consolidated_metadata_is_not_believed() -> None:
    store = foreign(MemoryStore())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr says that consolidated metadata is in no specification
        zarr.consolidate_metadata(store)
    data = patch_dataset().assign_attrs(patch=2)
    data.assign_coords(x=np.arange(330)).to_zarr(store, group="7/2/g", consolidated=False, zarr_format=3)
    opened = open_coadds(store)
    assert [p.patch for p in opened.patches(7, "g")] == [2, 3]
    assert opened.info(7, 2, "g").bbox == TRACT.patch(2).bbox


# What is wrong, and what the error says


def test_missing_store(tmp_path: Path) -> None:
    with pytest.raises(CoaddStoreError, match=r"nothing\.zarr does not exist"):
        open_coadds(tmp_path / "nothing.zarr")


@pytest.mark.parametrize("make", ["directory", "file", "array", "zarr 2"])
def test_not_a_zarr_group(make: str, tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    if make == "directory":
        path.mkdir()
    elif make == "file":
        path.write_text("no zarr at all")
    elif make == "array":
        zarr.create_array(path, shape=(3,), dtype="i4")
    else:
        zarr.create_group(path, zarr_format=2)
    with pytest.raises(CoaddStoreError, match=r"x\.zarr is (not a zarr \(format 3\) group|a file); expected") as caught:
        open_coadds(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "none of dcrflow's"),
        ({"dcrflow": 3}, "none of dcrflow's"),
        ({"dcrflow": {"kind": "templates", "version": 1}}, r"of kind 'templates'; expected kind 'dcr-coadds'"),
        ({"dcrflow": {"kind": "dcr-coadds", "version": 2}}, r"layout version 2; this dcrflow knows up to 1: use"),
        ({"dcrflow": {"kind": "dcr-coadds"}}, r"layout version None"),
    ],
)  # fmt: skip
def test_not_a_coadd_store(attributes: dict[str, Any], message: str) -> None:
    store = MemoryStore()
    zarr.create_group(store, attributes=attributes)
    with pytest.raises(CoaddStoreError, match=message):
        open_coadds(store)


def test_a_url_that_nothing_knows() -> None:
    with pytest.raises(CoaddStoreError, match="cannot open nonsense://here"):
        open_coadds("nonsense://here")


def test_require_band(ours: MemoryStore) -> None:
    open_coadds(ours).require_band("g")
    with pytest.raises(CoaddStoreError, match=r"no coadds in band 'u'; its bands are g"):
        open_coadds(ours).require_band("u")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wcs": None}, r"tract 7 has no attribute 'wcs', expected dict"),
        ({"wcs": "cards"}, r"tract 7: attribute 'wcs' is 'cards', expected dict"),
        ({"wcs": {"NAXIS": 2}}, r"tract 7: "),
        ({"bbox": [0, 0, 600]}, r"attribute 'bbox' is \[0, 0, 600\], expected 4 integers"),
        ({"bbox": [0, 0, 0, 600]}, r"attribute 'bbox' is \[0, 0, 0, 600\], expected a box"),
        ({"bbox": [0, 0, -1, 600]}, r"tract 7: "),
        ({"patch_inner": [300.5, 2]}, r"attribute 'patch_inner' is"),
        ({"patch_border": True}, r"attribute 'patch_border' is True, expected int"),
        ({"num_patches": [0, 2]}, r"attribute 'num_patches' is \[0, 2\], expected 2 positive integers"),
        ({"num_patches": [1, 1]}, r"num_patches \[1, 1\] of patch_inner \[300, 300\] do not cover bbox"),
    ],
)
def test_wrong_tract_attributes(change: dict[str, Any], message: str) -> None:
    store = foreign(MemoryStore())
    group = zarr.open_group(store, path="7")
    attributes = group.attrs.asdict() | change
    group.attrs.put({k: v for k, v in attributes.items() if v is not None})
    with pytest.raises(CoaddStoreError, match=message) as caught:
        open_coadds(store).patches(7, "g")
    assert "\n" not in str(caught.value)


def test_a_tract_or_patch_that_is_not_there(ours: MemoryStore) -> None:
    opened = open_coadds(ours)
    with pytest.raises(CoaddStoreError, match=r"tract 8: there is no such group"):
        opened.info(8, 0, "g")
    with pytest.raises(CoaddStoreError, match=r"tract 7 patch 9 band g: there is no such group"):
        opened.info(7, 9, "g")


def shifted_wcs() -> dict[str, Any]:
    return {card.keyword: card.value for card in tan(301.0).header.cards}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.assign_attrs(units="adu"), r"attribute 'units' is 'adu', expected 'nJy'; calibrate"),
        (lambda d: d.assign_attrs(band="r"), r"attribute 'band' is 'r', expected 'g'"),
        (lambda d: d.assign_attrs(bandwidth="wide"), r"attribute 'bandwidth' is 'wide', expected int or float"),
        (lambda d: d.assign_attrs(bandwidth=-1.0), r"attribute 'bandwidth' is -1.0, expected a positive number"),
        (lambda d: d.assign_attrs(patch=2), r"attribute 'patch' is 2, expected 3"),
        (lambda d: d.assign_attrs(wcs=shifted_wcs()), r"its wcs is 1 pixels off the tract's"),
        (lambda d: d.assign_attrs(wcs={"CRPIX1": "a"}), r"attribute 'wcs': "),
        (lambda d: d.assign_attrs(transmission=[1, 2]), r"attribute 'transmission' must be"),
        (lambda d: d.assign_attrs(transmission={"wavelength": [10**400], "throughput": [1]}), r"'transmission' must"),
        (lambda d: d.assign_attrs(subfilter_noise=[1, 2]), r"attribute 'subfilter_noise' is \[1, 2\]; expected"),
        (lambda d: d.drop_attrs(deep=False), r"has no attribute 'photometric_zero_point', expected int or float"),
        (lambda d: d.drop_vars("variance"), r"has no variable 'variance'"),
        (lambda d: d.drop_vars("x"), r"has no variable 'x'"),
        (lambda d: d.transpose("y", "x", "subfilter", ...), r"variable 'image' has dimensions \('y', 'x', 'subf"),
        (lambda d: d.assign(image=d.image.astype(int)), r"variable 'image' has dtype int64, expected a floating-point"),
        (lambda d: d.assign(mask=d.mask.astype(float)), r"variable 'mask' has dtype float64, expected an integer type"),
        (lambda d: d.assign_coords(x=d.x * 2), r"x must be pixel indices that increase by 1"),
        (lambda d: d.assign_coords(y=d.y[::-1].values), r"y must be pixel indices that increase by 1"),
        (lambda d: d.isel(x=slice(1, None)), r"its x and y say Box.*the tract's geometry Box"),
        (lambda d: d.assign(subfilter_edges=d.subfilter_edges * [[1], [1.1], [1]]), r"subfilter_edges are .*share"),
        (lambda d: d.assign(mask=d.mask.assign_attrs(flag_masks=[1, 3, 32])), r"variable 'mask': flag_masks of plane"),
        (lambda d: d.assign(mask=d.mask.assign_attrs(flag_masks=[1, 2])), r"variable 'mask': 3 flag_meanings but 2"),
    ],
)  # fmt: skip
def test_wrong_patch(change: Callable[[xr.Dataset], xr.Dataset], message: str) -> None:
    opened = open_coadds(foreign(MemoryStore(), change(patch_dataset())))
    with pytest.raises(CoaddStoreError, match=message) as caught:
        opened.info(7, 3, "g")
    assert "tract 7 patch 3 band g" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_variable_of_another_shape() -> None:
    store = foreign(MemoryStore(), patch_dataset(per_subfilter=False))
    group = zarr.open_group(store, path="7/3/g")
    group.create_array("mask", shape=(2, 2), dtype="i4", dimension_names=("y", "x"), overwrite=True)
    with pytest.raises(CoaddStoreError, match=r"'mask' has shape \(2, 2\), expected \(330, 330\)"):
        open_coadds(store).info(7, 3, "g")
    group.create_group("variance", overwrite=True)
    with pytest.raises(CoaddStoreError, match=r"'variance' is a group, expected a variable"):
        open_coadds(store).info(7, 3, "g")


@pytest.mark.parametrize("name", ["image", "variance", "mask"])
def test_a_flipped_bit_is_no_data_there_alone_and_said(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is damaged is not believed, in any subfilter; what is not is delivered."""
    made = {"variance": np.random.default_rng(3).uniform(1, 2, TRACT.bbox.shape).astype("f4"),
            "mask": np.arange(TRACT.bbox.area, dtype=np.int32).reshape(TRACT.bbox.shape) & 0xFF}  # fmt: skip
    store = coadds(stars(), **made)
    sound = open_coadds(store).read(7, 3, "g", BOX, STANDARD_PLANES)
    key = next(k for k in store._store_dict if k.startswith(f"7/3/g/{name}/c/"))
    data = bytearray(store._store_dict[key].to_bytes())
    data[1000] ^= 4
    store._store_dict[key] = type(store._store_dict[key]).from_bytes(bytes(data))
    read = open_coadds(store).read(7, 3, "g", BOX, STANDARD_PLANES)
    (line,) = read.damage
    chunk = Box(BOX.x0, BOX.y0, 256, 256)
    assert line.startswith(f"tract 7 patch 3 band g: {name} at {chunk}: ")
    assert "restore the store, or make the coadd again" in caplog.text
    bad = np.zeros(BOX.shape, bool)
    bad[chunk.slices(BOX)] = True
    assert np.isnan(read.image[:, bad]).all()
    assert np.isnan(read.variance[:, bad]).all()
    assert (read.mask[:, bad] == 1 << STANDARD_PLANES["NO_DATA"]).all()
    for found in ("image", "variance", "mask"):
        np.testing.assert_array_equal(getattr(read, found)[:, ~bad], getattr(sound, found)[:, ~bad])


def test_a_lost_shard_reads_as_no_data() -> None:
    store = coadds(stars())
    for name in ("image/c/1/0/0", "variance/c/0/0", "mask/c/0/0"):
        store._store_dict.pop(f"7/3/g/{name}", None)  # a mask that is all 0 is there: its fill is NO_DATA
    pixels = open_coadds(store).read(7, 3, "g", BOX, STANDARD_PLANES)
    assert np.isnan(pixels.image).all()
    assert np.isnan(pixels.variance).all()
    assert (pixels.mask == 1 << STANDARD_PLANES["NO_DATA"]).all()


@pytest.mark.parametrize("name", ["image", "variance"])
def test_a_lost_chunk_of_a_foreign_store_is_no_data(name: str) -> None:
    """Whatever the fill value says: 0 is a brightness like any other."""
    store = foreign(MemoryStore())
    key = f"7/3/g/{name}/zarr.json"
    metadata = json.loads(store._store_dict[key].to_bytes()) | {"fill_value": 0.0}
    store._store_dict[key] = type(store._store_dict[key]).from_bytes(json.dumps(metadata).encode())
    lost = sorted(k for k in store._store_dict if k.startswith(f"7/3/g/{name}/c/"))[0]
    store._store_dict.pop(lost)
    read = open_coadds(store).read(7, 3, "g", BOX, dict(STANDARD_PLANES) | {"STREAK": 9})
    assert np.isnan(getattr(read, name)[0, :50, :64]).all()
    assert np.isfinite(getattr(read, name)[0, :50, 64:]).all()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("x", [10**11], r"variable 'x' has shape \(100000000000,\), expected at most \(330,\)"),
        ("subfilter_edges", [10**11, 2], r"variable 'subfilter_edges' has shape .*expected at most \(64, 2\)"),
        ("image", [3, 10**6, 10**6], r"variable 'image' has shape .*expected at most \(64, 330, 330\)"),
    ],
)
def test_nothing_is_allocated_for_what_cannot_be(name: str, shape: list[int], message: str) -> None:
    store = foreign(MemoryStore())
    key = f"7/3/g/{name}/zarr.json"
    metadata = json.loads(store._store_dict[key].to_bytes()) | {"shape": shape}
    metadata["chunk_grid"]["configuration"]["chunk_shape"] = shape
    store._store_dict[key] = type(store._store_dict[key]).from_bytes(json.dumps(metadata).encode())
    tracemalloc.start()
    with pytest.raises(CoaddStoreError, match=message):
        open_coadds(store).info(7, 3, "g")
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


def test_a_chunk_beyond_reason() -> None:
    store = foreign(MemoryStore())
    key = "7/3/g/image/zarr.json"
    metadata = json.loads(store._store_dict[key].to_bytes())
    metadata["chunk_grid"]["configuration"]["chunk_shape"] = [1, 330000, 330000]
    store._store_dict[key] = type(store._store_dict[key]).from_bytes(json.dumps(metadata).encode())
    with pytest.raises(CoaddStoreError, match=r"'image' has chunks of \(1, 330000, 330000\), far beyond its shape"):
        open_coadds(store).info(7, 3, "g")


def test_more_patches_than_the_tract_has_room_for() -> None:
    store = foreign(MemoryStore())
    zarr.open_group(store, path="7").attrs["num_patches"] = [10**9, 10**9]
    with pytest.raises(CoaddStoreError, match=r"num_patches \[1000000000, 1000000000\] .* do not cover bbox"):
        open_coadds(store).patches(7, "g")


def test_another_zero_point_than_its_unit_has() -> None:
    store = coadds(stars(), photometric_zero_point=27.0)
    with pytest.raises(CoaddStoreError, match=r"'photometric_zero_point' is 27.0, expected 31.4, that of nJy"):
        open_coadds(store).info(7, 3, "g")


@pytest.mark.parametrize(
    "about", [{"scale_factor": 2.0}, {"add_offset": 7.0}, {"_FillValue": -999.0}, {"units": "Jy"}], ids=str
)
def test_packed_images_are_refused(about: dict[str, object]) -> None:
    store = coadds(stars(number=1), skip=((7, 1), (7, 2), (7, 3)))
    zarr.open_group(store)["7/0/g/image"].attrs.update(about)
    with pytest.raises(CoaddStoreError, match=f"variable 'image' has {next(iter(about))}"):
        open_coadds(store).info(7, 0, "g")
