"""What a template needs of its coadds, wherever they are: a zarr store, a Butler, or arrays in memory."""

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
    """Subfilter coadds by tract, patch and band; `dcrflow.stores.coadds.store.DcrCoadds` is the one of the zarr store.

    Safe to use from several threads at once, and to pickle where it goes to other processes. Errors are those of
    `DcrCoadds`.
    """

    @property
    def url(self) -> str:
        """Where they are, for messages and provenance."""

    @property
    def digest(self) -> str:
        """A hash of where they are and which there are; not of their pixels."""

    @property
    def tracts(self) -> Mapping[int, Tract]:
        """The tracts, by id."""

    def require_band(self, band: str) -> None:
        """Make sure that some patch has this band."""

    def patches(self, tract: int, band: str) -> tuple[Patch, ...]:
        """The patches of a tract that are there in a band, by id."""

    def info(self, tract: int, patch: int, band: str) -> PatchInfo:
        """What is known of a patch without its pixels."""

    def read(self, tract: int, patch: int, band: str, box: Box, planes: Mapping[str, int]) -> PatchPixels:
        """Part of a patch, its mask planes at the bits that are given."""

    def read_psf(self, tract: int, patch: int, band: str) -> PatchPsf | None:
        """The PSF of a patch whose info has a ``psf_shape``; None if none of its kernels is usable."""


@runtime_checkable
class StripSource(CoaddSource, Protocol):
    """A source that need not read all of a box where only strips of it are wanted."""

    def read_strips(
        self, tract: int, patch: int, band: str, box: Box, strips: Sequence[Box], planes: Mapping[str, int]
    ) -> PatchPixels:
        """As `read`; what is outside the strips may be zero."""
