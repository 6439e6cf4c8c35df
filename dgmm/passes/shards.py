"""Shards: consecutive chunks of the rows that one task works on, held in memory or read as it goes.

What a map sees at once is a *piece*: one chunk, or several small neighbours joined. Pieces follow
from the lengths of the chunks and the plan alone, so that neither the number of shards nor where
the rows are held changes a bit of a result.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.core import get
from dask.optimization import cull

from dgmm.errors import DataError, DataTypeError
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.kernel import kernel_dtype
from dgmm.mixture.merging import merge_in_order
from dgmm.mixture.missing import weights_without
from dgmm.mixture.sizes import Sized
from dgmm.passes.blas import single_threaded_blas
from dgmm.storage.reading import once, patiently

if TYPE_CHECKING:
    from dgmm.mixture.chunks import ChunkMap, R
    from dgmm.mixture.merging import M
    from dgmm.typing import Array


@dataclass(frozen=True)
class Block:
    """The rows of a piece.

    Attributes
    ----------
    X : (n, d) of the type that they came in
        Whole numbers of few bits take the less memory where rows are held.
    weights : (n,) or None
    index : int
        Number of its first chunk.
    joined : tuple of int
        Rows of its chunks; empty if it is one chunk.
    labels : (n,) or None
        See :class:`~dgmm.mixture.chunks.Chunk`.
    """

    X: Array
    weights: Array | None
    index: int
    joined: tuple[int, ...]
    labels: Array | None = None

    @classmethod
    def of(
        cls,
        index: int,
        n_features: int,
        lengths: tuple[int, ...] | None,
        missing: str,
        X: list[Any],
        weights: list[Any] | None,
        labels: list[Any] | None = None,
    ) -> Block:
        """Check what was read for the chunks of a piece, and join it.

        Parameters
        ----------
        index : int
            Number of the first chunk.
        n_features : int
        lengths : tuple of int or None
            Rows that each chunk was declared with, where they are known.
        missing : str
            What is done about missing values, see :func:`~dgmm.mixture.missing.weights_without`.
        X, weights, labels : list
            One for each chunk.

        Raises
        ------
        DataError
            If it is not what was declared.
        """
        rows = [to_block(block, index + i, n_features) for i, block in enumerate(X)]
        for i, block in enumerate(rows):
            if lengths is not None:
                check_length(block, index + i, lengths[i])
        n_rows = list(map(len, rows))
        w = None if weights is None else _join(to_weights, weights, index, n_rows)
        known = None if labels is None else _join(to_labels, labels, index, n_rows)
        if len(rows) == 1:
            return cls.without(missing, rows[0], w, index, (), known)
        return cls.without(missing, np.concatenate(rows), w, index, tuple(n_rows), known)

    @classmethod
    def without(
        cls,
        missing: str,
        X: Array,
        weights: Array | None,
        index: int,
        joined: tuple[int, ...],
        labels: Array | None = None,
    ) -> Block:
        """The rows of a piece, of which those that ``missing`` leaves out have weight 0."""
        return cls(X, weights_without(X, weights, missing), index, joined, labels)


def _join(to_column: Callable[[Any, int, int], Array], columns: list[Any], index: int, n_rows: list[int]) -> Array:
    """Check a column of some chunks, from number ``index`` on, and join it."""
    checked = [to_column(column, index + i, n) for i, (column, n) in enumerate(zip(columns, n_rows, strict=True))]
    return checked[0] if len(checked) == 1 else np.concatenate(checked)


@dataclass(frozen=True)
class PackedShard(Sized):
    """A shard whose rows are held in memory."""

    blocks: tuple[Block, ...]

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)


@dataclass(frozen=True)
class Recipe:
    """How to read a piece: a small Dask graph that needs nothing else.

    Attributes
    ----------
    index, lengths, missing
        See :meth:`Block.of`.
    graph : dict
    X, weights, labels : list of keys
    """

    index: int
    lengths: tuple[int, ...] | None
    missing: str
    graph: dict[Any, Any]
    X: list[Any]
    weights: list[Any] | None
    labels: list[Any] | None = None

    @property
    def _columns(self) -> dict[str, list[Any]]:
        """The keys by what the user calls them."""
        columns = {"X": self.X, "sample_weight": self.weights, "labels": self.labels}
        return {name: keys for name, keys in columns.items() if keys is not None}

    def read(self, n_features: int) -> Block:
        """Read the piece in this thread; what fails is tried again, with pauses.

        Raises
        ------
        ReadError
            If it fails however often it is tried; names the chunk.
        """
        columns = self._columns
        values = iter(self._values(list(itertools.chain(*columns.values()))))
        X, w, labels = (
            [next(values) for _ in columns[name]] if name in columns else None
            for name in ("X", "sample_weight", "labels")
        )
        return Block.of(self.index, n_features, self.lengths, self.missing, X or [], w, labels)

    def _values(self, keys: list[Any]) -> list[Any]:
        return patiently(
            lambda: list(get(self.graph, keys)),
            self._place(0) if len(self.X) == 1 else f"chunks {self.index} to {self.index + len(self.X) - 1}",
            last=lambda: [once(partial(self._value, key), self._place(i)) for i, key in enumerate(keys)],
        )

    def _place(self, number: int) -> str:
        name = list(self._columns)[number // len(self.X)]
        return f"chunk {self.index + number % len(self.X)} of {name}"

    def _value(self, key: Any) -> Any:
        # Without the tasks of the other chunks, which get would run too.
        alone, _ = cull(self.graph, [key])
        (value,) = get(alone, [key])
        return value


@dataclass(frozen=True)
class StreamedShard:
    """A shard whose pieces are read one after the other, the next one while one is worked on.

    Attributes
    ----------
    recipes : tuple of Recipe
    n_features : int
    ahead : bool
        Whether the next piece is read while one is worked on.
    lean : bool
        Whether the memory of a piece goes back to the system at once.
    """

    recipes: tuple[Recipe, ...]
    n_features: int
    ahead: bool
    lean: bool

    def __iter__(self) -> Iterator[Block]:
        if self.lean:
            return_memory()
        reads = (self._read(recipe) for recipe in self.recipes)
        return _read_ahead(reads) if self.ahead and len(self.recipes) > 1 else (read() for read in reads)

    def _read(self, recipe: Recipe) -> Callable[[], Block]:
        return lambda: recipe.read(self.n_features)


_M_MMAP_THRESHOLD = -3


@cache
def return_memory() -> None:
    """Let this process give large blocks of memory back as soon as they are freed.

    glibc learns from the first block that is freed to keep such blocks in the heaps of the threads
    that asked for them: of those, each thread of a reader then holds some. A fixed threshold ends
    that (``mallopt(3)``). Other C libraries are left as they are.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)


