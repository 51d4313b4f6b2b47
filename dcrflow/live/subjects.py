"""What a run makes, templates of detector-visits or DCR coadds of patches: their names, places on the sky and pictures.

Used by the client that runs it, in the reporter's thread: see `dcrflow.live.reporter`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import batched
from typing import TYPE_CHECKING, Any, Protocol

from dcrflow.base.attributes import decoded, is_number

if TYPE_CHECKING:
    from dcrflow.planning.coadds import CoaddPlan
    from dcrflow.stores.coadds.builds import CoaddBuild
    from dcrflow.stores.coadds.source import CoaddSource
    from dcrflow.stores.templates.store import TemplateStore

_TOGETHER = 1000  # detector-visits whose places are looked up at a time

Event = Mapping[str, Any]
Name = tuple[int, int]


class Subject(Protocol):
    """What a run makes.

    Attributes
    ----------
    url : str
        The store where templates or coadds are written.
    total : int
        Number of templates or coadds that are requested.
    names : (str, str)
        The parts of a data ID in events: ``visit`` and ``detector``, or ``tract`` and ``patch``.
    steps : tuple of str
        Names of tasks whose seconds the scheduler is asked for; empty where workers tell the seconds of their steps.
    map : mapping or None
        The event with the map in cells, which is for the journal; None until `sky` has made it.
    """

    url: str
    total: int
    names: tuple[str, str]
    steps: tuple[str, ...]
    map: Event | None

    def sky(self) -> Iterator[Sequence[Event]]:
        """Events that set up the map, a few at a time: each takes no more than some tenths of a second."""
        ...

    def pictures(self, wanted: Mapping[Name, Any]) -> Event:
        """The event with the previews that the store has of some templates or coadds: data IDs, and their coverage."""
        ...


class Templates:
    """The templates of detector-visits.

    Parameters
    ----------
    store : TemplateStore
        Where they are written.
    coadds : CoaddSource
        For the outlines of tracts.
    rows : sequence
        The detector-visits.
    """

    names: tuple[str, str] = ("visit", "detector")
    steps: tuple[str, ...] = ()

    def __init__(self, store: TemplateStore, coadds: CoaddSource, rows: Sequence[Any]) -> None:
        self._store, self._coadds, self._rows = store, coadds, rows
        self.url, self.total = store.url, len(rows)
        self.map: Event | None = None

    def sky(self) -> Iterator[Sequence[Event]]:
        """Events that set up the map, a few at a time."""
        import numpy as np

        from dcrflow.live.sky import SINGLE, cells_at, cells_of, footprint_event, map_event, tract_event
        from dcrflow.model.visit import DetectorVisit
        from dcrflow.stores.visits.long_table import LongTable

        if isinstance(self._rows, LongTable):
            cells_of_rows = cells_at(*self._rows.positions())
            self.map = map_event(cells_of_rows, with_corners=False)
            yield [map_event(cells_of_rows)]
            yield [tract_event(self._coadds.tracts, self._rows)]
            return
        visits = [row for row in self._rows if isinstance(row, DetectorVisit)]
        cells = [np.empty(0, np.int64)]
        for some in batched(visits, _TOGETHER):
            cells.append(cells_of(some))
            yield [footprint_event(some)] if len(visits) <= SINGLE else []
        self.map = map_event(np.concatenate(cells), with_corners=False)
        if len(visits) > SINGLE:
            yield [map_event(np.concatenate(cells))]
        yield [tract_event(self._coadds.tracts, visits)]

    def pictures(self, wanted: Mapping[Name, Any]) -> Event:
        """The event with thumbnails of templates."""
        return _pictures(self._store.entries_of(wanted), self.names)


class Patches:
    """The DCR coadds of patches.

    Parameters
    ----------
    build : CoaddBuild
        Where they are written.
    plan : CoaddPlan
        The patches.
    """

    names: tuple[str, str] = ("tract", "patch")
    steps: tuple[str, ...] = (
        "load_visit", "warp_visit", "check_visits", "accumulate", "calibrate_visits", "solve_patch", "write_patch",
    )  # fmt: skip

    def __init__(self, build: CoaddBuild, plan: CoaddPlan) -> None:
        self._build, self._plan = build, plan
        self.url, self.total = build.url, len(plan.patches)
        self.map: Event | None = None
        self._places = [(each.tract, each.patch) for each in plan.patches]

    def sky(self) -> Iterator[Sequence[Event]]:
        """Events that set up the map."""
        import numpy as np

        from dcrflow.live.sky import SINGLE, map_event, outlines_event, patch_event

        places, cells = self._places, np.fromiter(self.cells.values(), np.int64)
        self.map = map_event(cells, with_corners=False)
        yield [map_event(cells)] if len(places) > SINGLE else [patch_event(places)]
        yield [outlines_event({tract.tract: tract for tract, _ in places}.values())]

    @cached_property
    def cells(self) -> dict[Name, int]:
        """The cell of each patch, as the map counts them."""
        from dcrflow.live.sky import patch_cells

        names = [(tract.tract, patch.patch) for tract, patch in self._places]
        return dict(zip(names, patch_cells(self._places).tolist(), strict=True))

    def pictures(self, wanted: Mapping[Name, Any]) -> Event:
        """The event with thumbnails of coadds."""
        found = self._build.entries_of((*name, self._plan.band.name) for name in wanted)
        entries = ({**about, "tract": t, "patch": p, "coverage": wanted[t, p]} for t, p, _, about in found)
        return _pictures(entries, self.names)


def _pictures(entries: Iterable[Mapping[str, Any]], names: tuple[str, str]) -> Event:
    from dcrflow.view.thumbnails import checked_thumbnail

    found = []
    for entry in entries:
        image = checked_thumbnail(_preview(entry).get("image"))
        if image is not None:
            covered = entry.get("coverage")
            known = {**{name: entry[name] for name in names}, "band": str(entry.get("band", ""))}
            found.append({**known, "coverage": covered if is_number(covered) else None, "image": image})
    return {"event": "thumbnails", "templates": found}


def _preview(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    preview = decoded(entry.get("preview"))
    return preview if isinstance(preview, Mapping) else {}
