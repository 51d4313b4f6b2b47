"""Read detector-visits from headers of any FITS images, with a mapping from keywords to columns; no pixels are read."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from astropy.io import fits

from dcrflow.base.errors import DcrflowError, VisitTableError, WcsError, brief
from dcrflow.base.fits_files import open_fits
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.observation import Observation
from dcrflow.stores.visits.exposures import detector_images, exposure_files, filter_label, id_in_name, origin
from dcrflow.stores.visits.mapping import COLUMNS, HeaderLook, HeaderMapping, Look, built_in_mappings, read_mapping
from dcrflow.stores.visits.summaries.from_fits import is_summary_file
from dcrflow.stores.visits.tables import BadVisit, _checked, _unique, read_visit_rows

_TABLES = (".ecsv", ".parquet", ".pq", ".parq")
#: Words usual in the keyword and comment of each column; used to suggest candidates.
_WORDS = {
    "visit": ("EXPNUM", "VISIT", "EXPID", "OBSID", "OBSNUM", "RUN"),
    "detector": ("CCDNUM", "DETECTOR", "CHIP", "CCD", "EXTNAME", "DETID"),
    "band": ("FILTER", "BAND", "FILTNAM"),
    "physical_filter": ("FILTER", "FILTNAM"),
    "ra": ("RA", "TELRA", "CRVAL1", "OBJRA"),
    "dec": ("DEC", "TELDEC", "CRVAL2", "OBJDEC"),
    "mjd": ("MJD", "MJD-OBS", "DATE-OBS", "OBSMJD", "JD"),
    "altitude": ("ALT", "ALTITUDE", "ELEV", "EL", "ZD", "AIRMASS"),
    "header_altitude": ("ALT", "ALTITUDE", "ELEV", "EL", "BORE-ALT"),
    "parallactic_angle": ("PARANG", "PARANGLE", "PARALLAC", "PA"),
    "rotation_angle": ("ROTANG", "ROTPA", "ROTSKYPA", "POSANG"),
    "longitude": ("LONG", "LONGITUD", "OBSLON", "SITELONG", "GEOLON"),
    "latitude": ("LAT", "LATITUDE", "OBSLAT", "SITELAT", "GEOLAT"),
    "height_m": ("HEIGHT", "ELEVATIO", "OBSALT", "OBSELEV", "SITEELEV", "GEOELEV"),
    "temperature": ("TEMP", "AIRTEMP", "OUTTEMP", "T-OUT", "AMBTEMP"),
    "pressure": ("PRESSURE", "PRESS", "BARO", "AIRPRESS", "ATMPRES"),
    "humidity": ("HUMIDITY", "RH", "RELHUM", "OUTHUM", "HUM"),
    "psf_fwhm": ("SEEING", "FWHM", "PSFFWHM", "IQ"),
}


@dataclass(frozen=True)
class Found:
    """How one column of one image was read: the value and its source, or keywords that might be meant."""

    column: str
    value: Any
    keywords: tuple[str, ...]
    problem: str = ""
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """How an image's header is read."""

    image: str
    mapping: str
    found: tuple[Found, ...]
    problem: str


def visits_from_fits(
    files: str | Path | Iterable[str | Path], mapping: HeaderMapping | str | Path | None = None
) -> list[DetectorVisit]:
    """Read detector-visits from the headers of FITS images of any camera.

    Every extension with a two-dimensional image and a celestial WCS is one detector. Masks, weights and similar
    extensions are recognised by name and skipped. Files may be compressed (``.fz``, ``.gz``, ``.bz2``).

    Parameters
    ----------
    files : path, or iterable of paths
        A file, a directory of files, or several files.
    mapping : HeaderMapping, path or str, optional
        Which keyword each column comes from: a YAML file, or the name of a built-in mapping (``decam``, ``hsc``,
        ``ztf``, ...). If not given, the built-in mapping is chosen by INSTRUME or TELESCOP of each header.

    Raises
    ------
    VisitTableError
        If a file cannot be read, no mapping fits it, or a value is missing; names the file, the extension, the column
        and the keywords.
    """
    rows = visit_rows_from_fits(files, mapping)
    for row in rows:
        if isinstance(row, BadVisit):
            raise row.error
    return [row for row in rows if isinstance(row, DetectorVisit)]


