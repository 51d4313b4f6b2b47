"""Report the status of a build of DCR coadds, and verify its patches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dcrflow.base.addresses import redacted, redacted_text
from dcrflow.base.errors import DcrflowError
from dcrflow.base.masks import TEMPLATE_PLANES, merged_planes
from dcrflow.base.texts import one_line
from dcrflow.campaign.alive import RunState, runs_of
from dcrflow.planning.coadds import LeftOut
from dcrflow.stores.coadds.builds import CoaddBuild
from dcrflow.stores.coadds.store import open_coadds
from dcrflow.stores.zarr.checksums import IN_WORDS

Place = tuple[int, int, str]


@dataclass(frozen=True)
class BuildStatus:
    """Status of a build.

    Parameters
    ----------
    url : str
        The DCR-coadd store.
    complete : tuple of (tract, patch, band)
        Patches that exist.
    failed : tuple of (tract, patch, band, message)
        Patches that failed and do not exist.
    missing : tuple of (tract, patch, band)
        Patches that were requested in some run and that neither exist nor failed.
    left_out, suspects : tuple of LeftOut
        Detector-visits that were left out of a patch, and those that were used but do not fit; each listed once.
    runs : tuple of RunState
        The runs that are alive, or else the last one; empty if nothing is known of any.
    """

    url: str
    complete: tuple[Place, ...]
    failed: tuple[tuple[int, int, str, str], ...]
    missing: tuple[Place, ...]
    left_out: tuple[LeftOut, ...]
    suspects: tuple[LeftOut, ...]
    runs: tuple[RunState, ...] = ()

    @property
    def exit_code(self) -> int:
        """0: all complete; 1: some failed; 3: some missing; 4: all complete, faulty detector-visits left out."""
        if self.failed:
            return 1
        return 3 if self.missing else 4 if any(v.fault for v in self.left_out) else 0

    def as_json(self) -> dict[str, Any]:
        """The status as values that JSON can hold."""
        counts = {"complete": len(self.complete), "failed": len(self.failed), "missing": len(self.missing)}
        return {
            "kind": "coadds",
            "store": redacted(self.url),
            "url": redacted(self.url),
            "total": sum(counts.values()),
            "counts": counts,
            "complete": [list(p) for p in self.complete],
            "failed": [list(p) for p in self.failed],
            "failures": [
                {"tract": t, "patch": p, "band": b, "message": redacted_text(one_line(message))}
                for t, p, b, message in self.failed
            ],
            "missing": [list(p) for p in self.missing],
            "left_out": [v.as_list() for v in self.left_out],
            "suspects": [v.as_list() for v in self.suspects],
            "runs": [run.as_json() for run in self.runs],
            "exit_status": self.exit_code,
        }


def build_status(out: Any) -> BuildStatus:
    """Read the status of a build from its DCR-coadd store and the journals of its runs.

    Raises
    ------
    CoaddStoreError
        If `out` is not a DCR-coadd store.
    """
    build = CoaddBuild.open(out)
    complete: list[Place] = []
    left_out: dict[tuple[int, int], LeftOut] = {}
    suspects: dict[tuple[int, int], LeftOut] = {}
    for tract, patch, band, about in build.patches():
        complete.append((tract, patch, band))
        for name, kept in (("left_out", left_out), ("suspects", suspects)):
            for left in _left_out(about.get(name)):
                kept.setdefault((left.visit, left.detector), left)
    requested: set[Place] = set()
    failed: dict[Place, str] = {}
    for entry in build.journalled():
        if entry.get("event") == "requested":
            requested |= _patches(entry)
            for left in _left_out(entry.get("left_out")):
                left_out.setdefault((left.visit, left.detector), left)
        elif entry.get("event") == "ended":
            place = _place(entry)
            if place is not None and entry.get("status") == "failed":
                error = entry.get("error")
                failed[place] = str(error.get("message", "")) if isinstance(error, Mapping) else ""
    gone = [p for p in failed if p not in complete]
    return BuildStatus(
        build.url,
        tuple(sorted(complete)),
        tuple((*p, failed[p]) for p in sorted(gone)),
        tuple(sorted(requested - set(complete) - set(gone))),
        tuple(left_out[k] for k in sorted(left_out)),
        tuple(suspects[k] for k in sorted(suspects)),
        tuple(runs_of(build.progress())),
    )


def _left_out(values: Any) -> Iterator[LeftOut]:
    """The entries in an attribute or a line of the journal; damaged entries are skipped."""
    for value in values if isinstance(values, Sequence) and not isinstance(values, str) else ():
        if isinstance(value, Sequence) and len(value) >= 3 and isinstance(value[0], int) and isinstance(value[1], int):
            yield LeftOut(value[0], value[1], str(value[2]), value[3] is not False if len(value) > 3 else True)


def _patches(entry: Mapping[str, Any]) -> set[Place]:
    found = entry.get("patches")
    pairs = found if isinstance(found, list) else []
    return {
        (int(p[0]), int(p[1]), str(entry.get("band", "")))
        for p in pairs
        if isinstance(p, list) and len(p) == 2 and all(isinstance(n, int) for n in p)
    }


def _place(entry: Mapping[str, Any]) -> Place | None:
    try:
        return int(entry["tract"]), int(entry["patch"]), str(entry["band"])
    except (LookupError, TypeError, ValueError):
        return None


def verify_coadds(out: Any) -> Iterator[tuple[Place, tuple[str, ...]]]:
    """Read every patch of a DCR-coadd store; yields each patch with the problems found."""
    coadds = open_coadds(out)
    for number, tract in sorted(coadds.tracts.items()):
        for band in coadds.bands:
            for patch in coadds.patches(number, band):
                place = number, patch.patch, band
                try:
                    info = coadds.info(*place)
                    planes = merged_planes([info.planes, TEMPLATE_PLANES])
                    problems = tuple(sorted(coadds.read(*place, tract.patch(patch.patch).bbox, planes).damage))
                    if info.psf_shape is not None and coadds.read_psf(*place) is None:
                        problems = (*problems, "no kernel of its PSF can be used")
                    for what in coadds.changed_metadata(*place):
                        problems = (
                            *problems,
                            f"{IN_WORDS[what]} has changed since it was written (its checksum differs)",
                        )
                    yield place, problems
                except DcrflowError as error:
                    yield place, (str(error),)
