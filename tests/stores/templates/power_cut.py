"""A model of a file system that remembers what was synced: what may be on the disk after the power went.

Files and folders are inodes. What is done to names (creating, renaming, removing) waits until one of the folders that
it concerns is synced, what is written to a file until that file is. When the power goes, any part of what waits may
have reached the disk, and in another order.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dcrflow.stores import files


@dataclass(eq=False)
class Inode:
    """A file (content) or a folder (names); what is on the disk of it, and what should be."""

    folder: bool
    names: dict[str, Inode] = field(default_factory=dict)
    content: bytes = b""
    kept_names: dict[str, Inode] = field(default_factory=dict)
    kept_content: bytes = b""


@dataclass(eq=False)
class Act:
    """A change of names that is done as a whole or not at all: (folder, name, inode or None)."""

    changes: tuple[tuple[Inode, str, Inode | None], ...]


class Disk:
    """Records what is done below a directory."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.root = self._read(top)
        self.waiting: list[Act] = []
        self.steps = 0

    def _read(self, path: Path) -> Inode:
        """What is there already is on the disk."""
        if not path.is_dir():
            content = path.read_bytes()
            return Inode(False, content=content, kept_content=content)
        names = {child.name: self._read(child) for child in path.iterdir()}
        return Inode(True, names, kept_names=dict(names))

    def find(self, path: Any) -> Inode | None:
        try:
            parts = Path(path).relative_to(self.top).parts
        except ValueError:
            return None
        here: Inode | None = self.root
        for part in parts:
            here = None if here is None else here.names.get(part)
        return here

    def act(self, *changes: tuple[Path, Inode | None]) -> None:
        """Change names."""
        whole = []
        for path, inode in changes:
            folder = self.find(Path(path).parent)
            assert folder is not None
            whole.append((folder, Path(path).name, inode))
        for folder, name, inode in whole:
            if inode is None:
                folder.names.pop(name, None)
            else:
                folder.names[name] = inode
        self.waiting.append(Act(tuple(whole)))

    def sync(self, path: Path) -> None:
        inode = self.find(path)
        assert inode is not None, path
        inode.kept_content = inode.content
        for act in [a for a in self.waiting if any(f is inode for f, _, _ in a.changes)]:
            self.keep(act)
            self.waiting.remove(act)

    @staticmethod
    def keep(act: Act) -> None:
        for folder, name, inode in act.changes:
            if inode is None:
                folder.kept_names.pop(name, None)
            else:
                folder.kept_names[name] = inode

    def cut(self, where: Path, choose: Callable[[int, int], list[int]], content: bool) -> None:
        """Write what is on the disk to a directory; of what waits, those acts that are chosen, in their order.

        With `content`, all that was written is there; otherwise files that were not synced are as they were, or empty.
        """
        for number in choose(len(self.waiting), self.steps):
            self.keep(self.waiting[number])
        self._write(self.root, where, content)

    def _write(self, inode: Inode, path: Path, content: bool) -> None:
        if not inode.folder:
            path.write_bytes(inode.content if content else inode.kept_content)
            return
        path.mkdir()
        for name, child in inode.kept_names.items():
            self._write(child, path / name, content)


class PowerCutError(BaseException):
    """The power went."""


@contextmanager
def recorded(disk: Disk, last: int) -> Iterator[None]:
    """While it lasts, what `dcrflow.stores` does to files is recorded; before act number `last` the power goes."""
    plain = {n: getattr(os, n) for n in ("rename", "mkdir", "rmdir", "unlink")}
    write, sync, exchange, remove = files.write_new_file, files.sync, files.exchange, files.remove_tree

    def step() -> None:
        if disk.steps >= last:
            raise PowerCutError
        disk.steps += 1

    def inside(path: Any) -> bool:
        return disk.top in Path(path).parents

    def mkdir(path: Any, *more: Any, **options: Any) -> None:
        if inside(path):
            step()
        plain["mkdir"](path, *more, **options)
        if inside(path):
            disk.act((Path(path), Inode(True)))

    def rmdir(path: Any, **options: Any) -> None:
        if inside(path):
            step()
        plain["rmdir"](path, **options)
        if inside(path):
            disk.act((Path(path), None))

    def rename(one: Any, other: Any) -> None:
        step()
        plain["rename"](one, other)
        moved = disk.find(one)
        assert moved is not None
        disk.act((Path(one), None), (Path(other), moved))

    def unlink(path: Any, **options: Any) -> None:
        step()
        plain["unlink"](path, **options)
        disk.act((Path(path), None))

    def write_new_file(path: Path, data: Any) -> None:
        step()
        write(path, data)
        disk.act((path, Inode(False, content=bytes(data))))

    def synced(path: Path) -> None:
        step()
        sync(path)
        disk.sync(path)

    def exchanged(one: Path, other: Path) -> bool:
        step()
        assert exchange(one, other)
        disk.act((one, disk.find(other)), (other, disk.find(one)))
        return True

    def removed(path: Path) -> None:
        """File by file, as `shutil.rmtree` does it."""
        if not path.is_dir():
            return
        for child in sorted(path.rglob("*"), reverse=True):
            rmdir(child) if child.is_dir() else unlink(child)
        rmdir(path)

    from dcrflow.stores import locks
    from dcrflow.stores.templates import places

    assert places.files is files
    with (
        patch.multiple(os, mkdir=mkdir, rmdir=rmdir, rename=rename),
        patch.multiple(files, write_new_file=write_new_file, sync=synced, exchange=exchanged, remove_tree=removed),
        patch.multiple(locks, write_new_file=write_new_file, remove_tree=removed),
    ):
        yield
    assert remove is not removed


def everything(number: int, _: int) -> list[int]:
    """All acts that wait."""
    return list(range(number))


def nothing(_: int, __: int) -> list[int]:
    """None of them."""
    return []


def some(seed: int) -> Callable[[int, int], list[int]]:
    """Each with an even chance."""

    def choose(number: int, steps: int) -> list[int]:
        chance = random.Random(1000 * seed + steps)
        return [n for n in range(number) if chance.random() < 0.5]

    return choose


def replaced(top: Path, by: Path) -> None:
    """A directory in another one's place."""
    shutil.rmtree(top)
    by.rename(top)
