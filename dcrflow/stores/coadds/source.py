"""What templates need from coadds, whether these are in a zarr store, a Butler or memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch, Tract
from dcrflow.model.pixels import PatchPixels
from dcrflow.stores.coadds.patch_info import PatchInfo
from dcrflow.stores.coadds.patch_psf import PatchPsf


@runtime_checkable
class CoaddSource(Protocol):
    """Subfilter coadds by tract, patch and band; `dcrflow.stores.coadds.store.DcrCoadds` reads them from a zarr store.

    A source that other processes use can be pickled. It raises the errors that `DcrCoadds` raises.
    """

    concurrent_reads: bool
    """Whether threads other than the one that made the source may read from it, several at once."""

    @property
    def url(self) -> str:
        """Where they are, for messages and provenance."""

    @property
    def digest(self) -> str:
        """A hash of the place, the tracts and the patches; not of the pixels."""

    @property
    def tracts(self) -> Mapping[int, Tract]:
        """The tracts, by id."""

    def require_band(self, band: str) -> None:
        """Make sure that some patch has this band."""

    def patches(self, tract: int, band: str) -> tuple[Patch, ...]:
        """The patches of a tract that are there in a band, by id."""

    def info(self, tract: int, patch: int, band: str) -> PatchInfo:
        """Metadata of a patch."""

    def read(self, tract: int, patch: int, band: str, box: Box, planes: Mapping[str, int]) -> PatchPixels:
        """Part of a patch, with its mask planes moved to the given bits."""

    def read_psf(self, tract: int, patch: int, band: str) -> PatchPsf | None:
        """The PSF of a patch whose info has a ``psf_shape``; None if none of its kernels is usable."""


@runtime_checkable
class StripSource(CoaddSource, Protocol):
    """A source that can read only strips of a box."""

    def read_strips(
        self, tract: int, patch: int, band: str, box: Box, strips: Sequence[Box], planes: Mapping[str, int]
    ) -> PatchPixels:
        """As `read`; pixels outside the strips may be zero."""
