"""The command line: what it prints, how it exits, and that a user's mistake ends in one clear line."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zarr
from astropy.table import Table
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.base.attributes import objects
from dcrflow.cli import main

Run = Callable[..., tuple[int, str, str]]


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


def table(survey: Path, tmp_path: Path, change: Callable[[Table], None]) -> Path:
    """The survey's detector-visit table, changed."""
    found = Table.read(survey / "visits.ecsv", format="ascii.ecsv")
    change(found)
    found.write(tmp_path / "changed.ecsv", format="ascii.ecsv")
    return tmp_path / "changed.ecsv"


def one_line(text: str, *words: str) -> None:
    """The message is one line, no traceback, and has these words."""
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1, text
    for word in words:
        assert word in lines[0], lines[0]


def test_plan(dcr: Run, survey: Path) -> None:
    code, out, _ = dcr("plan", survey / "coadds.zarr", survey / "visits.ecsv")
    assert code == 0
    assert "7: 0-3" in out
    assert "45.0°" in out
    assert re.search(r"2 detector-visits: 2 to make, 0 no overlap, 0 that cannot be made\n8 tasks", out)


@pytest.mark.integration
def test_run_and_status(dcr: Run, survey: Path, tmp_path: Path) -> None:
    out = tmp_path / "it's a place" / "out.zarr"
    arguments = ("run", survey / "coadds.zarr", survey / "visits.ecsv", out, "--workers", 1)
    code, text, progress = dcr(*arguments, "--where", "visit == 1")
    assert (code, "1 complete of 1" in text) == (0, True)
    assert "http://127.0.0.1:" in progress
    code, text, _ = dcr(*arguments)
    assert (code, "1 complete, 1 done before of 2" in text) == (0, True)
    code, text, progress = dcr(*arguments)
    assert (code, "0 complete, 2 done before of 2" in text) == (0, True)
    assert "no cluster is started" in progress
    code, text, _ = dcr("status", out)
    assert code == 0
    assert re.search(r"complete\D+2", text)
    assert objects(dcrflow.TemplateStore.open(out).read(2, 4).attrs)["config"]["tile"] == 1024


@pytest.mark.parametrize("more", [(), ("--overwrite",), ("--limit", 0)])
def test_a_run_of_no_rows_starts_no_cluster(dcr: Run, survey: Path, tmp_path: Path, more: tuple[object, ...]) -> None:
    def change(rows: Table) -> None:
        rows.remove_rows(slice(0, None if "--limit" not in more else 0))

    rows, out = table(survey, tmp_path, change), tmp_path / "out.zarr"
    code, text, progress = dcr("run", survey / "coadds.zarr", rows, out, *more)
    assert (code, "nothing to do: the table has no rows" in " ".join(text.split())) == (0, True)
    assert "no cluster is started" in progress
    assert dcr("status", out)[0] == 0


@pytest.mark.integration
def test_run_with_failures_exits_1(dcr: Run, survey: Path, tmp_path: Path) -> None:
    def change(rows: Table) -> None:
        rows["altitude"][1] = -5.0

    rows = table(survey, tmp_path, change)
    out = tmp_path / "out.zarr"
    code, text, progress = dcr("run", survey / "coadds.zarr", rows, out, "--workers", 1)
    assert code == 1
    assert "1 complete, 1 failed of 2" in text
    assert "below the horizon" in progress
    code, text, _ = dcr("status", out)
    assert "1 failed: VisitTableError" in text
    assert "    visit 2 detector 4" in text
    assert "below the horizon" in text


def test_status_tells_what_is_missing(dcr: Run, tmp_path: Path) -> None:
    store = dcrflow.TemplateStore.create_or_open(tmp_path / "out.zarr")
    with store.journal() as journal:
        journal.add("requested", detector_visits={"1": [2, 3], "5": [0]})
    store.write_status(
        1, 2, "failed", {"config_hash": "", "inputs": ""}, {"type": "OSError", "message": "disk on fire"}
    )
    code, out, _ = dcr("status", tmp_path / "out.zarr")
    assert code == 1
    assert "1 failed: OSError: disk on fire\n    visit 1 detector 2" in out
    assert "2 missing: requested, not made yet\n    visit 1 detector 3; visit 5 detector 0" in out
    code, out, _ = dcr("status", tmp_path / "out.zarr", "--all")
    assert "failed visit 1 detector 2: OSError: disk on fire" in out
    assert "missing visit 5 detector 0" in out
    store.write_status(1, 2, "no-overlap", {"config_hash": "", "inputs": ""})
    code, out, _ = dcr("status", tmp_path / "out.zarr")
    assert code == 3


