"""The errors that dcrflow raises, under the name by which users import them: ``dcrflow.errors.NoOverlapError``."""

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

__all__ = [
    "ClusterError",
    "CoaddStoreError",
    "ConfigError",
    "DcrflowError",
    "InconsistentCoaddsError",
    "MissingSubfilterError",
    "NoOverlapError",
    "NoPsfError",
    "ObservationError",
    "SchedulerLostError",
    "TemplateStoreError",
    "VisitImageError",
    "VisitTableError",
    "WcsError",
]
