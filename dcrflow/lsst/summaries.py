"""Detector-visits of a Butler's ``visitSummary`` and ``visit_detector_table`` datasets; nothing of afw is needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dcrflow.base.errors import VisitTableError
from dcrflow.model.visit import DetectorVisit
from dcrflow.stores.visits.tables import BadVisit, read_visit_rows

_CATALOGS = frozenset(("ExposureCatalog",))
_TABLES = frozenset(("ArrowAstropy", "ArrowTable", "DataFrame"))
#: Storage classes of datasets with many detectors.
SUMMARIES = _CATALOGS | _TABLES


def read_summaries(butler: Any, refs: Iterable[Any]) -> list[DetectorVisit | BadVisit]:
    """The detector-visits of datasets that hold many of them, by visit and detector.

    Parameters
    ----------
    butler : lsst.daf.butler.Butler
        Of the repository.
    refs : iterable of lsst.daf.butler.DatasetRef
        Of one of the storage classes in `SUMMARIES`. A catalog of afw is read from its file.

    Raises
    ------
    VisitTableError
        If a dataset cannot be read.
    """
    rows: list[DetectorVisit | BadVisit] = []
    for ref in refs:
        try:
            found = _read(butler, ref)
        except Exception as error:
            words = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise VisitTableError(f"cannot read {ref.datasetType.name} of {ref.dataId}: {words}") from error
        name = str(ref.dataId["instrument"])
        rows += [
            replace(row, instrument=name) if isinstance(row, DetectorVisit) and row.instrument == "unknown" else row
            for row in found
        ]
    return sorted(rows, key=lambda row: (row.visit, row.detector))


def _read(butler: Any, ref: Any) -> list[DetectorVisit | BadVisit]:
    if ref.datasetType.storageClass_name in _TABLES:
        return list(read_visit_rows(butler.get(ref)))
    with butler.getURI(ref).as_local() as local:
        return list(read_visit_rows([Path(local.ospath)]))
