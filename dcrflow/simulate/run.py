"""Simulate a survey: draw every patch and every detector-visit, in parallel, and write it as files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import QTable

from dcrflow.base.errors import DcrflowError
from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.cluster import forkserver
from dcrflow.geometry.skymap import Tract
from dcrflow.model.visit import DetectorVisit
from dcrflow.simulate._galsim import galsim
from dcrflow.simulate.draw import draw_coadd, draw_psf, draw_science
from dcrflow.simulate.exposure import write_exposure
from dcrflow.simulate.noise import coadd_defects, detector_defects, observed
from dcrflow.simulate.sky import Catalogue
from dcrflow.simulate.survey import SKYMAP, SurveyConfig, detector_visits_of, sky_of, tracts_of
from dcrflow.simulate.visits import psf_of_visit, told, told_psf, transients_of, without_data
from dcrflow.stores.coadds.writer import create_coadds, open_writer
from dcrflow.stores.visits.tables import write_visits

Progress = Callable[[int, int, str], None]

_COADDS, _VISITS, _SCIENCE, _TRUTH, _CONFIG = "coadds.zarr", "visits.ecsv", "science", "truth.ecsv", "survey.yaml"
_TRANSMISSION = "transmission.ecsv"

PSF_SIZE = 61  # pixels a side of a science image's PSF

# First part of the keys of random numbers, so that no two purposes share any (1 is the sky).
_COADD_NOISE, _COADD_DEFECTS, _SCIENCE_NOISE, _SCIENCE_DEFECTS = 2, 3, 4, 5


class OutputExistsError(DcrflowError, FileExistsError):
    """The place where the survey is to be written is not empty."""


@dataclass(frozen=True)
class SimulatedSurvey:
    """A survey on disk.

    Parameters
    ----------
    directory : Path
        Holds all of it.
    config : SurveyConfig
        What it was made from.
    tracts : tuple of Tract
        Of the coadds.
    visits : tuple of DetectorVisit
        One for each science image.
    """

    directory: Path
    config: SurveyConfig
    tracts: tuple[Tract, ...]
    visits: tuple[DetectorVisit, ...]

    @property
    def coadds(self) -> Path:
        """The DCR-coadd store."""
        return self.directory / _COADDS

    @property
    def visit_table(self) -> Path:
        """The detector-visit table."""
        return self.directory / _VISITS

    @property
    def transmission(self) -> Path:
        """The band's transmission curve."""
        return self.directory / _TRANSMISSION

    @property
    def truth(self) -> Path:
        """The table of sources."""
        return self.directory / _TRUTH

    def science(self, visit: DetectorVisit) -> Path:
        """The science image of a detector-visit."""
        return _science_path(self.directory, visit)


@dataclass(frozen=True)
class _Unit:
    """A unit of work: one patch, or one detector-visit."""

    label: str
    weight: int
    patch: tuple[int, int] | None = None
    visit: int | None = None


