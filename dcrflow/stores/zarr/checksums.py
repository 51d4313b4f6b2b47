"""Checksums of the metadata of zarr groups: zarr keeps one for each chunk of pixels, and none for metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import zarr
from zarr.buffer.cpu import buffer_prototype

from dcrflow.compat.zarr_sync import sync

#: What has changed, in words, by the name of its checksum without ``_crc32``.
IN_WORDS = {"attributes": "one of its attributes", "layout": "the layout of its variables"}


def digest_of_words(about: Mapping[str, Any], of_variables: Mapping[str, Mapping[str, Any]]) -> int:
    """CRC-32 of the attributes of a group and of its variables, whatever their order; `attributes_crc32` aside."""
    words = [{k: v for k, v in about.items() if k != "attributes_crc32"}, dict(of_variables)]
    return crc32(json.dumps(words, sort_keys=True).encode())


def digest_of_layout(documents: Mapping[str, Mapping[str, Any]]) -> int:
    """Of all that the metadata of some variables say, except their attributes: shapes, dimensions, codecs and so on."""
    words = {name: {k: v for k, v in about.items() if k != "attributes"} for name, about in documents.items()}
    return crc32(json.dumps(words, sort_keys=True).encode())


def document_of(root: zarr.Group, path: str) -> dict[str, Any]:
    """The metadata of a group or an array as they are in the store; empty if they are not JSON, or not there."""
    key = "/".join(part for part in (root.path, path, "zarr.json") if part)
    content = sync(root.store.get(key, buffer_prototype))
    try:
        found = json.loads(b"" if content is None else content.to_bytes())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def document_for(array: zarr.Array[Any]) -> dict[str, Any]:
    """The same of an array that is open, without reading it again."""
    found: dict[str, Any] = json.loads(array.metadata.to_buffer_dict(buffer_prototype)["zarr.json"].to_bytes())
    return found
