"""Self-calibration: flux scale and shift of every visit, fitted to the model that all visits share.

The residual of a visit is fitted with a m - dy dm/dy - dx dm/dx + c, where m is the model of the visit. The 4 x 5
normal equations (`dcrflow.kernels.coadd_pixels.calibration_sums`) are summed over cells and patches. Two things cannot
be determined from the data and are removed from the result: the weighted means over the visits, and the pattern of
shifts that a change of the colours of all sources would cause. This pattern is the DCR of the visits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.basis import SpectralBasis
from dcrflow.coadding.visits import Correction, VisitOnFrame

Float = NDArray[np.float64]
Name = tuple[int, int]

_SIGNIFICANT = 4.0  # standard errors; with `auto`, corrections of a typical visit must exceed this to be applied
_LEAST_SHIFT, _LEAST_SCALE = 0.004, 5e-4  # pixels and relative flux: smaller typical corrections bring no gain


def fit_corrections(
    equations: Iterable[Mapping[Name, Float]], visits: Sequence[VisitOnFrame], basis: SpectralBasis,
    before: Mapping[Name, Correction] | None = None,
) -> dict[Name, Correction]:  # fmt: skip
    """Fit scale and shift of every visit.

    Parameters
    ----------
    equations : iterable of mappings
        `CellSolution.calibration` of all cells, of one or more patches.
    visits : sequence of VisitOnFrame
        The visits, which give DCR and weights.
    basis : SpectralBasis
        Basis of the band.
    before : mapping, optional
        Corrections that were applied when the equations were computed; the result includes them.
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
    """Shifts without the part caused by a common shift or a common change of colour, shape (num_visits, 2)."""
    num = len(visits)
    patterns = [np.tile([1.0, 0.0], num), np.tile([0.0, 1.0], num)]
    moments = [basis.nodes[:, 1:].T @ v.displacement.mean(axis=0) for v in visits]
    patterns.extend(np.moveaxis(np.array(moments), 1, 0).reshape(basis.num_terms - 1, 2 * num))
    both = np.repeat(weight, 2)
    matrix = np.array(patterns).T
    answer = np.linalg.lstsq(matrix * both[:, None], shift.ravel() * both, rcond=1e-6)[0]
    return np.asarray((shift.ravel() - matrix @ answer).reshape(num, 2))


def worth_it(corrections: Mapping[Name, Correction]) -> bool:
    """Whether corrections are significant, and large enough to matter."""
    if len(corrections) < 3:
        return False
    found = np.array([(c.scale - 1, c.dy, c.dx) for c in corrections.values()])
    error = np.array([c.error for c in corrections.values()])
    typical = np.sqrt(np.median((found / error) ** 2, axis=0))
    rms = np.sqrt(np.median(found**2, axis=0)) * 1.5
    large = rms > np.array([_LEAST_SCALE, _LEAST_SHIFT, _LEAST_SHIFT])
    return bool(np.any(large & (typical > _SIGNIFICANT)))
