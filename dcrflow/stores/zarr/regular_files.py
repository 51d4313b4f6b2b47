"""Directories as zarr stores of which only regular files are read."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.buffer.cpu import buffer_prototype
from zarr.storage import LocalStore

_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class RegularFiles(LocalStore):
    """A directory that may be somebody else's.

    A file in it may be a link to ``/dev/zero``, whose reading never ends and fills the memory, or a pipe, at which
    readers wait for ever. Reading one raises ValueError, as other damaged chunks and metadata do. Links to files are
    followed.
    """

    async def get(self, key: str, prototype: Any = None, byte_range: ByteRequest | None = None) -> Any:
        """As zarr's; raises ValueError if it is no regular file."""
        return await asyncio.to_thread(_read, self.root, key, prototype, byte_range)

    def get_sync(self, key: str, *, prototype: Any = None, byte_range: ByteRequest | None = None) -> Any:
        """As zarr's; raises ValueError if it is no regular file."""
        return _read(self.root, key, prototype, byte_range)

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]) -> list[Any]:
        """As zarr's; raises ValueError if one is no regular file."""
        return await asyncio.gather(*(self.get(key, prototype, byte_range) for key, byte_range in key_ranges))

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """As zarr's; nothing is in a link that leads to itself."""
        try:
            async for name in super().list_dir(prefix):
                yield name
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise


def _read(root: Path, key: str, prototype: Any, byte_range: ByteRequest | None) -> Any:
    try:
        descriptor = os.open(root / key, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # no waiting for a pipe's writer
    except _ABSENT:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(f"{key} is a link that leads to itself") from error
        raise
    try:
        about = os.fstat(descriptor)
        if stat.S_ISDIR(about.st_mode):
            return None
        if not stat.S_ISREG(about.st_mode):
            raise ValueError(f"{key} is no regular file")
        return read_part(descriptor, about.st_size, prototype or buffer_prototype, byte_range)
    finally:
        os.close(descriptor)


def read_part(descriptor: int, size: int, prototype: Any, byte_range: ByteRequest | None) -> Any:
    """Part of an open file of so many bytes, as zarr's stores return it."""
    start, stop = bounds(byte_range, size)
    parts = []
    while start < stop:
        part = os.pread(descriptor, stop - start, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return prototype.buffer.from_bytes(parts[0] if len(parts) == 1 else b"".join(parts))


def bounds(byte_range: ByteRequest | None, size: int) -> tuple[int, int]:
    """Where a part of so many bytes begins and ends."""
    match byte_range:
        case RangeByteRequest(start, end):
            return start, min(end, size)
        case OffsetByteRequest(offset):
            return offset, size
        case SuffixByteRequest(suffix):
            return max(0, size - suffix), size
        case _:
            return 0, size
