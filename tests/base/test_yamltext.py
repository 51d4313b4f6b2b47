"""YAML of users: numbers as YAML 1.2 has them, and nothing that grows when it is used."""

import pytest

from dcrflow.base.yamltext import parse_yaml

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 8)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"), [("5e-5", 5e-5), ("-2E3", -2000.0), ("1.e2", 100.0), ("e5", "e5"), ("1e", "1e")]
)
def test_numbers_with_an_exponent(text: str, value: object) -> None:
    assert parse_yaml(f"a: {text}") == {"a": value}


@pytest.mark.parametrize("text", [BOMB, "a: &a [*a]", "a: &a {b: *a}"])
def test_aliases_that_repeat_without_end_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="aliases"):
        parse_yaml(text)


def test_an_alias_is_a_value_again() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: *a") == {"a": [1, 2], "b": [1, 2]}
