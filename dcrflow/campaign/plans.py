"""What a campaign would do; reads no pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dcrflow.base.errors import DcrflowError, NoOverlapError
from dcrflow.model.config import TemplateConfig
from dcrflow.model.visit import DetectorVisit
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.visits.tables import BadVisit


@dataclass(frozen=True)
class Planned:
    """The plan of one detector-visit, or the reason why there is none."""

    visit: int
    detector: int
    plan: TemplatePlan | None
    error: DcrflowError | None

    @property
    def status(self) -> str:
        """``planned``, ``no-overlap`` or ``failed``."""
        if self.plan is not None:
            return "planned"
        return "no-overlap" if isinstance(self.error, NoOverlapError) else "failed"


def plan_campaign(
    coadds: CoaddSource, rows: Iterable[DetectorVisit | BadVisit], config: TemplateConfig
) -> Iterator[Planned]:
    """Plan every detector-visit, one at a time."""
    for row in rows:
        if isinstance(row, BadVisit):
            yield Planned(row.visit, row.detector, None, row.error)
            continue
        try:
            yield Planned(row.visit, row.detector, plan_template(coadds, row, config), None)
        except DcrflowError as error:
            yield Planned(row.visit, row.detector, None, error)
