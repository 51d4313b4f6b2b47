"""A second task, to have two in a quantum graph: the mean of a template. It can be told to fail at first.

With TEMPLATE_STATS_TROUBLE, visit 12 fails twice, and visit 13 needs a worker with 2 GB of memory.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lsst.pipe.base.connectionTypes as cT
import numpy as np
from distributed import get_worker
from lsst.pipe.base import PipelineTask, PipelineTaskConfig, PipelineTaskConnections, Struct

_DETECTOR = ("instrument", "visit", "detector")


class TemplateStatsConnections(PipelineTaskConnections, dimensions=_DETECTOR):
    template = cT.Input(
        doc="a template", name="dcrDiff_templateExp", storageClass="MaskedImageV2", dimensions=_DETECTOR
    )
    stats = cT.Output(
        doc="figures of it", name="template_stats", storageClass="StructuredDataDict", dimensions=_DETECTOR
    )


class TemplateStatsConfig(PipelineTaskConfig, pipelineConnections=TemplateStatsConnections):
    pass


class TemplateStatsTask(PipelineTask):
    ConfigClass = TemplateStatsConfig
    _DefaultName = "templateStats"

    def run(self, template: Any) -> Struct:
        if directory := os.environ.get("TEMPLATE_STATS_FAIL_ONCE"):
            marker = Path(directory, str(template.sky_projection.pixel_frame.visit))
            if not marker.exists():
                marker.touch()
                raise OSError("it fails at first")
        if directory := os.environ.get("TEMPLATE_STATS_TROUBLE"):
            _trouble(Path(directory), template.sky_projection.pixel_frame.visit)
        return Struct(stats={"mean": float(np.mean(template.image.array))})


def _trouble(directory: Path, visit: int) -> None:
    memory = get_worker().memory_manager.memory_limit or 0
    attempts = directory / str(visit)
    with attempts.open("a") as file:
        file.write(f"{memory}\n")
    if visit == 12 and len(attempts.read_text().split()) <= 2:
        raise OSError("it fails twice")
    if visit == 13 and memory < 2_000_000_000:
        np.empty(1 << 50)
