"""IDs of detector-visits."""

import pytest
from scenes import visit


@pytest.mark.parametrize("value", [0, 2**63 - 1])
def test_what_a_table_can_hold_is_an_id(value: int) -> None:
    assert (visit(visit=value).visit, visit(detector=value).detector) == (value, value)


@pytest.mark.parametrize("value", [-1, 2**63, 10**30])
@pytest.mark.parametrize("name", ["visit", "detector"])
def test_what_no_table_can_hold_is_refused(name: str, value: int) -> None:
    """A template under such an ID would be in no table of templates, and `verify --quick` would not look at it."""
    with pytest.raises(ValueError, match=f"{name} is {str(value)[:5]}.*, expected an ID of 0 to 9223372036854775807"):
        visit(**{name: value})
