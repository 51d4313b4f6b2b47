"""The page's routes on the scheduler's web server. All links are relative, so that it works behind a proxy."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tornado.web import Application, RequestHandler

if TYPE_CHECKING:
    from dcrflow.live.plugin import LivePage

#: The page runs its own script only, loads nothing from elsewhere, and shows pictures that are in its data.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
_ASSETS = {
    "page.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "charts.js": "text/javascript; charset=utf-8",
    "elements.js": "text/javascript; charset=utf-8",
    "sky.js": "text/javascript; charset=utf-8",
}


class _Handler(RequestHandler):
    def initialize(self, plugin: LivePage) -> None:
        self.plugin = plugin

    def set_default_headers(self) -> None:
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")

    def data_received(self, chunk: bytes) -> None:
        """No request has a body that is read as it comes."""


class _Asset(_Handler):
    def get(self, name: str = "page.html") -> None:
        self.set_header("Content-Type", _ASSETS[name])
        self.write(files("dcrflow.live").joinpath(name).read_bytes())


class _Json(_Handler):
    def get(self, kind: str) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.write(self.plugin.answer(kind, self.get_query_argument("run", "")[:100]))


class _Without(_Handler):
    """``/dcrflow/``: the page's links are relative to ``/dcrflow``."""

    def get(self) -> None:
        self.redirect("../dcrflow")


def application(plugin: LivePage) -> Any:
    """The routes, under any prefix that the scheduler has."""
    given = {"plugin": plugin}
    return Application(
        [
            (r".*/dcrflow", _Asset, given),
            (r".*/dcrflow/", _Without, given),
            (f".*/dcrflow/({'|'.join(map(re.escape, _ASSETS))})", _Asset, given),
            (r".*/dcrflow/(state|sky)\.json", _Json, given),
        ]
    )
