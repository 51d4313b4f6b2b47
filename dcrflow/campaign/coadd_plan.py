"""Prepare a build of DCR coadds: read and check its inputs, plan it, and find what is already complete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from dcrflow.base.errors import CoaddStoreError, ConfigError, VisitTableError, brief
from dcrflow.geometry.layout import ListedSkyMap, SkyMap
from dcrflow.model.coadd_config import CoaddConfig
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.dcr import formula
from dcrflow.planning.auto_skymap import auto_skymap
from dcrflow.planning.coadds import (
    CoaddBand,
    CoaddPlan,
    LeftOut,
    PatchPlan,
    choose_band,
    config_digest,
    metadata_digest,
    plan_coadds,
)
from dcrflow.steps.coadd import ROTATION
from dcrflow.stores.coadds.builds import CoaddBuild, Made, Row
from dcrflow.stores.skymaps.config import AutoConfig
from dcrflow.stores.skymaps.read import read_skymap, read_skymap_config
from dcrflow.stores.visits.seeing import best_seeing, median_seeing, size_and_time
from dcrflow.stores.visits.select import select_some
from dcrflow.stores.visits.tables import BadVisit, read_visit_rows

_NO_IMAGE = "the table names no image; add a column `image` with the path or URL of its pixels"
_NARROWEST = 0.9  # of the best seeing; a PSF of the coadds below that is said


@dataclass(frozen=True)
class Prepared:
    """A build's inputs and plan.

    Parameters
    ----------
    plan : CoaddPlan
        The plan of all patches.
    out : str or zarr store
        Where to write.
    add, overwrite : bool
        Whether to add visits to existing coadds, or to make existing coadds again.
    """

    plan: CoaddPlan
    out: Any
    add: bool
    overwrite: bool

    @cached_property
    def build(self) -> CoaddBuild | None:
        """The store; None if it does not exist."""
        return CoaddBuild.find(self.out)

    @cached_property
    def begun(self) -> CoaddBuild:
        """The store, created or opened when it is first asked for; it records how the band is made.

        Raises
        ------
        CoaddStoreError
            If existing coadds were made with another refraction, PSF, configuration or other visits.
        """
        self.check()
        build = self.build or CoaddBuild.create_or_open(self.out, self.plan.skymap.name)
        band = self.plan.band.name
        build.set_band(
            band,
            {"psf_fwhm": self.plan.psf_fwhm, "refraction": formula(ROTATION), "config": self.plan.config.as_json()},
        )
        self.__dict__["build"] = build
        return build

    def check(self) -> None:
        """Raise `CoaddStoreError` if existing coadds are not compatible with this plan."""
        if self.build is None:
            if self.add:
                raise CoaddStoreError(f"{self.out} does not exist: there is nothing to add visits to; leave out --add")
            return
        band = self.plan.band.name
        there = self.build.bands().get(band)
        if there is None:
            if self.add:
                raise CoaddStoreError(
                    f"{self.build.url} has no coadds of band {band} that dcrflow built from visits; leave out --add"
                )
            return
        if there.get("refraction") != formula(ROTATION) and not self.overwrite:
            raise CoaddStoreError(
                f"{self.build.url}: band {band} was built with the refraction {there.get('refraction')!r}, this "
                f"dcrflow has {formula(ROTATION)!r}; the two must not be mixed: build it anew (--overwrite)"
            )
        if self.overwrite:
            return
        for plan in self.plan.patches:
            self.work(plan)

    def known(self, plan: PatchPlan) -> Made | None:
        """The inputs that a patch was made from, according to its coadds or, if there are none, its sums."""
        if self.build is None:
            return None
        place = plan.tract.tract, plan.patch.patch, self.plan.band.name
        return self.build.made(*place) or (self.build.known_by_sums(*place) if self.add else None)

    def work(self, plan: PatchPlan) -> tuple[PatchPlan, Made | None, str] | None:
        """The work that remains for a patch; None if it is complete.

        Returns
        -------
        plan : PatchPlan
            The plan, with the visits that must be read.
        before : Made or None
            What the existing patch was made from, if visits are added to it.
        kept : str
            Folder of the sums to which visits are added; empty if there are none.

        Raises
        ------
        CoaddStoreError
            If the patch exists and was made in another way.
        """
        made = None if self.overwrite else self.known(plan)
        if made is None:
            return plan, None, ""
        where = f"{self.build.url if self.build else ''}, {plan.label} band {self.plan.band.name}"
        if made.config_hash != config_digest(self.plan, plan.tract):
            raise CoaddStoreError(
                f"{where} was made with another configuration, PSF or sky map; give the same, write to another place, "
                "or make it again (--overwrite)"
            )
        known = {(v, d): digest for v, d, digest in made.rows}
        used = {(v, d) for v, d, _ in made.visits}
        rows = {(v, d): digest for v, d, digest in self.rows(plan)}
        changed = [k for k, digest in rows.items() if k in used and known.get(k) != digest]
        new = {k for k, digest in rows.items() if k not in used and known.get(k) != digest}
        complete = self.build is not None and self.build.made(plan.tract.tract, plan.patch.patch, self.plan.band.name)
        if not changed and not new and complete and (self.add or set(known) <= set(rows)):
            return None
        if changed or not self.add:
            what = f"{len(changed)} of its visits changed since" if changed else "it was made of other visits"
            raise CoaddStoreError(
                f"{where}: {what}; add new visits to it (--add), or make it again of those given (--overwrite)"
            )
        folder = self.build.sums_folder(*_place(plan, self.plan)) if self.build else None
        if not made.sums or folder is None or not (folder / made.sums).is_dir():
            raise CoaddStoreError(
                f"{where}: the sums over its visits were not kept, so nothing can be added to it; make it again of all "
                "visits (--overwrite)"
            )
        members = tuple(v for v in plan.visits if (v.visit, v.detector) in new)
        return replace(plan, visits=members), made, str(folder / made.sums)

    def rows(self, plan: PatchPlan) -> tuple[Row, ...]:
        """For each visit of a patch: visit, detector, and a hash of its row and file."""
        return tuple((v.visit, v.detector, self._digest(v)) for v in plan.visits)

    def _digest(self, visit: DetectorVisit) -> str:
        digests: dict[tuple[int, int], str] = self.__dict__.setdefault("_digests", {})
        key = visit.visit, visit.detector
        if key not in digests:
            digests[key] = metadata_digest(visit, *size_and_time(visit))
        return digests[key]

    @staticmethod
    def token(config_hash: str, rows: Iterable[Row]) -> str:
        """A name for the inputs of a patch; equal inputs have equal names."""
        return blake2b(f"{config_hash}:{sorted(rows)}".encode(), digest_size=8).hexdigest()


def _place(plan: PatchPlan, coadds: CoaddPlan) -> tuple[int, int, str]:
    return plan.tract.tract, plan.patch.patch, coadds.band.name


def prepare(
    visits: Any, out: Any, skymap: Any, config: CoaddConfig, *, add: bool = False, overwrite: bool = False,
    where: str | None = None,
) -> Prepared:  # fmt: skip
    """Read and check the inputs of a build, and plan it; reads tables and PSFs but no pixels.

    Parameters and errors as `dcrflow.build_coadds`.
    """
    if add and overwrite:
        raise ConfigError("give either --add or --overwrite")
    if isinstance(visits, Path):
        visits = str(visits)
    rows = select_some(read_visit_rows(visits), where)
    left_out = [LeftOut(r.visit, r.detector, str(r.error)) for r in rows if isinstance(r, BadVisit)]
    good = _unique([r for r in rows if isinstance(r, DetectorVisit)])
    if not rows:
        raise VisitTableError("the table has no detector-visits, or --where leaves none")
    if not good:
        raise VisitTableError(f"none of {len(rows)} detector-visits can be used; the first: {left_out[0].reason}")
    name, mine, others = choose_band(good, config.band)
    left_out += others
    without = [LeftOut(v.visit, v.detector, _NO_IMAGE) for v in mine if not v.image]
    left_out += without
    mine = [v for v in mine if v.image]
    if not mine:
        raise VisitTableError(f"none of {len(without)} detector-visits can be used: {_NO_IMAGE}")
    band = CoaddBand.of(name, config)
    there = CoaddBuild.find(out)
    known = there.bands().get(name, {}) if there is not None and not overwrite else {}
    width = config.psf_fwhm or _width_of(known, there) or median_seeing(mine)
    tracts = _skymap(skymap, mine, there)
    plan = plan_coadds(mine, tracts, band, config, float(width), left_out)
    note = _too_narrow(float(width), mine) if config.psf_fwhm else ""
    if note:
        plan = replace(plan, patches=tuple(replace(p, notes=(*p.notes, note)) for p in plan.patches))
    return Prepared(plan, out, add, overwrite)


def _width_of(known: Mapping[str, Any], there: CoaddBuild | None) -> float | None:
    """Width of the PSF of coadds that are there, arcsec; None if they do not say."""
    found = known.get("psf_fwhm")
    if found is not None and not (isinstance(found, int | float) and 0 < found <= 60):
        raise CoaddStoreError(
            f"{there.url if there else ''}: it says that its coadds' PSF has psf_fwhm {brief(found)}, expected arcsec; "
            "give psf_fwhm, or build the coadds again (--overwrite)"
        )
    return found


def _too_narrow(width: float, visits: Sequence[DetectorVisit]) -> str:
    """What to say of a PSF of the coadds that is narrower than what any visit resolves; empty if it is not."""
    best = best_seeing(visits)
    if best is None or width >= _NARROWEST * best:
        return ""
    return (
        f"psf_fwhm = {width:g} arcsec is narrower than the PSF of every visit (the best has {best:.2f}): no visit "
        "measures such small scales, so noise is amplified and stars ring; give a psf_fwhm near the median seeing, or "
        "none"
    )


def _unique(visits: Sequence[DetectorVisit]) -> list[DetectorVisit]:
    seen: set[tuple[int, int]] = set()
    for visit in visits:
        key = visit.visit, visit.detector
        if key in seen:
            raise VisitTableError(f"{visit.label} is there twice; keep one of them")
        seen.add(key)
    return list(visits)


def _skymap(source: Any, visits: Sequence[DetectorVisit], there: CoaddBuild | None) -> SkyMap:
    """The sky map: from an existing store, around the visits, or from a file."""
    if isinstance(source, str) and source == "auto":
        source = {"kind": "auto"}
        tracts = there.tracts() if there is not None else {}
        if tracts:
            return ListedSkyMap(tuple(tracts.values()), "auto")
    if isinstance(source, ListedSkyMap) or (not isinstance(source, dict) and not _is_file(source)):
        return read_skymap(source)
    config = read_skymap_config(source)
    if isinstance(config, AutoConfig):
        return auto_skymap(
            visits, pixel_scale=config.pixel_scale, patch_inner=config.patch_inner, patch_border=config.patch_border
        )
    return read_skymap(source)


def _is_file(source: Any) -> bool:
    return isinstance(source, str | Path) and "://" not in str(source) and Path(source).is_file()
