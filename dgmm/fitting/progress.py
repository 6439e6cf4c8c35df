"""How far a fit has come, as a value that it can go on from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from dgmm.fitting.em import FitState
    from dgmm.mixture.moments import Moments, MomentsMap, Probe
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
    scan : ScanProgress or None
        The end of the scan that the start comes from, if it comes from one.
    """

    first: MomentsMap
    random_numbers: RandomNumbers
    n_reads: int = 0
    moments: Moments | None = None
    em: FitState | None = None
    scan: ScanProgress | None = None

    @property
    def n_iter(self) -> int:
        """Finished iterations."""
        return 0 if self.em is None else self.em.n_iter

    def parts(self) -> tuple[FitProgress, dict[str, Any]]:
        """The progress without what never changes again once it is there, and that by name."""
        parts = {name: getattr(self, name) for name in ("moments", "scan")}
        return replace(self, moments=None, scan=None), {name: part for name, part in parts.items() if part is not None}

    def with_parts(self, parts: dict[str, Any]) -> FitProgress:
        """The progress with its parts."""
        return replace(self, moments=parts.get("moments"), scan=parts.get("scan"))


@dataclass(frozen=True)
class CandidateProgress:
    """How far a candidate of a selection has come.

    Attributes
    ----------
    n_reads : int
        Finished reads that served it.
    seconds : float
        Of work for it alone.
    em : FitState or None
        None until there is a start.
    behind : (float, float) or None
        Nats per row by which it was behind on the sample, and their standard error, if it was dropped.
    """

    n_reads: int
    seconds: float = 0.0
    em: FitState | None = None
    behind: tuple[float, float] | None = None


@dataclass(frozen=True)
class SelectionProgress:
    """How far a selection has come.

    Attributes
    ----------
    begun : FitProgress
        What all candidates begin from; without moments until the first read is finished.
    n_reads : int
        Finished reads.
    n_held_out : int or None
        Rows of positive weight that are set aside, if some are.
    screened : bool
        Whether candidates that are behind on the sample have been dropped, or none was to be.
    candidates : tuple of CandidateProgress
        Empty until the first read is finished.
    """

    begun: FitProgress
    n_reads: int = 0
    n_held_out: int | None = None
    screened: bool = False
    candidates: tuple[CandidateProgress, ...] = ()

    @property
    def n_iter(self) -> int:
        """Finished iterations of the candidate that has most."""
        return max((one.em.n_iter for one in self.candidates if one.em is not None), default=0)

    def parts(self) -> tuple[SelectionProgress, dict[str, Any]]:
        """As :meth:`FitProgress.parts`."""
        begun, parts = self.begun.parts()
        return replace(self, begun=begun), parts

    def with_parts(self, parts: dict[str, Any]) -> SelectionProgress:
        """As :meth:`FitProgress.with_parts`."""
        return replace(self, begun=self.begun.with_parts(parts))


class ScanState(Protocol):
    """Where an algorithm of one scan is between two rounds."""

    @property
    def n_rounds(self) -> int:
        """Finished rounds."""
        ...

    @property
    def lower_bound(self) -> float | None:
        """Of the mean log-likelihood of all rows so far, in nats per row; None if there is none."""
        ...


@dataclass(frozen=True)
class ScanProgress:
    """How far one scan of the rows has come.

    Attributes
    ----------
    seed : int
        Of all random choices.
    scan : ScanState
        Of the algorithm.
    chunk, row : int
        First chunk of the group that is worked on, and rows of that group that are done.
    lower_bounds : tuple of float
        After each round, in nats per row.
    first, stop : int
        Of rows that arrive in one array: the first one of those that are worked on, and the one after the last.
    looks : tuple of (int, Probe)
        The first group of chunks and the last one so far, by which the rows are known again: the number of the
        first row of each, and what its rows were like.
    n_dropped : int
        Rows so far that were left out because values are missing.
    """

    seed: int
    scan: Any
    chunk: int = 0
    row: int = 0
    lower_bounds: tuple[float, ...] = ()
    first: int = 0
    stop: int = 0
    looks: tuple[tuple[int, Probe], ...] = ()
    n_dropped: int = 0

    @property
    def n_reads(self) -> int:
        """Finished reads of all the rows: there is one."""
        return 0

    @property
    def n_iter(self) -> int:
        """Finished rounds."""
        return int(self.scan.n_rounds)

    def after(self, scan: ScanState, chunk: int, row: int) -> ScanProgress:
        """The progress after a round, at another place."""
        bounds = self.lower_bounds if scan.lower_bound is None else (*self.lower_bounds, scan.lower_bound)
        return replace(self, scan=scan, chunk=chunk, row=row, lower_bounds=bounds)

    def parts(self) -> tuple[ScanProgress, dict[str, Any]]:
        """The progress as it is: all of it changes in a round."""
        return self, {}

    def with_parts(self, parts: dict[str, Any]) -> ScanProgress:
        """The progress as it is."""
        return self
