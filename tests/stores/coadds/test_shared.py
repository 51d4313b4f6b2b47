"""Pixels of coadds that were just read are not read again, and are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.geometry.box import Box
from dcrflow.planning.template import plan_template
from dcrflow.steps import make_region
from dcrflow.stores.coadds.shared import SharedCoadds
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.coadds.store import DcrCoadds
from dcrflow.stores.zarr.arrays import whole_chunks


class Counting(DcrCoadds):
    """Counts the pixels that it reads, and those of the chunks that it decodes for them."""

    def read(self, tract: int, patch: int, band: str, box: Box, planes: Any) -> Any:
        info = self.info(tract, patch, band)
        decoded = whole_chunks([box], info.chunks, info.bbox, info.bbox)
        self.__dict__["area"] = self.__dict__.get("area", 0) + box.area
        self.__dict__["decoded"] = self.__dict__.get("decoded", 0) + sum(part.area for part in decoded)
        return super().read(tract, patch, band, box, planes)


@pytest.fixture
def source() -> Counting:
    return Counting(dcrflow.open_coadds(coadds(IMAGE))._store)


def alike(one: Any, other: Any) -> None:
    assert one.box == other.box
    for name in ("image", "variance", "mask"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_parts_are_those_of_the_source(source: Counting) -> None:
    assert isinstance(source, CoaddSource)
    shared = SharedCoadds(source, 1 << 30)
    assert isinstance(shared, CoaddSource)
    bbox = source.info(7, 0, "g").bbox
    planes = source.info(7, 0, "g").planes
    rng = np.random.default_rng(3)
    for _ in range(60):
        x0, x1 = np.sort(rng.choice(bbox.width, 2, replace=False)) + bbox.x0
        y0 = bbox.y0 + int(rng.integers(0, 3)) * 20
        box = Box.from_bounds(int(x0), y0, int(x1), y0 + int(rng.choice([20, 40])))
        alike(shared.read(7, 0, "g", box, planes), source.read(7, 0, "g", box, planes))


def test_damage_beside_what_is_read_is_not_told() -> None:
    def spoil(tract: int, patch: int, arrays: dict[str, np.ndarray]) -> None:
        arrays["mask"][100, 100] = 1 << 20  # without a name

    source = dcrflow.open_coadds(coadds(IMAGE, change=spoil))
    bbox, planes = source.info(7, 0, "g").bbox, source.info(7, 0, "g").planes
    shared = SharedCoadds(source, 1 << 30)
    for part in (bbox, Box(bbox.x0 + 10, bbox.y0 + 10, 50, 50), Box(bbox.x0 + 90, bbox.y0 + 90, 50, 50)):
        expected = source.read(7, 0, "g", part, planes)
        found = shared.read(7, 0, "g", part, planes)
        alike(found, expected)
        assert found.damage == expected.damage
        assert bool(found.damage) == (part.width != 50 or part.x0 > bbox.x0 + 50)


def test_what_is_kept_is_not_read_again(source: Counting) -> None:
    shared = SharedCoadds(source, 1 << 30)
    bbox, planes = source.info(7, 0, "g").bbox, source.info(7, 0, "g").planes
    chunk = source.info(7, 0, "g").chunks[-1]
    assert chunk + 60 < bbox.width
    first = Box.from_bounds(bbox.x0, bbox.y0, bbox.x0 + 60, bbox.y0 + 40)
    shared.read(7, 0, "g", first, planes)
    assert source.__dict__["area"] == chunk**2
    shared.read(7, 0, "g", Box.from_bounds(bbox.x0 + 10, bbox.y0 + 30, bbox.x0 + 50, bbox.y0 + 50), planes)
    assert source.__dict__["area"] == chunk**2
    shared.read(7, 0, "g", Box.from_bounds(bbox.x0 + 50, bbox.y0, bbox.x0 + chunk + 20, bbox.y0 + 40), planes)
    assert source.__dict__["area"] == bbox.width * chunk
    shared.read(7, 1, "g", source.info(7, 1, "g").bbox, planes)
    assert source.__dict__["area"] == bbox.width * chunk + source.info(7, 1, "g").bbox.area


def test_no_more_is_kept_than_allowed(source: Counting) -> None:
    bbox, planes = source.info(7, 0, "g").bbox, source.info(7, 0, "g").planes
    one = source.read(7, 0, "g", Box.from_bounds(bbox.x0, bbox.y0, bbox.x1, bbox.y0 + 20), planes)
    size = sum(a.nbytes for a in (one.image, one.variance, one.mask))
    shared = SharedCoadds(source, 2 * size)
    for y0 in range(bbox.y0, bbox.y1 - 20, 20):
        shared.read(7, 0, "g", Box.from_bounds(bbox.x0, y0, bbox.x1, y0 + 20), planes)
        assert shared._bytes <= 2 * size
    nothing = SharedCoadds(source, 0)
    nothing.read(7, 0, "g", one.box, planes)
    assert nothing._bytes == 0 == len(nothing._kept)


@pytest.mark.parametrize("rotations", [(25.0, 25.0), (25.0, 70.0)])
def test_templates_of_neighbours_are_the_same_and_cost_less(source: Counting, rotations: tuple[float, float]) -> None:
    from scenes import tan

    shared = SharedCoadds(source, 1 << 30)
    config = dcrflow.TemplateConfig(tile=100)
    for number, rotation in enumerate(rotations):
        plan = plan_template(source, visit(tan(rotation=rotation), visit=number, altitude=50.0 + number), config)
        expected = make_region(source, plan, plan.bbox)
        alone = source.__dict__.pop("decoded")
        found = make_region(shared, plan, plan.bbox)
        alike(found.pixels, expected.pixels)
        assert source.__dict__.pop("decoded", 0) <= (alone if number == 0 else alone // 2)
