"""Rows: ordered blocks of a chunked array, checked once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph
from dask.utils import parse_bytes

from dgmm.errors import DataError, DataTypeError
from dgmm.mixture.missing import RAISE
from dgmm.passes.shards import check_unmasked

if TYPE_CHECKING:
    from dgmm.typing import Array, FloatArray, IntArray


WEIGHTS, LABELS = "sample_weight", "labels"
"""What the user calls the columns that go along with the rows."""
_NOUNS = {WEIGHTS: "weight", LABELS: "label"}


@dataclass(frozen=True)
class Rows:
    """Rows of features in ordered chunks, with or without weights and labels.

    Attributes
    ----------
    X : dask array or array, (n, d)
        One chunk of features; n and the chunk lengths of a dask array may be unknown.
    weights : dask array or array, (n,), or None
        As X, and chunked alike.
    lengths : (c,) int64 or None
        Rows of each chunk; None while they are unknown.
    missing : str
        One of :data:`~dgmm.mixture.missing.POLICIES`: rows that it leaves out have weight 0 wherever they are read.
    labels : dask array or array, (n,), or None
        Components that are known, as the weights are; -1 for others.
    """

    X: Any
    weights: Any
    lengths: IntArray | None
    missing: str = RAISE
    labels: Any = None

    @property
    def local(self) -> bool:
        """True if the rows are an array in this process's memory: they are worked on here."""
        return isinstance(self.X, np.ndarray)

    @property
    def n_chunks(self) -> int:
        """Number of chunks, empty ones included."""
        return int(self.X.numblocks[0]) if self.lengths is None else len(self.lengths)

    @property
    def n_features(self) -> int:
        """Number of features, d."""
        return int(self.X.shape[1])

    @property
    def n_rows(self) -> int | None:
        """Number of rows; None while it is unknown."""
        return None if self.lengths is None else int(self.lengths.sum())

    @property
    def nbytes(self) -> int | None:
        """Bytes of all rows and weights; None while their number is unknown."""
        return None if self.lengths is None else self._bytes_of(int(self.lengths.sum()))

    @property
    def largest_chunk_bytes(self) -> int:
        """Bytes of the longest chunk, of Dask's usual size while lengths are unknown."""
        if self.lengths is None:
            return int(parse_bytes(dask.config.get("array.chunk-size")))
        return self._bytes_of(int(self.lengths.max(initial=0)))

    def _bytes_of(self, n_rows: int) -> int:
        row: int = self.X.dtype.itemsize * self.n_features + (0 if self.weights is None else 8)
        return n_rows * (row + (0 if self.labels is None else self.labels.dtype.itemsize))

    def first_row(self, chunk: int) -> int | None:
        """Index of the first row of a chunk; None while it is unknown."""
        return None if self.lengths is None else int(self.lengths[:chunk].sum())

    def with_lengths(self, lengths: IntArray) -> Rows:
        """The same rows after a pass has counted them."""
        return replace(self, lengths=lengths)

    def with_missing(self, policy: str) -> Rows:
        """The same rows with another policy for missing values."""
        return replace(self, missing=policy)

    def chunks(self, numbers: list[int]) -> Rows:
        """Some of the chunks alone, in their order."""
        if self.lengths is None or not self.local:
            lengths = None if self.lengths is None else self.lengths[numbers]
            return self._each(lambda array: array.blocks[numbers], lengths)
        ends = np.cumsum(self.lengths)
        chosen = np.concatenate([np.arange(ends[i] - self.lengths[i], ends[i]) for i in numbers])
        return self._each(lambda array: array[chosen], self.lengths[numbers])

    def _each(self, take: Callable[[Any], Any], lengths: IntArray | None) -> Rows:
        """Some of the rows: what is taken of each array."""
        weights, labels = (None if column is None else take(column) for column in (self.weights, self.labels))
        return replace(self, X=take(self.X), weights=weights, lengths=lengths, labels=labels)

    def between(self, first: int, stop: int) -> Rows:
        """The rows from a first one to that before ``stop``; chunks that are cut are shorter."""
        if self.lengths is None:
            raise AssertionError("the numbers of the rows are not known")
        if not self.local:
            lengths = chunk_lengths(self.X[first:stop])
        else:
            ends = np.clip(np.cumsum(self.lengths), first, stop)
            lengths = ends - np.concatenate([[first], ends[:-1]])
            lengths = lengths[lengths > 0]
        return self._each(lambda array: array[first:stop], lengths)

    @classmethod
    def from_array(cls, X: Array, weights: FloatArray | None, chunk_rows: int, labels: Array | None = None) -> Rows:
        """Cut an array in memory, (n, d), into chunks.

        Raises
        ------
        DataError
            If the weights or labels do not fit the rows.
        """
        for name, column in ((WEIGHTS, weights), (LABELS, labels)):
            if column is not None and column.shape != (len(X),):
                raise DataError(mismatch(name, column.shape, len(X)))
        # An array of no rows is one empty chunk.
        full, rest = divmod(len(X), chunk_rows)
        lengths = [chunk_rows] * full + [rest] * (rest > 0 or full == 0)
        return cls(X, weights, np.array(lengths), labels=labels)

    @classmethod
    def from_dask(cls, X: da.Array, weights: Any | None, labels: Any | None = None) -> Rows:
        """Take a dask array, (n, d), and weights and labels, (n,), dask or numpy arrays.

        Chunk lengths may be unknown; several chunks of features are made one; weights and labels are
        rechunked like the rows.

        Raises
        ------
        DataError
            If there are not two dimensions, or the weights or labels do not fit the rows.
        DataTypeError
            If the dtype holds no real numbers.
        """
        check_table(X.ndim, X.shape, X.dtype)
        if X.numblocks[1] > 1:
            X = X.rechunk({1: -1})
        lengths = chunk_lengths(X)
        given = {WEIGHTS: weights, LABELS: labels}
        columns = {name: matching_rows(own, X, lengths, name) for name, own in given.items() if own is not None}
        X, *optimized = _optimize_together([X, *columns.values()])
        columns = dict(zip(columns, optimized, strict=True))
        return cls(X, columns.get(WEIGHTS), lengths, labels=columns.get(LABELS))


