"""``template.dcrflow``: the PSF and figures of a template.

Works on a template that was just built, lazy or not, and on one that was read from a store. ``import dcrflow``
registers it with xarray, before or after xarray is imported: so this module imports only what xarray has imported
already, and the rest where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from dcrflow.base.attributes import decoded
from dcrflow.base.errors import DcrflowError, NoPsfError, TemplateStoreError
from dcrflow.base.masks import NO_DATA, planes_from_attributes
from dcrflow.kernels.nodes import node_weights

Float = NDArray[np.float64]


@xr.register_dataset_accessor("dcrflow")  # type: ignore[no-untyped-call]
class TemplateAccessor:
    """``template.dcrflow`` of a dataset that `dcrflow.build_template` made or a template store holds."""

    def __init__(self, template: xr.Dataset) -> None:
        self._template = template

    @property
    def _label(self) -> str:
        attributes = self._template.attrs
        return f"the template of visit {attributes.get('visit', '?')} detector {attributes.get('detector', '?')}"

    @contextmanager
    def _reading(self, *names: str) -> Iterator[None]:
        """Attributes are used that whoever wrote the template may have written otherwise."""
        try:
            yield
        except DcrflowError:
            raise
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise TemplateStoreError(
                f"{self._label}: its attributes {', '.join(names)} are not as dcrflow writes them "
                f"({type(error).__name__}: {error}); make it again with `dcrflow run`"
            ) from error

    @cached_property
    def _good(self) -> NDArray[np.bool_]:
        """Which nodes have a usable kernel."""
        return np.asarray(np.isfinite(self._template["psf"].values).all(axis=(1, 2)))

    @cached_property
    def _psf(self) -> tuple[Float, Float, Float]:
        """The PSF's kernels and the nodes' x and y."""
        if "psf" not in self._template:
            raise NoPsfError(f"{self._label} has no PSF: its coadds have none; write them with psf= and make it again")
        kernels, x, y = (self._template[n].values.astype(np.float64) for n in ("psf", "psf_node_x", "psf_node_y"))
        good = self._good
        if not good.any():
            raise NoPsfError(f"{self._label}: its PSF is not finite anywhere; look at the psf of its coadds")
        return kernels[good], x[good], y[good]

    @cached_property
    def _owners(self) -> Any:
        """The patches that the usable nodes belong to, `NodePatches`; None where the template does not say."""
        patches, wcs = (decoded(self._template.attrs.get(name)) for name in ("psf_patches", "wcs"))
        if "psf_node_patch" not in self._template.variables or not patches or not wcs:
            return None
        from dcrflow.geometry.node_patches import NodePatches

        with self._reading("psf_patches", "wcs", "config"):
            warp = (decoded(self._template.attrs.get("config")) or {}).get("warp", "")
            return NodePatches.of(wcs, self._template["psf_node_patch"].values[self._good], patches, warp)

    @cached_property
    def _coadd_kernels(self) -> Float | None:
        """The coadds' kernels at the usable nodes; None where the template needs and has none."""
        if "psf_coadd" not in self._template:
            return None
        return np.asarray(self._template["psf_coadd"].values[self._good], np.float64)

    @cached_property
    def middle(self) -> tuple[float, float]:
        """Centroid (x, y) of the pixels that have data, detector pixels; computes the mask."""
        mask = self._template["mask"]
        good = ((mask.values >> planes_from_attributes(mask.attrs)[NO_DATA]) & 1) == 0
        rows, columns = good.sum(axis=1), good.sum(axis=0)
        if not good.any():
            raise NoPsfError(f"{self._label} has no pixel with data, so no middle of them; give x and y")
        return (
            float(self._template["x"].values @ columns / columns.sum()),
            float(self._template["y"].values @ rows / rows.sum()),
        )

    def psf_at(
        self,
        x: float | None = None,
        y: float | None = None,
        spectrum: str | Sequence[float] | tuple[ArrayLike, ArrayLike] | None = None,
    ) -> xr.DataArray:
        """The PSF of the template at a position, interpolated between its nodes.

        Parameters
        ----------
        x, y : float, optional
            Detector pixels; the centroid of the pixels that have data, unless given.
        spectrum : optional
            Whose DCR to apply: without one, the PSF of light of one wavelength. ``"flat"`` is a photon spectrum that is
            constant over the band; N numbers are relative fluxes in the coadds' subfilters; a pair of sequences is
            wavelength (nm) and photons per nm, any scale.

        Returns
        -------
        xarray.DataArray
            Dims (psf_y, psf_x), odd sizes, coordinates in pixels from the middle, sum 1. The middle is where light of
            the effective wavelength lands; with a `spectrum` the centroid is off it by the mean DCR of that spectrum,
            evaluated at the detector's middle.

        Raises
        ------
        NoPsfError
            If the template has no PSF, or no pixel with data where x or y is left out.
        ValueError
            If the position is not on the template, or the spectrum cannot be understood.

        Examples
        --------
        >>> import dcrflow
        >>> visits = dcrflow.read_visits("survey/visits.ecsv")
        >>> template = dcrflow.build_template("survey/coadds.zarr", visits[0])
        >>> psf = template.dcrflow.psf_at(100, 90, spectrum="flat")
        >>> f"{float(psf.sum()):.3f}"
        '1.000'
        """
        from dcrflow.kernels.nodes import spread

        nodes = self._psf
        if x is None or y is None:
            x, y = (p if given is None else given for given, p in zip((x, y), self.middle, strict=True))
        self._check_position(x, y)
        if self._owners is None:
            kernel: Float = np.tensordot(node_weights(x, y, *nodes[1:]), nodes[0], 1)
        else:
            kernel = self._owners.kernel_at(*nodes, x, y, self._coadd_kernels)
        if spectrum is not None:
            kernel = spread(kernel, *self._dcr(spectrum))
        half_y, half_x = (n // 2 for n in kernel.shape)
        return xr.DataArray(
            kernel / kernel.sum(),
            dims=("psf_y", "psf_x"),
            coords={"psf_y": np.arange(-half_y, half_y + 1), "psf_x": np.arange(-half_x, half_x + 1), "x": x, "y": y},
            name="psf",
        )

    def plot(self, planes: Sequence[str] | None = None, figure: Any = None) -> NDArray[Any]:
        """Draw image, mask planes and standard deviation; see `dcrflow.view.plots.plot_template`."""
        axes: NDArray[Any] = self._plots().plot_template(self._template, planes, figure)
        return axes

    def plot_image(self, ax: Any = None, **kwargs: Any) -> Any:
        """Draw the image with an arcsinh stretch; see `dcrflow.view.plots.plot_image`."""
        return self._plots().plot_image(self._template, ax, **kwargs)

    def plot_mask(self, planes: Sequence[str] | None = None, ax: Any = None) -> Any:
        """Draw the mask planes in colours over the image; see `dcrflow.view.plots.plot_mask`."""
        return self._plots().plot_mask(self._template, planes, ax)

    def plot_variance(self, ax: Any = None, **kwargs: Any) -> Any:
        """Draw the standard deviation; see `dcrflow.view.plots.plot_variance`."""
        return self._plots().plot_variance(self._template, ax, **kwargs)

    @staticmethod
    def _plots() -> Any:
        from dcrflow.view import plots

        return plots

    def _check_position(self, x: float, y: float) -> None:
        with self._reading("bbox", "config"):
            x0, y0, width, height = map(int, decoded(self._template.attrs["bbox"]))
            border = int(decoded(self._template.attrs["config"])["border"])
        off_x, off_y = abs(x - x0 - (width - 1) / 2), abs(y - y0 - (height - 1) / 2)
        if not (off_x <= width / 2 + border and off_y <= height / 2 + border):
            raise ValueError(
                f"({x:g}, {y:g}) is not on {self._label}: x from {x0 - border} to {x0 + width - 1 + border}, "
                f"y from {y0 - border} to {y0 + height - 1 + border}"
            )

    def _dcr(self, spectrum: str | Sequence[float] | tuple[ArrayLike, ArrayLike]) -> tuple[Float, Float, Float]:
        """Shifts (dy, dx), detector pixels, of a spectrum's light by wavelength, and the share of the light at each."""
        with self._reading("dcr"):
            about = decoded(self._template.attrs["dcr"])["spread"]
            dy, dx = np.array(about["shift"], np.float64).T
            by_subfilter, flat = (np.array(about[name], np.float64) for name in ("weights", "flat"))
            wavelength = np.array(about["wavelength"], np.float64)
            shapes = [array.shape for array in (dy, wavelength, flat, by_subfilter[:, 0])]
            if len(set(shapes)) > 1 or not np.isfinite([dy, dx, wavelength, flat]).all():
                raise ValueError(f"arrays of shapes {shapes}, expected one shape and finite numbers")
        if isinstance(spectrum, str):
            if spectrum != "flat":
                raise ValueError(f"spectrum {spectrum!r} is unknown; 'flat' is the only one with a name")
            weights = flat
        else:
            given = np.asarray(spectrum, np.float64)
            if given.ndim == 2 and len(given) == 2:
                weights = flat * np.interp(wavelength, *given)
            elif given.shape == by_subfilter.shape[1:]:
                weights = by_subfilter @ given
            else:
                raise ValueError(
                    f"a spectrum of shape {given.shape}; expected 'flat', {by_subfilter.shape[1]} subfilter fluxes, "
                    "or a pair of wavelengths (nm) and photons per nm"
                )
        if not (np.isfinite(weights).all() and weights.sum() > 0):
            raise ValueError("the spectrum has no light in the band, or is not finite")
        return dy, dx, weights / weights.sum()
