"""Configuration of `GetDcrTemplateTask`: the fields of both generations of the reference, and dcrflow's own fields.

Fields of the reference that dcrflow cannot support exist too, so that configuration files load. Validation fails if
such a field asks for anything but what dcrflow does; the message names the field and says what to use instead.
"""

from __future__ import annotations

import math
from typing import Any

from lsst.pex.config import ChoiceField, Config, ConfigField, Field, FieldValidationError, ListField, RangeField
from lsst.pipe.base import PipelineTaskConfig

from dcrflow.base.errors import ConfigError
from dcrflow.lsst.connections import GetDcrTemplateConnections, check_names
from dcrflow.model.config import TemplateConfig


def _choice(key: str) -> dict[Any, str]:
    """The values that a key of `TemplateConfig` allows."""
    allowed = TemplateConfig.model_json_schema()["properties"][key]["enum"]
    return {value: value for value in allowed}


def _refusal(config: Config, name: str, why: str) -> Exception:
    error: Exception = FieldValidationError(config._fields[name], config, why)
    return error


def _only(config: Config, name: str, expected: Any, instead: str) -> None:
    found = getattr(config, name)
    if (list(found) if isinstance(expected, list) else found) != expected:
        raise _refusal(config, name, f"only {expected!r} is possible, found {found!r}; {instead}")


_OTHER_BACKGROUND = "for another way override GetDcrTemplateTask.checkHighVariance"
_SCALE_DOWNSTREAM = "scale it downstream, where the science image's is scaled"
_SCALED_WITHOUT = ("DETECTED", "DETECTED_NEGATIVE", "BAD", "SAT", "NO_DATA", "INTRP")


class WarpConfig(Config):
    """How tracts are resampled to the detector; the fields of ``lsst.afw.math.WarperConfig``."""

    warpingKernelName = ChoiceField[str](  # noqa: N815
        doc="Interpolation from the tract's to the detector's pixels; LSST's own default is lanczos3.",
        allowed=_choice("warp"),
        default="spline5",
    )
    maskWarpingKernelName = Field[str](  # noqa: N815
        doc="Interpolation of the mask: bilinear, a pixel takes the planes of the four around its place.",
        default="bilinear",
    )
    interpLength = RangeField[int](  # noqa: N815
        doc="Pixels between which LSST interpolates positions. Without effect: dcrflow chooses the distance by the "
        "error, which it measures, and stays below 1e-3 pixel.",
        default=100, min=0,
    )  # fmt: skip
    cacheSize = RangeField[int](  # noqa: N815
        doc="Entries of LSST's table of kernels. Without effect: dcrflow's tables are fixed and interpolated.",
        default=100000, min=0,
    )  # fmt: skip
    growFullMask = Field[int](  # noqa: N815
        doc="Mask bits that LSST grows to the full width of the kernel; None: none but NO_DATA.",
        default=None, optional=True,
    )  # fmt: skip

    def validate(self) -> None:
        """Refuse values that dcrflow does not support."""
        super().validate()
        _only(self, "maskWarpingKernelName", "bilinear", "the mask is always taken so")
        _only(self, "growFullMask", None, "leave it out; grow planes downstream")


class CoaddPsfConfig(Config):
    """How the coadds' PSFs are resampled; the fields of ``lsst.meas.algorithms.CoaddPsfConfig``."""

    warpingKernelName = ChoiceField[str](  # noqa: N815
        doc="Interpolation of the PSF; empty: that of the image. With storage=afw it goes to CoaddPsf, which knows "
        "bilinear and Lanczos kernels only (lanczos3 where the image's is another).",
        allowed={"": "as the image", **_choice("warp")}, default="",
    )  # fmt: skip
    cacheSize = RangeField[int](  # noqa: N815
        doc="Entries of CoaddPsf's table of kernels, with storage=afw; without effect otherwise.", default=100000, min=0
    )


