"""The folder of a store that is dcrflow's own: journals, locks, and what else is no data.

Readers of zarr take it for a group with nothing in it, and look no further. Without metadata they warn of it.
"""

from __future__ import annotations

import json

import zarr
from zarr.buffer.cpu import Buffer

from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.journal_lines import key_of

_METADATA = "zarr.json"


def own_metadata(description: str) -> bytes:
    """The content of the folder's ``zarr.json``."""
    about = {
        "attributes": {"description": description},
        "zarr_format": 3,
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": {}},
        "node_type": "group",
    }
    return json.dumps(about).encode()


def describe_own(root: zarr.Group, description: str) -> None:
    """Write the folder's metadata unless they are there; whatever the store raises is raised."""
    sync(root.store.set_if_not_exists(key_of(root, _METADATA), Buffer.from_bytes(own_metadata(description))))
