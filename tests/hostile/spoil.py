"""How input is spoilt: each function gives one that spoils a survey."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from hostile.survey import PATCH, Place

Spoil = Callable[[Place], object]


@dataclass(frozen=True)
class Case:
    """One way in which input can be bad.

    Parameters
    ----------
    name : str
        What is wrong.
    spoil : callable
        Makes it so in a survey.
    more : tuple of str
        Words of the command line; ``SURVEY`` in them is the survey's directory.
    survey : str
        Which, as `hostile.survey.write_survey` has them.
    changes : bool
        Good pixels rightly differ from those of the survey as it was, such as under another weather.
    everywhere : bool
        All detector-visits are concerned, by the nature of what is wrong.
    place : mapping
        Other names of the files, as fields of `Place`.
    """

    name: str
    spoil: Spoil
    more: tuple[str, ...] = ()
    survey: str = "plain"
    changes: bool = False
    everywhere: bool = False
    place: Mapping[str, str] | None = None


def nothing(place: Place) -> None:
    """The survey as it is."""


# Coadds


def edited(path: Path, **changes: Any) -> None:
    """Keys of a JSON file; None takes one away."""
    found = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in found.items() if v is not None}))


def attributes(path: str, **changes: Any) -> Spoil:
    """Attributes of a group or variable of the coadds; None takes one away."""

    def spoil(place: Place) -> None:
        file = place.coadds / path / "zarr.json"
        found = json.loads(file.read_text())["attributes"] | changes
        edited(file, attributes={k: v for k, v in found.items() if v is not None})

    return spoil


def of_patch(**changes: Any) -> Spoil:
    """Attributes of the patch."""
    return attributes(PATCH, **changes)


def of_all_patches(**changes: Any) -> Spoil:
    """Attributes of every patch."""
    return lambda place: [attributes(f"7/{number}/g", **changes)(place) for number in range(4)]


def metadata(name: str, **changes: Any) -> Spoil:
    """What zarr says of a variable of the patch."""
    return lambda place: edited(place.coadds / PATCH / name / "zarr.json", **changes)


def one_chunk(shape: list[int]) -> dict[str, Any]:
    """For `metadata`: a shape, and one chunk of it."""
    grid = {"name": "regular", "configuration": {"chunk_shape": shape}}
    return {"shape": shape, "chunk_grid": grid, "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]}


def pixels(name: str, change: Callable[[np.ndarray], Any]) -> Spoil:
    """Values of a variable of the patch, changed in place, or replaced by what is returned."""

    def spoil(place: Place) -> None:
        array = zarr.open_group(place.coadds, path=PATCH, mode="r+")[name]
        values = array[...]
        changed = change(values)
        array[...] = values if changed is None else changed

    return spoil


def put(where: Any, value: Any) -> Callable[[np.ndarray], None]:
    """For `pixels`: a value at some place."""

    def change(values: np.ndarray) -> None:
        values[where] = value

    return change


def variable(name: str, values: np.ndarray, dims: tuple[str, ...], **about: Any) -> Spoil:
    """Another variable in the place of one of the patch."""

    def spoil(place: Place) -> None:
        group = zarr.open_group(place.coadds, path=PATCH, mode="r+")
        new = group.create_array(
            name, shape=values.shape, dtype=values.dtype, dimension_names=dims, overwrite=True, attributes=about
        )
        new[...] = values

    return spoil


def files(name: str, key: str, change: Callable[[bytes], bytes | None]) -> Spoil:
    """The bytes of a file of a variable of the patch, such as its chunk ``c/0/0/0``; None takes it away."""
    return at(f"{PATCH}/{name}/{key}", change)


def at(path: str, change: Callable[[bytes], bytes | None]) -> Spoil:
    """The same of any file of the coadds."""

    def spoil(place: Place) -> None:
        _change(place.coadds / path, change)

    return spoil


def _change(file: Path, change: Callable[[bytes], bytes | None]) -> None:
    content = change(file.read_bytes())
    file.unlink()
    if content is not None:
        file.write_bytes(content)


def gone(content: bytes) -> None:
    """For `files`: there is none."""


def half(content: bytes) -> bytes:
    """For `files`: it was cut off."""
    return content[: len(content) // 2]


def flipped(place: float) -> Callable[[bytes], bytes]:
    """For `files`: one bit is another, at a fraction of the length."""

    def change(content: bytes) -> bytes:
        found = bytearray(content)
        found[int(place * (len(found) - 1))] ^= 16
        return bytes(found)

    return change


# The table


def table(change: Callable[[Table], Table | None]) -> Spoil:
    """The detector-visit table, changed or replaced."""

    def spoil(place: Place) -> None:
        found = Table.read(place.visits, format="ascii.ecsv")
        changed = change(found)
        (found if changed is None else changed).write(place.visits, format="ascii.ecsv", overwrite=True)

    return spoil


def text(change: Callable[[bytes], bytes | None]) -> Spoil:
    """The table's file."""
    return lambda place: _change(place.visits, change)


def cell(name: str, value: Any) -> Spoil:
    """One value of the row of the detector-visit that lies on the patch."""

    def change(found: Table) -> None:
        unit, values = found[name].unit, list(found[name])
        values[0] = value
        kind = (
            "U"
            if any(isinstance(v, str) for v in values)
            else "f8"
            if any(isinstance(v, float) for v in values)
            else None
        )
        if kind == "U":
            values = [str(v) for v in values]
        found[name] = MaskedColumn(values, mask=[v is None for v in values], unit=unit, dtype=kind)

    return table(change)


def cards(**changes: Any) -> Spoil:
    """Cards of the WCS in that row; None takes one away."""

    def change(found: Table) -> None:
        header = fits.Header.fromstring(found["wcs"][0], sep="")
        for key, value in changes.items():
            if value is None:
                header.remove(key)
            else:
                header[key] = value
        wcs = [header.tostring(sep="", endcard=False, padding=False), *list(found["wcs"])[1:]]
        found["wcs"] = wcs

    return table(change)


def config(content: bytes) -> Spoil:
    """A configuration file beside the survey."""
    return lambda place: (place.directory / "config.yaml").write_bytes(content)


def all_of(*spoils: Spoil) -> Spoil:
    """One after the other."""
    return lambda place: [spoil(place) for spoil in spoils]
