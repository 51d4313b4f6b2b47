"""HIGH_VARIANCE on a template that is an object of LSST's: what a class derived from the task may call or replace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from dcrflow.base.masks import HIGH_VARIANCE, NO_DATA
from dcrflow.geometry.box import Box
from dcrflow.lsst.convert import arrays_of
from dcrflow.model.config import TemplateConfig
from dcrflow.model.pixels import Pixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps import map_variance
from dcrflow.steps.results import StepResult

_LOOKED_AT = ("BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", NO_DATA)


class _Whole(NamedTuple):
    """What `map_variance` looks at of a plan."""

    bbox: Box
    planes: Mapping[str, int]
    config: TemplateConfig


def flag_exposure(template: Any, config: TemplateConfig) -> None:
    """Set HIGH_VARIANCE in the mask of a template, in place.

    Parameters
    ----------
    template : lsst.images.MaskedImage, or lsst.afw.image.Exposure
        With the plane HIGH_VARIANCE, if it is one of lsst.images.
    config : TemplateConfig
        Gives the threshold.
    """
    found = arrays_of(template)
    free = [bit for bit in range(31) if bit not in found.planes.values()]
    planes = {**found.planes, **{n: free.pop(0) for n in _LOOKED_AT if n not in found.planes}}  # empty planes
    pixels = StepResult(Pixels(found.box, found.image, found.variance, found.mask))
    smooth = map_variance(cast(TemplatePlan, _Whole(found.box, planes, config)), [pixels])
    if smooth is None:
        return
    high = smooth.is_high(found.box) & ((found.mask >> np.int32(planes[NO_DATA])) & 1 == 0)
    if hasattr(template, "getBBox"):
        bit = np.int32(template.mask.addMaskPlane(HIGH_VARIANCE))
        template.mask.array[high] |= np.int32(1) << bit
    else:
        template.mask.set(HIGH_VARIANCE, high)
