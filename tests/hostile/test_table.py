"""The table of bad input: nothing is harmed, and the documentation says what happens."""

import pytest

from hostile.table import CASES, PAGE, markdown, outcomes, table_in


def test_every_case_has_its_own_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 300


@pytest.mark.slow
def test_nothing_is_harmed_and_the_documentation_says_what_happens() -> None:
    rows = outcomes(range(len(CASES)))
    assert [(row.case, row.harm) for row in rows if row.harm] == []
    documented = set(table_in(PAGE.read_text()).splitlines())
    found = markdown(rows).splitlines()
    assert [line for line in found if line not in documented] == [], "python tests/hostile --write"
    assert len(documented - {""}) == len(set(found) - {""})
