"""What the report of DCR coadds shows: metadata alone, from the store's attributes and the journals of its runs.

The store may be anybody's: what it says is checked, and nothing is opened because it names it.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dcrflow.base.addresses import redacted_values
from dcrflow.base.attributes import Checked
from dcrflow.base.errors import DcrflowError
from dcrflow.base.texts import one_line
from dcrflow.campaign.coadd_status import BuildStatus, build_status
from dcrflow.geometry.skymap import Tract, sketched
from dcrflow.planning.coadds import LeftOut
from dcrflow.stores.coadds.builds import CoaddBuild
from dcrflow.view.thumbnails import CELLS, checked_thumbnail

Update = Callable[[int, int, str], None]
Corners = tuple[tuple[float, float], ...]

_LONGEST = 20_000  # letters of a configuration


@dataclass(frozen=True)
class PatchFacts:
    """One patch of one band.

    Parameters
    ----------
    tract, patch : int
        The data ID.
    band : str
        As the coadds name it.
    status : str
        complete, failed or missing.
    corners : tuple of (float, float)
        Outline of the patch, RA and Dec, degrees; empty if its tract is not in the store.
    visits, detector_visits : int
        Numbers of those that went in.
    least, median, most : int or None
        Visits per pixel with data, over the patch; None if the store does not say.
    coverage : float or None
        Share of the pixels that have data.
    noise : float or None
        Median of the noise of the sum of the subfilters, nJy.
    residual : float or None
        What was left of the equations when the solver stopped, noise units.
    image : str or None
        Thumbnail, a data URL.
    error : str
        Why it failed.
    """

    tract: int
    patch: int
    band: str
    status: str
    corners: Corners = ()
    visits: int = 0
    detector_visits: int = 0
    least: int | None = None
    median: int | None = None
    most: int | None = None
    coverage: float | None = None
    noise: float | None = None
    residual: float | None = None
    image: str | None = None
    error: str = ""


@dataclass(frozen=True)
class CoaddFacts:
    """What the report shows.

    Parameters
    ----------
    url : str
        The store.
    patches : tuple of PatchFacts
        By band, tract and patch.
    tracts : tuple of (int, corners)
        Outlines of the tracts.
    left_out, suspects : tuple of LeftOut
        Detector-visits that were not used, and those that were used but do not fit.
    provenance : tuple of (str, tuple of (str, int))
        How the patches were made: a name, and each value with the number of patches that have it.
    runs : tuple of (str, str, str)
        When each run began and last wrote (UTC), and how it ended.
    notes : tuple of str
        What is not as it should be.
    """

    url: str
    patches: tuple[PatchFacts, ...]
    tracts: tuple[tuple[int, Corners], ...]
    left_out: tuple[LeftOut, ...]
    suspects: tuple[LeftOut, ...]
    provenance: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    runs: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]

    def bands(self) -> list[str]:
        """Bands that the store has or was asked for."""
        return sorted({p.band for p in self.patches})


def coadd_facts(out: Any, progress: Update | None = None) -> CoaddFacts:
    """Collect what the report shows of a DCR-coadd store.

    Parameters
    ----------
    out : path, URL or zarr store
        The store.
    progress : callable, optional
        Called with (done, total, label).

    Raises
    ------
    CoaddStoreError
        If there is no such store.
    """
    build, status = CoaddBuild.open(out), build_status(out)
    tracts, notes = _tracts(build)
    tell = progress or (lambda *_: None)
    patches: list[PatchFacts] = []
    made: Counter[tuple[str, str]] = Counter()
    for tract, patch, band, about in build.patches():
        tell(len(patches), len(status.complete), "")
        checked = Checked(about)
        patches.append(_patch(tract, patch, band, checked, tracts))
        made.update(_provenance(checked))
        notes += [f"tract {tract} patch {patch} band {band}: {line}" for line in checked.problems]
    tell(len(status.complete), len(status.complete), "")
    patches += _not_complete(status, tracts)
    names = dict.fromkeys(name for name, _ in made)
    return CoaddFacts(
        status.url,
        tuple(sorted(patches, key=lambda p: (p.band, p.tract, p.patch))),
        tuple((n, _outline(t)) for n, t in sorted(tracts.items())),
        status.left_out,
        status.suspects,
        tuple((n, tuple((v, k) for (name, v), k in made.most_common() if name == n)) for n in names),
        tuple(_runs(build)),
        tuple(one_line(n) for n in notes),
    )


def _tracts(build: CoaddBuild) -> tuple[dict[int, Tract], list[str]]:
    try:
        return build.tracts(), []
    except DcrflowError as error:
        return {}, [f"no outlines of tracts and patches: {error}"]


def _outline(tract: Tract) -> Corners:
    shape = sketched("tract", tract.wcs, tract.bbox)
    return tuple(zip(shape.ra, shape.dec, strict=True))


def _corners(tracts: Mapping[int, Tract], tract: int, patch: int) -> Corners:
    """The inner part of a patch, so that neighbours do not hide each other."""
    if tract not in tracts or not 0 <= patch < tracts[tract].num_patches[0] * tracts[tract].num_patches[1]:
        return ()
    shape = sketched("patch", tracts[tract].wcs, tracts[tract].inner(patch))
    return tuple(zip(shape.ra, shape.dec, strict=True))


def _patch(tract: int, patch: int, band: str, about: Checked, tracts: Mapping[int, Tract]) -> PatchFacts:
    found: Any = about.attributes.get("visits")
    rows = [r for r in found if isinstance(r, list) and len(r) >= 2] if isinstance(found, list) else []
    seen = Checked(about.object("preview"), about.problems)
    counts = sorted(
        round(n)
        for line in seen.numbers("count", CELLS, CELLS, gaps=True) or ()
        for n in line
        if n is not None and n > 0
    )
    cells = seen.numbers("noise", CELLS, CELLS, gaps=True) or ()
    noise = [n for line in cells for n in line if n is not None]
    covered = seen.numbers("coverage", CELLS, CELLS) or ()
    coverage = [n for line in covered for n in line]
    return PatchFacts(
        tract, patch, band, "complete", _corners(tracts, tract, patch),
        visits=len({str(r[0]) for r in rows}),
        detector_visits=len(rows),
        least=counts[0] if counts else None,
        median=counts[len(counts) // 2] if counts else None,
        most=counts[-1] if counts else None,
        coverage=statistics.fmean(coverage) / 100.0 if coverage else None,
        noise=statistics.median(noise) if noise else None,
        residual=about.number("residual"),
        image=checked_thumbnail(seen.attributes.get("image")),
    )  # fmt: skip


def _not_complete(status: BuildStatus, tracts: Mapping[int, Tract]) -> list[PatchFacts]:
    failed = [
        PatchFacts(t, p, b, "failed", _corners(tracts, t, p), error=one_line(message))
        for t, p, b, message in status.failed
    ]
    return failed + [PatchFacts(t, p, b, "missing", _corners(tracts, t, p)) for t, p, b in status.missing]


_WAVELENGTHS = ("effective_wavelength", "bandwidth")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _clock(time: object) -> str:
    """A journal's time for people: to the second."""
    return one_line(str(time)[:19].replace("T", " "))


