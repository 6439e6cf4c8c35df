"""How rows are cut into pieces and shards; decided by the driver, once for a fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.sizeof import sizeof
from distributed import Future

from dgmm.passes.shards import Block, PackedShard, Recipe, Shard, StreamedShard

if TYPE_CHECKING:
    from dgmm.passes.rows import Rows
    from dgmm.typing import IntArray

# Chunks that are joined to a piece, at most: what one task reads must not take too long.
JOINED = 64
# Shards for each thread (up to twice as many): enough to level out threads of different speed. A task
# costs more on a cluster than in this process.
_SHARDS_PER_THREAD_HERE, _SHARDS_PER_THREAD = 8, 4
# Bytes of a shard that is read anew in each pass: a minute's work is lost with a worker, not an hour's.
_STREAMED_BYTES = 2**30
# Bytes of what several pieces may share (a zarr array's handle, a constant) without being sent with each.
_SHARED_BYTES = 2**20


def piece_starts(lengths: IntArray | None, n_chunks: int, chunk_rows: int) -> IntArray:
    """Cut chunks into pieces: neighbours are joined up to ``chunk_rows`` rows.

    Parameters
    ----------
    lengths : (c,) int64 or None
        Rows of each chunk; chunks of unknown length are not joined.
    n_chunks, chunk_rows : int

    Returns
    -------
    (pieces + 1,) int64
        Number of the first chunk of each piece, and the number of chunks.

    Examples
    --------
    >>> piece_starts(np.array([3, 3, 3, 9, 1]), 5, 8)
    array([0, 2, 3, 4, 5])
    """
    if lengths is None:
        return np.arange(n_chunks + 1)
    starts, rows = [0], 0
    for i, length in enumerate(lengths.tolist()):
        if i > starts[-1] and (rows + length > chunk_rows or i - starts[-1] >= JOINED):
            starts.append(i)
            rows = 0
        rows += length
    return np.array([*starts, n_chunks])


def pieces_per_shard(n_pieces: int, n_shards: int, piece_bytes: float) -> int:
    """How many pieces make a shard: a power of two, so that shards are nodes of the tree of merges.

    Examples
    --------
    >>> pieces_per_shard(1000, n_shards=16, piece_bytes=2**20)
    64
    """
    per_shard = 1
    while -(-n_pieces // (2 * per_shard)) >= n_shards and 2 * per_shard * piece_bytes <= _STREAMED_BYTES:
        per_shard *= 2
    return per_shard


@dataclass(frozen=True)
class Sharding:
    """How the graph of a pass refers to the shards.

    Attributes
    ----------
    references : list
        Of each shard: the shard itself, a key, or a task.
    first_chunks : list of int
        Number of the first chunk of each, and the number of chunks.
    collections : list
        Dask collections that the references need.
    streamed : bool
        True if the shards read their rows themselves.
    level : int
        A shard has ``2**level`` pieces, the last one at most so many.
    n_pieces : int
    """

    references: list[Any]
    first_chunks: list[int]
    collections: list[Any]
    streamed: bool
    level: int
    n_pieces: int

    @classmethod
    def of(
        cls, rows: Rows, chunk_rows: int, n_threads: int, *, here: bool, packed: bool = False, lean: bool = False
    ) -> Sharding:
        """Cut rows into shards.

        Parameters
        ----------
        rows : Rows
        chunk_rows : int
            Of the plan.
        n_threads : int
            That the shards are for, in all workers.
        here : bool
            True if they work in this process.
        packed : bool
            True if the shards will be loaded.
        lean : bool
            See :class:`~dgmm.passes.execution.Execution`.

        Notes
        -----
        Where each chunk can be made without the others (it comes straight from a file, a generator
        or an array), shards make their chunks themselves, one at a time. Else Dask makes the
        chunks, and each piece is a shard, since its task waits for all that it is given; of those
        that are loaded, many pieces are one.
        """
        starts = piece_starts(rows.lengths, rows.n_chunks, chunk_rows)
        n_pieces = len(starts) - 1
        total = rows.largest_chunk_bytes * rows.n_chunks if rows.nbytes is None else rows.nbytes
        per_thread = _SHARDS_PER_THREAD_HERE if here else _SHARDS_PER_THREAD
        size = pieces_per_shard(n_pieces, per_thread * n_threads, total / n_pieces)

        def cut(references: list[Any], collections: list[Any], *, streamed: bool) -> Sharding:
            first_chunks = [*starts[:-1:size].tolist(), rows.n_chunks]
            return cls(references, first_chunks, collections, streamed, size.bit_length() - 1, n_pieces)

        if rows.local:
            return cut(_views(rows, starts, size), [], streamed=True)
        graph = dict(rows.X.__dask_graph__())
        collections = [rows.X]
        for column in (rows.weights, rows.labels):
            if column is not None:
                graph.update(column.__dask_graph__())
                collections.append(column)
        pieces = [_Piece.of(rows, a, b) for a, b in itertools.pairwise(starts.tolist())]
        recipes = _recipes(graph, pieces, here=here)
        if recipes is None:
            size = size if packed else 1
            tasks = [piece.task(rows.n_features) for piece in pieces]
            return cut(
                [(PackedShard, tasks[i : i + size]) for i in range(0, n_pieces, size)], collections, streamed=False
            )
        # There is nothing to read ahead of what is in memory.
        ahead = not lean and any(not _is_data(node) for node in recipes[0].graph.values())
        shards: list[Shard] = [
            StreamedShard(tuple(recipes[i : i + size]), rows.n_features, ahead, lean)
            for i in range(0, len(recipes), size)
        ]
        return cut(shards, [], streamed=True)


@dataclass(frozen=True)
class _Piece:
    index: int
    lengths: tuple[int, ...] | None
    missing: str
    X: list[Any]
    weights: list[Any] | None
    labels: list[Any] | None

    @classmethod
    def of(cls, rows: Rows, first: int, stop: int) -> _Piece:
        name = rows.X.name
        weights, labels = (
            None if column is None else [(column.name, i) for i in range(first, stop)]
            for column in (rows.weights, rows.labels)
        )
        lengths = None if rows.lengths is None else tuple(rows.lengths[first:stop].tolist())
        return cls(first, lengths, rows.missing, [(name, i, 0) for i in range(first, stop)], weights, labels)

    @property
    def keys(self) -> list[Any]:
        return [*self.X, *(self.weights or []), *(self.labels or [])]

    def task(self, n_features: int) -> tuple[Any, ...]:
        return (Block.of, self.index, n_features, self.lengths, self.missing, self.X, self.weights, self.labels)


def _recipes(graph: dict[Any, Any], pieces: list[_Piece], *, here: bool) -> list[Recipe] | None:
    """The graph of each piece by itself; None if pieces share more than small data."""
    owners: dict[Any, int] = {}
    recipes = []
    for number, piece in enumerate(pieces):
        part: dict[Any, Any] = {}
        for key, node in _closure(graph, piece.keys):
            if node is None or (owners.setdefault(key, number) != number and not _may_be_shared(node, here=here)):
                return None
            part[key] = node
        recipes.append(Recipe(piece.index, piece.lengths, piece.missing, part, piece.X, piece.weights, piece.labels))
    return recipes


def _closure(graph: dict[Any, Any], keys: list[Any]) -> Iterator[tuple[Any, Any]]:
    """All that some keys need, with their nodes; None for what must not be made anew (a cluster holds it)."""
    todo, seen = list(keys), set(keys)
    while todo:
        key = todo.pop()
        node = graph[key]
        if not hasattr(node, "dependencies") or isinstance(getattr(node, "value", None), Future):
            yield key, None
            return
        yield key, node
        new = [other for other in node.dependencies if other not in seen]
        seen.update(new)
        todo += new


def _views(rows: Rows, starts: IntArray, size: int) -> list[Shard]:
    """Shards of an array in memory, which are views of it."""
    lengths = [] if rows.lengths is None else rows.lengths.tolist()
    ends = [0, *itertools.accumulate(lengths)]
    blocks = [
        Block.without(
            rows.missing,
            rows.X[ends[a] : ends[b]],
            None if rows.weights is None else rows.weights[ends[a] : ends[b]],
            a,
            tuple(lengths[a:b]) if b - a > 1 else (),
            None if rows.labels is None else rows.labels[ends[a] : ends[b]],
        )
        for a, b in itertools.pairwise(starts.tolist())
    ]
    return [PackedShard(tuple(blocks[i : i + size])) for i in range(0, len(blocks), size)]


def _is_data(node: Any) -> bool:
    return hasattr(node, "value")


def _may_be_shared(node: Any, *, here: bool) -> bool:
    return _is_data(node) and (here or sizeof(node.value) <= _SHARED_BYTES)
