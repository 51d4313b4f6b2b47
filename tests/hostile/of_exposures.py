"""FITS exposures in the place of a table; of three, that of the detector-visit on the patch is spoilt."""

from __future__ import annotations

import bz2
import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from hostile.spoil import Case, Spoil, flipped, half

_NAME = "calexp_1_3.fits"
_NEEDED = "BORE-RA", "BORE-DEC", "BORE-ALT", "PARANGLE", "VISIT", "DETECTOR", "BAND", "INSTRUME"
_OF_WCS = "CTYPE1", "CRVAL1", "CRPIX2"
_BLOCK = 2880  # bytes; the primary header is one


def _file(change: Callable[[Path], object]) -> Spoil:
    return lambda place: change(place.visits / _NAME)


def _content(change: Callable[[bytes], bytes]) -> Spoil:
    return _file(lambda path: path.write_bytes(change(path.read_bytes())))


def _card(key: str, value: Any, hdu: int = 0) -> Spoil:
    """A header's card; None takes it away."""

    def change(path: Path) -> None:
        with fits.open(path, mode="update", memmap=False) as hdus:
            if value is None:
                del hdus[hdu].header[key]
            else:
                hdus[hdu].header[key] = value

    return _file(change)


def _text(key: str, value: str, hdu: int = 0) -> Spoil:
    """What stands after a card's ``= ``, as it is: astropy does not write what FITS does not allow."""

    def change(content: bytes) -> bytes:
        at = content.index(key.encode().ljust(8) + b"= ", hdu * _BLOCK)
        return content[: at + 10] + value.encode("latin-1").ljust(70)[:70] + content[at + 80 :]

    return _content(change)


def _renamed(name: str, pack: Callable[[bytes], bytes]) -> Spoil:
    def change(path: Path) -> None:
        (path.parent / name).write_bytes(pack(path.read_bytes()))
        path.unlink()

    return _file(change)


def _as_table(path: Path) -> None:
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])])]).writeto(
        path, overwrite=True
    )


def _many_cards(path: Path) -> None:
    with fits.open(path, mode="update", memmap=False) as hdus:
        for number in range(20_000):
            hdus[0].header.add_history(f"line {number}")


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _case(name: str, spoil: Spoil, **more: Any) -> Case:
    return Case(f"an exposure: {name}", spoil, survey="exposures", **more)


CASES = (
    *(_case(f"{key} is missing", _card(key, None)) for key in _NEEDED),
    *(_case(f"{key} of its WCS is missing", _card(key, None, 1)) for key in _OF_WCS),
    *(
        _case(f"{key} is {words}", _text(key, value))
        for key, words, value in (
            ("BORE-RA", "a word", "'south'"), ("BORE-RA", "not a number", "nan"), ("BORE-RA", "10^30", "1E30"),
            ("BORE-DEC", "-91", "-91.0"), ("BORE-ALT", "below the horizon", "-3.0"), ("BORE-ALT", "infinite", "1E999"),
            ("BORE-ALT", "without a value", ""), ("BORE-ALT", "of bytes that are no ASCII", "\xff\xfe\xb0"),
            ("PARANGLE", "a truth value", "T"), ("VISIT", "a word", "'one'"), ("VISIT", "-1", "-1"),
            ("DETECTOR", "1.5", "1.5"), ("BAND", "a path", "'../../etc'"), ("BAND", "one that no coadd has", "'z'"),
            ("INSTRUME", "a number", "5"),
        )
    ),
    *(
        _case(f"{key} of its image is {words}", _text(key, value, 1))
        for key, words, value in (
            ("NAXIS1", "10^12", "1000000000000"), ("NAXIS1", "-80", "-80"), ("NAXIS2", "0", "0"),
            ("NAXIS", "999", "999"), ("BITPIX", "7", "7"), ("CRVAL1A", "10^17", "1E17"),
            ("CRVAL1A", "a word", "'left'"), ("CRVAL1", "not a number", "nan"), ("CRPIX1", "infinite", "1E999"),
            ("CRVAL2", "of the other hemisphere", "28.0"), ("CTYPE1", "no projection", "'RA---XYZ'"),
            ("CTYPE1", "a length", "'WAVE'"),
        )
    ),
    _case("distortion of order 10^6", lambda place: [_card("CTYPE1", "RA---TAN-SIP", 1)(place),
          _card("CTYPE2", "DEC--TAN-SIP", 1)(place), *(_card(f"{c}_ORDER", 1_000_000, 1)(place) for c in "AB")]),
    _case("the mid-exposure's date is the 31st of February", _card("DATE-AVG", "2026-02-31T00:00:00")),
    _case("its time is in an unknown scale", lambda place: [
        _card("DATE-AVG", "2026-02-03T00:00:00")(place), _card("TIMESYS", "SIDEREAL")(place)]),
    _case("the file is empty", _content(lambda _: b"")),
    _case("the file is random bytes", _content(lambda _: np.random.default_rng(1).bytes(20_000))),
    _case("the file is text", _content(lambda _: b"SIMPLE  = 'really?'\n" * 100)),
    _case("the file is cut off in its first header", _content(lambda b: b[:700])),
    _case("the file is cut off in its image's header", _content(lambda b: b[: _BLOCK + 700])),
    _case("the file is cut off in its pixels, which nobody reads", _content(lambda b: b[: 2 * _BLOCK + 500])),
    _case("a bit of its first card flipped", _content(flipped(0.0))),
    _case("it has no image", _file(_as_table)),
    _case("20,000 lines of history", _file(_many_cards)),
    _case("it is a directory", _file(_directory)),
    _case("compressed, and cut off", _renamed(_NAME + ".gz", lambda b: half(gzip.compress(b)))),
    _case("compressed, and 10^9 bytes when it is not",
          _renamed(_NAME + ".gz", lambda b: gzip.compress(b + bytes(10**9 - len(b)), 1))),
    _case("compressed, and a header of 10^9 bytes", _renamed(_NAME + ".gz", lambda b: gzip.compress(
        b[: b.index(b"END" + b" " * 77)] + b" " * 10**9, 1))),
    _case("compressed with bzip2", _renamed(_NAME + ".bz2", bz2.compress)),
    _case("called .gz but not compressed", _renamed(_NAME + ".gz", lambda b: b)),
    Case("exposures: a directory without any", lambda place: [p.unlink() for p in place.visits.iterdir()],
         survey="exposures", everywhere=True),
    Case("exposures: one twice", _file(lambda path: shutil.copy(path, path.parent / "a_1_3.fits")),
         survey="exposures", everywhere=True),
    Case("exposures: one says that it is another", _card("VISIT", 2), survey="exposures", everywhere=True),
)  # fmt: skip
