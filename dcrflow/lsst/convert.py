"""Convert between objects of LSST and dcrflow: boxes, projections, observations, masked images.

This module handles both families of LSST classes: those of lsst.images and, if the LSST stack is installed, those of
lsst.afw and lsst.geom. It distinguishes them by their methods, so neither family must be imported to handle an object
of the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from numpy.typing import NDArray

from dcrflow.base.errors import InconsistentCoaddsError, ObservationError, WcsError
from dcrflow.compat.afw import is_constant
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst.planes import description, long_name, short_name
from dcrflow.lsst.projections import AfwWcs as AfwWcs
from dcrflow.lsst.projections import ProjectionWcs as ProjectionWcs

Float = NDArray[np.float64]

_TOLERANCE = 1e-6  # pixels by which a projection's FITS form may be off it


def box_of(box: Any) -> Box:
    """Convert a `lsst.images.Box` or a `lsst.geom.Box2I` to a `Box`."""
    if isinstance(box, Box):
        return box
    if hasattr(box, "getMinX"):
        return Box(box.getMinX(), box.getMinY(), box.getWidth(), box.getHeight())
    return Box(box.x.start, box.y.start, box.x.size, box.y.size)


def lsst_box(box: Box) -> Any:
    """Convert a `Box` to a `lsst.images.Box`."""
    from lsst.images import Box as LsstBox

    return LsstBox.from_shape(box.shape, start=(box.y0, box.x0))


def afw_box(box: Box) -> Any:
    """Convert a `Box` to a `lsst.geom.Box2I`; needs the LSST stack."""
    from lsst.geom import Box2I, Extent2I, Point2I

    return Box2I(Point2I(box.x0, box.y0), Extent2I(box.width, box.height))


def box_in_skymap(skymap: Any, tract: int, patch: int) -> Box:
    """Return the outer bounding box of a patch of a `lsst.skymap.BaseSkyMap`.

    Raises
    ------
    InconsistentCoaddsError
        If the skymap has no such patch.
    """
    try:
        return box_of(skymap[tract].getPatchInfo(patch).getOuterBBox())
    except (LookupError, IndexError) as error:
        raise InconsistentCoaddsError(f"there is no tract {tract} patch {patch} in the skymap: {error}") from error


def wcs_of(wcs: Any, bbox: Box) -> SkyWcs:
    """Make a `SkyWcs` from a `lsst.images.SkyProjection`, a `lsst.afw.geom.SkyWcs`, or what `SkyWcs.from_any` takes.

    A projection that FITS can express is converted to FITS cards. The result is checked on the outline of `bbox`,
    because some distortions are lost in the conversion. Otherwise the projection itself is kept and used.

    Raises
    ------
    WcsError
        If it does not map the outline of `bbox` to the sky, or does not map it back to the same pixels.
    """
    if isinstance(wcs, SkyWcs):
        return wcs
    if hasattr(wcs, "as_fits_wcs"):
        exact: Any = ProjectionWcs.of(wcs)
        found = wcs.as_fits_wcs(lsst_box(Box(0, 0, bbox.width, bbox.height)))
        cards = None if found is None else found.to_header(relax=True)
    elif hasattr(wcs, "pixelToSkyArray"):
        exact = AfwWcs(wcs)
        cards = fits.Header(wcs.getFitsMetadata(True).toDict()) if wcs.isFits else None
    else:
        return SkyWcs.from_any(wcs)
    x, y = bbox.outline(2)
    ra, dec = exact.pixel_to_world_values(x, y)
    if cards is not None:
        made = SkyWcs.from_header(cards)
        if _off(made.sky_to_pixel(ra, dec), x, y) <= _TOLERANCE:
            return made
    off = _off(exact.world_to_pixel_values(ra, dec), x, y)
    if not off <= 1e-3:
        raise WcsError(
            f"the projection is {off:.3g} pixels off after a conversion to the sky and back, on the edge of {bbox}"
        )
    return SkyWcs.from_any(exact)


def _off(found: tuple[Float, Float], x: Float, y: Float) -> float:
    return float(np.max(np.hypot(found[0] - x, found[1] - y)))


def projection_of(wcs: SkyWcs, frame: Any, bbox: Box) -> Any:
    """Convert a FITS `SkyWcs` to a `lsst.images.SkyProjection`.

    Raises
    ------
    WcsError
        If it cannot be converted, or the result differs by more than 1e-6 pixels on the edge of `bbox`.
    """
    from astropy.wcs import WCS
    from lsst.images import SkyProjection

    made = SkyProjection.from_fits_wcs(WCS(wcs.header), frame)
    x, y = bbox.outline(4)
    ra, dec = ProjectionWcs.of(made).pixel_to_world_values(x, y)
    off = _off(wcs.sky_to_pixel(ra, dec), x, y)
    if not off <= _TOLERANCE:
        raise WcsError(
            f"this WCS cannot be converted to a lsst.images projection without error: {off:.3g} pixels off on the edge "
            f"of {bbox}; take --format fits"
        )
    return made


def observation_row(info: Any) -> dict[str, Any]:
    """The columns of a detector-visit table for an observation; unknown values are None.

    Parameters
    ----------
    info : astro_metadata_translator.ObservationInfo or lsst.afw.image.VisitInfo

    Raises
    ------
    ObservationError
        If it has no boresight.
    """
    if hasattr(info, "getBoresightRaDec"):
        return _row_of_visit_info(info)
    if info.tracking_radec is None:
        raise ObservationError("the ObservationInfo has no tracking_radec: where the telescope pointed is not known")
    boresight = info.tracking_radec.icrs
    middle = None
    if info.datetime_begin is not None and info.datetime_end is not None:
        begin = info.datetime_begin.tai
        middle = float((begin + (info.datetime_end.tai - begin) / 2).mjd)
    place = None if info.location is None else info.location.geodetic
    altitudes = [float(a.alt.deg) for a in (info.altaz_begin, info.altaz_end) if a is not None]
    humidity = info.relative_humidity
    return {
        "ra": float(boresight.ra.deg),
        "dec": float(boresight.dec.deg),
        "mjd": middle,
        "header_altitude": sum(altitudes) / len(altitudes) if altitudes else None,
        "rotation_angle": _to(info.boresight_rotation_angle, u.deg),
        "longitude": None if place is None else float(place.lon.deg),
        "latitude": None if place is None else float(place.lat.deg),
        "height_m": None if place is None else float(place.height.to_value(u.m)),
        "temperature": _to(info.temperature, u.deg_C),
        "pressure": _to(info.pressure, u.Pa),
        "humidity": None if humidity is None else float(humidity),
        "physical_filter": info.physical_filter or "",
        "instrument": info.instrument or "",
    }


def _to(value: Any, unit: Any) -> float | None:
    return None if value is None else float(u.Quantity(value).to_value(unit, equivalencies=u.temperature()))


def _row_of_visit_info(info: Any) -> dict[str, Any]:
    boresight, place, weather = info.getBoresightRaDec(), info.getObservatory(), info.getWeather()
    day = 86400e9
    return {
        "ra": boresight.getRa().asDegrees(),
        "dec": boresight.getDec().asDegrees(),
        "mjd": info.getDate().nsecs() / day + 40587.0,  # DateTime counts TAI nanoseconds since 1970
        "header_altitude": info.getBoresightAzAlt().getLatitude().asDegrees(),
        "parallactic_angle": info.getBoresightParAngle().asDegrees(),
        "rotation_angle": info.getBoresightRotAngle().asDegrees(),
        "longitude": place.getLongitude().asDegrees(),
        "latitude": place.getLatitude().asDegrees(),
        "height_m": place.getElevation(),
        "temperature": weather.getAirTemperature(),
        "pressure": weather.getAirPressure(),
        "humidity": weather.getHumidity(),
        "instrument": info.getInstrumentLabel(),
    }


@dataclass(frozen=True)
class ExposureArrays:
    """The pixels of a masked image or exposure of either family.

    Parameters
    ----------
    box : Box
        Where they are.
    image, variance : ndarray of float32, shape box.shape
        nJy and nJy^2.
    mask : ndarray of int32, same shape
        With `planes`.
    planes : mapping of str to int
        Name, as dcrflow spells it, to bit.
    """

    box: Box
    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]
    planes: Mapping[str, int]


def arrays_of(exposure: Any) -> ExposureArrays:
    """The pixels of a `lsst.images.MaskedImage`, or a MaskedImage or Exposure of afw; views if possible.

    Raises
    ------
    InconsistentCoaddsError
        If the unit is not a flux density, or the calibration varies over the image.
    """
    if hasattr(exposure, "getBBox"):
        masked = exposure.getMaskedImage() if hasattr(exposure, "getMaskedImage") else exposure
        image, variance = masked.image.array, masked.variance.array
        planes = {short_name(n): b for n, b in masked.mask.getMaskPlaneDict().items()}
        mask, scale = masked.mask.array.astype(np.int32, copy=False), _afw_scale(exposure)
        box = box_of(exposure.getBBox())
    else:
        image, variance, box = exposure.image.array, exposure.variance.array, box_of(exposure.bbox)
        mask, planes = _mask_of(exposure.mask)
        scale = 1.0 if exposure.unit is None else flux_scale(exposure.unit)
    image, variance = image.astype(np.float32, copy=False), variance.astype(np.float32, copy=False)
    if scale != 1.0:
        image, variance = image * np.float32(scale), variance * np.float32(scale**2)
    return ExposureArrays(box, image, variance, mask, planes)


def flux_scale(unit: Any) -> float:
    """Return the flux density of one unit in nJy.

    Raises
    ------
    InconsistentCoaddsError
        If the unit is not a flux density.
    """
    try:
        return float(u.Unit(unit).to(u.nJy))
    except (u.UnitConversionError, ValueError) as error:
        raise InconsistentCoaddsError(f"pixels are in {unit}, expected a flux density such as nJy") from error


def _afw_scale(exposure: Any) -> float:
    calibration = exposure.getPhotoCalib() if hasattr(exposure, "getPhotoCalib") else None
    if calibration is None:
        return 1.0
    if not is_constant(calibration):
        raise InconsistentCoaddsError("the photometric calibration varies over the image; calibrate its pixels to nJy")
    return float(calibration.getCalibrationMean())


def _mask_of(mask: Any) -> tuple[NDArray[np.int32], dict[str, int]]:
    """Convert a `lsst.images.Mask` to an int32 mask and its planes; only planes with a name are kept."""
    stride = mask.schema.bits_per_element(mask.schema.dtype)
    names = [(i, p.name) for i, p in enumerate(mask.schema) if p is not None]
    moved = any(i > 30 for i, _ in names)
    planes = {short_name(n): (k if moved else i) for k, (i, n) in enumerate(names)}
    found = np.zeros(mask.array.shape[:2], np.int32)
    if moved or stride != 8:
        for i, name in names:
            bit = (mask.array[..., i // stride] >> (i % stride)) & 1
            found |= bit.astype(np.int32) << np.int32(planes[short_name(name)])
    else:
        for element in range(mask.array.shape[2]):
            found |= mask.array[..., element].astype(np.int32) << np.int32(8 * element)
    return found, planes


def kernel_of(psf: Any, x: float, y: float) -> Float | None:
    """Return the kernel of a `lsst.images` or afw PSF at a pixel position, with sum 1; None if it has none there."""
    try:
        if hasattr(psf, "computeKernelImage"):
            from lsst.geom import Point2D

            image = psf.computeKernelImage(Point2D(x, y)).array
        else:
            image = psf.compute_kernel_image(x=x, y=y).array
    except Exception:  # of many kinds: no input there, outside its bounds
        return None
    kernel: Float = np.asarray(image, np.float64)
    return kernel / kernel.sum() if np.all(np.isfinite(kernel)) and kernel.sum() > 0 else None


def masked_image(
    box: Box,
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.int32],
    planes: Mapping[str, int],
    projection: Any,
    metadata: Mapping[str, Any] | None = None,
) -> Any:
    """Make a `lsst.images.MaskedImage` in nJy; mask planes keep their bits and get the names of lsst.images."""
    from lsst.images import Image, MaskedImage

    bbox = lsst_box(box)
    return MaskedImage(
        Image(image, bbox=bbox, unit=u.nJy, sky_projection=projection),
        mask=lsst_mask(mask, planes, bbox),
        variance=Image(variance, bbox=bbox, unit=u.nJy**2),
        metadata=dict(metadata or {}),
    )


def lsst_mask(mask: NDArray[np.int32], planes: Mapping[str, int], bbox: Any) -> Any:
    """Make a `lsst.images.Mask` whose planes have the bits that `planes` says."""
    from lsst.images import Mask, MaskPlane, MaskSchema

    by_bit = {bit: name for name, bit in planes.items()}
    schema = MaskSchema(
        [
            MaskPlane(long_name(by_bit[i]), description(by_bit[i])) if i in by_bit else None
            for i in range(max(by_bit) + 1)
        ]
    )
    array = np.empty((*mask.shape, schema.mask_size), np.uint8)
    for element in range(schema.mask_size):
        array[..., element] = (mask >> np.int32(8 * element)) & 0xFF
    return Mask(array, schema=schema, bbox=bbox)
