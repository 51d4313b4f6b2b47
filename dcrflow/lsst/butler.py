"""Coadds and detector-visits in a Butler repository, read lazily, by region, from any process and thread.

A place in a repository is written ``butler:REPO?collections=A,B``. Optional keys are ``dataset=`` (default ``dcrCoadd``
or ``calexp``), ``skymap=`` and ``where=`` (a Butler query expression).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from dcrflow.base.addresses import redacted
from dcrflow.base.errors import CoaddStoreError, DcrflowError, VisitTableError
from dcrflow.geometry.box import Box
from dcrflow.lsst import storage
from dcrflow.lsst.convert import box_of, observation_row, wcs_of
from dcrflow.lsst.handles import HandleCoadds, SubfilterCoadd, Subfilters
from dcrflow.lsst.subfilters import subfilters_of_coadd
from dcrflow.lsst.summaries import SUMMARIES, read_summaries
from dcrflow.model.visit import DetectorVisit
from dcrflow.stores.visits.rows import detector_visit
from dcrflow.stores.visits.tables import BadVisit

SCHEME = "butler:"

_THREAD = threading.local()


def is_butler(source: object) -> bool:
    """Whether a source of coadds or detector-visits names a place in a Butler repository."""
    return isinstance(source, str) and source.startswith(SCHEME)


@dataclass(frozen=True)
class Place:
    """Datasets of one type in a Butler repository.

    Parameters
    ----------
    repo : str
        The repository: a directory, a URL or an alias.
    collections : tuple of str
        Collections to search, in this order.
    dataset : str
        Name of the dataset type.
    where : str
        A Butler query expression; may be empty.
    skymap : str
        Name of the skymap; may be empty if there is only one.
    """

    repo: str
    collections: tuple[str, ...]
    dataset: str
    where: str = ""
    skymap: str = ""

    @classmethod
    def parse(cls, text: str, dataset: str, error: type[DcrflowError]) -> Place:
        """Read ``butler:REPO?collections=A,B&...``.

        Raises
        ------
        DcrflowError
            If no collections are named or a key is unknown; of the class `error`.
        """
        repo, _, query = text.removeprefix(SCHEME).partition("?")
        values = dict(parse_qsl(query))
        unknown = sorted(set(values) - {"collections", "dataset", "where", "skymap"})
        collections = tuple(c for c in values.get("collections", "").split(",") if c)
        if unknown or not collections or not repo:
            what = f"unknown key {unknown[0]!r}" if unknown else "no repository" if not repo else "no collections"
            raise error(
                f"{text!r}: {what}; write {SCHEME}REPO?collections=A,B and, if need be, dataset=, where=, skymap="
            )
        return cls(repo, collections, values.get("dataset", dataset), values.get("where", ""), values.get("skymap", ""))

    @property
    def url(self) -> str:
        """The place as a string, for messages and provenance."""
        return redacted(f"{SCHEME}{self.repo}?collections={','.join(self.collections)}&dataset={self.dataset}")

    def image_of(self, ref: Any) -> str:
        """What names the pixels of a detector-visit's dataset; `dcrflow.lsst.visit_images` reads them."""
        return f"{SCHEME}{self.repo}?collections={','.join(self.collections)}&dataset={self.dataset}#{ref.id}"

    def refs(self, error: type[DcrflowError]) -> list[Any]:
        """References of all datasets in this place.

        Raises
        ------
        DcrflowError
            If there are none, or the repository cannot be queried; of the class `error`.
        """
        where = " AND ".join(f"({w})" for w in (self.where, self.skymap and f"skymap = '{self.skymap}'") if w)
        try:
            butler = butler_of(self.repo)
            return list(
                butler.query_datasets(
                    self.dataset, collections=self.collections, where=where, find_first=True, limit=None
                )
            )
        except Exception as cause:
            raise error(f"cannot find {self.dataset} in {self.url}: {' '.join(str(cause).split())}") from cause


