"""A store in memory that remembers what is read from it, and can fail at any write."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.storage import MemoryStore


class CrashError(Exception):
    """What stands for a process that is killed."""


@dataclass
class Watch:
    """What happened to a store."""

    reads: list[tuple[str, int, int]] = field(default_factory=list)  # key, first byte, one past the last
    writes: list[str] = field(default_factory=list)
    crash_at: int | None = None  # which write from now on fails, counted from 0; so do all that follow

    def wrote(self, key: str) -> None:
        if self.crash_at is not None and len(self.writes) >= self.crash_at:
            raise CrashError(key)
        self.writes.append(key)

    def arm(self, crash_at: int | None) -> None:
        self.writes.clear()
        self.crash_at = crash_at

    def chunks_read(self, variable: str) -> list[str]:
        """Chunk keys read of a variable, in order, as often as they were."""
        return sorted(key.partition(f"/{variable}/c/")[2] for key, *_ in self.reads if f"/{variable}/c/" in key)


class WatchedStore(MemoryStore):
    """A `MemoryStore` with a `Watch` that its read-only views share."""

    def __init__(self, store_dict: Any = None, *, read_only: bool = False, watch: Watch | None = None) -> None:
        super().__init__(store_dict, read_only=read_only)
        self.watch = watch or Watch()

    def with_read_only(self, read_only: bool = False) -> WatchedStore:
        return WatchedStore(self._store_dict, read_only=read_only, watch=self.watch)

    def _note(self, key: str, byte_range: ByteRequest | None) -> None:
        value = self._store_dict.get(key)
        size = 0 if value is None else len(value)
        match byte_range:
            case RangeByteRequest(start, end):
                self.watch.reads.append((key, start, min(end, size)))
            case OffsetByteRequest(offset):
                self.watch.reads.append((key, offset, size))
            case SuffixByteRequest(suffix):
                self.watch.reads.append((key, max(0, size - suffix), size))
            case None:
                self.watch.reads.append((key, 0, size))

    async def get(self, key: str, prototype: Any = None, byte_range: ByteRequest | None = None) -> Any:
        self._note(key, byte_range)
        return await super().get(key, prototype, byte_range)

    def get_sync(self, key: str, *, prototype: Any = None, byte_range: ByteRequest | None = None) -> Any:
        self._note(key, byte_range)
        return super().get_sync(key, prototype=prototype, byte_range=byte_range)

    async def set(self, key: str, value: Any, byte_range: Any = None) -> None:
        self.watch.wrote(key)
        await super().set(key, value, byte_range)

    def set_sync(self, key: str, value: Any) -> None:
        self.watch.wrote(key)
        super().set_sync(key, value)

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        self.watch.wrote(key)
        await super().set_if_not_exists(key, value)

    async def delete(self, key: str) -> None:
        self.watch.wrote(key)
        await super().delete(key)

    def delete_sync(self, key: str) -> None:
        self.watch.wrote(key)
        super().delete_sync(key)
