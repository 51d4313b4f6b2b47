"""A Butler repository as dcrflow's input."""

from __future__ import annotations

import pickle
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("lsst.daf.butler", reason="the extra lsst is not installed")

from astropy.io import fits
from lsst.daf.butler import Butler, CollectionType, DatasetRef, DatasetType, FileDataset, StorageClassFactory
from lsst.images.formatters import GenericFormatter
from rubin import inputs_of
from summaries import BOX, catalog, detector_table, golden_wcs, pixels_off, record
from zarr.storage import MemoryStore

import dcrflow
from dcrflow.base.errors import CoaddStoreError, VisitTableError
from dcrflow.cli import main
from dcrflow.cli.inputs import coadds_of, visits_of
from dcrflow.geometry.box import Box
from dcrflow.lsst import GetDcrTemplateTask, storage
from dcrflow.lsst.butler import open_butler_coadds, read_butler_visits
from dcrflow.lsst.convert import box_of
from dcrflow.lsst.handles import SubfilterCoadd
from dcrflow.lsst.ingest import ingest
from dcrflow.lsst.subfilters import BANDS, register_subfilters, subfilters_of_band
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.coadds.store import open_coadds
from dcrflow.stores.visits.tables import BadVisit


def test_coadds_are_as_they_were_stored(repo: Path, scene: Any) -> None:
    source = open_butler_coadds(f"butler:{repo}?collections=coadds")
    stored = open_coadds(scene[0])
    assert isinstance(source, CoaddSource)
    copy = pickle.loads(pickle.dumps(source))
    assert vars(copy) == {"place": source.place}  # nothing is asked of the registry until something is asked of it
    assert (copy.url, copy.bands) == (source.url, ("g",))
    assert vars(copy) == vars(source)
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = copy.no_such_thing
    assert (source.skymap, source.bands) == ("test", ("g",))
    assert source.tracts[7].bbox == stored.tracts[7].bbox
    assert source.patches(7, "g") == stored.patches(7, "g")
    ours, theirs = source.info(7, 2, "g"), stored.info(7, 2, "g")
    assert (ours.subfilter_edges, ours.effective_wavelength) == (theirs.subfilter_edges, theirs.effective_wavelength)
    part = stored.patches(7, "g")[2].bbox.grown(-100)
    got, want = (s.read(7, 2, "g", part, ours.planes) for s in (source, stored))
    for name in ("image", "variance", "mask"):
        assert np.array_equal(getattr(got, name), getattr(want, name), equal_nan=True)


def test_a_plan_opens_one_coadd_a_tract_and_those_it_needs(repo: Path, scene: Any, monkeypatch: Any) -> None:
    """The second detector lies on patch 0 alone: no other coadd is touched, and of patch 0 no more than is needed."""
    source = type(open_butler_coadds(f"butler:{repo}?collections=coadds"))
    fresh = source(open_butler_coadds(f"butler:{repo}?collections=coadds").place)
    touched: set[tuple[int, int]] = set()
    read = SubfilterCoadd._read

    def watched(self: SubfilterCoadd, what: str, **which: Any) -> Any:
        touched.add((self.patch, self.subfilter))
        return read(self, what, **which)

    monkeypatch.setattr(SubfilterCoadd, "_read", watched)
    plan = dcrflow.plan_template(fresh, scene[1][1])
    assert [p.patch for p in plan.patches] == [0]
    assert touched == {(0, 0), (0, 1), (0, 2)}


def test_what_a_coadd_says_of_itself_is_read_once(butler: Any, scene: Any, monkeypatch: Any) -> None:
    """And of its pixels one, and then those that are needed, none of them twice."""
    asked: Counter[tuple[int, int, str]] = Counter()
    regions: dict[tuple[int, int], list[Box]] = {}
    read = SubfilterCoadd._read

    def watched(self: SubfilterCoadd, what: str, **which: Any) -> Any:
        asked[self.patch, self.subfilter, what] += 1
        if "parameters" in which:
            regions.setdefault((self.patch, self.subfilter), []).append(box_of(which["parameters"]["bbox"]))
        return read(self, what, **which)

    monkeypatch.setattr(SubfilterCoadd, "_read", watched)
    _run_task(butler, scene[1][0])
    assert not [key for key, times in asked.items() if times > 1]
    assert set(regions) == {(p, k) for p in range(4) for k in range(3)}
    for (patch, _), (pixel, *boxes) in regions.items():
        assert pixel.area == 1
        assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)]
        assert sum(b.area for b in boxes) < 0.7 * open_coadds(scene[0]).patches(7, "g")[patch].bbox.area


