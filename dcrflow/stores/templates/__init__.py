"""Template stores: one group a detector-visit, written by many processes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcrflow.base.lazy import lazy_names

if TYPE_CHECKING:
    from dcrflow.stores.templates.records import TemplateRecord
    from dcrflow.stores.templates.store import TemplateStore
    from dcrflow.stores.zarr.arrays import write_array

__all__ = ["TemplateRecord", "TemplateStore", "write_array"]

__getattr__ = lazy_names(
    __name__,
    {
        "dcrflow.stores.templates.records": ("TemplateRecord",),
        "dcrflow.stores.templates.store": ("TemplateStore",),
        "dcrflow.stores.zarr.arrays": ("write_array",),
    },
)
