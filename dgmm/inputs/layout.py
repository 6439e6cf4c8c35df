"""Stored arrays of any number of dimensions as rows of features, and labels back in their shape."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Layout:
    """Where the rows of an array with several leading dimensions come from.

    Rows are taken block by block, so that no block is cut or moved; within a block in C order.

    Examples
    --------
    >>> import dask.array as da
    >>> Layout(((2, 2), (3, 3))).flatten(da.zeros((4, 6, 3), chunks=(2, 3, 3))).chunks
    ((6, 6, 6, 6), (3,))
    """

    chunks: tuple[tuple[int, ...], ...]
    """Chunks of the leading dimensions, all but the last of the array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the leading dimensions."""
        return tuple(sum(sizes) for sizes in self.chunks)

    def blocks(self) -> Iterator[tuple[int, ...]]:
        """Indices of the blocks, in the order of the rows."""
        return itertools.product(*(range(len(sizes)) for sizes in self.chunks))

    @property
    def lengths(self) -> tuple[int, ...]:
        """Rows of each block."""
        return tuple(math.prod(sizes) for sizes in itertools.product(*self.chunks))

    def flatten(self, x: da.Array) -> da.Array:
        """Return the rows of ``x``.

        Parameters
        ----------
        x : dask.array.Array of shape ``(*shape, d)`` or ``shape``

        Returns
        -------
        dask.array.Array of shape ``(n, d)`` or ``(n,)``
        """
        count = len(self.chunks)
        x = x.rechunk((*self.chunks, *((length,) for length in x.shape[count:])))
        if count == 1:
            return x
        tail = x.shape[count:]
        name, shape, zeros = f"rows-{x.name}", (-1, *tail), (0,) * len(tail)
        tasks = {
            (name, i, *zeros): (np.reshape, (x.name, *block, *zeros), shape) for i, block in enumerate(self.blocks())
        }
        graph = HighLevelGraph.from_collections(name, tasks, dependencies=[x])
        return da.Array(graph, name, (self.lengths, *((length,) for length in tail)), dtype=x.dtype)

    def restore(self, rows: da.Array) -> da.Array:
        """Return one value, or several, of each row in the shape of the leading dimensions.

        Parameters
        ----------
        rows : dask.array.Array of shape ``(n,)`` or ``(n, m)``
            With the row chunks of :meth:`flatten`; one chunk of columns.

        Returns
        -------
        dask.array.Array of shape ``shape`` or ``(*shape, m)``
        """
        if len(self.chunks) == 1:
            return rows
        name, tail = f"restored-{rows.name}", rows.shape[1:]
        zeros = (0,) * len(tail)
        tasks = {
            (name, *block, *zeros): (np.reshape, (rows.name, i, *zeros), (*shape, *tail))
            for i, (block, shape) in enumerate(zip(self.blocks(), itertools.product(*self.chunks), strict=True))
        }
        graph = HighLevelGraph.from_collections(name, tasks, dependencies=[rows])
        return da.Array(graph, name, (*self.chunks, *((length,) for length in tail)), dtype=rows.dtype)
