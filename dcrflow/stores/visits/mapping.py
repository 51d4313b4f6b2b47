"""Mappings from the keywords of FITS headers to the columns of a detector-visit table.

A mapping is a YAML file::

    instrument: MyCam                # value of the column `instrument`
    match: {INSTRUME: "^MyCam"}      # headers to use it for, if no mapping is named
    site: la palma                   # or the columns longitude, latitude and height_m
    columns:
      visit: EXPNUM                  # a keyword
      detector: [CCDNUM, CCD_ID]     # the first of these that the header has
      band: {keyword: FILTER, pattern: "^([ugriz])"}
      ra: {keyword: RA, unit: hourangle}
      mjd: {keyword: MJD-OBS, scale: utc, exposure: EXPTIME}
      pressure: {keyword: BAROM, unit: hPa}
      temperature: {expression: "{OUTTEMP} - 273.15"}
      humidity: {value: 30}

`read_mapping` reads a mapping, and `built_in_mappings` returns those of known cameras. Nothing in a mapping is
executed.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dcrflow.base.errors import VisitTableError, brief
from dcrflow.base.yamltext import read_yaml
from dcrflow.stores.visits.card_units import contradiction, stated_unit, unit_named
from dcrflow.stores.visits.header_values import in_unit, is_sexagesimal, measured, mjd_of
from dcrflow.stores.visits.sites import site, site_of_header

#: The columns that a mapping can fill, with the unit of the table. Image size and WCS are read without a mapping.
COLUMNS: Mapping[str, u.UnitBase | None] = {
    "visit": None, "detector": None, "band": None, "physical_filter": None, "ra": u.deg, "dec": u.deg, "mjd": None,
    "altitude": u.deg, "header_altitude": u.deg,
    "parallactic_angle": u.deg, "rotation_angle": u.deg, "longitude": u.deg, "latitude": u.deg,
    "height_m": u.m, "temperature": u.deg_C, "pressure": u.Pa, "humidity": u.percent, "psf_fwhm": u.arcsec,
}  # fmt: skip
_TEXT = {"band", "physical_filter"}
_INTEGER = {"visit", "detector"}
_NEEDED = {"visit", "detector", "band", "ra", "dec"}
_LONGEST = 500  # characters of an expression
_KEYWORD = re.compile(r"\{([^{}]+)\}")

Look = Callable[[str], Any]


class Source(BaseModel):
    """Where the value of one column comes from: a keyword, an expression of keywords, or a constant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keyword: tuple[str, ...] = Field((), description="The first of these keywords that the header has.")
    expression: str = Field("", description="Numbers and {KEYWORDS} with + - * / and parentheses.")
    value: str | int | float | None = Field(None, description="The same for every file.")
    unit: str = Field(
        "",
        description="Unit of the header's value: hourangle, K, hPa, ... `airmass` makes an altitude of an airmass. "
        "Without it: what the card states in brackets at the beginning of its comment, or else the table's unit, "
        "but a right ascension with colons or blanks is in hours.",
    )
    pattern: str = Field("", description="Regular expression; its first group, or the whole match, is the value.")
    names: dict[str, str] = Field({}, description="Values of the header -> values of the table.")
    scale: str = Field("", description="Of `mjd`: utc, tai, tt or tdb; else what TIMESYS says, or utc.")
    format: str = Field("", description="Of `mjd`: mjd, jd, isot; told by the value otherwise.")
    time: tuple[str, ...] = Field((), description="Of `mjd`: keyword of the time of day, if the date has none.")
    exposure: tuple[str, ...] = Field((), description="Of `mjd`: keyword of the exposure time (s); half is added.")

    @field_validator("keyword", "time", "exposure", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("unit")
    @classmethod
    def _is_known(cls, text: str) -> str:
        try:
            if text and text != "airmass":
                unit_named(text)
        except (ValueError, TypeError):
            raise ValueError(f"{brief(text)} is no unit, expected one of astropy's, such as hPa, or airmass") from None
        return text

    @field_validator("expression")
    @classmethod
    def _arithmetic(cls, text: str) -> str:
        if text:
            _parsed(text)
        return text

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, text: str) -> str:
        re.compile(text)
        return text

    @model_validator(mode="after")
    def _one_source(self) -> Source:
        if sum((bool(self.keyword), bool(self.expression), self.value is not None)) != 1:
            raise ValueError("give one of keyword, expression and value")
        return self

    @property
    def keywords(self) -> tuple[str, ...]:
        """Every keyword that this source uses."""
        return (*self.keyword, *_KEYWORD.findall(self.expression), *self.time, *self.exposure)

    def found(self, look: Look) -> Any:
        """The header's value before any conversion; None if the header has none."""
        if self.value is not None:
            return self.value
        if self.expression:
            return _evaluated(self.expression, look)
        return next((v for v in map(look, self.keyword) if v is not None), None)


