"""The plan of a template: which patches, which pixels of them, which tiles. Made without touching a pixel.

A `TemplatePlan` is small, frozen and printable; what reads, shifts, warps and mosaics takes its orders from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import (
    ConfigError,
    InconsistentCoaddsError,
    MissingSubfilterError,
    NoOverlapError,
    ObservationError,
)
from dcrflow.base.masks import merged_planes
from dcrflow.geometry.box import Box
from dcrflow.geometry.footprint import Footprint
from dcrflow.geometry.mapping import PixelMap, map_pixels
from dcrflow.geometry.skymap import Outline, Patch, Tract, overlapping_patches, sketched
from dcrflow.kernels.support import FIR_RADIUS, SPLINE_DEGREE, SUPPORT
from dcrflow.model.config import Curve, TemplateConfig
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.bandpass import Bandpass
from dcrflow.physics.dcr import DcrModel, dcr_model, zenith_vectors
from dcrflow.stores.coadds.patch_info import PatchInfo
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.view.cards import card

Float = NDArray[np.float64]

_READ_ROWS = 64  # of the strips that what is read is counted in
DCR_CELL = 256  # tract pixels; the DCR is evaluated once in each cell of a grid fixed to the tract
FILL_MARGIN = 8  # pixels more on each side that the filling of holes before the coefficient filter looks at
_AXES = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0))  # x and y of a place and of the pixels next to it along x and y
_SAME = (
    "band",
    "units",
    "photometric_zero_point",
    "subfilter_edges",
    "effective_wavelength",
    "bandwidth",
    "transmission",
)


@dataclass(frozen=True)
class Reach:
    """Range of tap offsets of the DCR kernels, inclusive, pixels: light of pixel q reaches q + low to q + high."""

    y_low: int
    y_high: int
    x_low: int
    x_high: int

    def reached(self, box: Box) -> Box:
        """The pixels that get light from within `box` alone."""
        return Box.from_bounds(box.x0 + self.x_high, box.y0 + self.y_high, box.x1 + self.x_low, box.y1 + self.y_low)

    def source(self, box: Box) -> Box:
        """The pixels whose light reaches `box`."""
        return Box.from_bounds(box.x0 - self.x_high, box.y0 - self.y_high, box.x1 - self.x_low, box.y1 - self.y_low)


@dataclass(frozen=True)
class TractPlan:
    """One tract's share of a template.

    Parameters
    ----------
    tract : Tract
        Its geometry.
    patches : tuple of Patch
        Those that the detector (border included) overlaps, in the order of their ids.
    pixel_map : PixelMap
        From detector to tract pixels.
    reach : Reach
        Of the DCR kernels anywhere on the detector.
    """

    tract: Tract
    patches: tuple[Patch, ...]
    pixel_map: PixelMap
    reach: Reach


@dataclass(frozen=True)
class TilePart:
    """What one tile needs of one tract.

    Parameters
    ----------
    tract : int
        Index into the plan's `tracts`.
    region : Box
        Tract pixels around all that the warp of this tile evaluates, its kernel and a pixel of safety included.
    footprint : Footprint
        The tile itself on the tract; what is far from it, in the corners of the region, is not made.
    reads : tuple of (Patch, Box)
        What to read: patches and parts of them, tract pixels.
    """

    tract: int
    region: Box
    footprint: Footprint
    reads: tuple[tuple[Patch, Box], ...]


@dataclass(frozen=True)
class Tile:
    """One tile of the output: its pixels, and what it needs of each tract."""

    box: Box
    parts: tuple[TilePart, ...]


@dataclass(frozen=True, repr=False)
class TemplatePlan:
    """How one detector-visit's template will be made.

    Parameters
    ----------
    visit : DetectorVisit
        What for.
    config : TemplateConfig
        How.
    bbox : Box
        The template's pixels: the detector's, grown by the border.
    band : str
        Of the coadds.
    tracts : tuple of TractPlan
        In the order of their ids.
    model : DcrModel
        Where the light of each subfilter goes.
    planes : mapping of str to int
        Mask planes of the template, name to bit.
    info : PatchInfo
        Of the first patch: what all of them share.
    url : str
        The coadd store, for the record.
    applied : mapping
        What DCR was applied at the middle of the detector, for the record.
    """

    visit: DetectorVisit
    config: TemplateConfig
    bbox: Box
    band: str
    tracts: tuple[TractPlan, ...]
    model: DcrModel
    planes: Mapping[str, int]
    info: PatchInfo
    url: str
    applied: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """A hash of all that the pixels depend on but the coadds themselves; the same in every process."""
        visit = self.visit
        words = (
            self.config.digest, visit.instrument, visit.visit, visit.detector, visit.physical_filter, visit.bbox,
            visit.wcs.key, visit.observation, self.band, self.planes,
            [(t.tract.tract, t.tract.wcs.key, t.patches, t.pixel_map.step, t.reach) for t in self.tracts],
            [a.tolist() for a in (self.model.terms, self.model.weights)], self.model.degree,
        )  # fmt: skip
        return blake2b(repr(words).encode(), digest_size=16).hexdigest()

    @property
    def patch_degrees(self) -> tuple[int, ...]:
        """B-spline degrees undone on each patch before the merge: only as LSST does it, with a pixel kernel."""
        return (self.model.degree,) if self.config.dcr == "split" and self.config.warp not in SPLINE_DEGREE else ()

    @property
    def lsst_edges(self) -> bool:
        """Whether patches are matched to the last pixel of their edges as LSST does it, to compare numbers."""
        return bool(self.patch_degrees) and self.config.rotation == "boresight"

    @property
    def merged_degrees(self) -> tuple[int, ...]:
        """B-spline degrees that are undone once, on the merged tract: of the DCR kernels, and of a spline warp."""
        if self.patch_degrees:
            return ()
        of_warp = (SPLINE_DEGREE[self.config.warp],) if self.config.warp in SPLINE_DEGREE else ()
        return tuple(sorted((self.model.degree, *of_warp)))

    @property
    def warp_margin(self) -> int:
        """How far around a tile's footprint its warp reaches, with two pixels to spare."""
        return SUPPORT[self.config.warp] // 2 + 2

    @property
    def merge_margin(self) -> int:
        """How far around a region the merged tract must be known to filter it, pixels."""
        return FIR_RADIUS[self.merged_degrees] + FILL_MARGIN if self.merged_degrees else 0

    @property
    def read_margin(self) -> int:
        """How far around a region the matched patches must be known, pixels."""
        return self.merge_margin or FIR_RADIUS[self.patch_degrees] + FILL_MARGIN

    def strips_to_read(self, patch: Patch, box: Box, footprint: Footprint) -> list[Box]:
        """The pixels of a box of a patch whose light reaches a tile's footprint."""
        reach = next(t.reach for t in self.tracts if t.tract.tract == patch.tract)
        farthest = max(-reach.y_low, reach.y_high, -reach.x_low, reach.x_high)
        return footprint.strips(box, _READ_ROWS, self.warp_margin + self.read_margin + farthest)

    @property
    def patches(self) -> tuple[Patch, ...]:
        """All patches, tract by tract."""
        return tuple(p for t in self.tracts for p in t.patches)

    def part(self, index: int, tile: Box) -> TilePart | None:
        """What a tile needs of tract number `index`; None if no patch of it is within reach."""
        plan = self.tracts[index]
        x, y = map_pixels(plan.pixel_map.source, plan.pixel_map.target, *tile.outline())
        region = Box.around(x, y).grown(self.warp_margin)
        wanted = plan.reach.source(region.grown(self.read_margin))
        reads = tuple((p, p.bbox.intersection(wanted)) for p in plan.patches)
        reads = tuple((p, box) for p, box in reads if not box.is_empty)
        if not any(p.bbox.overlaps(region) for p, _ in reads):
            return None
        return TilePart(index, region, Footprint.of(x, y), reads)

    def tile(self, box: Box) -> Tile:
        """The orders for one tile of the output."""
        parts = (self.part(i, box) for i in range(len(self.tracts)))
        return Tile(box, tuple(p for p in parts if p is not None))

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, row by row from the lower left."""
        return tuple(self.tile(box) for box in self.bbox.tiles(self.config.tile))

    @property
    def bytes_read(self) -> int:
        """Bytes of the pixels that will be read, uncompressed."""
        planes = 4 * self.config.num_subfilters + 4 * 2
        strips = (
            strip
            for tile in self.tiles
            for part in tile.parts
            for patch, box in part.reads
            for strip in self.strips_to_read(patch, box, part.footprint)
        )
        return sum(planes * strip.area for strip in strips)

    @property
    def bytes_written(self) -> int:
        """Bytes of the template's pixels, uncompressed."""
        return 12 * self.bbox.area

    @property
    def num_tasks(self) -> int:
        """Tasks of the lazy template's graph, without those that pick image, mask and variance apart."""
        return sum(1 + sum(2 + len(part.reads) for part in tile.parts) for tile in self.tiles)

    def _repr_html_(self) -> str:
        shapes = [
            *(sketched("tract", t.tract.wcs, t.tract.bbox, f"tract {t.tract.tract}") for t in self.tracts),
            *(
                sketched("patch", t.tract.wcs, p.bbox, f"tract {p.tract} patch {p.patch}")
                for t in self.tracts
                for p in t.patches
            ),
            sketched("detector", self.visit.wcs, self.bbox, self.visit.label),
        ]
        dcr = self.applied
        rows = {
            "pixels": f"{self.bbox.width} x {self.bbox.height} px, border {self.config.border} of them",
            "patches": "; ".join(
                f"tract {t.tract.tract}: {', '.join(str(p.patch) for p in t.patches)}" for t in self.tracts
            ),
            "zenith": f"{dcr['zenith_angle']:.2f} deg away, in direction {dcr['direction']:.1f} deg (N through E)",
            "shifts": ", ".join(f"({dy:+.2f}, {dx:+.2f})" for dy, dx in dcr["shift"]) + " px (dy, dx) of the tract",
            "method": f"dcr {self.config.dcr}, warp {self.config.warp}",
            "work": f"{len(self.tiles)} tiles, {self.num_tasks} tasks",
            "reads, writes": f"{self.bytes_read / 1e6:.0f} MB, {self.bytes_written / 1e6:.0f} MB (uncompressed)",
        }
        return card(f"plan of the template of {self.visit.label}, band {self.band}", rows, shapes)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        lines = [
            f"template of {self.visit.label}, band {self.band}: {self.bbox.width} x {self.bbox.height} px "
            f"from ({self.bbox.x0}, {self.bbox.y0}), border {self.config.border}",
        ]
        for t in self.tracts:
            names = ", ".join(str(p.patch) for p in t.patches)
            lines.append(
                f"  tract {t.tract.tract}: patches {names}; coordinates exact every {t.pixel_map.step} px "
                f"(error {t.pixel_map.error:.1e} px)"
            )
        dcr = self.applied
        lines.append(
            f"  dcr {dcr['method']}: zenith angle {dcr['zenith_angle']:.2f} deg, direction {dcr['direction']:.1f} deg, "
            "shifts " + ", ".join(f"({dy:+.2f}, {dx:+.2f})" for dy, dx in dcr["shift"]) + " px"
        )
        lines.append(
            f"  {len(self.tiles)} tiles, {self.num_tasks} tasks, reads {self.bytes_read / 1e6:.0f} MB, "
            f"writes {self.bytes_written / 1e6:.0f} MB"
        )
        return "\n".join(lines)


