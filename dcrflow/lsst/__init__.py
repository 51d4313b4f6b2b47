"""Interfaces for Rubin users: the pipeline task, the Butler, LSST's files, and quantum graphs on dask.

This package needs the extra ``lsst``, except for `dcrflow.lsst.fits_coadds` and `dcrflow.lsst.fits_templates`, which
read and write LSST's FITS files with astropy only. Nothing outside this package imports LSST packages.
"""

from __future__ import annotations

from dcrflow.base.lazy import lazy_names

__all__ = ["GetDcrTemplateConfig", "GetDcrTemplateConnections", "GetDcrTemplateTask"]

__getattr__ = lazy_names(
    __name__,
    {
        "dcrflow.lsst.config": ("GetDcrTemplateConfig",),
        "dcrflow.lsst.connections": ("GetDcrTemplateConnections",),
        "dcrflow.lsst.task": ("GetDcrTemplateTask",),
    },
)
