"""What a template store keeps of a template: pixels rounded below their noise, unless every bit is wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.base.attributes import objects


@pytest.fixture(scope="module")
def store() -> dcrflow.DcrCoadds:
    noisy = IMAGE + np.random.default_rng(3).normal(0, 2, IMAGE.shape).astype(np.float32)
    return dcrflow.open_coadds(coadds(noisy, np.full(IMAGE.shape[1:], 4.0, np.float32)))


def kept(template: xr.Dataset, path: Path) -> xr.Dataset:
    dcrflow.write_template(template, path)
    return dcrflow.TemplateStore.open(path).read(12, 3).load()


def test_stored_pixels_are_rounded_below_their_noise(store: dcrflow.DcrCoadds, tmp_path: Path) -> None:
    lazy = dcrflow.build_template(store, visit())
    made, found = lazy.compute(), kept(lazy, tmp_path / "t.zarr")
    sigma = float(np.sqrt(made.variance).median())
    low, high = objects(found.attrs)["precision"]["step"]
    assert objects(found.attrs)["precision"]["steps_per_sigma"] == 16
    assert low <= high <= sigma / 16
    error = (found.image - made.image).values
    assert 0 < np.abs(error).max() <= high / 2
    np.testing.assert_array_equal(found.image / low, np.rint(found.image / low))
    np.testing.assert_allclose(found.variance, made.variance, rtol=2.0**-9)
    np.testing.assert_array_equal(found.mask, made.mask)


def test_every_bit_is_kept_on_request(store: dcrflow.DcrCoadds, tmp_path: Path) -> None:
    lazy = dcrflow.build_template(store, visit(), precision=None)
    found = kept(lazy, tmp_path / "t.zarr")
    assert "precision" not in found.attrs
    xr.testing.assert_equal(found[["image", "variance", "mask"]], lazy.compute()[["image", "variance", "mask"]])


def test_writing_does_not_change_a_template_in_memory(store: dcrflow.DcrCoadds, tmp_path: Path) -> None:
    made = dcrflow.build_template(store, visit()).compute()
    before = made.copy(deep=True)
    dcrflow.write_template(made, tmp_path / "t.zarr")
    xr.testing.assert_identical(made, before)


def test_stored_bytes(store: dcrflow.DcrCoadds, tmp_path: Path) -> None:
    """Less than half of what every bit takes, on noise."""
    sizes = []
    for precision in (None, 16):
        path = tmp_path / f"{precision}.zarr"
        dcrflow.write_template(dcrflow.build_template(store, visit(), precision=precision), path)
        pixels = [p for n in ("image", "variance") for p in path.glob(f"12/3/{n}/c/**/*") if p.is_file()]
        sizes.append(sum(p.stat().st_size for p in pixels))
    assert sizes[1] < 0.5 * sizes[0]


@pytest.mark.parametrize("precision", [0, -1, 0.5, "many"])
def test_a_precision_that_is_none_is_refused(precision: object) -> None:
    with pytest.raises(dcrflow.ConfigError, match="precision"):
        dcrflow.TemplateConfig.make({"precision": precision})
