"""The plan of DCR coadds: which visits go into which patch, what is read and how long it takes. Reads no pixels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import ConfigError, NoOverlapError
from dcrflow.coadding.cells import CellGrid
from dcrflow.geometry.box import Box
from dcrflow.geometry.layout import SkyMap
from dcrflow.geometry.skymap import Outline, Patch, Tract, clipped_area
from dcrflow.model.coadd_config import CoaddConfig
from dcrflow.model.config import Curve
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.bandpass import Bandpass, Edges, equal_subfilters
from dcrflow.physics.bands import BANDS
from dcrflow.physics.dcr import dcr_model
from dcrflow.physics.refraction import in_range

Float = NDArray[np.float64]

BLOCK = 12  # cells that one task solves
_SECONDS_A_VISIT, _SECONDS_A_PATCH = 1.5, 10.0  # of a processor, at most, for a patch of `_USUAL` pixels a side
_USUAL = 4100
_FEW = 3  # visits, below which the prior says most of the colours
_ALIKE = 0.15  # pixels rms, of refraction across the band, below which visits are as good as one
_ONE_LINE = 0.1  # of the larger axis of the visits' refraction, below which all lie along one line


@dataclass(frozen=True)
class CoaddBand:
    """A band, cut into the subfilters of its coadds.

    Parameters
    ----------
    name : str
        As the visits have it.
    bandpass : Bandpass
        Transmission of the whole band.
    edges : tuple of (float, float)
        Of the subfilters, nm.
    effective_wavelength, bandwidth : float
        nm.
    is_top_hat : bool
        Whether the transmission is a top-hat, made from two numbers.
    """

    name: str
    bandpass: Bandpass
    edges: Edges
    effective_wavelength: float
    bandwidth: float
    is_top_hat: bool = False

    @classmethod
    def of(cls, name: str, config: CoaddConfig) -> CoaddBand:
        """The band that a configuration describes; LSST's by name, as a top-hat, where it says nothing.

        Raises
        ------
        ConfigError
            If it says too little, the transmission cannot be read, or the refraction of its light is not known.
        """
        band = cls._of(name, config)
        try:
            in_range([band.edges[0][0], band.edges[-1][1], band.effective_wavelength])
        except ValueError as error:
            raise ConfigError(
                f"band {name!r}: {error}; correct transmission, effective_wavelength or bandwidth (nm)"
            ) from None
        return band

    @classmethod
    def _of(cls, name: str, config: CoaddConfig) -> CoaddBand:
        choice = config.transmission
        if choice is not None:
            bandpass = _bandpass(choice)
            low, high = bandpass.limits
            effective = config.effective_wavelength or bandpass.effective_wavelength
            if config.bandwidth is None:
                edges = equal_subfilters((low + high) / 2, high - low, config.num_subfilters)
            else:
                edges = equal_subfilters(effective, config.bandwidth, config.num_subfilters)
            return cls(name, bandpass, edges, effective, edges[-1][1] - edges[0][0])
        known = BANDS.get(name)
        effective = config.effective_wavelength or (known[0] if known else 0.0)
        width = config.bandwidth or (known[2] - known[1] if known else 0.0)
        if not effective or not width:
            raise ConfigError(
                f"nothing is known of band {name!r}: set transmission (a file, or a filter's name), or "
                f"effective_wavelength and bandwidth (known are {', '.join(BANDS)})"
            )
        edges = equal_subfilters(effective, width, config.num_subfilters)
        return cls(name, Bandpass.top_hat(effective, width), edges, effective, width, True)


def _bandpass(choice: str | Curve) -> Bandpass:
    if isinstance(choice, Curve):
        return Bandpass(choice.wavelength, choice.throughput)
    looks_like_file = any(c in choice for c in "./\\") or Path(choice).exists()
    return Bandpass.read(choice) if looks_like_file else Bandpass.named(choice)


def grid_of(frame: Box, config: CoaddConfig) -> CellGrid:
    """The cells of a frame: they cover the patch, and have real data around them in the frame's margin."""
    return CellGrid(frame.shape, config.cell, config.halo, config.taper, config.margin)


