"""The build records of a DCR-coadd store that dcrflow makes: the settings of each band and the visits of each patch.

Beside the coadds a store in a directory has ``.dcrflow/``: the journals of its runs, the sums over visits that new
visits are added to, and what a run leaves for its own tasks.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from dcrflow.base.errors import CoaddStoreError
from dcrflow.geometry.skymap import Tract
from dcrflow.stores.coadds.kind import KIND, VERSION, refuse_unfinished
from dcrflow.stores.coadds.patch_info import read_tract
from dcrflow.stores.coadds.writer import CoaddWriter, create_coadds, open_writer
from dcrflow.stores.journal import Journal, entries, progress_of
from dcrflow.stores.journal_lines import FOLDER
from dcrflow.stores.journal_reader import JournalReader
from dcrflow.stores.own_folder import describe_own
from dcrflow.stores.zarr.access import (
    group_attributes,
    is_occupied,
    is_path,
    list_names,
    location,
    open_root,
    url_of,
    words_of,
)
from dcrflow.stores.zarr.arrays import header_cards

Row = tuple[int, int, str]

_TOKEN = re.compile("[0-9a-f]{16}")  # of a folder of sums; an attribute may not name another place
_BUILDS = "builds"  # attribute of the root group


@dataclass(frozen=True)
class Made:
    """What a patch was made of.

    Parameters
    ----------
    config_hash : str
        Of `dcrflow.planning.coadds.config_digest`.
    rows : tuple of (int, int, str)
        Visit, detector, hash of row and file: all that were planned.
    visits : tuple of (int, int, str)
        Visit, detector, digest of the pixels: those that went in.
    sums : str
        Name of the folder with its sums; empty where none were kept.
    """

    config_hash: str
    rows: tuple[Row, ...]
    visits: tuple[Row, ...]
    sums: str


class CoaddBuild:
    """A DCR-coadd store that is being built; make one with `create_or_open`."""

    def __init__(self, place: Any) -> None:
        self._place = place
        self._root = open_root(place, KIND, VERSION, CoaddStoreError, mode="r+")
        refuse_unfinished(self._root)
        self._writer = open_writer(place)

    @classmethod
    def create_or_open(cls, out: Any, skymap: str) -> CoaddBuild:
        """Open a store, or create it where nothing is."""
        found = cls.find(out)
        if found is not None:
            return found
        place = location(out)
        create_coadds(place, skymap)
        return cls(place)

    @classmethod
    def find(cls, out: Any) -> CoaddBuild | None:
        """Open a store, None where nothing is; `CoaddStoreError` where that cannot be told."""
        place = location(out)
        try:
            occupied = is_occupied(place)
        except Exception as error:
            raise CoaddStoreError(f"cannot look into {url_of(place)}: {words_of(error)}; give another place") from error
        return cls(place) if occupied else None

    @classmethod
    def open(cls, out: Any) -> CoaddBuild:
        """Open a store that is there; `CoaddStoreError` otherwise."""
        return cls(location(out))

    @property
    def url(self) -> str:
        """Where it is."""
        return url_of(self._place)

    @property
    def path(self) -> str:
        """As tasks open it."""
        if not isinstance(self._place, str):
            raise CoaddStoreError(f"{self.url}: workers cannot open it by name; give a path or a URL")
        return self._place

    @property
    def own(self) -> Path | None:
        """The folder of its own files; None where the store is no directory."""
        return Path(self._place) / FOLDER if is_path(self._place) else None

    @property
    def writer(self) -> CoaddWriter:
        """For writing tracts and patches."""
        return self._writer

    def tracts(self) -> dict[int, Tract]:
        """The tracts that are there."""
        names = [n for n in list_names(self._root, [""])[0] if n.isdecimal()]
        return {int(n): read_tract(self._root, int(n), self.url) for n in names}

    def require_tract(self, tract: Tract) -> None:
        """Write a tract's geometry; one that is there must be the same.

        Raises
        ------
        CoaddStoreError
            If it is another.
        """
        about = group_attributes(self._root, [str(tract.tract)])[0]
        if not about:
            self._writer.write_tract(tract)
            return
        there = read_tract(self._root, tract.tract, self.url)
        same = header_cards(there.wcs.header) == header_cards(tract.wcs.header)
        if not same or (there.bbox, there.patch_inner, there.patch_border) != (
            tract.bbox, tract.patch_inner, tract.patch_border,
        ):  # fmt: skip
            raise CoaddStoreError(
                f"{self.url}: its tract {tract.tract} is another than the sky map's; use the sky map that it was made "
                "with (or the store itself as the sky map), or write to another place"
            )

    def bands(self) -> dict[str, dict[str, Any]]:
        """How each band is made: ``psf_fwhm``, ``refraction`` and ``config``."""
        found: Any = self._root.attrs.asdict().get(_BUILDS, {})
        return {
            str(k): dict(v) for k, v in (found.items() if isinstance(found, Mapping) else ()) if isinstance(v, Mapping)
        }

    def set_band(self, band: str, about: Mapping[str, Any]) -> None:
        """Write down how a band is made."""
        if self.bands().get(band) != dict(about):
            self._root.update_attributes({_BUILDS: self.bands() | {band: dict(about)}})

    def made(self, tract: int, patch: int, band: str) -> Made | None:
        """What a patch was made of; None if it is not there.

        Where its writing was cut off, its sums still know: nothing that went in is forgotten.
        """
        about = group_attributes(self._root, [f"{tract}/{patch}/{band}"])[0] or {}
        return _made(about) if "band" in about else None

    def sums_folder(self, tract: int, patch: int, band: str) -> Path | None:
        """Where the sums of a patch are kept, a folder for each set of visits; None where they cannot be."""
        return None if self.own is None else self.own / "sums" / band / f"{tract}.{patch}"

    def known_by_sums(self, tract: int, patch: int, band: str) -> Made | None:
        """What the newest complete sums of a patch were made of; None if there are none."""
        folder = self.sums_folder(tract, patch, band)
        if folder is None or not folder.is_dir():
            return None
        complete = [p for p in folder.iterdir() if (p / "about.json").is_file()]
        for place in sorted(complete, key=lambda p: (p / "about.json").stat().st_mtime_ns, reverse=True):
            try:
                about = json.loads((place / "about.json").read_text())
            except (OSError, ValueError):
                continue
            if isinstance(about, dict) and about.pop("crc32", None) in (None, _checksum(about)):
                return _made(about)
        return None

    def complete_sums(self, tract: int, patch: int, band: str, made: Made) -> None:
        """Write down what a patch's new sums were made of, and remove the older ones."""
        folder = self.sums_folder(tract, patch, band)
        if folder is None or not made.sums or not (folder / made.sums).is_dir():
            return
        about = {"config_hash": made.config_hash, "rows": made.rows, "visits": made.visits, "sums": made.sums}
        part = folder / made.sums / ".about.part"
        part.write_text(json.dumps({**about, "crc32": _checksum(about)}))
        os.replace(part, folder / made.sums / "about.json")
        for other in folder.iterdir():
            if other.name != made.sums:
                shutil.rmtree(other, ignore_errors=True)

    def patches(self) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
        """All complete patches: tract, patch, band and their attributes."""
        tracts = sorted(self.tracts())
        for tract, patches in zip(tracts, list_names(self._root, map(str, tracts)), strict=True):
            numbers = sorted(int(p) for p in patches if p.isdecimal())
            bands = list_names(self._root, [f"{tract}/{p}" for p in numbers])
            pairs = [(p, b) for p, several in zip(numbers, bands, strict=True) for b in several if b != "zarr.json"]
            found = group_attributes(self._root, [f"{tract}/{p}/{b}" for p, b in pairs])
            for (patch, band), about in zip(pairs, found, strict=True):
                if about and "band" in about:
                    yield tract, patch, band, about

    def entries_of(self, places: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
        """Those of some patches that are complete: tract, patch, band and their attributes."""
        wanted = list(places)
        found = group_attributes(self._root, [f"{tract}/{patch}/{band}" for tract, patch, band in wanted])
        for place, about in zip(wanted, found, strict=True):
            if about and "band" in about:
                yield *place, about

    def journal(self) -> Journal:
        """Begin the journal of a run."""
        with suppress(
            Exception
        ):  # as of the journal's lines: what is made of a disk that is full is told by its patches
            describe_own(self._root, "journals, and sums over visits, of dcrflow")
        return Journal(self._root)

    def journal_reader(self) -> JournalReader:
        """Reads the journals of all runs while they are written."""
        return JournalReader(self._root)

    def progress(self) -> list[Mapping[str, Any]]:
        """The last progress of each run."""
        return progress_of(self._root)

    def journalled(self) -> Iterable[Mapping[str, Any]]:
        """The entries of all runs."""
        return entries(self._root)


def _checksum(about: Mapping[str, Any]) -> int:
    return crc32(json.dumps(about).encode())


def _made(about: Mapping[str, Any]) -> Made:
    return Made(
        str(about.get("config_hash", "")),
        _rows(about.get("rows")),
        _rows(about.get("visits")),
        sums if isinstance(sums := about.get("sums"), str) and _TOKEN.fullmatch(sums) else "",
    )


def _rows(values: Any) -> tuple[Row, ...]:
    """Rows of an attribute; what of it is damaged is left out."""
    listed = values if isinstance(values, Sequence) and not isinstance(values, str) else ()
    return tuple(
        (v[0], v[1], str(v[2]))
        for v in listed
        if isinstance(v, Sequence) and len(v) == 3 and isinstance(v[0], int) and isinstance(v[1], int)
    )
