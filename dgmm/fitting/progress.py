"""How far a fit has come, as a value that it can go on from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dgmm.fitting.em import FitState
    from dgmm.mixture.moments import Moments, MomentsMap
    from dgmm.typing import Array


@dataclass(frozen=True)
class RandomNumbers:
    """The state of a generator of random numbers, MT19937.

    Attributes
    ----------
    keys : (624,) uint32
    position : int
    has_gauss : int
    cached_gaussian : float
    """

    keys: Array
    position: int
    has_gauss: int
    cached_gaussian: float

    @classmethod
    def of(cls, rng: np.random.RandomState) -> RandomNumbers:
        """The state that a generator is in."""
        _, keys, position, has_gauss, cached_gaussian = rng.get_state(legacy=True)
        return cls(np.array(keys), int(position), int(has_gauss), float(cached_gaussian))

    def restore(self) -> np.random.RandomState:
        """A generator in this state."""
        rng = np.random.RandomState()
        rng.set_state(("MT19937", self.keys, self.position, self.has_gauss, self.cached_gaussian))
        return rng


@dataclass(frozen=True)
class FitProgress:
    """How far a fit has come.

    Attributes
    ----------
    first : MomentsMap
        Of the first read: with the seed of the sample.
    random_numbers : RandomNumbers
        That the starts are made with.
    n_reads : int
        Finished reads.
    moments : Moments or None
        None until the first read is finished.
    em : FitState or None
        None until there is a start.
    """

    first: MomentsMap
    random_numbers: RandomNumbers
    n_reads: int = 0
    moments: Moments | None = None
    em: FitState | None = None
