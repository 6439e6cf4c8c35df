"""A whole fit: start, EM, events, result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dgmm.fitting.driving import counted
from dgmm.fitting.em import FitState, em
from dgmm.fitting.events import Event, FitFinished
from dgmm.fitting.start import Start, choose_start
from dgmm.fitting.stopping import StopReason
from dgmm.fitting.surrogate import Surrogate

if TYPE_CHECKING:
    from dgmm.fitting.driving import Reads
    from dgmm.fitting.problem import Control, FitProblem
    from dgmm.mixture.chunks import RunPass
    from dgmm.mixture.parameters import MixtureParameters
    from dgmm.mixture.sampling import RowSample


@dataclass(frozen=True)
class FitResult:
    """What a fit ends with.

    Attributes
    ----------
    parameters : MixtureParameters
        In the user's units; ordered by weight, falling, unless the start was given.
    lower_bounds : tuple of float
        Mean log-likelihood per row of each iteration, in nats.
    reason : StopReason
    starved : (K,) bool
        Components that were moved, or have weight 0, because they starved.
    n_iter : int
        EM iterations, each one read of the data.
    n_reads : int
        Reads of the data in all: moments, start, iterations.
    remaining_gap : float or None
        Estimated rise of the last lower bound that is still to come, in nats per row.
    sampling_error : float
        p_free / (2 n), in nats per row.
    """

    parameters: MixtureParameters
    lower_bounds: tuple[float, ...]
    reason: StopReason
    starved: np.ndarray[tuple[int], np.dtype[np.bool_]]
    n_iter: int
    n_reads: int
    remaining_gap: float | None
    sampling_error: float


def canonical_order(parameters: MixtureParameters) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Order of the components by weight, falling; ties by their means, rising."""
    return np.lexsort((*parameters.means.T[::-1], -parameters.weights))


def fit_mixture(
    problem: FitProblem,
    control: Control,
    start: Start,
    n_rows: int,
    run_on_sample: Callable[[RowSample], RunPass],
    rng: np.random.RandomState,
    emit: Callable[[Event], bool] = lambda event: False,
) -> Reads[FitResult]:
    """Fit a mixture to rows whose moments are known.

    Parameters
    ----------
    problem, control, start
    n_rows : int
    run_on_sample : callable
        Makes a runner of passes over sampled rows.
    rng : RandomState
    emit : callable
        Is told the events; returns True to stop after the current iteration.

    Raises
    ------
    IllDefinedCovarianceError
        If a covariance is not positive definite.
    """
    surrogate = Surrogate.of(problem, n_rows, run_on_sample) if control.accelerate == "auto" else None
    sample = None if surrogate is None else surrogate.sample
    begun = choose_start(problem, start, n_rows, run_on_sample, rng, sample)
    (parameters, event), start_reads = yield from counted(begun)
    emit(event)
    state, em_reads = yield from counted(em(problem, control, FitState.start(parameters), emit, surrogate))
    if state.reason is None:
        raise AssertionError("the iteration ended without a reason")
    result = problem.family.to_user(state.parameters, problem.coordinates)
    starved = state.reseeded | state.dead
    if not start.is_given:
        order = canonical_order(result)
        result, starved = result.take(order), starved[order]
    n_reads, error = 1 + start_reads + em_reads, problem.sampling_error
    emit(FitFinished(state.reason, state.n_iter, state.lower_bounds[-1], n_reads, state.gap, error))
    return FitResult(result, state.lower_bounds, state.reason, starved, state.n_iter, n_reads, state.gap, error)
