"""A scheduler unpickles tasks: what it must not import stays bytes."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from dcrflow.campaign.batch import make_templates
from dcrflow.cluster import opaque
from dcrflow.cluster.opaque import OtherVersionError, call, packed

LOADED = """
import pickle, sys
pickle.load(sys.stdin.buffer)
print([name for name in ("astropy", "numba", "scipy", "xarray") if name in sys.modules])
"""


def test_a_scheduler_imports_none_of_what_a_task_needs() -> None:
    def imported(what: object) -> str:
        command = [sys.executable, "-c", LOADED]
        return subprocess.run(command, input=pickle.dumps(what), capture_output=True, check=True).stdout.decode()

    assert imported((call, packed(make_templates, b"a job", [], []))) == "[]\n"
    assert "astropy" in imported(make_templates)  # as it would if it were sent as it is


def test_it_is_called_with_its_arguments() -> None:
    assert call(packed(divmod, 7, 2)) == (3, 1)


def test_a_worker_of_another_version_does_not_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    task = packed(divmod, 7, 2)
    monkeypatch.setattr(opaque, "__version__", "0.0.1")
    with pytest.raises(OtherVersionError, match=r"has dcrflow 0\.0\.1, and the client .*: install the same version"):
        call(task)
