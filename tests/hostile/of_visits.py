"""Detector-visit tables."""

from __future__ import annotations

import numpy as np
from astropy.table import Table, vstack

from hostile.spoil import Case, Spoil, cell, table, text
from hostile.survey import Place

_NEEDED = ("instrument", "visit", "detector", "band", "x0", "y0", "width", "height", "wcs", "ra", "dec")
_IDENTITY = "visit", "detector"


def _without(name: str) -> Spoil:
    return table(lambda found: found.remove_column(name))


def _column(name: str, values: object, unit: str) -> Spoil:
    def change(found: Table) -> None:
        found[name] = values
        found[name].unit = unit

    return table(change)


def _command_in_header(place: Place) -> None:
    evil = b"# meta: !!python/object/apply:os.system ['touch harmed']\n# schema:"
    place.visits.write_bytes(place.visits.read_bytes().replace(b"# schema:", evil))


CASES = (
    *(Case(f"column {n} is missing", _without(n), everywhere=True) for n in _NEEDED),
    Case("no altitude, no time", table(lambda t: t.remove_columns(["altitude", "mjd"])), everywhere=True),
    Case("no rows", table(lambda t: t[:0]), everywhere=True),
    Case("a row twice", table(lambda t: vstack([t, t[:1]])), everywhere=True),
    Case("the file is empty", text(lambda _: b""), everywhere=True),
    Case("the file is cut off in a row", text(lambda b: b[:-200]), everywhere=True),
    Case("the file is cut off in its header", text(lambda b: b[:300]), everywhere=True),
    Case("the file is in UTF-16", text(lambda b: b.decode().encode("utf-16")), everywhere=True),
    Case("the file has a byte order mark", text(lambda b: b"\xef\xbb\xbf" + b), everywhere=True),
    Case("the file has lines as Windows ends them", text(lambda b: b.replace(b"\n", b"\r\n"))),
    Case("the file has no header", text(lambda b: b[b.rindex(b"# ") :].partition(b"\n")[2]), everywhere=True),
    Case("the file is random bytes", text(lambda _: np.random.default_rng(1).bytes(5000)), everywhere=True),
    Case("the header asks for an object, and a command", _command_in_header, everywhere=True),
    Case("another column, its name Unicode and an SQL injection",
         table(lambda t: t.add_column(["αβγ", "'; DROP TABLE visits; --", "🔭"], name="remark"))),
    *(
        Case(f"{name} is {words}", cell(name, value))
        for name, words, value in (
            ("visit", "-1", -1), ("visit", "1.5", 1.5), ("visit", "a word", "one"), ("visit", "10^30", "1" + "0" * 30),
            ("detector", "not there", None), ("width", "0", 0), ("width", "-90", -90), ("width", "10^12", 10**12),
            ("height", "not a number", np.nan), ("x0", "infinite", np.inf), ("x0", "10^17", 10**17),
            ("band", "empty", ""), ("band", "one that no coadd has", "z"), ("band", "a path", "../../etc"),
            ("band", "100,000 letters", "g" * 100_000), ("instrument", "100,000 letters", "C" * 100_000),
            ("ra", "not a number", np.nan), ("ra", "infinite", np.inf), ("ra", "10^30", 1e30),
            ("dec", "28: of the other hemisphere", 28.0),
            ("dec", "-91", -91.0), ("dec", "a word", "south"),
        )
    ),
    Case("instrument in Unicode, right to left", cell("instrument", "Κάμερα \u202e \N{CAMERA}")),
    Case("ra in degrees, with the unit hours", _column("ra", [53.0, 53.0, 53.0], "hourangle"), everywhere=True),
    Case("ra in an unknown unit", _column("ra", [53.0, 53.0, 53.0], "furlong"), everywhere=True),
    Case("ra in metres", _column("ra", [53.0, 53.0, 53.0], "m"), everywhere=True),
)  # fmt: skip
