"""dcrflow's own dataset classes for the Butler: a template and a subfilter coadd, each with its PSF.

They extend classes of `lsst.images`, which cannot write such a PSF. `DcrTemplate` is a `DifferenceImage`, LSST's class
for stitched templates, and `DcrCoadd` is a `MaskedImage`. Both have a `NodePsf`. The formatter of lsst.images reads and
writes them. Components have the names of lsst.images, and also the older names that pipelines use: ``wcs``, ``filter``,
``photoCalib``, ``visitInfo``, ``coaddInputs``.

Private names of lsst.images are used, because it has no public way to add a field to a class of its own:
``_serialize_impl``, ``_get_archive_tree_type``, ``_from_visit_image``, ``_psf``, ``_finish_deserialize``. Tried with
lsst-images 30.2026.4300; they can go when a `VisitImage` takes any PSF that can serialise itself.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import pydantic
from lsst.images import DifferenceImage, MaskedImage
from lsst.images._difference_image import DifferenceImageSerializationModel
from lsst.images._masked_image import MaskedImageSerializationModel
from lsst.images.psfs import GaussianPointSpreadFunction
from lsst.images.psfs._gaussian import GaussianPSFSerializationModel
from lsst.images.serialization import InputArchive, InvalidParameterError, OutputArchive

from dcrflow.lsst.node_psf import NodePsf, NodePsfModel

_CALIBRATED: Mapping[str, Any] = {"unit": "nJy", "calibrationMean": 1.0, "calibrationErr": 0.0, "isConstant": True}
_PIXELS = ("image", "mask", "variance", "masked_image")


def photo_calib(unit: Any) -> dict[str, Any]:
    """Return the photometric calibration of pixels in a unit, in nJy per unit."""
    import astropy.units as u

    return {**_CALIBRATED, "calibrationMean": float(u.Unit(unit).to(u.nJy))} if unit is not None else dict(_CALIBRATED)


def tile_of(shape: tuple[int, ...]) -> int:
    """Side of the compressed tiles of a coadd: small enough that a region costs little more than its own pixels.

    And large enough that seeking a tile costs little: about 4 kB of each plane.
    """
    return 256 if min(shape) >= 2048 else 128 if min(shape) >= 1024 else 64


class DcrTemplate(DifferenceImage):
    """A template: a `lsst.images.DifferenceImage` whose PSF varies over the detector.

    Use `of` to make one. ``psf`` is a `NodePsf`. If the coadds have no PSF, reading it raises an error.
    """

    @classmethod
    def of(cls, image: DifferenceImage, psf: NodePsf | None) -> DcrTemplate:
        """Make a template from a `DifferenceImage` and a PSF; with None it keeps the PSF of the image."""
        made: DcrTemplate = copy.copy(image)
        made.__class__ = cls
        if psf is not None:
            made._psf = psf
        return made

    def __getitem__(self, bbox: Any) -> DcrTemplate:
        return DcrTemplate.of(super().__getitem__(bbox), None)

    def copy(self, *, copy_detector: bool = False) -> DcrTemplate:
        """A copy of pixels and mask."""
        return DcrTemplate.of(super().copy(copy_detector=copy_detector), None)

    @property
    def wcs(self) -> Any:
        """The projection, by its older name."""
        return self.sky_projection

    @property
    def visitInfo(self) -> Any:  # noqa: N802
        """The observation, by its older name: an `astro_metadata_translator.ObservationInfo`."""
        return self.obs_info

    @property
    def filter(self) -> dict[str, str]:
        """Band and physical filter."""
        return {"band": self.band, "physical": str(self.obs_info.physical_filter)}

    @property
    def photoCalib(self) -> dict[str, Any]:  # noqa: N802
        """The photometric calibration: pixels are in nJy."""
        return photo_calib(self.unit)

    @property
    def coaddInputs(self) -> list[Any]:  # noqa: N802
        """The coadds that were used, each as a `lsst.images.DifferenceImageTemplateInfo`."""
        return list(self.templates)

    def serialize(self, archive: OutputArchive[Any]) -> DcrTemplateModel[Any]:
        """Write it to an archive of `lsst.images`."""
        if not isinstance(self._psf, NodePsf):
            result = self._serialize_impl(DcrTemplateModel, archive)
        else:
            plain = copy.copy(self)
            plain._psf = GaussianPointSpreadFunction(1.0, self.bbox, 1)  # a VisitImage writes no PSF but its own kinds
            result = plain._serialize_impl(DcrTemplateModel, archive)
            result.psf = archive.serialize_direct("psf", self._psf.serialize)
        result.kernel, result.templates = None, self._templates
        written: DcrTemplateModel[Any] = result
        return written

    @staticmethod
    def _get_archive_tree_type(pointer_type: type[pydantic.BaseModel]) -> Any:
        return DcrTemplateModel[pointer_type]  # type: ignore[valid-type]


class DcrTemplateModel[P: pydantic.BaseModel](DifferenceImageSerializationModel[P]):
    """How a `DcrTemplate` is written: as a DifferenceImage, with another PSF."""

    SCHEMA_NAME: ClassVar[str] = "dcrflow_template"
    SCHEMA_VERSION: ClassVar[str] = "1.0.0"
    MIN_READ_VERSION: ClassVar[int] = 1
    PUBLIC_TYPE: ClassVar[type] = DcrTemplate

    psf: NodePsfModel | GaussianPSFSerializationModel = pydantic.Field(union_mode="left_to_right")

    def deserialize(self, archive: InputArchive[Any], *, bbox: Any = None, **kwargs: Any) -> DcrTemplate:
        """Read it, or a part of it."""
        return DcrTemplate.of(super().deserialize(archive, bbox=bbox, **kwargs), None)

    def deserialize_component(self, component: str, archive: InputArchive[Any], **kwargs: Any) -> Any:
        """Read a component, by either of its names."""
        if component == "filter":
            return {"band": self.band, "physical": str(self.obs_info.physical_filter)}
        if component == "photoCalib":
            return photo_calib(self.image.unit)
        if component == "coaddInputs":
            return list(self.templates or [])
        same = {"wcs": "sky_projection", "visitInfo": "obs_info"}
        return super().deserialize_component(same.get(component, component), archive, **kwargs)


class DcrCoadd(MaskedImage):
    """A subfilter coadd: a `lsst.images.MaskedImage` with band and PSF. Use `of` to make one."""

    _psf: NodePsf | None = None
    _band: str = ""
    _physical_filter: str = ""
    _tile: int | None = None

    @classmethod
    def of(cls, image: MaskedImage, psf: NodePsf | None, band: str, physical_filter: str = "") -> DcrCoadd:
        """Make a coadd from a masked image."""
        made: DcrCoadd = copy.copy(image)
        made.__class__ = cls
        made._psf, made._band, made._physical_filter = psf, band, physical_filter
        return made

    @classmethod
    def from_image(cls, image: MaskedImage) -> DcrCoadd:
        """Make a coadd from any masked image; PSF and band are taken over if it has them."""
        return cls.of(image, getattr(image, "psf", None), str(getattr(image, "band", None) or ""))

    def __getitem__(self, bbox: Any) -> DcrCoadd:
        made = DcrCoadd.of(super().__getitem__(bbox), self._psf, self._band, self._physical_filter)
        made._tile = self._tile
        return made

    def copy(self) -> DcrCoadd:
        """A copy of pixels and mask."""
        return DcrCoadd.of(super().copy(), self._psf, self._band, self._physical_filter)

    @property
    def psf(self) -> NodePsf | None:
        """Its PSF; None if it has none."""
        return self._psf

    @property
    def tile(self) -> tuple[int, int] | None:
        """Shape of the compressed tiles of the file, pixels; None if the coadd was not read from a file."""
        return None if self._tile is None else (self._tile, self._tile)

    @property
    def wcs(self) -> Any:
        """The tract's projection, by its older name."""
        return self.sky_projection

    @property
    def filter(self) -> dict[str, str]:
        """Band and physical filter; the physical filter is empty if the coadd has several."""
        return {"band": self._band, "physical": self._physical_filter}

    @property
    def photoCalib(self) -> dict[str, Any]:  # noqa: N802
        """The photometric calibration."""
        return photo_calib(self.unit)

    def serialize(self, archive: OutputArchive[Any]) -> DcrCoaddModel[Any]:
        """Write it to an archive of `lsst.images`."""
        tile = tile_of(self.bbox.shape)
        result = DcrCoaddModel.model_construct(
            **{
                name: archive.serialize_direct(
                    name, partial(getattr(self, name).serialize, save_projection=False, tile_shape=(tile, tile))
                )
                for name in ("image", "mask", "variance")
            },
            sky_projection=archive.serialize_direct("sky_projection", self.sky_projection.serialize),
            metadata=self.metadata,
        )
        result.tile = tile
        result.psf = None if self._psf is None else archive.serialize_direct("psf", self._psf.serialize)
        result.band, result.physical_filter = self._band, self._physical_filter
        written: DcrCoaddModel[Any] = result
        return written

    @staticmethod
    def _get_archive_tree_type(pointer_type: type[pydantic.BaseModel]) -> Any:
        return DcrCoaddModel[pointer_type]  # type: ignore[valid-type]


