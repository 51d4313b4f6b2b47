"""Failures that have no group of their own: of rows without a data ID, and beside a complete template.

A failure never takes a complete template's place: what was made under another configuration stays. It is kept as a JSON
document, ``.dcrflow/failures/NAME.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import zarr
from zarr.buffer.cpu import Buffer, buffer_prototype

from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.locks import FOLDER
from dcrflow.stores.templates.records import TemplateRecord, data_id, record_of

_ROW = "row-"


def name_of(visit: int, detector: int, message: str = "") -> str:
    """The name under which a failure is kept: its data ID, or the description of a row without one."""
    if min(visit, detector) >= 0:
        return f"{visit}.{detector}"
    return f"{_ROW}{blake2b(message.encode(errors='backslashreplace'), digest_size=8).hexdigest()}"


def keep(root: zarr.Group, name: str, attributes: Mapping[str, Any]) -> None:
    """Write a failure down."""
    sync(root.store.set(_key(root, name), Buffer.from_bytes(json.dumps(dict(attributes)).encode())))


def find(root: zarr.Group, name: str) -> TemplateRecord | None:
    """A failure that is kept."""
    found = sync(root.store.get(_key(root, name), prototype=buffer_prototype))
    return None if found is None else _record(found.to_bytes())


def forget(root: zarr.Group, name: str) -> None:
    """Remove a failure, if it is there."""
    if sync(root.store.exists(_key(root, name))):
        sync(root.store.delete(_key(root, name)))


def forget_rows(root: zarr.Group) -> None:
    """Remove the failures of rows without a data ID: they are about to be looked at again."""
    for name in _names(root):
        if name.startswith(_ROW):
            forget(root, name)


def kept(root: zarr.Group) -> list[TemplateRecord]:
    """All of them."""
    found = (find(root, name) for name in _names(root))
    return [record for record in found if record is not None]


def _names(root: zarr.Group) -> list[str]:
    async def collect() -> list[str]:
        folder = _key(root, "").removesuffix(".json").rstrip("/")
        return sorted([name async for name in root.store.list_dir(folder)])

    return [name.removesuffix(".json") for name in sync(collect()) if name.endswith(".json")]


def _record(content: bytes) -> TemplateRecord | None:
    """What a document says; None if it is damaged."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return None
    which = data_id(said) if isinstance(said, dict) else None
    return None if which is None else record_of(*which, said)


def _key(root: zarr.Group, name: str) -> str:
    return "/".join(part for part in (root.path, FOLDER, "failures", f"{name}.json") if part)
