"""Which variables of a template in a store are not what was written: their checksums, computed again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import zarr

from dcrflow.stores.templates.encoding import digest, digest_of_words


def damaged_variables(
    root: zarr.Group, path: str, digests: Mapping[str, int], raised: tuple[type[Exception], ...] = ()
) -> tuple[str, ...]:
    """Names of the variables of a complete template that are not, byte for byte, what was written.

    Among them is ``attributes`` if those of the template, or of one of its variables, are not.

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
    said = {name: array.attrs.asdict() for name, array in group.members()}
    written = about.get("attributes_crc32")
    return found if written in (None, digest_of_words(about, said)) else (*found, "attributes")


def _digest_of(root: zarr.Group, path: str, raised: tuple[type[Exception], ...]) -> int | None:
    """The checksum of what is in the store; None if it cannot be read."""
    try:
        array = root[path]
        return digest(np.asarray(array[...])) if isinstance(array, zarr.Array) else None
    except raised:
        raise
    except Exception:
        return None
