"""Stand-ins for the classes of the LSST stack that want afw, which is not on PyPI.

Each has of the real interface what is used, by the real names, arguments and conventions, and nothing besides, so that
a wrong call fails.

Boxes are inclusive, `Exposure.__getitem__` takes parent coordinates and gives a view, mask planes are added by name to
one table for all masks, arrays are indexed [y, x].
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.geometry.wcs import SkyWcs as OurWcs
from dcrflow.model.visit import DetectorVisit


class Angle:
    """`lsst.geom.Angle`."""

    def __init__(self, degrees: float) -> None:
        self._degrees = degrees

    def asDegrees(self) -> float:  # noqa: N802
        return self._degrees


class Point2I:
    """`lsst.geom.Point2I`; integers alone, as the real one."""

    def __init__(self, x: int, y: int) -> None:
        assert isinstance(x, int)
        assert isinstance(y, int)
        self.x, self.y = x, y


class Extent2I(Point2I):
    """`lsst.geom.Extent2I`."""


class Point2D:
    """`lsst.geom.Point2D`."""

    def __init__(self, x: float, y: float) -> None:
        self.x, self.y = float(x), float(y)


class Box2I:
    """`lsst.geom.Box2I`: from a corner and dimensions, or from two corners that both belong to it."""

    def __init__(self, minimum: Point2I, other: Extent2I | Point2I) -> None:
        width, height = other.x, other.y
        if not isinstance(other, Extent2I):
            width, height = other.x - minimum.x + 1, other.y - minimum.y + 1
        self._x0, self._y0, self._width, self._height = minimum.x, minimum.y, width, height

    def getMinX(self) -> int:  # noqa: N802
        return self._x0

    def getMinY(self) -> int:  # noqa: N802
        return self._y0

    def getMaxX(self) -> int:  # noqa: N802
        return self._x0 + self._width - 1

    def getMaxY(self) -> int:  # noqa: N802
        return self._y0 + self._height - 1

    def getWidth(self) -> int:  # noqa: N802
        return self._width

    def getHeight(self) -> int:  # noqa: N802
        return self._height

    def contains(self, other: Box2I) -> bool:
        return (
            self.getMinX() <= other.getMinX() and other.getMaxX() <= self.getMaxX()
            and self.getMinY() <= other.getMinY() and other.getMaxY() <= self.getMaxY()
        )  # fmt: skip


def box2i(box: Box) -> Box2I:
    """By its two corners."""
    return Box2I(Point2I(box.x0, box.y0), Point2I(box.x1 - 1, box.y1 - 1))


class SkyWcs:
    """`lsst.afw.geom.SkyWcs`, with FITS metadata or without."""

    def __init__(self, wcs: OurWcs, fits: bool = True) -> None:
        self._wcs, self.isFits = wcs, fits

    def getFitsMetadata(self, precise: bool = False) -> Any:  # noqa: N802
        if precise and not self.isFits:
            raise RuntimeError("cannot be represented as FITS")
        return SimpleNamespace(toDict=lambda: {c.keyword: c.value for c in self._wcs.header.cards})

    def pixelToSkyArray(self, x: Any, y: Any, degrees: bool = False) -> tuple[Any, Any]:  # noqa: N802
        assert np.ndim(x) == np.ndim(y) == 1
        found = self._wcs.pixel_to_sky(x, y)
        return found if degrees else tuple(np.deg2rad(v) for v in found)

    def skyToPixelArray(self, ra: Any, dec: Any, degrees: bool = False) -> tuple[Any, Any]:  # noqa: N802
        assert np.ndim(ra) == np.ndim(dec) == 1
        return self._wcs.sky_to_pixel(*((ra, dec) if degrees else np.rad2deg([ra, dec])))


class VisitInfo:
    """`lsst.afw.image.VisitInfo`."""

    def __init__(self, visit: DetectorVisit) -> None:
        self._seen, self._instrument = visit.observation, visit.instrument

    def getBoresightRaDec(self) -> Any:  # noqa: N802
        return SimpleNamespace(getRa=lambda: Angle(self._seen.ra), getDec=lambda: Angle(self._seen.dec))

    def getBoresightAzAlt(self) -> Any:  # noqa: N802
        return SimpleNamespace(getLongitude=lambda: Angle(0.0), getLatitude=lambda: Angle(self._seen.altitude))

    def getBoresightParAngle(self) -> Angle:  # noqa: N802
        return Angle(self._seen.parallactic_angle)

    def getBoresightRotAngle(self) -> Angle:  # noqa: N802
        return Angle(self._seen.rotation_angle)

    def getDate(self) -> Any:  # noqa: N802
        return SimpleNamespace(nsecs=lambda: int((61000.5 - 40587) * 86400e9))

    def getObservatory(self) -> Any:  # noqa: N802
        return SimpleNamespace(
            getLongitude=lambda: Angle(-70.0), getLatitude=lambda: Angle(self._seen.latitude),
            getElevation=lambda: self._seen.height,
        )  # fmt: skip

    def getWeather(self) -> Any:  # noqa: N802
        weather = self._seen.weather
        return SimpleNamespace(
            getAirTemperature=lambda: weather.temperature, getAirPressure=lambda: weather.pressure,
            getHumidity=lambda: weather.humidity,
        )  # fmt: skip

    def getInstrumentLabel(self) -> str:  # noqa: N802
        return self._instrument


class PhotoCalib:
    """`lsst.afw.image.PhotoCalib`."""

    def __init__(self, mean: float, constant: bool = True) -> None:
        self._mean, self._isConstant = mean, constant

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PhotoCalib) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def getCalibrationMean(self) -> float:  # noqa: N802
        return self._mean


class FilterLabel:
    """`lsst.afw.image.FilterLabel`."""

    def __init__(self, *, band: str, physical: str) -> None:
        self.bandLabel, self.physicalLabel = band, physical


class ImageD:
    """`lsst.afw.image.ImageD` of an array."""

    def __init__(self, array: np.ndarray) -> None:
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        self.array = array


class FixedKernel:
    """`lsst.afw.math.FixedKernel`."""

    def __init__(self, image: ImageD) -> None:
        self.image = image


class KernelPsf:
    """`lsst.meas.algorithms.KernelPsf`: the same kernel everywhere."""

    def __init__(self, kernel: FixedKernel, averagePosition: Point2D) -> None:  # noqa: N803
        self._kernel, self._position = kernel, averagePosition

    def getAveragePosition(self) -> Point2D:  # noqa: N802
        return self._position

    def computeKernelImage(self, position: Point2D) -> ImageD:  # noqa: N802
        assert isinstance(position, Point2D)
        return self._kernel.image


class Box2D:
    """`lsst.geom.Box2D`: of a Box2I, its pixels' areas."""

    def __init__(self, box: Box2I) -> None:
        self.low = box.getMinX() - 0.5, box.getMinY() - 0.5
        self.high = box.getMaxX() + 0.5, box.getMaxY() + 0.5


