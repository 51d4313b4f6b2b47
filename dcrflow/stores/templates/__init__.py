"""Template stores: one group a detector-visit, written by many processes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcrflow.base.lazy import lazy_names

if TYPE_CHECKING:
    from dcrflow.stores.templates.store import TemplateRecord, TemplateStore

__all__ = ["TemplateRecord", "TemplateStore"]

__getattr__ = lazy_names(__name__, {"dcrflow.stores.templates.store": __all__})
