"""Open the coadds and detector-visits that the command line names: stores, tables, files, a Butler repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dcrflow.base.errors import CoaddStoreError, TemplateStoreError, VisitTableError

_BUTLER = "butler:"


def coadds_of(source: str) -> Any:
    """Open the coadds at a path, a URL, or a place in a Butler repository."""
    if source.startswith(_BUTLER):
        require_lsst(CoaddStoreError, source)
        from dcrflow.lsst.butler import open_butler_coadds

        return open_butler_coadds(source)
    from dcrflow.stores.coadds.store import open_coadds

    return open_coadds(source)


def visits_of(source: str) -> Any:
    """Read the detector-visits of a table, of FITS exposures, or of a Butler repository; bad rows as `BadVisit`."""
    if source.startswith(_BUTLER):
        require_lsst(VisitTableError, source)
        from dcrflow.lsst.butler import read_butler_visits

        return read_butler_visits(source)
    from dcrflow.stores.visits.tables import read_visit_rows

    return read_visit_rows(source)


def refuse_within(out: str, coadds: str) -> None:
    """Raise where templates would be written among the files of the coadds, which are left as they are."""
    if any(map(_is_elsewhere, (out, coadds))):
        return
    place, within = Path(out).resolve(), Path(coadds).resolve()
    if place != within and place.is_relative_to(within):
        raise TemplateStoreError(f"{out} lies within the coadds {coadds}; give a place outside them")


def _is_elsewhere(source: str) -> bool:
    return source.startswith(_BUTLER) or "://" in source


def require_lsst(error: type[Exception], what: str) -> None:
    """Raise, with what to do about it, where the Rubin packages are not installed."""
    from importlib.util import find_spec

    try:
        missing = [name for name in ("lsst.daf.butler", "lsst.images", "lsst.pipe.base") if find_spec(name) is None]
    except ModuleNotFoundError:
        missing = ["lsst"]
    if missing:
        raise error(f"{what} needs Rubin's {missing[0]}: install dcrflow[lsst]")
