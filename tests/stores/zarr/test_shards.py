"""Local shards are read as zarr reads them, or left to zarr."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import zarr
from scenes import IMAGE, coadds
from zarr.buffer.cpu import Buffer
from zarr.codecs import BytesCodec, ZstdCodec
from zarr.storage import MemoryStore

from dcrflow.stores.coadds import chunks
from dcrflow.stores.coadds.store import open_coadds
from dcrflow.stores.zarr import arrays
from dcrflow.stores.zarr.arrays import reading, write_array
from dcrflow.stores.zarr.shards import read_local

SHAPE = (2, 70, 90)
PARTS = [(slice(0, 70), slice(0, 90)), (slice(16, 48), slice(32, 64)), (slice(5, 69), slice(31, 33))]


def image() -> np.ndarray:
    values = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    values[1, 16:32, 32:64] = np.nan  # a chunk of the fill value, which is not written
    return values


def written(place: Path, values: np.ndarray) -> zarr.AsyncArray:
    group = zarr.create_group(place / "store.zarr")
    write_array(group, "image", ("subfilter", "y", "x")[-values.ndim :], values, fill=np.nan, chunk=16)
    return opened(place)


def opened(place: Path) -> zarr.AsyncArray:
    with reading():
        return zarr.open_array(place / "store.zarr", path="image", mode="r").async_array


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("stacked", [True, False])
def test_whatever_part_is_read(part: tuple[slice, slice], stacked: bool, tmp_path: Path) -> None:
    values = image() if stacked else image()[1]
    array = written(tmp_path, values)
    expected = values[(..., *part)]
    around = np.full((*expected.shape[:-1], expected.shape[-1] + 7), 3, np.float32)
    assert read_local(array, part, around[..., 4:-3])
    np.testing.assert_array_equal(around[..., 4:-3], expected)
    assert (around[..., :4] == 3).all()
    assert (around[..., -3:] == 3).all()


@pytest.mark.parametrize("kind", ["f4", "i4", "f8", "i2"])
@pytest.mark.parametrize("part", [(slice(0, 150), slice(0, 200)), (slice(60, 131), slice(37, 129))])
def test_whatever_kind_is_read(part: tuple[slice, slice], kind: str, tmp_path: Path) -> None:
    """Also in chunks that are unpacked to their place, and such that are not packed."""
    values = np.random.default_rng(1).integers(-99, 99, (2, 150, 200)).astype(kind)
    values[0, :64, :64] = np.frombuffer(np.random.default_rng(2).bytes(64 * 64 * values.itemsize), kind).reshape(64, 64)
    group = zarr.create_group(tmp_path / "store.zarr")
    write_array(group, "image", ("subfilter", "y", "x"), values, chunk=64)
    out = np.empty_like(values[(..., *part)])
    assert read_local(opened(tmp_path), part, out)
    assert out.tobytes() == values[(..., *part)].tobytes()


def test_a_row_of_chunks_is_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array, reads = written(tmp_path, image()[0]), []
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *a: reads.append(a[1:]) or preadv(*a))
    assert read_local(array, (slice(16, 48), slice(0, 64)), np.empty((32, 64), np.float32))
    assert len(reads) == 3, "the index, and two rows of chunks"


def test_local_coadds_are_read_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the store opens a directory."""

    async def never(*_: object) -> None:
        raise AssertionError("left to zarr")

    source = open_coadds(coadds(IMAGE, store=str(tmp_path / "coadds.zarr")))
    box, planes = source.tracts[7].patch(0).bbox, source.info(7, 0, "g").planes
    with monkeypatch.context() as without_zarr:
        without_zarr.setattr(chunks, "read_into", never)
        found = source.read(7, 0, "g", box, planes)
    monkeypatch.setattr(chunks, "read_local", lambda *_: False)
    by_zarr = source.read(7, 0, "g", box, planes)
    for name in ("image", "variance", "mask"):
        np.testing.assert_array_equal(getattr(found, name), getattr(by_zarr, name))


@pytest.mark.parametrize("where", ["chunk", "index", "end", "gone"])
def test_what_is_damaged_is_left_to_zarr(where: str, tmp_path: Path) -> None:
    array = written(tmp_path, image()[0])
    (file,) = (p for p in (tmp_path / "store.zarr/image").rglob("*") if p.is_file() and p.name != "zarr.json")
    content = bytearray(file.read_bytes())
    if where == "gone":
        file.unlink()
    else:
        content[{"chunk": 40, "index": -10, "end": -1}[where]] ^= 4
        file.write_bytes(content[:-20] if where == "end" else content)
    assert not read_local(array, PARTS[0], np.empty(SHAPE[1:], np.float32))


def test_what_others_wrote_is_left_to_zarr(tmp_path: Path) -> None:
    group, values = zarr.create_group(tmp_path / "store.zarr"), image()[0]
    group.create_array(
        "image", data=values, chunks=(16, 16), shards=(80, 96), serializer=BytesCodec(), compressors=ZstdCodec()
    )
    assert not read_local(opened(tmp_path), PARTS[0], np.empty(SHAPE[1:], np.float32))
    ours = written(tmp_path / "other", values)
    assert read_local(ours, PARTS[0], np.empty(SHAPE[1:], np.float32))
    assert not read_local(ours, PARTS[0], np.empty(SHAPE[1:])), "another dtype"


@pytest.mark.parametrize("kind", ["f4", ">f4", "f8", "i4", ">i4", "u1", "?", "i8", "c8"])
@pytest.mark.parametrize("shape", [(70, 90), (2, 70, 90), (3, 16, 16), (5, 7), (1, 33, 1)])
def test_what_is_written_is_what_zarr_would_write(
    kind: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = (np.random.default_rng(2).integers(0, 9, shape) / 2).astype(kind)
    fill = np.nan if np.issubdtype(np.dtype(kind), np.floating) else 1
    values[..., :40, 30:50] = fill  # 16 to 32 are a chunk that is not written, in a large one
    found = []
    for by_zarr in (False, True):
        if by_zarr:
            monkeypatch.setattr(arrays, "write_shards", lambda *_: False)
        files: dict[str, Buffer] = {}
        group = zarr.create_group(MemoryStore(files))
        write_array(group, "image", ("subfilter", "y", "x")[-len(shape) :], values, fill=fill, chunk=16)
        found.append({key: file.to_bytes() for key, file in files.items()})
        np.testing.assert_array_equal(group["image"][...], values)
    assert found[0] == found[1]


def test_only_what_is_the_fill_value_is_not_written() -> None:
    values = np.zeros((32, 64), np.float32)
    values[:16, :16] = -0.0
    values[0, 16:32] = np.nan
    values[16:, 40] = 1
    for fill, number in ((0.0, 3), (np.nan, 8), (1.0, 8)):
        files: dict[str, Buffer] = {}
        write_array(zarr.create_group(MemoryStore(files)), "image", ("y", "x"), values, fill=fill, chunk=16)
        index = np.frombuffer(files["image/c/0/0"].to_bytes()[-8 * 16 - 4 : -4], np.uint64).reshape(8, 2)
        assert np.count_nonzero(index[:, 0] != np.uint64(2**64 - 1)) == number
        read = zarr.open_group(MemoryStore(files), mode="r")["image"][...]
        assert read.tobytes() == values.tobytes()
    files = {}
    write_array(zarr.create_group(MemoryStore(files)), "image", ("y", "x"), np.zeros((9, 9)), chunk=4)
    assert "image/c/0/0" not in files
