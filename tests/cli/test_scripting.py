"""What scripts rely on: JSON as the documentation describes it, exit statuses, --quiet and --log-file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scenes import IMAGE, coadds, visit
from typer.main import get_command

import dcrflow
from dcrflow.campaign import as_json
from dcrflow.campaign.alive import Heartbeat, RunState, runs_of
from dcrflow.campaign.coadd_outcome import CoaddResult, PatchFailure
from dcrflow.campaign.coadd_status import BuildStatus
from dcrflow.campaign.outcome import CampaignResult, Failure, Progress
from dcrflow.campaign.status import campaign_status
from dcrflow.campaign.verify import Verdict
from dcrflow.cli import main, show_campaign
from dcrflow.cli.app import app
from dcrflow.planning.coadds import LeftOut

Run = Callable[..., tuple[int, str, str]]

PAGE = Path(dcrflow.__file__).parent / "docs" / "commands.md"
TYPES: dict[str, Any] = {"text": (str, type(None)), "number": (int, float, type(None)), "list": list}
TYPES["object"] = (dict, type(None))


def documented(heading: str) -> dict[str, str]:
    """Fields and their types from the first table after a line that begins so."""
    text = PAGE.read_text().split(f"\n{heading}", 1)[1]
    rows = re.search(r"(?:^\|.*\n)+", text, re.M)
    assert rows is not None
    found: dict[str, str] = {}
    for line in rows[0].splitlines()[2:]:
        names, types, _ = (cell.strip() for cell in line.strip("|").split("|", 2))
        every = re.findall(r"`([^`]+)`", names)
        kinds = types.split(", ") if types else [""]
        found |= dict(zip(every, kinds if len(kinds) == len(every) else kinds * len(every), strict=True))
    return found


def agrees(value: dict[str, Any], heading: str) -> None:
    """The object has the fields that the page lists, no others, of these types."""
    fields = documented(heading)
    assert set(value) == set(fields)
    for name, kind in fields.items():
        if kind:
            assert isinstance(value[name], TYPES[kind]), (name, value[name])
    json.dumps(value, allow_nan=False)


@pytest.fixture
def dcr(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; gives exit status, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dcrflow", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with coadds.zarr and visits.ecsv."""
    directory = tmp_path_factory.mktemp("survey")
    coadds(IMAGE, store=str(directory / "coadds.zarr"))
    dcrflow.write_visits([visit(visit=1), visit(visit=2, detector=4)], directory / "visits.ecsv")
    return directory


@pytest.fixture
def templates(tmp_path: Path) -> dcrflow.TemplateStore:
    """Five failures of one cause, one of another, one without overlap, one missing."""
    store = dcrflow.TemplateStore.create_or_open(tmp_path / "out.zarr")
    with store.journal() as journal:
        journal.add("requested", detector_visits={"1": [0, 1, 2, 3, 4, 5, 6, 7]})
    for detector in range(5):
        error = {"type": "OSError", "message": f"visit 1 detector {detector}: disk {detector} on fire"}
        store.write_status(1, detector, "failed", {}, error)
    store.write_status(1, 5, "failed", {}, {"type": "ValueError", "message": "[red]odd[/]"})
    store.write_status(1, 6, "no-overlap", {}, {"type": "NoOverlapError", "message": "no patch"})
    return store


def test_status(dcr: Run, templates: dcrflow.TemplateStore) -> None:
    code, out, _ = dcr("status", templates.url, "--json")
    found = json.loads(out)
    assert (code, found["exit_status"]) == (1, 1)
    assert found["counts"] == {"complete": 0, "no-overlap": 1, "failed": 6, "missing": 1}
    assert found["missing"] == [[1, 7]]
    agrees(found, "### `status --json`")
    first = found["causes"][0]
    agrees(first, "Each of `causes`")
    assert (first["number"], first["examples"]) == (5, [[1, 0], [1, 1], [1, 2], [1, 3], [1, 4]])
    assert len(found["failures"]) == 6


def test_a_cause_is_printed_once(dcr: Run, templates: dcrflow.TemplateStore) -> None:
    _, out, _ = dcr("status", templates.url)
    assert out.count("on fire") == 1
    assert "5 failed like this: OSError: visit 1 detector 0: disk 0 on fire\n    visit 1 detectors 0-4" in out
    assert "[red]odd[/]" in out
    assert "1 no overlap: NoOverlapError: no patch" in out
    assert dcr("status", templates.url, "--all")[1].count("on fire") == 6


