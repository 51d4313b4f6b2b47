"""The configuration of DCR coadds: one frozen object in Python, YAML and on the command line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dcrflow.model.config import Config, Curve

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class CoaddConfig(Config):
    """How DCR coadds are built from visits. Unknown keys are an error."""

    num_subfilters: Annotated[int, Field(ge=1, le=5)] = Field(
        3, description="subfilters of the coadd; 1: the ordinary coadd, with homogenised PSF"
    )
    psf_fwhm: Annotated[float, Field(gt=0, le=60)] | None = Field(
        None, description="arcsec, of the coadd's PSF; None: near the visits' median seeing, the same for all patches"
    )
    psf_beta: Annotated[float, Field(gt=1.1, le=100)] = Field(3.0, description="Moffat's beta of the coadd's PSF")
    band: str | None = Field(None, description="band of the visits; None: all are of one")
    transmission: str | Curve | None = Field(
        None, description="the band's transmission: a filter's name, a file, or a curve"
    )
    effective_wavelength: Positive | None = Field(None, description="nm, of the light that DCR leaves in place")
    bandwidth: Positive | None = Field(None, description="nm, of a top-hat band")
    color_prior: tuple[Positive, ...] = Field(
        (0.30, 0.08, 0.05, 0.05), description="rms of spectral slope, curvature, ... over the flux, before any data"
    )
    color_deviation: Positive = Field(
        0.2, description="rms of what the sky may deviate from the smooth local colours, over its flux"
    )
    reject: bool = Field(True, description="leave out pixels that a visit alone shows: transients, cosmic rays")
    reject_threshold: Positive = Field(5.0, description="sigma, above which a pixel is left out")
    reject_model_error: Annotated[float, Field(ge=0, le=1)] = Field(
        0.02, description="error of the model that is no outlier, over its light"
    )
    reject_grow: Annotated[int, Field(ge=0, le=64)] = Field(6, description="pixels around an outlier, left out too")
    self_calibrate: bool | Literal["auto"] = Field(
        "auto", description="fit flux scale and shift of every visit; auto: where the residuals ask for it"
    )
    max_rounds: Annotated[int, Field(ge=1, le=200)] = Field(
        60, description="rounds over the visits at most, to fill pixels without data"
    )
    tolerance: Positive = Field(
        0.03, description="what the last round may change, over the coadd's noise; above: INEXACT_PSF"
    )
    min_weight: Annotated[float, Field(gt=0, le=1)] = Field(
        1 / 3, description="of the median weight; pixels below are NO_DATA"
    )
    margin: Annotated[int, Field(ge=0, le=512)] = Field(60, description="pixels of data around a patch that are used")
    cell: Annotated[int, Field(ge=64, le=1024)] = Field(514, description="pixels; PSF and DCR are constant in a cell")
    halo: Annotated[int, Field(ge=16, le=256)] = Field(43, description="pixels that cells share with their neighbours")
    taper: Annotated[int, Field(ge=1, le=128)] = Field(
        31, description="outermost pixels of a halo, over which weights fall to zero"
    )
    precision: Annotated[float, Field(ge=1, le=4096)] | None = Field(
        16, description="steps a sigma of the noise to which stored pixels are rounded; None: every bit"
    )

    @model_validator(mode="after")
    def _fits(self) -> CoaddConfig:
        if len(self.color_prior) < self.num_subfilters - 1:
            raise ValueError(f"color_prior needs {self.num_subfilters - 1} values, found {len(self.color_prior)}")
        if self.taper >= self.halo:
            raise ValueError(f"taper = {self.taper} must be less than halo = {self.halo}")
        return self
