"""Whatever is done to a template store in whatever order, crashes too: templates are whole, old or new, or gone."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from test_templates import OTHERS, PROVENANCE, template
from watched import CrashError, WatchedStore

from dcrflow.campaign.status import campaign_status
from dcrflow.stores.templates.store import TemplateStore

IDS = st.tuples(st.integers(1, 2), st.integers(0, 1))
SEEDS = st.integers(0, 3)
PROVENANCES = st.sampled_from([PROVENANCE, OTHERS])


class Writers(RuleBasedStateMachine):
    """What is in the store, beside what should be."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = WatchedStore()
        self.store = TemplateStore.create_or_open(self.plain)
        self.expected: dict[tuple[int, int], tuple[str, object]] = {}  # status, and seed or message

    def write(self, data_id: tuple[int, int], seed: int) -> None:
        self.store.write(template(*data_id, side=36, seed=seed))

    @rule(data_id=IDS, seed=SEEDS)
    def is_written(self, data_id: tuple[int, int], seed: int) -> None:
        self.write(data_id, seed)
        self.expected[data_id] = "complete", seed

    @rule(data_id=IDS, provenance=PROVENANCES, status=st.sampled_from(["failed", "no-overlap"]), number=SEEDS)
    def fails(self, data_id: tuple[int, int], provenance: dict[str, str], status: str, number: int) -> None:
        """A failure does not take a template away, nor does the same campaign that finds no overlap."""
        error = {"type": "OSError", "message": f"{number}"}
        self.store.write_status(*data_id, status, provenance, error)
        stays = provenance == PROVENANCE or status == "failed"
        if not (stays and self.expected.get(data_id, ("",))[0] == "complete"):
            self.expected[data_id] = status, f"{number}"

    @rule(data_id=IDS, seed=SEEDS, crash_at=st.integers(0, 20))
    def dies_while_writing(self, data_id: tuple[int, int], seed: int, crash_at: int) -> None:
        self.plain.watch.arm(crash_at)
        try:
            self.write(data_id, seed)
        except CrashError:
            self.plain.watch.arm(None)
            found = self.store.status(*data_id)
            before = self.expected.get(data_id)
            if found is None:
                self.expected.pop(data_id, None)
            elif before is None or before[0] != found.status or self.seed_of(data_id) == seed:
                self.expected[data_id] = "complete", seed
        else:
            self.expected[data_id] = "complete", seed
        self.plain.watch.arm(None)

    @rule()
    def is_opened_again(self) -> None:
        self.store = TemplateStore.create_or_open(self.plain)

    def seed_of(self, data_id: tuple[int, int]) -> int | None:
        found = self.store.status(*data_id)
        if found is None or found.status != "complete":
            return None
        read = self.store.read(*data_id).load()
        return next((s for s in range(4) if read.equals(template(*data_id, side=36, seed=s))), -1)

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        records = {(r.visit, r.detector): r for r in self.store.records()}
        assert {data_id: r.status for data_id, r in records.items()} == {k: v for k, (v, _) in self.expected.items()}
        for data_id, (status, content) in self.expected.items():
            if status == "complete":
                assert self.store.damaged(*data_id) == ()
                assert self.seed_of(data_id) == content
            else:
                assert (records[data_id].error or {})["message"] == content
        beside = {(f.visit, f.detector) for f in self.store.failures()}  # these count as failed
        complete = {k for k, (status, _) in self.expected.items() if status == "complete"}
        assert campaign_status(self.store).count("complete") == len(complete - beside)


Writers.TestCase.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)
TestWriters = pytest.mark.slow(Writers.TestCase)
