"""Rows in rounds: some consecutive rows at a time, of chunks that are read once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.fitting.events import Event, PassFinished, PassStarted
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.moments import MomentsMap
from dgmm.mixture.sizes import Sized
from dgmm.passes.tree import PassRunner

if TYPE_CHECKING:
    from dgmm.mixture.chunks import ChunkMap, R, RunPass
    from dgmm.mixture.moments import Moments
    from dgmm.passes.execution import Resources
    from dgmm.passes.plan import ExecutionPlan
    from dgmm.passes.rows import Rows
    from dgmm.typing import Array, FloatArray

_LOOK = MomentsMap(0, 0, 0)


@dataclass(frozen=True)
class RowRange(Sized):
    """A map of some consecutive rows alone, which counts rows from the first of them.

    Attributes
    ----------
    chunk_map : ChunkMap
    first, stop : int
        Numbers of the first row, and of that after the last one.
    """

    chunk_map: ChunkMap[Any]
    first: int
    stop: int

    @property
    def name(self) -> str:
        """Name of the map."""
        return self.chunk_map.name

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> Any:
        """Map those of a block's rows, (n, d), and their weights, (n,), that are in the range."""
        begin = chunk.first_row or 0
        a, b = np.clip((self.first - begin, self.stop - begin), 0, chunk.n_rows).tolist()
        part = Chunk(chunk.index, begin + a - self.first if b > a else 0, b - a)
        return self.chunk_map(X[a:b], None if weights is None else weights[a:b], part)


@dataclass(frozen=True)
class Place:
    """Where a scan is: between two rounds.

    Attributes
    ----------
    chunk : int
        Number of the first chunk of the group that is worked on.
    row : int
        Rows of that group that are done.
    """

    chunk: int = 0
    row: int = 0


@dataclass
class Rounds:
    """The rounds of a scan.

    Chunks are loaded in groups of at least ``batch_rows`` rows, or one by one while their lengths
    are unknown, and each group is cut into equal rounds of about so many rows.

    Attributes
    ----------
    rows : Rows
    plan : ExecutionPlan
    resources : Resources
    batch_rows : int
    check : callable
        Is given the moments of each group before it is used, and the number of its first chunk.
    emit : callable
        Is told of each group that is read.
    pass_retries : int
        See :class:`~dgmm.passes.execution.Execution`.
    """

    rows: Rows
    plan: ExecutionPlan
    resources: Resources
    batch_rows: int
    check: Callable[[Moments, int], object]
    emit: Callable[[Event], object]
    pass_retries: int

    def after(self, place: Place) -> Iterator[tuple[RunPass, Place]]:
        """Yield, for each round that is left, what runs maps over its rows, and the place behind it."""
        while place.chunk < self.rows.n_chunks:
            stop = self._stop(place.chunk)
            rows = self.rows.chunks(list(range(place.chunk, stop)))
            runner = PassRunner(
                rows, self.plan, persist=not rows.local, resources=self.resources, pass_retries=self.pass_retries
            )
            with closing(runner):
                self.emit(PassStarted("rounds", place.chunk + 1, stop - place.chunk, rows.n_rows))
                began = time.perf_counter()
                moments = runner(_LOOK)
                self.check(moments, place.chunk)
                runner.learn(moments.lengths)
                seconds = time.perf_counter() - began
                n_bytes = 0 if rows.local else rows.with_lengths(moments.lengths).nbytes or 0
                self.emit(PassFinished("rounds", place.chunk + 1, moments.n_rows, seconds, n_bytes))
                n = moments.n_rows
                bounds = np.linspace(0, n, max(n // self.batch_rows, 1) + 1).astype(np.int64).tolist()
                for first, last in itertools.pairwise(bounds):
                    if first < place.row:
                        continue
                    behind = replace(place, row=last) if last < n else Place(stop)
                    yield _in_range(runner, first, last), behind
            place = Place(stop)

    def _stop(self, chunk: int) -> int:
        """Number of the chunk after the group that begins with a chunk."""
        if self.rows.lengths is None:
            return chunk + 1
        reached = np.cumsum(self.rows.lengths[chunk:]) >= self.batch_rows
        return chunk + int(reached.argmax()) + 1 if reached.any() else self.rows.n_chunks


def _in_range(runner: PassRunner, first: int, last: int) -> RunPass:
    def run_pass(chunk_map: ChunkMap[R]) -> R:
        record: R = runner(RowRange(chunk_map, first, last))
        return record

    return run_pass
