"""`python -m dcrflow` as a process of its own, without the seconds that Python takes to import what it needs.

One process imports that once. For each command it forks a process that waits for the command, and that one forks the
command itself: with a session, a process group, an environment and an output of its own, it does what
``python -m dcrflow`` does. Its fork server is a fork of the command, so the tree of processes is the real one.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from multiprocessing import forkserver, util
from select import select

import numba

_IMPORTED = (
    "distributed.nanny", "dcrflow.cli.app", "dcrflow.graph", "dcrflow.campaign.batch", "dcrflow.campaign.run",
    "dcrflow.cluster.backends.local", "dcrflow.live.plugin", "distributed.dashboard.scheduler",
    "distributed.http.routing", "cryptography.x509",
)  # fmt: skip
_server: tuple[subprocess.Popen[bytes], socket.socket] | None = None


class Forked:
    """A command that runs, with what is used here of `subprocess.Popen`: its output is that of both streams."""

    def __init__(self, words: Sequence[str], **environment: str) -> None:
        output, given_output = os.pipe()
        self._status, given_status = os.pipe()
        self.stdout = os.fdopen(output, encoding="utf-8")
        self.returncode: int | None = None
        self._said = b""
        connection = _started()
        request = {"words": list(words), "environment": {**os.environ, **environment}, "directory": os.getcwd()}
        text = json.dumps(request).encode()
        socket.send_fds(connection, [len(text).to_bytes(8)], [given_output, given_status])
        connection.sendall(text)
        os.close(given_output)
        os.close(given_status)
        self.pid = int.from_bytes(_exactly(connection, 8))

    def poll(self) -> int | None:
        """The exit status, if it has ended."""
        return self._wait(0)

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Wait until nobody has its output open any more, and for its end; raises `subprocess.TimeoutExpired`."""
        until = None if timeout is None else time.monotonic() + timeout
        number = self.stdout.fileno()
        while True:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not select([number], [], [], left)[0]:
                raise subprocess.TimeoutExpired("dcrflow", timeout or 0.0, self._said)
            more = os.read(number, 1 << 16)
            if not more:
                break
            self._said += more
        if self._wait(None if until is None else max(0.0, until - time.monotonic())) is None:
            raise subprocess.TimeoutExpired("dcrflow", timeout or 0.0, self._said)
        self.stdout.close()
        return self._said.decode(), None

    def _wait(self, seconds: float | None) -> int | None:
        if self.returncode is None and select([self._status], [], [], seconds)[0]:
            self.returncode = int(os.read(self._status, 100))
            os.close(self._status)
        return self.returncode


def _started() -> socket.socket:
    """Where the process takes commands; it is started for the first."""
    global _server
    if _server is None or _server[0].poll() is not None:
        from dcrflow.cluster.forkserver import ONE_HEAP

        ours, its = socket.socketpair()
        alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # it forks
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore:This process:DeprecationWarning", __file__, str(its.fileno())],
            pass_fds=[its.fileno()], env={**os.environ, **alone, **ONE_HEAP}, start_new_session=True,
        )  # fmt: skip
        its.close()
        _server = process, ours
        atexit.register(_end, process, ours)
    return _server[1]


def _end(process: subprocess.Popen[bytes], connection: socket.socket) -> None:
    connection.close()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:  # it ends when nobody can ask it any more
        process.kill()
        raise


def _exactly(connection: socket.socket, number: int) -> bytes:
    found = b""
    while len(found) < number:
        more = connection.recv(number - len(found))
        if not more:
            raise EOFError("the process that forks commands has ended")
        found += more
    return found


def _serve(connection: socket.socket) -> None:
    """Fork commands as they come."""
    for name in _IMPORTED:
        __import__(name)
    numba.njit(lambda x: x)(1)  # sets up what loads compiled functions, for half a second
    assert threading.active_count() == 1, "a process with threads cannot be forked"
    gc.collect()
    gc.freeze()  # or each command looks at all that is imported, to find garbage when it ends, and copies its memory
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    while True:
        length, given, *_ = socket.recv_fds(connection, 8, 2)
        if not length:  # the tests have ended
            return
        output, status = given
        request = json.loads(_exactly(connection, int.from_bytes(length)))
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            child = os.fork()
            if child == 0:
                os.close(status)
                connection.close()
                _be(request, output)
            connection.sendall(child.to_bytes(8))
            connection.close()
            os.close(output)
            _, code = os.waitpid(child, 0)
            os.write(status, str(os.waitstatus_to_exitcode(code)).encode())
            os._exit(0)
        os.close(output)
        os.close(status)


def _be(request: dict[str, object], output: int) -> None:
    """Be the command: as the interpreter would be that runs the module."""
    os.setsid()
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    os.chdir(str(request["directory"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    util.spawnv_passfds = _fork_instead  # type: ignore[assignment]
    sys.argv = [__file__, *request["words"]]  # type: ignore[misc]
    runpy.run_module("dcrflow", run_name="__main__", alter_sys=True)
    sys.exit(0)


def _fork_instead(path: bytes, words: Sequence[str], passed: Sequence[int]) -> int:
    """Start Python with a program, of which `multiprocessing` has two: this process has imported what it needs."""
    program = words[-1]
    if threading.active_count() > 1 or "forkserver" not in program:
        return _spawn(path, words, passed)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            edges = [2, *sorted(passed), os.sysconf("SC_OPEN_MAX")]
            for low, high in pairwise(edges):
                os.closerange(low + 1, high)  # among them is what tells the server that the command has ended
            forkserver._forkserver._lock = threading.Lock()  # it was forked while this was held
            with contextlib.suppress(SystemExit):
                exec(program, {"__name__": "forkserver"})
            status = 0
        finally:
            os._exit(status)
    return pid


_spawn = util.spawnv_passfds

if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as _connection:
        _serve(_connection)
