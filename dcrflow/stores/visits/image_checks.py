"""Checks of a visit image's arrays and headers, and its mask's planes at the bits of templates."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from numpy.typing import NDArray

from dcrflow.base.errors import VisitImageError, brief
from dcrflow.base.masks import TEMPLATE_PLANES, named_bits, short_name
from dcrflow.geometry.box import Box
from dcrflow.stores.zarr.packing import packing

_ROWS = 64  # of a mask, that are looked at together
_BITS = 64  # of a mask at most
_SAME = 0.01  # relative; largest difference between the units of variance and of image squared
_MOST_NUMBERS = 1 << 28  # of a PSF or a coordinate; a declared size beyond it is not read


def check_regular_file(path: str) -> None:
    """Raise `VisitImageError` if a file is not there, or is none: a pipe or device is never read."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise VisitImageError("there is no such file; restore it, or correct the column `image`") from None
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "a pipe or device"
        raise VisitImageError(f"it is {what}, expected a FITS file; correct the column `image`")


def check_shapes(shapes: Mapping[str, tuple[int, ...]], extent: Box) -> None:
    """Raise `VisitImageError` if an array has another shape than the image's extent."""
    if any(tuple(shape) != extent.shape for shape in shapes.values()):
        found = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise VisitImageError(f"its arrays have different shapes: {found}; expected {extent.shape} (y, x) of each")


def fits_shape(header: fits.Header) -> tuple[int, ...]:
    """Shape of a FITS image, compressed or not."""
    return tuple(int(header[f"NAXIS{i}"]) for i in range(int(header.get("NAXIS", 0)), 0, -1))


def check_variance_unit(image: fits.Header, variance: fits.Header) -> None:
    """Raise `VisitImageError` if both have units of flux, and the variance's is not the square of the image's."""
    scales = [_factor(header, unit) for header, unit in ((image, u.nJy), (variance, u.nJy**2))]
    if None not in scales and abs(scales[1] / scales[0] ** 2 - 1.0) > _SAME:
        raise VisitImageError(
            f"the BUNIT of its VARIANCE is {brief(variance['BUNIT'])}, expected the square of the image's, "
            f"{brief(image['BUNIT'])}"
        )


def _factor(header: fits.Header, unit: Any) -> Any:
    """A header's unit in another; None if it has none, counts, or one that astropy does not know."""
    try:
        return float(u.Unit(str(header["BUNIT"]).strip()).to(unit)) or None
    except (KeyError, ValueError, TypeError):
        return None


def check_zarr_plane(array: Any, name: str, extent: Box) -> None:
    """Raise `VisitImageError` if a plane of a zarr group is no array of pixels that can be taken as they are."""
    if not hasattr(array, "shape"):
        raise VisitImageError(f"{name} is a group, expected a variable")
    check_shapes({name: array.shape}, extent)
    dims = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ("y", "x")
    if tuple(dims) != ("y", "x"):
        raise VisitImageError(f"{name} has dimensions {brief(tuple(dims))}, expected (y, x)")
    what = packing(array.attrs.asdict(), unit=name == "image") if name != "mask" else ""
    if what:
        raise VisitImageError(f"{name} has {what}")


def small_array(group: Any, name: str) -> NDArray[Any]:
    """Read a PSF or coordinate of a zarr group; what it declares is checked before."""
    array = group[name]
    if not hasattr(array, "shape"):
        raise VisitImageError(f"{name} is a group, expected a variable")
    if np.prod([float(n) for n in array.shape]) > _MOST_NUMBERS:
        raise VisitImageError(f"{name} says that its shape is {array.shape}; that is too large to be read")
    return np.asarray(array[...])


def planes_of_header(header: fits.Header) -> dict[str, int]:
    """Mask planes of a FITS header: ``MP_`` cards of afw, or ``MSKN`` and ``MSKM`` cards of lsst.images."""
    found = {}
    for key, value in header.items():
        if str(key).startswith("MP_"):
            found[short_name(str(key).removeprefix("MP_"))] = _bit(str(key), value)
        elif str(key).startswith("MSKN"):
            flag = header.get(str(key).replace("MSKN", "MSKM"))
            bit = flag.bit_length() - 1 if isinstance(flag, int) and flag > 0 and not flag & (flag - 1) else flag
            found[short_name(str(value))] = _bit(str(key).replace("MSKN", "MSKM"), bit)
    return found


def _bit(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _BITS:
        raise VisitImageError(f"{key} of its MASK is {brief(value)}, expected a bit's number, 0 to {_BITS - 1}")
    return value


def template_mask(mask: Any, planes: Mapping[str, int]) -> NDArray[np.int32]:
    """The mask with its planes at the bits of `TEMPLATE_PLANES`; other planes are dropped, bits without a name are BAD.

    Raises
    ------
    VisitImageError
        If the mask has flags but names no planes, or its numbers are not integers.
    """
    found = np.asarray(mask)
    if found.dtype.kind not in "iu":
        with np.errstate(invalid="ignore"):
            whole = found.dtype.kind == "f" and bool(np.all(np.isfinite(found) & (found == np.rint(found))))
        if not whole or np.any(np.abs(found) >= 2.0**53):
            raise VisitImageError(f"its mask has {found.dtype} pixels, expected integers whose bits are planes")
        found = found.astype(np.int64)
    bits = found.astype(f"u{found.dtype.itemsize}")  # a sign bit is one bit, not all above it
    if not planes and np.any(bits):
        raise VisitImageError(
            f"its mask has flags on {np.count_nonzero(bits)} pixels but names no plane; add cards such as MP_BAD = 0 "
            "(FITS) or flag_masks and flag_meanings (zarr)"
        )
    moved: NDArray[np.int32] = np.zeros(found.shape, np.int32)
    by_shift: dict[int, int] = {}  # bits that move by as many places move together
    for name, bit in planes.items():
        if name in TEMPLATE_PLANES:
            shift = TEMPLATE_PLANES[name] - bit
            by_shift[shift] = by_shift.get(shift, 0) | 1 << bit
    unnamed = ~np.uint64(named_bits(planes))
    for first in range(0, len(bits), _ROWS):  # while the rows are in the cache
        part, out = bits[first : first + _ROWS].astype(np.uint64), moved[first : first + _ROWS]
        some = int(np.bitwise_or.reduce(part, axis=None))
        for shift, together in by_shift.items():
            if some & together:
                kept = part & np.uint64(together)
                out |= (kept << np.uint64(shift) if shift > 0 else kept >> np.uint64(-shift)).astype(np.int32)
        if some & int(unnamed):
            out[(part & unnamed) != 0] |= 1 << TEMPLATE_PLANES["BAD"]
    return moved