def test_of_a_file_the_region_alone_is_read(butler: Any, scene: Any, monkeypatch: Any) -> None:
    """Proven by damage: what lies beyond the region may be garbage; in the region, the error names the coadd."""
    needed: list[Box] = []
    read = SubfilterCoadd._read

    def watched(self: SubfilterCoadd, what: str, **which: Any) -> Any:
        if (self.patch, self.subfilter) == (2, 1) and "parameters" in which:
            needed.append(box_of(which["parameters"]["bbox"]))
        return read(self, what, **which)

    monkeypatch.setattr(SubfilterCoadd, "_read", watched)
    expected = _run_task(butler, scene[1][0])
    ref = butler.query_datasets("dcrCoadd", collections="coadds", where="skymap='test' AND patch=2 AND subfilter=1")[0]
    path, bbox = Path(butler.getURI(ref).ospath), box_of(butler.get(ref.makeComponentRef("bbox")))
    whole = path.read_bytes()
    try:
        moved = [box.moved(-bbox.x0, -bbox.y0) for box in needed]
        spoilt = _spoil(path, lambda tile: not any(tile.overlaps(box) for box in moved))
        assert spoilt > 0.2
        found = _run_task(butler, scene[1][0])
        for name in ("image", "variance", "mask"):
            assert np.array_equal(getattr(found, name).array, getattr(expected, name).array), name
        path.write_bytes(whole)
        _spoil(path, lambda tile: any(tile.overlaps(box) for box in moved))
        with pytest.raises(CoaddStoreError, match=r"cannot read .* of tract 7 patch 2 band g subfilter 1"):
            _run_task(butler, scene[1][0])
    finally:
        path.write_bytes(whole)


def _run_task(butler: Any, visit: Any) -> Any:
    task, inputs = GetDcrTemplateTask(), inputs_of(butler, visit)
    found = task.getOverlappingExposures(inputs)
    return task.run(found.coaddExposures, inputs["bbox"], inputs["wcs"], found.dataIds).template


def _spoil(path: Path, which: Callable[[Box], bool]) -> float:
    """Overwrite compressed tiles of a coadd's image, chosen by their box in the image; the fraction of them."""
    data = bytearray(path.read_bytes())
    with fits.open(path, disable_image_compression=True) as file:
        table, header = file["IMAGE"], file["IMAGE"].header
        heap = table.fileinfo()["datLoc"] + header["NAXIS1"] * header["NAXIS2"]
        places = table.data.view(np.ndarray)["COMPRESSED_DATA"].tolist()
        image, side = Box(0, 0, header["ZNAXIS1"], header["ZNAXIS2"]), header["ZTILE1"]
    chosen = [place for place, tile in zip(places, image.tiles(side), strict=True) if which(tile)]
    for length, offset in chosen:
        data[heap + offset : heap + offset + length] = b"\xff" * length
    path.write_bytes(bytes(data))
    return len(chosen) / len(places)


def test_the_template_is_that_of_the_store(repo: Path, scene: Any) -> None:
    stored = dcrflow.build_template(scene[0], scene[1][0]).compute()
    butler = dcrflow.build_template(open_butler_coadds(f"butler:{repo}?collections=coadds"), scene[1][0]).compute()
    peak = float(np.nanmax(stored.image))
    assert float(np.abs(butler.image - stored.image).max()) < 1e-6 * peak  # the WCS went through lsst.images
    assert np.array_equal(butler.mask, stored.mask)


def test_visits(repo: Path, scene: Any) -> None:
    found = read_butler_visits(f"butler:{repo}?collections=calexps")
    assert [v.label for v in found if not isinstance(v, BadVisit)] == [v.label for v in scene[1]]
    for ours, theirs in zip(found, scene[1], strict=True):
        assert not isinstance(ours, BadVisit)
        assert (ours.bbox, ours.band, ours.physical_filter) == (theirs.bbox, theirs.band, "g_sim")
        assert ours.observation.altitude == pytest.approx(theirs.observation.altitude)
        x, y = ours.bbox.outline()
        assert np.allclose(ours.wcs.sky_to_pixel(*theirs.wcs.pixel_to_sky(x, y)), (x, y), atol=1e-6)
    some = read_butler_visits(f"butler:{repo}?collections=calexps&where=instrument = 'TestCam' AND visit = 13")
    assert [v.visit for v in some] == [13]


