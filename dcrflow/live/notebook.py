"""What `run_campaign` shows while it runs: a widget in a notebook, a line of text in a terminal.

The widget is HTML that replaces itself. It needs no extension of Jupyter, and the last state stays in the saved
notebook.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from dcrflow.live.plugin import page_link
from dcrflow.live.state import CampaignState
from dcrflow.live.words import duration, rate

if TYPE_CHECKING:
    from distributed import Client

    from dcrflow.campaign.outcome import Progress

_EVERY = 0.5  # s between two updates
_SHOWN = 5  # failures
_COLOURS = {"complete": "#2c8a58", "no-overlap": "#b98a1d", "failed": "#c0392b", "running": "#2f7fd1"}

Show = Callable[[Mapping[str, Any], bool], None]


class Display:
    """Keeps the state of a run on the client, and shows it.

    Parameters
    ----------
    show : callable
        Shows a state, as `CampaignState.shown` has it; its second argument says whether that is the last.
    """

    def __init__(self, show: Show) -> None:
        self._show = show
        self._state = CampaignState("")
        self._shown = 0.0

    def event(self, event: Mapping[str, Any]) -> None:
        """Take an event of the run."""
        with suppress(Exception):
            self._state.take(event)
            self._update(self._state.state != "running")

    def progress(self, progress: Progress) -> None:
        """Take the numbers of the run."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.event({"event": "progress", "time": now, **asdict(progress)})

    def close(self) -> None:
        """Show the last state, of a run that failed too."""
        with suppress(Exception):
            self._update(True)

    def _update(self, is_last: bool) -> None:
        if is_last or time.monotonic() - self._shown > _EVERY:
            self._shown = time.monotonic()
            self._show(self._state.shown(), is_last)


@contextmanager
def shown(
    client: Client, progress: Callable[[Progress], None] | bool | None
) -> Iterator[tuple[Callable[[Progress], None], Callable[[Mapping[str, Any]], None] | None]]:
    """Show a run while it lasts, unless the caller does; yields what takes its progress, and what takes its events."""
    if callable(progress):
        yield progress, None
        return
    display = None if progress is False else display_for(client)
    if display is None:
        yield (lambda _: None), None
        return
    try:
        yield display.progress, display.event
    finally:
        display.close()


def display_for(client: Client) -> Display | None:
    """A display fit for where Python runs: a notebook or a terminal; None for a script whose output goes elsewhere."""
    if in_notebook():
        return Display(_widget(page_link(client.dashboard_link)))
    return Display(_text_line) if sys.stderr.isatty() else None


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _widget(link: str) -> Show:
    from IPython.display import HTML, display

    handle: Any = None

    def show(state: Mapping[str, Any], is_last: bool) -> None:
        nonlocal handle
        html: Any = HTML(widget_html(state, "" if is_last else link))  # type: ignore[no-untyped-call]
        if handle is None:
            handle = display(html, display_id=True)  # type: ignore[no-untyped-call]
        else:
            handle.update(html)

    return show


def _text_line(state: Mapping[str, Any], is_last: bool) -> None:
    print(f"\r{text_of(state)[:110]:<110}", end="\n" if is_last else "", file=sys.stderr, flush=True)


def text_of(state: Mapping[str, Any]) -> str:
    """A state as one line."""
    done = state["done"]
    parts = [f"{_ended(state)}/{state['total']} templates", f"{state['running']} running"]
    parts += [f"{done['no-overlap']} no overlap"] * bool(done["no-overlap"])
    parts += [f"{done['failed']} failed", f"{rate(state['rate']['last_minute'])}/min"]
    parts += [f"{duration(state['left'])} left"] * (state["left"] is not None)
    return ", ".join(parts)


def widget_html(state: Mapping[str, Any], link: str) -> str:
    """A state as HTML: a bar, the numbers, the last failures, and a link to the page; all text is escaped."""
    done, total = state["done"], max(1, state["total"])
    parts = {"complete": done["complete"] + state["skipped"], **{k: done[k] for k in ("no-overlap", "failed")}}
    parts["running"] = state["running"]
    bar = "".join(
        f'<div style="width:{100 * number / total:.2f}%;background:{_COLOURS[name]}"></div>'
        for name, number in parts.items()
    )
    failures = "".join(
        f"<li>{escape(_label(f))}: {escape(f['kind'])}: {escape(f['message'])}</li>" for f in state["failures"][:_SHOWN]
    )
    more = done["failed"] - min(_SHOWN, len(state["failures"]))
    failures += f"<li>and {more} more: dcrflow.campaign_status(out)</li>" if failures and more > 0 else ""
    page = f' · <a href="{escape(link)}" target="_blank">map, times and workers</a>' if link else ""
    return (
        '<div style="font-size:13px;max-width:900px">'
        f"<b>{escape(state['store'] or 'templates')}</b>"
        '<div style="display:flex;height:12px;border-radius:6px;overflow:hidden;background:rgba(128,128,128,.3);'
        f'margin:4px 0">{bar}</div>{escape(text_of(state))}{page}'
        f"{f'<ul style="margin:4px 0">{failures}</ul>' if failures else ''}</div>"
    )


def _label(failure: Mapping[str, Any]) -> str:
    if failure["visit"] is None:
        return "a row of the table"
    return f"visit {failure['visit']} detector {failure['detector']}"


def _ended(state: Mapping[str, Any]) -> int:
    return int(state["skipped"] + sum(state["done"].values()))
