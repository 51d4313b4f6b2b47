"""From what the command line names to coadds and detector-visits: stores, tables, files, a Butler repository."""

from __future__ import annotations

from typing import Any

from dcrflow.errors import CoaddStoreError, VisitTableError

_BUTLER = "butler:"


def coadds_of(source: str) -> Any:
    """Open the coadds at a path, a URL, or a place in a Butler repository."""
    if source.startswith(_BUTLER):
        require_lsst(CoaddStoreError, source)
        from dcrflow.lsst.butler import open_butler_coadds

        return open_butler_coadds(source)
    from dcrflow.stores.coadds import open_coadds

    return open_coadds(source)


def visits_of(source: str) -> Any:
    """Read the detector-visits of a table, of FITS exposures, or of a Butler repository; bad rows as `BadVisit`."""
    if source.startswith(_BUTLER):
        require_lsst(VisitTableError, source)
        from dcrflow.lsst.butler import read_butler_visits

        return read_butler_visits(source)
    from dcrflow.stores.visits import read_visit_rows

    return read_visit_rows(source)


def require_lsst(error: type[Exception], what: str) -> None:
    """Raise, with what to do about it, where the Rubin packages are not installed."""
    from importlib.util import find_spec

    try:
        missing = [name for name in ("lsst.daf.butler", "lsst.images", "lsst.pipe.base") if find_spec(name) is None]
    except ModuleNotFoundError:
        missing = ["lsst"]
    if missing:
        raise error(f"{what} needs Rubin's {missing[0]}: install dcrflow[lsst]")
