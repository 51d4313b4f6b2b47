"""The catalogue."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from dcrflow.simulate.projection import tangent_plane
from dcrflow.simulate.sky import Catalogue, isolated_points, random_sky

SETTINGS = {
    "star_density": 6.0,
    "galaxy_density": 5.0,
    "star_magnitudes": (17.0, 23.0),
    "galaxy_magnitudes": (20.0, 24.0),
    "separation": 9.0,
}


def make(seed: int) -> Catalogue:
    return random_sky(np.random.default_rng(seed), (53.0, -28.0), (900.0, 600.0), **SETTINGS)  # type: ignore[arg-type]


def test_equal_seeds_equal_skies() -> None:
    a, b, c = make(4), make(4), make(5)
    for name in a.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert not np.array_equal(a.ra[: len(c)], c.ra[: len(a)])


def test_stars_keep_their_distance_and_density() -> None:
    sky = make(4)
    stars = sky[sky.half_light_radius == 0]
    east, north = tangent_plane(53.0, -28.0, stars.ra, stars.dec)
    distances, _ = cKDTree(np.stack([east, north], axis=1)).query(np.stack([east, north], axis=1), k=2)
    assert distances[:, 1].min() >= 9.0 - 1e-6
    assert len(stars) == pytest.approx(900 * 600 / 3600 * 6, rel=0.1)
    assert np.abs(east).max() <= 460
    assert np.abs(north).max() <= 310


def test_magnitudes_are_within_their_limits_and_in_the_table() -> None:
    sky = make(4)
    table = sky.table()
    is_star = sky.half_light_radius == 0
    magnitude = table["magnitude"].value
    assert 17.0 <= magnitude[is_star].min() <= magnitude[is_star].max() <= 23.0
    assert 20.0 <= magnitude[~is_star].min() <= magnitude[~is_star].max() <= 24.0
    assert str(table["flux"].unit) == "nJy"
    assert len(table) == len(sky)


def test_no_density_no_points() -> None:
    assert len(isolated_points(np.random.default_rng(1), 10, 10, 0.0, 1.0)[0]) == 0
