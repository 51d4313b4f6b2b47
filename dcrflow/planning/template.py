"""The plan of a template: which patches, which pixels of them, which tiles. Made without reading a pixel.

A `TemplatePlan` is small, frozen and printable. The steps that read, shift, warp and mosaic do what it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np

from dcrflow.base.errors import ConfigError, InconsistentCoaddsError, MissingSubfilterError, NoOverlapError
from dcrflow.base.masks import merged_planes
from dcrflow.geometry.box import Box
from dcrflow.geometry.footprint import Footprint
from dcrflow.geometry.mapping import PixelMap, map_pixels
from dcrflow.geometry.skymap import Outline, Patch, Tract, overlapping_patches
from dcrflow.kernels.interpolation import INTERPOLATIONS, Interpolation
from dcrflow.model.config import Curve, TemplateConfig, names_a_file
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.bandpass import Bandpass
from dcrflow.physics.dcr import DcrModel, dcr_model
from dcrflow.planning.margins import Margins
from dcrflow.planning.text import plan_card, plan_text
from dcrflow.planning.tiles import Tile, TileGroup, TilePart, TractPlan, tile_groups
from dcrflow.planning.zenith import describe_dcr, reach_on
from dcrflow.stores.coadds.contents import inputs_digest
from dcrflow.stores.coadds.patch_info import PatchInfo
from dcrflow.stores.coadds.source import CoaddSource

_READ_ROWS = 64  # height of the strips whose pixels `bytes_read` counts
_LARGEST_GROUP = 2048  # pixels; side of the tiles that are read and matched together, four at most
DCR_CELL = 256  # tract pixels; the DCR is evaluated once in each cell of a grid fixed to the tract
#: What the patches of one template must have in common.
_SAME = (
    "band",
    "units",
    "photometric_zero_point",
    "subfilter_edges",
    "effective_wavelength",
    "bandwidth",
    "transmission",
)


@dataclass(frozen=True, repr=False)
class TemplatePlan:
    """How one detector-visit's template will be made.

    Parameters
    ----------
    visit : DetectorVisit
        What the template is for.
    config : TemplateConfig
        How it is made.
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
        Of the coadd store, for the record.
    applied : mapping
        What DCR was applied at the middle of the detector, for the record.
    inputs_digest : str
        Of what the patches contain; empty where the coadds cannot tell.
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
    inputs_digest: str = ""

    @cached_property
    def digest(self) -> str:
        """A hash of all that the pixels depend on; the same in every process."""
        visit = self.visit
        words = (
            self.config.digest, visit.instrument, visit.visit, visit.detector, visit.physical_filter, visit.bbox,
            visit.wcs.key, visit.observation, self.band, self.planes,
            self.inputs_digest,
            [(t.tract.tract, t.tract.wcs.key, t.patches, t.pixel_map.step, t.reach) for t in self.tracts],
            [a.tolist() for a in (self.model.terms, self.model.weights)], self.model.degree,
            *([self.info.subfilter_noise] if self.info.subfilter_noise else ()),
        )  # fmt: skip
        return blake2b(repr(words).encode(), digest_size=16).hexdigest()

    @property
    def interpolation(self) -> Interpolation:
        """From the tract's to the detector's pixels."""
        return INTERPOLATIONS[self.config.warp]

    @property
    def by_bands(self) -> bool:
        """Whether tracts may be matched and filtered band by band; other steps look at all of a tile's surroundings."""
        return not self.margins.as_lsst and self.interpolation.weight is not None

    @cached_property
    def margins(self) -> Margins:
        """How far each step looks beyond the pixels it makes."""
        return Margins.of(self.config, self.model.degree)

    def strips_to_read(self, patch: Patch, box: Box, footprint: Footprint) -> list[Box]:
        """The pixels of a box of a patch whose light reaches a tile's footprint."""
        reach = next(t.reach for t in self.tracts if t.tract.tract == patch.tract)
        farthest = max(-reach.y_low, reach.y_high, -reach.x_low, reach.x_high)
        return footprint.strips(box, _READ_ROWS, self.margins.warp + self.margins.read + farthest)

    @property
    def patches(self) -> tuple[Patch, ...]:
        """All patches, tract by tract."""
        return tuple(p for t in self.tracts for p in t.patches)

    def part(self, index: int, tile: Box) -> TilePart | None:
        """What a tile needs of tract number `index`; None if no patch of it is within reach."""
        return self.parts_of(index, [tile])[0]

    def parts_of(self, index: int, tiles: Sequence[Box]) -> list[TilePart | None]:
        """`part` of several tiles."""
        plan, found = self.tracts[index], []
        outlines = np.stack([tile.outline() for tile in tiles], axis=1)
        x, y = map_pixels(plan.pixel_map.source, plan.pixel_map.target, *outlines)
        for n in range(len(tiles)):
            region = Box.around(x[n], y[n]).grown(self.margins.warp)
            wanted = plan.reach.source(region.grown(self.margins.read))
            reads = tuple((p, p.bbox.intersection(wanted)) for p in plan.patches if p.bbox.overlaps(wanted))
            there = any(p.bbox.overlaps(region) for p, _ in reads)
            found.append(TilePart(index, region, Footprint.of(x[n], y[n]), reads) if there else None)
        return found

    def tile(self, box: Box) -> Tile:
        """One tile of the output, and what it needs of each tract."""
        return self.tiles_of([box])[0]

    def tiles_of(self, boxes: Sequence[Box]) -> list[Tile]:
        """Several tiles of the output."""
        parts = [self.parts_of(index, boxes) for index in range(len(self.tracts))]
        return [
            Tile(box, tuple(part for part in of_box if part is not None))
            for box, of_box in zip(boxes, zip(*parts, strict=True), strict=True)
        ]

    def groups(self, box: Box) -> list[TileGroup]:
        """The tiles of a region, in groups of up to 2 x 2 whose pixels of the tracts are read and matched together.

        Tiles that are turned against a tract overlap on it, and so do the margins of their filters and the chunks under
        them: one by one, tiles of 1024 px would read every second chunk twice.
        """
        size = self.config.tile
        return tile_groups(box, size, 2 if self.by_bands and 2 * size <= _LARGEST_GROUP else 1)

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, row by row from the lower left."""
        return tuple(self.tiles_of(list(self.bbox.tiles(self.config.tile))))

    @property
    def bytes_read(self) -> int:
        """Bytes of the pixels that will be read, uncompressed."""
        planes = 4 * self.info.num_subfilters + 4 * 2
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
        """Tasks of the lazy template's graph, without those that take image, mask or variance of a finished tile."""
        parts = [len(tile.parts) for tile in self.tiles_of([group.box for group in self.groups(self.bbox)])]
        return sum(bool(n) + n for n in parts) + sum(1 + len(tile.parts) for tile in self.tiles)

    def __repr__(self) -> str:
        return plan_text(self)

    def _repr_html_(self) -> str:
        return plan_card(self)


