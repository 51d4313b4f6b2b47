"""Bandpasses: the fraction of the light that is detected at each wavelength; and subfilters, their parts."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import QTable
from numpy.typing import ArrayLike, NDArray

from dcrflow.base.errors import ConfigError
from dcrflow.base.yamltext import read_bytes, read_text

Float = NDArray[np.float64]
Edges = tuple[tuple[float, float], ...]

_LARGEST = 1 << 24  # bytes of a table
_FORMATS = {".ecsv": "ascii.ecsv", ".fits": "fits", ".fit": "fits", ".vot": "votable", ".xml": "votable"}


@dataclass(frozen=True)
class Bandpass:
    """A transmission curve, linear between its points and zero outside them.

    Parameters
    ----------
    wavelength : tuple of float
        nm, strictly increasing, at least two.
    throughput : tuple of float
        Photons detected per photon arriving, any scale; not negative, not all zero.

    Raises
    ------
    ConfigError
        If the curve is not as above.
    """

    wavelength: tuple[float, ...]
    throughput: tuple[float, ...]

    def __post_init__(self) -> None:
        w, t = np.asarray(self.wavelength), np.asarray(self.throughput)
        if w.ndim != 1 or w.shape != t.shape or len(w) < 2:
            raise ConfigError(
                f"a transmission curve needs two or more wavelengths and as many throughputs, found shapes {w.shape} "
                f"and {t.shape}"
            )
        if not (np.all(np.isfinite(w)) and np.all(np.diff(w) > 0)):
            raise ConfigError("the wavelengths of a transmission curve must be finite and strictly increasing")
        if not (np.all(np.isfinite(t)) and np.all(t >= 0) and np.any(t > 0)):
            raise ConfigError("the throughputs of a transmission curve must be finite, not negative and not all zero")

    @classmethod
    def top_hat(cls, effective_wavelength: float, bandwidth: float) -> Bandpass:
        """Constant throughput within `bandwidth` around `effective_wavelength`, both nm."""
        half = bandwidth / 2
        return cls((effective_wavelength - half, effective_wavelength + half), (1.0, 1.0))

    @classmethod
    def from_curve(cls, wavelength: ArrayLike, throughput: ArrayLike) -> Bandpass:
        """From two arrays. Points are sorted; of the zeros at each end one is kept."""
        w, t = (np.atleast_1d(np.asarray(values, np.float64)) for values in (wavelength, throughput))
        if w.shape == t.shape and w.ndim == 1 and len(w) > 1:
            order = np.argsort(w, kind="stable")
            w, t = w[order], t[order]
            lit = np.flatnonzero(t > 0)
            if len(lit):
                keep = slice(max(0, lit[0] - 1), lit[-1] + 2)
                w, t = w[keep], t[keep]
        return cls(tuple(w.tolist()), tuple(t.tolist()))

    @classmethod
    def read(cls, path: str | Path) -> Bandpass:
        """Read a table of wavelength and throughput: ECSV, FITS, VOTable (units honoured) or plain columns in nm.

        Columns called wavelength and throughput are taken; otherwise the first and the second column. A plain
        table whose wavelengths exceed 3000 is taken to be in angstrom.

        Raises
        ------
        ConfigError
            If the file cannot be read or holds no such curve.
        """
        try:
            kind = _FORMATS.get(Path(path).suffix.lower())
            if kind:
                content = read_bytes(path, _LARGEST)
                file = content.decode().splitlines() if kind == "ascii.ecsv" else io.BytesIO(content)
                table = QTable.read(file, format=kind)
                names = {n.lower(): n for n in table.colnames}
                w = u.Quantity(table[names.get("wavelength", table.colnames[0])])
                t = u.Quantity(table[names.get("throughput", table.colnames[1])])
                wavelength = w.to_value(u.nm) if w.unit not in (None, u.dimensionless_unscaled) else w.value
                throughput = t.to_value(u.dimensionless_unscaled)
            else:
                lines = read_text(path, _LARGEST).splitlines()
                wavelength, throughput = np.loadtxt(lines, comments="#", usecols=(0, 1), unpack=True, delimiter=None)
        except Exception as error:
            raise ConfigError(
                f"cannot read a transmission curve from {path}: {' '.join(str(error).split())}"
            ) from error
        if np.max(wavelength, initial=0.0) > 3000:
            wavelength = np.asarray(wavelength) / 10
        try:
            return cls.from_curve(wavelength, throughput)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def named(cls, name: str) -> Bandpass:
        """A filter that the `speclite` package ships, such as ``lsst2016-g`` or ``decam2014-r``.

        Raises
        ------
        ConfigError
            If speclite is not installed or has no such filter.
        """
        try:
            import speclite.filters
        except ImportError:
            raise ConfigError(
                f"the filter {name!r} is looked up in the package speclite, which is not installed: "
                "pip install 'dcrflow[filters]', or give a file or a curve"
            ) from None
        try:
            found = speclite.filters.load_filter(name)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"speclite has no filter {name!r} ({error}); give its name, a file or a curve") from None
        return cls.from_curve(found.wavelength / 10, found.response)

    @property
    def limits(self) -> tuple[float, float]:
        """First and last wavelength, nm."""
        return self.wavelength[0], self.wavelength[-1]

    @property
    def effective_wavelength(self) -> float:
        """Mean wavelength weighted by the throughput, nm."""
        w, t = np.asarray(self.wavelength), np.asarray(self.throughput)
        grid = np.unique(np.concatenate([w, np.linspace(w[0], w[-1], 2001)]))
        curve = np.interp(grid, w, t)
        return float(np.trapezoid(grid * curve, grid) / np.trapezoid(curve, grid))

    def integrals(self, edges: Float) -> tuple[Float, Float]:
        """Throughput integrated between successive edges, and its mean wavelength there.

        Parameters
        ----------
        edges : ndarray of float64, shape (n + 1,)
            nm, increasing.

        Returns
        -------
        area, mean : ndarray of float64, shape (n,)
            Integral of the throughput, nm; throughput-weighted mean wavelength, nm (the middle where it is dark).
        """
        w, t = np.asarray(self.wavelength), np.asarray(self.throughput)
        area, mean = np.zeros(len(edges) - 1), (edges[:-1] + edges[1:]) / 2
        for i, (low, high) in enumerate(pairwise(edges)):
            inner = w[(w > low) & (w < high)]
            x = np.concatenate([[low], inner, [high]])
            y = np.interp(x, w, t, left=0.0, right=0.0)
            a, b, ya, yb = x[:-1], x[1:], y[:-1], y[1:]
            area[i] = np.sum((b - a) * (ya + yb) / 2)
            if area[i] > 0:  # first moment of a linear segment, exactly
                mean[i] = np.sum((b - a) * (ya * (2 * a + b) + yb * (a + 2 * b)) / 6) / area[i]
        return area, mean

    def shares(self, edges: Edges) -> Float:
        """Share of a flat photon spectrum in each subfilter, shape (num_subfilters,).

        The outer subfilters, whose edges are given in nm, reach to the ends of the curve.
        """
        bounds = np.array([edges[0][0], *(e[1] for e in edges)], np.float64)
        bounds[0], bounds[-1] = min(bounds[0], self.limits[0]), max(bounds[-1], self.limits[1])
        area, _ = self.integrals(bounds)
        return area / area.sum()


def equal_subfilters(effective_wavelength: float, bandwidth: float, number: int) -> Edges:
    """Cut a band of `bandwidth` around `effective_wavelength` (nm) into `number` subfilters of equal width."""
    edges = effective_wavelength - bandwidth / 2 + bandwidth * np.arange(number + 1) / number
    return tuple((float(a), float(b)) for a, b in pairwise(edges))
