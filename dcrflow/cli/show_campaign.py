"""Output of `plan`, `run` and `status`: the bar of a campaign, tables, and causes of failures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from dcrflow.campaign.causes import Cause, causes
from dcrflow.campaign.data_ids import DataId, data_ids, label, ranges
from dcrflow.cli.show import bar, console, new_table, output, said

if TYPE_CHECKING:
    from dcrflow import campaign
    from dcrflow.campaign.plans import Planned
    from dcrflow.campaign.status import CampaignStatus
    from dcrflow.lsst.graph_progress import GraphProgress

#: What a state is called on the screen, and its colour; in files and JSON it is as the key has it.
STATES = {
    "complete": ("complete", "green"),
    "planned": ("to make", "green"),
    "no-overlap": ("no overlap", "yellow"),
    "failed": ("failed", "red"),
    "missing": ("missing", "magenta"),
}

_EXAMPLES = 5  # data IDs of a cause
_CAUSES = 5  # causes of a run that has ended


def state(name: str, number: object = "") -> str:
    """A state in its colour, with how many are in it."""
    words, colour = STATES[name]
    return f"[{colour}]{number} {words}[/]".replace("] ", "]")


class CampaignDisplay:
    """The bar of a running campaign: done, failed, rate, time left; and where the dashboard is."""

    def __init__(self, client: Any, title: str = "templates") -> None:
        from dcrflow.cluster.dashboard import dashboard_hints
        from dcrflow.live.plugin import page_link

        page = page_link(client.dashboard_link)
        self._hints = dashboard_hints(client.dashboard_link)
        self._hints[1:1] = [f"campaign: {page}"] if page else []
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=8),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}", table_column=Column(no_wrap=True)),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task(title, total=None, detail="")

    def __enter__(self) -> Self:
        for line in self._hints:
            console.print(line, soft_wrap=True, markup=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress.live.is_started:
            self._progress.stop()

    def update(self, now: campaign.Progress) -> None:
        """Move the bar; it appears with the first number."""
        ended = sum(now.done.values())
        rate = ended / now.elapsed * 60 if ended and now.elapsed > 0 else 0.0
        parts = [f"{now.running} running"]
        if now.skipped:
            parts.append(f"{now.skipped} before")
        if now.done.get("no-overlap"):
            parts.append(state("no-overlap", now.done["no-overlap"]))
        parts.append(state("failed", now.done["failed"]) if now.done.get("failed") else "0 failed")
        if now.damaged:
            parts.append(f"[yellow]{now.damaged} damaged[/]")
        if now.worker_losses:
            parts.append(f"[yellow]{now.worker_losses} restarted[/]")
        parts.append(f"{rate:.0f}/min" if now.workers else "[yellow]waiting for workers[/]")
        self._move(ended + now.skipped, now.total, " ".join(parts))

    def update_quanta(self, now: GraphProgress) -> None:
        """Move the bar of a quantum graph."""
        failed = state("failed", now.done["failed"]) if now.done["failed"] else "0 failed"
        detail = f"{now.running} running {now.skipped} before {failed} {now.done['blocked']} blocked"
        self._move(sum(now.done.values()) + now.skipped, now.total, detail)

    def _move(self, completed: int, total: int, detail: str) -> None:
        self._progress.update(self._task, total=total, completed=completed, detail=detail)
        self._progress.start()


def result(ended: campaign.CampaignResult, url: str, wall_clock: float) -> None:
    """Print how a run ended, and what to do next.

    Parameters
    ----------
    ended : CampaignResult
        The run.
    url : str
        The template store.
    wall_clock : float
        Seconds since the command was entered.
    """
    parts = [state("complete", ended.complete)]
    if ended.skipped:
        parts.append(f"{ended.skipped} done before")
    if ended.no_overlap:
        parts.append(state("no-overlap", ended.no_overlap))
    if ended.failures:
        parts.append(state("failed", len(ended.failures)))
    if ended.worker_losses:
        parts.append(f"[yellow]{ended.worker_losses} restarted because their workers died[/]")
    output.print(
        f"{', '.join(parts)} of {ended.total} detector-visits in {wall_clock:.1f} s "
        f"({max(0.0, wall_clock - ended.elapsed):.1f} s of them to start and stop): {said(url)}",
        soft_wrap=True,
    )
    if not ended.total:
        output.print("[yellow]nothing to do[/]: the table has no rows, or --limit leaves none of them")
    if ended.again:
        why = ", ".join(f"{number} ({reason})" for reason, number in ended.again.items())
        output.print(f"made again although something was there: {why}", soft_wrap=True)
    if ended.stopped:
        why = {"walltime": "the walltime is nearly up", "interrupted": "interrupted"}[ended.stopped]
        output.print(f"stopped before the end ({why}); the same command again finishes what is missing", soft_wrap=True)
    found = causes((f.kind, f.message, (f.visit, f.detector)) for f in ended.failures)
    for cause in found[:_CAUSES]:
        _cause("failed", cause, to=console)
    if len(found) > _CAUSES:
        console.print(f"... and {len(found) - _CAUSES} other causes")
    if ended.failures:
        console.print(f"see them all: dcrflow status --all {said(url)}; try them again: --retry-failed", soft_wrap=True)
    if ended.damaged:
        output.print(
            f"[yellow]{ended.damaged} made without what is damaged in the coadds[/], {len(ended.damage)} chunks: "
            f"dcrflow status {said(url)} says what; restore them, and the same command makes these templates again",
            soft_wrap=True,
        )


def _cause(name: str, cause: Cause[DataId], to: Any = output) -> None:
    """A cause, once, with how many detector-visits it has and the first of them."""
    like = " like this" if cause.number > 1 else ""
    to.print(f"{state(name, cause.number)}{like}: {said(cause.words)}", soft_wrap=True)
    to.print(f"    {data_ids(cause.where, _EXAMPLES)}", soft_wrap=True)


def plans(planned: Iterable[Planned], total: int, every: bool = False, shown: int = 10) -> int:
    """Print a summary of a campaign, and the first plans; `every` prints all. Gives the number that cannot be made."""
    table = new_table("visit", "detector", "z", "patches (tract: patch)", "tasks", "reads", "writes", left=0)
    table.columns[3].justify = "left"
    counts = {"planned": 0, "no-overlap": 0, "failed": 0}
    tasks = read = written = 0
    problems: list[Planned] = []
    with bar("planning") as update:
        for number, one in enumerate(planned):
            counts[one.status] += 1
            if one.plan is None:
                problems.append(one)
            else:
                tasks, read = tasks + one.plan.num_tasks, read + one.plan.bytes_read
                written += one.plan.bytes_written
                if every or table.row_count < shown:
                    _add_plan(table, one)
            update(number + 1, total)
    from dcrflow.live.words import size

    output.print(
        f"{total} detector-visits: {state('planned', counts['planned'])}, {counts['no-overlap']} no overlap, "
        f"{counts['failed']} that cannot be made\n"
        f"{tasks} tasks, reads {size(read)}, writes {size(written)} (uncompressed)",
        soft_wrap=True,
    )
    for name in ("failed", "no-overlap"):
        _problems(name, [one for one in problems if one.status == name], every)
    if table.row_count:
        output.print(table)
    if counts["planned"] > table.row_count:
        output.print(f"... and {counts['planned'] - table.row_count} more; --all shows them")
    return counts["failed"]


def _add_plan(table: Table, one: Planned) -> None:
    assert one.plan is not None
    names = "\n".join(f"{t.tract.tract}: {ranges([q.patch for q in t.patches])}" for t in one.plan.tracts)
    table.add_row(
        str(one.visit), str(one.detector), f"{one.plan.applied['zenith_angle']:.1f}°", names,
        str(one.plan.num_tasks), f"{one.plan.bytes_read / 1e6:.0f} MB", f"{one.plan.bytes_written / 1e6:.0f} MB",
    )  # fmt: skip


def _problems(name: str, problems: Sequence[Planned], every: bool) -> None:
    """Detector-visits that will have no template, by cause; or each of them."""
    if every:
        for one in problems:
            output.print(f"{state(name)} {label(one.visit, one.detector)}: {said(one.error)}", soft_wrap=True)
        return
    for cause in causes((type(p.error).__name__, str(p.error), (p.visit, p.detector)) for p in problems):
        _cause(name, cause)


def status(found: CampaignStatus, shown: int) -> None:
    """Print counts, the runs, and the causes of what is not complete; then the first `shown` of it, a line each."""
    output.print(said(found.url), soft_wrap=True)
    table = new_table("status", "detector-visits", left=1)
    for name in ("complete", "no-overlap", "failed", "missing"):
        table.add_row(state(name), str(found.count(name)))
    if found.damaged:
        table.add_row("[yellow]of these damaged[/]", str(found.damaged))
    output.print(table)
    covered = found.coverage()
    if covered is not None:
        output.print(f"coverage: mean {covered[0]:.3f}, least {covered[1]:.3f}")
    for run in found.runs:
        output.print(said(run.words), soft_wrap=True)
    for name in ("failed", "no-overlap"):
        for cause in found.causes(name):
            _cause(name, cause)
    if found.missing:
        output.print(f"{state('missing', len(found.missing))}: requested, not made yet")
        output.print(f"    {data_ids(found.missing, _EXAMPLES)}", soft_wrap=True)
    _damage(found, shown)
    _each(found, shown)


def _each(found: CampaignStatus, shown: int) -> None:
    """A line for each detector-visit that is not complete."""
    if not shown:
        if len(found.missing) + found.count("failed") + found.count("no-overlap") > _EXAMPLES:
            output.print("--all lists each of them")
        return
    rest = [r for name in ("failed", "no-overlap") for r in found.records if r.status == name]
    for record in rest[:shown]:
        error = record.error or {}
        output.print(
            f"{state(record.status)} {label(record.visit, record.detector)}: "
            f"{said(error.get('type', ''))}: {said(error.get('message', ''))}",
            soft_wrap=True,
        )
    for visit, detector in found.missing[: max(0, shown - len(rest))]:
        output.print(f"{state('missing')} {label(visit, detector)}")


def _damage(found: CampaignStatus, shown: int) -> None:
    """The damaged chunks of the coadds by cause, and which templates lack them."""
    if not found.damaged:
        return
    output.print(
        f"[yellow]{found.damaged} made without what is damaged in the coadds[/]; restore it, and the same run "
        "makes them again",
        soft_wrap=True,
    )
    for cause in found.damage_causes():
        chunks = f"{cause.number} damaged chunk{'s' * (cause.number > 1)}"
        like = " like this" if cause.number > 1 else ""
        output.print(f"[yellow]{chunks}[/]{like}: {said(cause.message)}", soft_wrap=True)
        output.print(f"    in {data_ids(found.damaged_by(cause), _EXAMPLES)}", soft_wrap=True)
    for line, number in found.damage.most_common(shown):
        output.print(f"[yellow]damaged[/] {said(line)}; {number} template{'s' * (number > 1)}", soft_wrap=True)