def test_plan(dcr: Run, survey: Path) -> None:
    code, out, _ = dcr("plan", survey / "coadds.zarr", survey / "visits.ecsv", "--json")
    found = json.loads(out)
    agrees(found, "### `plan --json`")
    assert (code, found["exit_status"]) == (0, 0)
    assert found["counts"] == {"planned": 2, "no-overlap": 0, "failed": 0}
    assert found["tasks"] == sum(one["tasks"] for one in found["plans"])
    assert found["plans"][1]["patches"] == [[7, 0], [7, 1], [7, 2], [7, 3]]


def test_plan_of_many_shows_the_first(dcr: Run, survey: Path, tmp_path: Path) -> None:
    dcrflow.write_visits([visit(visit=v) for v in range(1, 13)], tmp_path / "many.ecsv")
    arguments = ("plan", survey / "coadds.zarr", tmp_path / "many.ecsv")
    _, out, _ = dcr(*arguments)
    assert out.count("45.0°") == 10
    assert "2 more; --all shows them" in out
    assert dcr(*arguments, "--all")[1].count("45.0°") == 12
    assert len(json.loads(dcr(*arguments, "--json", "--all")[1])["plans"]) == 12


def test_result() -> None:
    failures = (Failure(1, 2, "OSError", "disk"), Failure(-1, -1, "VisitTableError", "https://me:secret@host/x"))
    ended = CampaignResult(9, 3, 2, 1, failures, 6.2, stopped="walltime", again={"changed coadds": 1})
    found = as_json.result_as_json(ended, "https://me:secret@host/out.zarr", 23.2, 3)
    assert set(found) == set(documented("### `run --json`"))
    assert found["counts"] == {"complete": 2, "no-overlap": 1, "failed": 2, "missing": 1}
    assert "secret" not in json.dumps(found)
    assert found["failures"][1]["visit"] is None


def test_the_status_of_coadds_is_documented() -> None:
    beat = {"run": "r", "host": "h", "pid": 1, "began": 1.79e9, "updated": 1.79e9, "state": "finished", "total": 3}
    left = LeftOut(1, 2, "no PSF")
    found = BuildStatus(
        "https://me:secret@host/c.zarr", ((7, 1, "r"),), ((7, 2, "r", "no"),), ((7, 3, "r"),), (left,), (),
        tuple(runs_of([beat])),
    ).as_json()  # fmt: skip
    agrees(found, "### `status --json` of a DCR-coadd store")
    agrees(found["runs"][0], "Each of `runs`:")
    assert (found["kind"], found["exit_status"], found["total"]) == ("coadds", 1, 3)
    assert found["counts"] == {"complete": 1, "failed": 1, "missing": 1}
    assert "secret" not in json.dumps(found)


def test_the_result_of_a_build_is_documented() -> None:
    failures = (PatchFailure(7, 2, "OSError", "https://me:secret@host/x"),)
    ended = CoaddResult(
        "https://me:secret@host/c.zarr", 4, 1, 1, failures, (LeftOut(1, 2, "no PSF"),), (), {}, 6.2, "walltime"
    )
    found = as_json.build_as_json(ended, 23.2, 3)
    agrees(found, "### `coadd --json`")
    assert found["counts"] == {"complete": 1, "failed": 1, "missing": 1}
    assert "secret" not in json.dumps(found)


def test_verify_of_coadds(dcr: Run, survey: Path) -> None:
    code, out, _ = dcr("verify", survey / "coadds.zarr", "--json")
    found = json.loads(out)
    agrees(found, "### `verify --json`")
    assert (code, found["kind"], found["total"], found["sound"]) == (0, "coadds", 4, 4)


def test_verify() -> None:
    found = as_json.verdicts_as_json("out.zarr", 2, [Verdict(1, 3, ("bad",))], 1)
    agrees(found, "### `verify --json`")
    assert (found["total"], found["sound"]) == (2, 1)