def butler_of(repo: str) -> Any:
    """This thread's own Butler of a repository; Butlers must not be shared between threads."""
    from lsst.daf.butler import Butler

    kept: dict[str, Any] = _THREAD.__dict__.setdefault("butlers", {})
    if repo not in kept:
        storage.register()  # neither a server nor a repository that was not prepared knows dcrflow's classes
        try:
            kept[repo] = Butler.from_config(repo, writeable=False)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error}; for a Butler server, install lsst-daf-butler[remote]") from error
    return kept[repo]


def writeable_butler(repo: str) -> Any:
    """A Butler that may write.

    Raises
    ------
    CoaddStoreError
        If there is no such repository.
    """
    from lsst.daf.butler import Butler

    storage.register()
    try:
        return Butler.from_config(repo, writeable=True)
    except Exception as error:
        raise CoaddStoreError(f"cannot open the Butler repository {repo}: {' '.join(str(error).split())}") from error


@dataclass(frozen=True)
class Handle:
    """A deferred dataset that any thread or process can read."""

    repo: str
    ref: Any

    @property
    def dataId(self) -> Any:  # noqa: N802
        """Its data ID."""
        return self.ref.dataId

    def get(self, *, component: str | None = None, parameters: dict[str, Any] | None = None) -> Any:
        """Read it, or a component or part of it."""
        ref = self.ref if component is None else self.ref.makeComponentRef(component)
        return butler_of(self.repo).get(ref, parameters=parameters or {})


def open_butler_coadds(source: str) -> ButlerCoadds:
    """The subfilter coadds at a place in a Butler repository.

    Raises
    ------
    CoaddStoreError
        If the place cannot be understood, or nothing is there.
    """
    return _open(Place.parse(source, "dcrCoadd", CoaddStoreError))


@lru_cache(maxsize=8)
def _open(place: Place) -> ButlerCoadds:
    return ButlerCoadds(place)


class ButlerCoadds(HandleCoadds):
    """Subfilter coadds of a Butler repository, as a `dcrflow.stores.coadds.source.CoaddSource`.

    Opening queries the registry for the datasets. The WCS of a tract is read from its first coadd. The bounding boxes
    of patches are computed from their regions in the registry or, if those do not agree, read from the coadds. In this
    way a plan opens only the coadds that it needs.
    """

    concurrent_reads = True

    def __init__(self, place: Place) -> None:
        refs = place.refs(CoaddStoreError)
        if not refs:
            raise CoaddStoreError(f"there is no {place.dataset} in {place.url}; look with `butler query-datasets`")
        coadds = [_coadd(place.repo, ref) for ref in refs]
        skymaps = sorted({str(r.dataId["skymap"]) for r in refs})
        if len(skymaps) > 1:
            raise CoaddStoreError(f"{place.url} has coadds of several skymaps: {', '.join(skymaps)}; add &skymap=")
        super().__init__(coadds, self._band, place.url, self._registered_box)
        self.place, self.skymap = place, skymaps[0]
        self._number = max(c.subfilter for c in coadds) + 1
        self._patch_boxes: dict[int, dict[int, Box]] = {}

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _Unopened, (self.place,)

    def boxes(self, tract: int) -> dict[int, Box]:
        """Bounding boxes of a tract's patches, by id; all patches in the registry, with or without coadds."""
        return super().boxes(tract) | self._patch_boxes.get(tract, {})

    def _band(self, coadd: SubfilterCoadd) -> Subfilters:
        return subfilters_of_coadd(coadd, self._number)

    def _registered_box(self, tract: int, patch: int) -> Box:
        if tract not in self._patch_boxes:
            self._patch_boxes[tract] = self._boxes_of(tract)
        return self._patch_boxes[tract].get(patch) or self._box(tract, patch)

    def _boxes_of(self, tract: int) -> dict[int, Box]:
        """Bounding boxes of a tract's patches from their regions; empty if a known patch does not agree."""
        first = next(c[0] for (t, _, _), c in self._coadds.items() if t == tract)
        known = first.bbox()
        wcs = wcs_of(first.component("sky_projection", "wcs"), known)
        records = butler_of(self.place.repo).query_dimension_records(
            "patch",
            where="skymap = :skymap AND tract = :tract",
            bind={"skymap": self.skymap, "tract": tract},
            limit=None,
        )
        found = {}
        for record in records:
            corners = np.array([[v.x(), v.y(), v.z()] for v in record.region.getVertices()])
            ra = np.rad2deg(np.arctan2(corners[:, 1], corners[:, 0])) % 360.0
            x, y = wcs.sky_to_pixel(ra, np.rad2deg(np.arcsin(np.clip(corners[:, 2], -1.0, 1.0))))
            low_x, low_y, high_x, high_y = (round(float(v) + 0.5) for v in (x.min(), y.min(), x.max(), y.max()))
            found[int(record.id)] = Box.from_bounds(low_x, low_y, high_x, high_y)
        return found if found.get(first.patch) == known else {}


