"""Names of the files of templates, and which of very many folders have such files, with so many bytes.

A ``stat`` takes some microseconds, most of them with Python's interpreter locked. So long lists are shared among
processes, which run this file as a program: it imports the standard library alone. A file system that answers slowly,
as one in a network may, is asked by many threads at a time.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

SHARE = 25_000  # folders for which another process is worth its start
_MOST_PROCESSES = 8
_MOST_FILES = 200  # of a layout
_TOGETHER = 1024  # items after which it is known how slow a file system is
_SLOW = 3e-4  # seconds for a folder, most of which this process waits
_WAITS = 0.8  # of the time
_AT_ONCE = 32  # threads that ask a slow file system


@dataclass(frozen=True)
class Layout:
    """Names of the files of a template, within its folder.

    Parameters
    ----------
    metadata, pixels : tuple of str
        Files with metadata, and with chunks.
    """

    metadata: tuple[str, ...]
    pixels: tuple[str, ...]

    @classmethod
    def of(cls, sizes: Iterable[tuple[str, int]]) -> Layout | None:
        """Those of a template that is whole, from names and sizes: an empty file is of one that was replaced.

        None if there is nothing to look for, or too much.
        """
        names = sorted(name for name, size in sizes if size)
        metadata = tuple(name for name in names if name.endswith("zarr.json"))
        pixels = tuple(name for name in names if not name.endswith("zarr.json"))
        return cls(metadata, pixels) if metadata and pixels and len(names) <= _MOST_FILES else None

    def fits(self, folder: str, written: int) -> bool:
        """Whether a folder has all these files, regular and not empty, with so many bytes of pixels."""
        try:
            opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return False
        try:
            for names, of_pixels in ((self.metadata, 0), (self.pixels, 1)):
                for name in names:
                    about = os.stat(name, dir_fd=opened)
                    if not about.st_size or not stat.S_ISREG(about.st_mode):
                        return False
                    written -= of_pixels * about.st_size
        except OSError:
            return False
        finally:
            os.close(opened)
        return written == 0


class Mapper:
    """Calls a function that asks a file system, for each of some items; in threads once that was slow."""

    def __init__(self) -> None:
        self.slow = False

    def __call__(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """The function of each item."""
        found, left = list[Any](), iter(items)
        while not self.slow:
            some = list(islice(left, _TOGETHER))
            if not some:
                return found
            began, used = time.perf_counter(), time.thread_time()
            found += map(function, some)
            took, used = time.perf_counter() - began, time.thread_time() - used
            self.slow = took > _SLOW * _TOGETHER and used < (1 - _WAITS) * took
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return found + list(pool.map(function, left))


def which_fit(root: str, layouts: Sequence[Layout], paths: Sequence[str], written: Sequence[int]) -> list[bool]:
    """Which folders have all files of one of some layouts, with so many bytes of pixels.

    Parameters
    ----------
    root : str
        The directory that has the folders.
    layouts : sequence of Layout
        The most likely one first.
    paths : sequence of str
        The folders, below the root.
    written : sequence of int
        Bytes of the pixels of each.
    """
    number = min(_MOST_PROCESSES, _cores(), len(paths) // SHARE)
    if number < 2:
        return _which_fit(root, layouts, paths, written)
    parts = [slice(len(paths) * i // number, len(paths) * (i + 1) // number) for i in range(number)]

    def ask(part: slice) -> str:
        return _asked(root, layouts, paths[part], written[part])

    with ThreadPoolExecutor(number) as pool:
        answers = list(pool.map(ask, parts))
    found: list[bool] = []
    for part, answer in zip(parts, answers, strict=True):
        if len(answer) == part.stop - part.start:
            found += [one == "1" for one in answer]
        else:
            found += _which_fit(root, layouts, paths[part], written[part])
    return found


def _cores() -> int:
    """Of this process; some systems tell only those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _which_fit(root: str, layouts: Sequence[Layout], paths: Sequence[str], written: Sequence[int]) -> list[bool]:
    def fits(item: tuple[str, int]) -> bool:
        folder = f"{root}/{item[0]}"
        return any(layout.fits(folder, item[1]) for layout in layouts)

    return Mapper()(fits, zip(paths, written, strict=True))


def _asked(root: str, layouts: Sequence[Layout], paths: Sequence[str], written: Sequence[int]) -> str:
    """What another process answers for some folders; nothing if it failed."""
    question = json.dumps([root, [asdict(layout) for layout in layouts], list(paths), list(written)])
    try:
        ended = subprocess.run([sys.executable, "-I", __file__], input=question, capture_output=True, text=True)
    except (OSError, ValueError):
        return ""
    return ended.stdout if ended.returncode == 0 else ""


def _main() -> None:
    root, layouts, paths, written = json.load(sys.stdin)
    known = [Layout(tuple(layout["metadata"]), tuple(layout["pixels"])) for layout in layouts]
    print("".join("1" if whole else "0" for whole in _which_fit(root, known, paths, written)), end="")


if __name__ == "__main__":
    _main()
