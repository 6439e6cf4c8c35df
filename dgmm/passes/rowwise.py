"""What is said of each row, as a lazy map that keeps the row chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import dask
import dask.array as da
import numpy as np

from dgmm.mixture.chunks import Chunk
from dgmm.passes.blas import single_threaded_blas
from dgmm.passes.rows import check_table, chunk_lengths
from dgmm.passes.shards import check_length, taken_by, to_block

if TYPE_CHECKING:
    from dgmm.typing import Array, IntArray


class RowMap(Protocol):
    """A pure function from the rows of a chunk to a value, or several, of each."""

    @property
    def n_features(self) -> int:
        """Features of a row."""
        ...

    @property
    def columns(self) -> int | None:
        """Values of a row; None for one that is no column."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        ...

    def __call__(self, X: Array, chunk: Chunk) -> Array:
        """Map rows (n, d) to values (n,) or (n, columns)."""
        ...


def _map_block(block: Array, given: tuple[RowMap, IntArray | None], block_id: tuple[int, ...]) -> Array:
    row_map, lengths = given
    X = to_block(block, block_id[0], row_map.n_features)
    if lengths is not None:
        check_length(X, block_id[0], lengths[block_id[0]])
    with single_threaded_blas():
        return row_map(taken_by(row_map, X), Chunk(block_id[0], None, len(X)))


def map_lazily(X: da.Array, row_map: RowMap) -> da.Array:
    """Build the map over a dask array, (n, d); nothing is computed.

    Returns
    -------
    dask array
        (n,) or (n, columns), with the row chunks of X, which may be unknown.
    """
    check_table(X.ndim, X.shape, X.dtype)
    if X.numblocks[1] > 1:
        X = X.rechunk({1: -1})
    width = () if row_map.columns is None else (row_map.columns,)
    shape: dict[str, Any] = {"chunks": (X.chunks[0], width)} if width else {"drop_axis": 1}
    return X.map_blocks(
        _map_block,
        # A task of its own, so that it travels to each worker once.
        given=dask.delayed((row_map, chunk_lengths(X)), pure=False, traverse=False),
        dtype=row_map.dtype,
        meta=np.empty((0,) * (1 + len(width)), dtype=row_map.dtype),
        **shape,
    )


def map_rows(X: Any, row_map: RowMap, chunk_rows: int) -> Any:
    """The same for any rows, (n, d): those in memory are worked on with this process's threads, in chunks."""
    if isinstance(X, da.Array):
        return map_lazily(X, row_map)
    if len(X) <= chunk_rows:  # one chunk: a scheduler would take longer than the work
        return _map_block(X, (row_map, None), (0, 0))
    lazy = map_lazily(da.from_array(X, chunks=(chunk_rows, X.shape[1]), name=False), row_map)
    with single_threaded_blas():
        return lazy.compute(scheduler="threads")
