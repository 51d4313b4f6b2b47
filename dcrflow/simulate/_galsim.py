"""GalSim, imported when it is needed: it is an optional dependency."""

from __future__ import annotations

from typing import Any

from dcrflow.base.errors import DcrflowError


class GalsimMissingError(DcrflowError, ImportError):
    """GalSim is not installed."""


def galsim() -> Any:
    """The GalSim module.

    Raises
    ------
    GalsimMissingError
        If GalSim cannot be imported; says how to get it.
    """
    try:
        import galsim as module
    except ImportError as error:
        raise GalsimMissingError(
            f"simulating needs GalSim, which cannot be imported ({error}): pip install 'dcrflow[sim]'"
        ) from error
    return module
