"""Drawing, PSFs and netCDF of a template that somebody else wrote: what can be used, or an error of one line."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import xarray as xr
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.base.attributes import encoded
from dcrflow.base.errors import DcrflowError

mpl.use("Agg")
WORDS = "\u202e\x1b[31m$a$\ud800\x00"
ODD = [
    {"visit": None}, {"detector": True}, {"visit": 10**400}, {"instrument": [1]}, {"band": WORDS},
    {"wcs": [[1]]}, {"wcs": [{}]}, {"wcs": 3}, {"coverage": "x"}, {"coverage": None}, {"dcr": {"zenith_angle": {}}},
    {"dcr": [1]}, {"dcr": {"spread": {"shift": 3}}}, {"dcr": {"spread": [1]}}, {"bbox": None}, {"bbox": ["a"] * 4},
    {"bbox": [1, 2]}, {"config": 3}, {"config": {"border": [1]}}, {"psf_patches": [1]}, {"psf_patches": "x"},
]  # fmt: skip


@pytest.fixture(scope="module")
def template() -> xr.Dataset:
    return dcrflow.build_template(coadds(IMAGE), visit()).compute(scheduler="synchronous")


def _said(use: Callable[[], object]) -> str:
    try:
        use()
    except DcrflowError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("changes", ODD, ids=[f"{k} {str(v)[:20]!a}" for odd in ODD for k, v in odd.items()])
def test_what_can_be_used_or_an_error_of_one_line(
    template: xr.Dataset, changes: dict[str, object], tmp_path: Path
) -> None:
    odd = template.assign_attrs(encoded(changes))
    for use in (odd.dcrflow.psf_at, lambda: odd.dcrflow.psf_at(spectrum="flat"), lambda: odd.dcrflow.psf_at(20, 30)):
        assert "\n" not in _said(use)
    panel = odd.dcrflow.plot_mask()
    panel.figure.canvas.draw()
    plt.close("all")
    odd.drop_vars(list(odd.variables)).to_netcdf(tmp_path / "template.nc")
