"""Execute the quanta of a job, on a worker, with a `lsst.daf.butler.QuantumBackedButler` that needs no database."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from dcrflow.base.errors import DcrflowError
from dcrflow.lsst.jobs import KILLED, QuantumGraphError

_ONE_AT_A_TIME = threading.Lock()  # tasks and their logging are not made for several threads


@dataclass(frozen=True)
class Outcome:
    """How a quantum ended.

    Parameters
    ----------
    quantum : str
        Its id in the graph.
    status : str
        ``complete``, ``skipped`` (its outputs were there), ``failed`` or ``blocked`` (by the failure of another of the
        same job).
    message : str
        Why it failed.
    code : int
        The exit status that `pipetask` would have had.
    """

    quantum: str
    status: str
    message: str = ""
    code: int = 0


class JobError(DcrflowError, RuntimeError):
    """Quanta of a job failed; `outcomes` says how each of its quanta ended."""

    def __init__(self, message: str, outcomes: tuple[Outcome, ...]) -> None:
        super().__init__(message)
        self.outcomes = outcomes

    def __reduce__(self) -> tuple[Any, ...]:
        return JobError, (str(self), self.outcomes)


def execute_job(
    graph: str, repo: str, quanta: Sequence[str], parents: Mapping[str, Sequence[str]]
) -> tuple[Outcome, ...]:
    """Execute quanta one after the other; those that do not depend on a failure go on after it.

    What an earlier attempt left half done is removed first.

    Parameters
    ----------
    graph, repo : str
        As `dcrflow.lsst.quanta.run_graph`.
    quanta : sequence of str
        Ids, in order.
    parents : mapping of str to sequence of str
        Those of the same job on which a quantum depends.

    Raises
    ------
    JobError
        If any failed.
    """
    outcomes: dict[str, Outcome] = {}
    first: Exception | None = None
    for quantum in quanta:
        if any(outcomes[p].status in ("failed", "blocked") for p in parents.get(quantum, ()) if p in outcomes):
            outcomes[quantum] = Outcome(quantum, "blocked")
            continue
        try:
            skipped = execute_quantum(graph, repo, quantum)
            outcomes[quantum] = Outcome(quantum, "skipped" if skipped else "complete")
        except Exception as error:
            first = first or error
            outcomes[quantum] = Outcome(quantum, "failed", said(error), exit_code(error))
    if first is not None:
        raise JobError(said(first), tuple(outcomes.values())) from first
    return tuple(outcomes.values())


def execute_quantum(graph: str, repo: str, quantum: str) -> bool:
    """Execute one quantum, in this process; whether it was skipped because its outputs are there."""
    from lsst.daf.butler import QuantumBackedButler
    from lsst.pipe.base import TaskFactory
    from lsst.pipe.base.single_quantum_executor import SingleQuantumExecutor

    with _ONE_AT_A_TIME:
        found = _read(graph, quantum)
        one = UUID(quantum)
        types = {node.name: node.dataset_type for node in found.pipeline_graph.dataset_types.values()}

        def butler_for(which: Any) -> Any:
            return QuantumBackedButler.initialize(
                config=repo, quantum=which, dimensions=found.pipeline_graph.universe, dataset_types=types
            )

        executor = SingleQuantumExecutor(
            butler=None, task_factory=TaskFactory(), limited_butler_factory=butler_for, skip_existing=True,
            clobber_outputs=True,
        )  # fmt: skip
        node = found.quantum_only_xgraph.nodes[one]
        try:
            result = executor.execute(node["pipeline_node"], node["quantum"], quantum_id=one)
        except Exception as error:
            error.add_note(f"in {node['task_label']} of {dict(node['data_id'].required)}")
            raise
        return bool(result.skipped_existing)


@lru_cache(maxsize=1)
def _read(graph: str, quantum: str) -> Any:
    """The graph with what executing one quantum needs; kept for another attempt."""
    from lsst.pipe.base.quantum_graph import PredictedQuantumGraph

    found = PredictedQuantumGraph.read_execution_quanta(graph, quantum_ids={UUID(quantum)})
    found.build_execution_quanta()
    return found


def said(error: BaseException) -> str:
    """An error in one line, with its causes."""
    causes: list[str] = []
    one: BaseException | None = error
    while one is not None:
        causes.append(f"{type(one).__name__}: {' '.join(str(one).split())}")
        one = one.__cause__
    return " | because of ".join(causes)


def exit_code(error: BaseException) -> int:
    """The exit status of `pipetask` after an error; that of a killed process if there was not enough memory."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, MemoryError):
            return KILLED
        one = one.__cause__ or one.__context__
    return int(getattr(error, "EXIT_CODE", 1))


def check_records(graph: str, quanta: list[UUID]) -> None:
    """Make sure that the graph says where the inputs' files are, by a look at quanta that come first.

    Raises
    ------
    QuantumGraphError
        If it does not.
    """
    for one in quanta:
        quantum = _read(graph, str(one)).quantum_only_xgraph.nodes[one]["quantum"]
        if any(quantum.inputs.values()) and not quantum.datastore_records:
            raise QuantumGraphError(
                f"{graph} does not say where its inputs' files are; save it with "
                "`pipetask qgraph --qgraph-datastore-records`"
            )