class VarianceBackgroundConfig(Config):
    """How the variance is smoothed to find HIGH_VARIANCE: LSST's way, which is the only one.

    The fields of ``lsst.meas.algorithms.SubtractBackgroundConfig`` with the values that the reference task gives them.
    Those of a polynomial have no effect, as in LSST, because ``useApprox`` is False.
    """

    _polynomial = ("approxOrderX", "approxOrderY", "weighting")

    algorithm = Field[str](doc="Interpolation between bins.", default="LINEAR", optional=True)
    binSize = Field[int](doc="Side of the bins, pixels.", default=32)  # noqa: N815
    binSizeX = Field[int](doc="Width of the bins; 0: binSize.", default=0)  # noqa: N815
    binSizeY = Field[int](doc="Height of the bins; 0: binSize.", default=0)  # noqa: N815
    useApprox = Field[bool](doc="Fit a polynomial instead.", default=False)  # noqa: N815
    statisticsProperty = Field[str](doc="Of a bin's pixels.", default="MEDIAN")  # noqa: N815
    undersampleStyle = Field[str](doc="Where there are few bins.", default="REDUCE_INTERP_ORDER")  # noqa: N815
    doFilterSuperPixels = Field[bool](doc="Median filter of 3 x 3 bins.", default=True)  # noqa: N815
    ignoredPixelMask = ListField[str](  # noqa: N815
        doc="Planes whose pixels are not looked at.", dtype=str,
        default=["BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA"],
    )  # fmt: skip
    isNanSafe = Field[bool](doc="Leave out NaN.", default=False)  # noqa: N815
    approxOrderX = Field[int](doc="Order of the polynomial in x.", default=6)  # noqa: N815
    approxOrderY = Field[int](doc="Order of the polynomial in y; -1: as in x.", default=-1)  # noqa: N815
    weighting = Field[bool](doc="Weight the polynomial by inverse variance.", default=True)
    doApplyFlatBackgroundRatio = Field[bool](  # noqa: N815
        doc="Convert from a photometrically flat image first.", default=False
    )

    def retarget(self, *args: Any, **kwargs: Any) -> None:
        """Refuse another task, as of ``config.varianceBackground.retarget(Task)`` in a file for the reference."""
        raise ConfigError(f"{self._name} cannot be another task; {_OTHER_BACKGROUND}")

    def validate(self) -> None:
        """Refuse values that dcrflow does not support."""
        super().validate()
        for name, field in self._fields.items():
            expected = list(field.default) if isinstance(field.default, list | tuple) else field.default
            if name not in self._polynomial:
                _only(self, name, expected, _OTHER_BACKGROUND)


class ScaleVarianceBackgroundConfig(VarianceBackgroundConfig):
    """The background that LSST subtracts to scale a variance; no field has an effect."""

    def setDefaults(self) -> None:  # noqa: N802
        """The values of ``lsst.meas.algorithms.ScaleVarianceConfig``."""
        super().setDefaults()
        self.algorithm, self.statisticsProperty = "AKIMA_SPLINE", "MEANCLIP"
        self.ignoredPixelMask = list(_SCALED_WITHOUT)

    def validate(self) -> None:
        """Accept every value."""
        Config.validate(self)


class ScaleVarianceConfig(Config):
    """How LSST rescales the variance; without effect, because ``doScaleVariance`` is False.

    The fields of ``lsst.meas.algorithms.ScaleVarianceConfig``.
    """

    background = ConfigField[ScaleVarianceBackgroundConfig](
        doc="The background that is subtracted before.", dtype=ScaleVarianceBackgroundConfig
    )
    maskPlanes = ListField[str](  # noqa: N815
        doc="Planes whose pixels are not looked at.", dtype=str, default=list(_SCALED_WITHOUT)
    )
    limit = Field[float](doc="The largest factor.", default=10.0)

    def retarget(self, *args: Any, **kwargs: Any) -> None:
        """Refuse another task."""
        raise ConfigError(f"{self._name} cannot be another task; {_SCALE_DOWNSTREAM}")


