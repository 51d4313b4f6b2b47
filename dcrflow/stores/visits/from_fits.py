"""Detector-visits from the headers of any FITS images, by a mapping of keywords to columns. No pixels are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from astropy.io import fits

from dcrflow.base.errors import DcrflowError, VisitTableError, brief
from dcrflow.model.visit import DetectorVisit
from dcrflow.stores.visits.exposures import _filter_label, absolute_cards, exposure_files, id_in_name, origin
from dcrflow.stores.visits.mapping import COLUMNS, HeaderMapping, Look, built_in_mappings, header_look, read_mapping
from dcrflow.stores.visits.tables import BadVisit, _checked, _unique

#: Extensions that hold something else than a detector's pixels.
_NOT_PIXELS = {
    "MASK", "VARIANCE", "VAR", "IVAR", "INVVAR", "WEIGHT", "WGT", "WHT", "DQ", "DQM", "FLAGS", "FLAG", "BACKGROUND",
    "BKG", "ERR", "ERROR", "SIGMA", "UNCERT", "PSF", "PSF_NODES", "NOISE", "CONTEXT", "EXPMAP",
}  # fmt: skip

#: What keywords and comments of a column are usually about, for candidates.
_WORDS = {
    "visit": ("EXPNUM", "VISIT", "EXPID", "OBSID", "OBSNUM", "RUN"),
    "detector": ("CCDNUM", "DETECTOR", "CHIP", "CCD", "EXTNAME", "DETID"),
    "band": ("FILTER", "BAND", "FILTNAM"),
    "physical_filter": ("FILTER", "FILTNAM"),
    "ra": ("RA", "TELRA", "CRVAL1", "OBJRA"),
    "dec": ("DEC", "TELDEC", "CRVAL2", "OBJDEC"),
    "mjd": ("MJD", "MJD-OBS", "DATE-OBS", "OBSMJD", "JD"),
    "altitude": ("ALT", "ALTITUDE", "ELEV", "EL", "ZD", "AIRMASS"),
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
    """What a mapping makes of one column of one image: the value, where it is from, or what else might be meant."""

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

    Every extension with a two-dimensional image and a celestial WCS is one detector; masks, weights and the like are
    left out by their names. Files may be compressed (``.fz``, ``.gz``, ``.bz2``).

    Parameters
    ----------
    files : path, or iterable of paths
        A file, a directory of files, or several files.
    mapping : HeaderMapping, path or str, optional
        Which keyword each column comes from: a YAML file, or the name of a built-in mapping (``decam``, ``hsc``,
        ``ztf``, ...). Without it, each header is recognised by its INSTRUME or TELESCOP.

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
    """Read detector-visits as `visits_from_fits` does; an image that cannot be used stands for itself."""
    paths = _paths(files)
    chosen = named_mapping(mapping)
    rows: list[DetectorVisit | BadVisit] = []
    labels: list[str] = []
    for path in paths:
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
    """A mapping by the name of a built-in one or from a YAML file; None stays None.

    Raises
    ------
    VisitTableError
        If there is no such name and no such file.
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
    """Say for each image of a file which keyword each column comes from, what is missing, and what might be meant."""
    chosen = named_mapping(mapping)
    return [_explained(image, chosen) for image in _images(Path(path))]


@dataclass(frozen=True)
class _Image:
    """One detector's image in a file, by its headers."""

    path: Path
    label: str
    header: fits.Header
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
        If the file cannot be read, or has none.
    """
    found = []
    try:
        with fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
            primary = hdus[0].header.copy()
            extra = _filter_label(hdus)
            more = {"BAND": extra.get("band"), "FILTER": extra.get("physical_filter")} if extra else {}
            more |= {k.upper(): v for k, v in id_in_name(path).items()}
            known = {k: v for k, v in more.items() if v is not None}
            for index, hdu in enumerate(hdus):
                if _is_detector(hdu):
                    own = hdu.header.copy()
                    label = f"{path}[{hdu.name or index}]" if len(hdus) > 1 else str(path)
                    found.append(_Image(path, label, own, (*own, *primary), header_look(own, primary, known)))
    except VisitTableError:
        raise
    except Exception as error:  # astropy raises many kinds for damaged headers
        raise VisitTableError(
            f"cannot read its headers: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    if not found:
        raise VisitTableError("no image with a celestial WCS in it")
    yield from found


def _is_detector(hdu: Any) -> bool:
    header = hdu.header
    kinds = {str(header.get("EXTTYPE", "")).strip().upper(), str(hdu.name).strip().upper()}
    return (
        getattr(hdu, "is_image", False)
        and header.get("NAXIS") == 2
        and not kinds & _NOT_PIXELS
        and any(str(header.get(f"CTYPE{i}", "")).startswith(("RA-", "GLON", "ELON")) for i in (1, 2))
    )


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
    header = image.header
    x0, y0 = origin(header)
    place = {
        "x0": x0, "y0": y0, "width": header["NAXIS1"], "height": header["NAXIS2"],
        "wcs": absolute_cards(header, x0, y0), "image": str(image.path),
    }  # fmt: skip
    return {**_mapping_of(image, chosen).row(image.look), **place}


def _explained(image: _Image, chosen: HeaderMapping | None) -> Explanation:
    try:
        mapping = _mapping_of(image, chosen)
    except DcrflowError as error:
        found = tuple(Found(c, None, (), "no mapping", _candidates(c, image)) for c in COLUMNS)
        return Explanation(image.label, "", found, str(error))
    columns = []
    for column in COLUMNS:
        source = mapping.columns.get(column)
        keywords = source.keywords if source is not None else ()
        problem, value = "", None
        if source is not None:
            try:
                value = mapping.value(column, image.look)
            except ValueError as error:
                problem = str(error)
        candidates = _candidates(column, image) if value is None else ()
        columns.append(Found(column, value, keywords, problem, candidates))
    outcome = _checked(image.label, lambda: _row(image, mapping), {})
    problem = str(outcome.error) if isinstance(outcome, BadVisit) else ""
    return Explanation(image.label, mapping.instrument or "lsst", tuple(columns), problem)


def _candidates(column: str, image: _Image, most: int = 4) -> tuple[str, ...]:
    """Keywords of the header whose names are nearest to what the column is usually called."""
    keywords = [k for k in dict.fromkeys(image.keywords) if k and k not in ("COMMENT", "HISTORY")]
    near = []
    for word in _WORDS[column]:
        near += [k for k in keywords if len(word) > 3 and word in k]
        near += get_close_matches(word, keywords, n=most, cutoff=0.75)
    return tuple(f"{k} = {image.look(k)}" for k in dict.fromkeys(near))[:most]
