"""A second task, to have two in a quantum graph: the mean of a template. It can be told to fail at first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lsst.pipe.base.connectionTypes as cT
import numpy as np
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
        return Struct(stats={"mean": float(np.mean(template.image.array))})
