"""Execute saved quantum graphs, of any tasks, on any dask cluster.

The client starts a quantum when all quanta that it depends on are done. Workers execute quanta with a
`lsst.daf.butler.QuantumBackedButler`, which needs no database. At the end the outputs are registered in the repository,
as ``butler aggregate-graph`` does.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from distributed import Client, Future, as_completed

from dcrflow.base.errors import DcrflowError

_ONE_AT_A_TIME = threading.Lock()  # tasks and their logging are not made for several threads
_WINDOW = 3  # quanta in flight a worker thread


class QuantumGraphError(DcrflowError, ValueError):
    """A quantum graph cannot be read, or does not fit the repository."""


@dataclass(frozen=True)
class QuantumFailure:
    """A quantum that failed for good.

    Parameters
    ----------
    quantum : UUID
        Its id in the graph.
    task : str
        Label of the task.
    data_id : str
        In words.
    message : str
        Why.
    """

    quantum: UUID
    task: str
    data_id: str
    message: str


@dataclass
class GraphProgress:
    """Progress of a run.

    Parameters
    ----------
    total, running : int
        Quanta of the graph; in flight.
    done : mapping of str to int
        Quanta that ended, by status: ``complete``, ``failed``, ``blocked`` (by the failure of an earlier quantum).
    skipped : int
        Done by an earlier run.
    elapsed : float
        Seconds.
    ended : str
        Empty while the run goes on; then ``complete``, ``failed`` or ``stopped``.
    """

    total: int
    running: int = 0
    skipped: int = 0
    done: dict[str, int] = field(default_factory=lambda: {"complete": 0, "failed": 0, "blocked": 0})
    elapsed: float = 0.0
    ended: str = ""


def write_state(state: GraphProgress, path: Path) -> None:
    """Write a run's figures to a file, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(asdict(state)))
    partial.replace(path)


@dataclass(frozen=True)
class GraphResult:
    """Result of a run.

    Parameters
    ----------
    total, complete, skipped, blocked : int
        Quanta of the graph; executed now; done before; not begun because something before them failed.
    failures : tuple of QuantumFailure
        Those that failed.
    stopped : bool
        Whether it was asked to stop.
    """

    total: int
    complete: int
    skipped: int
    blocked: int
    failures: tuple[QuantumFailure, ...]
    stopped: bool

    @property
    def ok(self) -> bool:
        """Whether every quantum is done."""
        return self.complete + self.skipped == self.total


