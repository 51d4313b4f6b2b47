"""The cluster on this machine: its workers stay, whatever the files do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing import current_process
from pathlib import Path
from typing import Any

import pytest
from scenes import IMAGE, coadds

from dcrflow.base.errors import CoaddStoreError, TemplateStoreError
from dcrflow.cluster import connect
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds
from dcrflow.stores.templates.store import TemplateStore

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def _look(coadds: DcrCoadds, out: TemplateStore) -> tuple[int, list[int]]:
    assert out.status(1, 2) is None
    return os.getpid(), list(coadds.tracts)


def _look_at_coadds(coadds: DcrCoadds) -> list[int]:
    return list(coadds.tracts)


def test_stores_that_cannot_be_opened_for_a_while_cost_no_worker(tmp_path: Path) -> None:
    """Unpickling touches no files: dask gives up a worker, for good, that cannot unpickle its messages."""
    sound, away = tmp_path / "sound", tmp_path / "away"
    sound.mkdir()
    store = open_coadds(coadds(IMAGE, store=str(sound / "coadds.zarr")))
    out = TemplateStore.create_or_open(str(sound / "out.zarr"))
    with connect("local", workers=1, dashboard=0) as client:
        sound.rename(away)
        with pytest.raises(CoaddStoreError, match="does not exist"):
            client.submit(_look_at_coadds, store).result(timeout=60)
        with pytest.raises(TemplateStoreError, match="does not exist"):
            client.submit(_look, store, out).result(timeout=60)
        away.rename(sound)
        first = client.submit(os.getpid, pure=False).result(timeout=60)
        assert client.submit(_look, store, out, pure=False).result(timeout=60) == (first, [7])


@dataclass
class Poison:
    """Cannot be unpickled in a worker, the first time."""

    taken: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return _swallow, (self.taken,)


def _swallow(taken: Path) -> Poison:
    if current_process().name.startswith("Dask Worker") and not taken.exists():
        taken.touch()
        raise OSError("poison")
    return Poison(taken)


def _survivor(poison: Poison) -> int:
    return os.getpid()


def test_a_worker_that_dask_gave_up_is_replaced(tmp_path: Path) -> None:
    """The new one is as deaf to Ctrl-C, which a terminal sends to all, as the first."""
    with connect("local", workers=1, dashboard=0) as client:
        first = client.submit(os.getpid).result(timeout=60)
        assert client.submit(signal.getsignal, signal.SIGINT, pure=False).result(timeout=60) == signal.SIG_IGN
        assert client.submit(_survivor, Poison(tmp_path / "taken")).result(timeout=60) != first
        assert (tmp_path / "taken").exists()
        assert client.submit(signal.getsignal, signal.SIGINT, pure=False).result(timeout=60) == signal.SIG_IGN


def test_a_worker_has_all_imported_when_it_begins(tmp_path: Path) -> None:
    """In a process of its own: there is one server a process, and this one's has begun."""
    script = tmp_path / "script.py"
    script.write_text(
        "import gc, sys\n"
        "from dcrflow.cluster import connect, forkserver\n"
        "if __name__ == '__main__':\n"
        "    forkserver.begin('sched')\n"
        "    with connect('local', workers=1, dashboard=0) as client:\n"
        "        print(client.run(lambda: {'dcrflow.graph', 'sched'} <= set(sys.modules)))\n"
        "        print(client.run(gc.isenabled))\n"
        "        print(client.run(gc.get_freeze_count))\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=300)
    assert ended.stdout.count("True") == 2, ended
    assert int(ended.stdout.split()[-1].rstrip("}")) > 100_000, "what the server imported is shared with it"


def test_workers_know_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that in which the server began that they are forked off: credentials set in a notebook, say."""
    for value in ("before", "after"):
        monkeypatch.setenv("DCRFLOW_TEST", value)
        with connect("local", workers=1, dashboard=0) as client:
            assert set(client.run(os.getenv, "DCRFLOW_TEST").values()) == {value}
