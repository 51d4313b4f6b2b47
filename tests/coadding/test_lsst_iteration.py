"""What LSST's iteration reaches on the scene on which `test_coadd_solution` asks for sixty."""

import numpy as np
import pytest

pytest.importorskip("galsim")

from benchmarks.lsst_coadds import iterate

from dcrflow.demo.coadd_scene import coadd_scene, pointings
from dcrflow.demo.coadd_suppression import suppression


def test_lsst_iteration_makes_residuals_a_few_times_smaller() -> None:
    scene = coadd_scene(5, 210, ("1e4",))
    at = pointings(5, 8)
    shifts = [scene.basis.weights.T @ scene.displacements(p, scene.basis.wavelength) for p in at]
    found = iterate([scene.draw(p) for p in at], shifts)
    gains = {angle: without / left for (_, angle), (without, left) in suppression(found, scene).items()}
    assert 1 < gains[45.0] < 10
    assert np.all(np.array(list(gains.values())) < 12)
