"""Mask planes as CF attributes have them, and as programs that are not ours write them."""

import numpy as np
import pytest

from dcrflow.base.masks import planes_from_attributes

PLANES = {"BAD": 0, "SAT": 1, "NO_DATA": 8, "mine": 9}
MASKS = [1, 2, 256, 512]


@pytest.mark.parametrize(
    "meanings",
    [
        "BAD SAT NO_DATA mine", "BAD,SAT,NO_DATA,mine", "BAD, SAT, NO_DATA, mine", "BAD;SAT;NO_DATA;mine",
        " bad sat  no_data mine\n", ["BAD", "SAT", "NO_DATA", "mine"], ("BAD", " SAT", "NO_DATA", "mine"),
        np.array(["BAD", "SAT", "NO_DATA", "mine"]),
        '["BAD", "SAT", "NO_DATA", "mine"]', "MP_BAD MP_SAT MP_NO_DATA mine",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "masks", [MASKS, np.array(MASKS), [np.int32(m) for m in MASKS], "1, 2, 256, 512", [1.0, 2.0, 256.0, 512.0]]
)
def test_flags_are_read_as_they_are_meant(meanings: object, masks: object) -> None:
    assert planes_from_attributes({"flag_meanings": meanings, "flag_masks": masks}) == PLANES


def test_one_flag_and_none() -> None:
    assert planes_from_attributes({"flag_meanings": "NO_DATA", "flag_masks": 256}) == {"NO_DATA": 8}
    assert planes_from_attributes({}) == {}


@pytest.mark.parametrize(
    ("meanings", "masks", "said"),
    [
        ("BAD SAT", [1], "2 flag_meanings but 1 flag_masks"),
        ("BAD bad", [1, 2], "BAD twice"),
        (["BAD", "NO DATA"], [1, 2], "without blanks"),
        ([["BAD"], "SAT"], [1, 2], "without blanks"),
        (["BAD", 3], [1, 2], "without blanks"),
        ("BAD SAT", [1, 3], "not a single bit"),
        ("BAD SAT", [1, "x"], "a bit's value"),
        ("BAD SAT", [1, 2.5], "a bit's value"),
        ("BAD SAT", [1, None], "a bit's value"),
        ("[BAD, SAT]", [1, 2], "expected names"),
        ({"BAD": 1}, [1], "without blanks"),
        ("'BAD' 'SAT'", [1, 2], "without blanks and quotes"),
        ("(BAD SAT)", [1, 2], "without blanks and quotes"),
        ("BAD SAT", [1, 1], "1 for BAD and for SAT"),
    ],
)
def test_what_cannot_be_read_so_is_refused(meanings: object, masks: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        planes_from_attributes({"flag_meanings": meanings, "flag_masks": masks})


def test_flags_that_together_are_a_number_are_refused() -> None:
    one = {"flag_meanings": "BAD SAT", "flag_masks": [1, 2]}
    assert planes_from_attributes({**one, "flag_values": [1, 2]}) == {"BAD": 0, "SAT": 1}
    with pytest.raises(ValueError, match="flag_values"):
        planes_from_attributes({"flag_meanings": "BAD SAT", "flag_masks": [3, 3], "flag_values": [1, 2]})


def test_two_spellings_of_a_plane_may_have_one_bit() -> None:
    found = planes_from_attributes({"flag_meanings": "SAT SATURATED BAD", "flag_masks": [2, 2, 1]})
    assert found == {"SAT": 1, "SATURATED": 1, "BAD": 0}
