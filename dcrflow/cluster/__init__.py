"""From the description of a cluster to a dask client. Knows no astronomy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcrflow.base.lazy import lazy_names

if TYPE_CHECKING:
    from dcrflow.cluster.connection import connect, show
    from dcrflow.cluster.reading import KINDS, read_description

__all__ = ["KINDS", "connect", "read_description", "show"]

__getattr__ = lazy_names(
    __name__,
    {
        "dcrflow.cluster.connection": ("connect", "show"),
        "dcrflow.cluster.reading": ("KINDS", "read_description"),
    },
)