def _optimize_together(arrays: list[da.Array]) -> list[da.Array]:
    """Fuse and cull once; every pass then adds its own tasks to the same graph.

    Together (``dask.optimize`` takes one after the other), so that weights which are made from
    the rows, such as a column of the same table, do not read them a second time.
    """
    graph = HighLevelGraph.merge(*(array.__dask_graph__() for array in arrays))
    optimized = arrays[0].__dask_optimize__(graph, [array.__dask_keys__() for array in arrays])
    # What a cluster holds already (persisted chunks) stays as it is, and is left out by Dask.
    needed = {key for array in arrays for key in flatten(array.__dask_keys__())}
    for node in optimized.values():
        needed |= getattr(node, "dependencies", frozenset())
    optimized = {**optimized, **{key: graph[key] for key in needed - optimized.keys()}}
    rebuilt = []
    for array in arrays:
        rebuild, arguments = array.__dask_postpersist__()
        rebuilt.append(rebuild(optimized, *arguments))
    return rebuilt


def check_table(ndim: int, shape: tuple[Any, ...], dtype: np.dtype[Any]) -> None:
    """Refuse what is not a table of real numbers, before anything is computed."""
    check_dtype(dtype, "X")
    if ndim != 2:
        advice = "flatten the sample dimensions, X.reshape(-1, X.shape[-1])"
        if ndim < 2:
            advice = "Reshape your data, X.reshape(-1, 1) if it has one feature, X.reshape(1, -1) if it is one row"
        raise DataError(f"Expected 2D array, got {ndim}D array instead: X has shape {shape}; {advice}")
    if np.isnan(shape[1]):
        raise DataError("the number of features of X is unknown; call X.compute_chunk_sizes() first")
    if shape[1] == 0:
        raise DataError(
            f"Found array with 0 feature(s) (shape={shape}) while a minimum of 1 is required: X has no columns"
        )


def check_dtype(dtype: Any, name: str) -> None:
    """Refuse a dtype that holds no real numbers; a dataframe's own dtypes without a kind do."""
    kind = getattr(dtype, "kind", "O")
    if kind == "c":
        raise DataTypeError(f"{name} has dtype {dtype}: Complex data not supported; give its real part, or its modulus")
    if kind not in "biuf":
        raise DataTypeError(
            f"{name} has dtype {dtype}, which holds no real numbers; convert it first, for example with .astype(float)"
        )


def check_not_lazy(value: Any, name: str) -> None:
    """Refuse lazy collections other than dask arrays, which a conversion would compute."""
    if not isinstance(value, da.Array) and hasattr(value, "__dask_graph__") and value.__dask_graph__() is not None:
        raise DataTypeError(
            f"{name} is a {type(value).__module__}.{type(value).__name__}; give its dask array instead "
            "(`.data` of an xarray object, `.to_dask_array(lengths=True)` of a dataframe)"
        )


def in_memory(values: Any, name: str) -> Array:
    """Make an array of what the user gave for each row.

    Raises
    ------
    DataTypeError
        If it holds no real numbers.
    DataError
        If it is masked, or no array.
    """
    check_not_lazy(values, name)
    check_unmasked(values, name)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} cannot be made an array; expected one number for each row: {error}") from error
    check_dtype(array.dtype, name)
    return array


def chunk_lengths(X: da.Array) -> IntArray | None:
    """Rows of each chunk, (c,); None while they are unknown."""
    lengths = np.asarray(X.chunks[0], dtype=np.float64)
    return None if np.isnan(lengths).any() else lengths.astype(np.int64)


def mismatch(name: str, shape: tuple[Any, ...], n_rows: Any) -> str:
    """What is said of something that has not one value for each row."""
    return f"{name} has shape {shape}; expected one {_NOUNS[name]} for each row, ({n_rows},): give that many"


def matching_rows(values: Any, X: da.Array, lengths: IntArray | None, name: str) -> da.Array:
    """What is given for each row of a dask array, (n,), a dask or numpy array, chunked as the rows.

    Raises
    ------
    DataError
        If it does not fit the rows.
    DataTypeError
        If it holds no real numbers.
    """
    if not isinstance(values, da.Array):
        values = in_memory(values, name)
        if lengths is None:
            raise DataError(
                f"{name} is an array in memory, but the chunk lengths of X are unknown; "
                "call X.compute_chunk_sizes() first, or give a dask array"
            )
        values = da.from_array(values, chunks=-1, name=False)
    check_dtype(values.dtype, name)
    if values.ndim != 1:
        raise DataError(mismatch(name, values.shape, X.shape[0]))
    known = lengths is not None and not np.isnan(values.shape[0])
    if known:
        if values.shape[0] != X.shape[0]:
            raise DataError(mismatch(name, values.shape, X.shape[0]))
        values = values.rechunk((X.chunks[0],))
    elif values.numblocks[0] != X.numblocks[0]:
        raise DataError(
            f"{name} has {values.numblocks[0]} chunks and X has {X.numblocks[0]}, and lengths are unknown; "
            "chunk both alike, or call compute_chunk_sizes() on both"
        )
    return values
