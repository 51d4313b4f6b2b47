"""Margins and filter degrees of every method and warp."""

from itertools import product
from typing import get_args

import pytest

from dcrflow.kernels.interpolation import INTERPOLATIONS
from dcrflow.model.config import DcrMethod, TemplateConfig
from dcrflow.planning.margins import Margins


@pytest.mark.parametrize(("dcr", "warp"), list(product(get_args(DcrMethod), INTERPOLATIONS)))
def test_every_base_is_undone_once(dcr: str, warp: str) -> None:
    """The DCR kernels' B-spline either on the patches or on the merged tract, that of a spline warp on the tract."""
    margins = Margins.of(TemplateConfig(dcr=dcr, warp=warp), 5)
    of_warp = [d for d in (INTERPOLATIONS[warp].degree,) if d]
    assert sorted(margins.merged_degrees + margins.patch_degrees) == sorted([5, *of_warp])
    assert margins.as_lsst == (dcr == "split" and not of_warp)
    assert margins.merge == (0 if margins.as_lsst else {(5,): 30, (3, 5): 30, (5, 5): 32}[margins.merged_degrees])
    assert margins.read == (30 if margins.as_lsst else margins.merge)
    assert margins.warp == INTERPOLATIONS[warp].margin


def test_lsst_edges() -> None:
    """By LSST's convention alone: method, warp and rotation."""
    as_lsst = {"dcr": "split", "warp": "lanczos3", "rotation": "boresight"}
    assert Margins.of(TemplateConfig(**as_lsst), 3).lsst_edges
    for change in ({"dcr": "midpoint"}, {"warp": "spline3"}, {"rotation": "local"}):
        assert not Margins.of(TemplateConfig(**as_lsst | change), 3).lsst_edges
