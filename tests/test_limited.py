"""Parts of CI have a limit, and what they started ends with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LIMITED = Path(__file__).parents[1] / ".ci" / "limited"

if not LIMITED.is_file() or sys.platform != "linux":
    pytest.skip("dcrflow is installed, not checked out, or this is no Linux", allow_module_level=True)

_CHILDREN = "sleep 300 & echo $! >> pids; setsid --wait true; sleep 300 & echo $! >> pids; echo ready; {}"


def _gone(place: Path) -> bool:
    pids = [int(line) for line in (place / "pids").read_text().split()]
    assert len(pids) == 2
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if not any(_is_alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(("last", "status"), [("wait", 124), ("exit 3", 3)])
def test_what_hangs_is_ended_with_its_children(last: str, status: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [LIMITED, "2", "bash", "-c", _CHILDREN.format(last)], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == status
    assert ("it took too long and was ended: bash" in done.stdout) == (status == 124)
    assert _gone(tmp_path)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all(number: signal.Signals, status: int, tmp_path: Path) -> None:
    with subprocess.Popen(
        [LIMITED, "100", "bash", "-c", _CHILDREN.format("wait")], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, number)
        assert process.wait(60) == status
    assert _gone(tmp_path)