class DcrCoaddModel[P: pydantic.BaseModel](MaskedImageSerializationModel[P]):
    """How a `DcrCoadd` is written."""

    SCHEMA_NAME: ClassVar[str] = "dcrflow_coadd"
    SCHEMA_VERSION: ClassVar[str] = "1.0.0"
    MIN_READ_VERSION: ClassVar[int] = 1
    PUBLIC_TYPE: ClassVar[type] = DcrCoadd

    psf: NodePsfModel | None = pydantic.Field(default=None, description="The PSF; null where there is none.")
    band: str = pydantic.Field(default="", description="The band.")
    physical_filter: str = pydantic.Field(default="", description="The physical filter; empty for several.")
    tile: int | None = pydantic.Field(default=None, description="Side of the compressed tiles, pixels.")

    def deserialize(self, archive: InputArchive[Any], *, bbox: Any = None, **kwargs: Any) -> DcrCoadd:
        """Read it, or a part of it."""
        psf = None if self.psf is None else self.psf.deserialize(archive)
        image = super().deserialize(archive, bbox=bbox, **kwargs)
        made = DcrCoadd.of(image, psf, self.band, self.physical_filter)
        made._tile = self.tile
        return made

    def deserialize_component(self, component: str, archive: InputArchive[Any], **kwargs: Any) -> Any:
        """Read a component, by either of its names."""
        if kwargs and component not in _PIXELS:
            raise InvalidParameterError(f"{component} of a DcrCoadd takes no parameters, found {', '.join(kwargs)}")
        if component == "filter":
            return {"band": self.band, "physical": self.physical_filter}
        if component == "photoCalib":
            return photo_calib(self.image.unit)
        if component == "metadata":
            return dict(self.metadata)
        return super().deserialize_component("sky_projection" if component == "wcs" else component, archive, **kwargs)