@pytest.mark.integration
def test_run(dcr: Run, survey: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    log = tmp_path / "logs" / "run.log"
    command = ("run", survey / "coadds.zarr", survey / "visits.ecsv", out, "--workers", 1, "--quiet", "--json")
    code, text, said = dcr(*command, "--log-file", log)
    found = json.loads(text.splitlines()[-1])
    assert (code, found["exit_status"], found["counts"]["complete"]) == (0, 0, 2)
    assert found["wall_clock"] > found["elapsed"] > 0
    assert set(found) == set(documented("### `run --json`"))
    assert "templates" not in said
    assert "dashboard" in log.read_text()
    assert "last run finished" in dcr("status", out)[1]
    (run,) = json.loads(dcr("status", out, "--json")[1])["runs"]
    agrees(run, "Each of `runs`")
    assert (run["state"], run["ended"], run["total"]) == ("finished", 2, 2)
    code, text, _ = dcr("verify", out, "--json")
    assert (code, json.loads(text)["sound"]) == (0, 2)


def test_where_that_selects_nothing(dcr: Run, survey: Path, tmp_path: Path) -> None:
    for command in ("run", "plan"):
        out = [tmp_path / "out.zarr"] if command == "run" else []
        arguments = (survey / "coadds.zarr", survey / "visits.ecsv", *out)
        code, _, err = dcr(command, *arguments, "--where", "band == 'z' and visit > 7")
        assert code == 2
        assert "no detector-visit fulfils" in err
        assert "band: 'g'; visit: 1, 2" in err
        assert "dashboard" not in err
    assert not (tmp_path / "out.zarr").exists()


def test_quiet(dcr: Run, templates: dcrflow.TemplateStore, tmp_path: Path) -> None:
    assert dcr("status", templates.url, "--quiet") == (1, "", "")
    code, out, err = dcr("status", tmp_path / "no.zarr", "-q")
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert dcr("status", templates.url, "-q", "-v")[0] == 2


def test_log_file(dcr: Run, templates: dcrflow.TemplateStore, survey: Path, tmp_path: Path) -> None:
    log = tmp_path / "a" / "log.txt"
    dcr("status", templates.url, "--log-file", log)
    dcr("plan", tmp_path / "no.zarr", survey / "visits.ecsv", "--log-file", log, "--quiet")
    text = log.read_text()
    assert "on fire" in text
    assert re.search(r"^\d{4}-\d\d-\d\d .* INFO dcrflow status .*--log-file", text, re.M)
    assert "ERROR" in text
    assert "Traceback" in text
    code, _, err = dcr("status", templates.url, "--log-file", tmp_path)
    assert code == 2
    assert "--log-file" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_log_on_a_full_disk_is_said_once(dcr: Run, templates: dcrflow.TemplateStore) -> None:
    plain = dcr("status", templates.url)
    code, out, err = dcr("status", templates.url, "--log-file", "/dev/full")
    assert (code, out) == plain[:2]
    assert err.count("cannot write /dev/full: OSError: [Errno 28] No space left on device") == 1
    assert "Traceback" not in err


def test_examples_in_the_help_have_options_that_exist() -> None:
    def examples(command: Any, path: str) -> int:
        number = 0
        for name, one in getattr(command, "commands", {}).items():
            number += examples(one, f"{path} {name}")
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        for line in (command.epilog or "").split("\n\n")[1:]:
            assert f"{line} ".startswith(f"{path} "), line
            assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", line.split("|")[0])) <= options, line
            number += 1
        return number

    assert examples(get_command(app), "dcrflow") > 10


def test_begins_within_a_second_or_two() -> None:
    """No heavy imports before the first line: what they are may grow, so they are listed."""
    heavy = "dask", "xarray", "zarr", "astropy", "numba"
    code = f"import dcrflow.cli, sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def running(**changes: Any) -> dict[str, Any]:
    import os
    import socket

    now = time.time()
    return {
        "run": "20261127T101010-abcdef01", "host": socket.gethostname(), "pid": os.getpid(), "began": now - 60,
        "updated": now, "state": "running", "total": 100, "skipped": 10, "done": {"complete": 30}, "workers": 4,
        "running": 12, "rate": 30.0,
    } | changes  # fmt: skip


def test_a_run_is_alive_or_dead() -> None:
    import psutil

    (mine,) = runs_of([running(began=psutil.Process().create_time() + 1)])
    assert mine.is_alive
    assert mine.ended == 40
    assert mine.ends == pytest.approx(time.time() + 120, abs=5)
    assert "40 of 100" in mine.words
    assert [r.state for r in runs_of([running(pid=2**22 + 1)])] == ["dead"]
    assert [r.state for r in runs_of([running(began=0.0)])] == ["dead"], "a later process has this number"
    assert [r.state for r in runs_of([running(host="elsewhere")])] == ["running"]
    assert [r.state for r in runs_of([running(host="elsewhere", updated=time.time() - 600)])] == ["dead"]


@pytest.mark.parametrize(
    "change",
    [{"began": "x"}, {"updated": 1e300}, {"rate": float("inf")}, {"rate": -1}, {"done": 3}, {"pid": 1e300}, {"pid": -3},
     {"host": ["x"]}, {"total": None}],
)  # fmt: skip
def test_progress_that_anybody_wrote(change: dict[str, Any]) -> None:
    for run in runs_of([running(**change)]):
        assert isinstance(run, RunState)
        assert "\n" not in run.words
        json.dumps(run.as_json(), allow_nan=False)


def test_heartbeat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = dcrflow.TemplateStore.create_or_open(tmp_path / "out.zarr")
    with store.journal() as journal, Heartbeat(journal, "http://127.0.0.1:8787") as heartbeat:
        heartbeat.tell(Progress(5, 0, 2, {}, 0.5, 0, 2))
        show_campaign.status(campaign_status(store), 0)
        assert re.search(r"run alive on \S+ \(process \d+\) since .* UTC: 0 of 5", capsys.readouterr().out)
        assert [r.is_alive for r in runs_of(store.progress())] == [True]
        heartbeat.tell(Progress(5, 0, 1, {"complete": 3}, 1.5, 0, 2))
    (run,) = runs_of(store.progress())
    assert (run.state, run.ended, run.counts) == ("finished", 3, {"complete": 3})
    with pytest.raises(ZeroDivisionError), store.journal() as journal, Heartbeat(journal):
        raise ZeroDivisionError
    assert runs_of(store.progress())[-1].state == "failed"
    assert list((tmp_path / "out.zarr" / ".dcrflow").glob("*.partial")) == []


def test_watch(survey: Path, tmp_path: Path, dcr: Run) -> None:
    store = dcrflow.TemplateStore.create_or_open(tmp_path / "watched.zarr")
    with store.journal() as journal:
        journal.add("requested", detector_visits={"1": [0, 1]})
        journal.add("ended", visit=1, detector=0, status="complete", steps={"load_patch": 0.5})
        journal.add("finished")
    status, out, _ = dcr("watch", store.url, "--json")
    assert status == 0
    (line,) = out.splitlines()
    agrees(json.loads(line), "### `watch --json`")


@pytest.mark.parametrize(
    ("command", "package", "words"),
    [
        (("demo",), "galsim", "dcrflow demo needs galsim: pip install 'dcrflow[sim]'"),
        (("simulate", "survey"), "matplotlib", "dcrflow simulate needs matplotlib: pip install 'dcrflow[sim]'"),
        (("run", "a", "b", "c", "--cluster", "slurm"), "dask_jobqueue", "--cluster slurm needs dask-jobqueue"),
        (("coadd", "a", "b", "--cluster", "kubernetes"), "dask_kubernetes", "pip install 'dcrflow[cluster]'"),
    ],
)
def test_a_missing_extra_is_named_before_anything_starts(
    dcr: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...], package: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dcrflow.cli.extras.find_spec", lambda name: None if name == package else object())
    code, out, err = dcr(*command)
    assert (code, out) == (2, "")
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_errors_say_where_coadds_come_from(dcr: Run, survey: Path, tmp_path: Path) -> None:
    for command in (("plan", tmp_path / "no.zarr", survey / "visits.ecsv"), ("ingest", tmp_path, "--out", "o.zarr")):
        code, _, err = dcr(*command)
        assert code == 2
        assert "dcrflow coadd or coadds_from_arrays: see docs/data.md" in err or "without FITS files" in err


@pytest.mark.parametrize("kind", ["slurm", "pbs", "htcondor"])
def test_showing_a_cluster_makes_no_folder(
    dcr: Run, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("dask_jobqueue", reason="wants the extra cluster")
    monkeypatch.chdir(tmp_path)
    code, out, _ = dcr("cluster", "show", kind)
    assert code == 0
    assert "dcrflow-logs" in out
    assert list(tmp_path.iterdir()) == []
