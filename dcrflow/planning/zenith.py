"""DCR on the tracts of a template: where the zenith is, how far light moves, and the description for the record."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import ConfigError, ObservationError
from dcrflow.geometry.mapping import map_pixels
from dcrflow.geometry.skymap import Outline, Tract
from dcrflow.model.config import TemplateConfig
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.dcr import DcrModel, zenith_vectors
from dcrflow.planning.tiles import Reach, TractPlan

if TYPE_CHECKING:
    from dcrflow.planning.template import TemplatePlan

Float = NDArray[np.float64]

_AXES = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0))  # x and y of a place and of the pixels next to it along x and y


def _middle(tract: Tract) -> tuple[float, float]:
    return tract.bbox.x0 + (tract.bbox.width - 1) / 2, tract.bbox.y0 + (tract.bbox.height - 1) / 2


def vectors_on(plan: TemplatePlan, tract: Tract, x: Float, y: Float) -> tuple[Float, Float, Float]:
    """`zenith_vectors` of the plan's visit and convention at places (x, y) of a tract."""
    return zenith_vectors(plan.visit.observation, tract.wcs, x, y, plan.config.rotation, _middle(tract))


def _vectors(
    visit: DetectorVisit, tract: Tract, x: Float, y: Float, config: TemplateConfig
) -> tuple[Float, Float, Float]:
    try:
        found = zenith_vectors(visit.observation, tract.wcs, x, y, config.rotation, _middle(tract))
    except ValueError as error:
        kind = ConfigError if config.rotation == "boresight" else ObservationError
        raise kind(f"{visit.label}: {error}") from error
    if not np.all(np.isfinite(found)):
        raise ObservationError(f"{visit.label}: no direction to the zenith on tract {tract.tract}: not finite")
    return found


def reach_on(visit: DetectorVisit, tract: Tract, outline: Outline, model: DcrModel, config: TemplateConfig) -> Reach:
    """Bounds of the kernels' tap offsets: the largest displacements on the outline, and a tenth and a pixel more."""
    x, y = outline.on(tract)
    tan, dy, dx = _vectors(visit, tract, x, y, config)
    distance = model.displacement(tan)
    spare = (model.degree + 1) // 2 + 1
    bounds = []
    for component in (dy, dx):
        d = distance * component[..., None]
        bounds += [math.floor(min(1.1 * d.min(), 0.0)) - spare, math.ceil(max(1.1 * d.max(), 0.0)) + spare]
    return Reach(*bounds)


def describe_dcr(
    visit: DetectorVisit, first: TractPlan, model: DcrModel, flat: Float, config: TemplateConfig
) -> dict[str, Any]:
    """What was applied, at the middle of the detector; kept with the template.

    ``shift`` is in the first tract's pixels; ``spread`` says how the light of any spectrum is spread on the detector.
    `flat` is how much of a flat spectrum is in each subfilter.
    """
    box = visit.bbox
    middle = np.array([box.x0 + (box.width - 1) / 2]), np.array([box.y0 + (box.height - 1) / 2])
    ra, dec = visit.wcs.pixel_to_sky(*middle)
    u, v = map_pixels(visit.wcs, first.tract.wcs, *(m + np.array(d) for m, d in zip(middle, _AXES, strict=True)))
    tan, dy, dx = _vectors(visit, first.tract, u[:1], v[:1], config)
    mean = model.mean_displacement(float(tan[0]))
    jacobian = np.array([np.diff(u[:2]), np.diff(u[::2]), np.diff(v[:2]), np.diff(v[::2])]).reshape(2, 2)
    on_detector = np.linalg.solve(jacobian, [dx[0], dy[0]])[::-1]
    return {
        "method": config.dcr,
        "rotation": config.rotation,
        "zenith_angle": float(np.rad2deg(np.arctan(tan[0]))),
        "direction": float(visit.observation.zenith_direction(ra, dec)[0]),
        "shift": [[float(m * dy[0]), float(m * dx[0])] for m in mean],
        "shift_frame": f"(dy, dx) in pixels of tract {first.tract.tract}, at the middle of the detector",
        "spread": {
            "wavelength": model.wavelength.tolist(),
            "shift": (model.displacement(tan).T * on_detector).tolist(),
            "weights": model.weights.tolist(),
            "flat": (model.weights @ flat).tolist(),
        },
        "spread_frame": "(dy, dx) in detector pixels; weights by node and subfilter; wavelength in nm",
        "weather_assumed": list(visit.observation.weather.assumed),
    }
