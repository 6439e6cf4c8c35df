"""Values that cannot be used, and where the first one is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk
    from dgmm.typing import Array


@dataclass(frozen=True)
class Defects:
    """Values of one kind that cannot be used, and where the first one is.

    Attributes
    ----------
    count : int
    chunk : int
        Chunk of the first.
    row : int
        Its row within the chunk.
    feature : int
        Its feature; -1 for weights.
    value : float
    """

    count: int = 0
    chunk: int = -1
    row: int = -1
    feature: int = -1
    value: float = 0.0

    def merge(self, other: Defects) -> Defects:
        """Both counts and the earlier place."""
        if not other.count:
            return self
        if not self.count:
            return other
        first = min(self, other, key=lambda defects: (defects.chunk, defects.row, defects.feature))
        return replace(first, count=self.count + other.count)

    @classmethod
    def find(cls, bad: Array, values: Array, chunk: Chunk, row: int = 0) -> Defects:
        """Record where ``bad``, (n,) or (n, d) bool, is True; its rows are the chunk's from ``row`` on."""
        count = int(np.count_nonzero(bad))
        if not count:
            return NO_DEFECTS
        at = np.unravel_index(int(bad.argmax()), bad.shape)
        feature = int(at[1]) if bad.ndim == 2 else -1
        return cls(count, *chunk.place(row + int(at[0])), feature, float(values[at]))


NO_DEFECTS = Defects()
