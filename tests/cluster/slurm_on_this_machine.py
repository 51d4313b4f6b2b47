"""A SLURM of one node on this machine, with its own configuration, ports and spool, for the time of the tests."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "srun")

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge.sock
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmdSpoolDir={home}/spool
StateSaveLocation={home}/state
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=3
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why SLURM cannot be started here; empty if it can."""
    path = os.environ["PATH"] + ":/usr/sbin"
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if missing:
        return f"SLURM is not installed ({', '.join(missing)}): apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "starting SLURM needs root"


@contextmanager
def slurm(home: Path) -> Iterator[dict[str, str]]:
    """Start it; yields the environment in which its commands find it."""
    for name in ("spool", "state"):
        (home / name).mkdir(parents=True)
    key = home / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    host = socket.gethostname().split(".")[0]
    configuration = home / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(host=host, home=home, ports=(_free_port(), _free_port())))
    (home / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    environment = os.environ | {"SLURM_CONF": str(configuration), "PATH": os.environ["PATH"] + ":/usr/sbin"}

    def start(*command: str) -> None:
        subprocess.run(command, env=environment, check=True, timeout=30, capture_output=True)

    try:
        start(
            "munged", "--force", f"--key-file={key}", f"--socket={home}/munge.sock", f"--pid-file={home}/munged.pid",
            f"--log-file={home}/munged.log", f"--seed-file={home}/munge.seed",
        )  # fmt: skip
        start("slurmctld", "-f", str(configuration))
        start("slurmd", "-f", str(configuration), "-N", host)
        until = time.monotonic() + 60
        while "idle" not in _told(environment, "sinfo", "-h", "-o", "%T"):
            if time.monotonic() > until:
                raise TimeoutError((home / "slurmd.log").read_text() + (home / "slurmctld.log").read_text())
            time.sleep(0.3)
        yield environment
    finally:
        _told(environment, "scancel", "--user=root")
        time.sleep(1)
        for name in ("slurmd", "slurmctld", "munged"):
            with suppress(OSError, ValueError):
                os.kill(int((home / f"{name}.pid").read_text()), signal.SIGTERM)


def _told(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=False
    ).stdout.strip()  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
