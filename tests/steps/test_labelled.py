"""A step's errors say which step failed, and on what."""

import pickle

import pytest

from dcrflow.steps.labelled import LabelledStep


def fail(number: int) -> int:
    """Fail unless the number is 0."""
    return 1 // (number == 0)


def test_result_and_note() -> None:
    step = pickle.loads(pickle.dumps(LabelledStep(fail, "visit 12 detector 3")))
    assert step(0) == 1
    with pytest.raises(ZeroDivisionError) as raised:
        step(2)
    assert raised.value.__notes__ == ["in fail of visit 12 detector 3"]