class HeaderMapping(BaseModel):
    """How to convert the headers of one camera to rows of a detector-visit table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instrument: str = Field(description="What the column `instrument` says; empty takes INSTRUME.")
    match: dict[str, str] = Field({}, description="Keyword -> regular expression; all must match.")
    site: str = Field("", description="A named site, where the header has no longitude, latitude and height.")
    columns: dict[str, Source]

    @field_validator("columns", mode="before")
    @classmethod
    def _short_forms(cls, columns: Any) -> Any:
        if not isinstance(columns, dict):
            return columns
        return {n: {"keyword": v} if isinstance(v, str | list) else v for n, v in columns.items()}

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: dict[str, Source]) -> dict[str, Source]:
        unknown = sorted(set(columns) - set(COLUMNS))
        if unknown:
            raise ValueError(f"no column {', '.join(unknown)}; columns are {', '.join(COLUMNS)}")
        missing = sorted(_NEEDED - set(columns))
        if missing:
            raise ValueError(f"the columns {', '.join(missing)} are missing")
        return columns

    def matches(self, look: Look) -> bool:
        """Whether a header comes from this camera."""
        return bool(self.match) and all(
            (value := look(key)) is not None and re.search(pattern, str(value)) for key, pattern in self.match.items()
        )

    def row(self, look: Look) -> dict[str, Any]:
        """The row of one header, in the table's units.

        Raises
        ------
        ValueError
            If a value does not suit its column; names the column and the keywords.
        """
        found: dict[str, Any] = {"instrument": self.instrument or look("INSTRUME") or "unknown"}
        found |= self.place(look)
        for column in self.columns:
            value = self.value(column, look)
            if value is not None or column not in found:
                found[column] = value
        return found

    def contradiction(self, column: str, look: Look) -> str:
        """How the unit that the card states differs from the mapping's, which is used; empty if it does not."""
        said = self._unit(column, look)[1]
        return said and f"{said}, which is used"

    def _unit(self, column: str, look: Look) -> tuple[str, str]:
        """The unit of a column's values in a header, and what the card says against it."""
        source = self.columns[column]
        first = next((keyword for keyword in source.keyword if look(keyword) is not None), None)
        if first is None or not isinstance(look, HeaderLook) or COLUMNS[column] is None:
            return source.unit, ""
        stated = stated_unit(look.comment(first))
        if isinstance(look(first), str) and is_sexagesimal(look(first)):
            return source.unit, ""
        return source.unit or stated, contradiction(stated, source.unit, COLUMNS[column])

    def place(self, look: Look) -> dict[str, float]:
        """Longitude, latitude and height_m of the named site, or of the keywords OBSGEO; empty without them.

        Raises
        ------
        ValueError
            If OBSGEO are no numbers, or the site is not known.
        """
        found = site(self.site) if self.site else site_of_header(look)
        return {} if found is None else found._asdict()

    def value(self, column: str, look: Look) -> Any:
        """One column of one header, in the table's unit; None if the header does not have it.

        Raises
        ------
        ValueError
            As `row`.
        """
        source = self.columns[column]
        unit, said = self._unit(column, look)
        if column not in _NEEDED | _TEXT:
            look = _MeasuredLook(column, column == "psf_fwhm" or source.unit == "airmass", look)
        try:
            found = source.found(look)
            if said and found is not None and not source.unit:
                raise ValueError(f"{said}; give the unit in the mapping")
            return _converted(column, source, found, look, unit)
        except (ValueError, TypeError, ArithmeticError, u.UnitConversionError) as error:
            raise ValueError(f"{column} from {' or '.join(source.keywords) or 'the mapping'}: {error}") from None


class HeaderLook:
    """Looks keywords up in several headers: the first value found, or None.

    Parameters
    ----------
    *headers : fits.Header or mapping
        In the order in which they are asked.
    """

    def __init__(self, *headers: fits.Header | Mapping[str, Any]) -> None:
        self._headers = headers

    def __call__(self, keyword: str) -> Any:
        return self._found(keyword)[0]

    def comment(self, keyword: str) -> str:
        """The comment of the card that a value comes from; empty without one."""
        return self._found(keyword)[1]

    def _found(self, keyword: str) -> tuple[Any, str]:
        for header in self._headers:
            value = header.get(keyword)
            if isinstance(value, str):
                value = value.strip() or None
            if value is not None and not isinstance(value, fits.card.Undefined):
                return value, str(header.comments[keyword]) if isinstance(header, fits.Header) else ""
        return None, ""


