"""Sky maps: which tracts and patches the sky is cut into, from a few numbers alone.

The rules are those of the Rubin pipelines' ``lsst.skymap`` (rings and discrete sky maps, legacy and cells layouts of
patches), so that ids, boxes and WCS agree with theirs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import ConfigError, NoOverlapError
from dcrflow.geometry import sphere
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.geometry.wcs import SkyWcs

Float = NDArray[np.float64]

_MOST_PATCHES = 1 << 20  # of a tract
_LARGEST_SIDE = 1 << 28  # pixels, of a tract


class PatchId(NamedTuple):
    """Which patch holds a position."""

    tract: int
    patch: int


class SkyMap(Protocol):
    """Tracts that cover the sky, or a part of it."""

    @property
    def name(self) -> str:
        """Of the sky map."""

    @property
    def tract_ids(self) -> range | tuple[int, ...]:
        """The ids of all tracts, increasing."""

    def tract(self, tract: int) -> Tract:
        """The tract of this id; `NoOverlapError` if there is none."""

    def find(self, ra: float, dec: float) -> PatchId:
        """The tract and the patch whose inner part holds a position (ICRS, degrees); `NoOverlapError` if none does."""

    def near(self, ra: float, dec: float, radius: float) -> Iterator[Tract]:
        """The tracts that a circle on the sky can touch (degrees), by id."""


@dataclass(frozen=True)
class PatchLayout:
    """How a tract around a point is laid out in pixels, and cut into patches.

    Parameters
    ----------
    pixel_scale : float
        At the tangent point, arcsec.
    projection : str
        FITS code of three letters, such as TAN or STG.
    rotation : float
        Position angle of the pixels' +y axis, degrees, as lsst.skymap's ``rotation`` turns them.
    tract_overlap : float
        How far a tract reaches over its nominal radius, degrees.
    patch_inner : (int, int)
        Width and height of a patch's inner part, pixels.
    patch_border : int
        How far a patch reaches over its inner part on each side, pixels.
    clipped : bool
        Whether patches end at the tract's edge (lsst.skymap's legacy layout) or reach over it (its cells layout).
    """

    pixel_scale: float
    projection: str = "TAN"
    rotation: float = 0.0
    tract_overlap: float = 0.0
    patch_inner: tuple[int, int] = (4000, 4000)
    patch_border: int = 100
    clipped: bool = True

    def tract(self, number: int, centre: tuple[float, float], radius: float) -> Tract:
        """A square tract around a point.

        The smallest box that holds the points at `radius` plus the overlap in the four main directions, grown to
        whole patches about the same middle; its lower-left pixel is (0, 0).

        Parameters
        ----------
        number : int
            Its id.
        centre : (float, float)
            ICRS, degrees.
        radius : float
            Half its nominal side, degrees.
        """
        at_origin = self.wcs(centre, (0.0, 0.0))
        ra, dec = sphere.offset(*centre, np.array([0.0, 90.0, 180.0, 270.0]), radius + self.tract_overlap)
        x, y = at_origin.sky_to_pixel(ra, dec)
        back = sphere.separation(ra, dec, *at_origin.pixel_to_sky(x, y))
        if not np.all(back < 1e-6) or max(np.ptp(x), np.ptp(y)) > _LARGEST_SIDE:  # NaN is not less
            raise ConfigError(
                f"a tract of radius {radius + self.tract_overlap:g} deg and pixels of {self.pixel_scale:g} arcsec does "
                f"not fit into projection {self.projection}; give a smaller radius, or larger pixels"
            )
        x0, width, nx = _axis(x, self.patch_inner[0])
        y0, height, ny = _axis(y, self.patch_inner[1])
        if nx * ny > _MOST_PATCHES:
            raise ConfigError(f"a tract would have {nx} x {ny} patches, expected {_MOST_PATCHES} at most")
        return Tract(
            tract=number,
            wcs=self.wcs(centre, (-x0, -y0)),
            bbox=Box(0, 0, width, height),
            patch_inner=self.patch_inner,
            patch_border=self.patch_border,
            num_patches=(nx, ny),
            clipped=self.clipped,
        )

    def wcs(self, centre: tuple[float, float], pixel: tuple[float, float]) -> SkyWcs:
        """The WCS that has the sky position `centre` at the (0-based) pixel position `pixel`."""
        turn, scale = math.radians(self.rotation), self.pixel_scale / 3600.0
        cos, sin = scale * math.cos(turn), scale * math.sin(turn)
        return SkyWcs.from_header(
            {
                "CTYPE1": f"RA---{self.projection}",
                "CTYPE2": f"DEC--{self.projection}",
                "CRPIX1": pixel[0] + 1.0,
                "CRPIX2": pixel[1] + 1.0,
                "CRVAL1": centre[0],
                "CRVAL2": centre[1],
                "CUNIT1": "deg",
                "CUNIT2": "deg",
                "CD1_1": -cos,
                "CD1_2": sin,
                "CD2_1": sin,
                "CD2_2": cos,
                "RADESYS": "ICRS",
            }
        )


def _axis(points: Float, inner: int) -> tuple[int, int, int]:
    """First pixel, extent and number of patches of an axis on which a tract must hold these points."""
    low = math.floor(float(np.min(points)) + 0.5)
    extent = math.ceil(float(np.max(points)) - 0.5) + 1 - low
    number = -(-extent // inner)
    return low - (number * inner - extent) // 2, number * inner, number


@dataclass(frozen=True)
class Rings:
    """The tracts of a rings sky map: rings of declination between two polar caps, each cut in right ascension.

    Parameters
    ----------
    num_rings : int
        Without the polar caps.
    ra_start : float
        Right ascension of the middle of each ring's first tract, degrees.
    version : {1, 0}
        Numbering; 0 is that of lsst.skymap before 2018, in which the first tract of the first ring is there twice
        and the first of the last ring is not.
    """

    num_rings: int
    ra_start: float = 0.0
    version: int = 1

    @property
    def radius(self) -> float:
        """Half the nominal side of a tract, degrees."""
        return 90.0 / (self.num_rings + 1)

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """How many tracts each ring has, from south to north, shape (num_rings,).

        As many as cover the ring's edge nearer to the equator.
        """
        size = math.pi / (self.num_rings + 1)
        low = size * (np.arange(self.num_rings) + 0.5) - 0.5 * math.pi
        widest = np.minimum(np.abs(low), np.abs(low + size))
        return (2 * math.pi * np.cos(widest) / size).astype(np.int64) + 1

    @property
    def centres(self) -> tuple[Float, Float]:
        """Middles of all tracts by id, (ra, dec), ICRS degrees: south pole, rings from south to north, north pole."""
        ring = np.repeat(np.arange(self.num_rings), self.numbers)
        within = np.concatenate([np.arange(n) for n in self.numbers])
        if self.version == 0:
            first = np.cumsum(self.numbers)[:-1]  # where a ring's first tract should be, is one beyond the last
            within[first], ring[first] = self.numbers[:-1], np.arange(self.num_rings - 1)
        ra = (360.0 * within / self.numbers[ring] + self.ra_start) % 360.0
        dec = 180.0 * (ring + 1) / (self.num_rings + 1) - 90.0
        return np.concatenate([[0.0], ra, [0.0]]), np.concatenate([[-90.0], dec, [90.0]])

    def find(self, ra: float, dec: float) -> int:
        """Id of the tract nearest to a position in its ring."""
        size = math.pi / (self.num_rings + 1)
        south, latitude = 0.5 * size - 0.5 * math.pi, math.radians(dec)
        if latitude < south:
            return 0
        if latitude > -south:
            return int(np.sum(self.numbers)) + 1
        ring = min(int((latitude - south) / size), self.num_rings - 1)
        number = int(self.numbers[ring])
        within = int(math.radians((ra - self.ra_start) % 360.0) / (2 * math.pi / number) + 0.5) % number
        if self.version == 0 and within == 0 and ring != 0:
            ring += 1
        return int(np.sum(self.numbers[:ring])) + within + 1


@dataclass(frozen=True)
class ComputedSkyMap:
    """Tracts at given points, of one layout: a rings or a discrete sky map.

    Parameters
    ----------
    ra, dec : ndarray of float64, shape (n,)
        Middles of the tracts by id, ICRS degrees.
    radius : ndarray of float64, shape (n,)
        Half the nominal side of each, degrees.
    layout : PatchLayout
        Of all tracts.
    rings : Rings, optional
        What the tracts are, where they are rings; otherwise a position belongs to the nearest tract.
    name : str
        Of the sky map.
    """

    ra: Float
    dec: Float
    radius: Float
    layout: PatchLayout
    rings: Rings | None = None
    name: str = ""

    @classmethod
    def of_rings(cls, rings: Rings, layout: PatchLayout, name: str = "") -> ComputedSkyMap:
        """A rings sky map."""
        ra, dec = rings.centres
        return cls(ra, dec, np.full(ra.shape, rings.radius), layout, rings, name)

    @property
    def tract_ids(self) -> range:
        """0 to the number of tracts."""
        return range(len(self.ra))

    def tract(self, tract: int) -> Tract:
        """The tract of this id."""
        if tract not in self.tract_ids:
            raise NoOverlapError(f"the sky map has tracts 0 to {len(self.ra) - 1}, not {tract}")
        centre = float(self.ra[tract]), float(self.dec[tract])
        return self.layout.tract(tract, centre, float(self.radius[tract]))

    def find(self, ra: float, dec: float) -> PatchId:
        """The tract and the patch whose inner part holds a position."""
        _check_position(ra, dec)
        if self.rings is not None:
            number = self.rings.find(ra, dec)
        else:
            number = int(np.argmin(sphere.separation(ra, dec, self.ra, self.dec)))
        return _in_tract(self.tract(number), ra, dec)

    def near(self, ra: float, dec: float, radius: float) -> Iterator[Tract]:
        """The tracts that a circle on the sky can touch."""
        reach = math.sqrt(2) * (self.radius + self.layout.tract_overlap + self._patch) + radius
        for number in np.flatnonzero(sphere.separation(ra, dec, self.ra, self.dec) <= reach):
            yield self.tract(int(number))

    @property
    def _patch(self) -> float:
        """How far patches can make a tract reach over its radius, degrees."""
        return (max(self.layout.patch_inner) + self.layout.patch_border) * self.layout.pixel_scale / 3600.0


@dataclass(frozen=True)
class ListedSkyMap:
    """A sky map that is a list of tracts."""

    tracts: tuple[Tract, ...]
    name: str = ""
    _by_id: dict[int, Tract] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {t.tract: t for t in self.tracts})

    @property
    def tract_ids(self) -> tuple[int, ...]:
        """The ids of all tracts."""
        return tuple(sorted(self._by_id))

    def tract(self, tract: int) -> Tract:
        """The tract of this id."""
        if tract not in self._by_id:
            raise NoOverlapError(f"the sky map has no tract {tract}; it has {', '.join(map(str, self.tract_ids[:8]))}")
        return self._by_id[tract]

    def find(self, ra: float, dec: float) -> PatchId:
        """The tract and the patch whose inner part holds a position: of the tract with the nearest middle."""
        _check_position(ra, dec)
        nearest = min(self.tracts, key=lambda t: float(sphere.separation(ra, dec, *t.centre)))
        return _in_tract(nearest, ra, dec)

    def near(self, ra: float, dec: float, radius: float) -> Iterator[Tract]:
        """The tracts that a circle on the sky can touch."""
        for number in self.tract_ids:
            tract = self._by_id[number]
            reach = tract.radius + tract.patch_border * tract.wcs.pixel_scale(*_middle(tract.bbox)) / 1800.0
            if sphere.separation(ra, dec, *tract.centre) <= radius + reach:
                yield tract


def _check_position(ra: float, dec: float) -> None:
    if not (math.isfinite(ra) and abs(dec) <= 90.0):
        raise ConfigError(f"RA {ra} and Dec {dec} are no position; expected degrees, and a Dec of -90 to 90")


def _in_tract(tract: Tract, ra: float, dec: float) -> PatchId:
    """The patch of a tract whose inner part holds a position, to the nearest pixel."""
    x, y = (float(v) for v in tract.wcs.sky_to_pixel(ra, dec))
    patch = tract.patch_at(x, y) if math.isfinite(x) and math.isfinite(y) else None
    if patch is None:
        raise NoOverlapError(
            f"RA {ra:g} Dec {dec:g} lies on no patch: the nearest tract is {tract.tract}, whose middle is at "
            f"RA {tract.centre[0]:g} Dec {tract.centre[1]:g}"
        )
    return PatchId(tract.tract, patch)


def _middle(box: Box) -> tuple[float, float]:
    return box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2


def described(tract: Tract) -> dict[str, Any]:
    """A tract's geometry in plain values: ``tract``, ``center``, ``bbox``, ``num_patches``, ``wcs``, ``patches``.

    Boxes are [x0, y0, width, height] in absolute tract pixels, the centre is the tangent point (RA, Dec), degrees.
    """
    cards = {str(k): v for k, v in tract.wcs.header.items()}
    return {
        "tract": tract.tract,
        "center": [cards["CRVAL1"], cards["CRVAL2"]],
        "bbox": tract.bbox.as_list(),
        "num_patches": list(tract.num_patches),
        "patch_inner": list(tract.patch_inner),
        "patch_border": tract.patch_border,
        "wcs": cards,
        "patches": [
            {"patch": p.patch, "inner": tract.inner(p.patch).as_list(), "outer": p.bbox.as_list()}
            for p in tract.patches
        ],
    }
