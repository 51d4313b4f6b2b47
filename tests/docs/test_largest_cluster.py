"""The figures about the largest cluster in the documentation are those that the simulation prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.largest_cluster import Costs, rate, table

import dcrflow


def test_the_documentation_shows_what_is_printed() -> None:
    text = (Path(dcrflow.__file__).parent / "docs" / "operations.md").read_text()
    assert "\n".join(table(Costs())) in text, "python tests/benchmarks/largest_cluster.py prints what belongs there"


def test_cores_wait_only_when_the_scheduler_is_busy() -> None:
    costs = Costs(client=1e-3, scheduler=1e-3)
    assert rate(300, costs) == pytest.approx(100, rel=0.05), "each makes a template in 3 s"
    assert rate(6000, costs) == pytest.approx(1000, rel=0.05), "the client is busy all the time"
    assert rate(6000, costs, together=True) == pytest.approx(500, rel=0.1)
    assert rate(6000, replace(costs, client=0.0)) == pytest.approx(1000, rel=0.05)
