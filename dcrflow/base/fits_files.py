"""Open FITS files of others: a header ends somewhere, also in a file that is damaged or made to keep a reader busy."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from astropy.io import fits

LONGEST = 16 << 20  # bytes; the headers of survey images have at most some hundred kB
_BLOCK = 2880  # bytes; headers are read block by block, pixels are not
_COMPRESSED = {b"\x1f\x8b\x08": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


@contextmanager
def open_fits(source: str | Path | BinaryIO) -> Iterator[fits.HDUList]:
    """Open a FITS file to read it. Headers and pixels are read when they are needed.

    Parameters
    ----------
    source : str, Path or binary file
        A path, compressed with gzip, bzip2 or xz or not at all, whatever its name says; or an open file, which is left
        open.

    Raises
    ------
    OSError
        If it is no FITS file, cannot be read, or has a header of more than `LONGEST` bytes.
    """
    if not isinstance(source, str | Path):
        with fits.open(_Bounded(source), memmap=False, lazy_load_hdus=True) as hdus:
            yield hdus
        return
    with open(source, "rb") as file:
        start = file.read(6)
        file.seek(0)
        decompress: Any = next((d for magic, d in _COMPRESSED.items() if start.startswith(magic)), None)
        with decompress(file) if decompress else file as content, open_fits(content) as hdus:
            yield hdus


class _Bounded:
    """A binary file, as astropy reads one, that raises where a header does not end.

    Zeros after the last header and its data count as the end of the file: tapes and some programs leave them.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._blocks = 0  # that were read one after the other
        self._zeros = True  # whether these are nothing else

    def read(self, size: int | None = -1) -> bytes:
        """Read bytes."""
        found = self._file.read(-1 if size is None else size)
        if size != _BLOCK:
            self._blocks = 0
            return found
        self._zeros = (self._zeros or not self._blocks) and not any(found)
        self._blocks += 1
        if self._blocks * _BLOCK > LONGEST:
            if self._zeros:
                return b""
            raise OSError(f"a header goes on for more than {LONGEST >> 20} MiB, and has no card END")
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        self._blocks = 0
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The place."""
        return self._file.tell()