def run_graph(
    graph: str,
    repo: str,
    *,
    client: Client,
    retries: int = 2,
    window: int | None = None,
    aggregate: bool = True,
    progress: Callable[[GraphProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> GraphResult:
    """Execute a predicted quantum graph.

    Quanta whose outputs are there are skipped, so that the same call finishes what is missing. A quantum without work
    (`lsst.pipe.base.NoWorkFound`) is a success, as for ``pipetask``.

    Parameters
    ----------
    graph : str
        A ``.qg`` file, saved by ``pipetask qgraph --qgraph-datastore-records``; the workers must be able to read it.
    repo : str
        The Butler repository; the workers must be able to read and write its files.
    client : distributed.Client
        Whose workers do it.
    retries : int
        How often a quantum that raises is tried again.
    window : int, optional
        Quanta in flight at once; 3 a worker thread otherwise.
    aggregate : bool
        Bring the outputs home into the repository's registry at the end.
    progress : callable, optional
        Called with a `GraphProgress` whenever a quantum ends, and at the end.
    stop : threading.Event, optional
        Once set, nothing more is begun; what is in flight is finished.

    Returns
    -------
    GraphResult
        A quantum that fails blocks those that depend on it, and no others.

    Raises
    ------
    QuantumGraphError
        If the graph cannot be read, or its run not be prepared.
    """
    order = _Order(_prepare(graph, repo))
    state = GraphProgress(len(order.nodes))
    limit = window or _WINDOW * max(1, sum(client.nthreads().values()))
    tell, began = progress or (lambda _: None), time.monotonic()
    pending: dict[Future[Any], UUID] = {}
    finished = as_completed(with_results=False)
    failures: list[QuantumFailure] = []
    while True:
        while order.ready and len(pending) < limit and not (stop is not None and stop.is_set()):
            quantum = order.ready.pop(0)
            key = f"{order.nodes[quantum]['task_label']}-{quantum.hex}"
            future = client.submit(execute_quantum, graph, repo, str(quantum), key=key, retries=retries, pure=False)
            pending[future] = quantum
            finished.add(future)
        state.running, state.elapsed = len(pending), time.monotonic() - began
        tell(state)
        if not pending:
            break
        future = next(finished)
        quantum = pending.pop(future)
        if future.status == "finished":
            if future.result():
                state.skipped += 1
            else:
                state.done["complete"] += 1
            order.succeed(quantum)
        else:
            failures.append(_failure(quantum, order.nodes[quantum], future))
            state.done["failed"] += 1
            state.done["blocked"] += order.fail(quantum)
        future.release()
    stopped = bool(order.ready)
    if aggregate:
        _bring_home(graph, repo, incomplete=bool(failures) or stopped)
    state.ended = "stopped" if stopped else "failed" if failures else "complete"
    tell(state)
    return GraphResult(
        state.total, state.done["complete"], state.skipped, state.done["blocked"], tuple(failures), stopped
    )


class _Order:
    """Which quanta may begin, as others end."""

    def __init__(self, graph: Any) -> None:
        self.nodes: Mapping[UUID, Any] = dict(graph.nodes(data=True))
        self._after = {q: set(graph.successors(q)) for q in graph}
        self._before = {q: set(graph.predecessors(q)) for q in graph}
        self._blocked: set[UUID] = set()
        self.ready = [q for q in graph if not self._before[q]]

    def succeed(self, quantum: UUID) -> None:
        """Make quanta ready that waited only for this one; they go first, so that work in progress is finished."""
        for child in self._after[quantum]:
            self._before[child].discard(quantum)
            if not self._before[child] and child not in self._blocked:
                self.ready.insert(0, child)

    def fail(self, quantum: UUID) -> int:
        """Block all that depend on this one; how many are newly blocked."""
        before, waiting = len(self._blocked), [quantum]
        while waiting:
            children = self._after[waiting.pop()] - self._blocked
            self._blocked |= children
            waiting += children
        return len(self._blocked) - before


def _prepare(graph: str, repo: str) -> Any:
    """Write what precedes all quanta (configurations, versions, init-outputs), and return their order."""
    from lsst.pipe.base.pipeline_graph import TaskImportMode
    from lsst.pipe.base.quantum_graph import PredictedQuantumGraph

    try:
        with PredictedQuantumGraph.open(graph, import_mode=TaskImportMode.ASSUME_CONSISTENT_EDGES) as reader:
            reader.read_init_quanta()
            reader.read_thin_graph()
        found = reader.finish()
        _check_records(graph, _Order(found.quantum_only_xgraph).ready[:1])
        with found.make_init_qbb(repo) as butler:
            found.init_output_run(butler)
    except QuantumGraphError:
        raise
    except Exception as error:
        raise QuantumGraphError(
            f"cannot prepare a run of {graph} in {repo}: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    return found.quantum_only_xgraph


def _check_records(graph: str, quanta: list[UUID]) -> None:
    """Make sure that the graph says where the inputs' files are, by a look at quanta that come first."""
    for one in quanta:
        quantum = _read(graph, str(one)).quantum_only_xgraph.nodes[one]["quantum"]
        if any(quantum.inputs.values()) and not quantum.datastore_records:
            raise QuantumGraphError(
                f"{graph} does not say where its inputs' files are; save it with "
                "`pipetask qgraph --qgraph-datastore-records`"
            )


def execute_quantum(graph: str, repo: str, quantum: str) -> bool:
    """Execute one quantum, in this process; whether it was skipped because its outputs are there.

    What an earlier attempt left half done is removed first.
    """
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


def _failure(quantum: UUID, node: Mapping[str, Any], future: Future[Any]) -> QuantumFailure:
    error = future.exception() if future.status == "error" else RuntimeError(f"the task was {future.status}")
    causes = []
    while error is not None:
        causes.append(f"{type(error).__name__}: {' '.join(str(error).split())}")
        error = error.__cause__
    data_id = ", ".join(f"{k}={v}" for k, v in node["data_id"].required.items())
    return QuantumFailure(quantum, str(node["task_label"]), data_id, " | because of ".join(causes))


def _bring_home(graph: str, repo: str, *, incomplete: bool) -> None:
    """Register the outputs in the repository; of a run that is not at its end, what there is."""
    from lsst.pipe.base.quantum_graph.aggregator import AggregatorConfig, FatalWorkerError, aggregate_graph

    try:
        aggregate_graph(graph, repo, AggregatorConfig(incomplete=incomplete))
    except FatalWorkerError as error:
        raise QuantumGraphError(
            f"the quanta are done, but their outputs cannot be registered in {repo}: {error}; try again with "
            f"`butler aggregate-graph {graph} {repo}`"
        ) from error