class Polygon:
    """`lsst.afw.geom.Polygon` of a Box2D."""

    def __init__(self, box: Box2D) -> None:
        assert isinstance(box, Box2D)
        self.box = box

    def contains(self, x: float, y: float) -> bool:
        return all(a <= p <= b for a, p, b in zip(self.box.low, (x, y), self.box.high, strict=True))


class ExposureRecord:
    """`lsst.afw.table.ExposureRecord`: its own columns by methods, added ones by name."""

    def __init__(self, schema: Schema) -> None:
        self._schema, self.about, self.columns = schema, {}, {}

    def __getattr__(self, name: str) -> Any:
        what = name[3:]
        if what not in ("Psf", "Wcs", "BBox", "ValidPolygon", "PhotoCalib"):
            raise AttributeError(name)
        if name.startswith("set"):
            return lambda value: self.about.__setitem__(what, value)
        return lambda: self.about.get(what)

    def set(self, name: str, value: Any) -> None:
        assert isinstance(value, int if self._schema.columns[name] is np.int32 else float)
        self.columns[name] = value


class Schema:
    """`lsst.afw.table.Schema`."""

    def __init__(self) -> None:
        self.columns: dict[str, Any] = {}

    def addField(self, name: str, *, type: Any, doc: str) -> None:  # noqa: N802
        self.columns[name] = type


