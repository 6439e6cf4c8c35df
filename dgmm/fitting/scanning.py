"""One scan of the rows as values: what it is told, and where it is between two rounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dgmm.fitting.problem import FitProblem
from dgmm.mixture.retaining import RetainedRows
from dgmm.mixture.sampling import RowSample
from dgmm.mixture.sizes import Sized

if TYPE_CHECKING:
    from dgmm.fitting.start import Start
    from dgmm.mixture.compiled import KernelOptions
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.mixture.parameters import Coordinates, MixtureParameters
    from dgmm.mixture.summaries import Summaries

# Weights below it have few digits, or none.
_NOTHING = float(np.finfo(np.float64).tiny)


class Purpose(IntEnum):
    """What random numbers are for."""

    START = 0
    MOVES = 1
    COMPRESSION = 2


@dataclass(frozen=True)
class BFRControl:
    """How a scan is made.

    Attributes
    ----------
    sample_rows : int
        Rows of the uniform sample, which the start is made from; the first ones are gathered until
        there are so many.
    buffer_rows : int
        Rows that are retained between rounds, at most.
    primary : "certain" or "mahalanobis"
        Which rows leave first: those that the model is most certain of, and only as many as the
        buffer needs, each weighed over the components; or all within a Mahalanobis radius of their
        most probable component, which they then belong to altogether.
    primary_fraction : float
        From 0 to 1: share of a component's own rows that lie within that radius.
    secondary_tightness : float
        Variance of a compressed subcluster, at most, in units of its nearest component's.
    forgetting : float
        In (0, 1]: what old rows' weights are multiplied by in each round.
    inner_max_iter : int
        EM iterations of a round, at most.
    seed : int
        Of all random choices.
    """

    sample_rows: int = 50_000
    buffer_rows: int = 10_000
    primary: Literal["certain", "mahalanobis"] = "certain"
    primary_fraction: float = 0.5
    secondary_tightness: float = 0.125
    forgetting: float = 1.0
    inner_max_iter: int = 10
    seed: int = 0


@dataclass(frozen=True)
class BFRSetup:
    """What is fitted, and how: all that does not change while rows arrive.

    Attributes
    ----------
    family : CovarianceFamily
    n_components : int
    reg_covar : float
        In the user's squared units.
    dtype : dtype
        Of the rows: float32 or float64.
    options : KernelOptions
    start : Start
        ``init_params`` that need no pass over the data, or the user's own parameters.
    control : BFRControl
    """

    family: CovarianceFamily
    n_components: int
    reg_covar: float
    dtype: np.dtype[Any]
    options: KernelOptions
    start: Start
    control: BFRControl

    def random(self, purpose: Purpose, number: int = 0) -> np.random.RandomState:
        """Random numbers of their own for each purpose in each round."""
        return np.random.RandomState([self.control.seed % 2**32, int(purpose), number])


@dataclass(frozen=True)
class BFRState(Sized):
    """Where a scan is between two rounds.

    Attributes
    ----------
    retained : RetainedRows
        The most doubtful first; before the start, all rows so far.
    parameters : MixtureParameters or None
        In inner coordinates; None before the start.
    coordinates : Coordinates or None
        Of the first rows; they stay.
    discard : Summaries or None
        (K,): what was discarded to each component.
    entropy : float
        Weighted sum, over the discarded rows, of the entropy of what they were weighed by, or less.
    compressed : Summaries or None
        Tight subclusters.
    exponent : int
        Weights are in units of ``2**exponent``.
    n_rows : int
        Rows of positive weight so far.
    n_remembered : float
        The same, each round's multiplied by ``forgetting`` in each later one.
    n_rounds : int
    n_sweeps : int
        Rows that EM's maps have gone over, each as often as it did, without the start.
    lower_bound : float or None
        Mean of the bound of the log-likelihood of all rows, in the last round, in nats per row.
    settled : bool
        Whether the last round moved the model by little.
    n_strange : int
        Retained rows that no component explained.
    n_moved : int
        Components that moved to rows which none explained.
    sample : RowSample or None
        Uniform sample of the rows so far, in units of ``2**exponent``; None before the start. Keys rise from 0, and
        are divided by ``forgetting`` in each later round; rows whose keys then exceed 1 leave, so that each row stays
        with the probability that its weight has fallen to.
    n_checked, n_renewed : int
        Rows when the sample was last asked, and how often it put the scan right.
    """

    retained: RetainedRows
    parameters: MixtureParameters | None = None
    coordinates: Coordinates | None = None
    discard: Summaries | None = None
    entropy: float = 0.0
    compressed: Summaries | None = None
    exponent: int = 0
    n_rows: int = 0
    n_remembered: float = 0.0
    n_rounds: int = 0
    n_sweeps: int = 0
    lower_bound: float | None = None
    settled: bool = False
    n_strange: int = 0
    n_moved: int = 0
    sample: RowSample | None = None
    n_checked: int = 0
    n_renewed: int = 0

    @classmethod
    def empty(cls, d: int, dtype: np.dtype[Any]) -> BFRState:
        """The state before the first round."""
        return cls(RetainedRows(np.empty((0, d), dtype=dtype), np.empty(0)))

    @property
    def total_weight(self) -> float:
        """Weight of all rows so far, in units of ``2**exponent``."""
        sets = (part.total_weight for part in (self.discard, self.compressed) if part is not None)
        return float(self.retained.weights.sum()) + sum(sets)

    @property
    def sample_wanted(self) -> tuple[int, float]:
        """Size of the sample, and the largest key of rows that may belong to it."""
        if self.sample is None:
            return 0, 0.0
        full = len(self.sample.keys) == self.sample.size
        return self.sample.size, float(self.sample.keys[-1]) if full else 1.0

    def forgetting(self, factor: float) -> BFRState:
        """The state with the weights of all old rows multiplied; what has none left is forgotten."""
        if factor == 1.0:
            return self
        retained = replace(self.retained, weights=factor * self.retained.weights)
        state = replace(self, retained=retained, n_remembered=factor * self.n_remembered)
        if self.discard is None or self.compressed is None or self.sample is None:
            return state
        held, compressed = retained.weights > _NOTHING, self.compressed.scaled(factor)
        return replace(
            state,
            retained=retained.take(held),
            n_strange=int(np.count_nonzero(held[: self.n_strange])),
            discard=self.discard.scaled(factor),
            compressed=compressed.take(compressed.weight > _NOTHING),
            entropy=factor * self.entropy,
            sample=self.sample.thinned(factor),
        )


def problem_of(setup: BFRSetup, state: BFRState, total_weight: float, n_rows: float) -> FitProblem:
    """The problem of all rows so far, for a state after the start."""
    if state.coordinates is None:
        raise AssertionError("the scan has not begun")
    d = len(state.coordinates.shift)
    nothing = RowSample(0, np.empty(0), np.empty((0, d)), np.empty(0))
    return FitProblem(
        setup.family,
        setup.n_components,
        state.coordinates,
        setup.reg_covar,
        setup.dtype,
        setup.options,
        state.exponent,
        max(float(np.ldexp(total_weight, state.exponent)), n_rows),
        total_weight,
        np.zeros((1, setup.family.form.packed_size(d))),
        nothing,
    )
