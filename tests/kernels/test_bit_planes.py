"""Numbers are made from their bits, wherever they are wanted, and nowhere else."""

from __future__ import annotations

import numcodecs.blosc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dcrflow.kernels.bit_planes import TOGETHER, unshuffle


def planes_of(values: NDArray[np.uint32], block: int) -> NDArray[np.uint8]:
    """Bit 0 of all numbers of a block, then bit 1, and so on; the first number's bit is a byte's lowest."""
    found = []
    for numbers in np.split(values.reshape(-1), range(block // 4, values.size, block // 4)):
        bits = np.unpackbits(numbers.astype("<u4").view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
        found.append(np.packbits(bits.T, axis=1, bitorder="little").reshape(-1))
    return np.concatenate(found)


@given(st.data())
def test_whatever_part_is_wanted_of_whatever_chunk(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 20)), TOGETHER * data.draw(st.integers(1, 5))
    block = 4 * TOGETHER * data.draw(st.integers(1, height * width // TOGETHER))
    kept = data.draw(st.sampled_from([0xFFFFFFFF, 0xFFFF0000, 0x000000FF, 0xFF00FF00, 0x80000000, 0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = rng.integers(0, 1 << 32, (height, width)).astype(np.uint32) & np.uint32(kept)
    values[: data.draw(st.integers(0, height))] &= np.uint32(0xFFFF)
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width))
    around = np.full((y1 - y0 + 2, x1 - x0 + 5), 9, np.uint32)
    inside = around[1:-1, 2:-3]
    unshuffle(planes_of(values, block), block, width, y0, x0, np.empty((1, TOGETHER), np.uint32), inside)
    np.testing.assert_array_equal(inside, values[y0:y1, x0:x1])
    inside[...] = 9
    assert (around == 9).all()


@pytest.mark.parametrize("shape", [(256, 256), (512, 512)])
def test_planes_are_those_of_the_library(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    content = bytearray(numcodecs.blosc.compress(values, b"lz4", 5, 2, 0, 4))
    content[2] &= ~4  # it leaves the bits as they are
    block = int.from_bytes(content[8:12], "little")
    np.testing.assert_array_equal(
        np.frombuffer(numcodecs.blosc.decompress(content), np.uint8), planes_of(values.view(np.uint32), block)
    )