class ExposureTable:
    """`lsst.afw.table.ExposureTable`."""

    @staticmethod
    def makeMinimalSchema() -> Schema:  # noqa: N802
        return Schema()


class ExposureCatalog(list[ExposureRecord]):
    """`lsst.afw.table.ExposureCatalog`."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema

    def addNew(self) -> ExposureRecord:  # noqa: N802
        self.append(ExposureRecord(self.schema))
        return self[-1]

    def extend(self, other: ExposureCatalog, deep: bool = False) -> None:  # type: ignore[override]
        super().extend(other)


class CoaddInputs:
    """`lsst.afw.image.CoaddInputs`: of the schemas of visits and detectors."""

    def __init__(self, visits: Schema, ccds: Schema) -> None:
        self.visits, self.ccds = ExposureCatalog(visits), ExposureCatalog(ccds)


class CoaddPsf:
    """`lsst.meas.algorithms.CoaddPsf`: the mean of the coadds' PSFs at a position; not turned, as the real one does."""

    def __init__(self, catalog: ExposureCatalog, wcs: SkyWcs, middle: Point2D, kernel: str, cache: int) -> None:
        assert isinstance(catalog, ExposureCatalog)
        assert {"weight"} <= set(catalog.schema.columns)
        assert kernel in ("bilinear", "lanczos3", "lanczos4", "lanczos5")
        self._catalog, self._wcs, self._middle, self.kernel, self.cache = catalog, wcs, middle, kernel, cache

    def getAveragePosition(self) -> Point2D:  # noqa: N802
        return self._middle

    def getComponentCount(self) -> int:  # noqa: N802
        return len(self._catalog)

    def computeKernelImage(self, position: Point2D) -> ImageD:  # noqa: N802
        found = []
        for record in self._catalog:
            x, y = position.x, position.y
            if record.getWcs() is not self._wcs:
                sky = self._wcs.pixelToSkyArray(np.array([x]), np.array([y]))
                x, y = (float(v[0]) for v in record.getWcs().skyToPixelArray(*sky))
            if record.getValidPolygon().contains(x, y):
                found.append(record.getPsf().computeKernelImage(Point2D(x, y)).array)
        if not found:
            raise RuntimeError("no coadd there")
        return ImageD(np.mean(found, axis=0))


class VisitInfoOfId:
    """`lsst.afw.image.VisitInfo`, made of an ID alone."""

    def __init__(self, *, id: int) -> None:
        assert isinstance(id, int)
        self.id = id


class ExposureInfo:
    """`lsst.afw.image.ExposureInfo`."""

    def __init__(self) -> None:
        self.visitInfo: Any = None
        self.coaddInputs: Any = None

    def setVisitInfo(self, value: Any) -> None:  # noqa: N802
        self.visitInfo = value

    def setCoaddInputs(self, value: Any) -> None:  # noqa: N802
        self.coaddInputs = value


class Mask:
    """`lsst.afw.image.MaskX`; its planes are those of all masks."""

    planes: ClassVar[dict[str, int]] = {}

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    @classmethod
    def addMaskPlane(cls, name: str) -> int:  # noqa: N802
        if name not in cls.planes and len(cls.planes) >= 32:
            raise RuntimeError("Max number of planes (32) already used")
        return cls.planes.setdefault(name, len(cls.planes))

    @classmethod
    def getMaskPlaneDict(cls) -> dict[str, int]:  # noqa: N802
        return dict(cls.planes)


