"""Hypothesis against everything that is read: a message or success, in bounded memory, and nothing is executed."""

from __future__ import annotations

import faulthandler
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hostile.readers import READERS, mutated, tried

PHASES = (Phase.explicit, Phase.generate)  # what fails is shown as it is: making it shorter takes minutes
#: Examples of each reader; DCRFLOW_FUZZ=1000 looks longer.
NUMBER = int(os.environ.get("DCRFLOW_FUZZ", "12"))
_SPARE = 48_000_000  # bytes that a reader may take whatever the length of what it reads


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    faulthandler.dump_traceback_later(300, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


#: What fuzzing has found: reader, and what to put in the place of what.
FOUND = (("coadd FITS", b"-28.0  ", b"-28.0 \0"), ("cluster", b"4GiB", b"1e999GiB"),
         ("cluster", b"'04:00:00'", b"1e999s"))  # fmt: skip


def check(name: str, content: bytes) -> None:
    tracemalloc.start()  # of this alone: traced, Hypothesis takes minutes to learn Unicode
    try:
        message = tried(READERS[name].read, content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < _SPARE + 2000 * len(content)
    assert len(message) < 3000
    assert not Path("harmed").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_what_is_good_is_read(name: str) -> None:
    reader = READERS[name]
    assert tried(reader.read, reader.good(lambda low, high: low)) == ""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
@settings(max_examples=NUMBER, suppress_health_check=list(HealthCheck), database=None, deadline=None, phases=PHASES)
@given(data=st.data())
def test_what_was_good(name: str, data: st.DataObject) -> None:
    def choose(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    check(name, mutated(READERS[name].good(choose), choose))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
@settings(
    max_examples=NUMBER // 2, suppress_health_check=list(HealthCheck), database=None, deadline=None, phases=PHASES
)
@given(content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_what_was_never_good(name: str, content: bytes) -> None:
    READERS[name].good(lambda low, high: low)
    check(name, content)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "good", "bad"), FOUND)
def test_what_was_found(name: str, good: bytes, bad: bytes) -> None:
    content = READERS[name].good(lambda low, high: low)
    assert content.replace(good, bad) != content
    check(name, content.replace(good, bad))
