"""Visits that cannot be made into coadds, or not well: what `dcrflow coadd` makes of them, and what it says."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from astropy.io import fits

import dcrflow
from dcrflow.model.visit import DetectorVisit
from dcrflow.simulate.run import simulate_survey
from dcrflow.simulate.survey import SurveyConfig
from dcrflow.simulate.visits import varied_visits
from dcrflow.stores.visits.tables import write_visits
from hostile.survey import cluster, command
from hostile.table import PAGE, _escaped

_TABLE = re.compile(r"(?<=<!-- visits -->\n\n).*(?=<!-- /visits -->)", re.S)
_BAD = 2  # place in the table of the visit that is spoilt
_SHOWN = re.compile(r"^(Error:|left out|does not fit|failed|tract \d+ patch \d+:)")

Rows = list[DetectorVisit]


@dataclass(frozen=True)
class Spoilt:
    """What is wrong with six visits: changes of the table's rows, of one visit's file, and further options."""

    name: str
    rows: Callable[[Rows], Rows] = lambda rows: rows
    file: Callable[[Any], None] | None = None
    options: tuple[str, ...] = ()
    raw: Callable[[Path], None] | None = None
    survey: str = "usual"


def _one(**changes: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [replace(r, **changes) if i == _BAD else r for i, r in enumerate(rows)]


def _set(name: str, value: float, half: bool = False) -> Callable[[Any], None]:
    def spoil(file: Any) -> None:
        data = file[name].data
        data[: len(data) // 2 if half else None] = value

    return spoil


def _one_pixel(value: float) -> Callable[[Any], None]:
    def spoil(file: Any) -> None:
        file["IMAGE"].data[70, 60] = value

    return spoil


def _psf(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], None]:
    def spoil(file: Any) -> None:
        file["PSF"].data = np.ascontiguousarray(change(file["PSF"].data), np.float32)

    return spoil


def _without_psf(file: Any) -> None:
    del file["PSF"], file["PSF_NODES"]


def _wider(psf: np.ndarray) -> np.ndarray:
    """A PSF of twice the width: what it is at half the distance from the middle."""
    half = psf.shape[-1] // 2
    places = half + np.round((np.arange(psf.shape[-1]) - half) / 2).astype(int)
    wide = psf[:, places][:, :, places]
    return wide * psf.sum() / wide.sum()


def _moved(arcsec: float) -> Callable[[Rows], Rows]:
    def change(rows: Rows) -> Rows:
        header = rows[_BAD].wcs.header
        header["CRVAL2"] += arcsec / 3600
        return _one(wcs=dcrflow.SkyWcs.from_header(header))(rows)

    return change


def _scaled(file: Any) -> None:
    file["IMAGE"].data *= 1.3


def _unit(file: Any) -> None:
    file["IMAGE"].header["BUNIT"] = "parsec"


def _flagged(file: Any) -> None:
    file["MASK"].data |= 1 << file["MASK"].header["MP_BAD"]


def _cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


CASES = (
    Spoilt("nothing is wrong"),
    Spoilt("two visits alone", lambda rows: rows[:2]),
    Spoilt("all are at the zenith", survey="zenith"),
    Spoilt("all have one parallactic angle", survey="one angle"),
    Spoilt("a visit is there twice", lambda rows: [*rows, rows[_BAD]]),
    Spoilt("a visit is of another band", _one(band="r")),
    Spoilt("a visit is of another band, and band=g is chosen", _one(band="r"), options=("--set", "band=g")),
    Spoilt("a visit is of another part of the sky", _moved(40 * 3600.0)),
    Spoilt("a visit's file is gone", raw=Path.unlink),
    Spoilt("a visit's file is cut off", raw=_cut_off),
    Spoilt("the PSF of a visit is missing", file=_without_psf),
    Spoilt("the PSF of a visit is missing, psf_fwhm is there", _one(psf_fwhm=0.8), file=_without_psf),
    Spoilt("the PSF of a visit sums to 1.3", file=_psf(lambda p: p * 1.3 / p.sum())),
    Spoilt("the PSF of a visit is NaN", file=_psf(lambda p: p * np.nan)),
    Spoilt("the PSF of a visit is 3 px off the middle", file=_psf(lambda p: np.roll(p, 3, axis=2))),
    Spoilt("the PSF of a visit has an even size", file=_psf(lambda p: p[:, 1:, 1:])),
    Spoilt("the PSF of a visit is twice as wide as it should be", file=_psf(_wider)),
    Spoilt("the coadds' PSF is narrower than every visit's", options=("--set", "psf_fwhm=0.45")),
    Spoilt("the variance of a visit is 0", file=_set("VARIANCE", 0.0)),
    Spoilt("the variance of half a visit is 0", file=_set("VARIANCE", 0.0, half=True)),
    Spoilt("the variance of a visit is NaN", file=_set("VARIANCE", np.nan)),
    Spoilt("one pixel of a visit is 10^30", file=_one_pixel(1e30)),
    Spoilt("the pixels of half a visit are 10^38", file=_set("IMAGE", 1e38, half=True)),
    Spoilt("the pixels of a visit are NaN", file=_set("IMAGE", np.nan)),
    Spoilt("the pixels of half a visit are NaN", file=_set("IMAGE", np.nan, half=True)),
    Spoilt("all pixels of a visit are BAD", file=_flagged),
    Spoilt("the unit of a visit is parsec", file=_unit),
    Spoilt("the zero point of a visit is off by 30 %", file=_scaled),
    Spoilt("the WCS of a visit is off by an arcsec", _moved(1.0)),
)


#: How the visits of each survey differ from `varied_visits`' own.
_SURVEYS: dict[str, dict[str, Any]] = {
    "usual": {}, "zenith": {"zenith_angles": (0.1, 0.3)}, "one angle": {"parallactic_angle": 30.0},
}  # fmt: skip


def rows(directory: Path, names: Sequence[str] = ()) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Each case's row, and what harm was done."""
    surveys = {
        name: simulate_survey(_config(changes), directory / f"master-{name}", workers=1, coadds=False)
        for name, changes in _SURVEYS.items()
        if not names or any(c.survey == name for c in CASES if c.name in names)
    }
    with cluster() as scheduler:
        for case in CASES:
            if names and case.name not in names:
                continue
            place = directory / "survey"
            shutil.rmtree(place, ignore_errors=True)
            survey = surveys[case.survey]
            shutil.copytree(survey.directory, place)
            science = [replace(v, image=str(place / "science" / Path(v.image).name)) for v in survey.visits]
            path = Path(science[_BAD].image)
            if case.file is not None:
                with fits.open(path, mode="update") as file:
                    case.file(file)
            if case.raw is not None:
                case.raw(path)
            write_visits(case.rows(science), place / "visits.ecsv")
            yield _row(case, place, scheduler)


