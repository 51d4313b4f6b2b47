"""Which variables of a template in a store are not what was written: their checksums, computed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr

from dcrflow.stores.templates.encoding import digest
from dcrflow.stores.zarr.checksums import digest_of_layout, digest_of_words, document_of


def damaged_variables(
    root: zarr.Group, path: str, digests: Mapping[str, int], raised: tuple[type[Exception], ...] = ()
) -> tuple[str, ...]:
    """Names of the variables of a complete template that are not, byte for byte, what was written.

    Among them is ``attributes`` if those of the template, or of one of its variables, are not, and ``layout`` if other
    metadata of a variable are not: its shape, dimensions, codecs and so on.

    Parameters
    ----------
    root : zarr.Group
        The store's root.
    path : str
        ``visit/detector``.
    digests : mapping of str to int
        The checksum of each variable, as it was written.
    raised : tuple of exception types
        Errors of a read that are raised; any other makes its variable a damaged one.
    """
    found = tuple(n for n, written in digests.items() if _digest_of(root, f"{path}/{n}", raised) != written)
    group = root[path]
    assert isinstance(group, zarr.Group)  # or it could not be read
    about = group.attrs.asdict()
    own = {name: document_of(root, f"{path}/{name}") for name, _ in group.members()}
    wrong = set()
    for documents in (own, _consolidated(document_of(root, path))):
        if documents is None:
            continue
        said = {name: document.get("attributes", {}) for name, document in documents.items()}
        if about.get("layout_crc32") not in (None, digest_of_layout(documents)):
            wrong.add("layout")
        written = about.get("attributes_crc32")
        if written != digest_of_words(about, said) and (written is not None or "layout_crc32" in about):
            wrong.add("attributes")
    return *found, *sorted(wrong)


def _consolidated(document: Mapping[str, Any]) -> dict[str, dict[str, Any]] | None:
    """What a group's metadata say of its variables; None if they do not."""
    found = document.get("consolidated_metadata")
    if found is None:
        return None
    several = found.get("metadata") if isinstance(found, dict) else None
    if not isinstance(several, dict):
        return {}
    return {name: about if isinstance(about, dict) else {} for name, about in several.items()}


def _digest_of(root: zarr.Group, path: str, raised: tuple[type[Exception], ...]) -> int | None:
    """The checksum of what is in the store; None if it cannot be read."""
    try:
        array = root[path]
        return digest(np.asarray(array[...])) if isinstance(array, zarr.Array) else None
    except raised:
        raise
    except Exception:
        return None