class ExposureF:
    """`lsst.afw.image.ExposureF`, made of a box."""

    def __init__(self, bbox: Box2I) -> None:
        shape = bbox.getHeight(), bbox.getWidth()
        self._bbox, self._about, self._info = bbox, {}, ExposureInfo()
        self.image, self.variance = (SimpleNamespace(array=np.zeros(shape, np.float32)) for _ in range(2))
        self.mask = Mask(np.zeros(shape, np.int32))

    def getBBox(self) -> Box2I:  # noqa: N802
        return self._bbox

    def getInfo(self) -> ExposureInfo:  # noqa: N802
        return self._info

    def getMaskedImage(self) -> Any:  # noqa: N802
        return SimpleNamespace(image=self.image, mask=self.mask, variance=self.variance)

    def __getitem__(self, bbox: Box2I) -> ExposureF:
        assert isinstance(bbox, Box2I)
        if not self._bbox.contains(bbox):
            raise IndexError("the box is not inside the image")
        found = ExposureF(bbox)
        x, y = bbox.getMinX() - self._bbox.getMinX(), bbox.getMinY() - self._bbox.getMinY()
        where = slice(y, y + bbox.getHeight()), slice(x, x + bbox.getWidth())
        for name in ("image", "variance", "mask"):
            getattr(found, name).array = getattr(self, name).array[where]
        found._about = self._about
        return found

    def __getattr__(self, name: str) -> Any:
        what = name[3:]
        if what not in ("Wcs", "Psf", "PhotoCalib", "Filter"):
            raise AttributeError(name)
        if name.startswith("set"):
            return lambda value: self._about.__setitem__(what, value)
        return lambda: self._about.get(what)


class Handle:
    """A `lsst.daf.butler.DeferredDatasetHandle` of an ExposureF; keeps what it was asked for."""

    def __init__(self, exposure: ExposureF, data_id: dict[str, Any]) -> None:
        self._exposure, self.dataId = exposure, data_id
        self.components: list[str] = []
        self.boxes: list[Box2I] = []

    def get(self, *, component: str | None = None, parameters: dict[str, Any] | None = None) -> Any:
        if component is not None:
            self.components.append(component)
            getters = {"bbox": "getBBox", "wcs": "getWcs", "psf": "getPsf", "photoCalib": "getPhotoCalib"}
            if component not in getters:
                raise KeyError(f"Requested component ({component}) not understood by this DatasetType")
            return getattr(self._exposure, getters[component])()
        bbox = (parameters or {})["bbox"]
        self.boxes.append(bbox)
        return self._exposure[bbox]


class SkyMap:
    """`lsst.skymap.BaseSkyMap` of some tracts."""

    def __init__(self, *tracts: Tract) -> None:
        self._tracts = {t.tract: t for t in tracts}

    def __getitem__(self, tract: int) -> Any:
        found = self._tracts[tract]

        def patch_info(index: int) -> Any:
            if not 0 <= index < len(found.patches):
                raise IndexError(f"Patch index {index} is not in range")
            return SimpleNamespace(getOuterBBox=lambda: box2i(found.patch(index).bbox))

        return SimpleNamespace(getPatchInfo=patch_info)


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-ins where the stack's modules would be."""
    homes: dict[str, tuple[Any, ...]] = {
        "lsst.geom": (Point2I, Extent2I, Point2D, Box2I, Box2D),
        "lsst.afw": (),
        "lsst.afw.geom": (Polygon,),
        "lsst.afw.image": (ExposureF, FilterLabel, PhotoCalib, ImageD, CoaddInputs),
        "lsst.afw.math": (FixedKernel,),
        "lsst.afw.table": (ExposureTable, ExposureCatalog),
        "lsst.meas": (),
        "lsst.meas.algorithms": (KernelPsf, CoaddPsf),
    }
    for name, classes in homes.items():
        module = ModuleType(name)
        for one in classes:
            setattr(module, one.__name__, one)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["lsst.afw.image"].VisitInfo = VisitInfoOfId  # type: ignore[attr-defined]
    monkeypatch.setattr(Mask, "planes", {"BAD": 0, "SAT": 1, "INTRP": 2, "CR": 3, "EDGE": 4, "DETECTED": 5})
