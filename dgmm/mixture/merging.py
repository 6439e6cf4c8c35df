"""Records merged as a perfect binary tree over the numbers of their pieces.

The tree is fixed by the number of pieces alone. Whoever merges an aligned run of ``2**j`` records,
and then the results, gets the same bits; so does whoever stops after some pieces and goes on later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from dgmm.mixture.chunks import ChunkMap, R, Record
from dgmm.mixture.sizes import Sized

M = TypeVar("M", bound=Record)


def merge_in_order(records: Iterable[M]) -> M:
    """Merge the records of successive pieces; at most one record a level of the tree is held."""
    nodes: list[tuple[int, M]] = []
    for record in records:
        _push(nodes, 0, record)
    return _fold(nodes)


def _push(nodes: list[tuple[int, M]], level: int, record: M) -> None:
    while nodes and nodes[-1][0] == level:
        record = nodes.pop()[1].merge(record)
        level += 1
    nodes.append((level, record))


def _fold(nodes: list[tuple[int, M]]) -> M:
    record = nodes.pop()[1]
    while nodes:
        record = nodes.pop()[1].merge(record)
    return record


@dataclass(frozen=True)
class PartialMerge(Sized):
    """The records of the first pieces, merged as far as the tree over all of them merges them.

    Attributes
    ----------
    nodes : tuple of (int, Record)
        Level and record of each node, in the order of the pieces. A node of level j is that of
        ``2**j`` pieces, of which the last node of all may have fewer; levels fall.

    Examples
    --------
    >>> PartialMerge(((3, "a"), (0, "b"))).n_pieces
    9
    """

    nodes: tuple[tuple[int, Any], ...] = ()

    @property
    def n_pieces(self) -> int:
        """Pieces that are in it, as long as the last node is a whole one."""
        return sum(1 << level for level, _ in self.nodes)

    def add(self, level: int, record: Any) -> PartialMerge:
        """Add the node of the next ``2**level`` pieces; there must be a multiple of so many before it."""
        nodes = list(self.nodes)
        _push(nodes, level, record)
        return PartialMerge(tuple(nodes))

    def whole(self, level: int) -> PartialMerge:
        """Leave out the last pieces, so that a multiple of ``2**level`` are in it."""
        return PartialMerge(tuple(node for node in self.nodes if node[0] >= level))

    def total(self) -> Any:
        """The record of all pieces."""
        return _fold(list(self.nodes))


NOTHING = PartialMerge()
"""Of a read that has not begun."""


class RunInParts(Protocol):
    """Runs a map over all the chunks, and can go on where that was broken off."""

    def __call__(self, chunk_map: ChunkMap[R], begun: PartialMerge, keep: Callable[[PartialMerge], object], /) -> R:
        """Return the merged record of all the rows; ``keep`` is given what is finished, now and then."""
        ...