def plan_template(coadds: CoaddSource, visit: DetectorVisit, config: TemplateConfig | None = None) -> TemplatePlan:
    """Plan one template; reads metadata, no pixels.

    Parameters
    ----------
    coadds : CoaddSource
        The store of subfilter coadds.
    visit : DetectorVisit
        What to make the template for.
    config : TemplateConfig, optional
        How; defaults otherwise.

    Raises
    ------
    NoOverlapError
        If no patch of the band overlaps the detector.
    MissingSubfilterError
        If an overlapping patch does not have exactly ``config.num_subfilters`` subfilters.
    InconsistentCoaddsError
        If the overlapping patches differ in subfilters, calibration or units, or have too many mask planes together.
    CoaddStoreError
        If the store has no such band.
    ConfigError
        If the transmission cannot be had, or the boresight convention lacks its rotation angle.
    ObservationError
        If the detector is at or below the horizon.
    """
    config = config or TemplateConfig()
    band = config.band or visit.band
    coadds.require_band(band)
    bbox = visit.bbox.grown(config.border)
    outline = Outline.of(visit.wcs, bbox)
    overlap: list[tuple[Tract, tuple[Patch, ...]]] = []
    for number in sorted(coadds.tracts):
        tract = coadds.tracts[number]
        if outline.meets(tract):
            patches = overlapping_patches(outline, tract, coadds.patches(number, band))
            if patches:
                overlap.append((tract, patches))
    if not overlap:
        raise NoOverlapError(
            f"{visit.label}: no {band}-band patch of {coadds.url} overlaps the detector at "
            f"RA {outline.centre[0]:.4f}, Dec {outline.centre[1]:.4f} deg (radius {outline.radius:.3f} deg)"
        )
    infos = [coadds.info(p.tract, p.patch, band) for _, patches in overlap for p in patches]
    _check(coadds, visit, infos, config)
    info = infos[0]
    effective_wavelength = config.effective_wavelength or info.effective_wavelength
    bandpass = _bandpass(config, info)
    try:
        model = dcr_model(
            config.dcr, bandpass, info.subfilter_edges, effective_wavelength, visit.observation, config.rotation
        )
    except ValueError as error:
        raise ConfigError(f"{visit.label}: {error}") from error
    try:
        planes = merged_planes(i.planes for i in infos)
    except ValueError as error:
        raise InconsistentCoaddsError(f"{visit.label}: {error}") from error
    tracts = []
    for tract, patches in overlap:
        pixel_map = PixelMap.measured(visit.wcs, tract.wcs, bbox)
        tracts.append(TractPlan(tract, patches, pixel_map, _reach(visit, tract, outline, model, config)))
    return TemplatePlan(
        visit=visit,
        config=config,
        bbox=bbox,
        band=band,
        tracts=tuple(tracts),
        model=model,
        planes=planes,
        info=info,
        url=coadds.url,
        applied=_describe_dcr(visit, tracts[0], model, bandpass.shares(info.subfilter_edges), config),
    )


