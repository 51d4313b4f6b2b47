"""FITS files of others: what follows the last HDU, headers without an end, compression by content."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from dcrflow.base.fits_files import LONGEST, open_fits

_PIXELS = np.arange(720, dtype=np.float32).reshape(20, 36)  # one block
_ENDLESS = b"XTENSION= 'IMAGE   '".ljust(80)


@pytest.fixture
def content() -> bytes:
    file = io.BytesIO()
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[3, 4])], name="TABLE")
    compressed = fits.CompImageHDU(_PIXELS.astype(np.int32), name="COMPRESSED")
    zeros = fits.ImageHDU(np.zeros((20, 36), np.float32), name="ZEROS")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(_PIXELS, name="IMAGE"), zeros, compressed, table]).writeto(file)
    return file.getvalue()


def _same(path: Path) -> None:
    with open_fits(path) as hdus:
        assert hdus["TABLE"].data["a"].tolist() == [3, 4]
        assert np.array_equal(hdus["IMAGE"].data, _PIXELS)
        assert np.array_equal(hdus["IMAGE"].section[3:5, 1:9], _PIXELS[3:5, 1:9])
        assert np.array_equal(hdus["COMPRESSED"].section[3:5, 1:9], _PIXELS[3:5, 1:9])
        assert not hdus["ZEROS"].data.any()
        assert len(hdus) == 5


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_compression_is_known_by_the_content(tmp_path: Path, content: bytes, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(pack(content))
    _same(path)


@pytest.mark.filterwarnings("ignore:Unexpected extra padding")
@pytest.mark.parametrize("more", [1000, 28_800, 3 * LONGEST])
def test_zeros_after_the_last_data_are_its_end(tmp_path: Path, content: bytes, more: int) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(content + bytes(more))
    _same(path)


@pytest.mark.parametrize("fill", [b" ", b"\0"])
@pytest.mark.parametrize("before", ["all", "nothing"])
def test_a_header_that_does_not_end(tmp_path: Path, content: bytes, fill: bytes, before: str) -> None:
    start = content + _ENDLESS if before == "all" else content[:80]
    path = tmp_path / "a.fits"
    path.write_bytes(start + fill * (2 * LONGEST))
    with (
        pytest.raises(OSError, match="a header goes on for more than 16 MiB, and has no card END"),
        open_fits(path) as h,
    ):
        assert len(h) < 0


def test_no_more_of_it_is_read_than_its_limit(content: bytes) -> None:
    class Counted(io.BytesIO):
        bytes = 0

        def read(self, size: int | None = -1, /) -> bytes:
            found = super().read(size)
            self.bytes += len(found)
            return found

    file = Counted(content + _ENDLESS + b" " * (20 * LONGEST))
    with pytest.raises(OSError, match="more than 16 MiB"), open_fits(file) as hdus:
        assert len(hdus) < 0
    assert file.bytes < 3 * LONGEST  # astropy begins twice
    assert not file.closed


def test_a_long_header_is_read(tmp_path: Path) -> None:
    header = fits.Header([("HISTORY", f"line {n}") for n in range(20_000)])
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(_PIXELS, header).writeto(path)
    with open_fits(path) as hdus:
        assert len(hdus[0].header["HISTORY"]) == 20_000
        assert np.array_equal(hdus[0].data, _PIXELS)
