"""Figures: that they show what the arrays hold, where they hold it."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.planning.template import TemplatePlan
from dcrflow.view.diagrams import dcr_kernels, plot_dcr, plot_footprint
from dcrflow.view.plots import _reduced, plot_mask

mpl.use("Agg")


@pytest.fixture(scope="module")
def store() -> dcrflow.DcrCoadds:
    return dcrflow.open_coadds(coadds(IMAGE))


@pytest.fixture(scope="module")
def template(store: dcrflow.DcrCoadds) -> xr.Dataset:
    return dcrflow.build_template(store, visit())


@pytest.fixture
def plan(store: dcrflow.DcrCoadds) -> TemplatePlan:
    return dcrflow.plan_template(store, visit())


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def drawn(figure: plt.Figure) -> None:
    """Draw it: matplotlib fails late."""
    figure.canvas.draw()


def test_template_has_three_panels_on_the_sky(template: xr.Dataset) -> None:
    axes = template.dcrflow.plot()
    drawn(axes[0].figure)
    assert [a.get_title() for a in axes] == ["image", "mask planes", "standard deviation"]
    x, y = axes[0].coords[0], axes[0].coords[1]
    assert (x.coord_type, y.coord_type) == ("longitude", "latitude")
    assert axes[0].get_xlim() == (-20.5, 219.5)  # absolute pixels, border included


def test_a_slice_keeps_its_place(template: xr.Dataset) -> None:
    ax = template.isel(x=slice(50, 90), y=slice(10, 20)).dcrflow.plot_image()
    drawn(ax.figure)
    assert tuple(ax.get_images()[0].get_extent()) == (29.5, 69.5, -10.5, -0.5)


def test_mask_shows_what_is_asked_for(template: xr.Dataset) -> None:
    mask = template.compute().copy(deep=True)
    mask["mask"][:, :] = 0
    mask["mask"][:48, :] = 2  # SAT, in a fifth of the pixels or so
    ax = mask.dcrflow.plot_mask()
    drawn(ax.figure)
    share = 100 * 48 / mask.sizes["y"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [f"SAT {share:.2g} %"]
    assert len(plot_mask(mask, planes=["BAD"]).get_images()) == 1
    with pytest.raises(ValueError, match="no plane NOTHING"):
        plot_mask(mask, planes=["NOTHING"])


def test_large_images_are_averaged_and_masks_ored() -> None:
    image = np.arange(2500.0 * 2500).reshape(2500, 2500)
    image[0, 1] = np.nan
    mask = np.zeros((2500, 2500), np.int32)
    mask[2, 2], mask[0, 1] = 4, 1
    coords = {"y": np.arange(2500), "x": np.arange(2500)}
    values, extent = _reduced(xr.DataArray(image, coords, ("y", "x")))
    assert values.shape == (834, 834)
    assert extent == (-0.5, 2499.5, -0.5, 2499.5)
    assert values[1, 1] == image[3:6, 3:6].mean()
    assert values[0, 0] == np.nanmean(image[:3, :3])
    assert _reduced(xr.DataArray(mask, coords, ("y", "x")))[0][0, 0] == 5


def test_kernels_put_blue_light_towards_the_zenith(plan: TemplatePlan) -> None:
    _, kernels, step = dcr_kernels(plan)
    np.testing.assert_allclose(kernels.sum(axis=(1, 2)), 1, atol=2e-3)
    y, x = np.mgrid[tuple(slice(-(n // 2), n // 2 + 1) for n in kernels.shape[1:])]
    along = [float((k * (x * step[0] + y * step[1])).sum()) for k in kernels]
    assert along == sorted(along, reverse=True)
    applied = [dy * step[1] + dx * step[0] for dy, dx in plan.applied["shift"]]
    np.testing.assert_allclose(along, applied, atol=0.02)
    axes = plot_dcr(plan)
    drawn(axes[0].figure)
    assert len(axes) == 4


def test_footprint(store: dcrflow.DcrCoadds) -> None:
    ax = plot_footprint(store, [visit(), visit(detector=4)], values=[0.5, 1.0], label="coverage")
    drawn(ax.figure)
    assert len(ax.patches) == 4 + 1 + 2  # patches, tract, detectors
    assert "tract 7" in [t.get_text() for t in ax.texts]
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_footprint()
