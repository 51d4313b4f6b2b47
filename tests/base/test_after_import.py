"""An action that waits for an import."""

import sys
from pathlib import Path

import pytest

from dcrflow.base.after_import import after_import


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "waited_for.py").write_text("VALUE = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "waited_for", raising=False)
    return "waited_for"


def test_it_happens_once_and_after_the_import(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    seen = []
    after_import(module, lambda: seen.append(sys.modules[module].VALUE))
    __import__("colorsys")
    assert seen == []
    __import__(module)
    __import__(module)
    assert seen == [3]


def test_it_happens_now_if_the_module_is_there() -> None:
    seen = []
    after_import("sys", lambda: seen.append(1))
    assert seen == [1]


def test_several_may_wait(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    seen: list[int] = []
    after_import(module, lambda: seen.append(1))
    after_import(module, lambda: seen.append(2))
    __import__(module)
    assert sorted(seen) == [1, 2]


def test_a_module_that_is_not_there_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    after_import("no_such_module_anywhere", lambda: pytest.fail("it was not imported"))
    with pytest.raises(ModuleNotFoundError):
        __import__("no_such_module_anywhere")
