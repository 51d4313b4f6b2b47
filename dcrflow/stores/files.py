"""File operations that a power cut or a displaced writer cannot turn into a wrong template.

What is written here is created, never overwritten, in folders that are never created on the way: a writer whose folder
was taken away gets an error instead of a new folder of the same name.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

_BLOCK = 1 << 20  # bytes compared at a time
_EXCHANGE, _SWAP, _HERE = 2, 2, -100  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS, AT_FDCWD
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
_ABSENT = (errno.ENOENT, errno.ENOTDIR)


def write_new_file(path: Path, data: Any) -> None:
    """Create a file and write all of it; its folder must be there, and no file of that name.

    Raises
    ------
    OSError
        If it cannot be written whole.
    """
    with memoryview(data).cast("B") as content:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            done = 0
            while done < len(content):
                done += os.write(descriptor, content[done:])
        finally:
            os.close(descriptor)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read it. In a store of somebody else a name may be a link to ``/dev/zero``, or a pipe.

    Raises
    ------
    OSError
        Also if it is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer is not waited for
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """The content of a regular file; raises as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def check_file(path: Path, data: Any) -> None:
    """Read a file again and compare it with what was written.

    Raises
    ------
    OSError
        If it is not the same.
    """
    with memoryview(data).cast("B") as content, path.open("rb", buffering=0) as file:
        at = 0
        while block := file.read(_BLOCK):
            if content[at : at + len(block)].tobytes() != block:  # views are compared element by element
                raise OSError(errno.EIO, "what was read again is not what was written", str(path))
            at += len(block)
        if at != len(content):
            raise OSError(errno.EIO, f"{at} of {len(content)} bytes could be read again", str(path))


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # this file system syncs no folders
            raise
    finally:
        os.close(descriptor)


def sync_all(paths: Iterable[Path]) -> None:
    """`sync` each, in order."""
    for path in paths:
        sync(path)


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file that other programs see when it is whole and on the disk, and not before.

    Gives a hidden name beside it, with the same suffix, to write to. Several that write the same file do not meet: the
    last one's stays. Who is killed leaves a hidden file. A link stays one to the file.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.stem[:180]}.{uuid4().hex}.partial{path.suffix}")
    try:
        yield partial
        sync(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def switch(new: Path, target: Path, aside: Path) -> bool:
    """Put a folder where a path leads to, in one atomic act; what was there changes places with it.

    Parameters
    ----------
    new : Path
        The folder. If it is not there any more, nothing happens.
    target : Path
        Where to; its parent must be there.
    aside : Path
        Where the old folder goes on a file system that cannot exchange two folders: there nothing is at the target for
        a moment.

    Returns
    -------
    bool
        Whether there was an old folder, which is now at `new` or `aside`.

    Raises
    ------
    FileNotFoundError
        If `new` is not there.
    """
    try:
        os.rename(new, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    else:
        return False
    if not exchange(new, target):
        os.stat(new)
        os.rename(target, aside)
        try:
            os.rename(new, target)
        except OSError:
            os.rename(aside, target)
            raise
    return True


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one atomic act; False where the file system cannot do that."""
    call = _exchanger()
    if call is None or call(os.fsencode(one), os.fsencode(other)) == 0:
        return call is not None
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


@lru_cache(maxsize=1)
def _exchanger() -> Any:
    """The system call that exchanges two paths; None if the system has none."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            call = library.renameat2
            call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
            return lambda one, other: call(_HERE, one, _HERE, other, _EXCHANGE)
        call = library.renamex_np
        call.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint]
    except (OSError, AttributeError, TypeError):
        return None
    return lambda one, other: call(one, other, _SWAP)


def remove_tree(path: Path) -> None:
    """Remove a folder and all that is in it; what others remove meanwhile is no error, nor what cannot be removed."""
    shutil.rmtree(path, ignore_errors=True)


def remove_if_empty(path: Path) -> None:
    """Remove a folder, unless something is in it."""
    with contextlib.suppress(OSError):
        os.rmdir(path)


def make_folder(path: Path) -> bool:
    """Create a folder in one that is there; whether it was not there before."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    return True


def is_absent(error: OSError) -> bool:
    """Whether it says that a path leads to nothing."""
    return error.errno in _ABSENT
