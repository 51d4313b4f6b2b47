"""Reading one template, and never two: what was opened stays what it was, or reading it is an error."""

from __future__ import annotations

import json
import os
import resource
import threading
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.abc.store import ByteRequest, Store
from zarr.buffer.cpu import buffer_prototype
from zarr.storage import LocalStore, WrapperStore

from dcrflow.base.attributes import encoded
from dcrflow.base.errors import TemplateStoreError
from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.files import open_regular, read_regular
from dcrflow.stores.locks import directory_of
from dcrflow.stores.templates.encoding import digest
from dcrflow.stores.zarr.access import url_of
from dcrflow.stores.zarr.checksums import digest_of_layout
from dcrflow.stores.zarr.regular_files import bounds, read_part

if TYPE_CHECKING:
    import xarray as xr

_SHARE = 4  # one of so many of the files that a process may have open
_MOST_BYTES, _MOST_CHUNKS = 1 << 34, 1 << 16  # of a variable; more is no template, and takes all memory or hours
_OPEN = 0  # files that this process keeps open for templates
_COUNTING = threading.Lock()


def open_template(root: zarr.Group, path: str, attributes: Mapping[str, Any]) -> xr.Dataset:
    """Open a complete template, lazily.

    Parameters
    ----------
    root : zarr.Group
        The store's root.
    path : str
        ``visit/detector``.
    attributes : mapping
        Those of its group, as they were read last.

    Raises
    ------
    TemplateStoreError
        If it is replaced while it is opened, a variable is larger than any template's, or shapes, dimensions or codecs
        are not those that were written. What is opened raises it when pixels are read that are lost, or that were
        replaced and are not kept open.
    """
    store = OneTemplate.at(root, path)
    group = "/".join(part for part in (root.path, path) if part)
    declared = zarr.open_group(store, path=group, mode="r", zarr_format=3, use_consolidated=False)
    documents = {}
    for name, array in declared.arrays():
        found = sync(store.get(f"{group}/{name}/zarr.json", buffer_prototype))
        documents[name] = {} if found is None else json.loads(found.to_bytes())
        if array.nbytes > _MOST_BYTES or array.nchunks > _MOST_CHUNKS:
            raise TemplateStoreError(
                f"{url_of(root.store)}: {name} of the template {path} has shape {array.shape} in chunks of "
                f"{array.chunks}, larger than any that dcrflow writes; make it again with `dcrflow run`"
            )
    if attributes.get("layout_crc32") not in (None, digest_of_layout(documents)):
        raise TemplateStoreError(
            f"{url_of(root.store)}: the metadata of the variables of the template {path} have changed since they were "
            "written (their checksum differs); make it again with `dcrflow run`"
        )
    import xarray as xr

    template: xr.Dataset = xr.open_zarr(store, group=group, consolidated=False, zarr_format=3)
    if template.attrs.get("crc32") != attributes.get("crc32"):
        raise store.replaced()
    template.attrs = encoded(template.attrs)
    return template


