"""One pass over the rows: a map over the chunks and a fixed tree of merges, in one compute."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from dask.base import tokenize
from dask.callbacks import Callback
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.utils import parse_bytes

from dgmm.errors import DataError
from dgmm.fitting.events import Event, PassAdvanced, PassFinished, PassStarted
from dgmm.mixture.chunks import Chunk
from dgmm.passes.blas import single_threaded_blas
from dgmm.passes.rows import to_block

if TYPE_CHECKING:
    from dgmm.mixture.chunks import ChunkMap, R
    from dgmm.passes.plan import ExecutionPlan
    from dgmm.passes.rows import Rows
    from dgmm.typing import Array

_SECONDS_BETWEEN_REPORTS = 0.2
_numbers = itertools.count()


def map_chunk(
    chunk_map: ChunkMap[R], block: Array, weights: Array | None, index: int, first_row: int | None, n_features: int
) -> R:
    """The task of one chunk: one read of its rows, one record."""
    X = to_block(block, index, n_features)
    if weights is not None and len(weights) != len(X):
        raise DataError(f"chunk {index} has {len(X)} rows and {len(weights)} weights; chunk both alike")
    with single_threaded_blas():
        return chunk_map(X, weights, Chunk(index, first_row, len(X)))


def merge_records(records: Sequence[R]) -> R:
    """The task of one node of the tree: neighbours are merged in the order of the chunks."""
    return reduce(lambda a, b: a.merge(b), records)


def pass_graph(rows: Rows, chunk_map: ChunkMap[Any], fan_in: int) -> Delayed:
    """Build the graph of a pass; nothing is computed.

    The map's parameters are a task of their own, which the others depend on: a distributed
    scheduler moves its result to each worker once, and makes it again if a worker dies.
    """
    token = f"{tokenize(rows.X.name, chunk_map.name)}-{next(_numbers)}"
    parameters = f"dgmm-parameters-{token}"
    graph: dict[Any, Any] = {parameters: (_identity, _Parameters(chunk_map))}
    level: list[Any] = []
    for index, first_row in enumerate(rows.first_rows):
        key = (f"dgmm-{chunk_map.name.replace(' ', '-')}-{token}", index)
        weights = None if rows.weights is None else (rows.weights.name, index)
        graph[key] = (map_chunk, parameters, (rows.X.name, index, 0), weights, index, first_row, rows.n_features)
        level.append(key)
    depth = 0
    while len(level) > 1 or depth == 0:
        depth += 1
        name = f"dgmm-merge-{depth}-{token}"
        groups = [level[i : i + fan_in] for i in range(0, len(level), fan_in)]
        level = []
        for index, group in enumerate(groups):
            graph[name, index] = (merge_records, group)
            level.append((name, index))
    root = f"dgmm-record-{token}"
    graph[root] = level[0]
    dependencies = [rows.X] if rows.weights is None else [rows.X, rows.weights]
    return Delayed(root, HighLevelGraph.from_collections(root, graph, dependencies=dependencies))


class _Parameters:
    """Wraps the map so that Dask takes it for data, though it can be called."""

    def __init__(self, chunk_map: ChunkMap[Any]) -> None:
        self.chunk_map = chunk_map


def _identity(parameters: _Parameters) -> ChunkMap[Any]:
    return parameters.chunk_map


class _Progress(Callback):  # type: ignore[misc]
    """Counts finished chunks where the scheduler runs in this process."""

    def __init__(self, report: Callable[[int], object], prefix: str) -> None:
        super().__init__(posttask=self._count)
        self._report, self._prefix = report, prefix
        self._done, self._reported = 0, time.perf_counter()

    def _count(self, key: Any, *_: Any) -> None:
        if isinstance(key, tuple) and str(key[0]).startswith(self._prefix):
            self._done += 1
            now = time.perf_counter()
            if now - self._reported > _SECONDS_BETWEEN_REPORTS:
                self._reported = now
                self._report(self._done)


_WARNING_THRESHOLD = "distributed.admin.large-graph-warning-threshold"


@contextmanager
def _large_parameters(chunk_map: ChunkMap[Any]) -> Iterator[None]:
    """Let parameters of megabytes travel without distributed's advice to scatter them.

    They go once to each worker already; a large graph of the user's is still warned of.
    """
    size = _array_bytes(chunk_map)
    if size < 2**20:
        yield
        return
    threshold = parse_bytes(dask.config.get(_WARNING_THRESHOLD, "10MB"))
    with dask.config.set({_WARNING_THRESHOLD: threshold + size}):
        yield


def _array_bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if is_dataclass(value):
        return sum(_array_bytes(getattr(value, item.name)) for item in fields(value))
    return sum(map(_array_bytes, value)) if isinstance(value, tuple) else 0


@dataclass
class PassRunner:
    """Runs passes over rows under a plan, and tells how they go (a ``RunPass``).

    Attributes
    ----------
    rows : Rows
    plan : ExecutionPlan
    emit : callable
        Is told the events of each pass.
    n_passes : int
        Passes run so far.
    """

    rows: Rows
    plan: ExecutionPlan
    emit: Callable[[Event], object] = lambda event: None
    n_passes: int = field(default=0, init=False)

    def __call__(self, chunk_map: ChunkMap[R]) -> R:
        """Map all chunks and merge the records, in one compute."""
        self.n_passes += 1
        index, name, n_chunks = self.n_passes, chunk_map.name, self.rows.n_chunks
        self.emit(PassStarted(name, index, n_chunks, self.rows.n_rows))
        began = time.perf_counter()
        root = pass_graph(self.rows, chunk_map, self.plan.fan_in)
        progress = _Progress(
            lambda done: self.emit(PassAdvanced(name, index, done, n_chunks)),
            f"dgmm-{name.replace(' ', '-')}-",
        )
        with single_threaded_blas(), progress, _large_parameters(chunk_map):
            record: R = dask.compute(root, **self._scheduler())[0]
        self.emit(PassFinished(name, index, self.rows.n_rows or 0, time.perf_counter() - began))
        return record

    def _scheduler(self) -> dict[str, Any]:
        """Where to compute: rows in this process's memory stay in it."""
        if not self.rows.local:
            return {}
        configured = dask.config.get("scheduler", None)
        in_process = configured in ("synchronous", "sync", "single-threaded") or callable(configured)
        return {"scheduler": configured if in_process else "threads"}
