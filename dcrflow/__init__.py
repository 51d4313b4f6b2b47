"""dcrflow: templates matched for differential chromatic refraction, as a distributed dataflow.

    import dcrflow
    coadds = dcrflow.open_coadds("coadds.zarr")
    visits = dcrflow.read_visits("visits.ecsv")
    template = dcrflow.build_template(coadds, visits[0])

The names below are imported when they are first used: numba, dask and astropy take seconds to load, and
``dcrflow --help`` needs none of them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from dcrflow.base.lazy import lazy_names
from dcrflow.base.version import __version__

if TYPE_CHECKING:
    from dcrflow.base.errors import (
        ClusterError,
        CoaddStoreError,
        ConfigError,
        DcrflowError,
        InconsistentCoaddsError,
        MissingSubfilterError,
        NoOverlapError,
        NoPsfError,
        ObservationError,
        TemplateStoreError,
        VisitTableError,
        WcsError,
    )
    from dcrflow.campaign import CampaignResult, run_campaign
    from dcrflow.cluster import connect
    from dcrflow.graph import build_template
    from dcrflow.model.config import TemplateConfig
    from dcrflow.model.visit import DetectorVisit
    from dcrflow.planning.template import TemplatePlan, plan_template
    from dcrflow.steps.dataset import write_template
    from dcrflow.stores.coadds.from_arrays import coadds_from_arrays
    from dcrflow.stores.coadds.store import DcrCoadds, open_coadds
    from dcrflow.stores.coadds.writer import CoaddWriter, create_coadds
    from dcrflow.stores.skymaps.read import read_skymap
    from dcrflow.stores.templates.store import TemplateStore
    from dcrflow.stores.visits.from_fits import visits_from_fits
    from dcrflow.stores.visits.tables import read_visits, write_visits
    from dcrflow.view.diagrams import plot_dcr, plot_footprint

_HOMES = {
    "dcrflow.campaign": ("CampaignResult", "run_campaign"),
    "dcrflow.cluster": ("connect",),
    "dcrflow.model.config": ("TemplateConfig",),
    "dcrflow.steps.dataset": ("write_template",),
    "dcrflow.view.diagrams": ("plot_dcr", "plot_footprint"),
    "dcrflow.base.errors": (
        "ClusterError", "CoaddStoreError", "ConfigError", "DcrflowError", "InconsistentCoaddsError",
        "MissingSubfilterError", "NoOverlapError", "NoPsfError", "ObservationError", "TemplateStoreError",
        "VisitTableError", "WcsError",
    ),
    "dcrflow.graph": ("build_template",),
    "dcrflow.planning.template": ("TemplatePlan", "plan_template"),
    "dcrflow.stores.coadds.from_arrays": ("coadds_from_arrays",),
    "dcrflow.stores.coadds.store": ("DcrCoadds", "open_coadds"),
    "dcrflow.stores.coadds.writer": ("CoaddWriter", "create_coadds"),
    "dcrflow.stores.skymaps.read": ("read_skymap",),
    "dcrflow.stores.templates.store": ("TemplateStore",),
    "dcrflow.stores.visits.from_fits": ("visits_from_fits",),
    "dcrflow.stores.visits.tables": ("read_visits", "write_visits"),
    "dcrflow.model.visit": ("DetectorVisit",),
}  # fmt: skip

__all__ = [
    "CampaignResult",
    "ClusterError",
    "CoaddStoreError",
    "CoaddWriter",
    "ConfigError",
    "DcrCoadds",
    "DcrflowError",
    "DetectorVisit",
    "InconsistentCoaddsError",
    "MissingSubfilterError",
    "NoOverlapError",
    "NoPsfError",
    "ObservationError",
    "TemplateConfig",
    "TemplatePlan",
    "TemplateStore",
    "TemplateStoreError",
    "VisitTableError",
    "WcsError",
    "__version__",
    "build_template",
    "coadds_from_arrays",
    "connect",
    "create_coadds",
    "open_coadds",
    "plan_template",
    "plot_dcr",
    "plot_footprint",
    "read_skymap",
    "read_visits",
    "run_campaign",
    "visits_from_fits",
    "write_template",
    "write_visits",
]


__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)


if "xarray" in sys.modules:  # who reads templates with xarray alone has `template.dcrflow` too
    import_module("dcrflow.view.accessor")
