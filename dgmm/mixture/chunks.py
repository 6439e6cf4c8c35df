"""What a map over chunks is: the one shape that every pass over the data has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from dgmm.typing import Array, FloatArray


@dataclass(frozen=True)
class Chunk:
    """Which chunk of the data a block of rows is; small neighbours are joined to one block.

    Attributes
    ----------
    index : int
        Number of the (first) chunk, from 0.
    first_row : int or None
        Index in the whole of the block's first row; None while chunk lengths are unknown.
    n_rows : int
        Rows in the block.
    joined : tuple of int
        Rows of each chunk of the block; empty if it is one chunk.
    labels : (n,) or None
        Component of each row, -1 where it is not known; None if that holds for all.
    """

    index: int
    first_row: int | None
    n_rows: int
    joined: tuple[int, ...] = ()
    labels: Array | None = field(default=None, compare=False, repr=False)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Rows of each chunk of the block."""
        return self.joined or (self.n_rows,)

    def place(self, row: int) -> tuple[int, int]:
        """Number of the chunk that a row of the block is in, and its row there.

        Examples
        --------
        >>> Chunk(4, None, 6, joined=(1, 0, 5)).place(3)
        (6, 2)
        """
        index = self.index
        for length in self.lengths[:-1]:
            if row < length:
                break
            row, index = row - length, index + 1
        return index, row


class Record(Protocol):
    """What a pass makes of each chunk: merged, neighbours first, to one."""

    def merge(self, other: Self) -> Self:
        """The record of both sets of rows; ``other``'s are the later ones."""
        ...


R = TypeVar("R", bound=Record)
R_co = TypeVar("R_co", bound=Record, covariant=True)


class ChunkMap(Protocol[R_co]):
    """A pure function from the rows of a chunk to a record.

    Rows are float32 or float64, unless it has an attribute ``takes_any_dtype`` that is true.
    """

    @property
    def name(self) -> str:
        """Name of the pass, for progress and task names."""
        ...

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> R_co:
        """Map rows (n, d) and their weights (n,) to a record."""
        ...


class RunPass(Protocol):
    """Runs a map over all the chunks and merges the records."""

    def __call__(self, chunk_map: ChunkMap[R]) -> R:
        """Return the merged record of all the rows."""
        ...
