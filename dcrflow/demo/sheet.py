"""The demo's picture: science image, templates and differences, a row a detector-visit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcrflow.demo.gain import Difference, Gain
from dcrflow.geometry import sphere

SIDE = 110  # pixels of the cutout
UNUSED = "#b8c8b8"  # colour of pixels that are not compared
MARKED = "#00b050"


@dataclass(frozen=True)
class Words:
    """What a sheet says.

    Parameters
    ----------
    titles : tuple of str
        Of the columns: science image, both templates, both differences.
    heading : str
        Above all.
    """

    titles: tuple[str, str, str, str, str] = (
        "science", "plain template", "DCR-matched template", "science − plain", "science − matched"
    )  # fmt: skip
    heading: str = (
        "Template subtraction without and with DCR matching (differences at the same stretch, ±8σ of the sky)"
    )


@dataclass(frozen=True, eq=False)
class Marks:
    """Places that are circled in a row; x and y are absolute detector pixels."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def draw_sheet(
    path: Path, differences: Sequence[Difference], gains: Sequence[Gain], words: Words | None = None,
    marks: Sequence[Marks] = (),
) -> None:  # fmt: skip
    """Draw the sheet as a PNG.

    Parameters
    ----------
    path : Path
        To write.
    differences, gains : sequence
        Of the same detector-visits, in the same order.
    words : Words, optional
        Titles and heading.
    marks : sequence of Marks
        One for each detector-visit, or none.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch as Swatch

    words = words or Words()
    rows = len(differences)
    figure = Figure(figsize=(15, 2.9 * rows + 0.5), layout="constrained", dpi=90)
    axes = figure.subplots(rows, 5, squeeze=False)
    for row, (one, gain) in enumerate(zip(differences, gains, strict=True)):
        y0, x0 = _cutout(one)
        part = slice(y0, y0 + SIDE), slice(x0, x0 + SIDE)
        sigma = float(np.sqrt(np.median(one.variance[one.good])))
        masked = np.where(one.good, one.science, np.nan)
        images = (one.science, one.plain, one.matched, masked - one.plain, masked - one.matched)
        extent = (one.visit.bbox.x0 + x0 - 0.5, one.visit.bbox.x0 + x0 + SIDE - 0.5,
                  one.visit.bbox.y0 + y0 - 0.5, one.visit.bbox.y0 + y0 + SIDE - 0.5)  # fmt: skip
        for column, (axis, image) in enumerate(zip(axes[row], images, strict=True)):
            stretched = np.arcsinh(image[part] / (3 * sigma)) if column < 3 else image[part]
            limits = (-1, np.arcsinh(300)) if column < 3 else (-8 * sigma, 8 * sigma)
            shown = axis.imshow(
                stretched, origin="lower", vmin=limits[0], vmax=limits[1], extent=extent, interpolation="nearest",
                cmap="gray" if column < 3 else "RdBu_r",
            )  # fmt: skip
            axis.set_facecolor(UNUSED)
            axis.tick_params(labelsize=7, labelleft=column == 0)
            if row == 0:
                axis.set_title(words.titles[column])
            if column == 4:
                bar = figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.02)
                bar.set_label("nJy", fontsize=8)
                bar.ax.tick_params(labelsize=7)
        axes[row, 0].set_ylabel(
            f"visit {gain.visit} detector {gain.detector}\nz = {gain.zenith_angle:.0f}°", fontsize=10
        )
        axes[row, 3].set_xlabel(f"rms around {gain.stars} stars: {gain.unmatched:.1f} nJy", fontsize=9)
        axes[row, 4].set_xlabel(f"{gain.matched:.1f} nJy (noise {gain.noise:.1f})", fontsize=9)
        _draw_zenith(axes[row, 0], one, extent)
        if marks:
            _draw_marks(axes[row], marks[row], extent)
    unused = Swatch(facecolor=UNUSED, label="masked in the science image or the template: not compared")
    circled = [_circle(marks[0].name)] if marks else []
    figure.legend(handles=[*circled, unused], loc="outside lower right", ncols=2, frameon=False, fontsize=9)
    figure.suptitle(words.heading)
    figure.savefig(path)


def _circle(name: str):  # type: ignore[no-untyped-def]
    """What a legend shows of marks."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", marker="o", markersize=11, markerfacecolor="none", markeredgecolor=MARKED,
                  markeredgewidth=1.5, label=name)  # fmt: skip


def _draw_marks(axes, marks: Marks, extent: tuple[float, float, float, float]) -> None:  # type: ignore[no-untyped-def]
    """Circles in the science image and both differences."""
    inside = (marks.x > extent[0]) & (marks.x < extent[1]) & (marks.y > extent[2]) & (marks.y < extent[3])
    for column in (0, 3, 4):
        axes[column].scatter(
            marks.x[inside], marks.y[inside], s=260, facecolors="none", edgecolors=MARKED, linewidths=1.5
        )


def _cutout(one: Difference) -> tuple[int, int]:
    """Lower-left corner (y, x) of the cutout with the most stars, weighed by the square root of their flux.

    Cutouts with many pixels that are not compared count for less.
    """
    height, width = one.science.shape
    best, where = -1.0, (0, 0)
    for y in range(0, max(1, height - SIDE), SIDE // 4):
        for x in range(0, max(1, width - SIDE), SIDE // 4):
            u, v = one.star_x - one.visit.bbox.x0 - x, one.star_y - one.visit.bbox.y0 - y
            inside = (u > 15) & (u < SIDE - 15) & (v > 15) & (v < SIDE - 15)
            used = float(np.mean(one.good[y : y + SIDE, x : x + SIDE]))
            score = used**4 * float(np.sqrt(one.star_flux[inside]).sum())
            if score > best:
                best, where = score, (y, x)
    return where


def _draw_zenith(axis, one: Difference, extent: tuple[float, float, float, float]) -> None:  # type: ignore[no-untyped-def]
    """An arrow towards the zenith in the corner of a cutout."""
    x, y = (extent[0] + extent[1]) / 2, (extent[2] + extent[3]) / 2
    ra, dec = one.visit.wcs.pixel_to_sky([x], [y])
    direction = one.visit.observation.zenith_direction(ra, dec)
    u, v = one.visit.wcs.sky_to_pixel(*sphere.offset(ra, dec, direction, 4 / 3600))
    step = np.array([u[0] - x, v[0] - y])
    step *= 20 / np.hypot(*step)
    x, y = extent[0] + 28, extent[2] + 28
    axis.annotate(
        "", xytext=(x - step[0] / 2, y - step[1] / 2), xy=(x + step[0] / 2, y + step[1] / 2),
        arrowprops={"arrowstyle": "-|>", "color": "#ffb000", "lw": 2},
    )  # fmt: skip
    axis.text(x, y - 24, "zenith", color="#ffb000", ha="center", fontsize=8)
