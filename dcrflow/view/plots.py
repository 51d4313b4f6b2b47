"""Figures of a template: image, mask planes, standard deviation; also as ``template.dcrflow.plot()``.

Every function draws with matplotlib (extra ``plot``) and returns the axes it drew on; ``None`` for the axes makes a new
figure. Pixel coordinates are absolute, so what is read off an axis can be given to ``template.sel`` as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dcrflow.base.attributes import Checked, decoded, objects
from dcrflow.base.errors import WcsError
from dcrflow.base.masks import NO_DATA, planes_from_attributes
from dcrflow.base.texts import one_line
from dcrflow.geometry.wcs import SkyWcs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]

#: Colour of a mask plane's overlay; planes that are not here take the colours of `OTHER_COLOURS` in turn.
PLANE_COLOURS: Mapping[str, str] = {
    "BAD": "#d62728",
    "SAT": "#2ca02c",
    "INTRP": "#17becf",
    "CR": "#ff7f0e",
    "EDGE": "#bcbd22",
    "DETECTED": "#1f77b4",
    "DETECTED_NEGATIVE": "#e377c2",
    "SUSPECT": "#9467bd",
    "HIGH_VARIANCE": "#8c564b",
    NO_DATA: "#7f7f7f",
}
OTHER_COLOURS = ("#005f73", "#9b2226", "#6a994e", "#7209b7")

SHOWN = 1024  # pixels a side that a figure resolves; larger images are averaged down to it


def plot_template(template: xr.Dataset, planes: Sequence[str] | None = None, figure: Any = None) -> NDArray[Any]:
    """Draw a template, or a slice of one: image, mask planes over the image, standard deviation.

    Parameters
    ----------
    template : xarray.Dataset
        Variables image, variance (float32) and mask (int32, CF flags), dims (y, x); computed if it is lazy.
    planes : sequence of str, optional
        Mask planes to show; all that are set anywhere otherwise.
    figure : matplotlib.figure.Figure, optional
        To draw in.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, shape (3,)
    """
    import matplotlib.pyplot as plt

    template = template[["image", "variance", "mask"]].compute()
    figure = figure or plt.figure(figsize=(14, 4.6), layout="constrained")
    axes = figure.subplots(1, 3, subplot_kw=_projection(template))
    for axis in axes:
        name_axes(axis)
    plot_image(template, ax=axes[0])
    plot_mask(template, planes, ax=axes[1])
    plot_variance(template, ax=axes[2])
    for axis in axes[1:]:
        axis.set_ylabel("")
    figure.suptitle(_title(template))
    return np.asarray(axes)


def plot_image(
    template: xr.Dataset | xr.DataArray, ax: Axes | None = None, *, softening: float | None = None, **kwargs: Any
) -> Axes:
    """Draw an image with an arcsinh stretch, so that sky and stars are both seen.

    Parameters
    ----------
    template : xarray.Dataset or DataArray
        A template or its image, nJy, dims (y, x).
    ax : matplotlib.axes.Axes, optional
        To draw on.
    softening : float, optional
        Flux below which the stretch is linear, nJy; 3 times the scatter of the sky otherwise.
    **kwargs
        For ``imshow``.
    """
    image = template["image"] if isinstance(template, xr.Dataset) else template
    values, extent = _reduced(image)
    ax = ax or _axes(template)
    scale = softening or 3 * _scatter(values)
    kwargs = {"cmap": "gray", "vmin": -1.0, "vmax": np.arcsinh(300.0)} | kwargs
    shown = ax.imshow(np.arcsinh(values / scale), origin="lower", extent=extent, interpolation="nearest", **kwargs)
    _without_data(ax)
    bar = ax.figure.colorbar(shown, ax=ax, fraction=0.046, pad=0.02, label=str(image.attrs.get("units", "")))
    ticks = [t for t in _decades(values) if kwargs["vmin"] <= np.arcsinh(t / scale) <= kwargs["vmax"]]
    bar.set_ticks(np.arcsinh(np.array(ticks) / scale).tolist(), labels=[f"{t:g}" for t in ticks])
    ax.set_title("image")
    return ax


def plot_mask(template: xr.Dataset, planes: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw the mask planes in colours over the image; the legend tells how much of the pixels each covers.

    Parameters
    ----------
    template : xarray.Dataset
        With image and mask.
    planes : sequence of str, optional
        Which; all that are set anywhere otherwise.
    ax : matplotlib.axes.Axes, optional
        To draw on.

    Raises
    ------
    ValueError
        If the mask has no such plane.
    """
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Patch as Swatch

    mask, extent = _reduced(template["mask"])
    bits = planes_from_attributes(template["mask"].attrs)
    unknown = sorted(set(planes or ()) - set(bits))
    if unknown:
        raise ValueError(f"the mask has no plane {', '.join(unknown)}; its planes are {', '.join(bits)}")
    ax = ax or _axes(template)
    image, _ = _reduced(template["image"])
    grey = np.arcsinh(image / (3 * _scatter(image)))
    ax.imshow(grey, origin="lower", extent=extent, interpolation="nearest", cmap="gray_r", vmin=-1, vmax=7, alpha=0.7)
    full = np.asarray(template["mask"].values)
    spare = iter(OTHER_COLOURS * 8)
    swatches = []
    for name in planes if planes is not None else bits:
        colour = PLANE_COLOURS.get(name) or next(spare)
        share = float(np.mean((full >> bits[name]) & 1))
        if share == 0:
            continue
        overlay = np.zeros((*mask.shape, 4))
        overlay[((mask >> bits[name]) & 1) == 1] = to_rgba(colour, 0.6)
        ax.imshow(overlay, origin="lower", extent=extent, interpolation="nearest")
        swatches.append(Swatch(facecolor=colour, alpha=0.6, label=f"{name} {100 * share:.2g} %"))
    if swatches:
        ax.legend(handles=swatches, fontsize=7, loc="upper right", framealpha=0.9)
    ax.set_title("mask planes")
    return ax


