"""Self-calibration: flux scale and shift of every visit, fitted against the model of all.

A visit's residual is fitted with a m - dy dm/dy - dx dm/dx + c, m its model; the 4 x 5 normal equations add up over
cells and patches. What no data can tell is taken out of the answers: the weighted means over the visits, and the
pattern of shifts that a change of all sources' colours would make, which is the visits' DCR.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.basis import SpectralBasis
from dcrflow.coadding.visits import Correction, VisitOnFrame

Float = NDArray[np.float64]
Image = NDArray[np.float32]
Name = tuple[int, int]

_MODEL_ERROR = 0.01  # of the model's light: no pixel of a bright star's core weighs more than this allows
_SIGNIFICANT = 4.0  # errors, of the typical visit, from which auto takes corrections
_LEAST_SHIFT, _LEAST_SCALE = 0.004, 5e-4  # pixels, and of the flux: of the typical visit, below it nothing is gained


def normal_equations(residual: Image, model: Image, use: Image, sigma: float) -> Float:
    """Normal equations of (scale, dy, dx, background) of one visit on one cell, shape (4, 5), right side last.

    Parameters
    ----------
    residual, model : ndarray of float32, shape (height, width)
        Data less model, and the model.
    use : ndarray of float32, shape (height, width)
        Weight of each pixel, 0 where there are no data.
    sigma : float
        Noise of the sky.
    """
    weight = use / (sigma**2 + (_MODEL_ERROR * model) ** 2)
    columns = np.stack([model, -_slope(model, 0), -_slope(model, 1), np.ones_like(model), residual])
    columns = columns.reshape(5, -1).astype(np.float64)
    return np.asarray((columns[:4] * weight.ravel()) @ columns.T)


def _slope(image: Image, axis: int) -> Image:
    """Derivative by differences of 8th order; periodic, so rims are wrong."""
    out = np.zeros_like(image)
    for k, c in enumerate((4 / 5, -1 / 5, 4 / 105, -1 / 280), start=1):
        out += np.float32(c) * (np.roll(image, -k, axis) - np.roll(image, k, axis))
    return out


def fit_corrections(
    equations: Iterable[Mapping[Name, Float]], visits: Sequence[VisitOnFrame], basis: SpectralBasis,
    before: Mapping[Name, Correction] | None = None,
) -> dict[Name, Correction]:  # fmt: skip
    """Scale and shift of every visit.

    Parameters
    ----------
    equations : iterable of mappings
        `CellSolution.calibration` of all cells, of one patch or of many.
    visits : sequence of VisitOnFrame
        Of them, for their DCR and weights.
    basis : SpectralBasis
        Of the band.
    before : mapping, optional
        What was applied when the equations were made; the result includes it.
    """
    total: dict[Name, Float] = {}
    for cell in equations:
        for name, part in cell.items():
            total[name] = total.get(name, 0.0) + part
    known = [v for v in visits if v.name in total and np.linalg.matrix_rank(total[v.name][:, :4]) == 4]
    if not known:
        return {}
    inverse = [np.linalg.inv(total[v.name][:, :4]) for v in known]
    found = np.array([i @ total[v.name][:, 4] for i, v in zip(inverse, known, strict=True)])[:, :3]
    error = np.array([np.sqrt(np.diag(i)) for i in inverse])[:, :3]
    found[:, 0] = 1.0 + found[:, 0]
    if before:
        for n, v in enumerate(known):
            old = before.get(v.name, Correction())
            found[n] = found[n, 0] * old.scale, found[n, 1] + old.dy, found[n, 2] + old.dx
    weight = np.array([v.sigma**-2 for v in known])
    found[:, 0] /= np.sum(weight * found[:, 0]) / np.sum(weight)
    found[:, 1:] = _without_colours(found[:, 1:], known, basis, np.sqrt(weight))
    return {
        v.name: Correction(float(f[0]), float(f[1]), float(f[2]), (float(e[0]), float(e[1]), float(e[2])))
        for v, f, e in zip(known, found, error, strict=True)
    }


def _without_colours(shift: Float, visits: Sequence[VisitOnFrame], basis: SpectralBasis, weight: Float) -> Float:
    """Shifts less what a common shift and a common change of colour would make, shape (num_visits, 2)."""
    num = len(visits)
    patterns = [np.tile([1.0, 0.0], num), np.tile([0.0, 1.0], num)]
    moments = [basis.nodes[:, 1:].T @ v.displacement.mean(axis=0) for v in visits]
    patterns.extend(np.moveaxis(np.array(moments), 1, 0).reshape(basis.num_terms - 1, 2 * num))
    both = np.repeat(weight, 2)
    matrix = np.array(patterns).T
    answer = np.linalg.lstsq(matrix * both[:, None], shift.ravel() * both, rcond=1e-6)[0]
    return np.asarray((shift.ravel() - matrix @ answer).reshape(num, 2))


def worth_it(corrections: Mapping[Name, Correction]) -> bool:
    """Whether corrections are larger than their errors, and large enough to matter."""
    if len(corrections) < 3:
        return False
    found = np.array([(c.scale - 1, c.dy, c.dx) for c in corrections.values()])
    error = np.array([c.error for c in corrections.values()])
    typical = np.sqrt(np.median((found / error) ** 2, axis=0))
    rms = np.sqrt(np.median(found**2, axis=0)) * 1.5
    large = rms > np.array([_LEAST_SCALE, _LEAST_SHIFT, _LEAST_SHIFT])
    return bool(np.any(large & (typical > _SIGNIFICANT)))
