"""What is there already of a detector-visit, and why it must be made again all the same."""

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

#: Why a detector-visit is made again although the store has something of it.
OVERWRITE, RETRY = "asked for with --overwrite", "failed before"
CONFIG, INPUTS, CONTENTS = "another configuration", "other coadds", "the coadds have changed"
UNKNOWN, FILES = "what the coadds contained was not written down", "files of the template are damaged"


@dataclass(frozen=True)
class Lookup:
    """Looks up detector-visits in a store: one small read each, and the sizes of its files.

    Parameters
    ----------
    store : TemplateStore
        Where.
    coadds : CoaddSource
        That templates are made from now.
    config : TemplateConfig
        How they are made now.
    overwrite, retry_failed : bool
        Whether what is complete, or failed, is made again.
    """

    store: TemplateStore
    coadds: CoaddSource
    config: TemplateConfig
    overwrite: bool = False
    retry_failed: bool = False

    def of(self, visit: DetectorVisit) -> tuple[TemplateRecord | None, str]:
        """What the store has, and the reason to make it again; an empty one if there is none, or nothing is there."""
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
        """Whether the coadds contain something else by now.

        Of a template without gaps the patches are looked at that it was made from. Where there are gaps, or no overlap,
        patches may have been added: it is planned.
        """
        whole = found.status == "complete" and found.coverage == 1
        try:
            if whole:
                now = inputs_digest(self.coadds, found.patches, found.band)
            else:
                now = plan_template(self.coadds, visit, self.config).inputs_digest
        except NoOverlapError:
            return "" if found.status == "no-overlap" else CONTENTS
        except DcrflowError:  # to be said by who makes it
            return CONTENTS
        if found.status == "no-overlap":
            return CONTENTS
        if now and not found.inputs_digest:
            return UNKNOWN
        return CONTENTS if now != found.inputs_digest else ""