def plan_template(coadds: CoaddSource, visit: DetectorVisit, config: TemplateConfig | None = None) -> TemplatePlan:
    """Plan one template; reads metadata, no pixels.

    Parameters
    ----------
    coadds : CoaddSource
        The store of subfilter coadds.
    visit : DetectorVisit
        What to make the template for.
    config : TemplateConfig, optional
        How to make it; defaults otherwise.

    Raises
    ------
    NoOverlapError
        If no patch of the band overlaps the detector.
    MissingSubfilterError
        If an overlapping patch does not have ``config.num_subfilters`` subfilters, or as many as the other patches.
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
    overlap = _overlap(coadds, visit, outline, band)
    infos = [coadds.info(p.tract, p.patch, band) for _, patches in overlap for p in patches]
    _check(coadds, visit, infos, config)
    try:
        planes = merged_planes(i.planes for i in infos)
    except ValueError as error:
        raise InconsistentCoaddsError(f"{visit.label}: {error}") from error
    info = infos[0]
    bandpass = _bandpass(config, info)
    model = _dcr_model(visit, config, bandpass, info)
    tracts = tuple(
        TractPlan(
            tract,
            patches,
            PixelMap.measured(visit.wcs, tract.wcs, bbox),
            reach_on(visit, tract, outline, model, config),
        )
        for tract, patches in overlap
    )
    return TemplatePlan(
        visit=visit,
        config=config,
        bbox=bbox,
        band=band,
        tracts=tracts,
        model=model,
        planes=planes,
        info=info,
        url=coadds.url,
        applied=describe_dcr(visit, tracts[0], model, bandpass.shares(info.subfilter_edges), config),
        inputs_digest=inputs_digest(coadds, ((i.tract, i.patch) for i in infos), band),
    )


def _overlap(
    coadds: CoaddSource, visit: DetectorVisit, outline: Outline, band: str
) -> list[tuple[Tract, tuple[Patch, ...]]]:
    """The tracts and patches of a band under a detector's outline; at least one."""
    found: list[tuple[Tract, tuple[Patch, ...]]] = []
    for number in sorted(coadds.tracts):
        tract = coadds.tracts[number]
        if outline.meets(tract):
            patches = overlapping_patches(outline, tract, coadds.patches(number, band))
            if patches:
                found.append((tract, patches))
    if not found:
        raise NoOverlapError(
            f"{visit.label}: no {band}-band patch of {coadds.url} overlaps the detector at "
            f"RA {outline.centre[0]:.4f}, Dec {outline.centre[1]:.4f} deg (radius {outline.radius:.3f} deg)"
        )
    return found