def _check(coadds: CoaddSource, visit: DetectorVisit, infos: list[PatchInfo], config: TemplateConfig) -> None:
    """Every patch must have N subfilters, and all must agree."""
    for info in infos:
        if info.num_subfilters != config.num_subfilters:
            raise MissingSubfilterError(
                f"{visit.label}: tract {info.tract} patch {info.patch} band {info.band} of {coadds.url} has "
                f"{info.num_subfilters} subfilters, expected {config.num_subfilters}; "
                "complete the coadds or set num_subfilters"
            )
    for name in _SAME:
        values = [getattr(i, name) for i in infos]
        usual = max(values, key=values.count)
        odd = next((i for i in infos if getattr(i, name) != usual), None)
        if odd is not None:
            raise InconsistentCoaddsError(
                f"{visit.label}: tract {odd.tract} patch {odd.patch} band {odd.band} of {coadds.url} has {name} "
                f"{getattr(odd, name)!r}, the other patches {usual!r}; patches of one template must agree"
            )


def _bandpass(config: TemplateConfig, info: PatchInfo) -> Bandpass:
    """The band's transmission: as configured, or the coadds' own, or a top-hat."""
    choice = config.transmission
    if isinstance(choice, Curve):
        return Bandpass(choice.wavelength, choice.throughput)
    if isinstance(choice, str):
        looks_like_file = any(c in choice for c in "./\\")
        return Bandpass.read(choice) if looks_like_file else Bandpass.named(choice)
    if config.effective_wavelength is None and config.bandwidth is None and info.transmission is not None:
        return Bandpass(*info.transmission)
    return Bandpass.top_hat(
        config.effective_wavelength or info.effective_wavelength, config.bandwidth or info.bandwidth
    )