def simulate_survey(
    config: SurveyConfig,
    out: str | Path,
    *,
    workers: int = 2,
    progress: Progress | None = None,
    overwrite: bool = False,
    coadds: bool = True,
) -> SimulatedSurvey:
    """Simulate a survey and write it as files.

    ``coadds.zarr``, ``visits.ecsv``, ``science/``, ``truth.ecsv``, ``transmission.ecsv`` (of the band) and
    ``survey.yaml``. The result does not depend on the number of workers.

    Parameters
    ----------
    config : SurveyConfig
        What to simulate.
    out : path
        Directory to write to; made if missing.
    workers : int
        Processes; 1 works in the caller's own. More need a caller whose main module can be imported, as
        multiprocessing asks.
    progress : callable, optional
        Called with (done, total, label) as each patch and each detector-visit is done, and once at the start.
    overwrite : bool
        Whether an earlier survey in `out` is removed first.
    coadds : bool
        Whether to draw the coadds too; without, there is no ``coadds.zarr``: visits are all there is.

    Raises
    ------
    OutputExistsError
        If `out` is not empty (or no directory) and `overwrite` is not set.
    GalsimMissingError
        If GalSim is not installed.
    """
    galsim()
    if workers < 1:
        raise ValueError(f"workers is {workers}; at least 1 is needed")
    directory = Path(out)
    _make_room(directory, overwrite)
    tracts, visits = tracts_of(config), _with_images(config, directory)
    (directory / _SCIENCE).mkdir(parents=True)
    (directory / _CONFIG).write_text(config.as_yaml())
    _sky(config).table().write(directory / _TRUTH, format="ascii.ecsv")
    write_visits(list(visits), directory / _VISITS)
    _write_transmission(config, directory / _TRANSMISSION)
    if coadds:
        writer = create_coadds(str(directory / _COADDS), SKYMAP)
        for tract in tracts:
            writer.write_tract(tract)
    units = _units(tracts if coadds else (), visits)
    if progress is not None:
        progress(0, len(units), "starting")
    with _pool(min(workers, len(units))) as submit:
        for done, unit in enumerate(submit(config, directory, units), start=1):
            if progress is not None:
                progress(done, len(units), unit.label)
    return SimulatedSurvey(directory, config, tracts, visits)


