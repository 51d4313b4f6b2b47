"""Every case, run: what happens, what is said, and proof that nothing else was harmed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import xarray as xr

from dcrflow.base.masks import planes_from_attributes
from hostile import (
    of_chunks,
    of_coadds,
    of_commands,
    of_exposures,
    of_geometry,
    of_observations,
    of_pixels,
    of_visits,
)
from hostile.spoil import Case
from hostile.survey import ELSEWHERE, HALF, ON, Place, Run, cluster, fresh, normal, run, write_survey

#: The cases by what they spoil.
SECTIONS: dict[str, tuple[Case, ...]] = {
    "Detector-visit tables": of_visits.CASES,
    "FITS exposures": of_exposures.CASES,
    "Observations and weather": of_observations.CASES,
    "Geometry": of_geometry.CASES,
    "Coadds: metadata": of_coadds.CASES,
    "Coadds: pixels and masks": of_pixels.CASES,
    "Coadds: damaged files": of_chunks.CASES,
    "Commands": of_commands.CASES,
}
CASES = tuple(case for cases in SECTIONS.values() for case in cases)

_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
#: Where the documentation has the table, between two comments.
PAGE = Path(__file__).parents[2] / "dcrflow" / "docs" / "hostile.md"
_TABLE = re.compile(r"(?<=<!-- table -->\n\n).*(?=<!-- /table -->)", re.S)

_PLACES = {case.name: number for number, case in enumerate(CASES)}
_SAME = 2e-4  # of the brightest: what pixels that are neither NO_DATA nor INTRP may differ, as algorithm.md has it


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Parameters
    ----------
    case : str
        Its name.
    words : tuple of str
        Its row of the table: name, exit status, what became of the detector-visits on and half on the patch, how many
        of the three are byte for byte what they are without it, and what was said.
    harm : tuple of str
        What was harmed that should not have been; empty if all is well.
    """

    case: str
    words: tuple[str, ...]
    harm: tuple[str, ...]


def outcomes(numbers: Sequence[int]) -> list[Outcome]:
    """Run some of `CASES`, by number, in two processes; in their order."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        halves = list(pool.map(_outcomes, [numbers[::2], numbers[1::2]]))
    return sorted((o for half in halves for o in half), key=lambda o: _PLACES[o.case])


def _outcomes(numbers: Sequence[int]) -> list[Outcome]:
    logging.disable(logging.WARNING)  # what is damaged is in the table
    with TemporaryDirectory(dir=_MEMORY) as directory, cluster() as scheduler:
        return list(_run(Path(directory), scheduler, [CASES[n] for n in numbers]))


def _run(directory: Path, scheduler: str, cases: Sequence[Case]) -> Iterator[Outcome]:
    """Run each case in the same place, made anew; compare with the survey as it was."""
    sound: dict[tuple[object, ...], tuple[Path, Run]] = {}
    for case in cases:
        place = Place(directory / "survey", **(case.place or {}))
        key = case.survey, str(case.place)
        if key not in sound:
            master = directory / f"master-{len(sound)}"
            master.mkdir(parents=True)
            write_survey(Place(master), case.survey)
            fresh(master, place)
            if case.place:
                case.spoil(place)
            sound[key] = master, run(place, scheduler)
        master, undisturbed = sound[key]
        fresh(master, place)
        case.spoil(place)
        more = (word.replace("SURVEY", str(place.directory)) for word in case.more)
        done = run(place, scheduler, *more, known=set(undisturbed.digests.values()))
        same = sum(done.digests.get(n) == d for n, d in undisturbed.digests.items())
        yield Outcome(case.name, _words(case, place, done, same), tuple(_harm(case, done, undisturbed)))


def _harm(case: Case, done: Run, undisturbed: Run) -> Iterator[str]:
    if done.input_changed:
        yield "an input was changed"
    if done.harmed:
        yield "a command in the input was run"
    if done.code not in (0, 1, 2, 4):
        yield f"exit status {done.code}: {done.said[-500:]}"
    if "Traceback" in done.said:
        yield "a traceback was shown"
    yield from done.problems
    for number, record in done.records.items():
        if record.status != "complete" and not (record.error or {}).get("message"):
            yield f"visit {number} {record.status} without a reason"
    if not case.everywhere and done.digests.get(ELSEWHERE) != undisturbed.digests[ELSEWHERE]:
        yield f"the detector-visit elsewhere is not what it was: {_fate(done, ELSEWHERE)}"
    for number, template in done.pixels.items():
        if number in undisturbed.pixels and not case.changes:
            off = _off(template, undisturbed.pixels[number])
            if off > _SAME:
                yield f"visit {number}: pixels with data are off by {off:.2g} of the brightest"


def _off(found: xr.Dataset, expected: xr.Dataset) -> float:
    """The largest difference where there are data that were not interpolated, of the brightest pixel."""
    planes = planes_from_attributes(found["mask"].attrs)
    good = (found["mask"].values & ((1 << planes["NO_DATA"]) | (1 << planes["INTRP"]))) == 0
    if found["image"].shape != expected["image"].shape or not good.any():
        return 0.0 if not good.any() else np.inf
    difference = np.abs(found["image"].values - expected["image"].values)[good]
    return float(np.max(difference) / np.nanmax(expected["image"].values))


def _words(case: Case, place: Place, done: Run, same: int) -> tuple[str, ...]:
    fates = (_fate(done, number) for number in (ON, HALF))
    return case.name, str(done.code), *fates, f"{same} of 3", normal(_message(done), place)


def _message(done: Run) -> str:
    """The first thing that was said of what is wrong; empty if nothing was."""
    if done.code == 2:
        return done.said[max(0, done.said.find("Error:")) :]
    records = [done.records[n] for n in sorted(done.records)]
    errors = [f"{r.error.get('type', '')}: {r.error.get('message', '')}" for r in records if r.error]
    shown = re.findall(
        r"\d+ failed(?: like this)?: (.*?) (?:visit \d+ detectors?|\d+ rows?) [^:]* see them all:", done.said
    )
    nothing = re.findall(r"nothing to do: .*", done.said)
    return (errors + shown + [line for r in records for line in r.damage] + nothing + [""])[0]


def _fate(done: Run, number: int) -> str:
    record = done.records.get(number)
    if record is None:
        return "–"
    return f"{100 * (record.coverage or 0):.0f} %" if record.status == "complete" else record.status


def markdown(rows: Sequence[Outcome]) -> str:
    """The table as it is in the documentation."""
    by_case = {row.case: row for row in rows}
    text = []
    for title, cases in SECTIONS.items():
        found = [by_case[case.name] for case in cases if case.name in by_case]
        if found:
            text += [
                f"## {title}",
                "",
                "| case | exit | on it | half on it | unharmed | message |",
                "|---|---|---|---|---|---|",
            ]
            text += [f"| {' | '.join(_escaped(word) for word in row.words)} |" for row in found] + [""]
    return "\n".join(text)


def _escaped(word: str) -> str:
    return re.sub(r"([|<>*_$\[\]\\`{}~])", r"\\\1", word)


def table_in(page: str) -> str:
    """The table of a page."""
    found = _TABLE.search(page)
    assert found is not None, "the page has no place for the table"
    return found[0]


def with_table(page: str, table: str) -> str:
    """A page with another table."""
    return _TABLE.sub(lambda _: f"{table}\n", page)
