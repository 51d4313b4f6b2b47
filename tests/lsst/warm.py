"""Commands of this environment without the seconds that Python and LSST's packages take to start.

A process imports them once. For each command it forks itself, and the child does what the command's script would do:
it calls the entry point with these arguments, in this directory and environment, and ends as an interpreter does.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

PROGRAMS = ("butler", "bps", "dcrflow", "pipetask")
_IMPORTED = ("dcrflow.lsst", "lsst.ctrl.mpexec", "lsst.images", "dcrflow.lsst.task", "dcrflow.graph")
_server: subprocess.Popen[str] | None = None


def run(words: list[str], directory: Path | str = ".", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command; its output is what a script's would be."""
    global _server
    if _server is None or _server.poll() is not None:
        alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # it forks
        _server = subprocess.Popen(
            [sys.executable, "-W", "ignore:This process:DeprecationWarning", __file__], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env={**os.environ, **alone},
        )  # fmt: skip
        atexit.register(_end, _server)
    assert _server.stdin is not None
    assert _server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        request = {
            "words": words, "folder": folder, "directory": str(Path(directory).absolute()),
            "environment": {**os.environ, **environment},
        }  # fmt: skip
        _server.stdin.write(json.dumps(request) + "\n")
        _server.stdin.flush()
        answer = _server.stdout.readline()
        assert answer, "the process that runs commands has ended"
        said = [Path(folder, name).read_text() for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(words, json.loads(answer), *said)


def _end(server: subprocess.Popen[str]) -> None:
    """End the process, which waits for the next command."""
    with server:  # closes its pipes, and waits
        pass


def _serve() -> None:
    """Run commands as they come; in the process of its own."""
    for name in _IMPORTED:
        __import__(name)
    scripts = {each.name: each for each in entry_points(group="console_scripts") if each.name in PROGRAMS}
    mains = {name: each.load() for name, each in scripts.items()}
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(request)
            sys.exit(mains[request["words"][0]]())
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(request: dict[str, object]) -> None:
    """Be the process of a command."""
    os.chdir(str(request["directory"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, "stdout", 0), (2, "stderr", 0)):
        path = name if number == 0 else str(Path(str(request["folder"])) / name)
        opened = os.open(path, flags if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    words = list(request["words"])  # type: ignore[call-overload]
    sys.argv = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    sys.path[0] = str(Path(sys.executable).parent)
    more = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [folder for folder in more if folder and folder not in sys.path]


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _serve()
