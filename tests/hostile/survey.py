"""A survey small enough to be spoilt and run a hundred times: three detector-visits on four patches."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import re
import shutil
import sys
import traceback
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest.mock import patch

import dask
import numpy as np
import xarray as xr
import zarr
from astropy.io import fits
from distributed import LocalCluster
from scenes import IMAGE, TRACT, coadds, tan, visit

import dcrflow.cluster
import dcrflow.live.reporter
from dcrflow.campaign.verify import verify
from dcrflow.cli import main
from dcrflow.cluster import connect
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.model.visit import DetectorVisit
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore

#: Detector-visits by where they lie: on the patch that cases spoil, half on it, and nowhere near.
ON, HALF, ELSEWHERE = 1, 2, 3
NAMES = {ON: "on it", HALF: "half on it", ELSEWHERE: "elsewhere"}
PATCH = "7/0/g"

_MIDDLES = {ON: (130.0, 130.0), HALF: (300.0, 130.0), ELSEWHERE: (470.0, 470.0)}
_BOX = Box(0, 0, 80, 70)
#: dask measures these many times a second, which takes a tenth of a case's processor time. No case needs them.
_SELDOM = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "60s",
    "distributed.admin.tick.interval": "10s",
}
_OF_INPUTS = re.compile(rb'"(inputs_digest|attributes_crc32)": [^,\n]*')
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}|memory://\S+")


@dataclass(frozen=True)
class Place:
    """Where a survey and its output are."""

    directory: Path
    coadds_name: str = "coadds.zarr"
    visits_name: str = "visits.ecsv"
    out_name: str = "out.zarr"

    @property
    def coadds(self) -> Path:
        return self.directory / self.coadds_name

    @property
    def visits(self) -> Path:
        return self.directory / self.visits_name

    @property
    def out(self) -> Path:
        return self.directory / self.out_name


def write_survey(place: Place, kind: str = "plain") -> None:
    """Coadds and table, as they should be.

    `kind` is ``plain``, or where it is: ``pole``, ``RA 0``; ``foreign``: as another program writes coadds, with neither
    shards nor checksums, and fill value 0; or ``exposures``: a directory of FITS exposures in the table's place.
    """
    ra, dec = {"pole": (0.0, -90.0), "RA 0": (0.0, -28.0)}.get(kind, (53.0, -28.0))
    tract = replace(TRACT, wcs=tan(ra=ra, dec=dec))
    kernel = np.outer(*2 * [np.exp(-((np.arange(15) - 7.0) ** 2) / 8)]).astype(np.float32)
    mask = np.where(IMAGE[0] > 300, 1 << 5, 0).astype(np.int32)  # DETECTED
    psf = (kernel / kernel.sum())[None]
    coadds(IMAGE, mask=mask, tracts=(tract,), store=str(place.coadds), psf=psf)
    detectors = [_detector(number, tract) for number in NAMES]
    if kind == "exposures":
        place.visits.mkdir()
        for detector in detectors:
            _write_exposure(detector, place.visits / f"calexp_{detector.visit}_{detector.detector}.fits")
    else:
        dcrflow.write_visits(detectors, place.visits)
    if kind == "foreign":
        for name in ("image", "variance", "mask"):
            for patch_id in range(4):
                _as_a_stranger_writes(place.coadds, f"7/{patch_id}/g", name)


def _detector(number: int, tract: Tract) -> DetectorVisit:
    centre = tract.centre
    x, y = _MIDDLES[number]
    ra, dec = (float(v) for v in tract.wcs.pixel_to_sky(x, y))
    found = visit(tan(40.0, 35.0, 25.0, ra=ra, dec=dec), _BOX, visit=number)
    return replace(found, observation=replace(found.observation, ra=centre[0], dec=centre[1]))


def _write_exposure(detector: DetectorVisit, path: Path) -> None:
    """As LSST's pipeline writes one, but for the pixels, which are zero, and for what is not read."""
    seen, air = detector.observation, detector.observation.weather
    primary, image = fits.PrimaryHDU(), fits.ImageHDU(np.zeros(detector.bbox.shape, np.float32), name="IMAGE")
    primary.header.update({
        "INSTRUME": detector.instrument, "VISIT": detector.visit, "DETECTOR": detector.detector,
        "BAND": detector.band, "BORE-RA": seen.ra, "BORE-DEC": seen.dec, "BORE-ALT": seen.altitude,
        "PARANGLE": seen.parallactic_angle, "OBS-LAT": seen.latitude, "OBS-ELEV": seen.height,
        "AIRTEMP": air.temperature, "AIRPRESS": air.pressure, "HUMIDITY": air.humidity,
    })  # fmt: skip
    primary.header["HIERARCH BORE-ROTANG"] = seen.rotation_angle
    image.header.update(detector.wcs.header)
    image.header.update({"CRVAL1A": detector.bbox.x0, "CRVAL2A": detector.bbox.y0})
    fits.HDUList([primary, image]).writeto(path)


