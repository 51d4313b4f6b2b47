"""What the runs of a store did when: the report's timeline, from the journals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dcrflow.live.state import CampaignState

_RUNS = 12  # the last so many are shown


def timelines(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sum up the runs of a store, the last one first.

    Parameters
    ----------
    lines : iterable of mapping
        The journals' lines, each with its ``run``.

    Returns
    -------
    list of dict
        As JSON has it, of each run that made anything: ``run``, ``began`` (ISO 8601), ``state``, ``elapsed`` (s),
        ``done`` (numbers by status), ``rate`` (detector-visits a minute), ``timeline`` as
        `dcrflow.live.timeline.Timeline.shown` has it.
    """
    runs: dict[str, CampaignState] = {}
    for line in lines:
        run = str(line.get("run", ""))
        runs.setdefault(run, CampaignState(run)).take(line)
    last = sorted(runs.values(), key=lambda state: state.began)[-_RUNS:]
    return [_summary(state) for state in reversed(last) if sum(state.counts.values())]


def _summary(state: CampaignState) -> dict[str, Any]:
    shown = state.shown()
    kept = {name: shown[name] for name in ("run", "began", "elapsed", "done", "timeline")}
    is_over = state.state in ("finished", "stopped", "failed")
    return {**kept, "state": state.state if is_over else "not ended", "rate": shown["rate"]["overall"]}
