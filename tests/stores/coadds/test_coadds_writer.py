"""What dcrflow writes, read back with plain zarr and xarray."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from scenes import EDGES, TRACT
from watched import CrashError, WatchedStore
from zarr.storage import MemoryStore, ZipStore

from dcrflow.base.errors import CoaddStoreError
from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.stores.coadds.builds import CoaddBuild
from dcrflow.stores.coadds.store import open_coadds
from dcrflow.stores.coadds.writer import CoaddWriter, create_coadds, open_writer, whole_coadds

BOX = TRACT.patch(3).bbox
TESTS = Path(__file__).parents[2]


def arrays(box: Box = BOX, per_subfilter: bool = False, seed: int = 1) -> dict[str, Any]:
    """What `write_patch` needs, with noise on it."""
    rng = np.random.default_rng(seed)
    shape = (3, *box.shape) if per_subfilter else box.shape
    image = rng.normal(size=(3, *box.shape)).astype(np.float32)
    image[:, 3, 4] = np.nan
    return {
        "image": image,
        "variance": rng.uniform(1, 2, shape).astype(np.float32),
        "mask": rng.integers(0, 64, shape, dtype=np.int32),
        "planes": dict(STANDARD_PLANES),
        "subfilter_edges": EDGES,
        "effective_wavelength": 475.0,
        "bandwidth": 150.0,
    }


def writer(store: Any, *tracts: Tract) -> CoaddWriter:
    made = create_coadds(store, "a skymap")
    for tract in tracts or (TRACT,):
        made.write_tract(tract)
    return made


@pytest.mark.parametrize("per_subfilter", [True, False])
def test_the_layout_is_the_contracts(per_subfilter: bool, tmp_path: Path) -> None:
    made = arrays(per_subfilter=per_subfilter)
    psf = np.full((2, 5, 7), 1 / 35, np.float32)
    writer(tmp_path / "c.zarr").write_patch(
        7, 3, "g", **made, physical_filter="g_01", psf=psf, psf_nodes=([300.0, 500.0], [310.0, 510.0]),
        transmission={"wavelength": [390, 470, 560], "throughput": [0, 1, 0]},
    )  # fmt: skip
    root = zarr.open_group(tmp_path / "c.zarr", mode="r")
    assert root.attrs.asdict() == {"dcrflow": {"kind": "dcr-coadds", "version": 1}, "skymap": "a skymap"}
    tract = root["7"].attrs.asdict()
    assert SkyWcs.from_header(tract.pop("wcs")) == TRACT.wcs
    assert tract == {"bbox": [0, 0, 600, 600], "patch_inner": [300, 300], "patch_border": 30, "num_patches": [2, 2]}

    with xr.open_zarr(tmp_path / "c.zarr", group="7/3/g", consolidated=False, chunks=None) as data:
        pixel_dims = ("subfilter", "y", "x") if per_subfilter else ("y", "x")
        layout = {name: (variable.dims, variable.dtype.str) for name, variable in data.variables.items()}
        assert layout == {
            "image": (("subfilter", "y", "x"), "<f4"),
            "variance": (pixel_dims, "<f4"),
            "mask": (pixel_dims, "<i4"),
            "x": (("x",), "<i8"),
            "y": (("y",), "<i8"),
            "subfilter": (("subfilter",), "<f8"),
            "subfilter_edges": (("subfilter", "edge"), "<f8"),
            "psf": (("psf_node", "psf_y", "psf_x"), "<f4"),
            "psf_node_x": (("psf_node",), "<f8"),
            "psf_node_y": (("psf_node",), "<f8"),
        }
        assert set(data.coords) == {"x", "y", "subfilter"}
        for name in ("image", "variance", "mask"):
            np.testing.assert_array_equal(data[name], made[name])
        np.testing.assert_array_equal(data.x, np.arange(270, 600))
        np.testing.assert_array_equal(data.y, np.arange(270, 600))
        np.testing.assert_array_equal(data.subfilter, [425.0, 475.0, 525.0])
        np.testing.assert_array_equal(data.subfilter_edges, EDGES)
        np.testing.assert_array_equal(data.psf, psf)
        np.testing.assert_array_equal(data.psf_node_y, [310.0, 510.0])
        assert data.mask.attrs["flag_masks"] == [1 << bit for bit in range(9)]
        assert data.mask.attrs["flag_meanings"] == "BAD SAT INTRP CR EDGE DETECTED DETECTED_NEGATIVE SUSPECT NO_DATA"
        attributes = {name: value for name, value in data.attrs.items() if not name.endswith("_crc32")}
        assert SkyWcs.from_header(attributes.pop("wcs")) == TRACT.wcs
        assert attributes == {
            "band": "g", "physical_filter": "g_01", "units": "nJy", "photometric_zero_point": 31.4, "tract": 7,
            "patch": 3, "effective_wavelength": 475.0, "bandwidth": 150.0,
            "transmission": {"wavelength": [390.0, 470.0, 560.0], "throughput": [0.0, 1.0, 0.0]},
        }  # fmt: skip


def test_round_trip_through_dcrflow(tmp_path: Path) -> None:
    made = arrays()
    writer(tmp_path / "c.zarr").write_patch(7, 3, "g", **made)
    opened = open_coadds(tmp_path / "c.zarr")
    pixels = opened.read(7, 3, "g", BOX, STANDARD_PLANES)
    np.testing.assert_array_equal(pixels.image, made["image"])
    np.testing.assert_array_equal(pixels.variance, made["variance"][None])
    np.testing.assert_array_equal(pixels.mask, made["mask"][None])
    assert opened.info(7, 3, "g").transmission is None


@pytest.mark.parametrize(
    ("side", "inner", "shard"), [(300, 256, 512), (500, 256, 768), (512, 256, 768), (1000, 256, 1280)]
)
def test_one_shard_a_subfilter_written_whole_and_once(side: int, inner: int, shard: int) -> None:
    store = WatchedStore()
    tract = Tract(7, TRACT.wcs, Box(0, 0, 2 * side, 2 * side), (side, side), 30, (2, 2))
    box = tract.patch(0).bbox
    writer(store, tract).write_patch(7, 0, "g", **arrays(box))
    for name, planes in (("image", 3), ("variance", None), ("mask", None)):
        array = zarr.open_array(store, path=f"7/0/g/{name}", mode="r")
        each = (1,) if planes else ()
        assert array.chunks == (*each, inner, inner)
        assert array.shards == (*each, shard, shard)
        keys = [key for key in store.watch.writes if key.startswith(f"7/0/g/{name}/c/")]
        assert keys == list(dict.fromkeys(keys))
        assert len(keys) == (planes or 1)
        assert np.isnan(array.fill_value) if name != "mask" else array.fill_value == 1 << STANDARD_PLANES["NO_DATA"]
        assert "crc32c" in str(array.metadata.to_dict()["codecs"])
    assert not any("/c/" in key and last > first for key, first, last in store.watch.reads)  # no shard is read back


def test_a_patch_is_whole_only_when_its_attributes_are_there() -> None:
    """A crash at any write leaves a patch that is not taken for whole, and that can be written again."""
    store = WatchedStore()
    made = writer(store)
    before = dict(store._store_dict)
    for crash_at in range(1000):
        store._store_dict.clear()
        store._store_dict.update(before)
        store.watch.arm(crash_at)
        try:
            made.write_patch(7, 3, "g", **arrays())
        except CrashError:
            store.watch.arm(None)
            opened = open_coadds(store)
            with pytest.raises(CoaddStoreError, match="patch 3 band g"):
                opened.info(7, 3, "g")
            made.write_patch(7, 3, "g", **arrays())
            open_coadds(store).info(7, 3, "g")
        else:
            break
    assert crash_at > 10


def test_a_mask_without_no_data_gets_the_plane() -> None:
    store = MemoryStore()
    writer(store).write_patch(7, 3, "g", **arrays() | {"planes": {"BAD": 0, "SAT": 2}})
    assert open_coadds(store).info(7, 3, "g").planes == {"BAD": 0, "SAT": 2, "NO_DATA": 1}
    assert zarr.open_array(store, path="7/3/g/mask", mode="r").fill_value == 2


def test_one_psf_node_stands_in_the_middle() -> None:
    store = MemoryStore()
    writer(store).write_patch(7, 3, "g", **arrays(), psf=np.ones((1, 3, 3), np.float32) / 9)
    group = zarr.open_group(store, path="7/3/g", mode="r")
    assert (group["psf_node_x"][0], group["psf_node_y"][0]) == (434.5, 434.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((3, 2, 2))}, r"image has shape \(3, 2, 2\), expected \(3, 330, 330\)"),
        ({"image": np.zeros((2, 330, 330))}, r"image has shape \(2, 330, 330\), expected \(3, 330, 330\)"),
        ({"variance": np.zeros((1, 330, 330))}, r"variance has shape .* expected \(330, 330\) or \(3, 330, 330\)"),
        ({"mask": np.zeros(3)}, r"mask has shape \(3,\)"),
        ({"subfilter_edges": [(400, 450), (460, 500), (500, 550)]}, r"subfilter_edges are .*share edges"),
        ({"subfilter_edges": [(450, 400), (400, 500), (500, 550)]}, r"subfilter_edges are .*share edges"),
        ({"psf": np.ones((1, 4, 3))}, r"psf has shape \(1, 4, 3\)"),
        ({"psf": np.ones((2, 3, 3))}, r"psf has shape \(2, 3, 3\) with nodes \(1,\) and \(1,\)"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(change: dict[str, Any], message: str) -> None:
    store = WatchedStore()
    made = writer(store)
    store.watch.writes.clear()
    with pytest.raises(ValueError, match=message):
        made.write_patch(7, 3, "g", **arrays() | change)
    assert not store.watch.writes


def test_patches_and_tracts_that_are_not_the_skymaps() -> None:
    made = writer(MemoryStore())
    with pytest.raises(CoaddStoreError, match=r"tract 9: there is no such group"):
        made.write_patch(9, 3, "g", **arrays())
    with pytest.raises(LookupError, match=r"tract 7 has patches 0 to 3, not 4"):
        made.write_patch(7, 4, "g", **arrays())
    with pytest.raises(CoaddStoreError, match=r"has tract 7 already"):
        made.write_tract(TRACT)


def test_a_patch_is_replaced_on_purpose_only() -> None:
    store = MemoryStore()
    made = writer(store)
    made.write_patch(7, 3, "g", **arrays())
    with pytest.raises(CoaddStoreError, match=r"tract 7 patch 3 band g is there already"):
        made.write_patch(7, 3, "g", **arrays(seed=2))
    made.write_patch(7, 3, "g", **arrays(seed=2, per_subfilter=True), overwrite=True)
    pixels = open_coadds(store).read(7, 3, "g", BOX, STANDARD_PLANES)
    np.testing.assert_array_equal(pixels.variance, arrays(seed=2, per_subfilter=True)["variance"])


def test_several_writers(tmp_path: Path) -> None:
    writer(tmp_path / "c.zarr")
    for patch in range(4):
        box = TRACT.patch(patch).bbox
        open_writer(tmp_path / "c.zarr").write_patch(7, patch, "g", **arrays(box, seed=patch))
    opened = open_coadds(tmp_path / "c.zarr")
    assert [p.patch for p in opened.patches(7, "g")] == [0, 1, 2, 3]
    with pytest.raises(CoaddStoreError, match=r"none\.zarr does not exist"):
        open_writer(tmp_path / "none.zarr")


def test_create_leaves_alone_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "c.zarr"
    writer(path)
    with pytest.raises(CoaddStoreError, match=r"c\.zarr exists already; choose another place"):
        create_coadds(path, "again")
    made = create_coadds(path, "again", overwrite=True)
    assert repr(made) == f"<CoaddWriter {path}>"
    assert not open_coadds(path).tracts
    shutil.rmtree(path)
    path.mkdir()
    create_coadds(path, "an empty directory is nothing")

    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    for place in (precious, precious / "thesis.tex"):
        for overwrite in (False, True):
            with pytest.raises(CoaddStoreError, match=str(place)):
                create_coadds(place, "s", overwrite=overwrite)
    assert (precious / "thesis.tex").read_text() == "years of work"

    other = MemoryStore()
    zarr.create_group(other, attributes={"dcrflow": {"kind": "templates", "version": 1}})
    with pytest.raises(CoaddStoreError, match="of kind 'templates'"):
        create_coadds(other, "s", overwrite=True)


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CoaddStoreError, match=r"cannot (create|look at) .*file/c\.zarr") as caught:
        create_coadds(tmp_path / "file" / "c.zarr", "s")
    assert "\n" not in str(caught.value)
    with pytest.raises(CoaddStoreError, match=r"a zip file cannot be written in place"):
        create_coadds(tmp_path / "c.zip", "s")
    made = writer(tmp_path / "c.zarr")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.Group, "create_array", full)
    with pytest.raises(CoaddStoreError, match=r"tract 7 patch 3 band g: cannot write it: OSError: .*No space left"):
        made.write_patch(7, 3, "g", **arrays())


def test_a_zip_store_object_can_be_written_patch_after_patch(tmp_path: Path) -> None:
    with ZipStore(tmp_path / "c.zip", mode="w") as store:
        made = writer(store)
        for patch in (0, 3):
            made.write_patch(7, patch, "g", **arrays(TRACT.patch(patch).bbox))
    opened = open_coadds(tmp_path / "c.zip")
    assert [p.patch for p in opened.patches(7, "g")] == [0, 3]
    np.testing.assert_array_equal(opened.read(7, 3, "g", BOX, STANDARD_PLANES).image, arrays()["image"])


def interrupted(path: Path) -> None:
    """Begin a store, look whether it can be read, and be interrupted."""
    with whole_coadds(path, "a skymap") as made:
        made.write_tract(TRACT)
        with pytest.raises(CoaddStoreError, match="is not finished"):
            open_coadds(path)
        raise KeyboardInterrupt


def test_an_unfinished_store_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "c.zarr"
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    with pytest.raises(CoaddStoreError, match="interrupted; wait, or write it again"):
        open_coadds(path)
    with pytest.raises(CoaddStoreError, match="is not finished"):  # what dcrflow coadd adds could not be read
        CoaddBuild.create_or_open(path, "a skymap")
    with whole_coadds(path, "again", overwrite=True) as made:
        made.write_tract(TRACT)
    assert open_coadds(path).skymap == "again"
    assert set(zarr.open_group(path, mode="r").attrs) == {"dcrflow", "skymap"}


def test_of_two_that_write_one_store_the_displaced_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "c.zarr"
    first = whole_coadds(path, "first")
    first.__enter__()
    with whole_coadds(path, "second", overwrite=True) as second:
        second.write_tract(TRACT)
    with pytest.raises(CoaddStoreError, match="replaced by somebody else"):
        first.__exit__(None, None, None)
    found = open_coadds(path)
    assert (found.skymap, list(found.tracts)) == ("second", [TRACT.tract])


#: Begins a store, says so, waits, and ends it if it is told to.
_ANOTHER = """
import sys
from scenes import TRACT
from dcrflow.stores.coadds.writer import whole_coadds
with whole_coadds(sys.argv[1], "first") as made:
    made.write_tract(TRACT)
    print("begun", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before the other begins", "while the other writes", "after the other has ended"])
def test_of_two_processes_that_write_one_store_one_is_killed(tmp_path: Path, when: str) -> None:
    path = tmp_path / "c.zarr"
    words = [sys.executable, "-c", _ANOTHER, str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), *sys.path]))}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as another:
        assert another.stdout is not None
        assert another.stdout.readline() == "begun\n"

        def kill(now: str) -> None:
            if now == when:
                another.kill()
                another.wait()

        kill("before the other begins")
        with pytest.raises(CoaddStoreError, match="interrupted"):
            open_coadds(path)
        with whole_coadds(path, "second", overwrite=True) as made:
            made.write_tract(TRACT)
            kill("while the other writes")
            made.write_patch(7, 3, "g", **arrays())
        kill("after the other has ended")
    found = open_coadds(path)
    assert (found.skymap, [p.patch for p in found.patches(7, "g")]) == ("second", [3])
