"""What each step of a template does to pixels, as pictures.

``python -m dcrflow.demo.gallery OUT`` simulates a survey of one detector-visit, runs the steps one by one, and writes a
JPEG for each: the pictures of the documentation's page on the steps.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import NEW_MEMORY
from dcrflow.demo.gain import read_science
from dcrflow.geometry import sphere
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.model.config import TemplateConfig
from dcrflow.model.pixels import PatchPixels, Pixels
from dcrflow.model.visit import DetectorVisit
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.planning.tiles import TilePart
from dcrflow.simulate.run import SimulatedSurvey, simulate_survey
from dcrflow.simulate.survey import SurveyConfig
from dcrflow.steps import load_patch, make_tile, mosaic_tracts, shift_subfilters, warp_tract
from dcrflow.steps.match import match_and_merge
from dcrflow.steps.merge import MergedTract
from dcrflow.steps.results import StepResult
from dcrflow.stores.coadds.store import open_coadds

Image = NDArray[np.floating]

#: Two tracts that overlap under one detector, which is turned by 30 degrees and looks 55 degrees from the zenith.
SURVEY: Mapping[str, Any] = {
    "num_tracts": 2, "num_patches": (2, 2), "patch_inner": 260, "tract_overlap": 200, "detectors": (1, 1),
    "detector_width": 320, "detector_height": 320,
    "visits": [{"zenith_angle": 55.0, "parallactic_angle": 40.0, "rotation": 30.0}],
}  # fmt: skip
EMPTY = "#b8c8b8"  # colour of pixels without data
SIDE = 120  # pixels of the cutouts that show single stars
_EDGE = 24  # pixels between the edge and a star that is shown
NAMES = ("load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts", "difference")


@dataclass(frozen=True)
class Stages:
    """The pixels after each step.

    Parameters
    ----------
    plan : TemplatePlan
        Of the template.
    patch : PatchPixels
        What `load_patch` read of one patch.
    plain, matched : ndarray of shape (height, width)
        One tract before and after matching: the sum of its subfilters, without and with their DCR.
    merged : Box
        The pixels of these two.
    part : TilePart
        Which tract it is.
    warped : sequence of Pixels
        Each tract on the detector.
    template : Pixels
        The mosaic of them.
    """

    plan: TemplatePlan
    patch: PatchPixels
    plain: Image
    matched: Image
    merged: Box
    part: TilePart
    warped: Sequence[Pixels]
    template: Pixels


def stages(survey: SimulatedSurvey, visit: DetectorVisit) -> Stages:
    """Run the steps one by one and keep what each makes."""
    coadds = open_coadds(survey.coadds)
    plan = plan_template(coadds, visit, TemplateConfig(tile=4096, border=0))
    tile = plan.tile(plan.bbox)
    warped: list[Pixels] = []
    first: tuple[TilePart, list[PatchPixels]] | None = None
    for part in tile.parts:
        patches = [load_patch(coadds, plan, patch, region, [part.footprint]) for patch, region in part.reads]
        warped.append(warp_tract(plan, part.tract, shift_subfilters(plan, part, patches), tile.box).pixels)
        if first is None:
            first = part, [result.pixels for result in patches]
    assert first is not None, "a detector of this survey lies on its tracts"
    part, pixels = first
    matched = MergedTract.of(plan, part, NEW_MEMORY)
    for one in pixels:
        match_and_merge(plan, plan.tracts[part.tract], [one], matched, NEW_MEMORY)
    image, _, mask, weight = matched.mean
    missing = (mask & (1 << plan.planes[NO_DATA]) != 0) | (weight == 0)
    template = mosaic_tracts(plan, tile.box, [StepResult(p, {}, frozenset()) for p in warped]).pixels
    return Stages(
        plan, max(pixels, key=lambda p: p.box.area), _plain(matched.box, pixels), np.where(missing, np.nan, image),
        matched.box, part, warped, template,
    )  # fmt: skip


def _plain(box: Box, patches: Sequence[PatchPixels]) -> Image:
    """The sum of the subfilters without DCR; patches that overlap have the same pixels."""
    image = np.full(box.shape, np.nan)
    for patch in patches:
        part = box.intersection(patch.box)
        if part.area:
            image[part.slices(box)] = patch.image[(slice(None), *part.slices(patch.box))].sum(axis=0)
    return image


def draw(survey: SimulatedSurvey, visit: DetectorVisit, out: Path) -> list[Path]:
    """Run the steps and draw a picture for each.

    Parameters
    ----------
    survey : SimulatedSurvey
        The survey.
    visit : DetectorVisit
        One of its detector-visits.
    out : Path
        Folder to write to.

    Returns
    -------
    list of Path
        The pictures, in the order of the steps.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures = zip(NAMES, _panels(survey, stages(survey, visit), visit), strict=True)
    return [_save(out / f"{name}.jpeg", panels) for name, panels in pictures]