def test_ingest_from_a_butler(repo: Path, scene: Any) -> None:
    store = MemoryStore()
    source = open_butler_coadds(f"butler:{repo}?collections=coadds")
    assert ingest(source, store, skymap=source.skymap) == 4
    ours, theirs = open_coadds(store), open_coadds(scene[0])
    tract, expected = ours.tracts[7], theirs.tracts[7]
    assert (tract.bbox, tract.patch_inner, tract.patch_border) == (
        expected.bbox,
        expected.patch_inner,
        expected.patch_border,
    )
    box = expected.patch(1).bbox
    got, want = (s.read(7, 1, "g", box, ours.info(7, 1, "g").planes) for s in (ours, theirs))
    for name in ("image", "variance", "mask"):
        assert np.array_equal(getattr(got, name), getattr(want, name), equal_nan=True)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "no collections"), ("?collections=", "no collections"), ("?collections=coadds&colour=red", "unknown key"),
        ("?collections=calexps", "cannot find dcrCoadd"), ("?collections=nothing", "cannot find dcrCoadd"),
        ("?collections=coadds&dataset=strange", "cannot find strange"),
    ],
)  # fmt: skip
def test_places_that_cannot_be_used(repo: Path, query: str, words: str) -> None:
    with pytest.raises(CoaddStoreError, match=words):
        coadds_of(f"butler:{repo}{query}")


def test_visits_that_are_not_there(repo: Path) -> None:
    with pytest.raises(VisitTableError, match="cannot find calexp"):
        visits_of(f"butler:{repo}?collections=coadds")