def _middle(tract: Tract) -> tuple[float, float]:
    return tract.bbox.x0 + (tract.bbox.width - 1) / 2, tract.bbox.y0 + (tract.bbox.height - 1) / 2


def vectors_on(plan: TemplatePlan, tract: Tract, x: Float, y: Float) -> tuple[Float, Float, Float]:
    """`zenith_vectors` of the plan's visit and convention at places (x, y) of a tract."""
    return zenith_vectors(plan.visit.observation, tract.wcs, x, y, plan.config.rotation, _middle(tract))


def _vectors(
    visit: DetectorVisit, tract: Tract, x: Float, y: Float, config: TemplateConfig
) -> tuple[Float, Float, Float]:
    try:
        found = zenith_vectors(visit.observation, tract.wcs, x, y, config.rotation, _middle(tract))
    except ValueError as error:
        kind = ConfigError if config.rotation == "boresight" else ObservationError
        raise kind(f"{visit.label}: {error}") from error
    if not np.all(np.isfinite(found)):
        raise ObservationError(f"{visit.label}: no direction to the zenith on tract {tract.tract}: not finite")
    return found


def _reach(visit: DetectorVisit, tract: Tract, outline: Outline, model: DcrModel, config: TemplateConfig) -> Reach:
    """Bounds of the kernels' tap offsets: the outline's extreme displacements, with a tenth and a pixel to spare."""
    x, y = outline.on(tract)
    tan, dy, dx = _vectors(visit, tract, x, y, config)
    distance = model.displacement(tan)
    spare = (model.degree + 1) // 2 + 1
    bounds = []
    for component in (dy, dx):
        d = distance * component[..., None]
        bounds += [math.floor(min(1.1 * d.min(), 0.0)) - spare, math.ceil(max(1.1 * d.max(), 0.0)) + spare]
    return Reach(*bounds)


