"""The front door for Rubin users: the pipeline task, the Butler, LSST's files, quantum graphs on dask.

Wants the extra ``lsst``, but for `dcrflow.lsst.fits_coadds` and `dcrflow.lsst.fits_templates`, which read and write
LSST's FITS files with astropy alone. Nothing outside this package imports LSST's.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME_OF = {
    "GetDcrTemplateConfig": "dcrflow.lsst.connections",
    "GetDcrTemplateConnections": "dcrflow.lsst.connections",
    "GetDcrTemplateTask": "dcrflow.lsst.task",
}

__all__ = ["GetDcrTemplateConfig", "GetDcrTemplateConnections", "GetDcrTemplateTask"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'dcrflow.lsst' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)
