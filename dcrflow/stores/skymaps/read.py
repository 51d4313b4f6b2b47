"""Read sky maps from a YAML, JSON or Python configuration file, or from the tracts of a DCR-coadd store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcrflow.base.errors import ConfigError, brief
from dcrflow.base.yamltext import LARGEST, parse_yaml, read_text
from dcrflow.geometry.layout import ComputedSkyMap, ListedSkyMap, SkyMap
from dcrflow.geometry.skymap import Tract
from dcrflow.stores.coadds.store import open_coadds
from dcrflow.stores.skymaps.config import AutoConfig, SkyMapConfig, made, skymap_config
from dcrflow.stores.skymaps.lsst_config import flattened, from_lsst, is_python_config, parse_python_config
from dcrflow.stores.zarr.arrays import header_cards


def read_skymap(source: Any) -> ComputedSkyMap | ListedSkyMap:
    """Read a sky map: the geometry of tracts and patches.

    Parameters
    ----------
    source : str, path or mapping
        A YAML file with ``kind: rings``, ``discrete`` or ``tracts``; a configuration of lsst.skymap exported by the
        Rubin pipelines, in Python (parsed, never run) or JSON; a DCR-coadd store, for its tracts; or a mapping of keys
        and values.

    Returns
    -------
    SkyMap
        With `tract_ids`, `tract`, `find` and `near`.

    Raises
    ------
    ConfigError
        If the source cannot be read, has an unknown key or an unusable value, or has kind ``auto``, which needs visits.
    """
    if isinstance(source, ComputedSkyMap | ListedSkyMap):
        return source
    if _is_store(source):
        return skymap_of_store(source)
    config = read_skymap_config(source)
    if isinstance(config, AutoConfig):
        raise ConfigError(f"{_label(source)}: a sky map of kind auto is made around visits; name them, as coadd does")
    return made(config, _label(source))


def read_skymap_config(source: Any) -> SkyMapConfig:
    """Read and check the configuration of a sky map; raises as `read_skymap`."""
    where = _label(source)
    if isinstance(source, Mapping):
        return _config(source, where)
    try:
        text = read_text(source, LARGEST)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the sky map {where}: {' '.join(str(error).split())}") from error
    if Path(source).suffix == ".py" or is_python_config(text):
        return skymap_config(from_lsst(parse_python_config(text, where), where), where)
    try:
        values = parse_yaml(text)  # JSON is also YAML
    except ValueError as error:
        raise ConfigError(f"{where} is neither YAML nor JSON: {error}") from None
    if values == "auto":
        values = {"kind": "auto"}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must hold `key: value` lines, found {brief(values)}")
    return _config(values, where)


def _config(values: Mapping[Any, Any], where: str) -> SkyMapConfig:
    known = {str(k): v for k, v in values.items()}
    return skymap_config(known if "kind" in known else from_lsst(flattened(known), where), where)


def _label(source: Any) -> str:
    return "the sky map" if isinstance(source, Mapping) else str(source)


def _is_store(source: Any) -> bool:
    if isinstance(source, Mapping):
        return False
    if not isinstance(source, str | os.PathLike):
        return True
    return "://" in str(source) or Path(source).is_dir() or Path(source).suffix == ".zip"


def skymap_of_store(store: Any) -> ListedSkyMap:
    """The tracts of a DCR-coadd store as a sky map."""
    coadds = open_coadds(store)
    tracts = tuple(coadds.tracts.values())
    if not tracts:
        raise ConfigError(f"{coadds.url} has no tracts; give a sky map")
    return ListedSkyMap(tracts, coadds.skymap)


def tracts_as_config(tracts: tuple[Tract, ...], name: str) -> dict[str, Any]:
    """Tracts as the keys and values of a ``kind: tracts`` file."""
    return {
        "kind": "tracts",
        "name": name,
        "tracts": [
            {
                "tract": t.tract,
                "wcs": header_cards(t.wcs.header),
                "bbox": t.bbox.as_list(),
                "patch_inner": list(t.patch_inner),
                "patch_border": t.patch_border,
                "num_patches": list(t.num_patches),
                "patches_clipped": t.clipped,
            }
            for t in tracts
        ],
    }


__all__ = ["SkyMap", "read_skymap", "read_skymap_config", "skymap_of_store", "tracts_as_config"]
