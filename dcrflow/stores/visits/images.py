"""The pixels of detector-visits: FITS files as LSST and dcrflow write them, and zarr groups.

FITS: extensions ``IMAGE`` (nJy, or BUNIT with a zero point), ``MASK`` (planes as ``MP_*`` cards), ``VARIANCE``, ``PSF``
([node, y, x]) and ``PSF_NODES`` (x, y: absolute detector pixels). The sum of a PSF is the fraction of a star's light
inside the stamp. A zarr group has the variables of a template store.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from hashlib import blake2b
from importlib import import_module
from typing import Any, Protocol

import google_crc32c
import numpy as np
import zarr
from astropy.io import fits
from numpy.typing import NDArray

from dcrflow.base.addresses import indirection
from dcrflow.base.errors import DcrflowError, VisitImageError, brief
from dcrflow.base.fits_files import open_fits
from dcrflow.base.masks import planes_from_attributes, short_name
from dcrflow.geometry.box import Box
from dcrflow.model.pixels import Pixels
from dcrflow.model.visit import DetectorVisit
from dcrflow.model.visit_image import VisitImage, VisitPsf, moffat_psf
from dcrflow.stores.fits_calibration import CalibrationError, nanojansky
from dcrflow.stores.visits.exposures import origin
from dcrflow.stores.visits.image_checks import (
    check_regular_file,
    check_shapes,
    check_variance_unit,
    check_zarr_plane,
    fits_shape,
    planes_of_header,
    small_array,
    template_mask,
)
from dcrflow.stores.zarr.access import location, words_of
from dcrflow.stores.zarr.remote import dependable

Float = NDArray[np.float64]

_PLANES = "IMAGE", "MASK", "VARIANCE"
_BETA = 3.0  # of the Moffat profile that is used if the table has only a width
_MOST_NODES, _LARGEST_PSF = 4096, 513  # number of kernels, and side of a kernel in pixels
_LEAST_LIGHT, _MOST_LIGHT = 0.2, 1.05  # fraction of a star's light inside a PSF's stamp
_ROWS, _BLOCK = 64, 2**18  # rows, and bytes, that are looked at together
_OFF_CENTRE = 0.7  # pixels; largest distance of a PSF's centroid from the centre of its stamp


def read_visit_image(visit: DetectorVisit, box: Box | None = None) -> VisitImage:
    """Read a detector-visit's image, mask, variance and PSF, and check them.

    Parameters
    ----------
    visit : DetectorVisit
        Its `image` must be set: a FITS file (also .gz and .fz), or the path or URL of a zarr group.
    box : Box, optional
        The part to read, absolute detector pixels; the whole detector if not given. A box that extends beyond the
        detector is clipped.

    Raises
    ------
    VisitImageError
        If the image cannot be read, has another layout, or has a PSF or variance that cannot be used; names visit,
        detector and file, what was found and what was expected.
    """
    return _checked(visit, lambda source: source.image(visit.bbox if box is None else box.intersection(visit.bbox)))


def read_visit_psf(visit: DetectorVisit) -> VisitPsf:
    """Read only the PSF of a detector-visit; raises as `read_visit_image`."""
    return _checked(visit, lambda source: source.psf())


class PixelSource(Protocol):
    """The pixels and the PSF of one detector-visit."""

    def image(self, box: Box) -> VisitImage:
        """Its pixels in a box, and the PSF."""

    def psf(self) -> VisitPsf:
        """The PSF alone."""


#: What reads images that are no file: the beginning of their address, and the module and class of an upper layer.
_ELSEWHERE: Mapping[str, tuple[str, str]] = {"butler:": ("dcrflow.lsst.visit_images", "ButlerSource")}


def _source(visit: DetectorVisit) -> PixelSource:
    for scheme, (module, name) in _ELSEWHERE.items():
        if visit.image.startswith(scheme):
            source: PixelSource = getattr(import_module(module), name)(visit)
            return source
    return _FitsSource(visit) if _is_fits(visit.image) else _ZarrSource(visit)


def _checked[T](visit: DetectorVisit, read: Callable[[PixelSource], T]) -> T:
    where = f"{visit.label} ({visit.image or 'no image'})"
    if not visit.image:
        raise VisitImageError(
            f"{where}: the table names no image; add a column `image` with the path or URL of its pixels"
        )
    if indirection(visit.image):
        raise VisitImageError(
            f"{where}: {indirection(visit.image)}:// opens what a file names, which a table may not ask for; write the "
            "image to a FITS file or a zarr group"
        )
    try:
        return read(_source(visit))
    except VisitImageError as error:
        raise VisitImageError(f"{where}: {error}") from None
    except DcrflowError as error:
        raise VisitImageError(f"{where}: {error}") from error
    except Exception as error:  # astropy, zarr and file systems raise many classes
        raise VisitImageError(f"{where}: cannot read it: {words_of(error)}") from error


def _is_fits(image: str) -> bool:
    return re.search(r"\.fits?(\.(gz|fz|bz2))?$", image.lower()) is not None


class _FitsSource:
    """A FITS file."""

    def __init__(self, visit: DetectorVisit) -> None:
        self.visit = visit

    def _open(self) -> AbstractContextManager[fits.HDUList]:
        image = self.visit.image
        if "://" not in image:
            check_regular_file(image)
            return open_fits(image)
        import fsspec  # type: ignore[import-untyped]

        with fsspec.open(image, "rb", compression="infer") as file:
            return open_fits(io.BytesIO(file.read()))

    def image(self, box: Box) -> VisitImage:
        """Its pixels in a box, and the PSF."""
        with self._open() as file:
            planes = [_plane(file, i, name) for i, name in enumerate(_PLANES, 1)]
            header = planes[0].header
            extent = Box(*origin(header), int(header.get("NAXIS1", 0)), int(header.get("NAXIS2", 0)))
            check_extent(extent, self.visit)
            check_shapes({n: p.shape for n, p in zip(_PLANES, planes, strict=True)}, extent)
            scale = _calibrated(file, header, self.visit.zero_point)
            check_variance_unit(header, planes[2].header)
            where = box.slices(extent)
            image, mask, variance = (np.asarray(p.section[where] if p.is_image else p.data[where]) for p in planes)
            return visit_image(
                self.visit, box, image * np.float32(scale), variance * np.float32(scale**2), mask,
                planes_of_header(planes[1].header), self._psf(file),
            )  # fmt: skip

    def psf(self) -> VisitPsf:
        """The PSF alone."""
        with self._open() as file:
            return self._psf(file)

    def _psf(self, file: fits.HDUList) -> VisitPsf:
        if "PSF" in file and getattr(file["PSF"], "is_image", False):
            kernels = np.asarray(file["PSF"].data, np.float64)
            kernels = kernels[None] if kernels.ndim == 2 else kernels
            if "PSF_NODES" in file:
                nodes = file["PSF_NODES"].data
                names = {n.lower(): n for n in getattr(nodes, "names", None) or ()}
                if not {"x", "y"} <= set(names) or any(nodes[names[n]].dtype.kind not in "iuf" for n in ("x", "y")):
                    raise VisitImageError(f"PSF_NODES has columns {brief(list(names))}, expected numbers x and y")
                x, y = (np.asarray(nodes[names[n]], np.float64) for n in ("x", "y"))
                return checked_psf(kernels, x, y)
            if len(kernels) != 1:
                raise VisitImageError(
                    f"PSF has {len(kernels)} kernels, and there is no table PSF_NODES of their places"
                )
            return _constant_psf(kernels, self.visit)
        if "KernelPsf" in file and "FixedKernel" in file and len(file["FixedKernel"].data) == 1:  # in afw's archive
            row = file["FixedKernel"].data[0]
            kernel = np.asarray(row["image"], np.float64).reshape(int(row["dimensions_y"]), int(row["dimensions_x"]))
            return _constant_psf(kernel[None], self.visit)
        return _psf_of_table(self.visit, "it has no extension PSF")


def _plane(file: fits.HDUList, index: int, name: str) -> Any:
    """The HDU of a plane, found by name, or else by its position in files of the pipelines."""
    if name in file:
        return _Plane(file[name])
    if len(file) > index and file[index].header.get("NAXIS", 0) == 2 and not file[index].name:
        return _Plane(file[index])
    names = [h.name for h in file if h.name]
    raise VisitImageError(f"it has no extension {name}; found {', '.join(names[:8]) or 'none with a name'}")


class _Plane:
    """An image extension, compressed or not."""

    def __init__(self, hdu: Any) -> None:
        self.header: fits.Header = hdu.header
        self.is_image = hasattr(hdu, "section")
        self.shape = fits_shape(hdu.header)
        self._hdu = hdu

    @property
    def section(self) -> Any:
        """Access to parts of the image, without reading the rest."""
        return self._hdu.section

    @property
    def data(self) -> Any:
        """The whole image."""
        return self._hdu.data


def _calibrated(file: fits.HDUList, header: fits.Header, zero_point: float | None) -> float:
    try:
        return nanojansky(file, header, zero_point)
    except CalibrationError as error:
        raise VisitImageError(f"{error}, or give the table a column zero_point") from None


class _ZarrSource:
    """A zarr group with the variables of a template store."""

    def __init__(self, visit: DetectorVisit) -> None:
        self.visit = visit
        self.group = _open_group(visit.image)

    def image(self, box: Box) -> VisitImage:
        """Its pixels in a box, and the PSF."""
        group, extent = self.group, self._extent()
        lacking = [n for n in ("image", "variance", "mask") if n not in group]
        if lacking:
            raise VisitImageError(f"the zarr group has no variable {', '.join(lacking)}")
        units = str(group.attrs.get("units", "nJy"))
        if units != "nJy":
            raise VisitImageError(f"attribute 'units' is {brief(units)}, expected 'nJy'")
        check_extent(extent, self.visit)
        for name in ("image", "variance", "mask"):
            check_zarr_plane(group[name], name, extent)
        where = box.slices(extent)
        image, variance, mask = (np.asarray(group[n][where]) for n in ("image", "variance", "mask"))
        planes = {short_name(n): b for n, b in planes_from_attributes(dict(group["mask"].attrs)).items()}
        return visit_image(self.visit, box, image, variance, mask, planes, self.psf())

    def _extent(self) -> Box:
        axes = []
        for name in ("x", "y"):
            if name not in self.group:
                raise VisitImageError(f"the zarr group has no variable {name}")
            values = small_array(self.group, name)
            if values.ndim != 1 or not len(values) or np.any(np.diff(values) != 1) or values[0] != int(values[0]):
                raise VisitImageError(f"{name} must be pixel indices that increase by 1")
            axes.append((int(values[0]), len(values)))
        (x0, width), (y0, height) = axes
        return Box(x0, y0, width, height)

    def psf(self) -> VisitPsf:
        """The PSF alone."""
        if "psf" not in self.group:
            return _psf_of_table(self.visit, "it has no variable psf")
        kernels = small_array(self.group, "psf").astype(np.float64)
        if "psf_node_x" not in self.group or "psf_node_y" not in self.group:
            raise VisitImageError("it has psf, but not psf_node_x and psf_node_y")
        x, y = (small_array(self.group, f"psf_node_{n}").astype(np.float64) for n in ("x", "y"))
        return checked_psf(kernels, x, y)


def _open_group(image: str) -> Any:
    """Open the group at a path or URL. It may lie inside a store; zarr finds it by its own metadata."""
    try:
        return zarr.open_group(dependable(location(image), "r"), mode="r", use_consolidated=False)
    except FileNotFoundError:
        raise VisitImageError(
            "there is neither a FITS file (.fits, .fits.gz, .fits.fz) nor a zarr group; correct the column `image`"
        ) from None


def check_extent(extent: Box, visit: DetectorVisit) -> None:
    if not extent.contains(visit.bbox):
        raise VisitImageError(
            f"it has the pixels {extent.as_list()} (x0, y0, width, height), the table says {visit.bbox.as_list()}: one "
            "of them is wrong"
        )


def visit_image(
    visit: DetectorVisit, box: Box, image: Any, variance: Any, mask: Any, planes: Mapping[str, int], psf: VisitPsf
) -> VisitImage:
    if image.shape != box.shape or variance.shape != box.shape or mask.shape != box.shape:
        raise VisitImageError(f"image, variance and mask have shapes {image.shape}, {variance.shape}, {mask.shape}")
    for name, values in (("image", image), ("variance", variance)):
        if values.dtype.kind not in "fiu":
            raise VisitImageError(f"its {name} has {values.dtype} pixels, expected real numbers")
    image, variance = (np.ascontiguousarray(v, np.float32) for v in (image, variance))
    some = False
    for first in range(0, box.height, _ROWS):  # while the rows are in the cache
        rows = slice(first, first + _ROWS)
        good = np.isfinite(image[rows]) & np.isfinite(variance[rows]) & (variance[rows] > 0)
        some |= bool(good.any())
        image[rows][~good] = np.nan
    if box.area and not some:
        raise VisitImageError("no pixel has a finite value and a positive variance")
    moved = template_mask(mask, planes)
    return VisitImage(Pixels(box, image, variance, moved), psf, _digest(image, variance, moved, psf.kernels))


def _digest(*arrays: NDArray[Any]) -> str:
    """A digest of the checksums of blocks: one of all pixels would take as long as their warp."""
    digest = blake2b(digest_size=8)
    for array in arrays:
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        digest.update(f"{array.dtype} {array.shape} ".encode())
        for first in range(0, len(content), _BLOCK):
            checksum = google_crc32c.value(content[first : first + _BLOCK].tobytes())
            digest.update(int(checksum).to_bytes(4, "little"))
    return digest.hexdigest()


def _constant_psf(kernels: Float, visit: DetectorVisit) -> VisitPsf:
    box = visit.bbox
    middle = box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2
    return checked_psf(kernels, np.array([middle[0]]), np.array([middle[1]]))


def checked_psf(kernels: Float, x: Float, y: Float) -> VisitPsf:
    """Check a PSF and drop nodes whose kernel cannot be used; raises if no node is left."""
    shape = kernels.shape
    if kernels.ndim != 3 or not (shape[1] % 2 and shape[2] % 2) or shape[0] < 1:
        raise VisitImageError(f"its PSF has shape {shape}, expected (nodes, odd, odd)")
    if shape[0] > _MOST_NODES or max(shape[1:]) > _LARGEST_PSF:
        raise VisitImageError(f"its PSF has shape {shape}, expected at most {_MOST_NODES} kernels of {_LARGEST_PSF} px")
    if not x.shape == y.shape == shape[:1]:
        raise VisitImageError(f"its PSF has {shape[0]} kernels at {x.shape} and {y.shape} places")
    if shape[1] != shape[2]:
        side = max(shape[1:])
        kernels = np.pad(kernels, [(0, 0), *(((side - n) // 2,) * 2 for n in shape[1:])])
    light = kernels.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        axis = np.arange(kernels.shape[1]) - kernels.shape[1] // 2
        off = np.hypot(kernels.sum(axis=1) @ axis / light, kernels.sum(axis=2) @ axis / light)
        good = np.isfinite(light) & np.isfinite(x) & np.isfinite(y) & (off < _OFF_CENTRE)
        good &= (light > _LEAST_LIGHT) & (light < _MOST_LIGHT)
    if not good.any():
        raise VisitImageError(
            f"its PSF cannot be used: its sum is {light[0]:.3g} and its centroid {off[0]:.2g} px off the middle; "
            f"expected {_LEAST_LIGHT} to {_MOST_LIGHT} (the share of a star's light inside), and less than "
            f"{_OFF_CENTRE} px"
        )
    return VisitPsf(kernels[good], x[good], y[good])


def _psf_of_table(visit: DetectorVisit, lacks: str) -> VisitPsf:
    """A Moffat PSF with the width that the table gives."""
    if visit.psf_fwhm is None:
        raise VisitImageError(
            f"{lacks}, and the table no psf_fwhm; add the PSF (extensions PSF and PSF_NODES), or a column psf_fwhm "
            "(arcsec)"
        )
    box = visit.bbox
    middle = box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2
    fwhm = visit.psf_fwhm / visit.wcs.pixel_scale(*middle)
    size = int(min(2 * np.ceil(6 * fwhm) + 1, _LARGEST_PSF))
    return VisitPsf(moffat_psf(fwhm, _BETA, size)[None], np.array([middle[0]]), np.array([middle[1]]))