@dataclass(frozen=True)
class PatchPlan:
    """What goes into the DCR coadd of one patch.

    Parameters
    ----------
    tract : Tract
        Its tract.
    patch : Patch
        The patch.
    frame : Box
        The pixels that visits are warped to: the patch's, and a margin; absolute tract pixels.
    visits : tuple of DetectorVisit
        All whose pixels touch the frame, by data ID.
    notes : tuple of str
        What these visits cannot determine; empty where nothing stands against them.
    """

    tract: Tract
    patch: Patch
    frame: Box
    visits: tuple[DetectorVisit, ...]
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The patch as text, for messages."""
        return f"tract {self.tract.tract} patch {self.patch.patch}"

    def grid(self, config: CoaddConfig) -> CellGrid:
        """The cells of its frame."""
        return grid_of(self.frame, config)

    def blocks(self, config: CoaddConfig) -> tuple[tuple[int, ...], ...]:
        """The cells that tasks solve together, by index."""
        number = len(self.grid(config))
        return tuple(tuple(range(i, min(i + BLOCK, number))) for i in range(0, number, BLOCK))

    def bytes_read(self) -> int:
        """Of image, mask and variance under the frame, uncompressed, about."""
        return sum(12 * int(_covered(v, self)) for v in self.visits)

    def seconds(self) -> float:
        """Of a processor, at most, about."""
        share = self.frame.area / _USUAL**2
        return share * (_SECONDS_A_PATCH + _SECONDS_A_VISIT * len(self.visits))


def _covered(visit: DetectorVisit, plan: PatchPlan) -> float:
    """Pixels of a detector under a frame."""
    x, y = plan.tract.wcs.sky_to_pixel(*visit.wcs.pixel_to_sky(*visit.bbox.outline(4)))
    scale = plan.tract.wcs.pixel_scale(*_middle(plan.frame)) / visit.wcs.pixel_scale(*_middle(visit.bbox))
    return clipped_area(x, y, plan.frame) * scale**2


def _middle(box: Box) -> tuple[float, float]:
    return box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2


@dataclass(frozen=True)
class LeftOut:
    """A detector-visit that does not go into the coadds, and why.

    Parameters
    ----------
    visit, detector : int
        The data ID; -1 where it cannot be read.
    reason : str
        One line.
    fault : bool
        Whether something is wrong with it; otherwise it only has no business here.
    """

    visit: int
    detector: int
    reason: str
    fault: bool = True

    def as_list(self) -> list[int | str | bool]:
        """As the store keeps it."""
        return [self.visit, self.detector, self.reason, self.fault]


@dataclass(frozen=True)
class CoaddPlan:
    """The plan of all patches of one band.

    Parameters
    ----------
    config : CoaddConfig
        How.
    band : CoaddBand
        Of what.
    skymap : SkyMap
        On which tracts.
    patches : tuple of PatchPlan
        By tract and patch.
    left_out : tuple of LeftOut
        Detector-visits that touch no patch, or are of another band, or cannot be read.
    psf_fwhm : float
        Of the coadds, arcsec.
    """

    config: CoaddConfig
    band: CoaddBand
    skymap: SkyMap
    patches: tuple[PatchPlan, ...]
    left_out: tuple[LeftOut, ...]
    psf_fwhm: float

    @cached_property
    def num_visits(self) -> int:
        """Detector-visits that go into any patch."""
        return len({(v.visit, v.detector) for p in self.patches for v in p.visits})

    def num_tasks(self) -> int:
        """Tasks of all graphs."""
        rounds = 1 if self.config.self_calibrate is False else 3
        return sum(2 * len(p.visits) + rounds * len(p.blocks(self.config)) + rounds + 2 for p in self.patches)

    def bytes_read(self) -> int:
        """Bytes of pixels that are read, uncompressed, about."""
        return sum(p.bytes_read() for p in self.patches)

    def bytes_written(self) -> int:
        """Bytes of the coadds' pixels, uncompressed."""
        return sum((8 * self.config.num_subfilters + 6) * p.patch.bbox.area for p in self.patches)

    def hours(self) -> float:
        """Of a processor, at most, about."""
        return sum(p.seconds() for p in self.patches) / 3600.0


def config_digest(plan: CoaddPlan, tract: Tract) -> str:
    """A hash of all that a patch's coadd is made with, but the visits: configuration, band, PSF, geometry."""
    band = plan.band
    about = [
        plan.config.as_json(), plan.psf_fwhm, band.name, band.edges, band.effective_wavelength,
        band.bandpass.wavelength, band.bandpass.throughput, tract.wcs.key, tract.bbox.as_list(), tract.patch_inner,
        tract.patch_border,
    ]  # fmt: skip
    return blake2b(json.dumps(about).encode(), digest_size=16).hexdigest()


def metadata_digest(visit: DetectorVisit, size: int, time: int) -> str:
    """A hash of a detector-visit's row, and of its file's size and time: what a change of either changes."""
    about = [
        visit.instrument, visit.visit, visit.detector, visit.band, visit.bbox.as_list(), visit.wcs.key,
        repr(visit.observation), visit.psf_fwhm, size, time,
    ]  # fmt: skip
    if visit.zero_point is not None:
        about.append(visit.zero_point)
    return blake2b(json.dumps(about).encode(), digest_size=8).hexdigest()


