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
from typing import TYPE_CHECKING, Any

from dcrflow.version import __version__

if TYPE_CHECKING:
    from dcrflow.campaign import CampaignResult, run_campaign
    from dcrflow.cluster import connect
    from dcrflow.config import TemplateConfig
    from dcrflow.dataset import write_template
    from dcrflow.diagrams import plot_dcr, plot_footprint
    from dcrflow.errors import (
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
    from dcrflow.graph import build_template
    from dcrflow.plan import TemplatePlan, plan_template
    from dcrflow.stores.coadds import DcrCoadds, open_coadds
    from dcrflow.stores.coadds_writer import CoaddWriter, create_coadds
    from dcrflow.stores.templates import TemplateStore
    from dcrflow.stores.visits import read_visits, write_visits
    from dcrflow.visit import DetectorVisit

_HOMES = {
    "dcrflow.campaign": ("CampaignResult", "run_campaign"),
    "dcrflow.cluster": ("connect",),
    "dcrflow.config": ("TemplateConfig",),
    "dcrflow.dataset": ("write_template",),
    "dcrflow.diagrams": ("plot_dcr", "plot_footprint"),
    "dcrflow.errors": (
        "ClusterError", "CoaddStoreError", "ConfigError", "DcrflowError", "InconsistentCoaddsError",
        "MissingSubfilterError", "NoOverlapError", "NoPsfError", "ObservationError", "TemplateStoreError",
        "VisitTableError", "WcsError",
    ),
    "dcrflow.graph": ("build_template",),
    "dcrflow.plan": ("TemplatePlan", "plan_template"),
    "dcrflow.stores.coadds": ("DcrCoadds", "open_coadds"),
    "dcrflow.stores.coadds_writer": ("CoaddWriter", "create_coadds"),
    "dcrflow.stores.templates": ("TemplateStore",),
    "dcrflow.stores.visits": ("read_visits", "write_visits"),
    "dcrflow.visit": ("DetectorVisit",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

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
    "connect",
    "create_coadds",
    "open_coadds",
    "plan_template",
    "plot_dcr",
    "plot_footprint",
    "read_visits",
    "run_campaign",
    "write_template",
    "write_visits",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'dcrflow' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if "xarray" in sys.modules:  # who reads templates with xarray alone has `template.dcrflow` too
    import_module("dcrflow.accessor")
