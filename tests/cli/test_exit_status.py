"""What scripts are told by the exit status of a command that ends with an error."""

from __future__ import annotations

import importlib

import pytest

import dcrflow

app = importlib.import_module("dcrflow.cli.app")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (dcrflow.ConfigError("border is -1"), 2),
        (dcrflow.ClusterError("no dask scheduler answers"), 2),
        (dcrflow.SchedulerLostError("the scheduler does not answer any more"), 3),
    ],
)
def test_errors(
    error: Exception, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr(app, "app", fails)
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == status
    assert f"Error: {error}" in capsys.readouterr().err
