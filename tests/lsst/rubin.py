"""Helpers of these tests: commands of this environment, and what a quantum is given."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import warm

PROGRAMS = Path(sys.executable).parent
DATA_ID = {"instrument": "TestCam", "visit": 12, "detector": 3, "band": "g", "physical_filter": "g_sim"}


def command(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment."""
    return warm.run([str(word) for word in words])


def must(*words: object) -> str:
    ended = command(*words)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    return ended.stdout + ended.stderr


def wait_until(what: Callable[[], object], seconds: float = 240.0) -> None:
    """Look now and then until something holds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)


@contextmanager
def damaged_coadd(butler: Any, patch: int, subfilter: int) -> Iterator[None]:
    """Cut a coadd's file short, and make it whole again."""
    where = f"skymap='test' AND patch={patch} AND subfilter={subfilter}"
    path = Path(butler.getURI(butler.query_datasets("dcrCoadd", collections="coadds", where=where)[0]).ospath)
    whole = path.read_bytes()
    path.write_bytes(whole[:2000])
    try:
        yield
    finally:
        path.write_bytes(whole)


def inputs_of(butler: Any, visit: Any) -> dict[str, Any]:
    """What a quantum of `GetDcrTemplateTask` would be given."""
    data_id = {"instrument": visit.instrument, "visit": visit.visit, "detector": visit.detector}
    refs = butler.query_datasets("dcrCoadd", collections="coadds", order_by=["tract", "patch", "subfilter"])

    def component(name: str) -> Any:
        return butler.get(f"calexp.{name}", data_id, collections="calexps")

    return {
        "coaddExposureRefs": [butler.getDeferred(r) for r in refs],
        "bbox": component("bbox"),
        "wcs": component("sky_projection"),
        "visitInfo": component("obs_info"),
    }


def put_by(task: Any, inputs: dict[str, Any]) -> tuple[Any, Any]:
    """What ``runQuantum`` puts for a quantum of `DATA_ID`, and its detector, which has the bounding box."""
    given, put = dict(inputs), []
    given["dcrCoadds"] = given.pop("coaddExposureRefs")
    detector = SimpleNamespace(bbox=given.pop("bbox"))
    context = SimpleNamespace(
        get=lambda _: given | {"detector": detector}, put=lambda made, _: put.append(made),
        quantum=SimpleNamespace(dataId=DATA_ID),
    )  # fmt: skip
    task.runQuantum(context, SimpleNamespace(dcrCoadds=[]), None)
    return put[0], detector
