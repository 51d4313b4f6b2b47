"""Execute saved quantum graphs, of any tasks, on any dask cluster.

The client starts a job (a quantum, or several that belong together) when all that it depends on is done. At the end
the outputs are registered in the repository, as ``butler aggregate-graph`` does.
"""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from distributed import Client, Future

from dcrflow.lsst.execution import JobError, Outcome, check_records, execute_job, exit_code, said
from dcrflow.lsst.graph_progress import GraphProgress, GraphResult, QuantumFailure
from dcrflow.lsst.jobs import KILLED, Job, JobOrder, JobPlan, Needs
from dcrflow.lsst.jobs import QuantumGraphError as QuantumGraphError

_WINDOW = 3  # jobs in flight a worker thread
_LOOK = 1.0  # seconds between two looks at whether the run is to stop


def run_graph(
    graph: str,
    repo: str,
    *,
    client: Client,
    retries: int = 2,
    plan: JobPlan | None = None,
    larger: Callable[[int], Client | None] | None = None,
    window: int | None = None,
    aggregate: bool = True,
    final: str | None = None,
    only_if_complete: bool = False,
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
        The dask client whose workers execute the quanta.
    retries : int
        How often a quantum that raises is tried again, where `plan` does not say.
    plan : JobPlan, optional
        Quanta that are executed together, and what the jobs of each label need.
    larger : callable, optional
        Given an amount of memory (MB), returns the client of a cluster whose workers have that much; called for jobs
        that need more than the workers of `client` have. None if there is none.
    window : int, optional
        Jobs in flight at once; 3 a worker thread otherwise.
    aggregate : bool
        Whether to register the outputs in the repository at the end.
    final : str, optional
        A program that is called at the end, with `graph` and `repo` as its arguments, unless the run was stopped.
    only_if_complete : bool
        Whether to leave out these two if a quantum failed.
    progress : callable, optional
        Called with a `GraphProgress` whenever a job ends, and at the end.
    stop : threading.Event, optional
        When it is set, no more quanta are started; those in flight are finished.

    Returns
    -------
    GraphResult
        A quantum that fails blocks the jobs that depend on its job, and no others.

    Raises
    ------
    QuantumGraphError
        If the graph cannot be read, or its run cannot be prepared.
    """
    plan = plan or JobPlan(default=Needs(retries=retries))
    order = _prepare(graph, repo, plan)
    run = _Run(graph, repo, order, plan, _Clients(client, larger))
    limit = window or _WINDOW * max(1, sum(client.nthreads().values()))
    tell, began = progress or (lambda _: None), time.monotonic()
    state = run.state
    while True:
        stopping = stop is not None and stop.is_set()
        while order.ready and run.in_flight < limit and not stopping:
            run.submit(order.ready.pop(0))
        state.running, state.elapsed = run.in_flight, time.monotonic() - began
        tell(state)
        if not run.in_flight:
            break
        run.wait(again=lambda: not (stop is not None and stop.is_set()))
    stopped = bool(order.ready) or run.given_up
    incomplete = bool(run.failures) or stopped
    if aggregate and not (incomplete and only_if_complete):
        _register_outputs(graph, repo, incomplete=incomplete)
    good = True
    if final is not None and not stopped:
        good = _final(state, [] if incomplete and only_if_complete else [final, graph, repo])
    state.ended = "stopped" if stopped else "failed" if run.failures or not good else "complete"
    tell(state)
    return GraphResult(
        state.total, state.done["complete"], state.skipped, state.done["blocked"], tuple(run.failures), stopped,
        None if good else final,
    )  # fmt: skip


def _final(state: GraphProgress, command: list[str]) -> bool:
    """Call the program of the end, and count it as a job; whether it succeeded, or was not to be called."""
    counts = state.labels["finalJob"] = {"total": 1, "complete": 0, "failed": 0, "blocked": 0, "running": 0}
    state.exit_codes["finalJob"] = []
    if not command:
        counts["blocked"] = 1
        return True
    try:
        code = subprocess.run(command, check=False).returncode
    except OSError:
        code = 127  # as a shell has it
    counts["failed" if code else "complete"] = 1
    if code:
        state.exit_codes["finalJob"].append(code)
    return code == 0


class _Clients:
    """Which client has workers with enough memory."""

    def __init__(self, client: Client, larger: Callable[[int], Client | None] | None) -> None:
        self._first, self._larger = client, larger
        self._others: dict[int, Client] = {}

    def of(self, memory: int | None) -> Client:
        """A client for a job that needs so much memory, MB, or any; that with the most memory, if there is none."""
        if memory is None or self._larger is None:
            return self._first
        has = self.memory()
        if has is None or memory <= has:
            return self._first
        enough = [size for size in self._others if size >= memory]
        if enough:
            return self._others[min(enough)]
        made = self._larger(memory)
        if made is not None:
            self._others[memory] = made
            return made
        return self._others[max(self._others)] if self._others else self._first

    def memory(self) -> int | None:
        """The memory of the largest worker of the first client, MB; None if it has no limit, or there is none yet."""
        workers = self._first.scheduler_info(n_workers=-1)["workers"].values()
        limits = [int(w["memory_limit"] or 0) for w in workers]
        return max(limits) // 1_000_000 if limits and all(limits) else None


class _Run:
    """A run: jobs in flight, their attempts, and what became of them."""

    def __init__(self, graph: str, repo: str, order: JobOrder, plan: JobPlan, clients: _Clients) -> None:
        self._graph, self._repo, self._order, self._plan, self._clients = graph, repo, order, plan, clients
        self._ended: queue.SimpleQueue[tuple[int, Future[Any]]] = queue.SimpleQueue()
        self._attempts: dict[int, int] = {}
        self._memory: dict[int, int | None] = {}  # of jobs for which a worker's was not enough, MB
        self._left: dict[int, tuple[UUID, ...]] = {}  # quanta of a job that are still to be done
        self.in_flight, self.given_up = 0, False
        self.failures: list[QuantumFailure] = []
        self.state = GraphProgress(len(order.nodes))
        for job in order.jobs:
            counts = self.state.labels.setdefault(
                job.label, {"total": 0, "complete": 0, "failed": 0, "blocked": 0, "running": 0}
            )
            counts["total"] += 1
            self.state.exit_codes.setdefault(job.label, [])

    def submit(self, number: int) -> None:
        """Start a job, or start what is left of it again."""
        job = self._order.jobs[number]
        quanta = self._left.setdefault(number, job.quanta)
        attempt = self._attempts[number] = self._attempts.get(number, 0) + 1
        future = self._clients.of(self._memory.get(number)).submit(
            execute_job,
            self._graph,
            self._repo,
            [str(q) for q in quanta],
            {str(q): self._order.parents[q] for q in quanta},
            key=f"{job.label}-{quanta[0].hex}-{attempt}",
            pure=False,
        )
        self._counts(job)["running"] += 1
        self.in_flight += 1
        future.add_done_callback(lambda done, number=number: self._ended.put((number, done)))

    def wait(self, again: Callable[[], bool]) -> None:
        """Wait until a job ends, or for a second; a job that failed is begun again if its label and `again` allow."""
        try:
            number, future = self._ended.get(timeout=_LOOK)
        except queue.Empty:
            return
        job = self._order.jobs[number]
        self.in_flight -= 1
        self._counts(job)["running"] -= 1
        outcomes = _outcomes(future, self._left[number])
        future.release()
        for outcome in outcomes:
            if outcome.status == "skipped":
                self.state.skipped += 1
            elif outcome.status == "complete":
                self.state.done["complete"] += 1
        left = tuple(q for q, o in zip(self._left[number], outcomes, strict=True) if o.status in ("failed", "blocked"))
        if not left:
            self._counts(job)["complete"] += 1
            self._order.succeed(number)
            return
        self._left[number] = left
        codes = [o.code for o in outcomes if o.status == "failed"]
        self.state.exit_codes[job.label].append(max(codes))
        if self._tried_enough(number, job, codes):
            self._fail(number, job, [o for o in outcomes if o.status in ("failed", "blocked")])
        elif again():
            self.submit(number)
        else:
            self.given_up = True

    def _tried_enough(self, number: int, job: Job, codes: list[int]) -> bool:
        needs = self._plan.needs_of(job.label)
        if KILLED in codes:
            had = self._memory.get(number) or max(needs.memory or 0, self._clients.memory() or 0)
            self._memory[number] = needs.more(had or None)
        return self._attempts[number] > needs.retries or any(code in needs.final_codes for code in codes)

    def _fail(self, number: int, job: Job, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            quantum = UUID(outcome.quantum)
            if outcome.status == "blocked":
                self.state.done["blocked"] += 1
                continue
            self.state.done["failed"] += 1
            self.failures.append(_failure(quantum, self._order.nodes[quantum], outcome.message))
        self._counts(job)["failed"] += 1
        for blocked in self._order.fail(number):
            other = self._order.jobs[blocked]
            self._counts(other)["blocked"] += 1
            self.state.done["blocked"] += len(other.quanta)

    def _counts(self, job: Job) -> dict[str, int]:
        return self.state.labels[job.label]


def _outcomes(future: Future[Any], quanta: tuple[UUID, ...]) -> tuple[Outcome, ...]:
    """How the quanta of a job ended; all failed where the worker was lost."""
    if future.status == "finished":
        found: tuple[Outcome, ...] = future.result()
        return found
    error = future.exception() if future.status == "error" else RuntimeError(f"the task was {future.status}")
    if isinstance(error, JobError):
        return error.outcomes
    lost = type(error).__name__ == "KilledWorker"
    message = said(error) if error is not None else "no reason was given"
    return tuple(
        Outcome(str(q), "failed", message, KILLED if lost else exit_code(error or Exception())) for q in quanta
    )


def _prepare(graph: str, repo: str, plan: JobPlan) -> JobOrder:
    """Write what precedes all quanta (configurations, versions, init-outputs), and return the order of the jobs."""
    from lsst.pipe.base.pipeline_graph import TaskImportMode
    from lsst.pipe.base.quantum_graph import PredictedQuantumGraph

    try:
        with PredictedQuantumGraph.open(graph, import_mode=TaskImportMode.ASSUME_CONSISTENT_EDGES) as reader:
            reader.read_init_quanta()
            reader.read_thin_graph()
        found = reader.finish()
        order = JobOrder(found.quantum_only_xgraph, plan)
        check_records(graph, [order.jobs[n].quanta[0] for n in order.ready[:1]])
        with found.make_init_qbb(repo) as butler:
            found.init_output_run(butler)
    except QuantumGraphError:
        raise
    except Exception as error:
        raise QuantumGraphError(
            f"cannot prepare a run of {graph} in {repo}: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    return order


def _failure(quantum: UUID, node: Any, message: str) -> QuantumFailure:
    data_id = ", ".join(f"{k}={v}" for k, v in node["data_id"].required.items())
    return QuantumFailure(quantum, str(node["task_label"]), data_id, message)


def _register_outputs(graph: str, repo: str, *, incomplete: bool) -> None:
    """Register the outputs in the repository; if the run is not complete, those that exist."""
    from lsst.pipe.base.quantum_graph.aggregator import AggregatorConfig, FatalWorkerError, aggregate_graph

    try:
        aggregate_graph(graph, repo, AggregatorConfig(incomplete=incomplete))
    except FatalWorkerError as error:
        raise QuantumGraphError(
            f"the quanta are done, but their outputs cannot be registered in {repo}: {error}; try again with "
            f"`butler aggregate-graph {graph} {repo}`"
        ) from error
