"""Algorithms as generators that ask for reads of the data, and what runs one or many of them.

An algorithm yields the map that it wants to have run over all the rows, is sent the merged record,
and returns its result. It does not know who reads, nor whether others share the read.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from dgmm.mixture.sizes import Sized

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk, ChunkMap, RunPass
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


def counted(algorithm: Reads[T]) -> Reads[tuple[T, int]]:
    """The same algorithm, which also tells how many reads it asked for."""
    n_reads, record = 0, None
    try:
        while True:
            record = yield algorithm.send(record)
            n_reads += 1
    except StopIteration as end:
        return end.value, n_reads


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
