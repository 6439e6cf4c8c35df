"""Algorithms as generators that ask for reads of the data, and what runs one or many of them.

An algorithm yields the map that it wants to have run over all the rows, is sent the merged record,
and returns its result. It does not know who reads, nor whether others share the read.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from dgmm.mixture.merging import NOTHING, PartialMerge, RunInParts
from dgmm.mixture.sizes import Sized

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk, ChunkMap, R, RunPass
    from dgmm.typing import Array, FloatArray

T = TypeVar("T")

Reads: TypeAlias = Generator["ChunkMap[Any]", Any, T]
"""An algorithm: yields maps, is sent their records, returns a T."""


@dataclass(frozen=True)
class ManyRecords(Sized):
    """The records of several maps over the same rows, in the order of the maps."""

    records: tuple[Any, ...]

    def merge(self, other: ManyRecords) -> ManyRecords:
        """Merge each map's record with its own."""
        return ManyRecords(tuple(a.merge(b) for a, b in zip(self.records, other.records, strict=True)))


@dataclass(frozen=True)
class ManyMap(Sized):
    """Several maps in one read.

    Attributes
    ----------
    maps : tuple of ChunkMap
    """

    maps: tuple[ChunkMap[Any], ...]

    @property
    def name(self) -> str:
        """The maps' names, each once."""
        return ", ".join(dict.fromkeys(chunk_map.name for chunk_map in self.maps))

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> ManyRecords:
        """Map the rows of a chunk, (n, d), and their weights, (n,), by each map."""
        return ManyRecords(tuple(chunk_map(X, weights, chunk) for chunk_map in self.maps))


@dataclass(frozen=True)
class Progress:
    """How far an algorithm has come.

    Attributes
    ----------
    state : value or None
        What the algorithm announced last: it can be begun anew from there.
    records : tuple of Record
        What it was sent since then.
    partial : PartialMerge
        What is finished of the read that it waits for.
    """

    state: Any = None
    records: tuple[Any, ...] = ()
    partial: PartialMerge = NOTHING


class Journal:
    """Follows an algorithm, and hands on how far it has come.

    Attributes
    ----------
    progress : Progress

    Parameters
    ----------
    begun : Progress
        Where the algorithm goes on from.
    keep : callable
        Is given the progress after each read, each part of a read, and each announced state.
    """

    def __init__(self, begun: Progress, keep: Callable[[Progress], object]) -> None:
        self.progress, self._keep = begun, keep

    def announce(self, state: Any) -> None:
        """Take a state that the algorithm can be begun anew from."""
        self._go(Progress(state))

    def take_part(self, partial: PartialMerge) -> None:
        """Take what is finished of a read."""
        self._go(replace(self.progress, partial=partial))

    def take(self, record: Any) -> None:
        """Take the record of a finished read."""
        self._go(Progress(self.progress.state, (*self.progress.records, record)))

    def _go(self, progress: Progress) -> None:
        self.progress = progress
        self._keep(progress)


def run(algorithm: Reads[T], run_pass: RunPass) -> T:
    """Run an algorithm to its end.

    Parameters
    ----------
    algorithm : generator
    run_pass : callable
        Runs a :class:`~dgmm.mixture.chunks.ChunkMap` over all the rows.
    """
    try:
        wanted = next(algorithm)
        while True:
            wanted = algorithm.send(run_pass(wanted))
    except StopIteration as end:
        result: T = end.value
        return result


def run_on(algorithm: Reads[T], run_pass: RunInParts, journal: Journal) -> T:
    """Run an algorithm from where a journal is to its end, and keep the journal.

    Parameters
    ----------
    algorithm : generator
        Begun from the journal's state; announces states to the journal.
    run_pass : callable
        Runs a map over all the rows, given what is finished of that already.
    journal : Journal
    """
    records, partial = journal.progress.records, journal.progress.partial
    try:
        wanted = next(algorithm)
        for record in records:
            wanted = algorithm.send(record)
        del records
        while True:
            record = run_pass(wanted, partial, journal.take_part)
            journal.take(record)
            wanted, partial = algorithm.send(record), NOTHING
    except StopIteration as end:
        result: T = end.value
        return result


def one_read(chunk_map: ChunkMap[R]) -> Reads[R]:
    """The algorithm that is a single read, and its record."""
    record: R = yield chunk_map
    return record


@dataclass
class ReadCount:
    """Number of reads that algorithms asked for.

    Attributes
    ----------
    n_reads : int
    """

    n_reads: int = 0

    def count(self, algorithm: Reads[T]) -> Reads[T]:
        """The same algorithm, whose reads are counted."""
        record = None
        try:
            while True:
                record = yield algorithm.send(record)
                self.n_reads += 1
        except StopIteration as end:
            result: T = end.value
            return result


def together(algorithms: Sequence[Reads[T]]) -> Reads[list[T]]:
    """One algorithm of many: each read serves all that still run.

    It takes as many reads as the longest of them alone, and each has the result that it has alone,
    to the bit. An error in one ends all.

    Parameters
    ----------
    algorithms : sequence of generators

    Returns
    -------
    list
        The result of each, in the order given.
    """
    results: dict[int, T] = {}
    wanted: dict[int, ChunkMap[Any]] = {}

    def advance(number: int, record: Any) -> None:
        try:
            wanted[number] = algorithms[number].send(record)
        except StopIteration as end:
            results[number] = end.value

    for number in range(len(algorithms)):
        advance(number, None)
    while wanted:
        running, maps = tuple(wanted), tuple(wanted.values())
        wanted.clear()
        records = (yield ManyMap(maps)).records if len(maps) > 1 else ((yield maps[0]),)
        for number, record in zip(running, records, strict=True):
            advance(number, record)
    return [results[number] for number in range(len(algorithms))]


def run_together(algorithms: Sequence[Reads[T]], run_pass: RunPass) -> list[T]:
    """Run many algorithms to their ends, sharing each read; see :func:`together`."""
    return run(together(algorithms), run_pass)
