"""A DCR-coadd store from arrays in memory: one call, whatever made the arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.stats import sigma_clipped_stats
from numpy.typing import ArrayLike, NDArray
from zarr.storage import MemoryStore

from dcrflow.base.errors import CoaddStoreError
from dcrflow.base.masks import NO_DATA
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.physics.bandpass import Bandpass, equal_subfilters
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds
from dcrflow.stores.coadds.writer import CoaddWriter, whole_coadds

_ZERO_POINT = 31.4  # AB magnitude of 1 nJy

Edges = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class _Filter:
    """The band of the file: edges of the subfilters, and the transmission curve if there is one."""

    edges: Edges
    effective_wavelength: float
    transmission: Mapping[str, Sequence[float]] | None

    @property
    def bandwidth(self) -> float:
        return self.edges[-1][1] - self.edges[0][0]


def coadds_from_arrays(
    image: Any,
    wcs: Any,
    *,
    band: str,
    subfilter_edges: Edges | None = None,
    transmission: Bandpass | str | tuple[ArrayLike, ArrayLike] | None = None,
    unit: str | u.UnitBase | None = None,
    zero_point: float | None = None,
    variance: ArrayLike | Sequence[ArrayLike] | None = None,
    mask: ArrayLike | Sequence[ArrayLike] | None = None,
    planes: Mapping[str, int] | None = None,
    psf: ArrayLike | Sequence[ArrayLike] | None = None,
    origin: tuple[int, int] | Sequence[tuple[int, int]] = (0, 0),
    patch_inner: int | tuple[int, int] | None = None,
    patch_border: int = 50,
    physical_filter: str = "",
    skymap: str = "arrays",
    store: Any = None,
    overwrite: bool = False,
) -> DcrCoadds:
    """Make a DCR-coadd store of subfilter images.

    Each image becomes a tract, with its own WCS. It is one patch, or is cut into patches of `patch_inner` pixels that
    overlap by twice `patch_border`. For several images, give `image`, `wcs` and whatever else differs between them as
    sequences of equal length.

    Parameters
    ----------
    image : array-like of shape (num_subfilters, height, width), or a sequence of such
        Subfilter images, from blue to red; NaN where there are no data.
    wcs : astropy WCS, FITS header, any object with the APE-14 interface, or a sequence of such
        Of `image`; its pixel (0, 0) is ``image[:, 0, 0]``.
    band : str
        Of the detector-visits that the coadds are for.
    subfilter_edges : sequence of (float, float), optional
        nm; consecutive subfilters share an edge. Without it the range of `transmission` is cut into equal parts.
    transmission : Bandpass, str, or (wavelength, throughput), optional
        The filter's curve: a file, the name of a filter in speclite (``decam2014-r``), or two arrays, nm.
    unit : str or astropy unit, optional
        Of `image`: a flux density such as ``"nJy"``, ``"uJy"`` or ``"erg/(s cm2 Hz)"``. Pixels are converted to nJy.
    zero_point : float, optional
        AB magnitude of an image value of 1, for images in counts. Give `unit` or `zero_point`.
    variance : array-like of shape (height, width) or (num_subfilters, height, width), or a sequence, optional
        Of one subfilter, in the square of the image's unit. Without it, it is estimated from the scatter of the sky,
        one number for each subfilter, and a warning says so.
    mask : array-like of int or bool, shape (height, width) or (num_subfilters, height, width), or a sequence, optional
        Mask planes; a mask of bool is the plane BAD.
    planes : mapping of str to int, optional
        Names and bits of the planes of `mask`.
    psf : array-like of shape (odd, odd), or a sequence, optional
        PSF of the coadd, centred; it is normalised to a sum of 1.
    origin : (int, int), or a sequence of such
        Absolute tract pixel (x0, y0) of ``image[:, 0, 0]``. The WCS stays that of the array.
    patch_inner : int or (int, int), optional
        Width and height of a patch without its border, pixels; the whole image is one patch otherwise.
    patch_border : int
        Overlap of a patch over its inner part on each side, pixels.
    physical_filter, skymap : str
        Names that are kept with the coadds.
    store : str, path or zarr store, optional
        Where to write; in memory otherwise.
    overwrite : bool
        Replace a DCR-coadd store that is there.

    Returns
    -------
    DcrCoadds
        The coadds, open for reading.

    Raises
    ------
    CoaddStoreError
        If the place cannot be written, or it is not known how bright a pixel value of 1 is.
    ConfigError
        If the transmission curve cannot be had.
    ValueError
        If shapes do not fit each other, or neither edges nor a curve say which subfilters these are.

    Examples
    --------
    >>> import numpy as np, dcrflow
    >>> blue_and_red = np.random.default_rng(0).normal(size=(2, 64, 64))
    >>> header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.2, "CRPIX1": 32.0,
    ...           "CRPIX2": 32.0, "CDELT1": -1e-4, "CDELT2": 1e-4}
    >>> coadds = dcrflow.coadds_from_arrays(
    ...     blue_and_red, header, band="r", subfilter_edges=[(550, 625), (625, 700)], unit="uJy",
    ...     variance=np.ones((64, 64)))
    >>> coadds.bands
    ('r',)
    """
    many = isinstance(image, list | tuple) and np.ndim(image[0]) == 3
    images = list(image) if many else [image]

    def each(name: str, values: Any) -> list[Any]:
        found = list(values) if many and values is not None else [values] * len(images)
        if len(found) != len(images):
            raise ValueError(f"{len(images)} images need as many {name}, found {len(found)}")
        return found

    origins = each("origins", origin) if many and np.ndim(origin) == 2 else [origin] * len(images)
    columns = (each("wcs", wcs), each("variances", variance), each("masks", mask), each("PSFs", psf), origins)
    factor = _to_nanojansky(unit, zero_point)
    tracts = [
        _tract_arrays(number, *values, planes=planes, patch_inner=patch_inner, border=patch_border)
        for number, values in enumerate(zip(images, *columns, strict=True))
    ]
    chosen = _filter(len(tracts[0].image), subfilter_edges, transmission)
    where = MemoryStore() if store is None else store
    with whole_coadds(where, skymap, overwrite=overwrite) as writer:  # all arguments have been checked by now
        for one in tracts:
            _write(writer, one, band, factor, chosen, physical_filter)
    return open_coadds(where)


@dataclass(frozen=True)
class _TractArrays:
    """An image as a tract: image and variance in the image's own unit."""

    tract: Tract
    image: NDArray[Any]
    variance: NDArray[Any]
    mask: NDArray[np.int32]
    planes: dict[str, int]
    psf: NDArray[np.float32] | None


