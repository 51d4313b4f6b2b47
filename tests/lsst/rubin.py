"""Helpers of these tests: commands of this environment, and what a quantum is given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any


def command(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment."""
    program, *arguments = map(str, words)
    return subprocess.run(
        [str(Path(sys.executable).parent / program), *arguments], capture_output=True, text=True, check=False
    )


def must(*words: object) -> str:
    ended = command(*words)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    return ended.stdout + ended.stderr


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
