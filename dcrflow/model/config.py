"""Configurations: frozen objects that are the same in Python, in YAML and on the command line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator

from dcrflow.base.addresses import redacted
from dcrflow.base.errors import ConfigError, brief
from dcrflow.base.yamltext import parse_yaml, read_yaml
from dcrflow.kernels.interpolation import INTERPOLATIONS

_LARGEST_CURVE = 1 << 24  # bytes of a transmission file

DcrMethod = Literal["spectral", "split", "midpoint"]
Rotation = Literal["local", "boresight"]
if TYPE_CHECKING:
    Warp = str
else:
    Warp = Literal[tuple(INTERPOLATIONS)]
Combine = Literal["variance", "mean"]
Granularity = Literal["tile", "detector"]


class Curve(BaseModel):
    """A transmission curve, linear between its points."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wavelength: tuple[float, ...] = Field(description="nm, increasing")
    throughput: tuple[float, ...] = Field(description="fraction of the photons that are detected, any scale")


class Config(BaseModel):
    """Base of configurations: each key has a type, limits and a description with its unit; unknown keys are an
    error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True)

    if not TYPE_CHECKING:  # type checkers know the keys from the fields

        def __init__(self, /, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ConfigError("; ".join(_explain(type(self), e) for e in error.errors())) from None

    @classmethod
    def make(cls, values: Mapping[str, Any]) -> Self:
        """Make a config from keys and values, as ``Config(**values)`` does.

        Raises
        ------
        ConfigError
            For an unknown key or an unusable value; names each, and what is allowed.
        """
        return cls(**values)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a YAML file of keys and values.

        Raises
        ------
        ConfigError
            If the file cannot be read, is no mapping, or holds an unknown key or unusable value.
        """
        try:
            values = read_yaml(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read the configuration file {path}: {' '.join(str(error).split())}") from error
        if values is None:
            values = {}
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"the configuration file {path} must hold `key: value` lines, found {type(values).__name__}"
            )
        try:
            return cls.make({str(k): v for k, v in values.items()})
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    def updated(self, settings: Iterable[str]) -> Self:
        """A config with ``key=value`` settings applied, values read as YAML.

        Raises
        ------
        ConfigError
            If a setting has no ``=``, or names an unknown key or unusable value.
        """
        return type(self).make(self.model_dump(exclude_unset=True) | parse_settings(settings))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; what is changed has another digest."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("digest", None)
        return copied

    def as_json(self) -> dict[str, Any]:
        """All keys and values that what is made depends on, as JSON has them, and without secrets."""
        found = self.model_dump(mode="json", exclude={"sync"})
        if isinstance(found.get("transmission"), str):
            found["transmission"] = redacted(found["transmission"])
        return found

    @property
    def refraction(self) -> str:
        """The refraction's formula that pixels are made by."""
        from dcrflow.physics.dcr import formula  # the command line parses without numpy

        return formula(getattr(self, "rotation", "local"))  # LSST's convention has its own

    @cached_property
    def digest(self) -> str:
        """A hash of every value, the refraction's formula and a transmission file's content: what is made alike.

        It is made once, and goes to other processes with the config: they need not see the file.
        """
        made_by = self.as_json() | {"refraction": self.refraction}
        transmission = getattr(self, "transmission", None)
        if isinstance(transmission, str) and names_a_file(transmission):
            made_by["transmission"] = [transmission, _content_digest(transmission)]
        return blake2b(json.dumps(made_by, sort_keys=True).encode(), digest_size=16).hexdigest()


class TemplateConfig(Config):
    """How templates are made. Unknown keys are an error.

    Examples
    --------
    >>> import dcrflow
    >>> config = dcrflow.TemplateConfig(border=50, warp="lanczos3")
    >>> config.border, config.dcr
    (50, 'spectral')
    >>> config.updated(["dcr=split"]).dcr
    'split'
    """

    border: Annotated[int, Field(ge=0, le=4096)] = Field(20, description="pixels added on each side of the detector")
    num_subfilters: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None,
        description="subfilters that every patch must have; None: as many as the coadds have",
    )
    dcr: DcrMethod = Field("spectral", description="how the light of a subfilter is spread along the zenith direction")
    rotation: Rotation = Field(
        "local",
        description="DCR evaluated where the pixels are; or LSST's convention and refraction, to compare (boresight)",
    )
    warp: Warp = Field("spline5", description="interpolation from the tract's to the detector's pixels")
    combine: Combine = Field("variance", description="weights of overlapping pixels: variance^-1/2, or 1 (mean)")
    fill: float = Field(math.nan, description="image and variance where there are no data, nJy and nJy^2")
    high_variance_threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        4.0, description="HIGH_VARIANCE is above this many times the median of the smoothed variance; None: nowhere"
    )
    high_variance_min_fraction: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="fraction of the pixels, free of sources and defects, below which there is no HIGH_VARIANCE"
    )
    tile: Annotated[int, Field(ge=64, le=65536)] = Field(
        1024, description="side of an output tile (dask chunk), pixels"
    )
    granularity: Granularity = Field(
        "tile",
        description="what a task of a lazy template makes: a step of a tile (or of four), or all of it; tasks of "
        "campaigns make whole templates, several each",
    )
    band: str | None = Field(None, description="band of the coadds; None: the detector-visit's own")
    transmission: str | Curve | None = Field(
        None, description="the band's transmission: a filter's name, a file, or a curve; None: the coadds' own"
    )
    effective_wavelength: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="nm, of the wavelength whose light DCR leaves in place; None: the coadds' own"
    )
    bandwidth: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="nm, of a top-hat band; None: the coadds' own"
    )

    precision: Annotated[float, Field(ge=1, le=4096)] | None = Field(
        16.0,
        description="steps a sigma of the noise to which the pixels of a template store are rounded; None: every bit",
    )
    sync: bool = Field(
        True,
        description="wait until a template is on the disk before it replaces an old one; off: a power cut may cost it",
    )

    @field_validator("transmission", mode="before")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        if isinstance(value, str) and not value.strip():
            raise ValueError("an empty name; leave it out to take the coadds' own transmission")
        return value

    @field_serializer("fill", when_used="json")
    def _fill_as_text(self, value: float) -> float | str:
        return value if math.isfinite(value) else str(value)


def names_a_file(transmission: str) -> bool:
    """Whether a transmission's name is a file's, and not a filter's."""
    return any(letter in transmission for letter in "./\\")


def _content_digest(path: str) -> str:
    """Of a file's content; empty if it cannot be read, which is an error of each template that needs it."""
    try:
        with open(path, "rb") as file:
            return blake2b(file.read(_LARGEST_CURVE), digest_size=16).hexdigest()
    except OSError:
        return ""


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Keys and values of ``key=value`` settings, values read as YAML.

    Raises
    ------
    ConfigError
        If a setting has no ``=``, or its value is no YAML.
    """
    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{brief(setting)} is not of the form key=value")
        try:
            values[key.strip()] = parse_yaml(text)
        except ValueError as error:
            raise ConfigError(f"cannot read the value of {brief(setting)}: {error}") from None
    return values


def _explain(config: type[Config], error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "config"
    if error["type"] == "extra_forbidden":
        return f"unknown key {brief(where)}; the keys are {', '.join(config.model_fields)}"
    if error["type"] == "value_error" and not error["loc"]:  # of several keys together
        return str(error["ctx"]["error"])
    return f"{where} = {brief(error['input'])}: {error['msg'][0].lower()}{error['msg'][1:]}"
