"""Find the existing template of a detector-visit, and decide whether it must be made again."""

from __future__ import annotations

from dataclasses import dataclass

from dcrflow.base.errors import DcrflowError, NoOverlapError
from dcrflow.model.config import TemplateConfig
from dcrflow.model.visit import DetectorVisit
from dcrflow.planning.template import plan_template
from dcrflow.stores.coadds.contents import inputs_digest
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.templates.records import TemplateRecord
from dcrflow.stores.templates.store import TemplateStore

#: Reasons to make a detector-visit again although the store has an entry for it.
OVERWRITE, RETRY = "asked for with --overwrite", "failed before"
CONFIG, INPUTS, CONTENTS = "another configuration", "other coadds", "the coadds have changed"
UNKNOWN, FILES = "what the coadds contained was not written down", "files of the template are damaged"


@dataclass(frozen=True)
class Lookup:
    """Looks up detector-visits in a store: one small read each, and the sizes of its files.

    Parameters
    ----------
    store : TemplateStore
        The store.
    coadds : CoaddSource
        The coadds from which templates are made in this run.
    config : TemplateConfig
        The configuration of this run.
    overwrite, retry_failed : bool
        Whether to make complete, or failed, templates again.
    """

    store: TemplateStore
    coadds: CoaddSource
    config: TemplateConfig
    overwrite: bool = False
    retry_failed: bool = False

    def of(self, visit: DetectorVisit) -> tuple[TemplateRecord | None, str]:
        """The entry in the store, if any, and the reason to make it again; empty if there is no reason or no entry."""
        found = self.store.status(visit.visit, visit.detector)
        if found is None:
            return None, ""
        if found.status == "complete" and not self._is_alike(found):  # it may have failed under this configuration
            found = self.store.failure(visit.visit, visit.detector) or found
        return found, self._reason(visit, found)

    def _is_alike(self, found: TemplateRecord) -> bool:
        return found.matches(self.config.digest, self.coadds.url)

    def _reason(self, visit: DetectorVisit, found: TemplateRecord) -> str:
        if self.overwrite:
            return OVERWRITE
        if not self._is_alike(found):
            return CONFIG if found.config_hash != self.config.digest else INPUTS
        if found.status == "failed":
            return RETRY if self.retry_failed else ""
        if found.status == "complete" and not self.store.is_intact(found):
            return FILES
        return self._changed(visit, found)

    def _changed(self, visit: DetectorVisit, found: TemplateRecord) -> str:
        """The reason to make a template again if its coadds have changed since; empty if they have not.

        For a template without gaps, only the patches that it was made from are checked. If there are gaps, or no
        overlap, patches may have been added, so the template is planned again.
        """
        whole = found.status == "complete" and found.coverage == 1
        try:
            if whole:
                now = inputs_digest(self.coadds, found.patches, found.band)
            else:
                now = plan_template(self.coadds, visit, self.config).inputs_digest
        except NoOverlapError:
            return "" if found.status == "no-overlap" else CONTENTS
        except DcrflowError:  # making the template will report it
            return CONTENTS
        if found.status == "no-overlap":
            return CONTENTS
        if now and not found.inputs_digest:
            return UNKNOWN
        return CONTENTS if now != found.inputs_digest else ""
