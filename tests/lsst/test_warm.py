"""The process that runs commands for the tests here: one that hangs is ended."""

from __future__ import annotations

import pytest

warm = pytest.importorskip("warm")


@pytest.mark.slow
@pytest.mark.integration
def test_a_command_that_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert warm.run(["python", "-c", "print(7)"]).stdout == "7\n"
    monkeypatch.setattr(warm, "LONGEST", 2.0)
    with pytest.raises(TimeoutError, match="took more than 2"):
        warm.run(["python", "-c", "import time; print('begun', flush=True); time.sleep(300)"])
    monkeypatch.setattr(warm, "LONGEST", 300.0)
    assert warm.run(["python", "-c", "print(8)"]).stdout == "8\n"