class OneTemplate(WrapperStore[Store]):
    """A store of which one group is read, as long as it is what it was.

    In a directory its files are kept open, as long as that leaves enough for others (a quarter of those that the
    process may open): what replaces them has other files. Otherwise, and in another process, the group's metadata are
    looked at after each read: they say the checksum of every variable, so what has the same metadata has the same
    pixels.

    A chunk that is not there is an error, not no data; only a variable that was all fill value when it was written has
    no chunks.

    Parameters
    ----------
    store : zarr store
        That the template is in.
    group : str
        Key of its group.
    mark : object
        Of the group's metadata, as they were when it was opened.
    kept : KeptFiles, optional
        Its files, open.
    """

    def __init__(self, store: Store, group: str, mark: Any, kept: KeptFiles | None = None) -> None:
        super().__init__(store)
        self._group, self._mark, self._kept = group, mark, kept

    @classmethod
    def at(cls, root: zarr.Group, path: str) -> OneTemplate:
        """The one at a path of a store."""
        group = "/".join(part for part in (root.path, path) if part)
        store = root.store if root.store.read_only else root.store.with_read_only(True)
        if not isinstance(root.store, LocalStore):
            found = sync(store.get(f"{group}/zarr.json", prototype=buffer_prototype))
            return cls(store, group, None if found is None else found.to_bytes())
        folder = directory_of(root) / path
        mark = _mark(folder / "zarr.json")
        kept = KeptFiles.of(folder)
        opened = cls(store, group, mark, kept)
        opened._check_file()
        return opened

    def __reduce__(self) -> tuple[Any, ...]:
        return OneTemplate, (self._store, self._group, self._mark)

    def _with_store(self, store: Store) -> OneTemplate:
        return OneTemplate(store, self._group, self._mark, self._kept)

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, OneTemplate) and (self._group, self._mark) == (other._group, other._mark)
        return same and super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]

    def replaced(self) -> TemplateStoreError:
        """The error of a template that is another by now."""
        return TemplateStoreError(
            f"{url_of(self._store)}: the template {self._group} was replaced or removed after it was opened; open it "
            "again"
        )

    async def get(self, key: str, prototype: Any, byte_range: ByteRequest | None = None) -> Any:
        """As the store's; raises TemplateStoreError if it is of another template by now, or lost."""
        if not key.startswith(f"{self._group}/"):
            return await self._store.get(key, prototype, byte_range)
        name = key.removeprefix(f"{self._group}/")
        said = self._said(name)
        if said is not None:
            start, stop = bounds(byte_range, len(said))
            found = prototype.buffer.from_bytes(said[start:stop])
        elif self._kept is not None:
            found = self._kept.read(name, prototype, byte_range)
        else:
            found = await self._store.get(key, prototype, byte_range)
            if isinstance(self._store, LocalStore):
                self._check_file()
            else:
                now = await self._store.get(f"{self._group}/zarr.json", buffer_prototype)
                if now is None or now.to_bytes() != self._mark:
                    raise self.replaced()
        if not name.endswith("zarr.json") and (found is None or len(found) == 0):
            variable = name.partition("/")[0]
            names = ("zarr.json", f"{variable}/zarr.json")
            self._expect_nothing(variable, *[await self.get(f"{self._group}/{n}", buffer_prototype) for n in names])
            return None
        return found

    def _said(self, name: str) -> bytes | None:
        """The metadata of a variable, as the group's hold them; None if they do not."""
        variable, _, file = name.partition("/")
        if file != "zarr.json" or not isinstance(self._mark, bytes):
            return None
        try:
            return json.dumps(json.loads(self._mark)["consolidated_metadata"]["metadata"][variable]).encode()
        except (LookupError, TypeError, ValueError, RecursionError):
            return None

    @property
    def _supports_sync_io(self) -> bool:
        return False  # all reading goes through `get`

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> list[Any]:
        """One `get` each."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    def get_ranges(self, *args: Any, **kwargs: Any) -> Any:
        """By `get`."""
        return Store.get_ranges(self, *args, **kwargs)

    def _get_many(self, requests: Any) -> Any:
        return Store._get_many(self, requests)

    def _check_file(self) -> None:
        assert isinstance(self._store, LocalStore)
        if _mark(Path(self._store.root) / self._group / "zarr.json") != self._mark:
            raise self.replaced()

    def _expect_nothing(self, name: str, group: Any, array: Any) -> None:
        """Raise, unless a variable without chunks had none when it was written."""
        try:
            written = json.loads(group.to_bytes())["attributes"]["crc32"]
            about = json.loads(array.to_bytes())
            values = np.full(about["shape"], float(about["fill_value"]), np.dtype(about["data_type"]))
            if digest(values) == written[name]:
                return
        except (AttributeError, LookupError, TypeError, ValueError):
            pass
        raise TemplateStoreError(
            f"{url_of(self._store)}: pixels of {name} of the template {self._group} are lost: their file or object is "
            "empty or not there; make it again with `dcrflow run`"
        )


class KeptFiles:
    """The files of a folder, kept open; what is done to their names since does not matter.

    Parameters
    ----------
    descriptors : mapping of str to int
        By name within the folder, of what has pixels.
    metadata : mapping of str to bytes
        The other files' content.
    """

    def __init__(self, descriptors: Mapping[str, int], metadata: Mapping[str, bytes]) -> None:
        self._descriptors, self._metadata = descriptors, metadata
        weakref.finalize(self, _close, list(descriptors.values()))

    @classmethod
    def of(cls, folder: Path) -> KeptFiles | None:
        """Open them; None where they are too many."""
        global _OPEN
        descriptors: dict[str, int] = {}
        metadata = {}
        try:
            for path in files_below(folder):
                name = path.relative_to(folder).as_posix()
                if name.endswith("zarr.json"):
                    metadata[name] = read_regular(path)
                    continue
                if path.stat().st_size == 0:  # what was lost, or stands for a template that was replaced
                    continue
                with _COUNTING:
                    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < _SHARE * (_OPEN + 1):
                        raise OSError("too many")
                    _OPEN += 1
                try:
                    with open_regular(path) as file:
                        descriptors[name] = os.dup(file.fileno())
                except OSError:
                    with _COUNTING:
                        _OPEN -= 1
                    raise
        except OSError:
            _close(list(descriptors.values()))
            return None
        return cls(descriptors, metadata)

    def read(self, name: str, prototype: Any, byte_range: ByteRequest | None) -> Any:
        """Part of a file, as zarr's stores return it; None if the file does not exist."""
        if name in self._metadata:
            content = self._metadata[name]
            start, stop = bounds(byte_range, len(content))
            return prototype.buffer.from_bytes(content[start:stop])
        if name not in self._descriptors:
            return None
        descriptor = self._descriptors[name]
        return read_part(descriptor, os.fstat(descriptor).st_size, prototype, byte_range)


