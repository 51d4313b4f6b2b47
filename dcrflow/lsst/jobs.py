"""The jobs of a quantum graph: which quanta are executed together, in which order, and what they need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from dcrflow.base.errors import DcrflowError

#: Exit status of a job, as a shell would see it, whose process was killed, as for want of memory.
KILLED = 137


class QuantumGraphError(DcrflowError, ValueError):
    """A quantum graph cannot be read, or does not fit the repository."""


@dataclass(frozen=True)
class Needs:
    """What the jobs of a label need.

    Parameters
    ----------
    retries : int
        How often a job that fails is tried again.
    final_codes : tuple of int
        Exit statuses after which it is not tried again.
    memory : int, optional
        Memory of the worker, MB; any worker otherwise.
    memory_multiplier : float
        By which the memory grows whenever it was not enough.
    memory_max : int, optional
        The most that it grows to, MB.
    """

    retries: int = 2
    final_codes: tuple[int, ...] = ()
    memory: int | None = None
    memory_multiplier: float = 2.0
    memory_max: int | None = None

    def more(self, memory: int | None) -> int | None:
        """The memory of the next attempt, after that of this one was not enough."""
        if memory is None:
            return None
        grown = round(memory * max(1.0, self.memory_multiplier))
        return grown if self.memory_max is None else max(memory, min(grown, self.memory_max))


@dataclass(frozen=True)
class Job:
    """Quanta that are executed one after the other by the same worker.

    Parameters
    ----------
    name, label : str
        The label is that of the task, or of the cluster.
    quanta : tuple of UUID
        Ids in the graph, each after those that it depends on.
    """

    name: str
    label: str
    quanta: tuple[UUID, ...]


@dataclass(frozen=True)
class JobPlan:
    """How to execute a graph: its jobs, and what each label needs.

    Parameters
    ----------
    jobs : tuple of (str, str, tuple of str)
        Name, label and quanta of each job that has several quanta; all other quanta are jobs of their own.
    needs : mapping of str to Needs
        By label.
    default : Needs
        Of labels that are not in `needs`.
    """

    jobs: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    needs: Mapping[str, Needs] | None = None
    default: Needs = Needs()

    def needs_of(self, label: str) -> Needs:
        """What the jobs of a label need."""
        return (self.needs or {}).get(label, self.default)

    def write(self, path: Path) -> None:
        """Write it to a file, as JSON."""
        needs = {label: asdict(n) for label, n in (self.needs or {}).items()}
        path.write_text(json.dumps({"jobs": self.jobs, "needs": needs}, indent=1))

    @classmethod
    def read(cls, path: Path, default: Needs) -> JobPlan:
        """Read what `write` wrote.

        Raises
        ------
        QuantumGraphError
            If it cannot be read.
        """
        try:
            found = json.loads(path.read_text())
            jobs = tuple((str(n), str(label), tuple(map(str, q))) for n, label, q in found["jobs"])
            needs = {k: Needs(**v | {"final_codes": tuple(v["final_codes"])}) for k, v in found["needs"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise QuantumGraphError(f"cannot read the jobs in {path}: {type(error).__name__}: {error}") from error
        return cls(jobs, needs, default)


class JobOrder:
    """Which jobs may begin, as others end.

    Parameters
    ----------
    graph : networkx.DiGraph
        Quanta and their dependencies; nodes have a ``task_label``.
    plan : JobPlan
        Quanta that belong together.

    Raises
    ------
    QuantumGraphError
        If the jobs depend on each other in a circle, or have quanta that are not in the graph.
    """

    def __init__(self, graph: Any, plan: JobPlan | None = None) -> None:
        self.nodes: Mapping[UUID, Any] = dict(graph.nodes(data=True))
        jobs = list(_jobs(graph, plan or JobPlan()))
        self._of = {quantum: number for number, job in enumerate(jobs) for quantum in job.quanta}
        edges = {(self._of[a], self._of[b]) for a, b in graph.edges if self._of[a] != self._of[b]}
        self.jobs = jobs
        self._after: list[set[int]] = [set() for _ in jobs]
        self._before: list[set[int]] = [set() for _ in jobs]
        for a, b in edges:
            self._after[a].add(b)
            self._before[b].add(a)
        self._blocked: set[int] = set()
        self.ready = [number for number, before in enumerate(self._before) if not before]
        _check_no_circle(self._before, self._after)
        self.parents = {
            q: tuple(str(p) for p in graph.predecessors(q) if self._of[p] == self._of[q]) for q in graph.nodes
        }

    def succeed(self, job: int) -> None:
        """Make jobs ready that waited only for this one; they go first, so that work in progress is finished."""
        for child in sorted(self._after[job]):
            self._before[child].discard(job)
            if not self._before[child] and child not in self._blocked:
                self.ready.insert(0, child)

    def fail(self, job: int) -> list[int]:
        """Block all that depend on this one; those that are newly blocked."""
        new, waiting = [], [job]
        while waiting:
            children = sorted(self._after[waiting.pop()] - self._blocked)
            self._blocked.update(children)
            new += children
            waiting += children
        return new


def _jobs(graph: Any, plan: JobPlan) -> Iterable[Job]:
    names = {str(q): q for q in graph.nodes}
    place = {q: i for i, q in enumerate(_in_order(graph))}
    taken: set[UUID] = set()
    for name, label, quanta in plan.jobs:
        unknown = [q for q in quanta if q not in names]
        if unknown:
            raise QuantumGraphError(f"job {name} has the quantum {unknown[0]}, which is not in the graph")
        found = tuple(sorted((names[q] for q in quanta), key=lambda q: place[q]))
        taken.update(found)
        yield Job(name, label, found)
    for quantum in graph.nodes:
        if quantum not in taken:
            yield Job(str(quantum), str(graph.nodes[quantum]["task_label"]), (quantum,))


def _in_order(graph: Any) -> list[Any]:
    """The nodes, each after those that it depends on."""
    before = {q: set(graph.predecessors(q)) for q in graph.nodes}
    ready, found = [q for q in graph.nodes if not before[q]], []
    while ready:
        found.append(ready.pop())
        for child in graph.successors(found[-1]):
            before[child].discard(found[-1])
            if not before[child]:
                ready.append(child)
    return found


def _check_no_circle(before: list[set[int]], after: list[set[int]]) -> None:
    waiting = [set(b) for b in before]
    ready, number = [i for i, b in enumerate(waiting) if not b], 0
    while ready:
        one = ready.pop()
        number += 1
        for child in after[one]:
            waiting[child].discard(one)
            if not waiting[child]:
                ready.append(child)
    if number < len(before):
        raise QuantumGraphError("the jobs depend on each other in a circle: cluster the quanta in another way")