def _dcr_model(visit: DetectorVisit, config: TemplateConfig, bandpass: Bandpass, info: PatchInfo) -> DcrModel:
    """Where the light of each subfilter goes."""
    effective_wavelength = config.effective_wavelength or info.effective_wavelength
    try:
        return dcr_model(
            config.dcr, bandpass, info.subfilter_edges, effective_wavelength, visit.observation, config.rotation
        )
    except ValueError as error:
        raise ConfigError(f"{visit.label}: {error}") from error


def _check(coadds: CoaddSource, visit: DetectorVisit, infos: list[PatchInfo], config: TemplateConfig) -> None:
    """Every patch must have N subfilters, and all must agree."""
    counts = [info.num_subfilters for info in infos]
    expected = config.num_subfilters or max(counts, key=counts.count)
    for info in infos:
        if info.num_subfilters != expected:
            raise MissingSubfilterError(
                f"{visit.label}: tract {info.tract} patch {info.patch} band {info.band} of {coadds.url} has "
                f"{info.num_subfilters} subfilters, expected {expected}; "
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
    other = next((i for i in infos if i.refraction not in (None, config.refraction)), None)
    if other is not None:
        raise InconsistentCoaddsError(
            f"{visit.label}: tract {other.tract} patch {other.patch} band {other.band} of {coadds.url} was built with "
            f"the refraction {other.refraction!r}, templates use {config.refraction!r}; build the coadds again"
        )


def require_usable(coadds: CoaddSource, config: TemplateConfig) -> None:
    """Raise for a configuration with which no detector-visit can have a template.

    Raises
    ------
    ConfigError
        If its transmission cannot be had.
    CoaddStoreError
        If the coadds do not have its band.
    """
    require_transmission(config)
    if config.band is not None:
        coadds.require_band(config.band)


def require_transmission(config: TemplateConfig) -> None:
    """Raise ConfigError for a transmission that cannot be had: a file that cannot be read, an unknown filter."""
    _configured_bandpass(config)


def _configured_bandpass(config: TemplateConfig) -> Bandpass | None:
    """The band's transmission as a configuration gives it; None if it does not.

    Raises
    ------
    ConfigError
        If it names a file that cannot be read or a filter that is not known, or is no such curve.
    """
    choice = config.transmission
    if isinstance(choice, Curve):
        return Bandpass(choice.wavelength, choice.throughput)
    if isinstance(choice, str):
        return Bandpass.read(choice) if names_a_file(choice) else Bandpass.named(choice)
    return None


def _bandpass(config: TemplateConfig, info: PatchInfo) -> Bandpass:
    """The band's transmission: as configured, or the coadds' own, or a top-hat."""
    configured = _configured_bandpass(config)
    if configured is not None:
        return configured
    if config.effective_wavelength is None and config.bandwidth is None and info.transmission is not None:
        return Bandpass(*info.transmission)
    return Bandpass.top_hat(
        config.effective_wavelength or info.effective_wavelength, config.bandwidth or info.bandwidth
    )
