"""How far each step looks beyond the pixels it makes, and where which B-splines are undone."""

from __future__ import annotations

from dataclasses import dataclass

from dcrflow.kernels.interpolation import INTERPOLATIONS, filter_radius
from dcrflow.model.config import TemplateConfig

FILL_MARGIN = 8  # pixels on each side that filling the missing pixels looks at, beyond the coefficient filter's radius


@dataclass(frozen=True)
class Margins:
    """Margins of a template's steps, pixels on each side, and the B-spline degrees that are undone.

    Parameters
    ----------
    warp : int
        How far around a tile's footprint its warp looks, with two pixels to spare.
    merged_degrees : tuple of int
        Degrees of the B-splines that are undone once, on the merged tract: of the DCR kernels and of a spline warp.
    patch_degrees : tuple of int
        Degrees that are undone on each patch before the merge, as LSST does it; not empty only if `as_lsst`.
    lsst_edges : bool
        Whether patches are matched to the last pixel of their edges, as LSST does it, to compare numbers.
    """

    warp: int
    merged_degrees: tuple[int, ...]
    patch_degrees: tuple[int, ...]
    lsst_edges: bool

    @classmethod
    def of(cls, config: TemplateConfig, degree: int) -> Margins:
        """The margins of a configuration.

        LSST's order of steps (``dcr="split"`` with an interpolation of pixels) makes pixels of every patch before the
        merge; every other configuration filters once, after the merge.

        Parameters
        ----------
        config : TemplateConfig
            The method, and the warp.
        degree : int
            Of the DCR model's B-splines.
        """
        interpolation = INTERPOLATIONS[config.warp]
        if config.dcr == "split" and interpolation.degree is None:
            return cls(interpolation.margin, (), (degree,), config.rotation == "boresight")
        degrees = (degree,) if interpolation.degree is None else tuple(sorted((degree, interpolation.degree)))
        return cls(interpolation.margin, degrees, (), False)

    @property
    def as_lsst(self) -> bool:
        """Whether each patch is matched and filtered by itself, in LSST's order: the switch to `steps.lsst_compat`."""
        return bool(self.patch_degrees)

    @property
    def merge(self) -> int:
        """How far around a region the merged tract must be known to filter it."""
        return filter_radius(self.merged_degrees) + FILL_MARGIN if self.merged_degrees else 0

    @property
    def read(self) -> int:
        """How far around a region the matched patches must be known."""
        return self.merge or filter_radius(self.patch_degrees) + FILL_MARGIN