def plot_variance(template: xr.Dataset, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draw the standard deviation of the pixels, the root of the variance; arguments as `plot_image`'s."""
    values, extent = _reduced(template["variance"])
    ax = ax or _axes(template)
    sigma = np.sqrt(values)
    known = sigma[np.isfinite(sigma)]
    low, high = np.percentile(known, [1, 99]) if known.size else (0.0, 1.0)
    kwargs = {"cmap": "viridis", "vmin": low, "vmax": high} | kwargs
    shown = ax.imshow(sigma, origin="lower", extent=extent, interpolation="nearest", **kwargs)
    _without_data(ax)
    ax.figure.colorbar(shown, ax=ax, fraction=0.046, pad=0.02, label=str(template["image"].attrs.get("units", "")))
    ax.set_title("standard deviation")
    return ax


def _reduced(array: xr.DataArray) -> tuple[NDArray[Any], tuple[float, float, float, float]]:
    """Values averaged (masks: ORed) down to what a figure resolves, and their extent in absolute pixels."""
    values = np.asarray(array.values)
    step = max(1, math.ceil(max(values.shape) / SHOWN))
    height, width = values.shape
    x0, y0 = float(array["x"][0]) - 0.5, float(array["y"][0]) - 0.5
    extent = (x0, x0 + width, y0, y0 + height)
    if step == 1:
        return values, extent
    rows, columns = np.arange(0, height, step), np.arange(0, width, step)
    if values.dtype.kind == "i":
        reduced = np.bitwise_or.reduceat(np.bitwise_or.reduceat(values, rows, axis=0), columns, axis=1)
        return np.asarray(reduced), extent
    known = np.isfinite(values)
    total, count = (
        np.add.reduceat(np.add.reduceat(a, rows, axis=0), columns, axis=1)
        for a in (np.where(known, values, 0).astype(np.float64), known.astype(np.float64))
    )
    mean: Float = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean, extent


def _scatter(values: NDArray[Any]) -> float:
    """Scatter of the sky: 1.48 times the median absolute deviation; 1 where there is none."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 1.0
    return float(1.4826 * np.median(np.abs(known - np.median(known)))) or 1.0


def _decades(values: NDArray[Any]) -> list[float]:
    """Ticks at zero and at powers of ten, as far as the values go."""
    known = values[np.isfinite(values)]
    high = float(known.max()) if known.size else 1.0
    return [0.0, *(10.0**n for n in range(0, 9) if 10.0**n <= high)]


def _wcs_of(data: xr.Dataset | xr.DataArray) -> Any:
    """The astropy WCS that a template's attributes hold; None where they hold none."""
    from astropy.wcs import WCS

    cards = decoded(data.attrs.get("wcs"))
    if not cards:
        return None
    try:
        return WCS(SkyWcs.from_any(cards if isinstance(cards, str) else dict(cards)).header)
    except (WcsError, TypeError, ValueError):  # of a template that somebody else wrote
        return None


def _projection(data: xr.Dataset | xr.DataArray) -> dict[str, Any]:
    wcs = _wcs_of(data)
    return {} if wcs is None else {"projection": wcs}


def _axes(data: xr.Dataset | xr.DataArray) -> Any:
    import matplotlib.pyplot as plt

    ax = plt.figure(figsize=(5.6, 4.8), layout="constrained").add_subplot(**_projection(data))
    name_axes(ax)
    return ax


def _without_data(ax: Axes) -> None:
    ax.set_facecolor("#d9d0c3")


def name_axes(ax: Any) -> None:
    """Name the axes: celestial where there is a WCS, pixels otherwise."""
    sky = hasattr(ax, "coords")
    ax.set_xlabel("RA (ICRS)" if sky else "x, pixels", fontsize=9)
    ax.set_ylabel("Dec (ICRS)" if sky else "y, pixels", fontsize=9)
    ax.tick_params(labelsize=8)


def _title(template: xr.Dataset) -> str:
    a = Checked(objects(template.attrs))
    visit, detector = a.number("visit"), a.number("detector")
    parts = []
    if visit is not None and detector is not None:
        ids = f"visit {a.attributes['visit']} detector {a.attributes['detector']}"
        parts.append(one_line(f"{a.text('instrument')} {ids}, {a.text('band')}").replace("$", r"\$"))
    zenith_angle, coverage = Checked(a.object("dcr")).number("zenith_angle"), a.number("coverage")
    if zenith_angle is not None:
        parts.append(f"z = {zenith_angle:.1f}°")
    if coverage is not None:
        parts.append(f"coverage {100 * coverage:.1f} %")
    return ", ".join(parts)
