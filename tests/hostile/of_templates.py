"""A template store of somebody else: what its attributes and journal can say, and what the commands make of it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from scenes import IMAGE, coadds, visit

import dcrflow
from hostile.survey import command
from hostile.table import PAGE, _escaped

_TABLE = re.compile(r"(?<=<!-- templates -->\n\n).*(?=<!-- /templates -->)", re.S)


@dataclass(frozen=True)
class Spoilt:
    """Attributes that a complete or failed template has, lines of the journal, or what is done to the files."""

    name: str
    changes: dict[str, Any]
    journal: bytes = b""
    spoil: Callable[[Path], object] = lambda store: None


def _failed(**error: Any) -> dict[str, Any]:
    return {"status": "failed", "error": error}


def _link(name: str, to: str) -> Callable[[Path], object]:
    """A link in the place of a file or folder of the store."""

    def spoil(store: Path) -> None:
        path = store / name
        path.unlink(missing_ok=True)
        path.symlink_to(to)

    return spoil


def _pipe(name: str) -> Callable[[Path], object]:
    def spoil(store: Path) -> None:
        (store / name).unlink(missing_ok=True)
        os.mkfifo(store / name)

    return spoil


def _archive(columns: dict[str, Any]) -> Callable[[Path], object]:
    """A journal as Parquet, of a later run."""
    return lambda store: parquet.write_table(pa.table(columns), store / _ARCHIVE)


_ARCHIVE, _JOURNAL = (f".dcrflow/20260101T000000-00000000.{kind}" for kind in ("parquet", "jsonl"))
_IMAGE = "12/3/image/c/0/0"
_LINE = '{"event": "ended", "visit": 12, "detector": 3, "status": "complete"}'
_SPREAD = {"wavelength": [400.0, 500.0], "shift": [1.0, 2.0]}
CASES = (
    Spoilt("nothing is wrong", {}),
    Spoilt("inputs are an address to be asked", {"inputs": "http://127.0.0.1:9/latest/meta-data"}),
    Spoilt("inputs are a reference to be followed", {"inputs": "reference::file:///etc/passwd"}),
    Spoilt("inputs are a number", {"inputs": 7}),
    Spoilt("inputs have a password", {"inputs": "http://a:HUNTER2@127.0.0.1:9/x"}),
    Spoilt("the preview's image is an address", {"preview": {"image": "http://127.0.0.1:9/pixel.png"}}),
    Spoilt("the preview's image is a script", {"preview": {"image": "javascript:alert(1)"}}),
    Spoilt("the preview is a list", {"preview": [1]}),
    Spoilt("the preview is JSON text", {"preview": '{"noise": [[1]]}'}),
    Spoilt("the preview's cells are words", {"preview": {"noise": [["a"]], "coverage": "x", "corners": [[1]]}}),
    Spoilt("coverage is a word", {"coverage": "x"}),
    Spoilt("coverage has 400 digits", {"coverage": 10**400}),
    Spoilt("dcr is a number", {"dcr": 3}),
    Spoilt("dcr's shifts are no pairs, its zenith_angle a word", {"dcr": {"spread": _SPREAD, "zenith_angle": "low"}}),
    Spoilt("patches are a number", {"patches": 7}),
    Spoilt("patches are words", {"patches": [["a", "b"], 3]}),
    Spoilt("bbox is a word", {"bbox": "everything"}),
    Spoilt("bbox is enormous", {"bbox": [0, 0, 10**9, 10**9]}),
    Spoilt("wcs is a list", {"wcs": [1, 2]}),
    Spoilt("wcs is a word", {"wcs": "TAN"}),
    Spoilt("band is an object", {"band": {"a": 1}}),
    Spoilt("instrument is markup", {"instrument": "<script>alert(1)</script>"}),
    Spoilt("config is a list", {"config": [1]}),
    Spoilt("software is a word", {"software": "all"}),
    Spoilt("crc32 is a list", {"crc32": [1]}),
    Spoilt("damage is a number", {"damage": 3}),
    Spoilt("damage is markup", {"damage": ["[/red] [link=http://127.0.0.1:9]x"]}),
    Spoilt("error.type is markup", _failed(type="[/]", message="x")),
    Spoilt("error.type is a list", _failed(type=[1], message={"a": 1})),
    Spoilt("error.message clears the terminal", _failed(type="E", message="\x1b[2J\x1b]0;gone\x07 a\nb")),
    Spoilt("error is a word", {"status": "failed", "error": "x"}),
    Spoilt("status is a list", {"status": ["complete"]}),
    Spoilt("the journal is no JSON", {}, b"\xff\xfe[[[\n"),
    Spoilt("the journal asks for words", {}, b'{"event": "requested", "detector_visits": {"a": ["b"], "1": 2}}\n'),
    Spoilt("the journal's times are words", {},
           b'{"event": "ended", "visit": 12, "detector": 3, "status": "complete", "seconds": "long", "steps": [1]}\n'),
    Spoilt("the journal asks for a visit of 4,000 digits", {},
           b'{"event": "requested", "detector_visits": {"' + b"9" * 4000 + b'": [1]}}\n'),
    Spoilt("the journal is a folder", {}, spoil=lambda store: (store / _JOURNAL).mkdir()),
    Spoilt("the journal is a link to /dev/zero", {}, spoil=_link(_JOURNAL, "/dev/zero")),
    Spoilt("the journal is a pipe", {}, spoil=_pipe(_JOURNAL)),
    Spoilt("an archived journal has numbers for lines", {}, spoil=_archive({"line": [1, 2]})),
    Spoilt("an archived journal has lists for lines", {}, spoil=_archive({"line": [[_LINE]]})),
    Spoilt("an archived journal has no lines", {}, spoil=_archive({"visit": [1]})),
    Spoilt("an archived journal has words for visits", {}, spoil=_archive({"line": [_LINE], "visit": ["x"]})),
    Spoilt("an archived journal is a pipe", {}, spoil=_pipe(_ARCHIVE)),
    Spoilt("the image's pixels are a link to /dev/zero", {}, spoil=_link(_IMAGE, "/dev/zero")),
    Spoilt("the image's pixels are a link to another file", {}, spoil=_link(_IMAGE, "/etc/passwd")),
    Spoilt("the image's pixels are a pipe", {}, spoil=_pipe(_IMAGE)),
    Spoilt("the image's metadata are a pipe", {}, spoil=_pipe("12/3/image/zarr.json")),
    Spoilt("the template's metadata are a link to /dev/zero", {}, spoil=_link("12/3/zarr.json", "/dev/zero")),
    Spoilt("the store's metadata are a link to /dev/zero", {}, spoil=_link("zarr.json", "/dev/zero")),
    Spoilt("a visit is a link to itself", {}, spoil=_link("13", "13")),
    Spoilt("a visit is a link to the folder above", {}, spoil=_link("13", "..")),
)  # fmt: skip

_COMMANDS = ("status", "report", "verify", "export", "watch")


def rows(directory: Path) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Each case's row, and what harm was done."""
    master = directory / "master.zarr"
    out = dcrflow.TemplateStore.create_or_open(master)
    with out.journal() as journal:
        journal.add("requested", detector_visits={"12": [3]}, config={}, inputs="")
    dcrflow.write_template(dcrflow.build_template(coadds(IMAGE), visit(), high_variance_threshold=None), out)
    for case in CASES:
        place = directory / "out.zarr"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(master, place)
        file = place / "12" / "3" / "zarr.json"
        metadata = json.loads(file.read_text())
        metadata["attributes"] |= case.changes
        file.write_text(json.dumps(metadata))
        if case.journal:
            (place / _JOURNAL).write_bytes(case.journal)
        case.spoil(place)
        yield _row(case, place, directory)


