"""Follow a campaign from elsewhere: from the page of its scheduler, from the scheduler itself, or from its journals."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from dcrflow.base.addresses import redacted
from dcrflow.base.attributes import is_number
from dcrflow.base.errors import ClusterError, CoaddStoreError, TemplateStoreError
from dcrflow.base.texts import one_line
from dcrflow.campaign.alive import runs_of
from dcrflow.live.plugin import ANSWER, PAGE
from dcrflow.live.state import CampaignState
from dcrflow.stores.coadds.builds import CoaddBuild
from dcrflow.stores.templates.store import TemplateStore

_WEB = ("http://", "https://")
_SCHEDULERS = ("tcp://", "tls://", "ws://", "wss://")
_PATIENCE = 10.0  # s
_LARGEST = 1 << 26  # bytes of an answer
_TELL = 5000  # lines of a journal after which it is said how many were read


@dataclass(frozen=True)
class Seen:
    """What is known of a campaign at a time.

    Parameters
    ----------
    state : mapping
        As `CampaignState.shown` has it.
    places : list of (float, float, list of int)
        RA and Dec (ICRS degrees) of detector-visits or of cells, and how many are there by state (see
        `dcrflow.live.places.STATES`).
    """

    state: Mapping[str, Any]
    places: list[tuple[float, float, list[int]]] = field(default_factory=list)


def follow(
    source: str | TemplateStore, every: float = 1.0, reading: Callable[[int], None] | None = None
) -> Iterator[Seen]:
    """What is known of the latest campaign, again and again, until it is over.

    Parameters
    ----------
    source : str or TemplateStore
        A template store, or where one or a DCR-coadd store is; the address of a dashboard (``http://host:port``), or of
        a scheduler (``tcp://host:port``, a scheduler file).
    every : float
        Seconds between two looks.
    reading : callable, optional
        Told how many lines of a long journal have been read, again and again.

    Raises
    ------
    ClusterError
        If no scheduler with a page of dcrflow answers there.
    TemplateStoreError
        If there is no such store.
    """
    for seen in _looks(source, reading or (lambda _: None)):
        yield seen
        if seen.state.get("state") in ("finished", "stopped", "failed"):
            return
        time.sleep(every)


def _looks(source: str | TemplateStore, reading: Callable[[int], None]) -> Iterator[Seen]:
    if isinstance(source, TemplateStore):
        return _of_store(source, reading)
    if source.startswith(_SCHEDULERS):
        return _of_scheduler(source, address=source)
    if source.startswith(_WEB) and _serves_page(source):
        return _of_page(source)
    if _is_scheduler_file(source):
        return _of_scheduler(source, scheduler_file=source)
    try:
        store = TemplateStore.open(source)
    except TemplateStoreError as error:
        with suppress(CoaddStoreError):
            return _of_store(CoaddBuild.open(source), reading)
        if not source.startswith(_WEB):
            raise
        raise ClusterError(
            f"{redacted(source)}: no dashboard with a page of dcrflow answers there, and "
            f"it is no template store: {error}"
        ) from None
    return _of_store(store, reading)


def _is_scheduler_file(source: str) -> bool:
    return "://" not in source and Path(source).is_file() and source.endswith(".json")


def _page_of(source: str) -> str:
    """Address of the page, of one within a dashboard, or of the dashboard itself."""
    whole = source.split("?")[0].rstrip("/")
    for page in ("status", "workers", "tasks", "system", PAGE):
        whole = whole.removesuffix(f"/{page}")
    return f"{whole}/{PAGE}"


def _get(link: str) -> Any:
    """What an address answers, which may be anything; `ValueError` if it is no JSON."""
    try:
        with urlopen(link, timeout=_PATIENCE) as answer:
            return _printable(json.loads(answer.read(_LARGEST)))
    except (HTTPException, RecursionError) as error:
        raise ValueError(f"it does not answer as a dashboard does ({type(error).__name__})") from None


def _printable(value: Any) -> Any:
    """The same without what a terminal would obey."""
    if isinstance(value, dict):
        return {one_line(k): _printable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_printable(v) for v in value]
    return one_line(value) if isinstance(value, str) else value


def _serves_page(source: str) -> bool:
    try:
        found = _get(f"{_page_of(source)}/state.json")
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "runs" in found


def _of_page(source: str) -> Iterator[Seen]:
    page = _page_of(source)

    def ask(kind: str) -> Any:
        try:
            return _get(f"{page}/{kind}.json")
        except (URLError, OSError, ValueError) as error:
            raise ClusterError(
                f"{page} answers no more: {error}; the scheduler has ended, or is out of reach"
            ) from None

    return _asking(ask)


def _of_scheduler(source: str, **where: str) -> Iterator[Seen]:
    from dcrflow.compat.dask_clients import Client

    try:
        client = Client(**where, timeout=_PATIENCE, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        raise ClusterError(f"no dask scheduler answers at {source}: {error}") from None

    def ask(kind: str) -> Any:
        try:
            answer = client.sync(getattr(client.scheduler, ANSWER), kind=kind, callback_timeout=_PATIENCE)
            return _printable(json.loads(answer))
        except Exception as error:
            raise ClusterError(f"the scheduler at {source} has no campaigns of dcrflow: {error}") from None

    with client:
        yield from _asking(ask)


def _asking(ask: Any) -> Iterator[Seen]:
    """Ask for the state, and for the outlines whenever they are others."""
    version, outlines = None, {}
    while True:
        state = ask("state")
        if not isinstance(state, dict):
            raise ClusterError("what answers is no page of dcrflow")
        sky = state.get("sky") or {}
        if state.get("run") and version != (state["run"], sky.get("version")):
            version, outlines = (state["run"], sky.get("version")), ask("sky")
        places: list[tuple[float, float, list[int]]] = []
        with suppress(LookupError, TypeError, ValueError):  # of a page of another version
            places = list(_places(sky, outlines))
        yield Seen(state, places)


def _places(sky: Mapping[str, Any], outlines: Mapping[str, Any]) -> Iterator[tuple[float, float, list[int]]]:
    for (_, _, corners), digit in zip(outlines.get("footprints", ()), sky.get("footprints", ""), strict=False):
        yield *_middle(corners), [int(number == int(digit)) for number in range(6)]
    for (_, corners), counts in zip(outlines.get("cells", ()), sky.get("cells", ()), strict=False):
        yield *_middle(corners), counts


def _middle(corners: list[list[float]]) -> tuple[float, float]:
    """Middle of a small polygon that may lie across RA = 0."""
    first = corners[0][0]
    ra = [(r - first + 180) % 360 - 180 for r, _ in corners]
    return (first + sum(ra) / len(ra)) % 360, sum(dec for _, dec in corners) / len(corners)


_Made = dict[str, dict[tuple[int, int], int | None]]  # by run: the cells of what it made


def _of_store(store: TemplateStore | CoaddBuild, reading: Callable[[int], None]) -> Iterator[Seen]:
    """From the journals. Only the run that began last is shown; what earlier runs made is done before."""
    reader = store.journal_reader()
    runs: dict[str, CampaignState] = {}
    made: _Made = {}
    shown = ""
    while True:
        for number, line in enumerate(reader.new(), start=1):
            _take(runs, made, line, store.url)
            if number % _TELL == 0:
                reading(number)
        if not runs:
            raise TemplateStoreError(
                f"{store.url} has no journal of a run yet; begin one with dcrflow run or dcrflow coadd"
            )
        beats = store.progress()
        for progress in beats:
            if progress.get("run") in runs:
                _take_progress(runs[progress["run"]], progress)
        for run in runs_of(beats):
            if run.run in runs and run.state in ("dead", "failed"):
                runs[run.run].take({"event": "failed"})
        last = max(runs.values(), key=lambda state: state.began)
        if last.run != shown:
            _add_earlier(last, made)
            shown = last.run
        yield Seen(last.shown(max(time.time(), last.heard)), _cells(last))


def _take(runs: dict[str, CampaignState], made: _Made, line: Mapping[str, Any], store: str) -> None:
    run = str(line["run"])
    state = runs.get(run)
    if state is None:
        state = runs[run] = CampaignState(run)
    state.take({**line, "store": store} if line.get("event") == "requested" else line)
    which = state.data_id_in(line)
    if line.get("event") == "ended" and line.get("status") == "complete" and which is not None:
        cell = line.get("cell")
        made.setdefault(run, {})[which] = cell if isinstance(cell, int) else None


def _add_earlier(last: CampaignState, made: _Made) -> None:
    """Put what other runs made on the map of the last one."""
    own = made.get(last.run, {})
    for run, ids in made.items():
        for which, cell in ids.items():
            if run != last.run and which not in own:
                last.places.change(which, cell, "waiting", "complete")


def _take_progress(state: CampaignState, progress: Mapping[str, Any]) -> None:
    """What a run's heartbeat says, which knows what the journal does not: how many are running, and that it lives."""
    updated = progress.get("updated")
    if is_number(updated) and state.state == "running":
        with suppress(OverflowError, ValueError, OSError):
            when = datetime.fromtimestamp(float(updated or 0), UTC).isoformat()
            state.take({**progress, "event": "progress", "time": when})


def _cells(state: CampaignState) -> list[tuple[float, float, list[int]]]:
    order, counts = state.places.counts()
    if order is None or not counts:
        return []
    from dcrflow.live.sky import centres_of

    ra, dec = centres_of(order, list(counts))
    return list(zip(ra.tolist(), dec.tolist(), counts.values(), strict=True))
