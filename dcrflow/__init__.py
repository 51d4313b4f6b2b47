"""dcrflow: templates matched for differential chromatic refraction, as a distributed dataflow.

    import dcrflow
    coadds = dcrflow.open_coadds("coadds.zarr")
    visits = dcrflow.read_visits("visits.ecsv")
    template = dcrflow.build_template(coadds, visits[0])

The names below are imported when they are first used: numba, dask and astropy take seconds to import, and
``dcrflow --help`` needs none of them. Errors are also in `dcrflow.errors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from dcrflow.base.after_import import after_import
from dcrflow.base.lazy import lazy_names

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
        SchedulerLostError,
        TemplateStoreError,
        VisitImageError,
        VisitTableError,
        WcsError,
    )
    from dcrflow.base.version import __version__
    from dcrflow.campaign import CampaignResult, run_campaign
    from dcrflow.campaign.coadd_outcome import CoaddResult
    from dcrflow.campaign.coadds import build_coadds
    from dcrflow.campaign.table import campaign_status
    from dcrflow.cluster import connect
    from dcrflow.geometry.box import Box
    from dcrflow.geometry.skymap import Tract
    from dcrflow.geometry.wcs import SkyWcs
    from dcrflow.graph import build_template
    from dcrflow.model.coadd_config import CoaddConfig
    from dcrflow.model.config import TemplateConfig
    from dcrflow.model.visit import DetectorVisit
    from dcrflow.physics.observation import Observation
    from dcrflow.physics.refraction import Weather
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
    "dcrflow.campaign.coadd_outcome": ("CoaddResult",),
    "dcrflow.campaign.coadds": ("build_coadds",),
    "dcrflow.campaign.table": ("campaign_status",),
    "dcrflow.cluster": ("connect",),
    "dcrflow.model.coadd_config": ("CoaddConfig",),
    "dcrflow.model.config": ("TemplateConfig",),
    "dcrflow.steps.dataset": ("write_template",),
    "dcrflow.view.diagrams": ("plot_dcr", "plot_footprint"),
    "dcrflow.base.errors": (
        "ClusterError", "CoaddStoreError", "ConfigError", "DcrflowError", "InconsistentCoaddsError",
        "MissingSubfilterError", "NoOverlapError", "NoPsfError", "ObservationError", "SchedulerLostError",
        "TemplateStoreError", "VisitImageError", "VisitTableError", "WcsError",
    ),
    "dcrflow.base.version": ("__version__",),
    "dcrflow.geometry.box": ("Box",),
    "dcrflow.geometry.skymap": ("Tract",),
    "dcrflow.geometry.wcs": ("SkyWcs",),
    "dcrflow.physics.observation": ("Observation",),
    "dcrflow.physics.refraction": ("Weather",),
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
    "Box",
    "CampaignResult",
    "ClusterError",
    "CoaddConfig",
    "CoaddResult",
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
    "Observation",
    "ObservationError",
    "SchedulerLostError",
    "SkyWcs",
    "TemplateConfig",
    "TemplatePlan",
    "TemplateStore",
    "TemplateStoreError",
    "Tract",
    "VisitImageError",
    "VisitTableError",
    "WcsError",
    "Weather",
    "__version__",
    "build_coadds",
    "build_template",
    "campaign_status",
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


__getattr__ = lazy_names(__name__, _HOMES, modules=("errors",))


def __dir__() -> list[str]:
    return sorted(__all__)


# Templates that are opened with xarray alone have `template.dcrflow` too. xarray takes a second to import, so this
# waits until somebody imports it.
after_import("xarray", lambda: import_module("dcrflow.view.accessor"))
