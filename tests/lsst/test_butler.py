"""A Butler repository as dcrflow's input."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lsst.daf.butler", reason="the extra lsst is not installed")

from zarr.storage import MemoryStore

import dcrflow
from dcrflow.cli.inputs import coadds_of, visits_of
from dcrflow.errors import CoaddStoreError, VisitTableError
from dcrflow.lsst.butler import open_butler_coadds, read_butler_visits
from dcrflow.lsst.handles import SubfilterCoadd
from dcrflow.lsst.ingest import ingest
from dcrflow.lsst.subfilters import BANDS, register_subfilters, subfilters_of_band
from dcrflow.stores.coadds import open_coadds
from dcrflow.stores.source import CoaddSource
from dcrflow.stores.visits import BadVisit


def test_coadds_are_as_they_were_stored(repo: Path, scene: Any) -> None:
    source = open_butler_coadds(f"butler:{repo}?collections=coadds")
    stored = open_coadds(scene[0])
    assert isinstance(source, CoaddSource)
    assert pickle.loads(pickle.dumps(source)) is source
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
    with pytest.raises(ValueError, match="nothing is known of band 'w'"):
        subfilters_of_band("w", 3)
