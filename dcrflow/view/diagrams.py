"""Figures of how a template is made: tracts, patches and detectors on the sky, and the DCR of each subfilter.

As in `dcrflow.view.plots`, every function draws with matplotlib (extra ``plot``) and returns the axes it drew on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.skymap import Outline
from dcrflow.model.visit import DetectorVisit
from dcrflow.planning.template import TemplatePlan
from dcrflow.planning.zenith import vectors_on
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds
from dcrflow.view.plots import name_axes

Float = NDArray[np.float64]

_BLUE_TO_RED = ("#2f5fb3", "#2a9d5c", "#c0392b")  # of subfilters, bluest first


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
    return np.asarray(axes)


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
    name_axes(ax)
    ax.grid(color="0.85", lw=0.5)
    return ax
