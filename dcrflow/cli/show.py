"""Output of the commands: progress, tables, results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from dcrflow.base.texts import one_line

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dcrflow import campaign
    from dcrflow.campaign.status import CampaignStatus, Planned
    from dcrflow.demo import DemoReport
    from dcrflow.lsst.quanta import GraphProgress
    from dcrflow.simulate.run import SimulatedSurvey

console = Console(stderr=True, highlight=False)
output = Console(highlight=False)

_COLOURS = {"complete": "green", "planned": "green", "no-overlap": "yellow", "failed": "red", "missing": "magenta"}


def said(text: object) -> str:
    """Text from outside, safe to print: one line, without markup or control characters."""
    return escape(one_line(text))


def new_table(*columns: str, left: int) -> Table:
    """A table without side borders, fit for 80 columns: the first `left` columns flush left, figures flush right."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < left else "right", overflow="fold")
    return table


def _progress(*extra: Any) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        *extra,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=False,
    )


@contextmanager
def bar(title: str) -> Iterator[Any]:
    """A progress bar; yields a function (done, total, label) that moves it."""
    with _progress() as progress:
        task = progress.add_task(title, total=None)

        def update(done: int, total: int, label: str = "") -> None:
            progress.update(task, completed=done, total=total, description=f"{title} {escape(label)}".strip())

        yield update
        progress.update(task, description=title)


class DemoDisplay:
    """Shows the demo: a bar for each of its parts."""

    def bar(self, title: str) -> AbstractContextManager[Any]:
        """A plain bar."""
        return bar(title)

    @contextmanager
    def campaign(self, client: Any, title: str) -> Iterator[Any]:
        """A campaign's bar."""
        with CampaignDisplay(client, title) as display:
            yield display.update


def demo(report: DemoReport) -> None:
    """What the demo gained, where its files are and what to type next."""
    output.print(
        "\nWhat is left around bright stars, rms in nJy, after subtracting a plain\ntemplate, the DCR-matched one, and "
        "what noise alone would leave:"
    )
    table = new_table("visit", "detector", "z", "stars", "plain", "matched", "noise", "gain", "coverage", left=0)
    for gain in report.gains:
        table.add_row(
            str(gain.visit), str(gain.detector), f"{gain.zenith_angle:.1f}°", str(gain.stars), f"{gain.unmatched:.2f}",
            f"{gain.matched:.2f}", f"{gain.noise:.2f}", f"[bold]{gain.ratio:.1f}[/]", f"{100 * gain.coverage:.2f} %",
        )  # fmt: skip
    output.print(table)
    took = ", ".join(f"{name} {value:.0f} s" for name, value in report.seconds.items())
    here = escape(str(report.directory))
    output.print(f"took {took}\n")
    output.print(
        f"look at  {escape(str(report.sheet))} (figures: {escape(str(report.summary))})\n"
        f"coadds   {here}/coadds.zarr\n"
        f"visits   {here}/visits.ecsv\n"
        f"results  {here}/templates.zarr\n\n"
        "next:\n"
        f"  uv run dcrflow report {here}/templates.zarr \\\n      --coadds {here}/coadds.zarr\n"
        f"  uv run dcrflow status {here}/templates.zarr\n"
        f"  uv run dcrflow plan {here}/coadds.zarr {here}/visits.ecsv\n"
        f"  uv run dcrflow run {here}/coadds.zarr {here}/visits.ecsv new.zarr",
        soft_wrap=True,
    )