def _close(descriptors: list[int]) -> None:
    global _OPEN
    for descriptor in descriptors:
        os.close(descriptor)
    with _COUNTING:
        _OPEN -= len(descriptors)


def _mark(path: Path) -> tuple[int, ...] | None:
    """What tells a file from all that take its place; by opening it, for that is what network file systems look up."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def is_intact(root: zarr.Group, path: str, sizes: Mapping[str, int | None]) -> bool:
    """Whether the files of a complete template are as long as they were when it was written.

    It looks at names and sizes alone, and only in a directory: what else may have happened `dcrflow verify` finds.

    Parameters
    ----------
    root : zarr.Group
        The store's root.
    path : str
        ``visit/detector``.
    sizes : mapping of str to (int or None)
        Bytes of the chunks of each variable; None where that was not written down: then no file may be empty. Names
        that are no folder of the template, such as ``..``, are never looked at: the template is not intact.
    """
    if not isinstance(root.store, LocalStore):
        return True
    folder = directory_of(root) / path
    try:
        with os.scandir(folder) as entries:
            there = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
        return there.issuperset(sizes) and all(_is_as_long(folder / name, size) for name, size in sizes.items())
    except OSError:  # it is gone, or a link leads to itself
        return False


def _is_as_long(folder: Path, size: int | None) -> bool:
    """Whether a variable has its metadata, and chunks of so many bytes."""
    found = [file.stat().st_size for file in files_below(folder) if file.name != "zarr.json"]
    if (0 in found and size is None) or size not in (None, sum(found)):
        return False
    return (folder / "zarr.json").is_file()


def files_below(folder: Path | str) -> Iterator[Path]:
    """The files in a folder and those in it; none if it is not there."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(Path(entry.path))
        else:
            yield Path(entry.path)