@dataclass(frozen=True)
class _Panel:
    title: str
    image: Image
    kind: str  # sky, difference, noise, count or colour
    box: Box
    wcs: SkyWcs | None = None  # draws an arrow to the zenith
    visit: DetectorVisit | None = None


def _panels(survey: SimulatedSurvey, made: Stages, visit: DetectorVisit) -> Iterator[list[_Panel]]:
    tract = made.plan.tracts[made.part.tract].tract
    subfilters, box = made.patch.image, made.patch.box
    edges = made.plan.info.subfilter_edges
    yield [
        _Panel(f"{low:.0f} to {high:.0f} nm", image, "sky", box)
        for image, (low, high) in zip(subfilters, edges, strict=True)
    ] + [_Panel("the three as red, green, blue", _composite(subfilters), "colour", box)]
    near = _around_brightest(made.matched, made.merged)
    where = near.slices(made.merged)
    yield [
        _Panel("sum of the subfilters", made.plain[where], "sky", near),
        _Panel("each spread by its DCR", made.matched[where], "sky", near, tract.wcs, visit),
        _Panel("what the DCR changes", (made.matched - made.plain)[where], "difference", near),
    ]
    yield [
        _Panel(f"tract {made.plan.tracts[n].tract.tract} on the detector", pixels.image, "sky", pixels.box)
        for n, pixels in enumerate(made.warped)
    ]
    template = made.template
    count = np.sum([np.isfinite(p.image) for p in made.warped], axis=0).astype(float)
    yield [
        _Panel("template", template.image, "sky", template.box),
        _Panel("tracts a pixel", np.where(count > 0, count, np.nan), "count", template.box),
        _Panel("noise, nJy", np.sqrt(template.variance), "noise", template.box),
    ]
    image, _, good = read_science(survey.science(visit))
    plain = _plain_template(survey, visit)
    near = _around_brightest(np.where(good, template.image, np.nan), template.box)
    where = near.slices(template.box)
    yield [
        _Panel("science image", image[where], "sky", near, visit.wcs, visit),
        _Panel("science − template without DCR", (image - plain)[where], "difference", near),
        _Panel("science − template", (image - template.image)[where], "difference", near),
    ]


def _plain_template(survey: SimulatedSurvey, visit: DetectorVisit) -> Image:
    """The same template as if the visit had looked to the zenith, where there is no DCR."""
    up = replace(visit, observation=replace(visit.observation, altitude=90.0))
    coadds = open_coadds(survey.coadds)
    plan = plan_template(coadds, up, TemplateConfig(tile=4096, border=0, rotation="boresight"))
    return make_tile(coadds, plan, plan.bbox).pixels.image