def test_missing_store(dcr: Run, survey: Path, tmp_path: Path) -> None:
    code, _, err = dcr("run", tmp_path / "no.zarr", survey / "visits.ecsv", tmp_path / "out.zarr")
    assert code == 2
    one_line(err, "no.zarr", "does not exist", "dcr-coadds")
    assert not (tmp_path / "out.zarr").exists()


def test_not_a_dcrflow_store(dcr: Run, survey: Path, tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "other.zarr")
    (tmp_path / "empty").mkdir()
    dcrflow.TemplateStore.create_or_open(tmp_path / "templates.zarr")
    for name, words in (
        ("other.zarr", "none of dcrflow's"),
        ("empty", "not a zarr"),
        ("templates.zarr", "'templates'"),
    ):
        code, _, err = dcr("plan", tmp_path / name, survey / "visits.ecsv")
        assert code == 2
        one_line(err, name, words)


def test_missing_band(dcr: Run, survey: Path) -> None:
    code, out, _ = dcr("plan", survey / "coadds.zarr", survey / "visits.ecsv", "--set", "band=z")
    assert code == 1
    assert "no coadds in band 'z'; its bands are g" in out


@pytest.mark.integration
def test_missing_subfilter(dcr: Run, tmp_path: Path, survey: Path) -> None:
    coadds(IMAGE[:2], store=str(tmp_path / "two.zarr"))
    code, _, err = dcr(
        "run",
        tmp_path / "two.zarr",
        survey / "visits.ecsv",
        tmp_path / "out.zarr",
        "--workers",
        1,
        "--set",
        "num_subfilters=3",
    )
    assert code == 1
    assert "tract 7 patch 0 band g" in err
    assert "has 2 subfilters, expected 3" in err
    assert "Traceback" not in err


def test_table_without_a_column(dcr: Run, survey: Path, tmp_path: Path) -> None:
    rows = table(survey, tmp_path, lambda t: t.remove_column("wcs"))
    code, _, err = dcr("plan", survey / "coadds.zarr", rows)
    assert code == 2
    one_line(err, "changed.ecsv", "wcs")


def test_unreadable_wcs(dcr: Run, survey: Path, tmp_path: Path) -> None:
    def change(rows: Table) -> None:
        rows["wcs"][0] = "rubbish"

    code, out, err = dcr("plan", survey / "coadds.zarr", table(survey, tmp_path, change))
    assert code == 1
    assert "1 that cannot be made" in out
    assert re.search(r"1 failed: .*WCS.*\n    visit 1 detector 3", out)
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("num_subfilters=0", "num_subfilters"),
        ("num_subfilter=3", "unknown key 'num_subfilter'"),
        ("warp=lanczos9", "warp"),
        ("border", "key=value"),
        ("border=[", "border"),
        ("fill=!!python/object/apply:os.system [ls]", "fill"),
    ],
)
def test_unusable_settings(dcr: Run, survey: Path, setting: str, words: str) -> None:
    code, _, err = dcr("plan", survey / "coadds.zarr", survey / "visits.ecsv", "--set", setting)
    assert code == 2
    one_line(err, words)