def visit_rows_from_fits(
    files: str | Path | Iterable[str | Path], mapping: HeaderMapping | str | Path | None = None
) -> list[DetectorVisit | BadVisit]:
    """Read detector-visits as `visits_from_fits` does, but return a `BadVisit` for an image that cannot be used.

    Tables, and LSST's summaries of visits, need no mapping and are read by `read_visit_rows`.
    """
    if isinstance(files, str | Path) and Path(files).suffix.lower() in _TABLES:
        return list(read_visit_rows(files))
    paths = _paths(files)
    chosen = named_mapping(mapping)
    rows: list[DetectorVisit | BadVisit] = []
    labels: list[str] = []
    for path in paths:
        if is_summary_file(path):
            found = read_visit_rows([path])
            rows += found
            labels += [str(path)] * len(found)
            continue
        try:
            images = list(_images(path))
        except VisitTableError as error:
            rows.append(BadVisit(-1, -1, VisitTableError(f"{path}: {error}")))
            labels.append(str(path))
            continue
        for image in images:
            labels.append(image.label)
            rows.append(_checked(image.label, partial(_row, image, chosen), id_in_name(path)))
    return _unique("these images", rows, labels)


def named_mapping(mapping: HeaderMapping | str | Path | None) -> HeaderMapping | None:
    """Get a built-in mapping by name, or read one from a YAML file; None stays None.

    Raises
    ------
    VisitTableError
        If it is neither a built-in name nor an existing file.
    """
    if mapping is None or isinstance(mapping, HeaderMapping):
        return mapping
    known = built_in_mappings()
    if str(mapping).lower() in known:
        return known[str(mapping).lower()]
    if not Path(mapping).exists():
        raise VisitTableError(f"no mapping {mapping}: neither a file nor one of {', '.join(known)}")
    return read_mapping(mapping)


def explain_fits(path: str | Path, mapping: HeaderMapping | str | Path | None = None) -> list[Explanation]:
    """For each image of a file: the source of each column, what is missing, and which keywords might be meant."""
    chosen = named_mapping(mapping)
    return [_explained(image, chosen) for image in _images(Path(path))]


@dataclass(frozen=True)
class _Image:
    """The headers of one detector's image in a file."""

    path: Path
    label: str
    header: fits.Header
    wcs: SkyWcs | WcsError
    keywords: tuple[str, ...]
    look: Look


def _paths(files: str | Path | Iterable[str | Path]) -> list[Path]:
    source = files if isinstance(files, str | Path) else list(files)
    found = exposure_files(source)
    if found is None:
        raise VisitTableError(f"{brief(source)} is no FITS file or directory of FITS files")
    return found


