"""What `GetDcrTemplateTask` reads and writes, and how it is configured."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import ChoiceField, Config, ConfigField, Field, RangeField
from lsst.pipe.base import PipelineTaskConfig, PipelineTaskConnections

from dcrflow.model.config import TemplateConfig

_DETECTOR = ("instrument", "visit", "detector")


class GetDcrTemplateConnections(  # type: ignore[call-arg]
    PipelineTaskConnections,
    dimensions=_DETECTOR,
    defaultTemplates={"coaddName": "dcr", "warpTypeSuffix": "", "fakesType": ""},
):
    """Stock storage classes that want no afw; those of afw with ``config.storage = "afw"``.

    The geometry of tracts and patches comes from the coadds themselves, so that no skymap has to be read. With afw's it
    comes from the skymap, which wants `lsst.skymap`.
    """

    bbox = cT.Input(
        doc="Pixels of the detector.",
        name="{fakesType}calexp.bbox",
        storageClass="BoxV2",
        dimensions=_DETECTOR,
    )
    wcs = cT.Input(
        doc="Projection of the detector.",
        name="{fakesType}calexp.sky_projection",
        storageClass="SkyProjection",
        dimensions=_DETECTOR,
    )
    visitInfo = cT.Input(  # noqa: N815
        doc="Where the telescope pointed, when, and in what weather.",
        name="{fakesType}calexp.obs_info",
        storageClass="ObservationInfo",
        dimensions=_DETECTOR,
    )
    detector = cT.Input(
        doc="Geometry and electronics of the detector; read for a DifferenceImage alone.",
        name="{fakesType}calexp.detector",
        storageClass="DetectorV2",
        dimensions=_DETECTOR,
    )
    skyMap = cT.Input(  # noqa: N815
        doc="Where tracts and patches are; read with afw's storage classes alone.",
        name="skyMap",
        storageClass="SkyMap",
        dimensions=("skymap",),
    )
    coaddExposureRefs = cT.Input(  # noqa: N815
        doc="Subfilter coadds that may overlap the detector; regions of them are read.",
        name="{fakesType}dcrCoadd{warpTypeSuffix}",
        storageClass="MaskedImageV2",
        dimensions=("tract", "patch", "skymap", "band", "subfilter"),
        multiple=True,
        deferLoad=True,
    )
    template = cT.Output(
        doc="The reference as this observation would have seen it, on the detector's pixels and a border.",
        name="{fakesType}{coaddName}Diff_templateExp{warpTypeSuffix}",
        storageClass="MaskedImageV2",
        dimensions=_DETECTOR,
    )

    def __init__(self, *, config: GetDcrTemplateConfig | None = None) -> None:
        super().__init__(config=config)
        if config is None or config.output != "DifferenceImage":
            del self.detector
        else:
            self.template = dataclasses.replace(self.template, storageClass="DifferenceImage")
        if config is not None and config.storage == "afw":
            calexp = self.bbox.name.removesuffix(".bbox")
            for name, component, storage in (
                ("bbox", "bbox", "Box2I"), ("wcs", "wcs", "Wcs"), ("visitInfo", "visitInfo", "VisitInfo"),
            ):  # fmt: skip
                change = {"name": f"{calexp}.{component}", "storageClass": storage}
                setattr(self, name, dataclasses.replace(getattr(self, name), **change))
            for name in ("coaddExposureRefs", "template"):
                setattr(self, name, dataclasses.replace(getattr(self, name), storageClass="ExposureF"))
        else:
            del self.skyMap


def _choice(key: str) -> dict[Any, str]:
    """The values that a key of `TemplateConfig` allows."""
    allowed = TemplateConfig.model_json_schema()["properties"][key]["enum"]
    return {value: value for value in allowed}


class WarpConfig(Config):
    """How tracts are resampled to the detector."""

    warpingKernelName = ChoiceField[str](  # noqa: N815
        doc="Interpolation from the tract's to the detector's pixels; LSST's own default is lanczos3.",
        allowed=_choice("warp"),
        default="spline5",
    )


class GetDcrTemplateConfig(  # type: ignore[call-arg]
    PipelineTaskConfig, pipelineConnections=GetDcrTemplateConnections
):
    """Fields of the reference task by the names they have there, and dcrflow's own.

    LSST's own way of doing it is ``dcr="split"``, ``rotation="boresight"``, ``warp.warpingKernelName="lanczos3"``.
    """

    templateBorderSize = RangeField[int](  # noqa: N815
        doc="Pixels added on each side of the detector.", default=20, min=0, max=4096, inclusiveMax=True
    )
    warp = ConfigField[WarpConfig](doc="How tracts are resampled to the detector.", dtype=WarpConfig)
    numSubfilters = RangeField[int](  # noqa: N815
        doc="Subfilters that every patch must have.", default=3, min=1, max=64, inclusiveMax=True
    )
    effectiveWavelength = RangeField[float](  # noqa: N815
        doc="nm, of the wavelength whose light stays in place, the middle of the subfilters; None: what the coadds "
        "say, or the middle of the LSST band.",
        default=None, optional=True, min=230.2, max=2058.6, inclusiveMax=True,
    )  # fmt: skip
    bandwidth = RangeField[float](
        doc="nm, of all subfilters together; None: what the coadds say, or that of the LSST band.",
        default=None, optional=True, min=0.0, inclusiveMin=False,
    )  # fmt: skip
    highVarianceThreshold = RangeField[float](  # noqa: N815
        doc="Pixels of this many times the median variance are flagged HIGH_VARIANCE.",
        default=4.0,
        min=0.0,
        inclusiveMin=False,
    )
    highVarianceMaskFraction = RangeField[float](  # noqa: N815
        doc="Fraction of the pixels that must be usable to judge the variance.",
        default=0.1,
        min=0.0,
        max=1.0,
        inclusiveMax=True,
    )
    dcr = ChoiceField[str](
        doc="How the light of a subfilter is spread along the zenith direction.",
        allowed=_choice("dcr"), default="spectral",
    )  # fmt: skip
    rotation = ChoiceField[str](
        doc="DCR evaluated where the pixels are, or by LSST's one boresight number for all.",
        allowed=_choice("rotation"), default="local",
    )  # fmt: skip
    combine = ChoiceField[str](
        doc="Weights of overlapping pixels: variance^-1/2, or 1 (mean).", allowed=_choice("combine"), default="variance"
    )
    transmission = Field[str](
        doc="The band's transmission, a filter's name or a file; None: the coadds' own, or a top-hat.",
        default=None, optional=True,
    )  # fmt: skip
    fill = Field[float](doc="Image (nJy) and variance where there are no data.", default=0.0)
    tile = RangeField[int](doc="Side of the tiles that are made one after the other, pixels.", default=1024, min=64)
    storage = ChoiceField[str](
        doc="Family of the storage classes.",
        allowed={"lsst.images": "MaskedImageV2, SkyProjection and so on.", "afw": "ExposureF, Wcs and so on."},
        default="lsst.images",
    )

    output = ChoiceField[str](
        doc="Class of the template where the family is lsst.images.",
        allowed={
            "MaskedImage": "Image, mask and variance on the detector's projection.",
            "DifferenceImage": "The same with detector, observation, a Gaussian PSF and the coadds that it is made of.",
        },
        default="MaskedImage",
    )

    def validate(self) -> None:
        """Check what goes together.

        Raises
        ------
        lsst.pex.config.FieldValidationError
            For a field that cannot be used.
        """
        super().validate()
        for name, other in (("effectiveWavelength", "bandwidth"), ("bandwidth", "effectiveWavelength")):
            if getattr(self, name) is None and getattr(self, other) is not None:
                raise self._unusable(name, f"{other} is set; set both or none")
        if self.effectiveWavelength is not None and self.bandwidth >= 2 * self.effectiveWavelength:
            raise self._unusable("bandwidth", f"{self.bandwidth} nm around {self.effectiveWavelength} nm")
        if self.output == "DifferenceImage" and self.storage != "lsst.images":
            raise self._unusable("output", f"a DifferenceImage is none of the family {self.storage}")
        if math.isinf(self.fill):
            raise self._unusable("fill", "it is infinite")

    def _unusable(self, name: str, why: str) -> Exception:
        from lsst.pex.config import FieldValidationError

        error: Exception = FieldValidationError(self._fields[name], self, why)
        return error

    def template_config(self) -> TemplateConfig:
        """The same as dcrflow has it."""
        values = {
            "border": self.templateBorderSize,
            "num_subfilters": self.numSubfilters,
            "dcr": self.dcr,
            "rotation": self.rotation,
            "warp": self.warp.warpingKernelName,
            "combine": self.combine,
            "fill": self.fill,
            "tile": self.tile,
            "transmission": self.transmission,
            "effective_wavelength": self.effectiveWavelength,
            "bandwidth": self.bandwidth,
            "high_variance_threshold": self.highVarianceThreshold,
            "high_variance_min_fraction": self.highVarianceMaskFraction,
        }
        return TemplateConfig.make(values)