class CampaignDisplay:
    """The bar of a running campaign: done, failed, rate, time left; and where the dashboard is."""

    def __init__(self, client: Any, title: str = "templates") -> None:
        from dcrflow.cluster.dashboard import dashboard_hints

        self._hints = dashboard_hints(client.dashboard_link)
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
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, state: campaign.Progress) -> None:
        """Move the bar."""
        ended = sum(state.done.values())
        rate = ended / state.elapsed * 60 if ended and state.elapsed > 0 else 0.0
        parts = [f"{state.running} running"]
        if state.skipped:
            parts.append(f"{state.skipped} before")
        if state.done.get("no-overlap"):
            parts.append(f"{state.done['no-overlap']} outside")
        parts.append(f"[red]{state.done['failed']} failed[/]" if state.done.get("failed") else "0 failed")
        if state.damaged:
            parts.append(f"[yellow]{state.damaged} damaged[/]")
        if state.worker_losses:
            parts.append(f"[yellow]{state.worker_losses} lost[/]")
        parts.append(f"{rate:.0f}/min" if state.workers else "[yellow]waiting for workers[/]")
        self._progress.update(self._task, total=state.total, completed=ended + state.skipped, detail=" ".join(parts))

    def update_quanta(self, state: GraphProgress) -> None:
        """Move the bar of a quantum graph."""
        failed = f"[red]{state.done['failed']} failed[/]" if state.done["failed"] else "0 failed"
        detail = f"{state.running} running {state.skipped} before {failed} {state.done['blocked']} blocked"
        ended = sum(state.done.values()) + state.skipped
        self._progress.update(self._task, total=state.total, completed=ended, detail=detail)


def result(ended: campaign.CampaignResult, url: str) -> None:
    """Print how a run ended, and what to do next."""
    parts = [f"[green]{ended.complete} complete[/]"]
    if ended.skipped:
        parts.append(f"{ended.skipped} done before")
    if ended.no_overlap:
        parts.append(f"[yellow]{ended.no_overlap} without overlap[/]")
    if ended.failures:
        parts.append(f"[red]{len(ended.failures)} failed[/]")
    if ended.worker_losses:
        parts.append(f"[yellow]{ended.worker_losses} begun again after their workers died[/]")
    output.print(
        f"{', '.join(parts)} of {ended.total} detector-visits in {ended.elapsed:.1f} s: {said(url)}", soft_wrap=True
    )
    if not ended.total:
        output.print("[yellow]nothing to do[/]: the table has no rows, or --where and --limit leave none of them")
    if ended.again:
        why = ", ".join(f"{number} ({reason})" for reason, number in ended.again.items())
        output.print(f"made again although something was there: {why}", soft_wrap=True)
    if ended.stopped:
        why = {"walltime": "the walltime is nearly up", "interrupted": "interrupted"}[ended.stopped]
        output.print(f"stopped before the end ({why}); the same command again finishes what is missing", soft_wrap=True)
    _causes((failure.kind, failure.message) for failure in ended.failures)
    for failure in ended.failures[:5]:
        console.print(
            f"[red]failed[/] visit {failure.visit} detector {failure.detector}: {said(failure.kind)}: "
            f"{said(failure.message)}",
            soft_wrap=True,
        )
    if ended.failures:
        console.print(f"see them all: dcrflow status {said(url)}; try them again: --retry-failed", soft_wrap=True)
    if ended.damaged:
        output.print(
            f"[yellow]{ended.damaged} made without what is damaged in the coadds[/], {len(ended.damage)} chunks: "
            f"dcrflow status {said(url)} says what; restore them, and the same command makes these templates again",
            soft_wrap=True,
        )


def _causes(errors: Iterable[tuple[str, str]]) -> None:
    """What happened and how often, if there is more than one of a cause."""
    from dcrflow.campaign.causes import causes

    found = causes(errors)
    if any(cause.number > 1 for cause in found):
        for cause in found[:5]:
            output.print(
                f"[red]{cause.number} failed[/] like this: {said(cause.kind)}: {said(cause.message)}", soft_wrap=True
            )
        if len(found) > 5:
            output.print(f"... and {len(found) - 5} other causes")


