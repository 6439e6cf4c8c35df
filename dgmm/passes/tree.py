"""One pass over the rows: a map over the chunks and a fixed tree of merges, in one compute."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dask
from dask.callbacks import Callback
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.utils import parse_bytes
from distributed import futures_of

from dgmm.errors import CheckpointError
from dgmm.fitting.events import Event, PassAdvanced, PassFinished, PassStarted
from dgmm.mixture.merging import NOTHING, PartialMerge
from dgmm.mixture.sizes import array_bytes
from dgmm.passes.blas import single_threaded_blas
from dgmm.passes.execution import PASS_RETRIES, SYNCHRONOUS, Resources
from dgmm.passes.parts import Pace
from dgmm.passes.retrying import retried
from dgmm.passes.sharding import Sharding
from dgmm.passes.shards import PackedShard, map_shard, merge_records, pack

if TYPE_CHECKING:
    from dgmm.mixture.chunks import ChunkMap, R
    from dgmm.passes.plan import ExecutionPlan
    from dgmm.passes.rows import Rows
    from dgmm.typing import IntArray

# Records that one task of the tree merges: powers of two, so that it makes a node of the tree. It
# waits for all of them, so few where they are large; a map is about as large as its records.
FAN_IN, FAN_IN_LARGE = 16, 2
LARGE = 2**20
_SECONDS_BETWEEN_REPORTS = 0.2
_numbers = itertools.count()


@dataclass(frozen=True)
class Part:
    """Some consecutive shards, as a graph refers to them.

    Attributes
    ----------
    first : int
        Number of the first shard.
    references : list
        Of each shard: the shard itself, a key, or a task.
    first_rows : list of int or None
        Index of the first row of each shard, where it is known.
    collections : list
        Dask collections that the references need.
    """

    first: int
    references: list[Any]
    first_rows: list[int | None]
    collections: list[Any]


def pass_graph(part: Part, chunk_map: ChunkMap[Any]) -> Delayed:
    """Build the graph of a part of a pass; nothing is computed.

    The map's parameters are a task of their own, which the others depend on: a distributed
    scheduler moves its result to each worker once, and makes it again if a worker dies.
    """
    token = f"{_prefix(chunk_map)}{next(_numbers)}-{os.getpid()}"
    parameters = f"dgmm-parameters-{token}"
    graph: dict[Any, Any] = {parameters: (_unwrap, _Data(chunk_map))}
    level: list[Any] = []
    for index, (shard, first_row) in enumerate(zip(part.references, part.first_rows, strict=True), part.first):
        key = (token, index)
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
    return Delayed(root, HighLevelGraph.from_collections(root, graph, dependencies=part.collections))


def _prefix(chunk_map: ChunkMap[Any]) -> str:
    return f"dgmm-{chunk_map.name.replace(' ', '-')}-"


def lazy_shards(sharding: Sharding, numbers: Iterable[int], *, packed: bool) -> list[Delayed]:
    """Some shards as lazy values: packed, or themselves, which are small."""
    token = f"{next(_numbers)}-{os.getpid()}"
    shards = []
    for index in numbers:
        shard, key = sharding.references[index], f"dgmm-shard-{token}-{index}"
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


class _Progress:
    """Counts the chunks of finished shards where the scheduler runs in this process.

    It is handed to the scheduler, not made a callback of all schedulers in this process: other fits
    may run in other threads.
    """

    def __init__(self, report: Callable[[int], object], prefix: str, first_chunks: list[int], done: int) -> None:
        self._report, self._prefix, self._first_chunks = report, prefix, first_chunks
        self._done, self._reported = done, time.perf_counter()

    def callbacks(self) -> list[tuple[Any, ...]]:
        """Dask's callbacks of a scheduler: the user's, and this one after each task."""
        return [*Callback.active, (None, None, None, self._count, None)]

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
    interval : float or None
        Seconds after which what is finished of a pass is handed to ``keep``; None for never.
    pass_retries : int
        How often a part of a pass is computed again after workers were lost.
    n_passes : int
        Passes run so far.
    """

    rows: Rows
    plan: ExecutionPlan
    emit: Callable[[Event], object] = lambda event: None
    persist: bool = False
    lean: bool = False
    resources: Resources | None = None
    interval: float | None = None
    pass_retries: int = PASS_RETRIES
    n_passes: int = 0
    _counted: Rows | None = field(default=None, init=False)
    _sharding: Sharding | None = field(default=None, init=False)
    _loaded: dict[int, PackedShard] = field(default_factory=dict, init=False)
    _persisted: list[Delayed] = field(default_factory=list, init=False)
    _pace: Pace | None = field(default=None, init=False)

    def learn(self, lengths: IntArray) -> None:
        """Take the lengths of the chunks, which a pass has counted; how the rows are cut stays as it is."""
        self._counted = self.rows.with_lengths(lengths)

    def __call__(
        self,
        chunk_map: ChunkMap[R],
        begun: PartialMerge = NOTHING,
        keep: Callable[[PartialMerge], object] = lambda partial: None,
    ) -> R:
        """Map all pieces and merge the records: in one compute, or in parts where there is an interval.

        Parameters
        ----------
        chunk_map : ChunkMap
        begun : PartialMerge
            What is finished already of this pass.
        keep : callable
            Is given what is finished after each part but the last.

        Raises
        ------
        ClusterError
            If workers are lost for good.
        """
        self.n_passes += 1
        rows = self._counted or self.rows
        index, name, n_chunks = self.n_passes, chunk_map.name, rows.n_chunks
        self.emit(PassStarted(name, index, n_chunks, rows.n_rows))
        held = rows.local or bool(self._loaded or self._persisted)
        began = time.perf_counter()
        record = self._in_parts(
            chunk_map, begun, keep, lambda done: self.emit(PassAdvanced(name, index, done, n_chunks))
        )
        seconds, n_bytes = time.perf_counter() - began, 0 if held else rows.nbytes or 0
        self.emit(PassFinished(name, index, rows.n_rows or 0, seconds, n_bytes))
        return record

    def _in_parts(
        self,
        chunk_map: ChunkMap[R],
        begun: PartialMerge,
        keep: Callable[[PartialMerge], object],
        report: Callable[[int], object],
    ) -> R:
        sharding = self._sharded()
        pace = self._pace = self._pace or Pace(self.interval, self._measured().n_threads)
        n = len(sharding.references)
        partial = begun.whole(sharding.level)
        first = partial.n_pieces >> sharding.level
        if first >= n:
            raise CheckpointError(f"{partial.n_pieces} pieces are finished of a pass over {sharding.n_pieces}")
        if first:
            report(sharding.first_chunks[first])
        while True:
            count, level = pace.part(first, n)
            began = time.perf_counter()
            record = self._part(chunk_map, range(first, first + count), report)
            pace.measured(count, time.perf_counter() - began)
            partial, first = partial.add(sharding.level + level, record), first + count
            if first >= n:
                result: R = partial.total()
                return result
            keep(partial)
            report(sharding.first_chunks[first])

    def _part(self, chunk_map: ChunkMap[R], numbers: range, report: Callable[[int], object]) -> R:
        """Compute a part, again if workers are lost."""

        def what(key: Any) -> str:
            cut = self._sharded().first_chunks
            is_shard = isinstance(key, tuple) and str(key[0]).startswith(_prefix(chunk_map)) and key[1] in numbers
            at = range(key[1], key[1] + 1) if is_shard else numbers
            chunks = f"chunks {cut[at.start]} to {cut[at.stop] - 1}"
            return f"pass {self.n_passes} ({chunk_map.name}) over {chunks}"

        return retried(
            lambda: self._compute(chunk_map, numbers, report),
            self.pass_retries,
            self.close,
            self._measured().client,
            what,
        )

    def _compute(self, chunk_map: ChunkMap[R], numbers: range, report: Callable[[int], object]) -> R:
        part, loads = self._refer(numbers)
        first_chunks = self._sharded().first_chunks
        progress = _Progress(report, _prefix(chunk_map), first_chunks, first_chunks[numbers.start])
        with single_threaded_blas(), _large_parameters(chunk_map):
            record, *shards = dask.compute(pass_graph(part, chunk_map), *loads.values(), **self._scheduler(progress))
        self._loaded.update(zip(loads, shards, strict=True))
        result: R = record
        return result

    def _refer(self, numbers: range) -> tuple[Part, dict[int, Delayed]]:
        """The shards of a part, and those among them that it loads into this process."""
        sharding, rows = self._sharded(), self._counted or self.rows
        references, collections = sharding.references[numbers.start : numbers.stop], sharding.collections
        loads: dict[int, Delayed] = {}
        distributed = self._measured().kind == "distributed"
        if distributed and (self.persist or sharding.streamed):  # held by the workers, made again if one dies
            if not self._persisted:
                shards = lazy_shards(sharding, range(len(sharding.references)), packed=self.persist)
                self._persisted = list(dask.persist(*shards))
            collections = self._persisted[numbers.start : numbers.stop]
            references = [shard.key for shard in collections]
        elif self.persist:
            missing = [number for number in numbers if number not in self._loaded]
            loads = dict(zip(missing, lazy_shards(sharding, missing, packed=True), strict=True))
            references = [loads[i].key if i in loads else self._loaded[i] for i in numbers]
            collections = list(loads.values())
        first_rows = [rows.first_row(chunk) for chunk in sharding.first_chunks[numbers.start : numbers.stop]]
        return Part(numbers.start, references, first_rows, collections), loads

    def close(self) -> None:
        """Let go of what the workers hold; a further pass makes it again.

        Without waiting for the collector: the frames of an error, which may be kept for long, refer to it.
        """
        for future in futures_of(self._persisted):
            future.release()
        self._persisted = []

    def _measured(self) -> Resources:
        self.resources = self.resources or Resources.measure(self.rows)
        return self.resources

    def _sharded(self) -> Sharding:
        """The shards as they are made: cut once, by what was known of the rows before the first pass."""
        if self._sharding is None:
            resources = self._measured()
            here = resources.kind in ("threads", "other")
            self._sharding = Sharding.of(
                self.rows, self.plan.chunk_rows, resources.n_threads, here=here, packed=self.persist, lean=self.lean
            )
        return self._sharding

    def _scheduler(self, progress: _Progress) -> dict[str, Any]:
        """Where to compute: rows in this process's memory stay in it."""
        configured = dask.config.get("scheduler", None)
        counts = {"callbacks": progress.callbacks()}  # schedulers of others may not take them
        if not self.rows.local:
            return counts if self._measured().kind in ("threads", "processes") else {}
        if callable(configured):
            return {"scheduler": configured}
        return {"scheduler": configured if configured in SYNCHRONOUS else "threads", **counts}
