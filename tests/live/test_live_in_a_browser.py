"""The page in a browser during a real run: two workers, one of which is killed, and a row that cannot be read."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.campaign import run_campaign
from dcrflow.live.plugin import page_link
from dcrflow.stores.visits.tables import BadVisit

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NASTY = "<script>document.title = 'taken over'</script>"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium"),
]

RUNNING = re.compile("running [1-9]")

#: What a reader of the page sees.
SEEN = """JSON.stringify({title: document.title, text: document.body?.innerText || "",
    legend: document.getElementById("legend")?.innerText || "",
    pictures: document.querySelectorAll("#templates img").length, wide: document.documentElement?.scrollWidth,
    logs: [...document.querySelectorAll("#workers a")].map(a => a.href)})"""


class Page:
    """A tab of the browser, by its debugging protocol."""

    def __init__(self, address: str) -> None:
        websocket = pytest.importorskip("websocket", reason="needs the package websocket-client")
        self._connection = websocket.create_connection(address, timeout=60, suppress_origin=True)
        self._number = 0
        self.complaints: list[str] = []  # the console's errors

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            said: dict[str, Any] = json.loads(self._connection.recv())
            if said.get("id") == self._number:
                return said.get("result", {})
            entry = said.get("params", {}).get("entry", {})
            if entry.get("level") == "error" or said.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(said["params"]))

    def close(self) -> None:
        self._connection.close()

    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.call("Runtime.evaluate", expression=SEEN)["result"]["value"])
        return found


@contextmanager
def opened(link: str, profile: Path) -> Iterator[Page]:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
               f"--user-data-dir={profile}", "about:blank"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as browser:
        try:
            assert browser.stderr is not None
            port = next(m[1] for line in browser.stderr if (m := re.search(r"listening on ws://[^:]+:(\d+)", line)))
            with urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
                page = Page(next(p for p in json.load(answer) if p["type"] == "page")["webSocketDebuggerUrl"])
            for domain in ("Log", "Runtime", "Page"):
                page.call(f"{domain}.enable")
            page.call("Page.navigate", url=link)
            yield page
            page.close()
        finally:
            browser.terminate()


def test_a_run_is_seen_without_a_reload(tmp_path: Path) -> None:
    store = str(coadds(IMAGE, store=str(tmp_path / "coadds.zarr")))
    rows: list[Any] = [visit(visit=v) for v in range(1, 13)]
    rows.append(BadVisit(99, 1, dcrflow.VisitTableError(f"row 13 (visit 99 detector 1): wcs is {NASTY}")))
    ended: list[Any] = []
    seen: list[dict[str, Any]] = []
    with dcrflow.connect("local", workers=2, dashboard=0) as client, \
            opened(page_link(client.dashboard_link), tmp_path / "profile") as page:  # fmt: skip
        work = threading.Thread(target=lambda: ended.append(
            run_campaign(store, rows, tmp_path / "out.zarr", client=client, progress=False, window=3)
        ))  # fmt: skip
        work.start()
        killed, until = "", time.monotonic() + 240
        while time.monotonic() < until and not (ended and "finished" in seen[-1]["text"]):
            seen.append(page.seen())
            if not killed and RUNNING.search(seen[-1]["legend"]):
                pids = client.run(os.getpid)
                killed, pid = next(iter(pids.items()))
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
        work.join(60)
        time.sleep(2.5)
        last = page.seen()
        page.call("Emulation.setDeviceMetricsOverride", width=400, height=900, deviceScaleFactor=1, mobile=False)
        narrow = page.seen()
        with urlopen(last["logs"][0], timeout=30) as answer:
            log = answer.read().decode()
    assert ended[0].complete == 12
    legends = [found["legend"] for found in seen]
    assert any(RUNNING.search(legend) for legend in legends)  # states change, without a reload
    assert "complete 12" in last["legend"]
    assert "failed 1" in last["legend"]
    assert f"VisitTableError: row 13 (visit 99 detector 1): wcs is {NASTY}" in last["text"]
    assert last["title"] == "100 % · dcrflow"
    assert f"worker {killed} is gone" in last["text"]
    assert last["pictures"] == 12
    assert "distributed.worker" in log or "No logs" in log or "<html" in log
    assert narrow["wide"] <= 400
    assert page.complaints == []
