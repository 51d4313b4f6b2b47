"""Commands of this environment without the seconds that Python and LSST's packages take to start.

A process imports them once. For each command it forks itself, and the child does what the command's script would do:
it calls the entry point with these arguments, in this directory and environment, and ends as an interpreter does.
Workers of local clusters are forked from a fork server that all commands share, where each would start its own. What
they say is added to what the command says.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from importlib.metadata import entry_points
from multiprocessing import forkserver, get_context
from pathlib import Path

import numba

PROGRAMS = ("butler", "bps", "dcrflow", "pipetask")  # and ``python -c``
_IMPORTED = (
    "fast_gzip", "dcrflow.lsst", "lsst.ctrl.mpexec", "lsst.images", "dcrflow.lsst.task", "dcrflow.graph",
    "dcrflow.lsst.butler", "dcrflow.lsst.datasets", "dcrflow.campaign.run", "dcrflow.cluster.backends.local",
    "dcrflow.live.plugin", "distributed.dashboard.scheduler", "distributed.http.routing", "cryptography.x509",
)  # fmt: skip
_BY_WORKERS = (
    "fast_gzip", "distributed.nanny", "dcrflow.graph", "dcrflow.campaign.batch", "dcrflow.lsst.butler",
    "dcrflow.lsst.task", "lsst.pipe.base.single_quantum_executor", "dcrflow.cluster.frozen",
)  # fmt: skip
LONGEST = 540.0  # s of a command; each takes less than a minute
_server: subprocess.Popen[str] | None = None
_said_by_workers = Path()


def run(words: list[str], directory: Path | str = ".", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command; its output is what a script's would be. One that hangs is ended, and is an error."""
    global _server, _said_by_workers
    if _server is None or _server.poll() is not None:
        file, name = tempfile.mkstemp(prefix="workers-")
        os.close(file)
        _said_by_workers = Path(name)
        alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # it forks
        _server = subprocess.Popen(
            [sys.executable, "-W", "ignore:This process:DeprecationWarning", __file__, _said_by_workers],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **alone},
            start_new_session=True,
        )  # fmt: skip
        atexit.register(_end, _server, _said_by_workers)
    before = _said_by_workers.stat().st_size
    assert _server.stdin is not None
    assert _server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        request = {
            "words": words, "folder": folder, "directory": str(Path(directory).absolute()),
            "environment": {**os.environ, **environment},
        }  # fmt: skip
        _server.stdin.write(json.dumps(request) + "\n")
        _server.stdin.flush()
        in_time = select.select([_server.stdout], [], [], LONGEST)[0]
        if not in_time:
            _kill(_server)
        answer = _server.stdout.readline()
        said = [Path(folder, name).read_text() for name in ("stdout", "stderr")]
        if not in_time:
            raise TimeoutError(f"{words} took more than {LONGEST} s; it said: {said}")
        assert answer, "the process that runs commands has ended"
    with _said_by_workers.open("rb") as file:
        file.seek(before)
        said[1] += file.read().decode(errors="replace")
    return subprocess.CompletedProcess(words, json.loads(answer), *said)


def _end(server: subprocess.Popen[str], said_by_workers: Path) -> None:
    """End the process, which waits for the next command, or for one that was interrupted here."""
    with server:
        assert server.stdin is not None
        with contextlib.suppress(OSError):
            server.stdin.close()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            _kill(server)
    said_by_workers.unlink()


def _kill(server: subprocess.Popen[str]) -> None:
    """Kill the process, the command that it runs, and their workers."""
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _serve() -> None:
    """Run commands as they come; in the process of its own."""
    _serve_workers(sys.argv[1])
    for name in _IMPORTED:
        __import__(name)
    numba.njit(lambda x: x)(1)  # sets up what loads compiled functions, for half a second
    scripts = {each.name: each for each in entry_points(group="console_scripts") if each.name in PROGRAMS}
    mains = {name: each.load() for name, each in scripts.items()} | {"python": _python}
    assert threading.active_count() == 1, "a process with threads cannot be forked"
    gc.collect()
    gc.freeze()  # or each command looks at all that is imported, to find garbage when it ends, and copies its memory
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(request)
            _share_workers()
            sys.exit(mains[request["words"][0]]())
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _serve_workers(said: str) -> None:
    """Start a fork server, as `dcrflow.cluster.forkserver` would for one command; its output goes to a file."""
    from dcrflow.cluster.forkserver import METHOD, ONE_HEAP, deaf_to_interrupts

    if METHOD != "forkserver":
        return
    os.environ.update(ONE_HEAP)
    get_context(METHOD).set_forkserver_preload(list(_BY_WORKERS))
    own = [os.dup(number) for number in (1, 2)]
    for number in (1, 2):
        _open_as(number, said, os.O_WRONLY | os.O_APPEND)
    with deaf_to_interrupts():
        forkserver.ensure_running()
    for number, saved in zip((1, 2), own, strict=True):
        os.dup2(saved, number)
        os.close(saved)


def _open_as(number: int, path: str, flags: int) -> None:
    """Open a file as the descriptor of this number."""
    opened = os.open(path, flags, 0o600)
    os.dup2(opened, number)
    os.close(opened)


def _share_workers() -> None:
    """Let a command use the fork server of this process, and leave it alone when the command ends."""
    from dcrflow.cluster import forkserver as ours

    server = forkserver._forkserver
    forkserver.ensure_running = server.ensure_running = lambda: None  # it would look for the server among its children
    ours.kill_fork_server = lambda: None


def _python() -> None:
    """Be ``python -c PROGRAM``."""
    option, program = sys.argv[1:]
    assert option == "-c"
    exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})


def _become(request: dict[str, object]) -> None:
    """Be the process of a command."""
    os.chdir(str(request["directory"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, "stdout", 0), (2, "stderr", 0)):
        path = name if number == 0 else str(Path(str(request["folder"])) / name)
        _open_as(number, path, flags if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    words = list(request["words"])  # type: ignore[call-overload]
    sys.argv = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    sys.path[0] = str(Path(sys.executable).parent)
    more = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [folder for folder in more if folder and folder not in sys.path]


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _serve()
