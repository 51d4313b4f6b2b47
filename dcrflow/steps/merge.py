"""The patches of a tract, merged: a running weighted mean on the strips that a tile needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.workspace import Workspace
from dcrflow.geometry.box import Box
from dcrflow.kernels.arrays import MaskedImage, RunningMean
from dcrflow.kernels.merge import is_whole, merge_into, valid_masks
from dcrflow.planning.template import TemplatePlan
from dcrflow.planning.tiles import TilePart
from dcrflow.steps.strips import strips_merged

Bool = NDArray[np.bool_]


class Matched(NamedTuple):
    """A DCR-matched region of a patch: image of float64; NaN where there are no data."""

    box: Box
    pixels: MaskedImage


class Part(NamedTuple):
    """Part of a strip, the number of the area that it lies in, and whether the mean begins there."""

    area: int
    box: Box
    begins: bool


class MergedTract:
    """The running mean of a tract's patches on some strips; anything outside them.

    Parameters
    ----------
    box : Box
        The region of the arrays, tract pixels.
    strips : sequence of Box
        The parts of it that are wanted, from top to bottom, one above the other.
    equal : bool
        Whether all patches weigh the same.
    workspace : Workspace
        Lends the arrays, `mean` and what `valid_masks` returns.
    kept : sequence of Box, optional
        Strips above the others whose pixels the workspace's arrays have already; they are left as they are.
    names : tuple of str, optional
        Of the arrays in the workspace: of image, weight and masks, and of variance and mask.
    """

    def __init__(
        self,
        box: Box,
        strips: Sequence[Box],
        equal: bool,
        workspace: Workspace,
        kept: Sequence[Box] = (),
        names: tuple[str, str] = ("merge", "merge"),
    ) -> None:
        self.box, self.strips, self.equal = box, tuple(strips), equal
        self.kept, self._workspace, self._name = tuple(kept), workspace, names[0]
        self.mean = RunningMean(
            workspace.array(f"{names[0]}: image", box.shape, np.float64),
            workspace.array(f"{names[1]}: variance", box.shape, np.float32),
            workspace.array(f"{names[1]}: mask", box.shape, np.int32),
            workspace.array(f"{names[0]}: weight", box.shape, np.float32),
        )
        #: Whether all pixels have weight that are begun; it may be False if they have.
        self.is_whole = True
        self._begun: list[list[Box]] = [[] for _ in self.strips]  # by strip, its parts

    @classmethod
    def of(cls, plan: TemplatePlan, part: TilePart, workspace: Workspace) -> MergedTract:
        """For a tile's part of a tract; nothing is merged yet."""
        box = part.region.grown(plan.margins.merge)
        return cls(box, strips_merged(plan, part), plan.config.combine == "mean", workspace)

    def begin(self, areas: Sequence[Box]) -> list[Part]:
        """The parts of the strips that lie in some areas, which do not overlap; area by area.

        The caller begins the mean where nothing was merged before. That is noted as done.
        """
        found = []
        for number, area in enumerate(areas):
            for strip, begun in zip(self.strips, self._begun, strict=True):
                if not strip.overlaps(area):
                    continue
                box = strip.intersection(area)
                old = [part.intersection(box) for part in begun if part.overlaps(box)]
                new = box.without(old) if old else [box]
                found += [Part(number, part, False) for part in old] + [Part(number, part, True) for part in new]
                begun += new
        return found

    def clear(self) -> None:
        """Clear what of the strips is not begun."""
        for strip, begun in zip(self.strips, self._begun, strict=True):
            for rest in strip.without(begun):
                where = rest.slices(self.box)
                self.mean.image[where] = np.nan
                self.mean.mask[where] = self.mean.weight[where] = 0
                self.is_whole = False
            begun[:] = [strip]

    def add(self, matched: Matched) -> None:
        """Merge a matched region."""
        self.clear()
        self.merge(matched)

    def merge(self, matched: Matched) -> None:
        """Merge a matched region where the mean is begun."""
        y0, x0 = matched.box.y0 - self.box.y0, matched.box.x0 - self.box.x0
        merge_into(matched.pixels, self.equal, y0, x0, self.mean)

    def valid_masks(self, always: bool = False) -> tuple[Bool, Bool] | None:
        """Where the image is finite, and where something has weight; None if both hold on all strips, unless `always`.

        If they do not, all arrays become zero outside the strips, and the variance where nothing has weight.
        """
        self.clear()
        within = self._in_arrays(self.strips)
        whole = (is_whole(self.mean.image, self.mean.weight, at.y0, at.y1, at.x0, at.x1) for at in within)
        if not always and (self.is_whole or all(whole)):
            return None
        finite = self._workspace.array(f"{self._name}: finite", self.box.shape, np.bool_)
        weighed = self._workspace.array(f"{self._name}: weighed", self.box.shape, np.bool_)
        finite.fill(True)
        weighed.fill(True)
        self.clear_outside()
        for at in within:
            valid_masks(self.mean, at.y0, at.y1, at.x0, at.x1, finite, weighed)
        return finite, weighed

    def clear_outside(self) -> None:
        """Make image, variance and mask zero outside the strips."""
        for array in (self.mean.image, self.mean.variance, self.mean.mask):
            done = 0
            for at in (*self._in_arrays(self.kept), *self._in_arrays(self.strips)):
                array[done : at.y0] = 0
                array[at.y0 : at.y1, : at.x0] = array[at.y0 : at.y1, at.x1 :] = 0
                done = at.y1
            array[done:] = 0

    def _in_arrays(self, strips: Sequence[Box]) -> list[Box]:
        return [strip.moved(-self.box.x0, -self.box.y0) for strip in strips]
