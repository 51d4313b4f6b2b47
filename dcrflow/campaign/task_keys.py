"""Keys of a campaign's tasks: the same in each process that makes the same, and never used twice in one process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from dcrflow.campaign.batch import Job, Row

PREFIX = "make_templates"  # dask names tasks on its dashboard by what is before the first hyphen

_runs: Counter[str] = Counter()  # of this process, by what they make


class TaskKeys:
    """The keys of a run's tasks: ``make_templates-DIGEST-NUMBER``.

    The digest is of the coadds, the store, the configuration, the data IDs, and the number of earlier runs in this
    process that made the same. NUMBER is how often one of these detector-visits was sent before: rows of tasks that
    were lost, stopped or took too long are sent again. Both are needed: dask answers a known key with the old result.

    Parameters
    ----------
    job : Job
        Of the run.
    """

    def __init__(self, job: Job) -> None:
        what = repr((job.coadds.url, job.store.url, job.config.digest, job.overwrite, job.retry_failed, job.retries))
        self._what = blake2b(f"{what} {_runs[what]}".encode(errors="backslashreplace"))
        _runs[what] += 1
        self._sent: Counter[int] = Counter()  # of rows that have not ended

    def key(self, rows: Mapping[int, Row]) -> str:
        """The key of the next task for some rows, by their places in the run."""
        digest = self._what.copy()
        digest.update(repr([(place, int(row.visit), int(row.detector)) for place, row in rows.items()]).encode())
        number = max(self._sent[place] for place in rows)
        self._sent.update(rows.keys())
        return f"{PREFIX}-{digest.hexdigest()[:32]}-{number}"

    def forget(self, places: Iterable[int]) -> None:
        """Forget rows that have ended."""
        for place in places:
            self._sent.pop(place, None)
