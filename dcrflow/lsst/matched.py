"""DCR-matched coadds, as the task passes them on; their pixels are computed on access."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from dcrflow.base.masks import NO_DATA
from dcrflow.geometry.footprint import Footprint
from dcrflow.lsst.convert import ExposureArrays, lsst_box, masked_image, observation_row, projection_of
from dcrflow.lsst.handles import HandleCoadds, SubfilterCoadd, Subfilters
from dcrflow.lsst.overlap import one_calibration
from dcrflow.model.config import TemplateConfig
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.observation import Observation
from dcrflow.physics.refraction import Weather
from dcrflow.planning.template import plan_template
from dcrflow.planning.tiles import TilePart
from dcrflow.steps import load_patch, shift_subfilters
from dcrflow.stores.visits.rows import detector_visit

_COMPONENTS = ("image", "mask", "variance", "bbox", "psf", "wcs", "photoCalib", "visitInfo")
_ANYWHERE = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -1e-4, "CDELT2": 1e-4,
    "CRPIX1": 1.0, "CRPIX2": 1.0, "CRVAL1": 0.0, "CRVAL2": 0.0,
}  # fmt: skip


def observation_of(visit_info: Any) -> Observation:
    """Make an `Observation` from an ObservationInfo or VisitInfo, by way of a row with a placeholder detector."""
    row = {"visit": 0, "detector": 0, "band": "x", "x0": 0, "y0": 0, "width": 1, "height": 1, "wcs": _ANYWHERE}
    return detector_visit(observation_row(visit_info) | row).observation


@dataclass(frozen=True)
class MatchedCoadd:
    """The coadd of a patch as one observation would have seen it, on the patch's own pixels.

    Its pixels are computed on access. A template is not made from these pixels but from the subfilters themselves,
    which are shifted, summed and resampled with a single interpolation.

    Parameters
    ----------
    coadds : HandleCoadds
        The coadds that hold its subfilters.
    tract, patch : int
        Which patch.
    band : str
        Of the coadds.
    observation : Observation
        The observation whose DCR it is matched to.
    config : TemplateConfig
        How.
    dataId : object
        Its data ID: tract, patch, skymap, band; that of its first subfilter.
    visitInfo : object
        The observation as LSST's object, if there is one.
    """

    coadds: HandleCoadds = field(repr=False)
    tract: int
    patch: int
    band: str
    observation: Observation = field(repr=False)
    config: TemplateConfig = field(repr=False)
    dataId: Any = None  # noqa: N815
    visitInfo: Any = field(default=None, repr=False)  # noqa: N815

    def get(self, *, component: str | None = None, parameters: Mapping[str, Any] | None = None) -> Any:
        """As the method of a deferred dataset: the masked image, a part of it, or a component.

        Raises
        ------
        KeyError
            If it has no such component.
        """
        if component is not None:
            if component not in _COMPONENTS:
                raise KeyError(f"a matched coadd has no component {component!r}; it has {', '.join(_COMPONENTS)}")
            return getattr(self, component)
        bbox = (parameters or {}).get("bbox")
        return self.maskedImage if bbox is None else self.maskedImage[bbox]

    @property
    def photoCalib(self) -> Any:  # noqa: N802
        """How its subfilters are calibrated: ``photoCalib`` of the first, or nJy of a unit.

        Raises
        ------
        MixedCoaddsError
            If its subfilters are calibrated differently.
        """
        return one_calibration(self.subfilters)

    @property
    def psf(self) -> Any:
        """The PSF of its first subfilter; None if it has none."""
        return self.subfilters[0].psf

    @property
    def wcs(self) -> Any:
        """`lsst.images.SkyProjection` of its pixels."""
        return self.maskedImage.sky_projection

    @property
    def subfilters(self) -> tuple[SubfilterCoadd, ...]:
        """Its subfilter coadds."""
        return self.coadds.coadds(self.tract, self.patch, self.band)

    @cached_property
    def arrays(self) -> ExposureArrays:
        """Its pixels on the patch's bounding box; NaN and NO_DATA where there are none."""
        one = HandleCoadds(self.subfilters, self.bands, self.coadds.url)
        tract, box = one.tracts[self.tract], one.info(self.tract, self.patch, self.band).bbox
        visit = DetectorVisit("", 0, 0, self.band, box, tract.wcs, self.observation)
        plan = plan_template(one, visit, self.config.model_copy(update={"border": 0, "warp": "lanczos3"}))
        patch = plan.tracts[0].patches[0]
        read = load_patch(one, plan, patch, box)
        whole = TilePart(0, box, Footprint.of(*box.outline()), ((patch, box),))
        made = shift_subfilters(plan, whole, [read]).pixels.part(box)
        gone = (made.mask & np.int32(1 << plan.planes[NO_DATA])) != 0
        image, variance = (np.where(gone, np.float32(np.nan), v) for v in (made.image, made.variance))
        return ExposureArrays(box, image, variance, made.mask, plan.planes)

    @property
    def bands(self) -> Subfilters:
        """The wavelengths of its subfilters."""
        info = self.coadds.info(self.tract, self.patch, self.band)
        return Subfilters(info.subfilter_edges, info.effective_wavelength, info.bandwidth, info.transmission)

    @cached_property
    def maskedImage(self) -> Any:  # noqa: N802
        """The same as a `lsst.images.MaskedImage`, in nJy."""
        from lsst.images import TractFrame

        found, tract = self.arrays, self.coadds.tracts[self.tract]
        frame = TractFrame(skymap=str(_get(self.dataId, "skymap", "")), tract=self.tract, bbox=lsst_box(tract.bbox))
        projection = projection_of(tract.wcs, frame, found.box)
        return masked_image(found.box, found.image, found.variance, found.mask, found.planes, projection)

    @property
    def image(self) -> Any:
        """`lsst.images.Image`, nJy."""
        return self.maskedImage.image

    @property
    def variance(self) -> Any:
        """`lsst.images.Image`, nJy^2."""
        return self.maskedImage.variance

    @property
    def mask(self) -> Any:
        """`lsst.images.Mask`."""
        return self.maskedImage.mask

    @property
    def bbox(self) -> Any:
        """`lsst.images.Box`, tract pixels."""
        return self.maskedImage.bbox


