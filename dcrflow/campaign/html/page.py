"""The page: facts, style and script in one file that needs no network."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from dcrflow.base.errors import DcrflowError
from dcrflow.base.version import __version__
from dcrflow.stores.files import whole_file

_SCRIPTS = ("base.js", "sky.js", "page.js", "timeline.js", "links.js")


class ReportError(DcrflowError, OSError):
    """The report cannot be written."""


def write_report(facts: Mapping[str, Any], path: str | Path) -> Path:
    """Write the page.

    Parameters
    ----------
    facts : mapping
        As `campaign_facts` collects them.
    path : path
        Of the HTML file; replaced if it is there.

    Raises
    ------
    ReportError
        If it cannot be written.
    """
    return write_page(page(facts), path)


def write_page(html: str, path: str | Path) -> Path:
    """Write the HTML of a report; raises a `ReportError` if that cannot be done."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # such as /dev/stdout
            path.write_text(html, encoding="utf-8")
            return path
        with whole_file(path) as partial:  # until it is whole, the old report stays
            partial.write_text(html, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"cannot write the report to {path}: {error.strerror}; give a writable place") from error
    return path


def digest_of(text: str) -> str:
    """How a Content-Security-Policy names a script or style of the page itself."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def page(facts: Mapping[str, Any]) -> str:
    """The HTML of the page."""
    parts = {
        "POLICY": _policy(),
        "TITLE": escape(f"dcrflow: {facts['store']}"),
        "STYLE": asset("page.css"),
        "SCRIPT": _script(),
        "FACTS": json.dumps({**facts, "version": __version__}, separators=(",", ":"), allow_nan=False).replace(
            "<", "\\u003c"
        ),
    }
    html = asset("page.html")
    for name, text in parts.items():  # the facts last: nothing in them is taken for a placeholder
        html = html.replace(f"@@{name}@@", text)
    return html


def _policy() -> str:
    """A Content-Security-Policy: the page's own script and style by their digests, pictures in it, and nothing else."""
    script, style = (digest_of(f"\n{text}\n") for text in (_script(), asset("page.css")))
    allowed = f"script-src {script}; style-src {style}; img-src data:"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _script() -> str:
    """The script of the page: each file uses those before it, and what the live page uses, too."""
    shared = asset("elements.js", "dcrflow.live").replace("export ", "")
    return '"use strict";\n' + shared + "".join(asset(name) for name in _SCRIPTS)


def asset(name: str, package: str = "dcrflow.campaign.html") -> str:
    """The text of a file beside the pages' modules."""
    return files(package).joinpath(name).read_text(encoding="utf-8")
