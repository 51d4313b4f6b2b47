"""What a template costs: bytes read, requests at once, memory, tasks. Counts, never seconds."""

import asyncio
import dataclasses
import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest
from benchmarks.scene import DETECTOR, detector_visit, tracts, write_coadds
from zarr.storage import MemoryStore

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch
from dcrflow.graph import TemplateGraph
from dcrflow.model.config import TemplateConfig
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.steps import make_region, make_tile
from dcrflow.stores.coadds.patch_info import PatchInfo
from dcrflow.stores.coadds.store import open_coadds
from dcrflow.stores.templates.store import TemplateStore
from dcrflow.stores.zarr.arrays import COADD_CHUNK, whole_chunks

BYTES_A_PIXEL = 20  # three subfilters, variance, mask; the noise of the first hardly shrinks, mask and variance do
SMALL = Box(0, 0, 1018, 1000)  # the benchmarks' detector and patches, a quarter as large


@pytest.fixture(scope="module")
def small() -> MemoryStore:
    store = MemoryStore()
    write_coadds(store, inner=1000)
    return store


class FullSize:
    """The benchmarks' coadds without their pixels: enough to plan."""

    url, digest, concurrent_reads = "nowhere", "0", True

    def __init__(self, small: MemoryStore) -> None:
        self.tracts = {t.tract: t for t in tracts()}
        self.small = open_coadds(small)

    def require_band(self, band: str) -> None:
        self.small.require_band(band)

    def patches(self, tract: int, band: str) -> tuple[Patch, ...]:
        return self.tracts[tract].patches

    def info(self, tract: int, patch: int, band: str) -> PatchInfo:
        box = self.tracts[tract].patch(patch).bbox
        return dataclasses.replace(self.small.info(tract, patch, band), bbox=box)


class SlowStore(MemoryStore):
    """An object store's manners: every request takes a while; counts requests, those at once, and bytes."""

    _supports_sync_io = False
    requests = at_once = most = read = 0
    delay = 0.15

    async def get(self, key, prototype, byte_range=None):  # type: ignore[no-untyped-def]
        cls = type(self)
        cls.requests += 1
        cls.at_once += 1
        cls.most = max(cls.most, cls.at_once)
        await asyncio.sleep(cls.delay)  # long beside what the others need to be asked for, on a busy machine too
        cls.at_once -= 1
        found = await super().get(key, prototype, byte_range)
        cls.read += len(found) if found is not None and "/c/" in key else 0
        return found


def chunks_under(plan: TemplatePlan, regions: Iterable[Box]) -> list[Box]:
    """The chunks of all patches that are read if each region is made by itself, as boxes of them."""
    found = []
    for part in (part for region in regions for part in plan.tile(region).parts):
        for patch, box in part.reads:
            strips = plan.strips_to_read(patch, box, part.footprint)
            found += whole_chunks(strips, (COADD_CHUNK, COADD_CHUNK), patch.bbox, patch.bbox)
    return found


@pytest.mark.parametrize("rotation", [0.0, 25.0, 45.0])
def test_pixels_read_of_a_whole_detector(small: MemoryStore, rotation: float) -> None:
    """Of a full-size detector at most 1.3 times the pixels under it are read, a patch's chunks as often as they are."""
    coadds = FullSize(small)
    plan = plan_template(coadds, detector_visit(rotation=rotation), TemplateConfig(granularity="detector"))
    under = 0
    for number in range(len(plan.tracts)):
        part = plan.part(number, plan.bbox)
        bare = plan.part(number, plan.visit.bbox)
        assert part is not None
        assert bare is not None
        for patch, _ in part.reads:
            under += sum(b.area for b in bare.footprint.strips(patch.bbox, 1, 0))
    read = sum(box.area for box in chunks_under(plan, [plan.bbox]))
    assert under > DETECTOR.area
    assert read < 1.3 * under


@pytest.mark.parametrize("rotation", [0.0, 25.0, 45.0])
def test_pixels_read_by_groups_of_tiles(small: MemoryStore, rotation: float) -> None:
    """A graph with tasks for tiles reads at most 1.3 times what a detector made at once does."""
    coadds = FullSize(small)
    plan = plan_template(coadds, detector_visit(rotation=rotation), TemplateConfig())
    once = sum(box.area for box in chunks_under(plan, [plan.bbox]))
    assert sum(box.area for box in chunks_under(plan, [group.box for group in plan.groups(plan.bbox)])) < 1.3 * once
    assert sum(box.area for box in chunks_under(plan, plan.bbox.tiles(plan.config.tile))) > 1.35 * once


def test_bytes_read_of_an_object_store(small: MemoryStore) -> None:
    """What is read is the chunks that were planned and little else, by requests that do not wait for each other."""
    coadds = open_coadds(SlowStore(small._store_dict))
    plan = plan_template(coadds, detector_visit(SMALL), TemplateConfig(tile=256, granularity="detector"))
    SlowStore.requests = SlowStore.most = SlowStore.read = 0
    SlowStore.delay = 0.15
    make_region(coadds, plan, plan.bbox)
    together, requests = SlowStore.read, SlowStore.requests
    assert together < 1.1 * BYTES_A_PIXEL * sum(box.area for box in chunks_under(plan, [plan.bbox]))
    assert SlowStore.most > requests / 6
    SlowStore.read, SlowStore.delay = 0, 0.0
    for box in plan.bbox.tiles(256):
        make_tile(coadds, plan, box)
    assert SlowStore.read > 2 * together, "what tiles share is read again when each is made alone"


def peak_of(store: MemoryStore) -> tuple[int, TemplatePlan]:
    """Peak of what is allocated while a detector is made, bytes."""
    coadds = open_coadds(store)
    plan = plan_template(coadds, detector_visit(SMALL), TemplateConfig(tile=256, granularity="detector"))
    make_region(coadds, plan, plan.bbox)  # compiles
    tracemalloc.start()
    make_region(coadds, plan, plan.bbox)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, plan


def test_no_array_is_copied_in_vain(small: MemoryStore) -> None:
    """The peak of a detector: its output, and what its bands lie on; of so small a one that is most of the input."""
    peak, plan = peak_of(small)
    under = BYTES_A_PIXEL * sum(box.area for box in chunks_under(plan, [plan.bbox]))
    assert peak < 12 * plan.bbox.area + 1.2 * under


def test_memory_does_not_grow_with_the_number_of_patches(small: MemoryStore) -> None:
    many = MemoryStore()
    write_coadds(many, inner=1000, split=2)
    (few_peak, few), (many_peak, more) = peak_of(small), peak_of(many)
    assert (len(few.patches), len(more.patches)) == (4, 12)
    assert many_peak < 1.1 * few_peak


def test_no_float64_leaves_a_step(small: MemoryStore) -> None:
    coadds = open_coadds(small)
    plan = plan_template(coadds, detector_visit(SMALL))
    made = make_region(coadds, plan, Box(0, 0, 100, 100)).pixels
    assert (made.image.dtype, made.variance.dtype, made.mask.dtype) == (np.float32, np.float32, np.int32)


def test_tasks_of_a_detector(small: MemoryStore) -> None:
    coadds = FullSize(small)
    store = TemplateStore.create_or_open(MemoryStore())
    for config, most in ((TemplateConfig(tile=2048), 60), (TemplateConfig(granularity="detector"), 1)):
        plan = plan_template(coadds, detector_visit(), config)
        assert len(dict(TemplateGraph(coadds, plan).written(store).dask)) <= most