def _provenance(about: Checked) -> list[tuple[str, str]]:
    """(name, value) of what a patch was made with."""
    values: dict[str, Any] = {
        "effective wavelength and bandwidth (nm)": [_rounded(about.number(n)) for n in _WAVELENGTHS],
        "physical filter": about.text("physical_filter"),
        "transmission": "a curve" if about.object("transmission") else "a top-hat",
        "refraction": about.text("refraction"),
        "PSF": about.object("psf_model"),
        "precision (steps a sigma)": Checked(about.object("precision"), about.problems).number("steps_per_sigma"),
        "configuration": about.object("config"),
        "software": about.object("software"),
    }
    found = []
    for name, value in values.items():
        if value:
            text = value if isinstance(value, str) else json.dumps(redacted_values(value), sort_keys=True, default=str)
            if len(text) <= _LONGEST:
                found.append((name, text))
    return found


def _runs(build: CoaddBuild) -> list[tuple[str, str, str]]:
    """When each run began and wrote its last line, and how it ended."""
    began: dict[str, str] = {}
    last: dict[str, tuple[str, str]] = {}
    for entry in build.journalled():
        run, time = str(entry["run"]), _clock(entry.get("time", ""))
        began.setdefault(run, time)
        event = str(entry.get("event", ""))
        words = f"{event}: {entry.get('complete')} made, {entry.get('failed')} failed" if "complete" in entry else ""
        last[run] = time, one_line(words) if event in ("finished", "stopped") else "no end recorded"
    return [(began[run], *last[run]) for run in sorted(began)]
