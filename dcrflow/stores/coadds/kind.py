"""What makes a store one of DCR coadds."""

from __future__ import annotations

from typing import Any

import zarr

from dcrflow.base.errors import CoaddStoreError
from dcrflow.stores.zarr.access import location, open_root, url_of

KIND, VERSION = "dcr-coadds", 1
_ANY = 1 << 62  # as highest version
UNFINISHED = "unfinished"  # attribute of the root group, with a token of who writes it


def is_coadd_store(store: Any) -> bool:
    """Whether a path or URL is a DCR-coadd store, of whatever version, and not one of templates."""
    try:
        root: zarr.Group = open_root(location(store), KIND, _ANY, CoaddStoreError)
    except CoaddStoreError:
        return False
    return root is not None


def refuse_unfinished(root: zarr.Group) -> None:
    """Raise CoaddStoreError for a store whose writing is not finished: what is not there yet would be no data."""
    if root.attrs.get(UNFINISHED):
        raise CoaddStoreError(
            f"{url_of(location(root))} is not finished: it is being written, or that was interrupted; wait, or write "
            "it again (dcrflow ingest --overwrite)"
        )
