"""Which patches' kernels make the PSF at a position."""

import numpy as np
from numpy.testing import assert_allclose
from scenes import tan

from dcrflow.geometry.box import Box
from dcrflow.geometry.node_patches import NodePatches

WCS = tan(100.0, 100.0, 0.0)
KERNELS = np.stack([np.full((3, 3), 1 / 9), np.eye(3) / 3])


def owners() -> NodePatches:
    """Two patches that overlap in columns 100 to 119; a node on each."""
    return NodePatches(WCS, np.array([0, 1]), [(Box(0, 0, 120, 200), WCS), (Box(100, 0, 100, 200), WCS)])


def test_the_mean_over_the_patches_that_contain_a_position() -> None:
    x, y = np.array([50.0, 150.0]), np.array([90.0, 90.0])
    for place, expected in (
        (99.0, KERNELS[0]),
        (110.0, KERNELS.mean(axis=0)),
        (119.4, KERNELS.mean(axis=0)),
        (121.0, KERNELS[1]),
    ):
        assert_allclose(owners().kernel_at(KERNELS, x, y, place, 80.0), expected, atol=1e-12)


def test_between_all_nodes_where_no_patch_is() -> None:
    x, y = np.array([50.0, 150.0]), np.array([90.0, 90.0])
    assert_allclose(owners().kernel_at(KERNELS, x, y, 500.0, 90.0), KERNELS[1], atol=1e-12)


def test_it_comes_back_from_json() -> None:
    found = NodePatches.of(**owners().as_json())
    assert found.as_json() == owners().as_json()
