"""The configuration of a sky map: its keys, checks, and how a sky map is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from dcrflow.base.errors import ConfigError, WcsError, brief
from dcrflow.geometry.box import Box
from dcrflow.geometry.layout import ComputedSkyMap, ListedSkyMap, PatchLayout, Rings
from dcrflow.geometry.skymap import Tract
from dcrflow.geometry.wcs import SkyWcs


def _pair(value: object) -> object:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _several(value: object) -> object:
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


Side = Annotated[int, Field(ge=1, le=1 << 20)]
Pair = Annotated[tuple[Side, Side], BeforeValidator(_pair)]
Degrees = Annotated[float, Field(allow_inf_nan=False)]
List = Annotated[tuple[Degrees, ...], BeforeValidator(_several)]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("", description="of the sky map")


class _Layout(_Config):
    """Keys of every computed sky map; the defaults are those of lsst.skymap, except for the projection."""

    pixel_scale: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = Field(
        0.333, description="at a tract's middle, arcsec"
    )
    projection: Annotated[str, Field(pattern="^[A-Z]{3}$")] = Field("TAN", description="FITS code, such as TAN or STG")
    rotation: Degrees = Field(0.0, description="of the pixel grid, degrees")
    tract_overlap: Annotated[float, Field(ge=0, le=90)] = Field(1.0, description="of tracts over their radius, degrees")
    patch_inner: Pair = Field((4000, 4000), description="width and height of a patch's inner part, pixels")
    patch_border: Annotated[int, Field(ge=0, le=1 << 20)] = Field(100, description="of a patch on each side, pixels")
    layout: Literal["legacy", "cells"] = Field("legacy", description="patches of pixels, or of cells")
    cell_inner: Pair = Field((150, 150), description="of the cells layout: inner part of a cell, pixels")
    cell_border: Annotated[int, Field(ge=0, le=1 << 16)] = Field(50, description="of a cell on each side, pixels")
    cells_per_patch: Annotated[int, Field(ge=1, le=1 << 16)] = Field(20, description="cells along a patch's inner part")
    cells_in_border: Annotated[int, Field(ge=0, le=1 << 16)] = Field(1, description="cells in a patch's border")

    @model_validator(mode="after")
    def _square_cells(self) -> Self:
        if self.cell_inner[0] != self.cell_inner[1]:
            raise ValueError(f"cell_inner is {self.cell_inner}, expected a square")
        return self

    def patch_layout(self) -> PatchLayout:
        """How tracts are divided; patches of cells are computed from the cells, and extend over the tract's edge."""
        inner, border = self.patch_inner, self.patch_border
        if self.layout == "cells":
            side = self.cell_inner[0]
            inner = (side * self.cells_per_patch, side * self.cells_per_patch)
            border = self.cells_in_border * side + self.cell_border
        return PatchLayout(
            pixel_scale=self.pixel_scale,
            projection=self.projection,
            rotation=self.rotation,
            tract_overlap=self.tract_overlap,
            patch_inner=inner,
            patch_border=border,
            clipped=self.layout == "legacy",
        )


class RingsConfig(_Layout):
    """``kind: rings``, equivalent to RingsSkyMap of lsst.skymap."""

    kind: Literal["rings"]
    num_rings: Annotated[int, Field(ge=1, le=1000)] = Field(description="without the polar caps")
    ra_start: Annotated[float, Field(ge=0, lt=360)] = Field(0.0, description="middle of each ring's first tract, deg")
    version: Literal[0, 1] = Field(1, description="of the numbering; 0 is lsst.skymap's before 2018")

    def skymap(self) -> ComputedSkyMap:
        """The sky map."""
        return ComputedSkyMap.of_rings(
            Rings(self.num_rings, self.ra_start, self.version), self.patch_layout(), self.name or "rings"
        )