def _images(path: Path) -> Iterator[_Image]:
    """The detectors of a file.

    Raises
    ------
    VisitTableError
        If the file cannot be read, or has no detector.
    """
    found = []
    try:
        with open_fits(path) as hdus:
            primary = hdus[0].header.copy()
            extra = filter_label(hdus)
            more = {"BAND": extra.get("band"), "FILTER": extra.get("physical_filter")} if extra else {}
            more |= {k.upper(): v for k, v in id_in_name(path).items()}
            known = {k: v for k, v in more.items() if v is not None}
            for hdu in detector_images(hdus):
                own = hdu.header.copy()
                label = f"{path}[{hdu.name or hdus.index_of(hdu)}]" if len(hdus) > 1 else str(path)
                look = HeaderLook(own, primary, known)
                found.append(_Image(path, label, own, _wcs(own, hdus), (*own, *primary), look))
    except VisitTableError:
        raise
    except Exception as error:  # astropy raises many classes for damaged headers
        raise VisitTableError(
            f"cannot read its headers: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    yield from found


def _wcs(header: fits.Header, hdus: fits.HDUList) -> SkyWcs | WcsError:
    """The WCS of an image in absolute pixels, with the lookup tables of the file; or why there is none."""
    try:
        return SkyWcs.from_image(header, hdus, *origin(header))
    except WcsError as error:
        return error


def _mapping_of(image: _Image, chosen: HeaderMapping | None) -> HeaderMapping:
    if chosen is not None:
        return chosen
    for mapping in built_in_mappings().values():
        if mapping.matches(image.look):
            return mapping
    raise VisitTableError(
        f"no built-in mapping fits INSTRUME {image.look('INSTRUME')!r}, TELESCOP {image.look('TELESCOP')!r}; give one "
        f"with mapping= (dcrflow visits --mapping FILE); built in are {', '.join(built_in_mappings())}"
    )


def _row(image: _Image, chosen: HeaderMapping | None) -> dict[str, Any]:
    """The row of a detector-visit table."""
    if isinstance(image.wcs, WcsError):
        raise VisitTableError(str(image.wcs))
    header, mapping = image.header, _mapping_of(image, chosen)
    x0, y0 = origin(header)
    place = {
        "x0": x0, "y0": y0, "width": header["NAXIS1"], "height": header["NAXIS2"], "wcs": image.wcs,
        "image": str(image.path),
    }  # fmt: skip
    row = mapping.row(image.look)
    for column in mapping.columns:
        said = mapping.contradiction(column, image.look)
        if said and row.get(column) is not None:
            warnings.warn(f"{column} of {mapping.instrument or 'these images'}: {said}", stacklevel=2)
    return {**row, **place}


def _explained(image: _Image, chosen: HeaderMapping | None) -> Explanation:
    try:
        mapping = _mapping_of(image, chosen)
    except DcrflowError as error:
        found = tuple(Found(c, None, (), "no mapping", _candidates(c, image)) for c in COLUMNS)
        return Explanation(image.label, "", found, str(error))
    columns = []
    try:
        place = mapping.place(image.look)
    except ValueError:
        place = {}
    where = f"site: {mapping.site}" if mapping.site else "OBSGEO"
    for column in COLUMNS:
        source = mapping.columns.get(column)
        keywords = source.keywords if source is not None else ()
        problem, value = "", None
        if source is not None:
            try:
                value = mapping.value(column, image.look)
                problem = mapping.contradiction(column, image.look)
            except ValueError as error:
                problem = str(error)
        if value is None and column in place and not problem:
            value, keywords = place[column], (where,)
        candidates = _candidates(column, image) if value is None else ()
        columns.append(Found(column, value, keywords, problem, candidates))
    outcome = _checked(image.label, lambda: _row(image, mapping), {})
    problem = str(outcome.error) if isinstance(outcome, BadVisit) else ""
    if not isinstance(outcome, BadVisit):
        columns = [_completed(found, outcome.observation) for found in columns]
    return Explanation(image.label, mapping.instrument or "lsst", tuple(columns), problem)


def _completed(found: Found, seen: Observation) -> Found:
    """A column that the header lacks, with what is used in its place: computed, or of a standard atmosphere."""
    if found.value is not None:
        return found
    if found.column in ("altitude", "parallactic_angle"):
        return Found(found.column, round(getattr(seen, found.column), 4), ("computed from time and site",))
    if found.column in seen.weather.assumed:
        value = round(getattr(seen.weather, found.column), 1)
        return Found(found.column, value, ("assumed",), found.problem, found.candidates)
    return found


def _candidates(column: str, image: _Image, most: int = 4) -> tuple[str, ...]:
    """Keywords of the header that best match the usual names of the column."""
    keywords = [k for k in dict.fromkeys(image.keywords) if k and k not in ("COMMENT", "HISTORY")]
    near = []
    for word in _WORDS[column]:
        near += [k for k in keywords if len(word) > 3 and word in k]
        near += get_close_matches(word, keywords, n=most, cutoff=0.75)
    return tuple(f"{k} = {image.look(k)}" for k in dict.fromkeys(near))[:most]
