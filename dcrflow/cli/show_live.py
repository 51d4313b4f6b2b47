"""A campaign in a terminal: a coarse map of the sky, the numbers, the last failures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dcrflow.base.errors import ClusterError
from dcrflow.base.texts import one_line
from dcrflow.cli.show import new_table, output, said
from dcrflow.live.places import STATES
from dcrflow.live.words import duration, rate, size

if TYPE_CHECKING:
    from dcrflow.live.follow import Seen

#: A letter and a style for each of `STATES`; the letters alone say it where there are no colours.
_MARKS = (
    (".", "bright_black"), ("r", "bold blue"), ("c", "green"), ("o", "yellow"), ("F", "bold red"), ("d", "bold magenta")
)  # fmt: skip
_ABOVE = (0, 5, 1, 2, 4, 3)  # which state is shown where several are in one place
_ROWS, _COLUMNS = 14, 56
_FAILURES = 6

Place = tuple[float, float, Sequence[int]]


class LiveView:
    """Redraws itself in a terminal; if the output is not a terminal, only the last state is printed."""

    def __init__(self) -> None:
        self._live = Live(console=output, auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if not output.is_terminal:  # what is printed there ends without a new line
            output.line()

    def reading(self, lines: int) -> None:
        """Show how much of a journal has been read."""
        self._live.update(Text(f"reading the journal: {lines:,} lines"), refresh=output.is_terminal)

    def update(self, seen: Seen) -> None:
        """Show what is known now."""
        try:
            shown = drawn(seen)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ClusterError(
                f"what answers is no page of this version of dcrflow ({type(error).__name__}: {error}); use the "
                "version that the scheduler has, or follow the template store"
            ) from None
        self._live.update(shown, refresh=True)


def drawn(seen: Seen) -> Group:
    """A campaign, ready to be printed."""
    state = seen.state
    if not state.get("run"):
        return Group(Text("no campaign yet"))
    parts: list[Any] = [Text(f"{one_line(state['store'])}", style="bold", overflow="ellipsis"), _numbers(state)]
    grid = sky_grid(seen.places)
    if grid:
        parts += [Text(""), *grid, _legend()]
    if state["failures"]:
        parts.append(_failures(state))
    return Group(*parts)


def _numbers(state: Mapping[str, Any]) -> Text:
    done, is_build = state["done"], state.get("kind") == "coadds"
    ended = state["skipped"] + sum(done.values())
    text = Text(f"{state['state']}, {duration(state['elapsed'])}: {ended} of {state['total']} done")
    if state["skipped"]:
        text.append(f", {state['skipped']} of them before")
    text.append(f"\n{done['complete']} complete", "green")
    if not is_build:
        text.append(f", {done['no-overlap']} no overlap", "yellow" if done["no-overlap"] else "")
    text.append(f", {done['failed']} failed", "red" if done["failed"] else "")
    if not is_build:
        text.append(f", {state['damaged']} damaged", "magenta" if state["damaged"] else "")
    text.append(f", {state['running']} running, {state['waiting']} waiting")
    pace = state["rate"]
    text.append(f"\n{rate(pace['last_minute'])} a minute in the last, {rate(pace['overall'])} overall")
    if state["left"] is not None:
        text.append(f", {duration(state['left'])} left")
    if not is_build:
        text.append(f"; {size(state['bytes']['read'])} read, {size(state['bytes']['written'])} written")
    cluster = state.get("cluster")
    if cluster:
        text.append(f"\n{cluster['workers']} workers, memory {size(cluster['memory'])} of {size(cluster['limit'])}")
        text.append(f", {size(cluster['spilled'])} spilled" if cluster["spilled"] else "")
    return text


def _failures(state: Mapping[str, Any]) -> Table:
    names = ("tract", "patch") if state.get("kind") == "coadds" else ("visit", "detector")
    table = new_table(*names, "reason", left=0)
    table.columns[2].justify = "left"
    for failure in state["failures"][:_FAILURES]:
        which = ("" if failure[name] is None else str(failure[name]) for name in names)
        table.add_row(*which, f"{said(failure['kind'])}: {said(failure['message'])}")
    more = state["done"]["failed"] - min(_FAILURES, len(state["failures"]))
    if more > 0:
        table.caption = f"and {more} more: dcrflow status"
    return table


def _legend() -> Text:
    text = Text()
    for (mark, style), name in zip(_MARKS, STATES, strict=True):
        text.append(f"{mark} ", style)
        text.append(f"{name.replace('-', ' ')}   ")
    return text


def sky_grid(places: Sequence[Place], rows: int = _ROWS, columns: int = _COLUMNS) -> list[Text]:
    """A coarse map, north up and east left: in each place the state that matters most there.

    Parameters
    ----------
    places : sequence of (float, float, sequence of int)
        RA, Dec (ICRS degrees), and how many detector-visits are there by state.
    rows, columns : int
        Size of the map, characters; a character is taken to be twice as high as wide.
    """
    if not places:
        return []
    first = places[0][0]
    dec0 = (min(p[1] for p in places) + max(p[1] for p in places)) / 2
    flat = max(0.05, math.cos(math.radians(dec0)))
    x = [-((p[0] - first + 180) % 360 - 180) * flat for p in places]
    y = [p[1] for p in places]
    scale = max((max(x) - min(x)) / (columns - 1), (max(y) - min(y)) / (2 * (rows - 1)), 1e-6)
    high = round((max(y) - min(y)) / (2 * scale)) + 1
    wide = round((max(x) - min(x)) / scale) + 1
    grid: list[list[int | None]] = [[None] * wide for _ in range(high)]
    for place, px, py in zip(places, x, y, strict=True):
        row, column = round((max(y) - py) / (2 * scale)), round((px - min(x)) / scale)
        here = [i for i, number in enumerate(place[2]) if number]
        found = grid[row][column]
        here += [] if found is None else [found]
        grid[row][column] = max(here, key=_ABOVE.__getitem__, default=None)
    return [_line(states) for states in grid]


def _line(states: Sequence[int | None]) -> Text:
    text = Text("  ")
    for state in states:
        text.append(" " if state is None else _MARKS[state][0], "" if state is None else _MARKS[state][1])
    return text
