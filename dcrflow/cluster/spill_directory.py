"""The directory that workers spill memory to, checked before a run."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from dcrflow.base.errors import ClusterError

_REMOTE = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "ceph", "fuse.sshfs", "afs", "panfs"}
_ENOUGH = 2**30  # bytes; with less than this free, spilling soon fails


def check_spill_directory(directory: Path) -> str | None:
    """Make sure that a directory can be written; returns a warning if it is nearly full or on a network file system.

    Raises
    ------
    ClusterError
        If it cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory) as file:
            file.write(b"x")
    except OSError as error:
        raise ClusterError(
            f"local_directory {directory} cannot be written: {error}; give the node's own disk"
        ) from None
    free = shutil.disk_usage(directory).free
    if free < _ENOUGH:
        return f"local_directory {directory} has {free / 2**20:.0f} MiB free: workers that spill will fail"
    kind = _file_system(directory)
    if kind in _REMOTE:
        return (
            f"local_directory {directory} is on {kind}, over the network: spilling there is slow; give the node's own"
        )
    return None


def _file_system(directory: Path) -> str:
    """Type of the file system that a directory is on; empty where that cannot be told."""
    best, kind = "", ""
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        _, place, found, *_ = line.split()
        if directory.resolve().is_relative_to(place) and len(place) >= len(best):
            best, kind = place, found
    return kind
