"""The dashboard as a browser shows it: the steps of a template are on it by name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.campaign import run_campaign

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium"),
]

#: Everything that the page's plots were given to draw.
DRAWN = """JSON.stringify([...(window.Bokeh ? Bokeh.documents : [])].flatMap(d => [...d._all_models.values()])
    .filter(m => m.type === 'ColumnDataSource').map(m => Object.values(m.data).map(v => Array.from(v).map(String))))"""


def test_the_steps_are_on_the_dashboard(tmp_path: Path) -> None:
    websocket = pytest.importorskip("websocket", reason="needs the package websocket-client")
    store = str(coadds(IMAGE, store=str(tmp_path / "coadds.zarr")))
    assert CHROMIUM is not None
    with dcrflow.connect("local", workers=1, dashboard=0) as client:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
                   f"--user-data-dir={tmp_path / 'profile'}", client.dashboard_link]  # fmt: skip
        said = tmp_path / "said"
        with said.open("w") as file, subprocess.Popen(command, stderr=file) as browser:
            try:
                until = time.monotonic() + 120
                while not (found := re.search(r"listening on ws://[^:]+:(\d+)", said.read_text())):
                    assert browser.poll() is None, said.read_text()
                    assert time.monotonic() < until, said.read_text()
                    time.sleep(0.05)
                port = found[1]
                with urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
                    page = next(p for p in json.load(answer) if p["type"] == "page")
                connection = websocket.create_connection(
                    page["webSocketDebuggerUrl"], timeout=120, suppress_origin=True
                )
                missing = {"load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts", "write_template"}
                until = time.monotonic() + 300  # it takes a few seconds, but on a machine with much else to do
                number = 0
                while missing and time.monotonic() < until:
                    run_campaign(store, [visit(visit=number)], tmp_path / "out.zarr", client=client)
                    number += 1
                    call = {"id": number, "method": "Runtime.evaluate", "params": {"expression": DRAWN}}
                    connection.send(json.dumps(call))
                    while (answered := json.loads(connection.recv())).get("id") != number:
                        pass
                    drawn = answered["result"]["result"].get("value", "")
                    missing = {name for name in missing if name not in drawn}
                    time.sleep(0.5)
                connection.close()
            finally:
                browser.kill()
    assert not missing
