"""dcrflow: templates matched for differential chromatic refraction, as a distributed dataflow.

import dcrflow
coadds = dcrflow.open_coadds("coadds.zarr")
visits = dcrflow.read_visits("visits.ecsv")
template = dcrflow.build_template(coadds, visits[0])
"""

from dcrflow.campaign import CampaignResult, run_campaign
from dcrflow.cluster import connect
from dcrflow.config import TemplateConfig
from dcrflow.dataset import write_template
from dcrflow.errors import (
    ClusterError,
    CoaddStoreError,
    ConfigError,
    DcrflowError,
    InconsistentCoaddsError,
    MissingSubfilterError,
    NoOverlapError,
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
from dcrflow.version import __version__
from dcrflow.visit import DetectorVisit

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
    "read_visits",
    "run_campaign",
    "write_template",
    "write_visits",
]
