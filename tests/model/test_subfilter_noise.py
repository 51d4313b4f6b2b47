"""What stores say of their subfilters' noise is checked, and survives being written."""

import json
from typing import Any

import numpy as np
import pytest

from dcrflow.model.subfilter_noise import SubfilterNoise

GOOD: dict[str, Any] = {"shares": [0.25, 0.75], "correlation": [[0.0, 0.2, 0.0], [0.4, 1.0, 0.4], [0.0, 0.2, 0.0]]}


def test_it_survives_being_written() -> None:
    noise = SubfilterNoise.of(np.array(GOOD["shares"]), np.array(GOOD["correlation"]))
    assert SubfilterNoise.from_attribute(json.loads(json.dumps(noise.as_attribute())), 2) == noise
    assert noise.as_attribute() == GOOD


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shares": [1.0]}, "expected 2 shares"),
        ({"shares": [0.5, 0.6]}, "add up to 1"),
        ({"shares": [-0.5, 1.5]}, "none negative"),
        ({"shares": [float("nan"), 1.0]}, "add up to 1"),
        ({"shares": "ab"}, "of numbers"),
        ({"correlation": None}, "of numbers"),
        ({"correlation": [[1.0, 0.0], [0.0, 1.0]]}, "odd side"),
        ({"correlation": [[1.0] * 3]}, "square"),
        ({"correlation": []}, "odd side"),
        ({"correlation": [[0.5]]}, "1 in the middle"),
        ({"correlation": [[0, 0, 0], [0, 1, float("nan")], [0, 0, 0]]}, "none beyond 1"),
        ({"correlation": [[0, 0, 0], [0, 1, 5], [0, 0, 0]]}, "none beyond 1"),
        ({"correlation": [[0, 0, 0], [0, 1, 0.5], [0, 0, 0]]}, "symmetric"),
        ({"correlation": [[-1, -1, -1], [-1, 1, -1], [-1, -1, -1]]}, "no negative power"),
        ({"shares": [10**400, 0]}, "of numbers"),
        ({"correlation": [[10**400]]}, "of numbers"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SubfilterNoise.from_attribute(GOOD | changes, 2)


@pytest.mark.parametrize("value", [3, "text", [1, 2], {}])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        SubfilterNoise.from_attribute(value, 2)