def test_subfilters_in_a_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """By the command, in a new repository; what is there stays."""

    def register(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["dcrflow", "lsst", "register-subfilters", "-b", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        assert not ended.value.code, said.err
        return str(said.out).strip()

    root = tmp_path / "repo"
    Butler.makeRepo(str(root))
    assert register(root) == "18 subfilters are new, 0 were there"
    assert register(root, "--number", 4, "--bands", "ug") == "2 subfilters are new, 6 were there"
    records = Butler.from_config(str(root)).query_dimension_records("subfilter")
    expected = {(band, k) for band in "ugrizy" for k in range(4 if band in "ug" else 3)}
    assert {(r.band, r.id) for r in records} == expected


def test_subfilters_of_the_bands(repo: Path) -> None:
    class Registry:
        def __init__(self) -> None:
            self.known: list[dict[str, Any]] = []

        def syncDimensionData(self, element: str, record: dict[str, Any]) -> bool:  # noqa: N802
            assert element == "subfilter"
            new = record not in self.known
            self.known += [record] if new else []
            return new

    butler: Any = type("Butler", (), {"registry": Registry()})()
    assert register_subfilters(butler, 3) == 18
    assert register_subfilters(butler, 4, "ug") == 2
    assert list(BANDS) == list("ugrizy")
    edges = subfilters_of_band("g", 3).edges
    assert np.ravel(edges) == pytest.approx([402.81, 451.81, 451.81, 500.81, 500.81, 549.81])
    for band, (effective, low, high) in BANDS.items():
        made = subfilters_of_band(band, 4)
        assert low < effective < high
        assert (made.effective_wavelength, made.bandwidth) == (effective, high - low)
    with pytest.raises(ValueError, match="unknown band 'w'"):
        subfilters_of_band("w", 3)


def test_chained_collections_and_a_file_that_is_gone(repo: Path, scene: Any, tmp_path: Path) -> None:
    """The first collection of a chain that has a coadd is the one it is read from; what is gone is named."""
    copy = tmp_path / "repo"
    shutil.copytree(repo, copy)
    butler = Butler.from_config(str(copy), writeable=True)
    ref = butler.query_datasets("dcrCoadd", collections="coadds", where="skymap='test' AND patch=1 AND subfilter=0")[0]
    brighter = butler.get(ref)
    brighter.image.array[...] += 5.0
    butler.collections.register("newer")
    butler.put(brighter, "dcrCoadd", ref.dataId, run="newer")
    butler.collections.register("chain", CollectionType.CHAINED)
    butler.collections.redefine_chain("chain", ["newer", "coadds"])
    old, new = (open_butler_coadds(f"butler:{copy}?collections={c}") for c in ("coadds", "chain"))
    for patch in (0, 1):
        info = old.info(7, patch, "g")
        box = info.bbox.grown(-100)
        before, after = (s.read(7, patch, "g", box, info.planes).image for s in (old, new))
        assert np.allclose(after[0] - before[0], 5.0 if patch == 1 else 0.0, equal_nan=True)
        assert np.array_equal(after[1:], before[1:], equal_nan=True)
    Path(butler.getURI(ref).ospath).unlink()
    fresh = type(old)(old.place)
    with pytest.raises(CoaddStoreError, match=r"cannot read .* of tract 7 patch 1 band g subfilter 0: FileNot"):
        fresh.info(7, 1, "g")
    butler.pruneDatasets([ref], purge=True, disassociate=True, unstore=True)
    lacking = type(old)(old.place)
    assert [c.subfilter for c in lacking.coadds(7, 1, "g")] == [1, 2]
    with pytest.raises(dcrflow.MissingSubfilterError, match="patch 1"):
        dcrflow.plan_template(lacking, scene[1][0])


def test_a_server_without_what_reads_from_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(*_: Any, **__: Any) -> Any:
        raise ModuleNotFoundError("No module named 'httpx2'")

    monkeypatch.setattr(Butler, "from_config", lacks)
    with pytest.raises(CoaddStoreError, match=r"No module named 'httpx2'; .* install lsst-daf-butler\[remote\]"):
        open_butler_coadds("butler:https://nowhere.example/api/butler/repo/main?collections=coadds")


def test_a_repository_that_does_not_know_the_classes(repo: Path, tmp_path: Path) -> None:
    """As a Butler server has it, and any repository before `prepare`: reading coadds makes them known."""
    copy = tmp_path / "repo"
    shutil.copytree(repo, copy)
    config = yaml.safe_load((copy / "butler.yaml").read_text())
    del config["storageClasses"], config["datastore"]["formatters"]
    (copy / "butler.yaml").write_text(yaml.safe_dump(config))
    StorageClassFactory()._unregisterStorageClass("DcrCoadd")  # as in a process that has not imported the task
    try:
        source = open_butler_coadds(f"butler:{copy}?collections=coadds")
        assert source.tracts[7] == open_butler_coadds(f"butler:{repo}?collections=coadds").tracts[7]
        assert source.info(7, 0, "g").planes
    finally:
        storage.register()


def test_tables_of_detectors_in_a_butler(repo: Path, golden: Path, tmp_path: Path) -> None:
    """`visit_detector_table` through the Butler; a `visitSummary` of afw from its file, without afw."""

    copy = tmp_path / "repo"
    shutil.copytree(repo, copy)
    butler = Butler.from_config(str(copy), writeable=True)
    table, _ = detector_table()
    of_all = DatasetType("visit_detector_table", ["instrument"], "ArrowAstropy", universe=butler.dimensions)
    butler.registry.registerDatasetType(of_all)
    butler.collections.register("tables")
    butler.put(table, of_all, {"instrument": "TestCam"}, run="tables")
    found = visits_of(f"butler:{copy}?collections=tables&dataset=visit_detector_table")
    assert [(v.instrument, v.visit, v.detector) for v in found] == [("TestCam", 2024120600239, d) for d in (3, 4)]
    text, header = golden_wcs(golden, "1002_1")
    file = catalog(tmp_path / "summary.fits", [text], [record(1, 10)])
    of_visit = DatasetType("visitSummary", ["instrument", "visit"], "ExposureCatalog", universe=butler.dimensions)
    butler.registry.registerDatasetType(of_visit)
    data_id = butler.registry.expandDataId(instrument="TestCam", visit=12)
    dataset = FileDataset(str(file), DatasetRef(of_visit, data_id, run="tables"), formatter=GenericFormatter)
    butler.ingest(dataset, transfer="copy")  # the stack's own formatter is not on PyPI, and is not asked
    (visit,) = visits_of(f"butler:{copy}?collections=tables&dataset=visitSummary")
    assert (visit.instrument, visit.detector) == ("LSSTCam", 1)
    assert pixels_off(header, visit.wcs, BOX) < 2e-6
