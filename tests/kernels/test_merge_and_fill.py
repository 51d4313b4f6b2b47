"""Weighted means of overlapping pixels, and what happens around pixels without data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dcrflow.kernels.arrays import MaskedImage, RunningMean
from dcrflow.kernels.fill import fill_missing, mark_near_missing
from dcrflow.kernels.merge import is_positive, mean_of_two, merge_into

values = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))
variances = st.floats(0.0009765625, 1e6, width=32) | st.sampled_from([0.0, -1.0, float("nan"), float("inf")])


def merged(images: list[np.ndarray], noise: list[np.ndarray], masks: list[np.ndarray], equal: bool) -> RunningMean:
    shape = images[0].shape
    out = RunningMean(
        np.full(shape, np.nan),
        np.full(shape, np.nan, np.float32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.float32),
    )
    for image, variance, mask in zip(images, noise, masks, strict=True):
        merge_into(MaskedImage(image, variance, mask), equal, 0, 0, out)
    return out


@given(
    images=hnp.arrays(np.float32, (3, 4, 5), elements=values),
    noise=hnp.arrays(np.float32, (3, 4, 5), elements=variances),
    equal=st.booleans(),
)
def test_weights(images: np.ndarray, noise: np.ndarray, equal: bool) -> None:
    masks = np.broadcast_to(np.array([1, 2, 4], np.int32)[:, None, None], images.shape).copy()
    image, variance, mask, weight = merged(list(images), list(noise), list(masks), equal)
    good = np.isfinite(images) & np.isfinite(noise) & (noise > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        w = np.where(good, 1.0 if equal else np.where(good, noise, 1).astype(float) ** -0.5, 0)
        scale = np.abs(np.where(good, images, 0)).max(axis=0)
        expected = (np.where(good, images, 0) * w).sum(axis=0) / w.sum(axis=0)
        expected_variance = (np.where(good, noise, 0) * w).sum(axis=0) / w.sum(axis=0)
    some = good.any(axis=0)
    assert np.all(np.abs(image - expected)[some] <= 1e-6 * scale[some])
    largest = np.where(good, noise, 0).max(axis=0)  # the running mean is rounded to float32 on its way
    assert np.all(np.abs(variance - expected_variance)[some] <= 2e-7 * largest[some])
    np.testing.assert_array_equal(weight > 0, some)
    np.testing.assert_array_equal(mask, np.where(good, masks, 0).sum(axis=0))
    one = good.sum(axis=0) == 1
    np.testing.assert_array_equal(image[one], np.where(good, images, 0).sum(axis=0)[one])


@pytest.mark.parametrize("of_image", [np.float32, np.float64])
@pytest.mark.parametrize("of_mean", [np.float32, np.float64])
@pytest.mark.parametrize("equal", [False, True])
def test_wide_rows_as_narrow_ones(of_image: type, of_mean: type, equal: bool) -> None:
    rng = np.random.default_rng(3)
    shape = 6, 53
    whole, apart = (
        RunningMean(
            *(a.copy() for a in (np.full(shape, np.nan, of_mean), *np.zeros((3, *shape), np.float32)))
        )._replace(mask=np.zeros(shape, np.int32))
        for _ in range(2)
    )
    for number in range(3):
        image, variance = rng.normal(size=shape).astype(of_image), rng.uniform(0.1, 9, shape).astype(np.float32)
        image[rng.random(shape) < 0.2] = np.nan
        image[rng.random(shape) < 0.05] = np.inf
        variance[rng.random(shape) < 0.2] = rng.choice([0, -1, np.nan, np.inf])
        mask = rng.integers(0, 99, shape, np.int32)
        if number:
            image[:3, 16:32] = np.nan  # nobody else there
        merge_into(MaskedImage(image, variance, mask), equal, 0, 0, whole)
        for x in range(0, shape[1], 5):
            part = np.s_[:, x : x + 5]
            merge_into(MaskedImage(image[part], variance[part], mask[part]), equal, 0, x, apart)
    for a, b in zip(whole, apart, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("width", [7, 16, 45])
@pytest.mark.parametrize("bad", [0.0, -0.0, -1.0, np.nan, np.inf, -np.inf])
def test_is_positive(width: int, bad: float) -> None:
    stack = np.full((2, 5, 60), 1e-42, np.float32)
    stack[1, 3, 6 + width :] = np.finfo(np.float32).max
    stack[:, :, :6] = stack[:, 4] = bad
    for x in (6, 5 + width):
        stack[1, 3, x] = 3
        assert is_positive(stack, 1, 4, 6, 6 + width)
        stack[1, 3, x] = bad
        assert not is_positive(stack, 1, 4, 6, 6 + width)
        stack[1, 3, x] = 3


@given(
    images=hnp.arrays(np.float32, (2, 3, 17), elements=values),
    noise=hnp.arrays(np.float32, (2, 3, 17), elements=variances),
    equal=st.booleans(),
    fill=st.sampled_from([np.nan, 0.0]),
)
def test_mean_of_two_in_one_pass(images: np.ndarray, noise: np.ndarray, equal: bool, fill: float) -> None:
    masks = np.arange(images.size, dtype=np.int32).reshape(images.shape)
    mean = RunningMean(
        np.full((3, 17), np.nan, np.float32), np.full((3, 17), np.nan, np.float32),
        np.zeros((3, 17), np.int32), np.zeros((3, 17), np.float32),
    )  # fmt: skip
    two = [MaskedImage(*each) for each in zip(images, noise, masks, strict=True)]
    for each in two:
        merge_into(each, equal, 0, 0, mean)
    empty = mean.weight == 0
    mean.image[empty] = mean.variance[empty] = fill
    mean.mask[empty] = 1 << 20 | masks[0][empty] | masks[1][empty]
    out = MaskedImage(np.full((6, 30), 7, np.float32), np.full((6, 30), 7, np.float32), np.full((6, 30), 7, np.int32))
    mean_of_two(*two, equal, np.float32(fill), np.int32(1 << 20), 2, 9, out)
    for found, expected in zip(out, mean, strict=False):
        np.testing.assert_array_equal(found[2:5, 9:26], expected)
        assert np.sum(found == 7) >= 6 * 30 - 3 * 17  # the rest is as it was


def test_fill_is_smooth_and_local() -> None:
    y, x = np.mgrid[:60, :70]
    plane = 3.0 + 0.01 * y - 0.02 * x
    known = np.ones(plane.shape, np.uint8)
    known[20:32, 25:40] = 0
    filled = np.where(known, plane, np.nan)
    assert fill_missing(filled, known, 24) == 12 * 15
    np.testing.assert_array_equal(filled[known == 1], plane[known == 1])
    assert np.abs(filled - plane).max() < 0.15  # within what the plane varies across the hole
    again = np.where(known, plane, np.inf)[10:45, 15:55].copy()
    fill_missing(again, known[10:45, 15:55].copy(), 24)
    np.testing.assert_array_equal(again, filled[10:45, 15:55])


def test_fill_of_a_constant_is_the_constant() -> None:
    image = np.full((40, 40), np.nan)
    image[:5] = 7.0
    known = np.isfinite(image).view(np.uint8)
    fill_missing(image, known, 10)
    assert np.all(image[:15] == 7)
    assert np.all(image[15:] == 0)


def test_all_or_nothing() -> None:
    image = np.full((5, 5), np.nan)
    assert fill_missing(image, np.zeros((5, 5), np.uint8), 3) == 25
    assert np.all(image == 0)
    assert fill_missing(image, np.ones((5, 5), np.uint8), 3) == 0


@given(known=hnp.arrays(np.bool_, (9, 11), elements=st.booleans()), radius=st.integers(0, 5))
def test_marks_against_brute_force(known: np.ndarray, radius: int) -> None:
    mask = np.zeros(known.shape, np.int32)
    mark_near_missing(known.view(np.uint8), radius, 4, mask)
    expected = np.zeros_like(mask)
    for y, x in np.argwhere(~known):
        expected[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] = 4
    np.testing.assert_array_equal(mask, expected)