class GetDcrTemplateConfig(  # type: ignore[call-arg]
    PipelineTaskConfig, pipelineConnections=GetDcrTemplateConnections
):
    """The fields of the reference task with the same names, and dcrflow's own fields.

    LSST's own method is ``dcr="split"``, ``rotation="boresight"``, ``warp.warpingKernelName="lanczos3"``.
    """

    templateBorderSize = RangeField[int](  # noqa: N815
        doc="Pixels added on each side of the detector.", default=20, min=0, max=4096, inclusiveMax=True
    )
    warp = ConfigField[WarpConfig](doc="How tracts are resampled to the detector.", dtype=WarpConfig)
    coaddPsf = ConfigField[CoaddPsfConfig](  # noqa: N815
        doc="How the coadds' PSFs are resampled.", dtype=CoaddPsfConfig
    )
    varianceBackground = ConfigField[VarianceBackgroundConfig](  # noqa: N815
        doc="How the variance is smoothed to find HIGH_VARIANCE.", dtype=VarianceBackgroundConfig
    )
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
        doc="Pixels of this many times the median variance are flagged HIGH_VARIANCE.", default=4.0, min=1.0
    )
    highVarianceMaskFraction = RangeField[float](  # noqa: N815
        doc="Fraction of the pixels that must be usable to judge the variance.",
        default=0.1,
        min=0.0,
        max=1.0,
        inclusiveMax=True,
    )
    doScaleVariance = Field[bool](  # noqa: N815
        doc="LSST rescales the variance to the scatter of the pixels. dcrflow carries it through each step instead.",
        default=False,
    )
    scaleVariance = ConfigField[ScaleVarianceConfig](  # noqa: N815
        doc="How LSST rescales the variance. Without effect: see doScaleVariance.", dtype=ScaleVarianceConfig
    )
    doCorrectVariancePlateScale = Field[bool](  # noqa: N815
        doc="LSST scales the variance by the pixel area of the coadds' images over the detector's.", default=False
    )
    requireCoaddAtGraphBuild = Field[bool](  # noqa: N815
        doc="Whether the coadds constrain the quantum graph: without, a detector far from any is a quantum too.",
        default=True,
    )
    output_image_type = ChoiceField[str](
        doc="The reference's choice of classes; None: what storage and output say.",
        allowed={"legacy": "ExposureF: storage=afw.", "future": "lsst.images: storage=lsst.images."},
        default=None, optional=True,
    )  # fmt: skip
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
            "DcrTemplate": "dcrflow's own: a DifferenceImage with the PSF, and components by the older names as well.",
            "DifferenceImage": "Stock storage class: detector, observation, a Gaussian PSF, the coadds it is made of.",
            "MaskedImage": "Stock storage class: image, mask and variance on the detector's projection.",
        },
        default="DcrTemplate",
    )

    def validate(self) -> None:
        """Check that the fields agree, and refuse values that dcrflow does not support.

        Raises
        ------
        lsst.pex.config.FieldValidationError
            For a field that cannot be used; the message names it and says what to use instead.
        """
        super().validate()
        for name, other in (("effectiveWavelength", "bandwidth"), ("bandwidth", "effectiveWavelength")):
            if getattr(self, name) is None and getattr(self, other) is not None:
                raise _refusal(self, name, f"{other} is set; set both or none")
        if self.effectiveWavelength is not None and self.bandwidth >= 2 * self.effectiveWavelength:
            raise _refusal(self, "bandwidth", f"{self.bandwidth} nm around {self.effectiveWavelength} nm")
        if self.output == "DifferenceImage" and self.storage != "lsst.images":
            raise _refusal(self, "output", f"a DifferenceImage does not belong to the storage {self.storage}")
        if math.isinf(self.fill):
            raise _refusal(self, "fill", "it is infinite")
        self._check_reference_fields()
        check_names(self)

    def _check_reference_fields(self) -> None:
        wanted = {"legacy": "afw", "future": "lsst.images", None: self.storage}[self.output_image_type]
        if wanted != self.storage:
            raise _refusal(self, "output_image_type", f"{self.output_image_type} needs storage={wanted}; set that too")
        _only(self, "doScaleVariance", False, _SCALE_DOWNSTREAM)
        _only(self, "doCorrectVariancePlateScale", False, "the variance already follows the area of the pixels")
        kernel = self.coaddPsf.warpingKernelName
        if self.storage != "afw" and kernel not in ("", self.warp.warpingKernelName):
            raise _refusal(
                self.coaddPsf, "warpingKernelName",
                f"the PSF is resampled as the image, by {self.warp.warpingKernelName}; set warp.warpingKernelName",
            )  # fmt: skip

    def template_config(self) -> TemplateConfig:
        """The same settings as a `TemplateConfig`."""
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
