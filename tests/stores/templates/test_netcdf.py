"""Templates as netCDF, and coadds as a tree of xarray: what a user does with a template outside dcrflow."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.base.attributes import encoded, objects
from dcrflow.steps.dataset import write_template
from dcrflow.stores.templates.store import TemplateStore
from dcrflow.view.plots import plot_template

for needed in ("h5netcdf", "h5py"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: netCDF files are not tried")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with coadds that have a PSF, and a store with the template of one detector-visit."""
    folder = tmp_path_factory.mktemp("netcdf")
    y, x = np.mgrid[-10:11, -10:11]
    kernel = np.exp(-0.5 * (x**2 + y**2) / 4.0)
    coadds(IMAGE, store=str(folder / "coadds.zarr"), psf=kernel[None] / kernel.sum())
    write_template(built(folder), str(folder / "out.zarr"))
    return folder


def built(folder: Path) -> xr.Dataset:
    return dcrflow.build_template(str(folder / "coadds.zarr"), visit())


def template_of(folder: Path, kind: str) -> xr.Dataset:
    if kind == "read":
        return TemplateStore.open(folder / "out.zarr").read(12, 3)
    return built(folder) if kind == "lazy" else built(folder).compute()


@pytest.mark.parametrize("kind", ["lazy", "computed", "read"])
def test_a_template_survives_netcdf(made: Path, tmp_path: Path, kind: str) -> None:
    template = template_of(made, kind)
    template.to_netcdf(tmp_path / "template.nc")
    with xr.open_dataset(tmp_path / "template.nc") as back:
        assert set(back.variables) == set(template.variables)
        for name in template.variables:
            assert back[name].dtype == template[name].dtype
            assert_array_equal(back[name].values, template[name].values)
        assert objects(back.attrs) == objects(template.attrs)
        assert json.loads(back.attrs["dcr"])["shift"] == objects(template.attrs)["dcr"]["shift"]
        for spectrum in (None, "flat"):
            expected = template.dcrflow.psf_at(100, 90, spectrum)
            assert_array_equal(back.dcrflow.psf_at(100, 90, spectrum).values, expected.values)
        pyplot = pytest.importorskip("matplotlib.pyplot")
        axes = plot_template(back)
        assert all(hasattr(ax, "coords") for ax in axes), "the WCS is lost"
        assert "z = 45.0" in "".join(t.get_text() for t in axes[0].figure.findobj(pyplot.Text))
        pyplot.close("all")


def test_what_netcdf_kept_is_written_to_a_store_as_it_was(made: Path, tmp_path: Path) -> None:
    template_of(made, "read").to_netcdf(tmp_path / "template.nc")
    with xr.open_dataset(tmp_path / "template.nc") as back:
        write_template(back, tmp_path / "again.zarr")
    groups = [json.loads((p / "12/3/zarr.json").read_text()) for p in (made / "out.zarr", tmp_path / "again.zarr")]
    attributes = [{k: v for k, v in g["attributes"].items() if "crc32" not in k} for g in groups]
    assert attributes[0] == attributes[1]
    assert isinstance(attributes[0]["dcr"], dict)
    assert TemplateStore.open(tmp_path / "again.zarr").damaged(12, 3) == ()


def test_coadds_open_as_a_tree_without_warnings(made: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xr.open_datatree(made / "coadds.zarr", engine="zarr", consolidated=False) as tree:
            patches = [g for g in tree.groups if g.endswith("/g")]
            assert patches
            assert tree[patches[0]]["image"].dims == ("subfilter", "y", "x")


def test_only_what_netcdf_cannot_hold_becomes_text() -> None:
    kept = {"visit": 2**63 - 1, "band": "g", "coverage": 0.5, "bbox": [0, 0, 10, 20]}
    text = {"config": {"border": 20}, "patches": [[0, 1]], "nothing": [], "names": ["a"], "nested": {"of": {"n": 1}}}
    assert encoded(kept) == kept
    assert all(isinstance(value, str) for value in encoded(text).values())
    assert objects(encoded(kept | text)) == kept | text
    assert objects({"bbox": np.array([1, 2]), "visit": np.int64(7)}) == {"bbox": [1, 2], "visit": 7}
