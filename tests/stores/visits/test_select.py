"""Conditions on detector-visits: numpy is the oracle of what they mean, and nothing in them is executed."""

import ast
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import visit

from dcrflow.base.errors import VisitTableError
from dcrflow.stores.visits.expression import holds
from dcrflow.stores.visits.select import select
from dcrflow.stores.visits.tables import BadVisit

COLUMNS = {"visit": np.array([1, 2, 3, 2**53 + 1]), "detector": np.array([0, -4, 7, 4]), "band": np.array(list("grig"))}
V, D, B = COLUMNS.values()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("visit == 2", V == 2),
        ("1 < visit <= 3", (V > 1) & (V <= 3)),
        ("3 > visit != 1", (V < 3) & (V != 1)),
        ("visit in [1, 3] or band not in ('g', 'r')", np.isin(V, [1, 3]) | ~np.isin(B, ["g", "r"])),
        ("detector in {visit, 7}", (D == V) | (D == 7)),
        ("visit in []", V < 0),
        ("not visit - detector * 2 > 0", ~(V - D * 2 > 0)),
        ("-visit / 2 + 1 < -abs(detector) / +3", -abs(D) / 3 > -V / 2 + 1),
        ("visit / 0 > 5 and not isnan(visit / detector)", np.ones(4, bool)),
        ("isnan(detector * 0 / detector)", D == 0),
        ("visit == 9007199254740993", V == 2**53 + 1),
        ("visit in [9007199254740992, 1.0]", V == 1),
        (f"visit < {10**400}", np.ones(4, bool)),
        ("band >= 'h' and True", B >= "h"),
        (" visit == 1 ", V == 1),
        ("visit in [" + ", ".join(map(str, range(5000))) + "]", V < 5000),
    ],
)
def test_what_a_condition_means(condition: str, expected: np.ndarray) -> None:
    assert holds(condition, COLUMNS).tolist() == expected.tolist()


@given(
    numbers=st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5),
    other=st.integers(-(2**63), 2**63 - 1),
    op=st.sampled_from(["<", "<=", "==", "!=", ">", ">="]),
)
def test_integers_are_compared_exactly(numbers: list[int], other: int, op: str) -> None:
    compare = {"<": int.__lt__, "<=": int.__le__, "==": int.__eq__, "!=": int.__ne__, ">": int.__gt__, ">=": int.__ge__}
    if other == -(2**63):  # the literal is beyond what a column can hold
        other += 1
    assert holds(f"visit {op} {other}", {"visit": np.array(numbers)}).tolist() == [
        compare[op](n, other) for n in numbers
    ]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("@pd.io.common.os.system('touch harmed') == visit", "'@' is not understood"),
        ("visit @ visit == 1", "'@' is not understood"),
        ("visit.to_csv('harmed') == visit", "a call of visit.to_csv"),
        ("visit.real == 1", "visit.real is not understood"),
        ("__import__('os').system('touch harmed')", "a call of __import__"),
        ("open('harmed', 'w') == visit", "a call of open"),
        ("abs(visit, key=1) == 1", "abs takes one number"),
        ("abs(*[1]) == 1", "abs takes one number"),
        ("vist == 1", "there is no column 'vist'"),
        ("visit ** 99 > 1", r"'\*\*' is not understood"),
        ("(visit == 1) & (detector == 2)", "'&' is not understood, write and"),
        ("(visit == 1) | (detector == 2)", "write or"),
        ("~(visit == 1)", "write not"),
        ("visit is 1", "write =="),
        ("visit % 2 == 0", "'%' is not understood"),
        ("visit[0] == 1", r"visit\[0\] is not understood"),
        ("[v for v in (1,)]", "is not understood"),
        ("visit if 1 else 2", "'if' is not understood"),
        ("(visit := 3) == 3", "':=' is not understood"),
        ("lambda: 1", "lambda"),
        ("f'{visit}' == band", "f-string"),
        ("visit == '1'", r"visit \(number\) cannot be compared with '1' \(text\)"),
        ("band in 'gr'", "write a list"),
        ("visit in ['1']", "cannot be compared"),
        ("band + 'x' == 'gx'", "band is not a number"),
        ("visit and band", "visit is not true or false"),
        ("visit", "true or false for each row"),
        ("visit == None", "None is not understood"),
        ("visit == 1j", "1j is not understood"),
        ("visit + 9223372036854775807 > 0", r"beyond 2\^63"),
        ("visit == 1; 2", "invalid syntax"),
        ("visit ==", "invalid syntax"),
        ("", "invalid syntax"),
        ("visit == \0", "null bytes"),
        ("visit == \ud800", "surrogates"),
        ("-" * 3000 + "1 == visit", "nested too deep"),
        ("(" * 3000, "nested"),
        ("visit == 1" + " " * 70_000, "letters"),
    ],
)
def test_everything_else_is_refused_by_name(condition: str, said: str) -> None:
    with pytest.raises(VisitTableError, match=f"(?i)cannot select detector-visits by .*{said}"):
        select([visit()], condition)
    assert not Path("harmed").exists()


@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_refused(condition: str) -> None:
    with suppress(ValueError):
        assert holds(condition, COLUMNS).shape == (4,)


def test_columns_of_detector_visits_and_of_templates() -> None:
    rows = [visit(visit=1, mjd=61000.0), visit(visit=2), BadVisit(3, 4, VisitTableError("x"))]
    assert [v.visit for v in select(rows, "mjd > 60000")] == [1]
    assert [v.visit for v in select(rows, "isnan(mjd)")] == [2, 3]
    assert [v.visit for v in select(rows, "altitude > 0 and ra > 1", 1)] == [1]
    assert [v.visit for v in select(rows, "visit in [2, 3]")] == [2, 3]
    entries = [{"visit": v, "detector": 1, "band": b, "coverage": c} for v, b, c in ((1, "g", 0.5), (2, None, "x"))]
    assert select(entries, "coverage < 0.9") == entries[:1]
    assert select(entries, "band == ''") == entries[1:]
    assert select([], "visit == 1") == []
    with pytest.raises(VisitTableError, match="no column 'coverage'"):
        select(rows, "coverage < 0.9")


def test_nothing_in_the_tree_evaluates_text_as_python() -> None:
    """No eval, exec or compile, and none of pandas' eval and query, which run whatever Python a text names."""
    package = Path(holds.__code__.co_filename).parents[2]
    found = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                of_text = isinstance(node.func, ast.Name) and name in ("eval", "exec", "compile", "__import__")
                if of_text or name in ("eval", "query"):
                    found.append(f"{path.relative_to(package)}:{node.lineno}: {ast.unparse(node.func)}")
    assert found == []
