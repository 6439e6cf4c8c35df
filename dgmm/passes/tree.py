"""One pass over the rows: a map over the chunks and a fixed tree of merges, in one compute."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import dask
from dask.callbacks import Callback
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.utils import parse_bytes

from dgmm.fitting.events import Event, PassAdvanced, PassFinished, PassStarted
from dgmm.mixture.sizes import array_bytes
from dgmm.passes.blas import single_threaded_blas
from dgmm.passes.execution import SYNCHRONOUS, Resources
from dgmm.passes.sharding import Sharding
from dgmm.passes.shards import map_shard, merge_records, pack

if TYPE_CHECKING:
    from dgmm.mixture.chunks import ChunkMap, R
    from dgmm.passes.plan import ExecutionPlan
    from dgmm.passes.rows import Rows

# Records that one task of the tree merges: powers of two, so that it makes a node of the tree. It
# waits for all of them, so few where they are large; a map is about as large as its records.
FAN_IN, FAN_IN_LARGE = 16, 2
LARGE = 2**20
_SECONDS_BETWEEN_REPORTS = 0.2
_numbers = itertools.count()


def pass_graph(sharding: Sharding, chunk_map: ChunkMap[Any], first_rows: Sequence[int | None]) -> Delayed:
    """Build the graph of a pass; nothing is computed.

    The map's parameters are a task of their own, which the others depend on: a distributed
    scheduler moves its result to each worker once, and makes it again if a worker dies.

    Parameters
    ----------
    sharding : Sharding
    chunk_map : ChunkMap
    first_rows : sequence of int or None
        Index of the first row of each shard, where it is known.
    """
    token = f"{chunk_map.name.replace(' ', '-')}-{next(_numbers)}-{os.getpid()}"
    parameters = f"dgmm-parameters-{token}"
    graph: dict[Any, Any] = {parameters: (_unwrap, _Data(chunk_map))}
    level: list[Any] = []
    for index, (shard, first_row) in enumerate(zip(sharding.references, first_rows, strict=True)):
        key = (f"dgmm-{token}", index)
        graph[key] = (map_shard, parameters, shard, first_row)
        level.append(key)
    depth = 0
    fan_in = FAN_IN if array_bytes(chunk_map) < LARGE else FAN_IN_LARGE
    while len(level) > 1:
        depth += 1
        name = f"dgmm-merge-{depth}-{token}"
        groups = [level[i : i + fan_in] for i in range(0, len(level), fan_in)]
        level = [(name, index) for index in range(len(groups))]
        graph.update(((name, index), (merge_records, group)) for index, group in enumerate(groups))
    root = f"dgmm-record-{token}"
    graph[root] = level[0]
    return Delayed(root, HighLevelGraph.from_collections(root, graph, dependencies=sharding.collections))


def lazy_shards(sharding: Sharding, *, packed: bool) -> list[Delayed]:
    """The shards as lazy values: packed, or themselves, which are small."""
    token = f"{next(_numbers)}-{os.getpid()}"
    shards = []
    for index, shard in enumerate(sharding.references):
        key = f"dgmm-shard-{token}-{index}"
        reference = (_unwrap, _Data(shard)) if sharding.streamed else shard
        graph = {key: (pack, reference) if packed else reference}
        shards.append(Delayed(key, HighLevelGraph.from_collections(key, graph, dependencies=sharding.collections)))
    return shards


class _Data:
    """Wraps a value so that Dask takes it for data, even if it can be called."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _unwrap(data: _Data) -> Any:
    return data.value


class _Progress(Callback):  # type: ignore[misc]
    """Counts the chunks of finished shards where the scheduler runs in this process."""

    def __init__(self, report: Callable[[int], object], name: str, first_chunks: list[int]) -> None:
        super().__init__(posttask=self._count)
        self._report, self._prefix, self._first_chunks = report, f"dgmm-{name.replace(' ', '-')}-", first_chunks
        self._done, self._reported = 0, time.perf_counter()

    def _count(self, key: Any, *_: Any) -> None:
        if isinstance(key, tuple) and str(key[0]).startswith(self._prefix):
            self._done += self._first_chunks[key[1] + 1] - self._first_chunks[key[1]]
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
    size = array_bytes(chunk_map)
    if size < LARGE:
        yield
        return
    threshold = parse_bytes(dask.config.get(_WARNING_THRESHOLD, "10MB"))
    with dask.config.set({_WARNING_THRESHOLD: threshold + size}):
        yield


@dataclass
class PassRunner:
    """Runs passes over rows under a plan, and tells how they go (a ``RunPass``).

    Attributes
    ----------
    rows : Rows
    plan : ExecutionPlan
    emit : callable
        Is told the events of each pass.
    persist, lean : bool
        See :class:`~dgmm.passes.execution.Execution`; the first pass loads what is persisted.
    resources : Resources or None
        What computes; measured if left out.
    n_passes : int
        Passes run so far.
    """

    rows: Rows
    plan: ExecutionPlan
    emit: Callable[[Event], object] = lambda event: None
    persist: bool = False
    lean: bool = False
    resources: Resources | None = None
    n_passes: int = field(default=0, init=False)
    _sharding: Sharding | None = field(default=None, init=False)

    def __call__(self, chunk_map: ChunkMap[R]) -> R:
        """Map all pieces and merge the records, in one compute."""
        self.n_passes += 1
        index, name, n_chunks = self.n_passes, chunk_map.name, self.rows.n_chunks
        self.emit(PassStarted(name, index, n_chunks, self.rows.n_rows))
        began = time.perf_counter()
        record = self._compute(chunk_map, lambda done: self.emit(PassAdvanced(name, index, done, n_chunks)))
        self.emit(PassFinished(name, index, self.rows.n_rows or 0, time.perf_counter() - began))
        return record

    def _compute(self, chunk_map: ChunkMap[R], report: Callable[[int], object]) -> R:
        sharding, loaded = self._shards()
        root = pass_graph(sharding, chunk_map, [self.rows.first_row(chunk) for chunk in sharding.first_chunks[:-1]])
        progress = _Progress(report, chunk_map.name, sharding.first_chunks)
        with single_threaded_blas(), progress, _large_parameters(chunk_map):
            record, *shards = dask.compute(root, *loaded, **self._scheduler())
        self._sharding = replace(sharding, references=shards, collections=[]) if loaded else sharding
        result: R = record
        return result

    def _shards(self) -> tuple[Sharding, list[Delayed]]:
        """The shards that this pass runs over, and those among them that it loads into this process."""
        if self._sharding is not None:
            return self._sharding, []
        resources = self.resources or Resources.measure(self.rows)
        distributed = resources.kind == "distributed"
        here = resources.kind in ("threads", "other")
        sharding = Sharding.of(
            self.rows, self.plan.chunk_rows, resources.n_threads, here=here, packed=self.persist, lean=self.lean
        )
        if not self.persist and not (distributed and sharding.streamed):
            return sharding, []
        shards = lazy_shards(sharding, packed=self.persist)
        if distributed:  # held by the workers, made again if one dies
            shards = list(dask.persist(*shards))
        held = replace(sharding, references=[shard.key for shard in shards], collections=shards, streamed=False)
        return held, [] if distributed else shards

    def _scheduler(self) -> dict[str, Any]:
        """Where to compute: rows in this process's memory stay in it."""
        if not self.rows.local:
            return {}
        configured = dask.config.get("scheduler", None)
        in_process = configured in SYNCHRONOUS or callable(configured)
        return {"scheduler": configured if in_process else "threads"}
