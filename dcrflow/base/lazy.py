"""Names of a package that are imported on first use, since numba, dask and astropy take seconds to import."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, Sequence[str]], modules: Sequence[str] = ()) -> Callable[[str], Any]:
    """A module's ``__getattr__`` (PEP 562) that imports public names from their modules on first use.

    Parameters
    ----------
    package : str
        The package that offers the names: its ``__name__``.
    homes : mapping of str to sequence of str
        Absolute name of a module -> names that are taken from it.
    modules : sequence of str
        Modules of the package that are imported on first use too.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def getattribute(name: str) -> Any:
        if name in modules:
            return import_module(f"{package}.{name}")
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home_of[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return getattribute
