"""Read DCR coadds from LSST's FITS files with astropy only; only the pixels of the requested region are kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from dcrflow.base.errors import CoaddStoreError, DcrflowError, InconsistentCoaddsError
from dcrflow.base.fits_files import open_fits
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst.convert import ExposureArrays
from dcrflow.lsst.handles import HandleCoadds, SubfilterCoadd, Subfilters
from dcrflow.lsst.planes import short_name
from dcrflow.stores.fits_calibration import CalibrationError, nanojansky
from dcrflow.stores.visits.exposures import exposure_files, origin

_IN_NAME = re.compile(r"_(\d+)_(\d+)_([A-Za-z][A-Za-z0-9]*)_(\d+)(?=[_.])")
_IN_HEADER = "LSST BUTLER DATAID "


def open_fits_coadds(
    files: Iterable[str | Path], subfilters: Subfilters | Callable[[SubfilterCoadd], Subfilters]
) -> HandleCoadds:
    """Subfilter coadds in FITS files, one per file, as `HandleCoadds`.

    Tract, patch, band and subfilter come from the Butler's cards in the primary header, or from a name that ends in
    ``_<tract>_<patch>_<band>_<subfilter>``.

    Parameters
    ----------
    files : iterable of str or path
        FITS files, or directories that hold them.
    subfilters : Subfilters or callable
        See `HandleCoadds`.

    Raises
    ------
    CoaddStoreError
        If there are no files, a file cannot be read, or its tract, patch, band and subfilter are unknown.
    """
    paths: list[Path] = []
    for file in map(Path, files):
        if not file.exists():
            raise CoaddStoreError(
                f"{file} does not exist; expected coadd FITS files or a directory of them "
                "(make them with dcrflow ingest, dcrflow coadd or coadds_from_arrays: see docs/data.md)"
            )
        if file.is_dir():
            paths += [p for p in exposure_files(file) or () if _IN_NAME.search(p.name)]
        else:
            paths.append(file)
    if not paths:
        raise CoaddStoreError(
            "no coadd FITS files: none is named like ..._<tract>_<patch>_<band>_<subfilter>.fits; name them singly "
            "(make them with dcrflow ingest, dcrflow coadd or coadds_from_arrays: see docs/data.md)"
        )
    coadds = [_coadd(path) for path in dict.fromkeys(paths)]
    return HandleCoadds(coadds, subfilters, str(paths[0].parent))


def _coadd(path: Path) -> FitsCoadd:
    try:
        with open_fits(path) as file:
            header = file[0].header
            names = {k: header.get(_IN_HEADER + k.upper()) for k in ("tract", "patch", "band", "subfilter")}
    except (OSError, ValueError, TypeError) as error:
        raise CoaddStoreError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if None in names.values():
        found = _IN_NAME.search(path.name)
        if found is None:
            raise CoaddStoreError(
                f"{path}: cannot tell which coadd it is; name it like ..._<tract>_<patch>_<band>_<subfilter>.fits"
            )
        names = dict(zip(("tract", "patch", "band", "subfilter"), found.groups(), strict=True))
    return FitsCoadd(int(names["tract"]), int(names["patch"]), int(names["subfilter"]), str(names["band"]), path)


@dataclass(frozen=True)
class FixedPsf:
    """A PSF that is the same everywhere, with the method of `lsst.images.psfs.PointSpreadFunction` that is needed."""

    array: NDArray[np.float64]

    def compute_kernel_image(self, *, x: float, y: float) -> FixedPsf:
        """The kernel."""
        return self


class FitsCoadd(SubfilterCoadd):
    """A subfilter coadd in a FITS file; `data` is its path."""

    @property
    def label(self) -> str:
        """Its data ID and file."""
        return f"{super().label} ({self.data})"

    def bbox(self) -> Box:
        """Its pixels."""
        header = self._headers["IMAGE"]
        with self._named("its bounding box"):
            return Box(*origin(header), int(header["NAXIS1"]), int(header["NAXIS2"]))

    def wcs(self) -> SkyWcs | None:
        """Its WCS, in absolute tract pixels."""
        bbox = self.bbox()
        with self._named("no usable WCS"):
            return SkyWcs.from_image(self._headers["IMAGE"], None, bbox.x0, bbox.y0)

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Name the file in every error; astropy raises many classes for invalid cards."""
        try:
            yield
        except DcrflowError:
            raise
        except Exception as error:
            said = error.args[0] if isinstance(error, KeyError) and error.args else error
            raise CoaddStoreError(f"cannot read {self.label}: {what}: {' '.join(str(said).split())}") from error

    def tract_bbox(self) -> Box | None:
        """Not known."""
        return None

    def metadata(self) -> Mapping[str, Any]:
        """Empty: such files have no metadata of dcrflow."""
        return {}

    def planes(self) -> Mapping[str, int]:
        """Its mask planes, from the header of the mask."""
        return planes_of(self._headers["MASK"])

    def component(self, *names: str) -> Any:
        """The PSF if it is requested and can be read; no other component."""
        return self._psf if "psf" in names else None

    def region(self, box: Box) -> ExposureArrays:
        """Its pixels in a box."""
        try:
            with open_fits(self.data) as file:
                image, mask, variance = (_plane(file, i, n) for i, n in enumerate(("IMAGE", "MASK", "VARIANCE"), 1))
                where = box.slices(self.bbox())
                planes = planes_of(mask.header)
                scale = self._scale
                return ExposureArrays(
                    box,
                    _scaled(image.data[where], scale),
                    _scaled(variance.data[where], scale**2),
                    np.ascontiguousarray(mask.data[where], np.int32),
                    planes,
                )
        except InconsistentCoaddsError:
            raise
        except Exception as error:
            raise CoaddStoreError(
                f"cannot read {self.label} at {box}: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error

    @cached_property
    def _headers(self) -> Mapping[str, fits.Header]:
        """The headers of image, mask and variance."""
        with self._named("its headers"), open_fits(self.data) as file:
            return {name: _plane(file, i, name).header.copy() for i, name in enumerate(("IMAGE", "MASK"), 1)}

    @cached_property
    def _scale(self) -> float:
        """nJy per unit of its pixels."""
        with self._named("its calibration"), open_fits(self.data) as file:
            try:
                return nanojansky(file, self._headers["IMAGE"])
            except CalibrationError as error:
                raise InconsistentCoaddsError(f"{self.label}: {error}") from error

    @cached_property
    def _psf(self) -> Any:
        """The PSF: a kernel in the file's own tables, or read by lsst.images or the LSST stack if installed."""
        with self._named("its PSF"), open_fits(self.data) as file:
            if "KernelPsf" in file and "FixedKernel" in file and len(file["FixedKernel"].data) == 1:
                row = file["FixedKernel"].data[0]
                shape = int(row["dimensions_y"]), int(row["dimensions_x"])
                return FixedPsf(np.asarray(row["image"], np.float64).reshape(shape))
            if "JSON" in file:
                return self._psf_by_images()
            if "PSF_ID" not in file[0].header:
                return None
        try:
            from lsst.afw.image import ExposureF
        except ImportError:
            return None
        return ExposureF(str(self.data)).getPsf()

    def _psf_by_images(self) -> Any:
        """The PSF of a file of lsst.images; None if it has none, or if it cannot be read without the LSST stack."""
        try:
            from lsst.images.serialization import ArchiveReadError, open_archive
        except ImportError:
            return None
        try:
            with open_archive(str(self.data)) as archive:
                return archive.get_component("psf")
        except (ArchiveReadError, ImportError):
            return None


def _plane(file: fits.HDUList, index: int, name: str) -> Any:
    """Find the HDU of a plane by its name, or by its position in files of the pipelines."""
    return file[name] if name in file else file[index]


def planes_of(header: fits.Header) -> dict[str, int]:
    """Mask planes of a FITS header: ``MP_`` cards of afw, or ``MSKN`` and ``MSKM`` cards of lsst.images."""
    found = {short_name(k.removeprefix("MP_")): int(v) for k, v in header.items() if k.startswith("MP_")}
    for key, name in header.items():
        if key.startswith("MSKN"):
            found[short_name(str(name))] = int(header[key.replace("MSKN", "MSKM")]).bit_length() - 1
    return found


def _scaled(values: Any, scale: float) -> NDArray[np.float32]:
    array = np.ascontiguousarray(values, np.float32)
    return array if scale == 1.0 else array * np.float32(scale)