def _tract_arrays(
    number: int,
    image: ArrayLike,
    wcs: Any,
    variance: ArrayLike | None,
    mask: ArrayLike | None,
    psf: ArrayLike | None,
    origin: tuple[int, int],
    *,
    planes: Mapping[str, int] | None,
    patch_inner: int | tuple[int, int] | None,
    border: int,
) -> _TractArrays:
    """Check one image and what belongs to it."""
    pixels = np.asarray(image)
    if pixels.ndim != 3:
        raise ValueError(f"image {number} has shape {pixels.shape}, expected (num_subfilters, height, width)")
    x0, y0 = origin
    box = Box(x0, y0, pixels.shape[2], pixels.shape[1])
    tract = _tract(number, _absolute(SkyWcs.from_any(wcs), x0, y0), box, patch_inner, border)
    bits, named = _mask(mask, planes, pixels)
    noise = _estimated_variance(pixels, number) if variance is None else np.asarray(variance)
    for name, array in (("variance", noise), ("mask", bits)):
        if array.shape not in (pixels.shape, box.shape):
            raise ValueError(f"{name} {number} has shape {array.shape}, expected {box.shape} or {pixels.shape}")
    return _TractArrays(tract, pixels, noise, bits, named, None if psf is None else _normalised(psf)[None])


def _write(
    writer: CoaddWriter, one: _TractArrays, band: str, factor: float, chosen: _Filter, physical_filter: str
) -> None:
    writer.write_tract(one.tract)
    for patch in one.tract.patches:
        at = patch.bbox.slices(one.tract.bbox)
        writer.write_patch(
            one.tract.tract, patch.patch, band,
            image=(one.image[:, *at] * np.float64(factor)).astype(np.float32),
            variance=(one.variance[..., *at] * np.float64(factor**2)).astype(np.float32),
            mask=one.mask[..., *at],
            planes=one.planes,
            subfilter_edges=chosen.edges,
            effective_wavelength=chosen.effective_wavelength,
            bandwidth=chosen.bandwidth,
            physical_filter=physical_filter,
            transmission=chosen.transmission,
            psf=one.psf,
        )  # fmt: skip


def _absolute(wcs: SkyWcs, x0: int, y0: int) -> SkyWcs:
    """The WCS in absolute tract pixels, from that of an array whose first pixel is (x0, y0)."""
    if not x0 and not y0:
        return wcs
    header = wcs.header
    for axis, offset in (("CRPIX1", x0), ("CRPIX2", y0)):
        header[axis] = float(header.get(axis, 0.0)) + offset
    return SkyWcs.from_header(header)