def choose_band(visits: Sequence[DetectorVisit], band: str | None) -> tuple[str, list[DetectorVisit], list[LeftOut]]:
    """The band that coadds are made of, its detector-visits, and those of other bands.

    Raises
    ------
    ConfigError
        If there are several and none is chosen, or none is of the one chosen.
    """
    found = sorted({v.band for v in visits})
    if band is None and len(found) > 1:
        counts = ", ".join(f"{sum(v.band == b for v in visits)} of {b}" for b in found)
        raise ConfigError(f"the visits are of several bands ({counts}); choose one with band, each has its own coadds")
    chosen = band if band is not None else (found[0] if found else "")
    mine = [v for v in visits if v.band == chosen]
    if visits and not mine:
        raise ConfigError(f"no visit is of band {chosen!r}; there are {', '.join(found)}")
    others = [
        LeftOut(v.visit, v.detector, f"it is of band {v.band}, expected {chosen}", False)
        for v in visits
        if v.band != chosen
    ]
    return chosen, mine, others


def plan_coadds(
    visits: Iterable[DetectorVisit], skymap: SkyMap, band: CoaddBand, config: CoaddConfig, psf_fwhm: float,
    left_out: Sequence[LeftOut] = (),
) -> CoaddPlan:  # fmt: skip
    """Plan the DCR coadds of one band.

    Parameters
    ----------
    visits : iterable of DetectorVisit
        All of the band.
    skymap : SkyMap
        The tracts.
    band : CoaddBand
        Of the visits.
    config : CoaddConfig
        How.
    psf_fwhm : float
        Of the coadds, arcsec.
    left_out : sequence of LeftOut
        Others that were given, for the record.

    Raises
    ------
    NoOverlapError
        If no visit touches any patch.
    """
    tracts: dict[int, Tract] = {}
    members: dict[tuple[int, int], list[DetectorVisit]] = {}
    touched: set[tuple[int, int]] = set()
    missed = list(left_out)
    ordered = sorted(visits, key=lambda v: (v.visit, v.detector))
    for visit in ordered:
        outline = Outline.of(visit.wcs, visit.bbox)
        hit = False
        for near in skymap.near(*outline.centre, outline.radius):
            tract = tracts.setdefault(near.tract, near)
            x, y = outline.on(tract)
            if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
                continue
            for patch in tract.patches_near(x, y, config.margin):
                key = tract.tract, patch.patch
                if clipped_area(x, y, patch.bbox.grown(config.margin)) <= 0:
                    continue
                members.setdefault(key, []).append(visit)
                if clipped_area(x, y, patch.bbox) > 0:
                    touched.add(key)
                    hit = True
        if not hit:
            missed.append(LeftOut(visit.visit, visit.detector, "it touches no patch of the sky map", False))
    if not touched:
        raise NoOverlapError(f"none of {len(ordered)} visits touches a patch of the sky map {skymap.name}")
    patches = []
    for tract_id, patch_id in sorted(touched):
        tract = tracts[tract_id]
        patch = tract.patch(patch_id)
        mine = tuple(members[tract_id, patch_id])
        notes = _notes(mine, band, tract)
        patches.append(PatchPlan(tract, patch, patch.bbox.grown(config.margin), mine, notes))
    return CoaddPlan(config, band, skymap, tuple(patches), tuple(missed), psf_fwhm)


def _notes(visits: Sequence[DetectorVisit], band: CoaddBand, tract: Tract) -> tuple[str, ...]:
    """What so many visits, under such zenith angles and directions, cannot determine."""
    if len(band.edges) == 1:
        return ()
    number = len({v.visit for v in visits})
    if number < _FEW:
        return (f"{number} visit{'s' * (number > 1)} only: colours come from the prior; give {_FEW} or more",)
    scale = tract.wcs.pixel_scale(*_middle(tract.bbox))
    points = np.array([_spread(v, band) for v in visits]) / scale
    spread = np.linalg.eigvalsh(np.cov(points.T, bias=True))  # ascending; rounding may leave the smaller below 0
    axes = np.sqrt(np.maximum(spread, 0.0))  # rms, pixels
    if axes[1] < _ALIKE:
        return (
            f"all visits refract nearly alike ({axes[1]:.2f} px rms across the band): they tell no colours, which come "
            "from the prior; templates at another zenith angle or direction gain little",
        )
    if axes[0] < _ONE_LINE * axes[1]:
        return (
            "all visits refract along one line (one parallactic angle): colours are known along it alone; templates in "
            "another direction gain less",
        )
    return ()


def _spread(visit: DetectorVisit, band: CoaddBand) -> tuple[float, float]:
    """Refraction of the band's bluest over that of its reddest subfilter: arcsec east and north."""
    seen = visit.observation
    model = dcr_model("spectral", band.bandpass, band.edges, band.effective_wavelength, seen)
    mean = model.mean_displacement(float(np.tan(np.deg2rad(90.0 - seen.altitude))))
    size, angle = float(mean[0] - mean[-1]), np.deg2rad(seen.parallactic_angle)
    return size * float(np.sin(angle)), size * float(np.cos(angle))