def _get(data_id: Any, name: str, default: Any) -> Any:
    try:
        return data_id[name]
    except (KeyError, TypeError):
        return default


def as_observed(matched: Sequence[MatchedCoadd], url: str) -> tuple[HandleCoadds, Observation, TemplateConfig]:
    """The subfilters of matched coadds as one source, and the observation they were matched to."""
    bands = {(m.tract, m.patch): m for m in matched}
    subfilters = [c for m in matched for c in m.subfilters]
    source = HandleCoadds(subfilters, lambda coadd: bands[coadd.tract, coadd.patch].bands, url)
    return source, matched[0].observation, matched[0].config


def already_matched(
    coadds: Sequence[Any], data_ids: Sequence[Any], config: TemplateConfig
) -> tuple[HandleCoadds, Observation, TemplateConfig]:
    """Coadds that were matched before, as a source with a single subfilter, which DCR does not shift."""
    wavelength = 500.0  # of no effect: at the zenith nothing moves
    source = HandleCoadds(
        [
            SubfilterCoadd(
                int(d["tract"]), int(d["patch"]), 0, str(_get(d, "band", "")), getattr(c, "inMemoryDataset", c)
            )
            for c, d in zip(coadds, data_ids, strict=True)
        ],
        Subfilters(((wavelength - 0.5, wavelength + 0.5),), wavelength, 1.0),
        "memory",
    )
    tract = next(iter(source.tracts.values()))
    observation = Observation(*tract.centre, 90.0, 0.0, Weather(10.0, 74000.0, 10.0), 0.0, 0.0, 0.0)
    changes = {"num_subfilters": 1, "dcr": "midpoint", "effective_wavelength": None, "bandwidth": None}
    return source, observation, config.model_copy(update={**changes, "transmission": None, "rotation": "local"})
