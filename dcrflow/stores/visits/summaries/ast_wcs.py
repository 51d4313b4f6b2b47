"""A WCS that afw stored as text of the AST library, as a `SkyWcs`.

The text is a description of frames and mappings; it is data, and AST reads it as such. AST is the package
starlink-pyast, which the extra `lsst` brings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import VisitTableError, WcsError
from dcrflow.geometry.box import Box
from dcrflow.geometry.icrs_wcs import IcrsWcs
from dcrflow.geometry.sip import fit_tan_sip
from dcrflow.geometry.wcs import SkyWcs

Float = NDArray[np.float64]


@dataclass(frozen=True)
class AstWcs(IcrsWcs):
    """A frame set of AST from pixels to ICRS; another process reads it from its text again."""

    text: str

    def pixel_to_world_values(self, x: Float, y: Float) -> tuple[Float, Float]:
        ra, dec = np.rad2deg(self.frames().tran(_rows(x, y), True))
        return (ra % 360.0).reshape(np.shape(x)), dec.reshape(np.shape(x))

    def world_to_pixel_values(self, ra: Float, dec: Float) -> tuple[Float, Float]:
        x, y = self.frames().tran(np.deg2rad(_rows(ra, dec)), False)
        return x.reshape(np.shape(ra)), y.reshape(np.shape(ra))

    def frames(self) -> Any:
        """The frame set; raises WcsError if the text is not a frame set."""
        if "_read" not in self.__dict__:
            self.__dict__["_read"] = _read(self.text)
        return self.__dict__["_read"]

    def __reduce__(self) -> tuple[Any, ...]:
        return AstWcs, (self.text,)


def wcs_of_ast(stored: str, bbox: Box) -> SkyWcs:
    """Convert what `lsst.afw.geom.SkyWcs.writeString` wrote.

    A WCS that TAN-SIP can hold to 1e-4 pixels on the detector and its border becomes FITS cards; another is kept as it
    is.

    Parameters
    ----------
    stored : str
        A version, the name of the class, a flag, and the description by AST.
    bbox : Box
        The detector.

    Raises
    ------
    WcsError
        If it is no such text.
    VisitTableError
        If AST is not installed.
    """
    words = stored.split(maxsplit=3)
    if len(words) < 4 or words[1] != "SkyWcs" or not words[3].lstrip().startswith("Begin"):
        raise WcsError(f"expected a SkyWcs of afw as text, found {stored[:60]!r}")
    exact = AstWcs(words[3])
    exact.frames()
    try:
        return fit_tan_sip(exact.pixel_to_world_values, bbox)
    except WcsError:
        return SkyWcs.from_any(exact)


def _read(text: str) -> Any:
    try:
        import starlink.Ast
    except ImportError:
        raise VisitTableError(
            "the WCS of a visit summary is described in the language of AST: install dcrflow[lsst], or starlink-pyast"
        ) from None
    try:
        found = starlink.Ast.Channel(text.splitlines()).read()
    except starlink.Ast.AstError as error:
        raise WcsError(f"AST cannot read this WCS: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(found, starlink.Ast.FrameSet) or (found.Nin, found.Nout) != (2, 2):
        raise WcsError(f"expected a frame set of two axes, found {type(found).__name__}")
    if not isinstance(found.getframe(starlink.Ast.CURRENT), starlink.Ast.SkyFrame) or found.System != "ICRS":
        raise WcsError(f"the world of this WCS is {found.getattr('System')}, expected ICRS")
    return found


def _rows(first: Float, second: Float) -> Float:
    return np.stack([np.ascontiguousarray(v, np.float64).ravel() for v in np.broadcast_arrays(first, second)])
