"""DCR coadds of a store into a Butler: one `dcrCoadd` for each patch, band and subfilter, as the task reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcrflow.base.errors import CoaddStoreError
from dcrflow.geometry import sphere
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst import repository
from dcrflow.lsst.butler import writeable_butler
from dcrflow.lsst.subfilters import register_subfilters
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds

_SAME_PLACE = 1.0  # arcsec, between corners of a patch here and in the Butler's registry

_DIMENSIONS = ("skymap", "tract", "patch", "band", "subfilter")


@dataclass(frozen=True)
class PutResult:
    """What was put into a Butler.

    Parameters
    ----------
    new, before : int
        Patches that were put, and those whose coadds were in the collection already; the latter are left as they are.
    """

    new: int
    before: int


def put_coadds(
    coadds: DcrCoadds | Any, repo: str, run: str, *, skymap: str | None = None, dataset: str = repository.COADDS,
    progress: Callable[[int, int], None] | None = None,
) -> PutResult:  # fmt: skip
    """Put DCR coadds into a Butler repository; again, it puts what is missing.

    Parameters
    ----------
    coadds : DcrCoadds, or anything that `open_coadds` takes
        The coadds, with tracts and patches of the Butler's sky map.
    repo : str
        The repository.
    run : str
        RUN collection; made if it is not there.
    skymap : str, optional
        Name of the sky map in the repository; that of the store if not given.
    dataset : str
        Name of the dataset type.
    progress : callable, optional
        Called with (done, total) patches.

    Raises
    ------
    CoaddStoreError
        If there are no coadds, if the repository does not know the sky map or has its patches elsewhere on the sky, or
        if dcrflow's storage classes are not known to it.
    """
    coadds = open_coadds(coadds)
    most = repository.most_subfilters(coadds)
    butler = writeable_butler(repo)
    name = _skymap(butler, repo, skymap or coadds.skymap)
    patches = list(repository.patches_of(coadds))
    _check_places(butler, repo, name, coadds, {p for p, _ in patches})
    register_subfilters(butler, most, coadds.bands)
    _register_dataset(butler, repo, dataset)
    butler.collections.register(run)
    there = _there(butler, dataset, run, name)
    new = [(p, b) for p, b in patches if (p.tract, p.patch, b) not in there]
    tell = progress or (lambda *_: None)
    for done, (patch, band) in enumerate(new, 1):
        with butler.transaction():
            repository.put_patch(butler, coadds, name, patch, band, run, dataset)
        tell(done, len(new))
    return PutResult(len(new), len(patches) - len(new))


def _skymap(butler: Any, repo: str, name: str) -> str:
    known = sorted(str(r.name) for r in butler.query_dimension_records("skymap", explain=False))
    if name not in known:
        raise CoaddStoreError(
            f"the repository {repo} has no sky map {name!r}; it has {', '.join(known) or 'none'}: name one of them "
            "(--skymap), and build the coadds on its tracts and patches (dcrflow coadd --skymap FILE)"
        )
    return name


def _check_places(butler: Any, repo: str, skymap: str, coadds: DcrCoadds, patches: set[Patch]) -> None:
    """Raise if patches are not where the repository has those of the same number."""
    records = {
        (int(r.tract), int(r.id)): r.region
        for tract in {p.tract for p in patches}
        for r in butler.query_dimension_records(
            "patch", where="skymap = :s AND tract = :t", bind={"s": skymap, "t": tract}, limit=None, explain=False
        )
    }
    for patch in sorted(patches, key=lambda p: (p.tract, p.patch)):
        region = records.get((patch.tract, patch.patch))
        where = f"tract {patch.tract} patch {patch.patch}"
        if region is None:
            raise CoaddStoreError(f"{repo}: the sky map {skymap!r} has no {where}; build coadds on its own tracts")
        off = _distance(region, coadds.tracts[patch.tract].wcs, patch.bbox)
        if not off <= _SAME_PLACE:
            raise CoaddStoreError(
                f"{where} of {coadds.url} is {off:.3g} arcsec from where the sky map {skymap!r} of {repo} has it; "
                "build the coadds on that sky map (dcrflow coadd --skymap FILE)"
            )


def _distance(region: Any, wcs: SkyWcs, bbox: Box) -> float:
    """Largest distance of a corner of a patch from the nearest corner of its region, arcsec."""
    corners = np.array([[v.x(), v.y(), v.z()] for v in region.getVertices()])
    ra = np.rad2deg(np.arctan2(corners[:, 1], corners[:, 0]))
    dec = np.rad2deg(np.arcsin(np.clip(corners[:, 2], -1.0, 1.0)))
    away = [np.min(sphere.separation(ra, dec, a, d)) for a, d in zip(*wcs.pixel_to_sky(*bbox.outline(1)), strict=True)]
    return 3600.0 * float(max(away))


def _register_dataset(butler: Any, repo: str, dataset: str) -> None:
    from lsst.daf.butler import DatasetType

    try:
        kind = DatasetType(dataset, _DIMENSIONS, "DcrCoadd", universe=butler.dimensions)
        butler.registry.registerDatasetType(kind)
    except Exception as error:  # of many kinds: an unknown storage class, another dataset type of this name
        words = " ".join(str(error).split())
        raise CoaddStoreError(
            f"{repo} cannot hold {dataset} as dcrflow writes it ({words}); run `dcrflow lsst prepare -b {repo}` once, "
            "or choose another dataset type (--dataset)"
        ) from error


def _there(butler: Any, dataset: str, run: str, skymap: str) -> set[tuple[int, int, str]]:
    """Patches whose coadds are in a collection."""
    refs = butler.query_datasets(
        dataset, collections=run, where="skymap = :s", bind={"s": skymap}, limit=None, explain=False
    )
    return {(int(r.dataId["tract"]), int(r.dataId["patch"]), str(r.dataId["band"])) for r in refs}
