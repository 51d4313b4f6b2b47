"""What a cluster is to be: one small frozen description for every kind, from a word, a YAML file or an address."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from dask.utils import parse_bytes, parse_timedelta
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from dcrflow.base.errors import ClusterError, brief
from dcrflow.base.yamltext import read_yaml


class _Description(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Workers(_Description):
    """Worker processes, whatever starts them."""

    workers: Annotated[int, Field(ge=1)] | None = Field(None, description="worker processes; None: one a core (local)")
    threads: Annotated[int, Field(ge=1)] = Field(1, description="threads of a worker")
    memory: str = Field("auto", description="of a worker, as 4GiB; it spills at 70 % and is restarted at 95 % of it")
    adaptive: bool = Field(False, description="start and stop workers with the load instead of keeping their number")
    local_directory: Path | None = Field(None, description="fast scratch space of the workers' own node, for spilling")
    worker_ttl: str = Field(
        "5m", description="a worker that has not been heard of for so long is given up, and its work done elsewhere"
    )
    dashboard: Annotated[int, Field(ge=0, le=65535)] = Field(8787, description="port of the dashboard, if it is free")
    dashboard_host: str = Field(
        "127.0.0.1",
        pattern=r"^[A-Za-z0-9.:_-]*$",
        description="address that the dashboards listen on, here and at the workers; by default what `ssh -L` reaches "
        "and nobody else; 0.0.0.0: every network",
    )

    @field_validator("memory")
    @classmethod
    def _is_memory(cls, value: str) -> str:
        try:
            amount = 2**27 if value == "auto" else parse_bytes(value)
        except OverflowError:
            raise ValueError(f"{brief(value)} of memory is without end: give it as 4GiB") from None
        if amount < 2**27:
            raise ValueError(f"{value} of memory is too little for a worker: give 128MiB or more, as 4GiB")
        return value

    @field_validator("worker_ttl")
    @classmethod
    def _is_ttl(cls, value: str) -> str:
        if seconds(value) < 5:
            raise ValueError(f"a worker_ttl of {value} is too short, workers report every few seconds: give 5s or more")
        return value


class Local(Workers):
    """Worker processes on this machine, listening on the loopback interface only."""

    kind: Literal["local"] = "local"
    tls: bool = Field(
        True,
        description="encrypt and authenticate, with certificates made for the run: the machine may have other users",
    )


class Batch(Workers):
    """Workers as jobs of a batch system, the scheduler in this process."""

    kind: Literal["slurm", "pbs", "htcondor"]
    workers: Annotated[int, Field(ge=1)] = Field(4, description="worker processes")
    memory: str = Field("4GiB", description="of a worker; the job asks for all of its workers'")
    workers_per_job: Annotated[int, Field(ge=1)] = Field(1, description="worker processes in one job")
    queue: str | None = Field(None, description="partition, queue")
    account: str | None = Field(None, description="account, project")
    walltime: str = Field("04:00:00", description="of a job, HH:MM:SS; its workers retire some time before")
    directives: tuple[str, ...] = Field((), description="more lines for the job's header, without #SBATCH and the like")
    prologue: tuple[str, ...] = Field((), description="shell lines before the worker: modules, environments")
    python: str | None = Field(None, description="the workers' Python; None: this one")
    interface: str | None = Field(None, description="network interface to listen on, as ib0")
    logs: Path = Field(Path("dcrflow-logs"), description="directory for the jobs' logs, shared by all nodes")
    tls: bool = Field(True, description="encrypt and authenticate, with certificates made for the run")

    @field_validator("walltime")
    @classmethod
    def _is_walltime(cls, value: str) -> str:
        if seconds(value) < 120:
            raise ValueError(f"a walltime of {value} is too short: give HH:MM:SS, 2 minutes or more")
        return value

    @property
    def lifetime(self) -> tuple[int, int]:
        """Seconds after which a worker retires, handing over what it holds, and how much later at most.

        A twentieth of the walltime (1 to 10 minutes) is kept to retire in; so much again, at most half of it, spreads
        the workers' retirements.
        """
        whole = seconds(self.walltime)
        margin = min(600, max(60, whole // 20))
        stagger = margin // 2
        return whole - margin - stagger, stagger


class Slurm(Batch):
    """Workers as SLURM jobs."""

    kind: Literal["slurm"] = "slurm"


class Pbs(Batch):
    """Workers as PBS jobs."""

    kind: Literal["pbs"] = "pbs"


class HtCondor(Batch):
    """Workers as HTCondor jobs."""

    kind: Literal["htcondor"] = "htcondor"
    disk: str = Field("10GiB", description="scratch space of a job")


class Kubernetes(Workers):
    """Workers as pods, through the dask operator."""

    kind: Literal["kubernetes"] = "kubernetes"
    workers: Annotated[int, Field(ge=1)] = Field(4, description="worker pods")
    memory: str = Field("4GiB", description="limit of a worker pod")
    name: str = Field("dcrflow", pattern=r"^[a-z]([-a-z0-9]{0,40}[a-z0-9])?$", description="of the cluster")
    namespace: str = Field("default", description="where")
    image: str = Field("dcrflow:latest", description="container image with dcrflow in it, made by deploy/kubernetes")
    environment: dict[str, str] = Field({}, description="environment variables of every pod")
    secrets: tuple[str, ...] = Field((), description="secrets whose keys become environment variables: credentials")
    tls: bool = Field(True, description="encrypt and authenticate inside the cluster, by the secret NAME-tls")


class Running(_Description):
    """A scheduler that runs already."""

    kind: Literal["running"] = "running"
    address: str = Field(pattern=r"^(tcp|tls|ws|wss)://\S+$", description="tcp://host:port or tls://host:port")
    certificates: Path | None = Field(
        None, description="directory with ca.pem, cert.pem and key.pem, for tls; None: as dask is configured"
    )


class SchedulerFile(_Description):
    """A scheduler that runs, or will soon, and says so in a file: `dask scheduler --scheduler-file`."""

    kind: Literal["scheduler-file"] = "scheduler-file"
    path: Path
    certificates: Path | None = Field(None, description="as of a running scheduler")
    wait: Annotated[float, Field(gt=0)] = Field(120.0, description="seconds to wait for the file")


Description = Annotated[
    Local | Slurm | Pbs | HtCondor | Kubernetes | Running | SchedulerFile, Field(discriminator="kind")
]
_ADAPTER: TypeAdapter[Any] = TypeAdapter(Description)

#: The kinds that a word can name.
KINDS: dict[str, type[BaseModel]] = {
    "local": Local,
    "slurm": Slurm,
    "pbs": Pbs,
    "htcondor": HtCondor,
    "kubernetes": Kubernetes,
}


def seconds(text: str) -> int:
    """Seconds of HH:MM:SS, MM:SS, D-HH:MM:SS, or a dask timedelta such as 90m."""
    try:
        if ":" not in text:
            return round(float(parse_timedelta(text) or 0))
        days, _, clock = text.rpartition("-")
        parts = [int(p) for p in clock.split(":")]
        return int(86400 * int(days or 0) + sum(p * 60**i for i, p in enumerate(reversed(parts))))
    except (ValueError, KeyError, TypeError, OverflowError):
        raise ValueError(f"{brief(text)} is no time: give HH:MM:SS, or 90m") from None


def read_description(text: str, **changes: Any) -> Any:
    """What `text` describes: a word of `KINDS`, the name of a YAML or scheduler file, or a scheduler's address.

    Parameters
    ----------
    text : str
        ``local``, ``slurm``, ``pbs``, ``htcondor``, ``kubernetes``; a file ending in .yaml or .yml (one mapping, with a
        ``kind`` and any field of that kind), or in .json (a scheduler file); ``tcp://host:port``, ``tls://host:port``.
    **changes
        Fields over it; None changes nothing.

    Raises
    ------
    ClusterError
        If it is none of these, or a field is unknown or unusable; names it.
    """
    fields = {name: value for name, value in changes.items() if value is not None}
    if text in KINDS:
        values: dict[str, Any] = {"kind": text}
    elif text.endswith((".yaml", ".yml")):
        values = _read_yaml(text)
    elif text.endswith(".json"):
        values = {"kind": "scheduler-file", "path": text}
    elif "://" in text:
        values = {"kind": "running", "address": text}
    else:
        raise ClusterError(
            f"unknown cluster {brief(text)}: give {', '.join(KINDS)}, a YAML file, a scheduler file (.json), or the "
            "address (tcp://host:port, tls://host:port) of a scheduler that runs already"
        )
    try:
        found = _ADAPTER.validate_python(values | fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"][1:]) or "kind"
        raise ClusterError(
            f"cluster {text}: {where}: {first['msg']}; `dcrflow cluster fields` lists what there is"
        ) from None
    return found


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        values = read_yaml(path)
    except (OSError, ValueError) as error:
        raise ClusterError(f"cannot read the cluster description {path}: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
        raise ClusterError(f"{path} is no cluster description: expected a mapping with a kind ({', '.join(KINDS)})")
    return values