class _Unopened(ButlerCoadds):
    """Unpickled `ButlerCoadds`, which query the registry only when they are first used.

    The query may fail, and dask closes a worker on which unpickling fails.
    """

    def __init__(self, place: Place) -> None:
        self.place = place

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_coadds" in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.__dict__.update(_open(self.place).__dict__)
        return getattr(self, name)


def _coadd(repo: str, ref: Any) -> SubfilterCoadd:
    data_id = ref.dataId
    tract, patch, subfilter = (int(data_id[name]) for name in ("tract", "patch", "subfilter"))
    return SubfilterCoadd(tract, patch, subfilter, str(data_id["band"]), Handle(repo, ref))


def read_butler_visits(source: str) -> list[DetectorVisit | BadVisit]:
    """The detector-visits at a place in a Butler repository, by visit and detector; no pixels are read.

    A detector-visit whose components cannot be used becomes a `BadVisit`. A dataset may also be a ``visitSummary`` or a
    ``visit_detector_table``.

    Raises
    ------
    VisitTableError
        If the place cannot be understood, or nothing is there.
    """
    place = Place.parse(source, "calexp", VisitTableError)
    refs = place.refs(VisitTableError)
    if not refs:
        raise VisitTableError(f"there is no {place.dataset} in {place.url}; look with `butler query-datasets`")
    if refs[0].datasetType.storageClass_name in SUMMARIES:
        return read_summaries(butler_of(place.repo), refs)
    ids = butler_of(place.repo).registry.expandDataId
    refs.sort(key=lambda r: (r.dataId["instrument"], r.dataId["visit"], r.dataId["detector"]))
    return [_visit(Handle(place.repo, ref), partial(ids, ref.dataId), place.image_of(ref)) for ref in refs]


def _visit(handle: Handle, expand: Callable[[], Any], image: str) -> DetectorVisit | BadVisit:
    data_id = handle.dataId
    visit, detector = int(data_id["visit"]), int(data_id["detector"])
    try:
        full = expand()
        bbox = box_of(handle.get(component="bbox"))
        afw = "wcs" in handle.ref.datasetType.storageClass.allComponents()
        projection = handle.get(component="wcs" if afw else "sky_projection")
        if projection is None:
            raise VisitTableError("it has no WCS")
        row = observation_row(handle.get(component="visitInfo" if afw else "obs_info"))
        given = {"instrument": str(data_id["instrument"]), "visit": visit, "detector": detector, "band": full["band"]}
        box = dict(zip(("x0", "y0", "width", "height"), bbox.as_list(), strict=True))
        names = {"physical_filter": str(full["physical_filter"]), "wcs": wcs_of(projection, bbox.grown(20))}
        return replace(detector_visit(row | given | box | names), image=image)
    except Exception as error:
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return BadVisit(visit, detector, VisitTableError(f"visit {visit} detector {detector}: {words}"))
