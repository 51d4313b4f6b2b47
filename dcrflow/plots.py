"""Figures: a template with its mask and variance, a footprint on the sky, the kernels of the DCR.

Every function draws with matplotlib (extra ``plot``) and returns the axes it drew on; ``None`` for the axes makes a new
figure. Pixel coordinates are absolute, so what is read off an axis can be given to ``template.sel`` as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dcrflow.errors import WcsError
from dcrflow.geometry.skymap import Outline
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.masks import NO_DATA, planes_from_attributes
from dcrflow.plan import TemplatePlan, vectors_on
from dcrflow.stores.coadds import DcrCoadds, open_coadds
from dcrflow.visit import DetectorVisit

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
_BLUE_TO_RED = ("#2f5fb3", "#2a9d5c", "#c0392b")  # of subfilters, bluest first


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
        _name_axes(axis)
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


def plot_footprint(
    coadds: DcrCoadds | Any = None,
    visits: Iterable[DetectorVisit] = (),
    band: str | None = None,
    ax: Any = None,
    values: Sequence[float] | None = None,
    label: str = "",
) -> Any:
    """Draw tracts, patches and detectors on the sky.

    Parameters
    ----------
    coadds : DcrCoadds, or anything that `open_coadds` takes, optional
        Whose tracts (outlined) and patches (filled where the store has them).
    visits : iterable of DetectorVisit
        Whose detectors.
    band : str, optional
        Of the patches; any otherwise.
    ax : astropy.visualization.wcsaxes.WCSAxes, optional
        To draw on.
    values : sequence of float, optional
        One a detector-visit, to colour the detectors by, such as their coverage.
    label : str
        What the values are, for the colour bar.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    visits = list(visits)
    outlines: list[tuple[Outline, dict[str, Any]]] = []
    store = open_coadds(coadds) if coadds is not None else None
    for number, tract in store.tracts.items() if store else ():
        for one in (b for b in (store.bands if band is None else (band,))) if store else ():
            for patch in store.patches(number, one) if store else ():
                style = {"facecolor": "#5b8db820", "edgecolor": "#5b8db880", "lw": 0.6}
                outlines.append((Outline.of(tract.wcs, patch.bbox), style))
        outlines.append((Outline.of(tract.wcs, tract.bbox), {"facecolor": "none", "edgecolor": "#1d3557", "lw": 1.4}))
    shades: Iterable[Any] = ["#e76f5130"] * len(visits)
    norm = Normalize(*(np.nanmin(values), np.nanmax(values))) if values is not None and len(values) else None
    if norm is not None and values is not None:
        shades = colormaps["viridis"](norm(np.asarray(values, np.float64)))
    for visit, shade in zip(visits, shades, strict=True):
        style = {"facecolor": shade, "edgecolor": "#c1440e", "lw": 0.9, "alpha": 0.8 if norm else None}
        outlines.append((Outline.of(visit.wcs, visit.bbox), style))
    if not outlines:
        raise ValueError("nothing to draw: give coadds, visits or both")
    ax = ax or _sky_axes([o for o, _ in outlines])
    for outline, style in outlines:
        ax.fill(outline.ra, outline.dec, transform=ax.get_transform("icrs"), **style)
    for tract in store.tracts.values() if store else ():
        ra, dec = tract.wcs.pixel_to_sky(
            tract.bbox.x0 + tract.bbox.width * 0.04, tract.bbox.y1 - tract.bbox.height * 0.04
        )
        ax.text(float(ra), float(dec), f"tract {tract.tract}", transform=ax.get_transform("icrs"), fontsize=8,
                color="#1d3557", va="top")  # fmt: skip
    if norm is not None:
        ax.figure.colorbar(ScalarMappable(norm, "viridis"), ax=ax, fraction=0.046, pad=0.02, label=label)
    return ax


