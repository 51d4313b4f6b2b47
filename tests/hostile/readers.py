"""Everything that dcrflow reads, as functions of bytes, and ways to make bad bytes of good ones."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from astropy.io import fits
from scenes import IMAGE, TRACT, coadds, visit
from zarr.storage import MemoryStore

import dcrflow
from dcrflow.base.errors import DcrflowError
from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.campaign.html import campaign_facts
from dcrflow.campaign.html.page import page
from dcrflow.campaign.status import campaign_status
from dcrflow.campaign.verify import verify
from dcrflow.cli import show_campaign
from dcrflow.cluster import read_description
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst.export import export
from dcrflow.lsst.fits_coadds import FitsCoadd
from dcrflow.model.config import TemplateConfig, parse_settings
from dcrflow.physics.bandpass import Bandpass
from dcrflow.simulate.survey import SurveyConfig
from dcrflow.stores.coadds.store import open_coadds
from dcrflow.stores.locks import locked
from dcrflow.stores.templates.store import TemplateStore
from dcrflow.stores.visits.tables import read_visit_rows

#: ``choose(low, high)`` gives a number, low and high among those that it may be.
Choose = Callable[[int, int], int]

_NASTY = (
    b"", b"0", b"-1", b"1e999", b"NaN", b"null", b"true", b"[]", b"{}", b'""', b"99999999999999999999", b"1e-320", b"'",
    b"[" * 3000, b"\xff\xfe", b"\x00", b"!!python/object/apply:os.system ['touch harmed']", b"&a [*a]", b"-0.0",
    b"2026-02-31",
)  # fmt: skip
_TOKEN = re.compile(rb"[A-Za-z_]\w*|-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Reader:
    """Something that is read: what it should be, and what reads it; `DcrflowError` is all that this may raise."""

    good: Callable[[Choose], bytes]
    read: Callable[[bytes], object]


def mutated(good: bytes, choose: Choose) -> bytes:
    """Bad bytes of good ones: a few bits, words, cuts and copies are not what they were."""
    content = bytearray(good)
    for _ in range(choose(1, 3)):
        kind = choose(0, 4)
        at = choose(0, max(0, len(content) - 1))
        if kind == 0 and content:
            content[at] ^= 1 << choose(0, 7)
        elif kind == 1:
            words = [m.span() for m in _TOKEN.finditer(content[:20_000])] or [(0, 0)]
            first, last = words[choose(0, len(words) - 1)]
            content[first:last] = _NASTY[choose(0, len(_NASTY) - 1)]
        elif kind == 2:
            del content[at : at + choose(1, 1 + len(content) // 2)]
        elif kind == 3:
            content[at:at] = content[at : at + choose(1, 400)]
        else:
            content[at:at] = _NASTY[choose(0, len(_NASTY) - 1)]
    return bytes(content)


def tried(read: Callable[[bytes], object], content: bytes) -> str:
    """The message of what is wrong with it; empty if nothing is. Any error but dcrflow's own goes through."""
    try:
        read(content)
    except DcrflowError as error:
        return str(error) or "no words"
    return ""


