"""A link to another page in the bar on top of dask's dashboard.

Why
    People look for a campaign's page where dask's are.
Public ways tried
    None: the list of pages is made once for a scheduler, by a function that remembers what it returned.
Versions
    distributed 2026.1.1 to 2026.8.0.
Remove when
    distributed offers a way to add a page.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any


def link_page(scheduler: Any, page: str) -> None:
    """Add a page to the bar of a scheduler's dashboard; does nothing where that is made in another way."""
    with suppress(Exception):
        from distributed.dashboard.scheduler import template_variables

        pages = template_variables(scheduler)["pages"]
        if page not in pages:
            pages.insert(1, page)