def _row(case: Spoilt, place: Path, directory: Path) -> tuple[tuple[str, ...], list[str]]:
    page, files = directory / "page.html", directory / "fits"
    shutil.rmtree(files, ignore_errors=True)
    page.unlink(missing_ok=True)
    words = {
        "status": ["--scan"],
        "report": ["--to", str(page)],
        "verify": [],
        "export": [str(files)],
        "watch": ["--once"],
    }
    exits, harm, said = [], [], ""
    for name in _COMMANDS:
        code, text = command(name, str(place), *words[name])
        exits.append(str(code))
        harm += [f"{name}: {what}" for what in ("Traceback", "\x1b[2J", "HUNTER2") if what in text]
        lines = [line for line in text.splitlines() if line.startswith(("Error:", "visit ", "failed ", "damaged "))]
        said = said or (lines[0] if lines and not lines[0].startswith("visit 12 detector 3 complete") else "")
    html = page.read_text() if page.exists() else ""
    facts = html.partition('<script id="facts" type="application/json">')[2].partition("</script>")[0]
    notes = [n for n in json.loads(facts or '{"notes": []}')["notes"] if "give the coadds" not in n]
    harm += [f"report: {w}" for w in ("pixel.png", "javascript:", "HUNTER2", "<script>alert") if w in html]
    harm += [f"export: {p.name}" for p in files.glob("*") if b"HUNTER2" in p.read_bytes()]
    message = (notes or [said])[0].replace(str(directory), "DIRECTORY")
    return (case.name, *exits, re.sub(r"-?\d+\.\d+", "N", message)), harm


def markdown(found: Sequence[tuple[str, ...]]) -> str:
    """The table as it is in the documentation."""
    head = ["| case | " + " | ".join(_COMMANDS) + " | first of what is said |", "|---|---|---|---|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(map(_escaped, row))} |" for row in found), ""])


def documented() -> str:
    """The table of the page."""
    found = _TABLE.search(PAGE.read_text())
    assert found is not None, "the page has no place for the table"
    return found[0]


def write(table: str) -> None:
    """Put a table into the page."""
    PAGE.write_text(_TABLE.sub(lambda _: f"{table}\n", PAGE.read_text()))