def test_config_file(dcr: Run, survey: Path, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("tile: 64\nwarp: lanczos3\n")
    (tmp_path / "bad.yaml").write_text("tiles: 64\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    code, out, _ = dcr("plan", survey / "coadds.zarr", survey / "visits.ecsv", "--config", tmp_path / "good.yaml")
    assert code == 0
    assert "2 to make" in out
    for name, words in (("bad.yaml", "unknown key 'tiles'"), ("list.yaml", "key: value"), ("no.yaml", "no.yaml")):
        code, _, err = dcr("plan", survey / "coadds.zarr", survey / "visits.ecsv", "--config", tmp_path / name)
        assert code == 2
        one_line(err, name, words)


def test_unwritable_output(dcr: Run, survey: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "out.zarr"):
        code, _, err = dcr("run", survey / "coadds.zarr", survey / "visits.ecsv", out)
        assert code == 2
        one_line(err, str(out))
    assert (tmp_path / "file").read_text() == "in the way"


def test_output_of_another_kind(dcr: Run, survey: Path) -> None:
    code, _, err = dcr("run", survey / "coadds.zarr", survey / "visits.ecsv", survey / "coadds.zarr")
    assert code == 2
    one_line(err, "'dcr-coadds'", "'templates'")


def test_unusable_where(dcr: Run, survey: Path) -> None:
    code, _, err = dcr("plan", survey / "coadds.zarr", survey / "visits.ecsv", "--where", "vist == 3")
    assert code == 2
    one_line(err, "vist == 3", "visit")


def test_unknown_cluster(dcr: Run, survey: Path, tmp_path: Path) -> None:
    code, _, err = dcr(
        "run", survey / "coadds.zarr", survey / "visits.ecsv", tmp_path / "out.zarr", "--cluster", "moon"
    )
    assert code == 2
    one_line(err, "'moon'")


def test_version(dcr: Run) -> None:
    code, out, _ = dcr("--version")
    assert (code, out.strip()) == (0, f"dcrflow {dcrflow.__version__}")


def test_demo_leaves_other_directories_alone(dcr: Run) -> None:
    code, _, err = dcr("demo", "--out", Path(__file__).parent)
    assert code == 2
    one_line(err, "cli")


def test_output_that_cannot_be_written_is_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dcrflow.cli.app.app", full)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "Error: OSError: [Errno 28] No space left on device\n"


@pytest.mark.integration
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "that of the locale"])
def test_a_log_that_is_not_utf_8(survey: Path, encoding: str) -> None:
    """A batch system's, or cron's: what it cannot print is a question mark."""
    import os
    import subprocess

    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
    if encoding == "that of the locale":
        del environment["PYTHONIOENCODING"]
        environment["PYTHONCOERCECLOCALE"] = "0"
    command = [sys.executable, "-m", "dcrflow", "plan", str(survey / "coadds.zarr"), str(survey / "visits.ecsv")]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert b"2 to make" in done.stdout
    assert b"Traceback" not in done.stderr


def test_colons_in_a_message_stay_as_they_are(dcr: Run, tmp_path: Path) -> None:
    _, _, error = dcr("coadd", ":x:.ecsv", tmp_path / "o.zarr")
    assert ":x:.ecsv does not exist" in error


def test_a_table_is_no_url(dcr: Run) -> None:
    code, _, error = dcr("need", "https://alice:secret@example.org/v.ecsv")
    assert (code, "is a URL" in error, "secret" in error) == (2, True, False)


def _table(path: Path, **columns: list[object]) -> Path:
    dcrflow.write_visits([visit(visit=n) for n in (1, 2)], path)
    table = Table.read(path)
    for name, values in columns.items():
        table[name] = values
    table.write(path, overwrite=True)
    return path


def test_need_names_rows_that_cannot_be_used(dcr: Run, tmp_path: Path) -> None:
    code, out, error = dcr("need", _table(tmp_path / "a.ecsv", altitude=[45.0, -3.0]))
    assert (code, "1 visits" in out or "of 1" in out) == (0, True)
    assert "row 1 (visit 2 detector 3): the boresight's altitude is -3" in error
    code, _, error = dcr("need", _table(tmp_path / "b.ecsv", altitude=[-2.0, -3.0]))
    assert (code, "the first" in error, "row 0 (visit 1 detector 3)" in error) == (2, True, True)


def test_coadds_of_rows_without_an_image(dcr: Run, tmp_path: Path) -> None:
    out = tmp_path / "o.zarr"
    code, _, error = dcr("coadd", _table(tmp_path / "a.ecsv"), out, "--plan", "--set", "psf_fwhm=0.8")
    assert (code, "names no image" in error) == (2, True)
    some = _table(tmp_path / "b.ecsv", image=["a.fits", ""])
    code, said, _ = dcr("coadd", some, out, "--plan", "--set", "psf_fwhm=0.8")
    assert (code, "left out visit 2 detector 3: the table names no image" in said) == (0, True)


def test_a_setting_has_a_name(dcr: Run, tmp_path: Path) -> None:
    code, _, error = dcr("run", tmp_path, tmp_path, tmp_path, "--set", "=3")
    assert (code, "'=3' is not of the form key=value" in error) == (2, True)


def test_a_table_of_pandas_is_read_without_warnings(dcr: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    Table.read(_table(tmp_path / "a.ecsv")).to_pandas().to_parquet(path)
    code, _, error = dcr("need", path)
    assert (code, error) == (0, "")