def _config(changes: dict[str, Any]) -> SurveyConfig:
    return SurveyConfig.demo(
        seed=12, num_tracts=1, num_patches=(1, 1), patch_inner=96, detector_width=140, detector_height=130,
        detectors=(1, 1), sip=0.0, star_density=40, star_separation=5.0, star_magnitudes=(18.0, 20.0), galaxy_density=0,
        science_noise=5.0, science_defects=0, visits=varied_visits(6, 5, seeing=(0.7, 0.9), dither=1.0, **changes),
    )  # fmt: skip


def _row(case: Spoilt, place: Path, scheduler: str) -> tuple[tuple[str, ...], list[str]]:
    before = {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}
    out = place / "coadds.zarr"
    settings = ("psf_fwhm=0.8", f"transmission={place}/transmission.ecsv", "cell=128", "margin=16", "halo=32",
                "taper=16")  # fmt: skip
    words = [word for setting in settings for word in ("--set", setting)]
    code, said = command(
        "coadd", str(place / "visits.ecsv"), str(out), "--cluster", scheduler, "--no-keep-sums", *words, *case.options
    )
    harm = ["Traceback"] if "Traceback" in said else []
    harm += [f"exit {code}"] if code not in (0, 1, 2, 4) else []
    harm += [f"{p.name} was changed" for p, content in before.items() if not p.exists() or p.read_bytes() != content]
    used, covered = "–", "–"
    if (out / "0" / "0" / "g").is_dir():
        group = zarr.open_group(out, mode="r")["0/0/g"]
        used = f"{len(group.attrs['visits'])}"
        image = group["image"][...]
        covered = f"{100 * np.isfinite(image).all(axis=0).mean():.0f} %"
    lines = [line for line in said.splitlines() if _SHOWN.match(line)]
    message = re.sub(r"\d+\.\d+", "N", (lines or [""])[0].replace(str(place), "SURVEY"))
    misfits = ", ".join(re.findall(r"^does not fit visit (\d+)", said, flags=re.M)) or "–"
    return (
        case.name,
        str(code),
        used,
        covered,
        misfits,
        re.sub(r"\(\d+ of \d+ pixels", "(N of N pixels", message),
    ), harm


def markdown(found: Sequence[tuple[str, ...]]) -> str:
    """The table as it is in the documentation."""
    head = [
        "| case | exit | visits used | coverage | do not fit | first of what is said |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *(f"| {' | '.join(map(_escaped, row))} |" for row in found), ""])


def documented() -> str:
    """The table of the page."""
    found = _TABLE.search(PAGE.read_text())
    assert found is not None, "the page has no place for the table"
    return found[0]


def write(table: str) -> None:
    """Put a table into the page."""
    PAGE.write_text(_TABLE.sub(lambda _: f"{table}\n", PAGE.read_text()))