class DiscreteConfig(_Layout):
    """``kind: discrete``, equivalent to DiscreteSkyMap of lsst.skymap: a square tract around each given position."""

    kind: Literal["discrete"]
    ra: List = Field(description="of the tracts' middles, ICRS degrees")
    dec: List = Field(description="of the tracts' middles, ICRS degrees")
    radius: List = Field(description="half the sides of the tracts, degrees")

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if not len(self.ra) == len(self.dec) == len(self.radius) or not self.ra:
            raise ValueError(
                f"ra, dec and radius have {len(self.ra)}, {len(self.dec)} and {len(self.radius)} numbers, expected as "
                "many of each, and one or more"
            )
        if any(abs(v) > 90 for v in self.dec) or any(not 0 < v <= 90 for v in self.radius):
            raise ValueError("a dec is beyond 90 degrees, or a radius is not between 0 and 90")
        return self

    def skymap(self) -> ComputedSkyMap:
        """The sky map."""
        ra, dec, radius = (np.array(v, np.float64) for v in (self.ra, self.dec, self.radius))
        return ComputedSkyMap(ra, dec, radius, self.patch_layout(), name=self.name or "discrete")


class TractConfig(BaseModel):
    """One tract of ``kind: tracts``, with the keys of a DCR-coadd store's tract."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tract: Annotated[int, Field(ge=0)]
    wcs: dict[str, Any] = Field(description="FITS keyword to value")
    bbox: tuple[int, int, Side, Side] = Field(description="x0, y0, width, height, pixels")
    patch_inner: Pair
    patch_border: Annotated[int, Field(ge=0, le=1 << 20)]
    num_patches: tuple[Side, Side]
    patches_clipped: bool = True


class TractsConfig(_Config):
    """``kind: tracts``: tracts listed one by one."""

    kind: Literal["tracts"]
    tracts: Annotated[tuple[TractConfig, ...], Field(min_length=1)]

    def skymap(self) -> ListedSkyMap:
        """The sky map."""
        tracts = tuple(
            Tract(
                t.tract, SkyWcs.from_header(t.wcs), Box(*t.bbox), t.patch_inner, t.patch_border, t.num_patches,
                t.patches_clipped,
            )
            for t in self.tracts
        )  # fmt: skip
        return ListedSkyMap(tracts, self.name or "tracts")


class AutoConfig(_Config):
    """``kind: auto``: one tract around the given visits."""

    kind: Literal["auto"]
    pixel_scale: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] | None = Field(
        None, description="arcsec; the visits' own otherwise, or 0.2 where that is nearly theirs"
    )
    patch_inner: Annotated[int, Field(ge=64, le=1 << 16)] = Field(4000, description="at most, pixels")
    patch_border: Annotated[int, Field(ge=0, le=1 << 14)] = Field(100, description="pixels")


SkyMapConfig = RingsConfig | DiscreteConfig | TractsConfig | AutoConfig
_ANY: TypeAdapter[SkyMapConfig] = TypeAdapter(Annotated[SkyMapConfig, Field(discriminator="kind")])


def skymap_config(values: Mapping[str, Any], where: str) -> SkyMapConfig:
    """Check keys and values and return a configuration.

    Raises
    ------
    ConfigError
        For an unknown kind or key, or an unusable value; names each of them and the place where it was found.
    """
    try:
        return _ANY.validate_python(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{where}: {'; '.join(_explain(e) for e in error.errors()[:5])}") from None


def _explain(error: Any) -> str:
    if error["type"] == "union_tag_not_found":
        return "it has no `kind`; expected rings, discrete, tracts or auto"
    if error["type"] == "union_tag_invalid":
        return f"kind is {brief(error['ctx']['tag'])}, expected rings, discrete, tracts or auto"
    key = ".".join(map(str, error["loc"][1:])) or "it"
    if error["type"] == "extra_forbidden":
        return f"unknown key {brief(key)} of kind {error['loc'][0]}"
    if error["type"] == "missing":
        return f"{key} is missing"
    if error["type"] == "value_error" and len(error["loc"]) == 1:  # of several keys together
        return str(error["ctx"]["error"])
    return f"{key} = {brief(error['input'])}: {error['msg'][0].lower()}{error['msg'][1:]}"


def made(config: RingsConfig | DiscreteConfig | TractsConfig, where: str) -> ComputedSkyMap | ListedSkyMap:
    """Make the sky map of a configuration; raises `ConfigError` if that is impossible."""
    try:
        skymap = config.skymap()
        if isinstance(skymap, ComputedSkyMap):  # raise here if the projection cannot hold the largest tract
            skymap.tract(int(np.argmax(skymap.radius)))
        return skymap
    except (WcsError, ConfigError) as error:
        raise ConfigError(f"{where}: {error}") from None