def _around_brightest(image: Image, box: Box) -> Box:
    """A cutout with the brightest star that is well inside, in its middle if there is room."""
    inner = np.where(np.isfinite(image), image, -np.inf)
    inner[:_EDGE], inner[-_EDGE:], inner[:, :_EDGE], inner[:, -_EDGE:] = (-np.inf,) * 4
    brightest = np.unravel_index(np.argmax(inner), inner.shape)
    y, x = (int(np.clip(at - SIDE // 2, 0, size - SIDE)) for at, size in zip(brightest, inner.shape, strict=True))
    return Box(box.x0 + x, box.y0 + y, SIDE, SIDE)


def _composite(subfilters: Image) -> Image:
    """Red, green and blue from the reddest, the middle and the bluest subfilter, asinh stretched."""
    three = [subfilters[-1], subfilters[len(subfilters) // 2], subfilters[0]]
    scaled = [np.arcsinh(np.nan_to_num(image) / (2 * _scatter(image))) / np.arcsinh(150) for image in three]
    stacked: Image = np.clip(np.stack(scaled, axis=-1), 0, 1)
    return stacked


def _scatter(image: Image) -> float:
    """Standard deviation of the sky, from the median absolute deviation."""
    values = image[np.isfinite(image)]
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) or 1.0


def _save(path: Path, panels: Sequence[_Panel]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(panels), 3.3), layout="constrained", dpi=110)
    for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        extent = panel.box.x0 - 0.5, panel.box.x1 - 0.5, panel.box.y0 - 0.5, panel.box.y1 - 0.5
        image, options = _shown(panel)
        shown = axis.imshow(image, origin="lower", extent=extent, interpolation="nearest", **options)
        axis.set_facecolor(EMPTY)
        axis.set_title(panel.title, fontsize=9)
        axis.tick_params(labelsize=6)
        if panel.kind in ("noise", "count", "difference"):
            ticks = [1, 2] if panel.kind == "count" else None
            bar = figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.02, ticks=ticks)
            bar.ax.tick_params(labelsize=6)
        if panel.wcs is not None and panel.visit is not None:
            _draw_zenith(axis, panel.wcs, panel.visit, extent)
    figure.savefig(path, pil_kwargs={"quality": 75})
    return path


def _shown(panel: _Panel) -> tuple[Image, Mapping[str, Any]]:
    """The values to draw and how: stars on a logarithmic-like scale, differences at +-8 sigma of the sky."""
    image = panel.image
    if panel.kind == "colour":
        return image, {}
    if panel.kind == "sky":
        return np.arcsinh(image / (2 * _scatter(image))), {"cmap": "gray", "vmin": -1, "vmax": np.arcsinh(150)}
    if panel.kind == "difference":
        reach = 8 * _scatter(image)
        return image, {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}
    return image, {"cmap": "viridis"}


def _draw_zenith(axis: Any, wcs: SkyWcs, visit: DetectorVisit, extent: tuple[float, float, float, float]) -> None:
    """An arrow towards the zenith in the lower left corner."""
    x, y = (extent[0] + extent[1]) / 2, (extent[2] + extent[3]) / 2
    ra, dec = wcs.pixel_to_sky([x], [y])
    direction = visit.observation.zenith_direction(ra, dec)
    u, v = wcs.sky_to_pixel(*sphere.offset(ra, dec, direction, 4 / 3600))
    step = np.array([u[0] - x, v[0] - y])
    step *= 0.16 * SIDE / np.hypot(*step)
    x, y = extent[0] + 0.2 * SIDE, extent[2] + 0.2 * SIDE
    axis.annotate("", xytext=(x - step[0] / 2, y - step[1] / 2), xy=(x + step[0] / 2, y + step[1] / 2),
                  arrowprops={"arrowstyle": "-|>", "color": "#ffb000", "lw": 2})  # fmt: skip
    axis.text(x, y - 0.16 * SIDE, "zenith", color="#ffb000", ha="center", fontsize=7)


def main() -> None:
    """Simulate a survey and draw the pictures in the folder that the command names."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m dcrflow.demo.gallery OUT")
    with tempfile.TemporaryDirectory() as place:
        survey = simulate_survey(SurveyConfig.make(SURVEY), Path(place) / "survey", workers=1)
        for path in draw(survey, survey.visits[0], Path(sys.argv[1])):
            print(path)


if __name__ == "__main__":
    main()
