"""Select the coadds for a template and check that they are consistent, before any pixel is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

from dcrflow.base.errors import InconsistentCoaddsError, MissingSubfilterError
from dcrflow.geometry.skymap import Outline, overlapping_patches
from dcrflow.lsst.handles import HandleCoadds, SubfilterCoadd

#: By tract, an entry a coadd: (patch, subfilter), a data ID, or the patch alone.
PatchList = Mapping[int, Iterable[Any]]


class IncompletePatchError(MissingSubfilterError, RuntimeError):
    """A patch does not have each of its subfilters once."""


class MixedCoaddsError(InconsistentCoaddsError, RuntimeError):
    """The coadds of one template are of several bands, or calibrated differently."""


def subfilter_coadd(handle: Any) -> SubfilterCoadd:
    """The `SubfilterCoadd` of a handle; an existing one is reused, with what it has already read."""
    if isinstance(handle, SubfilterCoadd):
        return handle
    d = handle.dataId
    data = getattr(handle, "inMemoryDataset", handle)  # a handle of an object in memory cuts out no regions
    return SubfilterCoadd(int(d["tract"]), int(d["patch"]), int(d["subfilter"]), str(d["band"]), data, d)


def only_band(source: HandleCoadds) -> str:
    """The band of all coadds.

    Raises
    ------
    MixedCoaddsError
        If there are several.
    """
    if len(source.bands) != 1:
        raise MixedCoaddsError(f"coadds of one band are needed, found {', '.join(source.bands) or 'none'}")
    return source.bands[0]


def patches_under(source: HandleCoadds, outline: Outline) -> dict[int, list[tuple[int, int]]]:
    """The (patch, subfilter) of the coadds that an outline overlaps, by tract; decided in the tract's pixels."""
    band = only_band(source)
    found: dict[int, list[tuple[int, int]]] = {}
    for tract, geometry in source.tracts.items():
        for patch in overlapping_patches(outline, geometry, source.patches(tract, band)):
            there = source.coadds(tract, patch.patch, band)
            found.setdefault(tract, []).extend((patch.patch, c.subfilter) for c in there)
    return found


def check_patches(patches: PatchList, expected: int) -> None:
    """Check that each patch has every subfilter, and has it once.

    Raises
    ------
    IncompletePatchError
        Names tract, patch, found and expected.
    """
    for tract, entries in patches.items():
        by_patch: dict[int, list[int | None]] = {}
        for entry in entries:
            patch, subfilter = patch_and_subfilter(entry)
            by_patch.setdefault(patch, []).append(subfilter)
        for patch, found in by_patch.items():
            known = [s for s in found if s is not None]
            twice = sorted(s for s, n in Counter(known).items() if n > 1)
            if len(found) != expected or twice:
                which = f" ({', '.join(map(str, sorted(known)))})" if known else ""
                raise IncompletePatchError(
                    f"tract {tract} patch {patch} has {len(found)} subfilter coadds{which}, expected {expected} "
                    f"different ones{f'; {twice[0]} is there twice' if twice else ''}"
                )


def handles_of_patches(
    patches: PatchList, handles: Sequence[Any], expected: int
) -> dict[tuple[int, int], list[Any]]:  # fmt: skip
    """The handles of each patch of a list, by tract and patch.

    Raises
    ------
    IncompletePatchError
        If a patch, by the list or by the handles, does not have each of its subfilters once.
    """
    check_patches(patches, expected)
    wanted = sorted({(t, patch_and_subfilter(e)[0]) for t, entries in patches.items() for e in entries})
    found: dict[tuple[int, int], list[Any]] = {key: [] for key in wanted}
    for handle in handles:
        found.get((handle.dataId["tract"], handle.dataId["patch"]), []).append(handle)
    for (tract, patch), there in found.items():
        check_patches({tract: [(patch, int(h.dataId["subfilter"])) for h in there]}, expected)
        if not there:
            raise IncompletePatchError(f"tract {tract} patch {patch} has 0 subfilter coadds, expected {expected}")
    return found


def patch_and_subfilter(entry: Any) -> tuple[int, int | None]:
    """Patch and subfilter of an entry of a patch list; the subfilter is None if the entry has only the patch."""
    if isinstance(entry, Integral):
        return int(entry), None
    if isinstance(entry, tuple):
        return int(entry[0]), int(entry[1])
    return int(entry["patch"]), int(entry["subfilter"])


def flat(values: Any) -> list[Any]:
    """All items as one list, whether they are given by tract or as one sequence."""
    return [v for some in values.values() for v in some] if isinstance(values, Mapping) else list(values)


def by_tract(coadds: Sequence[Any]) -> dict[int, list[Any]]:
    """Coadds in lists by the tract of their data ID."""
    found: dict[int, list[Any]] = {}
    for coadd in coadds:
        found.setdefault(int(coadd.dataId["tract"]), []).append(coadd)
    return found


def grouped(values: Any, data_ids: Any) -> dict[int, list[Any]]:
    """Items in lists by the tract of their data IDs, whether both are given by tract or as one sequence."""
    found: dict[int, list[Any]] = {}
    for value, data_id in zip(flat(values), flat(data_ids), strict=True):
        found.setdefault(int(data_id["tract"]), []).append(value)
    return found


def value_of(data_id: Any, name: str, default: Any) -> Any:
    """A value of a data ID, or a default if the data ID does not have it."""
    try:
        return data_id[name]
    except (KeyError, TypeError):
        return default


def one_band(data_ids: Iterable[Any]) -> str:
    """The band of all data IDs; empty if no data ID has one.

    Raises
    ------
    MixedCoaddsError
        If there are several.
    """
    bands = sorted({str(value_of(d, "band", "")) for d in data_ids} - {""})
    if len(bands) > 1:
        raise MixedCoaddsError(f"coadds of one band are needed, found {', '.join(bands)}")
    return bands[0] if bands else ""


def one_calibration(coadds: Iterable[Any]) -> Any:
    """The photometric calibration of all coadds, unchanged; None if no coadd has one.

    Raises
    ------
    MixedCoaddsError
        If there are several; names two coadds.
    """
    first: Any = None
    for coadd in coadds:
        found = calibration_of(coadd)
        if found is None:
            continue
        if first is None:
            first = (found, coadd)
        elif found != first[0]:
            raise MixedCoaddsError(
                f"the coadds are calibrated differently: {_named(first[1])} by {first[0]}, {_named(coadd)} by {found}; "
                "bring all of them to nJy"
            )
    return None if first is None else first[0]


def calibration_of(coadd: Any) -> Any:
    """The ``photoCalib`` of a handle or an exposure; None if it has none."""
    if isinstance(coadd, SubfilterCoadd):
        return coadd.calibration
    if hasattr(coadd, "getPhotoCalib"):
        return coadd.getPhotoCalib()
    if hasattr(coadd, "inMemoryDataset"):
        return calibration_of(coadd.inMemoryDataset)
    if hasattr(coadd, "photoCalib"):
        return coadd.photoCalib
    if hasattr(coadd, "get") and hasattr(coadd, "dataId"):
        for name in ("photoCalib", "unit"):
            try:
                return coadd.get(component=name)
            except (KeyError, ValueError, AttributeError):
                continue
    return getattr(coadd, "unit", None)


def _named(coadd: Any) -> str:
    data_id = getattr(coadd, "dataId", {})
    words = [f"{k} {value_of(data_id, k, '?')}" for k in ("tract", "patch", "subfilter") if value_of(data_id, k, None)
             is not None]  # fmt: skip
    return " ".join(words) or "one"