def _describe_dcr(
    visit: DetectorVisit, first: TractPlan, model: DcrModel, flat: Float, config: TemplateConfig
) -> dict[str, Any]:
    """What was applied, at the middle of the detector; kept with the template.

    ``shift`` is in the first tract's pixels; ``spread`` says how the light of any spectrum is spread on the detector.
    `flat` is how much of a flat spectrum is in each subfilter.
    """
    box = visit.bbox
    middle = np.array([box.x0 + (box.width - 1) / 2]), np.array([box.y0 + (box.height - 1) / 2])
    ra, dec = visit.wcs.pixel_to_sky(*middle)
    u, v = map_pixels(visit.wcs, first.tract.wcs, *(m + np.array(d) for m, d in zip(middle, _AXES, strict=True)))
    tan, dy, dx = _vectors(visit, first.tract, u[:1], v[:1], config)
    mean = model.mean_displacement(float(tan[0]))
    jacobian = np.array([np.diff(u[:2]), np.diff(u[::2]), np.diff(v[:2]), np.diff(v[::2])]).reshape(2, 2)
    on_detector = np.linalg.solve(jacobian, [dx[0], dy[0]])[::-1]
    return {
        "method": config.dcr,
        "rotation": config.rotation,
        "zenith_angle": float(np.rad2deg(np.arctan(tan[0]))),
        "direction": float(visit.observation.zenith_direction(ra, dec)[0]),
        "shift": [[float(m * dy[0]), float(m * dx[0])] for m in mean],
        "shift_frame": f"(dy, dx) in pixels of tract {first.tract.tract}, at the middle of the detector",
        "spread": {
            "wavelength": model.wavelength.tolist(),
            "shift": (model.displacement(tan).T * on_detector).tolist(),
            "weights": model.weights.tolist(),
            "flat": (model.weights @ flat).tolist(),
        },
        "spread_frame": "(dy, dx) in detector pixels; weights by node and subfilter; wavelength in nm",
        "weather_assumed": list(visit.observation.weather.assumed),
    }
