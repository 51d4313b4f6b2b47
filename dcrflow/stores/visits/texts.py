"""A column of long texts, such as the WCS of each detector-visit, outside of memory: a temporary file that is read by
rows."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class TextFile:
    """Texts in a temporary file, which goes with this object; None where a text is missing.

    Bytes that are no UTF-8 become replacement characters, so that only their row is bad.
    """

    def __init__(self) -> None:
        handle, path = tempfile.mkstemp(prefix="dcrflow-texts-")
        os.unlink(path)
        self._handle = handle
        weakref.finalize(self, os.close, handle)
        self._end = 0
        self._new: list[tuple[NDArray[np.int64], NDArray[np.bool_]]] = []
        self._starts, self._missing = np.zeros(1, np.int64), np.zeros(0, np.bool_)

    def add(self, texts: pa.Array) -> None:
        """Append an array of strings."""
        offsets, data = bytes_of(texts)
        _write(self._handle, data)
        self._new.append((self._end + offsets[1:] - offsets[0], ~np.asarray(texts.is_valid())))
        self._end += len(data)

    def _settle(self) -> None:
        if self._new:
            self._starts = np.concatenate([self._starts, *(ends for ends, _ in self._new)])
            self._missing = np.concatenate([self._missing, *(missing for _, missing in self._new)])
            self._new.clear()

    def __len__(self) -> int:
        self._settle()
        return len(self._missing)

    def rows(self, numbers: Sequence[int] | NDArray[np.int64]) -> list[str | None]:
        """The texts of some rows."""
        self._settle()
        return [self._row(int(number)) for number in numbers]

    def _row(self, number: int) -> str | None:
        if self._missing[number]:
            return None
        start, end = self._starts[number], self._starts[number + 1]
        return os.pread(self._handle, end - start, start).decode(errors="replace")


def bytes_of(texts: pa.Array) -> tuple[NDArray[np.int64], memoryview]:
    """The UTF-8 bytes of an array of strings, one after the other, and where each begins among them, and the end."""
    texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    where = np.frombuffer(offsets, np.int64, len(texts) + 1, offset=8 * texts.offset)
    if data is None:
        return where, memoryview(b"")
    return where, memoryview(data)[int(where[0]) : int(where[-1])]


def _write(handle: int, data: Any) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(handle, view) :]
