"""Chunks are decompressed to what blosc makes of them, or left to it."""

from __future__ import annotations

import numcodecs.blosc
import numpy as np
import pytest

from dcrflow.kernels.bitshuffled import SPARE, decompress_into

SHAPE = (64, 256)


def values(kind: str, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    rng = np.random.default_rng(1)
    if kind == "noise":
        return rng.normal(0, 2, shape).astype(np.float32)
    if kind == "rounded":
        return np.round(8 * rng.normal(0, 2, shape)).astype(np.float32) / 8
    if kind == "mask":
        return np.where(rng.random(shape) < 1e-3, np.int32(-(2**31) + 5), np.int32(0))
    if kind == "pattern":  # matches of any distance and length
        return np.resize(rng.integers(0, 2**32, 3 * 32 + 8, np.uint32), shape)
    if kind == "columns":
        return np.resize(np.arange(shape[1], dtype=np.uint32) << np.uint32(7), shape)
    return np.full(shape, {"zero": 0, "one": -1}[kind], np.int32)


def compressed(array: np.ndarray, shuffle: int = 2, name: bytes = b"lz4", block: int = 0) -> np.ndarray:
    content = numcodecs.blosc.compress(array, name, 5, shuffle, block, array.dtype.itemsize)
    return np.frombuffer(content, np.uint8)


def decompressed(data: np.ndarray, shape: tuple[int, int] = SHAPE) -> np.ndarray | None:
    """In the middle of a larger array, beside which nothing may be written."""
    around = np.full((shape[0] + 2, shape[1] + 16), 7, np.uint32)
    within = around[1:-1, 8:-8]
    space = np.full(4 * within.size + SPARE + 64, 7, np.uint8)
    done = decompress_into(data, space[:-64], within)
    assert (space[-64:] == 7).all()
    if not done:
        return None
    beside = np.ones(around.shape, bool)
    beside[1:-1, 8:-8] = False
    assert (around[beside] == 7).all()
    return within


@pytest.mark.parametrize("kind", ["rounded", "mask", "pattern", "columns", "zero", "one", "noise"])
@pytest.mark.parametrize("shape", [SHAPE, (256, 256), (2, 512), (300, 256), (512, 512)])
def test_numbers_are_those_that_blosc_makes(kind: str, shape: tuple[int, int]) -> None:
    array = values(kind, shape)
    data = compressed(array)
    found = decompressed(data, shape)
    if found is None:  # noise is not compressed, and a last block that is shorter is laid out in another way
        assert kind == "noise" or shape == (300, 256)
        return
    np.testing.assert_array_equal(found, array.view(np.uint32))


def test_several_blocks() -> None:
    array = values("rounded", (512, 512))
    data = compressed(array, block=1 << 16)
    assert data[8:12].view(np.int32)[0] < array.nbytes
    np.testing.assert_array_equal(decompressed(data, (512, 512)), array.view(np.uint32))


def test_other_layouts_are_left_to_blosc() -> None:
    array = values("rounded")
    assert decompressed(compressed(array, shuffle=1)) is None
    assert decompressed(compressed(array, name=b"zstd")) is None
    assert decompressed(compressed(array.view(np.uint16))) is None
    assert decompressed(compressed(values("rounded", (32, 512))[:, :504].copy()), (32, 504)) is None
    assert decompressed(compressed(array), (32, 256)) is None, "another size"


def test_whatever_is_damaged_nothing_is_written_elsewhere() -> None:
    rng = np.random.default_rng(2)
    for kind in ("rounded", "mask", "pattern"):
        whole = compressed(values(kind))
        for n in range(400):
            data = whole.copy()
            at = rng.integers(0, 60 if n % 2 else len(data), rng.integers(1, 4))
            data[at] = rng.integers(0, 256, len(at))
            decompressed(data)
        for n in (0, 5, 16, 20, 21, len(whole) // 2, len(whole) - 1):
            assert decompressed(whole[:n]) is None
            cut = whole[:n].copy()
            if n >= 16:
                cut[12:16] = np.array([n], "<u4").view(np.uint8)
            assert decompressed(cut) is None
