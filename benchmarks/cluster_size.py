"""What does a pass cost on a large cluster, and what breaks first: a cost model, and its tree tried out.

The model (docs/scale.md) takes its rates from this machine, in this run: the kernel, zarr, Dask's
cost of a task. The network's is an option. Then the library's own tree merges as many records of
full size as there would be leaves, made without rows, and the result is held against a plain sum.
About three minutes.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from distributed.worker import Worker

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import memory
from benchmarks.fits import threads
from benchmarks.kernel import Case, iteration
from benchmarks.machine import Table, arguments, best, introduce, one_thread
from benchmarks.out_of_core import read_alone, write_store
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.families import get_family
from dgmm.mixture.statistics import SufficientStatistics
from dgmm.passes.execution import Resources
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.rows import Rows
from dgmm.passes.tree import FAN_IN, FAN_IN_LARGE, LARGE, PassRunner

ROWS, WORKERS = 10**12, 1000
CHUNK_BYTES = 16 * 2**20
TASKS_OF_A_WORKER = 16
"""Tasks of a pass for each worker, where a task reads many chunks."""

SHAPES = (("full", 4, 8), ("full", 16, 32), ("full", 64, 64), ("full", 128, 256), ("diag", 128, 256))
"""(family, d, K) of the model."""

SIMULATED = (1000, 256, 128)
"""Leaves, K and d of the simulation; full covariances."""


# -- the model --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rates:
    """What one core, one scheduler and one network card can do.

    Attributes
    ----------
    flops : float
        Useful flops of the kernel a second, softmax and all, for the shape in question.
    read : float
        Bytes of rows read and decompressed a second.
    add : float
        Bytes of records merged a second.
    task : float
        Seconds of the scheduler for a task.
    network : float
        Bytes a second into or out of a worker.
    """

    flops: float
    read: float
    add: float
    task: float
    network: float


@dataclass(frozen=True)
class Pass:
    """A statistics pass over n rows in chunks, on workers of one thread.

    Attributes
    ----------
    n, d, k, p : int
        Rows, features, components, length of the feature map.
    leaves : int
        Tasks that read rows, each of which makes a record.
    workers : int
    """

    n: int
    d: int
    k: int
    p: int
    leaves: int
    workers: int

    @property
    def flops(self) -> float:
        """Of the two products of every row."""
        return 4.0 * self.n * self.k * self.p

    @property
    def bytes_read(self) -> float:
        return 8.0 * self.n * self.d

    @property
    def record_bytes(self) -> float:
        """Of a record: the sums, and the references that they are taken about."""
        return 8.0 * self.k * (self.p + self.d)

    @property
    def fan_in(self) -> int:
        """Records that a task of the tree merges."""
        return FAN_IN if self.record_bytes < LARGE else FAN_IN_LARGE

    @property
    def levels(self) -> list[int]:
        """Tasks of the levels of the tree above the leaves."""
        levels, width = [], self.leaves
        while width > 1:
            width = -(-width // self.fan_in)
            levels.append(width)
        return levels

    @property
    def tasks(self) -> int:
        """Tasks that the scheduler handles: leaves, merges, and the parameters."""
        return self.leaves + sum(self.levels) + 1

    @property
    def tree_bytes(self) -> float:
        """Records that enter the merges, at most all from another worker."""
        return self.record_bytes * (self.leaves + sum(self.levels[:-1]))

    @property
    def parameter_bytes(self) -> float:
        """The parameters, once to each worker."""
        return 8.0 * self.k * self.p * self.workers

    def work_seconds(self, rates: Rates) -> float:
        """Kernel and reading, which share the cores."""
        return (self.flops / rates.flops + self.bytes_read / rates.read) / self.workers

    def tree_seconds(self, rates: Rates) -> float:
        """Records that flow into the busiest worker, one level after the other, and are added there."""
        cost = 1.0 / rates.network + 1.0 / rates.add
        seconds, width = 0.0, self.leaves
        for level in self.levels:
            rounds = -(-level // self.workers)
            seconds += rounds * min(self.fan_in, width) * self.record_bytes * cost
            width = level
        return seconds

    def parameter_seconds(self, rates: Rates) -> float:
        """A worker that has them passes them on: the holders double each time."""
        return 8.0 * self.k * self.p / rates.network * np.ceil(np.log2(self.workers + 1))

    def scheduler_seconds(self, rates: Rates) -> float:
        return self.tasks * rates.task


def seconds_a_task(client: Client, n_tasks: int) -> float:
    """CPU seconds of the scheduler, which runs in this process, for a task of a pass that does nothing."""
    numbers = count()

    def run() -> None:
        name = f"task-{next(numbers)}"
        graph: dict[Any, Any] = {(name, i): (_nothing, i) for i in range(n_tasks)}
        groups = [[(name, j) for j in range(i, min(i + FAN_IN, n_tasks))] for i in range(0, n_tasks, FAN_IN)]
        graph |= {(f"{name}-merged", i): (_nothing, group) for i, group in enumerate(groups)}
        graph[name] = (_nothing, [(f"{name}-merged", i) for i in range(len(groups))])
        client.get(graph, name)

    run()
    return best(run, 3, time.process_time) / (n_tasks * (1 + 1 / FAN_IN))


def _nothing(*_: Any) -> None:
    return None


def read_rate(*, quick: bool) -> float:
    """Bytes a second, of CPU time, of zarr with its default compression."""
    with tempfile.TemporaryDirectory(prefix="dgmm-stores-") as folder:
        n = 2**14 if quick else 2**21
        rows = np.random.default_rng(0).normal(size=(n // 8, 16))
        path = write_store(Path(folder) / "rows.zarr", "zstd", rows, n, CHUNK_BYTES // 128)
        return 8.0 * 16 * n / best(partial(read_alone, path, 1), 3, time.process_time)


def add_rate(*, quick: bool) -> float:
    """Bytes a second of records that are merged."""
    _, k, d = (0, 4, 8) if quick else SIMULATED
    a, b = (LeafMap.of(k, d)(None, None, Chunk(i, i, 1)) for i in range(2))
    return record_size(a) / best(lambda: a.merge(b), 5)


def predict(network: float, *, quick: bool) -> None:
    """Print the rates and what the model makes of them."""
    n_tasks = 200 if quick else 5000
    with cluster() as client:
        task = seconds_a_task(client, n_tasks)
    with one_thread():
        read, add = read_rate(quick=quick), add_rate(quick=quick)
    print(
        f"\nrates: zarr {read / 1e9:.2f} GB/s a core, merging {add / 1e9:.1f} GB/s, {1e3 * task:.2f} ms a task; "
        f"assumed: network {network / 1e9:g} GB/s"
    )
    table = Table(
        f"predicted: seconds of a pass over {ROWS:.0e} rows, {WORKERS} workers of a core, "
        f"{CHUNK_BYTES / 2**20:.0f} MB a chunk",
        {"family": "<6s", "d": "3d", "K": "3d", "GFLOP/s": "7.0f", "record MB": "9.2f", "kernel": "6.0f",
         "read": "5.0f", "tree": "5.1f", "tree GB": "7.1f", "param": "5.1f", "by chunk": "8.0f", "packed": "6.1f",
         "pass": "6.0f"},
    )  # fmt: skip
    for family_name, d, k in SHAPES[:2] if quick else SHAPES:
        case = Case.make(family_name, d, k, np.float64, quick=quick)
        p = get_family(family_name).n_mapped(d)
        with one_thread():
            flops = 4.0 * len(case.X) * k * p / best(iteration(case), 1 if quick else 3)
        rates = Rates(flops, read, add, task, network)
        chunks = -(-8 * ROWS * d // CHUNK_BYTES)
        naive = Pass(ROWS, d, k, p, chunks, WORKERS)
        shards = Pass(ROWS, d, k, p, min(chunks, TASKS_OF_A_WORKER * WORKERS), WORKERS)
        tree, parameters = shards.tree_seconds(rates), shards.parameter_seconds(rates)
        total = max(shards.work_seconds(rates), shards.scheduler_seconds(rates)) + tree + parameters
        table.row(
            family_name, d, k, flops / 1e9, shards.record_bytes / 1e6, shards.flops / flops / WORKERS,
            shards.bytes_read / read / WORKERS, tree, shards.tree_bytes / 1e9, parameters,
            naive.scheduler_seconds(rates), shards.scheduler_seconds(rates), total,
        )  # fmt: skip
    print(
        '"by chunk", "packed": the scheduler, with a task a chunk, or '
        f"{TASKS_OF_A_WORKER} a worker, as the rest assumes"
    )


# -- the simulation ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class LeafMap:
    """Maps a chunk to a record made from its number alone.

    Attributes
    ----------
    k, d : int
    parameters : (k, p) float64
        What a map sends to the workers in a real pass.
    """

    k: int
    d: int
    parameters: np.ndarray[Any, Any]

    name = "simulated"

    @classmethod
    def of(cls, k: int, d: int) -> LeafMap:
        """A map with parameters of the size of a mixture's."""
        return cls(k, d, np.zeros((k, get_family("full").n_mapped(d))))

    def __call__(self, X: Any, weights: Any, chunk: Chunk) -> SufficientStatistics:
        """The record of a chunk: a pattern plus a number of the chunk, so that the order of sums shows."""
        pattern = np.arange(self.k * self.d * (self.d + 1) // 2) % 1009 / 3.0
        number = self.number(chunk.index)
        second = (pattern + number).reshape(self.k, -1)
        first = np.full((self.k, self.d), number)
        return SufficientStatistics(np.zeros((self.k, self.d)), first[:, 0].copy(), first, second, number, 1.0, 1)

    @staticmethod
    def number(index: int) -> float:
        """A number that has no short binary form."""
        return (index + 1) / 7.0

    def sum_of(self, leaves: int) -> np.ndarray[Any, Any]:
        """Second moments of all leaves, in extended precision and without a sum over them."""
        pattern = (np.arange(self.k * self.d * (self.d + 1) // 2) % 1009 / 3.0).astype(np.longdouble)
        numbers = sum((np.longdouble(self.number(i)) for i in range(leaves)), np.longdouble(0))
        return (leaves * pattern + numbers).reshape(self.k, -1)


def record_size(record: SufficientStatistics) -> int:
    """Bytes of a record's arrays."""
    return sum(a.nbytes for a in (record.reference, record.weight, record.first, record.second))


@contextmanager
def cluster() -> Iterator[Client]:
    """Two worker processes of a thread each."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=":0") as workers,
        Client(workers) as client,
    ):
        yield client


def sent(dask_worker: Worker) -> int:
    """Bytes that a worker has sent to others, among its last thousand messages."""
    return sum(int(message["compressed"]) for message in dask_worker.transfer_outgoing_log)


def left_fold(chunk_map: LeafMap, leaves: int) -> SufficientStatistics:
    """The plain sum, in the order of the leaves."""
    total = chunk_map(None, None, Chunk(0, 0, 1))
    for index in range(1, leaves):
        total = total.merge(chunk_map(None, None, Chunk(index, index, 1)))
    return total


def by_tree(chunk_map: LeafMap, leaves: int) -> Callable[[], SufficientStatistics]:
    """A pass of the library over as many chunks of a row, none of which is looked at, each a task."""
    rows = Rows.from_dask(da.zeros((leaves, 1), chunks=(1, 1)), None)
    plan = replace(ExecutionPlan.choose(get_family("full"), chunk_map.k, chunk_map.d), chunk_rows=1)

    def run() -> SufficientStatistics:
        # As a cluster of so many threads would have: each leaf a shard.
        resources = replace(Resources.measure(rows), n_threads=leaves // 4)
        return PassRunner(rows, plan, resources=resources)(chunk_map)

    return run


def merge_in_fresh_process(by: str, leaves: int, k: int, d: int) -> dict[str, Any]:
    """Merge the records of all leaves; meant for a process of its own.

    Parameters
    ----------
    by : str
        One of ``WAYS``.

    Returns
    -------
    dict
        ``seconds``; ``peak``, bytes beyond those after the imports (of the larger worker); ``sent``
        between workers; ``error``, the largest relative one; ``bits``, a digest of the sums.
    """
    chunk_map, moved = LeafMap.of(k, d), 0
    run = by_tree(chunk_map, leaves)
    with ExitStack() as stack:
        if by == "2 workers":
            client = stack.enter_context(cluster())
            by_tree(LeafMap.of(1, 1), FAN_IN)()  # what the workers import
            before = client.run(memory.resident)
            record, seconds, _ = _measured(run)
            peak = max(value - before[worker] for worker, value in client.run(memory.peak).items())
            moved = sum(client.run(sent).values())
        elif by == "left fold":
            record, seconds, peak = _measured(partial(left_fold, chunk_map, leaves))
        else:
            stack.enter_context(threads(int(by[0])))
            record, seconds, peak = _measured(run)
    exact = chunk_map.sum_of(leaves)
    sums = b"".join(part.tobytes() for part in (record.weight, record.first, record.second))
    return {
        "seconds": seconds,
        "peak": peak,
        "sent": moved,
        "error": float(np.abs((record.second - exact) / exact).max()),
        "bits": hashlib.sha256(sums).hexdigest()[:8],
    }


WAYS = ("left fold", "1 thread", "2 threads", "2 workers")


def simulate(*, quick: bool) -> None:
    """Print how the tree fares with records of full size, beside a plain sum in a loop."""
    leaves, k, d = (40, 4, 8) if quick else SIMULATED
    size = record_size(LeafMap.of(k, d)(None, None, Chunk(0, 0, 1)))
    table = Table(
        f"{leaves} records of {size / 1e6:.1f} MB (K = {k}, d = {d}, full), merged",
        {"by": "<9s", "seconds": "7.2f", "peak MB": "7.0f", "in records": "10.1f", "sent GB": "7.2f",
         "from math": "9.0e", "bits": "<8s"},
    )  # fmt: skip
    for by in WAYS:
        done = memory.in_fresh_process(
            "benchmarks.cluster_size", "merge_in_fresh_process", by=by, leaves=leaves, k=k, d=d
        )
        peak = done["peak"]
        table.row(by, done["seconds"], peak / 1e6, peak / size, done["sent"] / 1e9, done["error"], done["bits"])


def _measured(run: Callable[[], SufficientStatistics]) -> tuple[SufficientStatistics, float, float]:
    """The result, wall seconds, and the peak of this process's memory beyond what it was."""
    memory.reset_peak()
    before, began = memory.resident(), time.perf_counter()
    record = run()
    return record, time.perf_counter() - began, memory.peak() - before


def main(argv: Sequence[str] | None = None) -> None:
    """Print the model's predictions and the simulation."""
    options = arguments(__doc__, argv, values={"--network": (1.0, "GB/s into or out of a worker, assumed")})
    introduce(options)
    predict(1e9 * options.network, quick=options.quick)
    simulate(quick=options.quick)


if __name__ == "__main__":
    main()
