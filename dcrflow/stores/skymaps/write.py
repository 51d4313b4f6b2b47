"""Write the geometry of tracts and patches to a file for other programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml
from astropy import units as u
from astropy.table import QTable

from dcrflow.base.errors import ConfigError
from dcrflow.geometry.box import Box
from dcrflow.geometry.layout import SkyMap, described
from dcrflow.geometry.skymap import Tract
from dcrflow.stores.files import whole_file
from dcrflow.stores.skymaps.read import tracts_as_config
from dcrflow.stores.zarr.access import words_of

_SUFFIXES = (".json", ".yaml", ".yml", ".ecsv")


def write_geometry(
    skymap: SkyMap, tracts: Iterable[int], path: str | Path, *, progress: Callable[..., None] = lambda *_: None
) -> int:
    """Write tracts and patches as JSON (`described`), YAML (for `read_skymap`) or ECSV (one row per patch).

    Returns
    -------
    int
        Number of patches.

    Raises
    ------
    ConfigError
        If the suffix is unknown, or the file cannot be written.
    NoOverlapError
        If the sky map does not have one of the tracts.
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise ConfigError(f"cannot write {path}: expected a name that ends with {', '.join(_SUFFIXES)}")
    wanted = list(tracts)
    chosen = []
    for number, tract in enumerate(wanted, 1):
        chosen.append(skymap.tract(tract))
        progress(number, len(wanted))
    try:
        with whole_file(path) as partial:
            if path.suffix == ".json":
                partial.write_text(json.dumps([described(t) for t in chosen]) + "\n")
            elif path.suffix == ".ecsv":
                _table(chosen).write(partial, format="ascii.ecsv", overwrite=True)
            else:
                partial.write_text(yaml.safe_dump(tracts_as_config(tuple(chosen), skymap.name), sort_keys=False))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {words_of(error)}") from error
    return sum(t.num_patches[0] * t.num_patches[1] for t in chosen)


def _table(tracts: Iterable[Tract]) -> QTable:
    """One row per patch: its boxes in tract pixels, and the sky positions of the corners of its inner part."""
    rows: list[dict[str, Any]] = []
    for tract in tracts:
        for patch in tract.patches:
            inner = tract.inner(patch.patch)
            ra, dec = tract.wcs.pixel_to_sky(*inner.outline(1))
            row: dict[str, Any] = {"tract": tract.tract, "patch": patch.patch}
            row |= _named("inner", inner) | _named("outer", patch.bbox)
            row |= {f"ra{i}": float(v) * u.deg for i, v in enumerate(ra)}
            row |= {f"dec{i}": float(v) * u.deg for i, v in enumerate(dec)}
            rows.append(row)
    return QTable(rows)


def _named(kind: str, box: Box) -> dict[str, int]:
    return {f"{kind}_{n}": v for n, v in zip(("x0", "y0", "width", "height"), box.as_list(), strict=True)}