def _of_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def of_bytes(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / name
            path.write_bytes(content)
            read(path)

    return of_bytes


@cache
def _table(suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"visits{suffix}"
        dcrflow.write_visits([visit(), visit(visit=13)], path)
        return path.read_bytes()


@cache
def _fits() -> bytes:
    primary = fits.PrimaryHDU()
    primary.header.update({"VISIT": 5, "DETECTOR": 2, "BAND": "g", "BORE-RA": 53.0, "BORE-DEC": -28.0, "BORE-ALT": 45.0,
                       "PARANGLE": 33.0, "DATE-AVG": "2025-12-01T03:00:00", "TIMESYS": "TAI"})  # fmt: skip
    planes = [fits.ImageHDU(np.zeros((12, 10), kind), name=n) for n, kind in _PLANES]
    for plane in planes:
        plane.header.update(TRACT.wcs.header)
        plane.header.update({"CRVAL1A": 30, "CRVAL2A": 40, "MP_BAD": 0, "BUNIT": "nJy"})
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.fits"
        fits.HDUList([primary, *planes]).writeto(path)
        return path.read_bytes()


_PLANES = ("IMAGE", "f4"), ("MASK", "i4"), ("VARIANCE", "f4")


def _read_coadd(path: Path) -> None:
    coadd = FitsCoadd(7, 0, 0, "g", path)
    box = coadd.bbox()
    coadd.wcs()
    coadd.region(Box(box.x0, box.y0, min(box.width, 4), min(box.height, 4)))


class _InStore:
    """A zarr store in memory of which one object is bad."""

    def __init__(self, make: Callable[[], MemoryStore], read: Callable[[MemoryStore], object]) -> None:
        self._make, self._read = cache(make), read
        self._key = ""

    def good(self, choose: Choose) -> bytes:
        found = self._make()._store_dict
        keys = sorted(found)
        self._key = keys[choose(0, len(keys) - 1)]
        content: bytes = found[self._key].to_bytes()
        return content

    def read(self, content: bytes) -> None:
        objects = dict(self._make()._store_dict)
        if self._key in objects:
            objects[self._key] = type(objects[self._key]).from_bytes(content)
        self._read(MemoryStore(objects))


def _coadds() -> MemoryStore:
    psf = np.full((1, 3, 3), 1 / 9, np.float32)
    store = coadds(IMAGE, store=MemoryStore(), psf=psf, skip=((7, 1), (7, 2), (7, 3)))
    assert isinstance(store, MemoryStore)
    return store


def _read_coadds(store: MemoryStore) -> None:
    opened = open_coadds(store)
    for tract in opened.tracts:
        for patch in opened.patches(tract, "g"):
            info = opened.info(tract, patch.patch, "g")
            planes = {
                **STANDARD_PLANES,
                **{n: 9 + i for i, n in enumerate(sorted(set(info.planes) - {*STANDARD_PLANES}))},
            }
            opened.read(tract, patch.patch, "g", Box(info.bbox.x0, info.bbox.y0, 20, 20), planes)
            opened.read_psf(tract, patch.patch, "g")


def _templates() -> MemoryStore:
    store = MemoryStore()
    out = TemplateStore.create_or_open(store)
    with out.journal() as journal:
        template = dcrflow.build_template(_coadds(), visit(), high_variance_threshold=None)
        dcrflow.write_template(template.compute(scheduler="synchronous"), out)
        journal.add("requested", detector_visits={"12": [3, 4]}, config={}, inputs="")
        journal.add(
            "ended", visit=12, detector=3, status="complete", seconds=1.0, steps={"load_patch": 1.0}, patches={}
        )
    return store


def _read_templates(store: MemoryStore) -> None:
    out = TemplateStore.open(store)
    list(out.records())
    out.journalled()
    out.timings()
    out.status(12, 3)
    out._repr_html_()
    list(verify(out))
    show_campaign.status(campaign_status(out), 20)
    page(campaign_facts(out))
    with tempfile.TemporaryDirectory() as directory:
        export(out, directory)


def _lock(content: bytes) -> None:
    """A lock that somebody, or something, left behind: it is waited for and taken over."""
    root = zarr.open_group(MemoryStore(), mode="w")
    key = ".dcrflow/locks/1.2"
    from zarr.buffer.cpu import Buffer
    from zarr.core.sync import sync

    sync(root.store.set(key, Buffer.from_bytes(content)))
    with locked(root, "1.2", lease=0.0) as renew:
        renew()


def _header(content: bytes) -> None:
    try:
        values: Any = json.loads(content)
    except (ValueError, RecursionError):
        return
    if isinstance(values, dict):
        SkyWcs.from_header(values)


_COADDS, _TEMPLATES = _InStore(_coadds, _read_coadds), _InStore(_templates, _read_templates)
_CLUSTER = b"kind: slurm\nworkers: 3\nmemory: 4GiB\nwalltime: '04:00:00'\ndirectives: [a, b]\nlogs: there\n"
_CONFIG = b"border: 3\nfill: .nan\nwarp: lanczos3\ntransmission: {wavelength: [400, 500], throughput: [1, 0.5]}\n"
_CARDS = TRACT.wcs.cards.encode()
_HEADER = json.dumps({card.keyword: card.value for card in TRACT.wcs.header.cards}).encode()

READERS: dict[str, Reader] = {
    "table ECSV": Reader(lambda _: _table(".ecsv"), _of_file("visits.ecsv", read_visit_rows)),
    "table Parquet": Reader(lambda _: _table(".parquet"), _of_file("visits.parquet", read_visit_rows)),
    "exposure FITS": Reader(lambda _: _fits(), _of_file("x.fits", lambda path: read_visit_rows([path]))),
    "coadd FITS": Reader(lambda _: _fits(), _of_file("x.fits", _read_coadd)),
    "configuration": Reader(lambda _: _CONFIG, _of_file("config.yaml", TemplateConfig.read)),
    "survey": Reader(lambda _: SurveyConfig.demo().as_yaml().encode(), _of_file("survey.yaml", SurveyConfig.read)),
    "cluster": Reader(lambda _: _CLUSTER, _of_file("cluster.yaml", lambda path: read_description(str(path)))),
    "setting": Reader(lambda _: b"border=3", lambda content: parse_settings([content.decode(errors="replace")])),
    "transmission": Reader(
        lambda _: b"400 0.1\n500 0.9\n600 0.1\n", _of_file("curve.dat", lambda p: Bandpass.read(str(p)))
    ),
    "cards": Reader(lambda _: _CARDS, lambda content: SkyWcs.from_cards(content.decode("latin-1"))),
    "header": Reader(lambda _: _HEADER, _header),
    "coadds": Reader(_COADDS.good, _COADDS.read),
    "templates": Reader(_TEMPLATES.good, _TEMPLATES.read),
    "lock": Reader(lambda _: b'{"token": "a", "host": "b", "pid": 1, "renewed": 0}', _lock),
}