def plot_dcr(plan: TemplatePlan, figure: Any = None) -> NDArray[Any]:
    """Draw what the atmosphere does to each subfilter: where its light lands, and the kernel that puts it there.

    The first panel shows the displacement towards the zenith of every wavelength and its share of each subfilter's
    light; the others each subfilter's kernel on the tract's pixels, at the middle of the detector. The arrow points to
    the zenith.

    Parameters
    ----------
    plan : TemplatePlan
        As `dcrflow.plan_template` makes it.
    figure : matplotlib.figure.Figure, optional
        To draw in.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, shape (1 + num_subfilters,)
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap

    distance, kernels, step = dcr_kernels(plan)
    number = plan.model.num_subfilters
    figure = figure or plt.figure(figsize=(4.2 + 2.7 * number, 3.2), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, 1 + number, width_ratios=[1.5] + [1] * number))
    colours = LinearSegmentedColormap.from_list("subfilters", _BLUE_TO_RED)(np.linspace(0.0, 1.0, number))
    edges = plan.info.subfilter_edges
    order = np.argsort(distance)
    shown = kernels.shape[-1] // 2 - 5.5  # the kernels' faint wings are left out
    for k in range(number):
        name = f"{edges[k][0]:.0f}–{edges[k][1]:.0f} nm"
        axes[0].plot(distance[order], plan.model.weights[order, k], ".-", color=colours[k], label=name)
        radius = kernels.shape[-1] // 2
        extent = (-radius - 0.5, radius + 0.5, -radius - 0.5, radius + 0.5)
        top = float(np.abs(kernels).max())
        axes[1 + k].imshow(kernels[k], origin="lower", extent=extent, cmap="RdBu_r", vmin=-top, vmax=top)
        axes[1 + k].annotate(
            "",
            xy=tuple(step * 0.9 * shown),
            xytext=(0, 0),
            arrowprops={"arrowstyle": "->", "color": "#e09f3e", "lw": 1.6},
        )
        axes[1 + k].plot(0, 0, "+", color="k", ms=8)
        axes[1 + k].set(xlim=(-shown, shown), ylim=(-shown, shown))
        axes[1 + k].set_title(name, fontsize=9, color=colours[k])
        axes[1 + k].set_xlabel("x, tract pixels", fontsize=8)
    axes[1].set_ylabel("y, tract pixels", fontsize=8)
    axes[0].axhline(0, color="0.8", lw=0.8, zorder=0)
    axes[0].set_xlabel("displacement towards the zenith, arcsec")
    axes[0].set_ylabel("share of the subfilter's light")
    axes[0].legend(fontsize=8)
    figure.suptitle(
        f"{plan.visit.label}, dcr={plan.config.dcr}: zenith angle {plan.applied['zenith_angle']:.1f}°, "
        f"direction {plan.applied['direction']:.1f}° from north through east", fontsize=10,
    )  # fmt: skip
    return axes


def dcr_kernels(plan: TemplatePlan) -> tuple[Float, Float, Float]:
    """The kernels of a plan at the middle of its detector.

    Returns
    -------
    distance : ndarray of float64, shape (num_nodes,)
        Displacement of every node towards the zenith, arcsec.
    kernels : ndarray of float64, shape (num_subfilters, y, x)
        K_k with cardinal splines between the pixels, tract pixels, the middle is no displacement; each sums to 1.
    step : ndarray of float64, shape (2,)
        Unit vector (x, y) to the zenith in tract pixels.
    """
    from scipy.interpolate import BSpline
    from scipy.ndimage import spline_filter

    box, tract, model = plan.visit.bbox, plan.tracts[0].tract, plan.model
    middle = plan.visit.wcs.pixel_to_sky(box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2)
    x, y = (np.atleast_1d(v) for v in tract.wcs.sky_to_pixel(*middle))
    tan, dy, dx = (float(v[0]) for v in vectors_on(plan, tract, x, y))
    distance = model.displacement(np.array(tan))
    radius = math.ceil(float(np.abs(distance).max()) * math.hypot(dx, dy)) + 8
    margin = radius + 16  # the coefficient filter reaches far; what it needs is cut off again
    place = np.arange(-margin, margin + 1)
    basis = BSpline.basis_element(np.arange(model.degree + 2) - (model.degree + 1) / 2, extrapolate=False)
    along_y, along_x = (np.nan_to_num(basis(place[None, :] - distance[:, None] * d)) for d in (dy, dx))
    taps = np.einsum("lk,ly,lx->kyx", model.weights, along_y, along_x)
    kernels = np.stack([spline_filter(one, order=model.degree, mode="constant") for one in taps])
    inner = slice(margin - radius, margin + radius + 1)
    return distance, kernels[:, inner, inner], np.array([dx, dy]) / math.hypot(dx, dy)


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

    cards = data.attrs.get("wcs")
    if not cards:
        return None
    try:
        return WCS(SkyWcs.from_any(cards if isinstance(cards, str) else dict(cards)).header)
    except WcsError:
        return None


def _projection(data: xr.Dataset | xr.DataArray) -> dict[str, Any]:
    wcs = _wcs_of(data)
    return {} if wcs is None else {"projection": wcs}


def _axes(data: xr.Dataset | xr.DataArray) -> Any:
    import matplotlib.pyplot as plt

    ax = plt.figure(figsize=(5.6, 4.8), layout="constrained").add_subplot(**_projection(data))
    _name_axes(ax)
    return ax


def _sky_axes(outlines: Sequence[Outline]) -> Any:
    """Axes of a tangent plane that holds all outlines, north up, east left."""
    import matplotlib.pyplot as plt
    from astropy.wcs import WCS

    ra = np.deg2rad(np.concatenate([o.ra for o in outlines]))
    dec = np.deg2rad(np.concatenate([o.dec for o in outlines]))
    x, y, z = (float(np.mean(v)) for v in (np.cos(ra) * np.cos(dec), np.sin(ra) * np.cos(dec), np.sin(dec)))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [-1 / 3600, 1 / 3600], [1, 1]
    wcs.wcs.crval = [np.rad2deg(np.arctan2(y, x)) % 360, np.rad2deg(np.arctan2(z, np.hypot(x, y)))]
    wcs.wcs.radesys = "ICRS"
    u, v = wcs.world_to_pixel_values(np.rad2deg(ra), np.rad2deg(dec))
    ax = plt.figure(figsize=(6, 5), layout="constrained").add_subplot(projection=wcs)
    margin = 0.04 * max(np.ptp(u), np.ptp(v))
    ax.set_xlim(u.min() - margin, u.max() + margin)
    ax.set_ylim(v.min() - margin, v.max() + margin)
    ax.set_aspect("equal")
    _name_axes(ax)
    ax.grid(color="0.85", lw=0.5)
    return ax


def _without_data(ax: Axes) -> None:
    ax.set_facecolor("#d9d0c3")


def _name_axes(ax: Any) -> None:
    """Name the axes: celestial where there is a WCS, pixels otherwise."""
    sky = hasattr(ax, "coords")
    ax.set_xlabel("RA (ICRS)" if sky else "x, pixels", fontsize=9)
    ax.set_ylabel("Dec (ICRS)" if sky else "y, pixels", fontsize=9)
    ax.tick_params(labelsize=8)


def _title(template: xr.Dataset) -> str:
    a = template.attrs
    parts = [f"{a['instrument']} visit {a['visit']} detector {a['detector']}, {a['band']}"] if "visit" in a else []
    if "zenith_angle" in a.get("dcr", {}):
        parts.append(f"z = {a['dcr']['zenith_angle']:.1f}°")
    if "coverage" in a:
        parts.append(f"coverage {100 * a['coverage']:.1f} %")
    return ", ".join(parts)