def _tract(number: int, wcs: SkyWcs, box: Box, patch_inner: int | tuple[int, int] | None, border: int) -> Tract:
    if patch_inner is None:
        return Tract(number, wcs, box, (box.width, box.height), 0, (1, 1))
    width, height = (patch_inner, patch_inner) if isinstance(patch_inner, int) else patch_inner
    if min(width, height) < 1 or border < 0:
        raise ValueError(f"patch_inner is {patch_inner} and patch_border {border}; expected at least 1 and 0")
    return Tract(number, wcs, box, (width, height), border, (-(-box.width // width), -(-box.height // height)))


def _to_nanojansky(unit: str | u.UnitBase | None, zero_point: float | None) -> float:
    """nJy of an image value of 1."""
    if (unit is None) == (zero_point is None):
        raise CoaddStoreError(
            "say how bright an image value of 1 is, in one way: unit= for a flux density (such as 'nJy'), or "
            "zero_point= for its AB magnitude"
        )
    if zero_point is not None:
        return float(10.0 ** (0.4 * (_ZERO_POINT - zero_point)))
    try:
        return float(u.Unit(unit).to(u.nJy))
    except (ValueError, u.UnitConversionError) as error:
        raise CoaddStoreError(
            f"unit {str(unit)!r} is no flux density that converts to nJy ({error}); for counts give zero_point="
        ) from None


def _filter(
    number: int, edges: Edges | None, transmission: Bandpass | str | tuple[ArrayLike, ArrayLike] | None
) -> _Filter:
    curve: Bandpass | None = None
    if isinstance(transmission, Bandpass):
        curve = transmission
    elif isinstance(transmission, str):
        curve = Bandpass.read(transmission) if any(c in transmission for c in "./\\") else Bandpass.named(transmission)
    elif transmission is not None:
        curve = Bandpass.from_curve(*transmission)
    if edges is None:
        if curve is None:
            raise ValueError("which subfilters are these? Give subfilter_edges=, or the filter's transmission=")
        low, high = curve.limits
        edges = equal_subfilters((low + high) / 2, high - low, number)
    if len(edges) != number:
        raise ValueError(f"{number} subfilters need as many pairs of subfilter_edges, found {len(edges)}")
    if curve is None:
        return _Filter(edges, (edges[0][0] + edges[-1][1]) / 2, None)
    return _Filter(edges, curve.effective_wavelength, {"wavelength": curve.wavelength, "throughput": curve.throughput})


def _mask(mask: Any, planes: Mapping[str, int] | None, image: NDArray[Any]) -> tuple[NDArray[np.int32], dict[str, int]]:
    """The mask as int32 with the names of its planes, NO_DATA set where the image is not finite."""
    if mask is None:
        bits, named = np.zeros(image.shape[1:], np.int32), {}
    else:
        given = np.asarray(mask)
        if given.dtype == bool:
            bits, named = given.astype(np.int32), {"BAD": 0}
        elif planes is None and np.any(given):
            raise ValueError("a mask of integers needs planes=, the names of its bits; give a mask of bool otherwise")
        else:
            bits, named = given.astype(np.int32), dict(planes or {})
    if NO_DATA not in named:
        named[NO_DATA] = next(bit for bit in range(31) if bit not in named.values())
    lost = ~np.isfinite(image)
    if bits.ndim == 2:
        lost = lost.any(axis=0)
    bits[lost] |= np.int32(1 << named[NO_DATA])
    return bits, named


def _estimated_variance(image: NDArray[Any], number: int) -> NDArray[np.float64]:
    """The variance of each subfilter's sky: the scatter of its pixels without sources, by sigma clipping."""
    scatter = [sigma_clipped_stats(i[np.isfinite(i)], sigma=3, maxiters=20)[2] for i in image]
    warnings.warn(
        f"no variance was given for image {number}: estimated from the scatter of the sky, standard deviation "
        f"{', '.join(f'{s:.3g}' for s in scatter)} of each subfilter in the image's unit",
        stacklevel=4,
    )
    return np.broadcast_to(np.square(scatter)[:, None, None], image.shape)


def _normalised(kernel: ArrayLike) -> NDArray[np.float32]:
    values = np.asarray(kernel, np.float64)
    total = values.sum()
    if values.ndim != 2 or not np.isfinite(total) or total <= 0:
        raise ValueError(f"psf has shape {values.shape} and sum {total:g}, expected (odd, odd) and a positive sum")
    return (values / total).astype(np.float32)
