"""In which parts a pass is run, so that what is finished can be kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Pace:
    """How many shards a part has: about as many as take ``interval`` seconds.

    Threads that are done wait for the others at the end of a part, so it has at least a few shards
    for each; only with an interval of 0 it has one. The size of the parts changes no bit of a
    result: each is a node of the tree of merges.

    Attributes
    ----------
    interval : float or None
        Seconds; None for passes that are run in one part.
    n_threads : int
        That the shards are for.
    """

    interval: float | None
    n_threads: int
    _seconds: float | None = field(default=None, init=False)

    def part(self, first: int, n_shards: int) -> tuple[int, int]:
        """Number of shards of the part that begins with shard ``first``, and the level of its node.

        Examples
        --------
        >>> Pace(None, 2).part(0, 20)
        (20, 5)
        >>> Pace(0.0, 2).part(4, 20)
        (2, 1)
        """
        if self.interval is None:
            level = (n_shards - 1).bit_length()
        else:
            least = self.n_threads * (_FEWEST if self.interval else 1)
            level = max(int(math.log2(max(self._wanted(), 1.0))), (least - 1).bit_length())
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        return min(1 << level, n_shards - first), level

    def _wanted(self) -> float:
        if self._seconds is None or not self.interval:  # the first part tells how long the others take
            return 1.0
        return min(self.interval / max(self._seconds, 1e-9), 2.0**40)

    def measured(self, n_shards: int, seconds: float) -> None:
        """Take the time of a part."""
        self._seconds = seconds / n_shards


# Shards for each thread in a part.
_FEWEST = 4
