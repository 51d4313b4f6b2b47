"""Where a template is written in a store that has no rename: beside the old one, and one object switches it in.

The group's metadata hold those of its variables (consolidated), and these say how the keys of chunks are formed. There
are three ways (`dcrflow.stores.zarr.arrays.KEYS`); a new template takes the one that follows the old one's. So the
group's metadata alone decide which chunks readers get.

Every object is written only if it is what it was when the writing began (`dcrflow.stores.zarr.conditional`). So a
writer that was displaced, stood still and goes on can neither switch nor write into what others wrote meanwhile. The
old chunks become empty when the new ones are there: who still reads them gets an error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import zarr

from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.locks import Held, displaced
from dcrflow.stores.zarr.arrays import KEYS, KeyEncoding
from dcrflow.stores.zarr.conditional import look, read_tagged, replace

_METADATA = "zarr.json"
_REPLACED = "replaced_chunk_keys"  # attribute of a status


def following(keys: KeyEncoding) -> KeyEncoding:
    """How the keys are formed of what replaces a template."""
    return KEYS[(KEYS.index(keys) + 1) % len(KEYS)]


def others(name: str, keys: KeyEncoding) -> Iterator[str]:
    """The names that a chunk has with other keys; none if it is no chunk."""
    variable, _, key = name.partition("/")
    number = keys.number(key)
    if number is not None:
        yield from (f"{variable}/{other.key(number)}" for other in KEYS if other != keys)


def keys_in(about: Mapping[str, Any]) -> KeyEncoding:
    """How the keys of chunks are formed, by a variable's metadata; as by default if they do not say it."""
    try:
        said = about["chunk_key_encoding"]
        found = KeyEncoding(said["name"], said.get("configuration", {}).get("separator", "/"))
    except (AttributeError, LookupError, TypeError):
        return KEYS[0]
    return found if found in KEYS else KEYS[0]


def remembered(keys: KeyEncoding | None) -> dict[str, Any]:
    """The attribute by which a status that takes a template's place tells the next one which keys that had."""
    return {} if keys is None else {_REPLACED: {"name": keys.name, "configuration": {"separator": keys.separator}}}


def keys_replaced(about: Any) -> KeyEncoding | None:
    """Which keys the template had that a status took the place of, by its group's metadata; None if there was none."""
    said = _attributes(about).get(_REPLACED)
    return None if said is None else keys_in({"chunk_key_encoding": said})


def _attributes(about: Any) -> Mapping[str, Any]:
    found = about.get("attributes") if isinstance(about, dict) else None
    return found if isinstance(found, dict) else {}


class ObjectPlace:
    """A place in a store that is no directory.

    Parameters
    ----------
    root : zarr.Group
        The store's root, writable.
    path : str
        ``visit/detector``.
    held : Held
        The lock.
    parent : bytes
        Metadata of the group of the visit.
    same : bool
        Whether it is what is there, which is damaged: then chunks keep their keys.
    """

    def __init__(self, root: zarr.Group, path: str, held: Held, parent: bytes, same: bool) -> None:
        self._store, self._held, self._parent = root.store, held, parent
        self._prefix = "/".join(part for part in (root.path, path) if part)
        self._before, self._tag = sync(read_tagged(self._store, self._key(_METADATA)))
        self._found = sync(self._tags())
        now = self.before = _keys_of_group(self._before)
        self.keys = KEYS[0] if now is None else now if same else following(now)
        self._new: dict[str, bytes] = {}

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    async def _tags(self) -> dict[str, tuple[bool, Any]]:
        """Of each object below the group: whether it is empty, and its tag."""
        keys = [key async for key in self._store.list_prefix(f"{self._prefix}/")]
        names = sorted({key.removeprefix(f"{self._prefix}/") for key in keys} - {_METADATA})
        found = await asyncio.gather(*(look(self._store, self._key(name)) for name in names))
        return {name: (size == 0, tag) for name, (size, tag) in zip(names, found, strict=True)}

    def _write(self, name: str, content: bytes) -> None:
        _, tag = self._found.get(name, (True, None))
        if not sync(replace(self._store, self._key(name), content, tag)):
            raise displaced(f"of {self._key(name)}")

    def add(self, key: str, data: Any) -> None:
        """Write a chunk; keep metadata until all chunks are there."""
        self._new[key] = bytes(data) if key.endswith(_METADATA) else b""
        if not key.endswith(_METADATA):
            self._write(key, bytes(data))

    def switch(self) -> None:
        """Write the group's metadata, and those of the variables, for readers that look at these: new ones before."""
        variables = {name: text for name, text in self._new.items() if name.endswith(f"/{_METADATA}")}
        about = json.loads(self._new[_METADATA])
        if variables:
            said = {name.removesuffix(f"/{_METADATA}"): json.loads(text) for name, text in variables.items()}
            about["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": said}
        sync(replace(self._store, f"{self._prefix.rpartition('/')[0]}/{_METADATA}", self._parent, None))
        self._held()
        for name, text in variables.items():
            if name not in self._found:  # where there was no template, nobody reads them yet
                self._write(name, text)
        if not sync(replace(self._store, self._key(_METADATA), json.dumps(about).encode(), self._tag)):
            raise displaced(f"of {self._prefix}")
        for name, text in variables.items():
            if name in self._found:
                self._write(name, text)
        self._held()
        there = {name.partition("/")[0] for name in self._new}
        for name, (empty, _) in self._found.items():
            if name not in self._new and not empty:
                self._write(name, b"")
            if name.partition("/")[0] not in there:  # a variable that the new one does not have
                sync(self._store.delete(self._key(name)))


def _keys_of_group(about: bytes | None) -> KeyEncoding | None:
    """How the keys of chunks are formed, by a group's metadata; without variables, those that a status remembers."""
    try:
        found = json.loads(about or b"")
    except (ValueError, RecursionError):
        return None
    try:
        return keys_in(next(iter(found["consolidated_metadata"]["metadata"].values())))
    except (AttributeError, LookupError, StopIteration, TypeError):  # a template may have been written without
        return KEYS[0] if _attributes(found).get("status") == "complete" else keys_replaced(found)
