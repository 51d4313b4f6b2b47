"""What describes a cluster: the fields that several backends share, and what a backend is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dask.utils import parse_bytes, parse_timedelta
from pydantic import BaseModel, ConfigDict, Field, field_validator

from dcrflow.base.errors import brief

if TYPE_CHECKING:
    from distributed import Client


class Description(BaseModel):
    """What a cluster is to be: frozen, unknown fields are an error. A subclass has a field ``kind`` with a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Backend:
    """One kind of cluster.

    Parameters
    ----------
    description : type of Description
        Its fields.
    open : callable
        Given a description: an iterator that yields one client and closes what was opened when it goes on.
    submitted : callable, optional
        Given a description: the text that would be submitted, such as a job script. None where nothing is.
    """

    description: type[Description]
    open: Callable[[Any], Iterator[Client]]
    submitted: Callable[[Any], str] | None = None

    @property
    def kind(self) -> str:
        """The name of this kind of cluster."""
        return str(self.description.model_fields["kind"].default)

    @property
    def by_word(self) -> bool:
        """Whether its name alone describes a cluster: no field is required."""
        return not any(field.is_required() for field in self.description.model_fields.values())


class Workers(Description):
    """Worker processes, whatever starts them."""

    workers: Annotated[int, Field(ge=1)] | None = Field(
        None, description="worker processes; None: one per core (local)"
    )
    threads: Annotated[int, Field(ge=1)] = Field(1, description="threads of a worker")
    memory: str = Field("auto", description="of a worker, as 4GiB; it spills at 70 % and is restarted at 95 % of it")
    adaptive: bool = Field(False, description="start and stop workers with the load instead of keeping their number")
    local_directory: Path | None = Field(None, description="directory on the workers' own disk, to spill memory to")
    worker_ttl: str = Field(
        "5m", description="a worker that has not reported for so long is given up, and its work done elsewhere"
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
