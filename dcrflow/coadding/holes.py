"""Holes where there is light: pixels of visits whose values are found together with the sky.

Holes are few where there is light, so what visits show there is computed in real space: the sky is transformed once
for all visits, and each hole costs the product of the sky around it with the visit's response. The adjoint, which all
visits add to the same images, costs the same. A visit with many such holes is transformed as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.cell_visits import CellVisits, Member
from dcrflow.coadding.small_grid import Response, SmallGrid
from dcrflow.coadding.transfer import Transform, backward, forward, in_blocks
from dcrflow.kernels.hole_pixels import fold, pad_periodically, see_pixels, spread_pixels

Image = NDArray[np.float32]
Vector = NDArray[np.float32]
Places = NDArray[np.int32]

MANY = 4.0  # holes of a visit times pieces of its response, a pixel of the cell; with more, transforms are faster
_NEGLIGIBLE = 1e-3  # noise units; what the holes of a visit spread farther away, and all together is less, is left out


@dataclass(frozen=True, eq=False)
class Pixels:
    """Holes of one visit.

    Parameters
    ----------
    member : Member
        The visit.
    places : ndarray of int32
        Indices of the flattened image.
    response : Response
        The visit's response.
    """

    member: Member
    places: Places
    response: Response


class Unknowns:
    """Holes of the visits of a cell whose values are to be found; vectors hold those of all visits, one after another.

    Parameters
    ----------
    visits : CellVisits
        The visits.
    places : dict
        The holes, by the visit's number.
    small : SmallGrid
        Gives the visits' responses.
    """

    def __init__(self, visits: CellVisits, places: dict[int, Places], small: SmallGrid) -> None:
        self.visits = visits
        self.pixels = [Pixels(visits.members[n], some, small.responses[n]) for n, some in places.items() if len(some)]

    def __len__(self) -> int:
        return sum(self._numbers)

    @cached_property
    def weights(self) -> Vector:
        """The weight of each."""
        return np.repeat(np.array([p.member.weight for p in self.pixels], np.float32), self._numbers)

    @cached_property
    def places(self) -> Places:
        """The place of each."""
        return np.concatenate([p.places for p in self.pixels])

    @cached_property
    def who(self) -> Places:
        """The number of its visit in `pixels` of each."""
        return np.repeat(np.arange(len(self.pixels), dtype=np.int32), self._numbers)

    @property
    def _numbers(self) -> list[int]:
        return [len(p.places) for p in self.pixels]

    def parts(self, vector: Vector) -> Iterator[tuple[Pixels, Vector]]:
        """A vector, visit by visit."""
        ends = np.cumsum(self._numbers)
        for pixels, end in zip(self.pixels, ends, strict=True):
            yield pixels, vector[end - len(pixels.places) : end]

    def seen(self, sky: Transform) -> Vector:
        """What the visits show of a sky: T_v s at each hole."""
        out, side, pad = np.empty(len(self), np.float32), self.visits.side, self._pad
        few = [len(p.places) * len(p.response.values) <= MANY * side * side for p in self.pixels]
        padded = self._padded(pad)
        if any(few):
            for term, part in zip(sky, padded, strict=True):
                pad_periodically(backward(term)[None], pad, part[None])
        blocks = None if all(few) else in_blocks(sky)
        for directly, (pixels, part) in zip(few, self.parts(out), strict=True):
            if blocks is None or directly:
                response = pixels.response
                see_pixels(padded, response.offsets(side, pad), response.values, pixels.places, side, pad, part)
            else:
                part[:] = self.visits.read(pixels.member).transfer.shown(blocks).ravel()[pixels.places]
        return out

    def spread(self, vector: Vector) -> Transform:
        """The adjoint of `seen`, with weights: sum of w_v T_v^H F of images with these values in the holes, else 0."""
        side, pad, num = self.visits.side, self._pad, self.visits.basis.num_terms
        out = np.zeros((num, side, side // 2 + 1), np.complex64)
        padded, some = self._padded(pad), False
        for pixels, part in self.parts(vector):
            weight, response = pixels.member.weight, pixels.response
            together = float(np.sum(np.abs(part))) / pixels.member.sigma  # the most that holes may add up to
            pieces = response.number(_NEGLIGIBLE / max(together, _NEGLIGIBLE))
            if len(pixels.places) * pieces <= MANY * side * side:
                if not some:
                    padded[...] = 0
                some, offsets = True, response.offsets(side, pad)[:pieces]
                spread_pixels(
                    part * np.float32(weight), offsets, response.values[:pieces], pixels.places, side, pad, padded
                )
            else:
                image = np.zeros(side * side, np.float32)
                image[pixels.places] = part
                seen = self.visits.read(pixels.member)
                seen.transfer.add_adjoint(image.reshape(side, side), weight, out)
        if some:
            folded = np.empty((1, side, side), np.float32)
            for part, to in zip(padded, out, strict=True):
                fold(part[None], pad, folded)
                to += forward(folded[0])
        return out

    @property
    def _pad(self) -> int:
        return max((p.response.reach for p in self.pixels), default=0)

    def _padded(self, pad: int) -> Image:
        side = self.visits.side + 2 * pad
        return np.asarray(
            self.visits.workspace.array("holes: padded sky", (self.visits.basis.num_terms, side, side), np.float32)
        )
