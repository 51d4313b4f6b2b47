"""A template store as a notebook shows it: how many detector-visits have which status, and where they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import sketched
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.stores.templates.records import label_of
from dcrflow.view.cards import Shape, card

_SKETCHED = 500  # detector-visits that a sketch shows


def sketch(url: str, requested: int, entries: Iterable[Mapping[str, Any]]) -> str:
    """HTML of a template store.

    Parameters
    ----------
    url : str
        Where it is.
    requested : int
        How many detector-visits any run was asked for.
    entries : iterable of mapping
        Attributes of its detector-visits; no more are read than are shown.
    """
    shown = list(islice(entries, _SKETCHED))
    counts = Counter(str(e["status"]) for e in shown)
    first = f" among the first {_SKETCHED}" if len(shown) == _SKETCHED else ""
    rows = {
        "asked for": f"{requested} detector-visits",
        "status": ", ".join(f"{n} {status}" for status, n in sorted(counts.items())) + first,
    }
    return card(f"templates {url}", rows, (s for e in shown if (s := _shape(e)) is not None))


def _shape(entry: Mapping[str, Any]) -> Shape | None:
    """A template's detector on the sky; None where its attributes do not tell."""
    try:
        wcs = SkyWcs.from_header(dict(entry["wcs"]))
        return sketched("complete", wcs, Box(*entry["bbox"]), label_of(entry))
    except (KeyError, TypeError, ValueError):
        return None
