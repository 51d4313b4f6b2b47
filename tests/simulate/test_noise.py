"""Noise and defects by seed and place."""

import numpy as np
import pytest

from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.geometry.box import Box
from dcrflow.simulate.noise import coadd_defects, detector_defects, observed, plane, white_noise


def test_noise_is_the_same_wherever_a_pixel_is_seen_from() -> None:
    whole = Box(-300, 500, 700, 600)
    part = Box(-10, 700, 300, 333)
    noise = white_noise((1, 2, 3), whole)
    np.testing.assert_array_equal(white_noise((1, 2, 3), part), noise[part.slices(whole)])
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert abs(noise.mean()) < 0.01
    assert abs(np.corrcoef(noise.ravel(), white_noise((1, 2, 4), whole).ravel())[0, 1]) < 0.01


def test_variance_is_the_noise_that_is_put_in() -> None:
    box = Box(0, 0, 400, 400)
    sky = np.full(box.shape, 1000.0)
    image, variance, mask = observed(sky, (5,), box, noise=20.0, gain=2.0)
    np.testing.assert_allclose(variance, 20.0**2 + 1000 / 2)
    assert np.var(image) == pytest.approx(900, rel=0.02)
    assert np.all(mask == plane("DETECTED"))
    image, variance, mask = observed(0 * sky, (5,), box, noise=0.0, gain=2.0)
    assert not image.any()
    assert not mask.any()
    assert np.all(variance == 1)


def test_defects_of_a_part_are_those_of_the_whole() -> None:
    whole, part = Box(1000, 300, 1500, 1500), Box(1400, 700, 612, 612)
    a, b = (coadd_defects((7,), whole, box, 60.0) for box in (whole, part))
    for name in ("missing", "mask", "added"):
        np.testing.assert_array_equal(getattr(b, name), getattr(a, name)[part.slices(whole)])
    assert a.missing.any()
    np.testing.assert_array_equal(a.missing, (a.mask & plane("NO_DATA")) != 0)
    assert (a.mask & plane("SAT")).any()


def test_detector_defects_are_flagged() -> None:
    found = detector_defects((7,), Box(0, 0, 1000, 1000), 12.0)
    np.testing.assert_array_equal(found.missing, (found.mask & plane("BAD")) != 0)
    np.testing.assert_array_equal(found.added > 0, (found.mask & plane("CR")) != 0)
    assert found.missing.any()
    assert found.added.any()


def test_planes_are_the_standard_ones() -> None:
    assert plane("BAD", "SAT") == (1 << STANDARD_PLANES["BAD"]) | (1 << STANDARD_PLANES["SAT"])
