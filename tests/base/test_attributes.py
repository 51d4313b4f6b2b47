"""Attributes and texts that anybody may have written."""

from hypothesis import given
from hypothesis import strategies as st

from dcrflow.base.attributes import Checked, decoded
from dcrflow.base.texts import one_line

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def test_objects_are_read_as_they_are_and_as_json_text() -> None:
    for value in ({"a": [1, 2]}, '{"a": [1, 2]}'):
        about = Checked({"x": value})
        assert about.object("x") == {"a": [1, 2]}
        assert about.problems == []
    assert decoded("[1") == "[1"
    assert Checked({"x": "[[1, 2], [3, 4]]"}).numbers("x", None, 2) == [[1, 2], [3, 4]]


def test_what_is_of_another_kind_is_left_out_and_said() -> None:
    about = Checked({"x": "word", "y": float("nan"), "z": [[1, None]], "big": 10**400, "t": True})
    assert about.number("x") is about.number("y") is about.number("big") is about.number("t") is None
    assert about.object("x") == {}
    assert about.text("y") == ""
    assert about.numbers("z", 1, 2) is None
    assert Checked({"z": [[1, None]]}).numbers("z", 1, 2, gaps=True) == [[1, None]]
    assert about.number("missing") is None
    assert about.problems[0] == "its attribute 'x' is 'word', expected a number"
    assert len(about.problems) == 7


@given(JSON)
def test_any_value_is_taken_or_said(value: object) -> None:
    about = Checked({"x": value})
    for found in (about.number("x"), about.text("x"), about.object("x"), about.numbers("x", None, 2)):
        assert found is None or found is value or isinstance(found, float | str | dict | list)


@given(st.text(max_size=30))
def test_a_line_has_nothing_that_a_terminal_obeys(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert one_line(line) == line


def test_a_line() -> None:
    assert one_line("a\n b\t\x1b[2Jc") == "a b \\x1b[2Jc"
    assert one_line("25° ☂") == "25° ☂"