def _as_a_stranger_writes(store: Path, path: str, name: str) -> None:
    group = zarr.open_group(store, path=path, mode="r+")
    array = group[name]
    assert isinstance(array, zarr.Array)
    values, about, names = np.asarray(array[...]), array.attrs.asdict(), array.metadata.dimension_names
    new = group.create_array(
        name, shape=values.shape, dtype=values.dtype, chunks=(1,) * (values.ndim - 2) + (110, 110), compressors=None,
        fill_value=0, dimension_names=names, attributes=about, overwrite=True, config={"write_empty_chunks": True},
    )  # fmt: skip
    new[...] = values


@dataclass(frozen=True)
class Run:
    """What a run of the command said and left."""

    code: int
    said: str
    records: Mapping[int, TemplateRecord]
    pixels: Mapping[int, xr.Dataset]
    digests: Mapping[int, str]
    problems: tuple[str, ...]
    input_changed: bool = False
    harmed: bool = field(default=False)


@contextlib.contextmanager
def _few_collections() -> Iterator[None]:
    """Let Python look for garbage seldom, and not among the million objects of what is imported."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """The address of a scheduler with a worker of two threads, all in this process.

    Commands do not connect anew, which takes a second each: they share one client. Nor do they tell the page, which has
    tests of its own and reads the templates again for its pictures.
    """
    options = {"protocol": "tcp", "dashboard_address": None, "silence_logs": 50}
    with (
        _few_collections(),
        dask.config.set(_SELDOM),
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, **options) as found,
        connect(found.scheduler_address) as client,
        patch.object(dcrflow.cluster, "connect", lambda *_, **__: contextlib.nullcontext(client)),
        patch.object(dcrflow.live.reporter, "serve_page", lambda _: False),
    ):
        yield found.scheduler_address


def command(*words: str) -> tuple[int, str]:
    """`dcrflow` with these words: exit status, and what it said on either stream."""
    said = io.StringIO()
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        patch.object(sys, "argv", ["dcrflow", *words]),
    ):
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), said.getvalue()
        except Exception:  # a program of its own would end like this
            return 1, said.getvalue() + traceback.format_exc()
    return 0, said.getvalue()


def run(place: Place, scheduler: str, *more: str, known: Container[str] = ()) -> Run:
    """`dcrflow run`, and all that there is to know afterwards; templates with a `known` digest are not looked into."""
    before = _contents(place)
    words = [
        "run",
        str(place.coadds),
        str(place.visits),
        str(place.out),
        "--cluster",
        scheduler,
    ]
    code, said = command(*words, *more)
    changed = not before <= _contents(place)  # a file more is one that appears late
    harmed = any((where / "harmed").exists() for where in (place.directory, Path()))
    try:
        store = TemplateStore.open(place.out)
    except dcrflow.DcrflowError:
        return Run(code, normal(said, place), {}, {}, {}, (), changed, harmed)
    records = {r.visit: r for r in store.records()}
    made = [v for v, r in records.items() if r.status == "complete"]
    digests = {v: _digest(place.out / str(v)) for v in made}
    news = [v for v in made if digests[v] not in known]
    problems = tuple(f"visit {v.visit}: {p}" for v in verify(store) for p in v.problems) if news else ()
    pixels = {v: store.read(v, 3).load() for v in news}
    return Run(code, normal(said, place), records, pixels, digests, problems, changed, harmed)


def normal(said: str, place: Place) -> str:
    """What was said, without what differs from one run to the next."""
    return _ADDRESS.sub("ADDRESS", " ".join(said.split())).replace(str(place.directory), "SURVEY")


def fresh(master: Path, place: Place) -> None:
    """The survey as it was, and nothing else, at a place."""
    shutil.rmtree(place.directory, ignore_errors=True)
    shutil.copytree(master, place.directory)


def _contents(place: Place) -> set[tuple[str, int, int]]:
    """The input's files, how long they are and when they were last written, ns."""
    inputs = [p for p in (place.visits, *place.visits.rglob("*"), *place.coadds.rglob("*")) if p.is_file()]
    return {(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in inputs}


def _digest(path: Path) -> str:
    """Of a template: all its files and their names, but for the digest of the files that it was made from."""
    found = hashlib.blake2b(digest_size=16)
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        found.update(str(file.relative_to(path.parent)).encode())
        found.update(_OF_INPUTS.sub(b"", file.read_bytes()) if file.name == "zarr.json" else file.read_bytes())
    return found.hexdigest()