def _read_ahead(reads: Iterator[Callable[[], Block]]) -> Iterator[Block]:
    """Yield the results in order; a thread is one ahead, so that two blocks exist at a time."""
    with ThreadPoolExecutor(1, thread_name_prefix="dgmm-read") as reader:
        waiting = reader.submit(next(reads))
        for read in reads:
            block = waiting.result()
            waiting = reader.submit(read)
            yield block
        yield waiting.result()


Shard = PackedShard | StreamedShard


def pack(shard: Shard) -> PackedShard:
    """The task that loads a shard."""
    return PackedShard(tuple(shard))


def map_shard(chunk_map: ChunkMap[R], shard: Shard, first_row: int | None) -> R:
    """The task of a shard: each piece is mapped, and the records merged."""

    def records() -> Iterator[R]:
        row = first_row
        for block in shard:
            n = len(block.X)
            X = taken_by(chunk_map, block.X)
            record = chunk_map(X, block.weights, Chunk(block.index, row, n, block.joined, block.labels))
            row = None if row is None else row + n
            del block, X  # before the next one is read
            yield record

    with single_threaded_blas():
        return merge_in_order(records())


def taken_by(row_map: Any, X: Array) -> Array:
    """Rows, (n, d), as a map takes them: float32 or float64, or as they came where it says ``takes_any_dtype``."""
    return X if getattr(row_map, "takes_any_dtype", False) else X.astype(kernel_dtype(X.dtype), copy=False)


def merge_records(records: list[M]) -> M:
    """The task of a node of the tree above the shards."""
    return merge_in_order(records)


def check_unmasked(block: Any, name: str, place: str = "") -> None:
    """Refuse masked values, which a conversion to a plain array would silently uncover."""
    if np.ma.is_masked(block):
        count = np.count_nonzero(np.ma.getmaskarray(block))
        raise DataError(f"{name} is a masked array with {count} masked values{place}; drop or impute them")


def to_block(block: Any, index: int, n_features: int) -> Array:
    """Make what a task was handed for a chunk rows of real numbers, (n, d), of the type that they came in.

    Raises
    ------
    DataError
        If it is not what the array declared: dimensions, features, real numbers, nothing masked.
    """
    X = _numbers(block, index, "X")
    if X.ndim != 2 or X.shape[1] != n_features:
        raise DataError(
            f"chunk {index} of X has shape {X.shape}, but X was declared with {n_features} features; "
            "give map_blocks the right chunks, or call X.compute_chunk_sizes()"
        )
    return X


def check_length(X: Array, index: int, declared: int) -> None:
    """Refuse a chunk that has not the rows it was declared with."""
    if len(X) != declared:
        raise DataError(
            f"chunk {index} of X has {len(X)} rows, but was declared with {declared}; "
            "give map_blocks the right chunks, or call X.compute_chunk_sizes()"
        )


def to_weights(block: Any, index: int, n_rows: int) -> Array:
    """Make what a task was handed for the weights of a chunk float64, (n,); errors are those of :func:`to_block`."""
    return _column(block, index, n_rows, "sample_weight", "weights").astype(np.float64, copy=False)


def to_labels(block: Any, index: int, n_rows: int) -> Array:
    """Make what a task was handed for the labels of a chunk numbers, (n,); errors are those of :func:`to_block`."""
    return _column(block, index, n_rows, "labels", "labels")


def _column(block: Any, index: int, n_rows: int, name: str, noun: str) -> Array:
    values = _numbers(block, index, name)
    if values.shape != (n_rows,):
        found = len(values) if values.ndim == 1 else f"an array {values.shape} of"
        raise DataError(f"chunk {index} has {n_rows} rows and {found} {noun}; chunk both alike")
    return values


def _numbers(block: Any, index: int, name: str) -> Array:
    check_unmasked(block, name, f" in chunk {index}")
    try:
        values = np.asarray(block)
    except (TypeError, ValueError):
        values = np.empty(0, dtype=object)
    if values.dtype.kind not in "biuf":
        raise DataTypeError(
            f"chunk {index} of {name} holds {type(block).__name__} of dtype {values.dtype}; "
            "expected an array of real numbers: look at what the function given to map_blocks returns"
        )
    return values