def read_mapping(path: str | Path) -> HeaderMapping:
    """Read a mapping from a YAML file.

    Raises
    ------
    VisitTableError
        If the file cannot be read, or has an unknown key or an unusable value.
    """
    try:
        return HeaderMapping.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the mapping"
        said = first["msg"].removeprefix("Value error, ")
        raise VisitTableError(f"{path}: {where}: {said[:300]}") from None
    except (OSError, ValueError) as error:
        raise VisitTableError(f"cannot read the mapping {path}: {error}") from error


@cache
def built_in_mappings() -> dict[str, HeaderMapping]:
    """The mappings that come with dcrflow, by name: ``decam``, ``hsc``, ``ztf`` and so on."""
    folder = files("dcrflow.stores.visits").joinpath("instruments")
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".yaml"))
    return {n.removesuffix(".yaml"): read_mapping(Path(str(folder.joinpath(n)))) for n in names}


@dataclass(frozen=True)
class _MeasuredLook:
    """A look-up of what was measured: what a header says of a sensor that is silent counts as missing."""

    column: str
    positive: bool
    look: Look

    def __call__(self, keyword: str) -> Any:
        return measured(self.column, self.look(keyword), self.positive)

    def comment(self, keyword: str) -> str:
        """As `HeaderLook.comment`."""
        return self.look.comment(keyword) if isinstance(self.look, HeaderLook) else ""


def _converted(column: str, source: Source, value: Any, look: Look, unit: str) -> Any:
    if value is None:
        return None
    if source.pattern:
        match = re.search(source.pattern, str(value))
        if match is None:
            raise ValueError(f"{brief(value)} does not match {source.pattern!r}")
        value = match[1] if match.groups() else match[0]
    if source.names:
        if str(value) not in source.names:
            raise ValueError(f"{brief(value)} is not one of {', '.join(source.names)}")
        value = source.names[str(value)]
    if column in _TEXT:
        return str(value)
    if column in _INTEGER:
        return _integer(value)
    if column == "mjd":
        return mjd_of(source, value, look)
    if column not in _NEEDED and measured(column, value) is None:
        return None
    unit = "hourangle" if column == "ra" and not source.unit and is_sexagesimal(value) else unit
    return in_unit(value, unit, COLUMNS[column])


def _integer(value: Any) -> int:
    """A whole number. A date and time becomes the number of its digits: 2026-01-02T03:04:05 is 20260102030405."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(f"{brief(value)} is not a whole number")
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
        value = re.sub(r"\D", "", value)
    try:
        if isinstance(value, str) and "_" in value:  # for Python part of a number: 12_3 is 123
            raise ValueError
        return int(value)
    except ValueError:
        raise ValueError(f"{brief(value)} is not a whole number; take one from it with pattern or names") from None


_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip


def _parsed(text: str) -> tuple[ast.expr, list[str]]:
    """The syntax tree of an expression, and the keywords that the names _0, _1, ... in it stand for."""
    if len(text) > _LONGEST:
        raise ValueError(f"the expression is longer than {_LONGEST} letters")
    keywords: list[str] = []

    def named(match: re.Match[str]) -> str:
        keywords.append(match[1])
        return f"_{len(keywords) - 1}"

    try:
        tree = ast.parse(_KEYWORD.sub(named, text), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"{brief(text)} is no expression of numbers and {{KEYWORDS}} with + - * /") from None
    known = {f"_{i}" for i in range(len(keywords))}
    for node in ast.walk(tree):
        number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
        name = isinstance(node, ast.Name) and node.id in known
        structure = isinstance(node, ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop | ast.Load)
        if not (number or name or structure) or (
            isinstance(node, ast.operator | ast.unaryop) and type(node) not in _OPERATORS
        ):
            raise ValueError(f"{brief(text)}: only numbers and {{KEYWORDS}} with + - * / can stand in an expression")
    return tree, keywords


def _evaluated(text: str, look: Look) -> float | None:
    """The value of an expression; None if one of its keywords is missing."""
    tree, keywords = _parsed(text)
    values = [look(k) for k in keywords]
    if any(v is None for v in values):
        return None

    def value(node: ast.AST) -> float:
        if isinstance(node, ast.Constant):
            return float(node.value)  # type: ignore[arg-type]
        if isinstance(node, ast.Name):
            return float(values[int(node.id[1:])])
        if isinstance(node, ast.UnaryOp):
            return _OPERATORS[type(node.op)](value(node.operand))
        assert isinstance(node, ast.BinOp)
        return _OPERATORS[type(node.op)](value(node.left), value(node.right))

    return float(np.float64(value(tree)))
