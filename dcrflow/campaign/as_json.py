"""What `plan`, `run`, `coadd`, `status` and `verify` print with ``--json``; docs/commands.md describes every field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dcrflow.base.addresses import redacted, redacted_text
from dcrflow.base.texts import one_line
from dcrflow.campaign.causes import Cause, causes
from dcrflow.campaign.data_ids import DataId

if TYPE_CHECKING:
    from dcrflow.campaign.coadd_outcome import CoaddResult
    from dcrflow.campaign.outcome import CampaignResult
    from dcrflow.campaign.plans import Planned
    from dcrflow.campaign.status import CampaignStatus
    from dcrflow.campaign.verify import Verdict

_EXAMPLES = 5
_PLANS = 10


def status_as_json(found: CampaignStatus) -> dict[str, Any]:
    """Of `dcrflow status`."""
    covered = found.coverage()
    coverage = None if covered is None else {"mean": covered[0], "least": covered[1]}
    counts = {name: found.count(name) for name in ("complete", "no-overlap", "failed", "missing")}
    return {
        "kind": "templates",
        "store": redacted(found.url),
        "total": sum(counts.values()),
        "counts": counts,
        "damaged": found.damaged,
        "coverage": coverage,
        "runs": [run.as_json() for run in found.runs],
        "causes": [*_causes("failed", found.causes("failed")), *_causes("no-overlap", found.causes("no-overlap"))],
        "failures": [
            _failure(r.visit, r.detector, (r.error or {}).get("type", ""), (r.error or {}).get("message", ""))
            for r in found.records
            if r.status == "failed"
        ],
        "missing": [list(data_id) for data_id in found.missing],
        "damage": [{"what": one_line(line), "templates": number} for line, number in found.damage.most_common()],
        "exit_status": found.exit_status,
    }


def result_as_json(result: CampaignResult, url: str, wall_clock: float, exit_status: int) -> dict[str, Any]:
    """Of `dcrflow run`.

    Parameters
    ----------
    result : CampaignResult
        The run.
    url : str
        The template store.
    wall_clock : float
        Seconds since the command was entered, start-up included.
    exit_status : int
        The exit status of the command.
    """
    counts = {"complete": result.complete, "no-overlap": result.no_overlap, "failed": len(result.failures)}
    return {
        "kind": "templates",
        "store": redacted(url),
        "total": result.total,
        "counts": {**counts, "missing": max(0, result.total - result.skipped - sum(counts.values()))},
        "skipped": result.skipped,
        "damaged": result.damaged,
        "again": dict(result.again),
        "worker_losses": result.worker_losses,
        "stopped": result.stopped or None,
        "elapsed": round(result.elapsed, 3),
        "wall_clock": round(wall_clock, 3),
        "causes": _causes("failed", causes((f.kind, f.message, (f.visit, f.detector)) for f in result.failures)),
        "failures": [_failure(f.visit, f.detector, f.kind, f.message) for f in result.failures],
        "exit_status": exit_status,
    }


def build_as_json(result: CoaddResult, wall_clock: float, exit_status: int) -> dict[str, Any]:
    """Of `dcrflow coadd`; parameters as of `result_as_json`."""
    ended = result.skipped + result.complete + len(result.failures)
    return {
        "kind": "coadds",
        "store": redacted(result.url),
        "url": redacted(result.url),
        "total": result.total,
        "counts": {
            "complete": result.complete, "failed": len(result.failures), "missing": max(0, result.total - ended)
        },
        "complete": result.complete,
        "skipped": result.skipped,
        "failed": [[f.tract, f.patch, f.kind, redacted_text(f.message)] for f in result.failures],
        "failures": [
            {
                "tract": f.tract, "patch": f.patch, "kind": one_line(f.kind),
                "message": redacted_text(one_line(f.message)),
            }
            for f in result.failures
        ],
        "left_out": [v.as_list() for v in result.left_out],
        "suspects": [v.as_list() for v in result.suspects],
        "worker_losses": result.worker_losses,
        "stopped": result.stopped or None,
        "elapsed": round(result.elapsed, 3),
        "wall_clock": round(wall_clock, 3),
        "exit_status": exit_status,
    }  # fmt: skip


def plan_as_json(planned: Iterable[Planned], every: bool = False) -> dict[str, Any]:
    """Of `dcrflow plan`; `every` lists all plans, not only the first."""
    counts: Counter[str] = Counter({"planned": 0, "no-overlap": 0, "failed": 0})
    sums: Counter[str] = Counter({"tasks": 0, "bytes_read": 0, "bytes_written": 0})
    plans: list[dict[str, Any]] = []
    problems: list[Planned] = []
    for one in planned:
        counts[one.status] += 1
        if one.plan is None:
            problems.append(one)
            continue
        costs = {
            "tasks": one.plan.num_tasks, "bytes_read": one.plan.bytes_read, "bytes_written": one.plan.bytes_written,
        }  # fmt: skip
        sums.update(costs)
        if every or len(plans) < _PLANS:
            patches = [[t.tract.tract, p.patch] for t in one.plan.tracts for p in t.patches]
            zenith = round(float(one.plan.applied["zenith_angle"]), 4)
            plans.append({**_named(one.visit, one.detector), "zenith_angle": zenith, "patches": patches, **costs})
    by_status = {name: [p for p in problems if p.status == name] for name in ("failed", "no-overlap")}
    return {
        "kind": "templates",
        "total": sum(counts.values()),
        "counts": dict(counts),
        **sums,
        "causes": [
            cause
            for name, some in by_status.items()
            for cause in _causes(name, causes((type(p.error).__name__, str(p.error), _id(p)) for p in some))
        ],
        "failures": [_failure(p.visit, p.detector, type(p.error).__name__, str(p.error)) for p in by_status["failed"]],
        "plans": plans,
        "exit_status": 1 if counts["failed"] else 0,
    }


def verdicts_as_json(url: str, total: int, bad: Sequence[Verdict], exit_status: int) -> dict[str, Any]:
    """Of `dcrflow verify`: of so many templates, those that are not sound."""
    return {
        "kind": "templates",
        "store": redacted(url),
        "total": total,
        "sound": total - len(bad),
        "problems": [
            {**_named(v.visit, v.detector), "problems": [one_line(words) for words in v.problems]} for v in bad
        ],
        "exit_status": exit_status,
    }


def _id(one: Planned) -> DataId:
    return one.visit, one.detector


def _named(visit: int, detector: int) -> dict[str, int | None]:
    """A data ID; null for a row of a table whose data ID cannot be read."""
    known = min(visit, detector) >= 0
    return {"visit": visit if known else None, "detector": detector if known else None}


def _failure(visit: int, detector: int, kind: str, message: str) -> dict[str, Any]:
    return {**_named(visit, detector), "kind": one_line(kind), "message": redacted_text(one_line(message))}


def _causes(status: str, found: Iterable[Cause[DataId]]) -> list[Mapping[str, Any]]:
    return [
        {
            "status": status,
            "number": cause.number,
            "kind": one_line(cause.kind),
            "message": redacted_text(one_line(cause.message)),
            "examples": [list(where) for where in cause.where if min(where) >= 0][:_EXAMPLES],
        }
        for cause in found
    ]
