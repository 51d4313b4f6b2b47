"""Output of the commands: progress, tables, results; that of campaigns is in `dcrflow.cli.show_campaign`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from dcrflow.base.texts import one_line
from dcrflow.cli.console import begin as begin
from dcrflow.cli.console import console as console
from dcrflow.cli.console import errors as errors
from dcrflow.cli.console import output as output

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dcrflow.demo import DemoReport
    from dcrflow.simulate.run import SimulatedSurvey


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
    """A progress bar; yields a function (done, total, label) that moves it. It appears when it is first moved."""
    progress = _progress()
    task = progress.add_task(title, total=None)

    def update(done: int, total: int, label: str = "") -> None:
        progress.update(task, completed=done, total=total, description=f"{title} {escape(label)}".strip())
        progress.start()

    try:
        yield update
        progress.update(task, description=title)
    finally:
        if progress.live.is_started:
            progress.stop()


class DemoDisplay:
    """Shows the demo: a bar for each of its parts."""

    def bar(self, title: str) -> AbstractContextManager[Any]:
        """A plain bar."""
        return bar(title)

    @contextmanager
    def campaign(self, client: Any, title: str) -> Iterator[Any]:
        """A campaign's bar."""
        from dcrflow.cli.show_campaign import CampaignDisplay

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