def _with_images(config: SurveyConfig, directory: Path) -> tuple[DetectorVisit, ...]:
    """Every detector-visit as the table has it: with its image, and whatever error its WCS has."""
    per_visit = len(_visits(config)) // len(config.visits)
    return tuple(
        replace(told(config, number // per_visit, visit), image=str(_science_path(directory.absolute(), visit)))
        for number, visit in enumerate(_visits(config))
    )


def _write_transmission(config: SurveyConfig, path: Path) -> None:
    band = config.filters
    table = QTable({"wavelength": band.curve_wavelength * u.nm, "throughput": band.curve_throughput})
    table.write(path, format="ascii.ecsv")


def _make_room(directory: Path, overwrite: bool) -> None:
    if directory.exists() and not directory.is_dir():
        raise OutputExistsError(f"{directory} is a file; a directory to write to is needed")
    if directory.is_dir() and any(directory.iterdir()):
        if not overwrite:
            raise OutputExistsError(f"{directory} is not empty; choose another directory, or overwrite it")
        for name in (_COADDS, _SCIENCE):
            shutil.rmtree(directory / name, ignore_errors=True)
        for name in (_VISITS, _TRUTH, _CONFIG, _TRANSMISSION):
            (directory / name).unlink(missing_ok=True)


def _units(tracts: tuple[Tract, ...], visits: tuple[DetectorVisit, ...]) -> list[_Unit]:
    """All units of work, the largest first, which balances the load of the workers."""
    units = [
        _Unit(f"tract {tract.tract} patch {patch.patch}", patch.bbox.area, patch=(index, patch.patch))
        for index, tract in enumerate(tracts)
        for patch in tract.patches
    ]
    units += [_Unit(visit.label, 2 * visit.bbox.area, visit=index) for index, visit in enumerate(visits)]
    return sorted(units, key=lambda unit: -unit.weight)


@contextmanager
def _pool(workers: int) -> Iterator[Callable[[SurveyConfig, Path, list[_Unit]], Iterator[_Unit]]]:
    """Something that does units of work and yields each as it is done."""
    if workers == 1:
        yield lambda config, directory, units: (_simulate(config, directory, unit) for unit in units)
        return
    # Not fork: the caller may have threads (dask, the progress bar), and a forked child of those can hang.
    executor = ProcessPoolExecutor(workers, mp_context=forkserver.context())

    def submit(config: SurveyConfig, directory: Path, units: list[_Unit]) -> Iterator[_Unit]:
        futures: list[Future[_Unit]] = [executor.submit(_simulate, config, directory, unit) for unit in units]
        for future in as_completed(futures):
            yield future.result()

    try:
        yield submit
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _simulate(config: SurveyConfig, directory: Path, unit: _Unit) -> _Unit:
    try:
        if unit.patch is not None:
            _simulate_patch(config, directory, *unit.patch)
        elif unit.visit is not None:
            _simulate_visit(config, directory, unit.visit)
    except Exception as error:
        error.add_note(f"while simulating {unit.label}")
        raise
    return unit


def _simulate_patch(config: SurveyConfig, directory: Path, tract_index: int, patch_id: int) -> None:
    tract, band = _tracts(config)[tract_index], config.filters
    box = tract.patch(patch_id).bbox
    sky = draw_coadd(_sky(config), tract.wcs, box, band, config.psf)
    defects = coadd_defects((config.seed, _COADD_DEFECTS, tract.tract), tract.bbox, box, config.coadd_defects)
    image = np.empty(sky.shape, np.float32)
    variance = np.empty(sky.shape, np.float32)
    mask = np.empty(sky.shape, np.int32)
    for k, drawn in enumerate(sky):
        key = (config.seed, _COADD_NOISE, tract.tract, k)
        image[k], variance[k], mask[k] = observed(drawn, key, box, config.coadd_noise, config.coadd_gain)
    image[:, defects.missing] = np.nan
    variance[:, defects.missing] = np.nan
    mask |= defects.mask
    x, y = box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2
    open_writer(str(directory / _COADDS)).write_patch(
        tract.tract,
        patch_id,
        band.name,
        image=image,
        variance=variance,
        mask=mask,
        planes=dict(STANDARD_PLANES),
        subfilter_edges=band.subfilter_edges,
        effective_wavelength=band.effective_wavelength,
        bandwidth=band.bandwidth,
        physical_filter=f"{band.name}_sim",
        precision=config.precision,
        transmission={
            "wavelength": band.curve_wavelength.tolist(),
            "throughput": band.curve_throughput.tolist(),
        },
        psf=draw_psf(tract.wcs, x, y, config.psf)[None],
        psf_nodes=(np.array([x]), np.array([y])),
    )


def _simulate_visit(config: SurveyConfig, directory: Path, index: int) -> None:
    visit = _visits(config)[index]
    number = index // (len(_visits(config)) // len(config.visits))
    sources, (stars, when) = _sky(config), transients_of(config)
    if len(stars):
        sources += stars[when == number]
    sky = draw_science(sources, visit, config.filters, psf_of_visit(config, number))
    sky *= 1.0 + config.visits[number].flux_error
    key = (config.seed, _SCIENCE_NOISE, visit.visit, visit.detector)
    image, variance, mask = observed(sky, key, visit.bbox, config.science_noise, config.science_gain)
    key = (config.seed, _SCIENCE_DEFECTS, visit.visit, visit.detector)
    defects = detector_defects(key, visit.bbox, config.science_defects)
    image += defects.added.astype(np.float32)
    gone, planes = without_data(config, visit)
    gone |= defects.missing
    image[gone] = np.nan
    variance[gone] = np.nan
    mask |= defects.mask | planes
    written = told(config, number, visit)
    middle = visit.bbox.x0 + (visit.bbox.width - 1) / 2, visit.bbox.y0 + (visit.bbox.height - 1) / 2
    psf = draw_psf(written.wcs, *middle, told_psf(config, number), PSF_SIZE, normalised=False)
    write_exposure(
        _science_path(directory, visit), written, image, variance, mask, longitude=config.longitude,
        psf=psf[None], psf_nodes=(np.array([middle[0]]), np.array([middle[1]])),
    )  # fmt: skip


def _science_path(directory: Path, visit: DetectorVisit) -> Path:
    return directory / _SCIENCE / f"{visit.visit}_{visit.detector}.fits"


@lru_cache(maxsize=2)
def _sky(config: SurveyConfig) -> Catalogue:
    return sky_of(config)


@lru_cache(maxsize=2)
def _tracts(config: SurveyConfig) -> tuple[Tract, ...]:
    return tracts_of(config)


@lru_cache(maxsize=2)
def _visits(config: SurveyConfig) -> tuple[DetectorVisit, ...]:
    return detector_visits_of(config)
