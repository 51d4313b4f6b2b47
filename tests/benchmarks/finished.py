"""A finished campaign of very many detector-visits: how long it takes to ask about it, and to run it again.

``python tests/benchmarks/finished.py --rows 1000000`` writes the journal that a campaign leaves, as the product does,
and prints seconds and memory of ``status``, ``report``, ``verify --quick`` and a second ``run``, each in a process
of its own. ``--folders`` also makes each template's folder, a link to one with the files of a template, which have
their lengths and no content: the last two look there. ``--lines`` leaves the lines of the journal as they are while
the campaign goes on, or after a power cut.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).parent.resolve()]

from scenes import IMAGE, coadds  # noqa: E402

import dcrflow  # noqa: E402
from benchmarks.million import DETECTORS, write_table  # noqa: E402
from dcrflow.stores import journal as journal_module  # noqa: E402
from dcrflow.stores.coadds.contents import inputs_digest  # noqa: E402
from dcrflow.stores.templates.store import TemplateStore  # noqa: E402

_STEPS = ("load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts", "write_template")
_PATCHES = ((7, 0), (7, 1))
WRITTEN = 32_000_000  # bytes of a template


def write_journal(folder: Path, number: int, as_lines: bool = False) -> TemplateStore:
    """The store and the journal of a run that has made so many templates; no pixels."""
    if as_lines:
        journal_module.MANY = number + 10
    source, config = dcrflow.open_coadds(folder / "coadds.zarr"), dcrflow.TemplateConfig()
    store = TemplateStore.create_or_open(folder / "out.zarr")
    digest = inputs_digest(source, _PATCHES, "g")
    ids = [divmod(n, DETECTORS) for n in range(number)]
    asked: dict[str, list[int]] = {}
    for visit, detector in ids:
        asked.setdefault(str(visit), []).append(detector)
    with store.journal() as journal, journal.together():
        journal.add("requested", detector_visits=asked, config=config.as_json(), inputs=source.url)
        for place, (visit, detector) in enumerate(ids):
            journal.add(
                "ended", visit=visit, detector=detector, status="complete", config_hash=config.digest,
                inputs=source.url, inputs_digest=digest, coverage=1.0, seconds=3.0 + place % 17 / 10,
                steps=dict.fromkeys(_STEPS, 0.5 + place % 13 / 100),
                patches={f"{t}/{p}": 0.2 for t, p in _PATCHES}, made_from=_PATCHES, band="g",
                worker="tcp://10.0.0.1:40000", read=250_000_000, written=WRITTEN,
                cell=place,
            )  # fmt: skip
        journal.add("finished", complete=len(ids), failed=0, damaged=0, again={})
    return store


def make_folders(folder: Path, number: int) -> None:
    """A folder for each template: links to one, whose files are as long as those of a template, without content."""
    one, names = folder / "one", {"image": 17, "variance": 14.5, "mask": 0.3, "psf": 0.1, "x": 0.05, "y": 0.05}
    sizes = {name: int(part * 1_000_000) for name, part in names.items()}
    assert sum(sizes.values()) == WRITTEN
    for name, size in sizes.items():
        place = one / name / "c" / ("0" if name in "xy" else "0/0")
        place.parent.mkdir(parents=True)
        (one / name / "zarr.json").write_text("{}")
        with place.open("wb") as file:
            file.truncate(size)
    preview = {"noise": [[1.5] * 12] * 12, "coverage": [[100] * 12] * 12, "corners": [[53.1, -28.1]] * 4}
    attributes = {
        "status": "complete", "coverage": 1.0, "preview": json.dumps(preview), "crc32": dict.fromkeys(names, 0),
        "stored_bytes": sizes,
    }  # fmt: skip
    about = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes})
    (one / "zarr.json").write_text(about)
    for visit in range(-(-number // DETECTORS)):
        parent = folder / "out.zarr" / str(visit)
        parent.mkdir()
        for detector in range(min(DETECTORS, number - visit * DETECTORS)):
            (parent / str(detector)).symlink_to(one.absolute())


def make(what: str, folder: Path, number: int, as_lines: bool) -> None:
    """One part of what a campaign leaves."""
    if what == "table":
        coadds(IMAGE, store=str(folder / "coadds.zarr"))
        write_table(folder / f"visits-{number}.parquet", number)
    elif what == "journal":
        write_journal(folder, number, as_lines)
    else:
        make_folders(folder, number)


def command(*arguments: str) -> dict[str, float]:
    """Run Python: seconds, of a processor and of the clock, the most GiB, and its exit status."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "seconds": round(time.perf_counter() - began, 1), "processor": round(usage.ru_utime + usage.ru_stime, 1),
        "GiB": round(usage.ru_maxrss / 2**20, 2), "exit status": process.returncode,
    }  # fmt: skip


def measured(folder: Path, number: int, with_folders: bool, as_lines: bool) -> Mapping[str, object]:
    """The figures, each printed as soon as it is known."""
    table = folder / f"visits-{number}.parquet"
    if not table.exists():
        for what in ("table", "journal", *["folders"] * with_folders):  # a process that begins inherits the most GiB
            how = "--make", what, "--rows", str(number), "--folder", str(folder), *["--lines"] * as_lines
            print(f"make the {what}: {command(__file__, *how)}", flush=True)
    out, found = str(folder / "out.zarr"), dict[str, object]()
    commands = {
        "status": ("status", out), "report": ("report", out, "--to", str(folder / "report.html")),
        "verify --quick": ("verify", out, "--quick"),
        "run again": ("run", str(folder / "coadds.zarr"), str(table), out, "--workers", "1"),
    }  # fmt: skip
    for name, arguments in commands.items():
        if name not in ("verify --quick", "run again") or with_folders:
            found[name] = command("-m", "dcrflow", *arguments)
            print(f"{name}: {found[name]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--folders", action="store_true")
    parser.add_argument("--lines", action="store_true")
    parser.add_argument("--folder", help="kept; a temporary one otherwise")
    parser.add_argument("--make", choices=["table", "journal", "folders"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(options.make, Path(options.folder), options.rows, options.lines)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.folder or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        measured(folder, options.rows, options.folders, options.lines)


if __name__ == "__main__":
    main()
