"""What a terminal of 80 columns shows: nothing is cut, nothing wraps within a word."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from scenes import IMAGE, coadds, visit
from typer.testing import CliRunner

import dcrflow
from dcrflow.campaign.data_ids import data_ids, ranges
from dcrflow.campaign.plans import plan_campaign
from dcrflow.cli import show, show_campaign
from dcrflow.cli.app import app
from dcrflow.demo import DemoReport
from dcrflow.demo.gain import Gain
from dcrflow.model.config import TemplateConfig

WIDTH = 80


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed on standard output, 80 columns wide."""
    text = io.StringIO()
    console = Console(file=text, width=WIDTH, highlight=False)
    monkeypatch.setattr(show, "output", console)
    monkeypatch.setattr(show_campaign, "output", console)
    return text


def fits(text: str) -> None:
    assert "…" not in text
    assert [line for line in text.splitlines() if len(line.rstrip()) > WIDTH] == []


@pytest.mark.parametrize("command", ["", "demo", "simulate", "plan", "run", "status", "report", "cluster"])
def test_help(command: str) -> None:
    shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": str(WIDTH)})
    assert shown.exit_code == 0
    fits(shown.output)


def test_first_help_explains_every_command_in_a_line() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": str(WIDTH)}).output
    commands = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    for name in [*commands, "cluster"]:
        (line,) = [words for words in shown.splitlines() if words.startswith(f"│ {name} ")]
        assert line.rstrip(" │").endswith(".")


def test_plan(printed: io.StringIO) -> None:
    store = dcrflow.open_coadds(coadds(IMAGE))
    visits = [visit(visit=2026010100123, detector=188)]
    show_campaign.plans(plan_campaign(store, visits, TemplateConfig()), total=1)
    fits(printed.getvalue())
    assert "7: 0-3" in printed.getvalue()


def test_demo(printed: io.StringIO) -> None:
    gain = Gain(1001, 0, 34.3, 15, 178.93, 23.74, 23.25, 0.9994)
    here = Path("dcrflow-demo")
    seconds = {"simulate": 12.0, "start the cluster": 4.0, "DCR-matched templates": 40.0, "compare and draw": 10.0}
    show.demo(DemoReport(here, (gain,), here / "sheet.png", here / "summary.json", seconds))
    fits(printed.getvalue())
    for heading in ("detector", "coverage", "matched"):
        assert heading in printed.getvalue()


@pytest.mark.parametrize(
    ("numbers", "short"),
    [([], ""), ([4], "4"), ([0, 1], "0-1"), ([0, 2, 3, 4, 9], "0, 2-4, 9")],
)  # fmt: skip
def test_ranges(numbers: list[int], short: str) -> None:
    assert ranges(numbers) == short


def test_data_ids() -> None:
    pairs = [(12, 0), (12, 1), (12, 2), (13, 7), (-1, -1), (14, 0)]
    assert data_ids(pairs[:3]) == "visit 12 detectors 0-2"
    assert data_ids(pairs, 4) == (
        "visit 12 detectors 0-2; visit 13 detector 7; 1 row without a visit and detector that can be read; and 1 more"
    )
