"""What the holes of visits say of each other: a sparse matrix, with which they are filled in one go.

The value v_i of a hole changes the solution of the cell without holes, and so what the visits show in other holes:

    v = p + G W v,      G_ij = (F^-1 T_v (A + L)^-1 T_u^H F)(x_i - x_j)

with pixel i of visit v and j of visit u, W the visits' weights, and p what is predicted from all other pixels. G falls
off within a few PSF widths, so it is sparse, and is computed from one small image for each pair of visits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.holes import Unknowns, Vector
from dcrflow.coadding.ladder import System
from dcrflow.coadding.small_grid import SmallGrid
from dcrflow.coadding.transfer import backward
from dcrflow.kernels.fourier import predict_each
from dcrflow.kernels.hole_pairs import LANES, find_runs, multiply_pairs, pair_values
from dcrflow.kernels.hole_pixels import crop_round

_MOST, _DENSEST = 6_000_000, 24  # pairs, and pairs a pixel of the cell; above both, there is no such matrix
_MOST_VISITS = 120  # their pairs take 75 MB
_ENOUGH = 3e-3  # noise units of a visit; smaller errors of a hole do not matter
_EXACT = 1e-4  # of the largest error of a hole before; the matrix, which is cut off, is not more exact
_ROUNDS = 200

Pairs = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], Vector]


class Neighbours:
    """The matrix G of a cell's holes; make it with `of`.

    Parameters
    ----------
    order : ndarray of int64
        The unknowns, row by row.
    pairs : tuple of ndarray
        The upper triangle of G, from `find_runs` and `pair_values`.
    scale : ndarray of float32
        Square roots of the weights, in this order.
    diagonal : ndarray of float32
        1 + e in this order; see `dcrflow.coadding.exact`.
    responses : Responses
        What it was made of.
    """

    def __init__(
        self, order: NDArray[np.int64], pairs: Pairs, scale: Vector, diagonal: Vector, responses: Responses
    ) -> None:  # fmt: skip
        self.order, self.pairs, self.scale, self.diagonal = order, pairs, scale, diagonal
        self.responses = responses

    @classmethod
    def of(
        cls, unknowns: Unknowns, small: SmallGrid, system: System, q: float, ridge: Vector,
        before: Responses | None = None,
    ) -> Neighbours | None:  # fmt: skip
        """The matrix for a prior with power q, and e of each hole; None if it has too many elements.

        `before` are the responses of an earlier matrix, which are used again if they are those of all these visits.
        """
        most = max(_MOST, _DENSEST * unknowns.visits.side**2)
        if len(unknowns.pixels) > _MOST_VISITS or len(unknowns) > most:
            return None
        order = np.argsort(unknowns.places, kind="stable")
        y, x = np.divmod(unknowns.places[order], np.int32(unknowns.visits.side))
        of, reach = np.empty(len(order) + 1, np.int64), small.reach
        start, number = np.empty((2, min(len(order) * (reach + 1), most)), np.int32)
        if find_runs(y, x, reach, most, of, start, number) > most:
            return None
        start, number = start[: of[-1]].copy(), number[: of[-1]].copy()
        value = np.empty(int(np.sum(-(-number // LANES))) * LANES, np.float32)
        who = [p.member.place for p in unknowns.pixels]
        if before is None or not before.know(q, who):
            before = Responses.of(who, small, system, q)
        number_of = np.array([before.visits.index(place) for place in who], np.int32)
        pair_values(y, x, number_of[unknowns.who[order]], before.values, of, start, number, value)
        return cls(order, (of, start, number, value), np.sqrt(unknowns.weights[order]), 1 + ridge[order], before)

    def solve(self, rest: Vector) -> Vector:
        """Change of the holes' values with which they agree with the prediction, if they differ from it by `rest` now.

        Conjugate gradients for (1 + e - G W) change = rest.
        """
        residual = self.scale * rest[self.order]
        answer, num = np.zeros_like(residual), len(residual)
        weighted, multiplied = np.zeros(num + LANES, np.float32), np.empty(num + LANES, np.float32)
        direction, power = residual.copy(), float(residual @ residual)
        enough = max(_ENOUGH, _EXACT * float(np.max(np.abs(residual), initial=0.0)))
        for _ in range(_ROUNDS):
            if np.max(np.abs(residual)) < enough:
                break
            np.multiply(self.scale, direction, out=weighted[:num])
            multiply_pairs(*self.pairs, weighted, multiplied)
            product = self.diagonal * direction - self.scale * multiplied[:num]
            along = float(direction @ product)
            if along <= 0:
                break
            step = np.float32(power / along)
            answer += step * direction
            residual -= step * product
            before, power = power, float(residual @ residual)
            direction *= np.float32(power / before)
            direction += residual
        out = np.empty_like(answer)
        out[self.order] = answer / self.scale
        return out


@dataclass(frozen=True, eq=False)
class Responses:
    """Of each of some visits' pixels to a hole of each other.

    Parameters
    ----------
    q : float
        Power of the prior.
    visits : list of int
        Numbers of the visits.
    values : ndarray of float32, shape (number of pairs, 2 reach + 1, 2 reach + 1)
        As `pair_values` takes them.
    """

    q: float
    visits: list[int]
    values: Vector

    def know(self, q: float, visits: list[int]) -> bool:
        """Whether they are right for this prior and these visits."""
        return q == self.q and set(visits) <= set(self.visits)

    @classmethod
    def of(cls, which: list[int], small: SmallGrid, system: System, q: float) -> Responses:
        """The responses of some visits, on a small grid."""
        visits, reach = small.transfers[which], small.reach
        normal = system.normal[:, :: small.step, :: small.step].copy()
        here = System(normal, visits[0, 0], system.prior)  # no output PSF is needed
        out = np.empty((len(visits) * (len(visits) + 1) // 2, 2 * reach + 1, 2 * reach + 1), np.float32)
        number = np.arange(len(visits))
        for u, one in enumerate(visits):
            seen_as = np.empty((len(visits) - u, *one.shape[1:]), np.complex64)
            predict_each(visits[u:], here.solve(np.conj(one), q), seen_as)
            cropped = np.empty((len(seen_as), *out.shape[1:]), np.float32)
            crop_round(backward(seen_as), reach, cropped)
            out[number[u:] * (number[u:] + 1) // 2 + u] = cropped
        return cls(q, which, out)
