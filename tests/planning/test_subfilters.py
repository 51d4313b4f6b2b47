"""Which coadds a template takes: how many subfilters, and of which refraction."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from scenes import EDGES, IMAGE, TRACT, coadds, visit

import dcrflow
from dcrflow.stores.coadds.writer import open_writer


@pytest.mark.parametrize("number", [1, 2, 3])
def test_as_many_as_the_coadds_have(number: int) -> None:
    store = dcrflow.open_coadds(coadds(IMAGE[:number]))
    plan = dcrflow.plan_template(store, visit())
    assert plan.info.num_subfilters == plan.model.num_subfilters == number
    assert np.isfinite(dcrflow.build_template(store, visit()).image.compute(scheduler="synchronous")).all()


def test_as_many_as_asked_for() -> None:
    store = dcrflow.open_coadds(coadds(IMAGE[:2]))
    with pytest.raises(dcrflow.MissingSubfilterError, match="has 2 subfilters, expected 3"):
        dcrflow.plan_template(store, visit(), dcrflow.TemplateConfig(num_subfilters=3))


def test_a_patch_with_fewer_than_the_others_is_named() -> None:
    store = coadds(IMAGE)
    writer = open_writer(store)
    box = TRACT.patch(1).bbox
    writer.write_patch(
        7, 1, "g", image=IMAGE[:2, *box.slices(TRACT.bbox)], variance=np.ones(box.shape, np.float32),
        mask=np.zeros(box.shape, np.int32), planes={"BAD": 0}, subfilter_edges=EDGES[:2], effective_wavelength=475.0,
        bandwidth=150.0, overwrite=True,
    )  # fmt: skip
    with pytest.raises(dcrflow.MissingSubfilterError, match=r"tract 7 patch 1 .* has 2 subfilters, expected 3"):
        dcrflow.plan_template(dcrflow.open_coadds(store), visit())


def test_coadds_of_another_refraction_are_refused() -> None:
    store = coadds(IMAGE)
    config = dcrflow.TemplateConfig()
    zarr.open_group(store, path="7/0/g").attrs["refraction"] = config.refraction
    dcrflow.plan_template(dcrflow.open_coadds(store), visit())
    zarr.open_group(store, path="7/0/g").attrs["refraction"] = "tan z"
    with pytest.raises(dcrflow.InconsistentCoaddsError, match=r"patch 0 .* built with the refraction 'tan z'"):
        dcrflow.plan_template(dcrflow.open_coadds(store), visit())