def plans(planned: Iterable[Planned], total: int, shown: int = 20) -> None:
    """A table of plans, and the campaign's sums."""
    table = new_table("visit", "detector", "z", "patches (tract: patch)", "tasks", "reads", "writes", left=0)
    table.columns[3].justify = "left"
    counts = {"planned": 0, "no-overlap": 0, "failed": 0}
    tasks = read = written = 0
    problems = []
    with bar("planning") as update:
        for number, one in enumerate(planned):
            counts[one.status] += 1
            if one.plan is not None:
                p = one.plan
                tasks, read, written = tasks + p.num_tasks, read + p.bytes_read, written + p.bytes_written
                if number < shown:
                    names = "\n".join(f"{t.tract.tract}: {_ranges([q.patch for q in t.patches])}" for t in p.tracts)
                    table.add_row(
                        str(one.visit), str(one.detector), f"{p.applied['zenith_angle']:.1f}°", names,
                        str(p.num_tasks), f"{p.bytes_read / 1e6:.0f} MB", f"{p.bytes_written / 1e6:.0f} MB",
                    )  # fmt: skip
            else:
                problems.append(one)
            update(number + 1, total)
    output.print(table)
    if counts["planned"] > table.row_count:
        output.print(f"... and {counts['planned'] - table.row_count} more")
    for one in problems[:shown]:
        output.print(
            f"[{_COLOURS[one.status]}]{one.status}[/] visit {one.visit} detector {one.detector}: {said(one.error)}",
            soft_wrap=True,
        )
    output.print(
        f"{total} detector-visits: {counts['planned']} to make, {counts['no-overlap']} without overlap, "
        f"{counts['failed']} that cannot be\n"
        f"{tasks} tasks, reads {read / 1e9:.2f} GB, writes {written / 1e9:.2f} GB (uncompressed)",
        soft_wrap=True,
    )


def _ranges(numbers: Iterable[int]) -> str:
    """Increasing numbers in short: 0, 2-5, 9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def status(found: CampaignStatus, shown: int) -> None:
    """A table of counts, and the reasons of what is not complete."""
    output.print(said(found.url), soft_wrap=True)
    table = new_table("status", "detector-visits", left=1)
    for name in ("complete", "no-overlap", "failed", "missing"):
        table.add_row(f"[{_COLOURS[name]}]{name}[/]", str(found.count(name)))
    if found.damaged:
        table.add_row("[yellow]of these damaged[/]", str(found.damaged))
    output.print(table)
    covered = [r.coverage for r in found.records if r.coverage is not None]
    if covered:
        output.print(f"coverage: mean {sum(covered) / len(covered):.3f}, least {min(covered):.3f}")
    failed = [r for r in found.records if r.status == "failed"]
    _causes(((r.error or {}).get("type", ""), (r.error or {}).get("message", "")) for r in failed)
    rest = failed + [r for r in found.records if r.status == "no-overlap"]
    for record in rest[:shown]:
        error = record.error or {}
        output.print(
            f"[{_COLOURS[record.status]}]{record.status}[/] visit {record.visit} detector {record.detector}: "
            f"{said(error.get('type', ''))}: {said(error.get('message', ''))}",
            soft_wrap=True,
        )
    for visit, detector in found.missing[: max(0, shown - len(rest))]:
        output.print(f"[{_COLOURS['missing']}]missing[/] visit {visit} detector {detector}: asked for, not there yet")
    more = len(rest) + len(found.missing) - shown
    if more > 0:
        output.print(f"... and {more} more; --failures N shows N")
    _damage(found, shown)


def _damage(found: CampaignStatus, shown: int) -> None:
    """The damaged chunks of the coadds, each once, and how many templates lack it."""
    lines = Counter(line for r in found.records for line in r.damage)
    if lines:
        output.print(
            f"[yellow]{found.damaged} made without what is damaged in the coadds[/]; restore it, and the same run "
            "makes them again",
            soft_wrap=True,
        )
    for line, number in lines.most_common(shown):
        output.print(f"[yellow]damaged[/] {said(line)}; {number} template{'s' * (number > 1)}", soft_wrap=True)
    if len(lines) > shown:
        output.print(f"... and {len(lines) - shown} more chunks of coadds; --failures N shows N")


def survey(made: SimulatedSurvey) -> None:
    """What was simulated, where it is and what to type next."""
    here = escape(str(made.directory))
    output.print(
        f"{len(made.tracts)} tracts, {sum(len(t.patches) for t in made.tracts)} patches, {len(made.visits)} "
        f"detector-visits in {here}\n"
        f"next: uv run dcrflow run {here}/coadds.zarr {here}/visits.ecsv {here}/templates.zarr",
        soft_wrap=True,
    )


def fields(models: Mapping[str, type[BaseModel]]) -> None:
    """Print the fields of clusters' YAML files."""
    for kind, model in models.items():
        table = Table("field", "default", "", title=f"kind: {kind}", title_justify="left")
        for name, info in model.model_fields.items():
            if name != "kind":
                default = "required" if info.is_required() else str(info.default)
                table.add_row(name, escape(default), escape(info.description or ""))
        output.print(table)
