"""A whole fit: start, EM, events, result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.fitting.driving import ReadCount, one_read
from dgmm.fitting.em import FitState, em
from dgmm.fitting.events import Event, FitFinished, ValuesMissing
from dgmm.fitting.progress import FitProgress, ScanProgress
from dgmm.fitting.start import Start, choose_start
from dgmm.fitting.stopping import StopReason
from dgmm.fitting.surrogate import Surrogate

if TYPE_CHECKING:
    from dgmm.fitting.driving import Reads
    from dgmm.fitting.problem import Control, FitProblem
    from dgmm.mixture.chunks import RunPass
    from dgmm.mixture.moments import Moments
    from dgmm.mixture.parameters import MixtureParameters
    from dgmm.mixture.sampling import RowSample
    from dgmm.typing import IntArray


@dataclass(frozen=True)
class FitResult:
    """What a fit ends with.

    Attributes
    ----------
    parameters : MixtureParameters
        In the user's units; ordered by weight, falling, unless the start or labels were given.
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
    scan : ScanProgress or None
        The end of the scan that the fit began with.
    n_missing : (d,) int64
        Missing values of each feature.
    n_dropped : int
        Rows of weight 0 with missing values.
    sample : RowSample
        Rows at random, in the user's units.
    """

    parameters: MixtureParameters
    lower_bounds: tuple[float, ...]
    reason: StopReason
    starved: np.ndarray[tuple[int], np.dtype[np.bool_]]
    n_iter: int
    n_reads: int
    remaining_gap: float | None
    sampling_error: float
    scan: ScanProgress | None
    sample: RowSample
    n_missing: IntArray
    n_dropped: int


def canonical_order(parameters: MixtureParameters) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Order of the components by weight, falling; ties by their means, rising."""
    return np.lexsort((*parameters.means.T[::-1], -parameters.weights))


def _closed_form(
    problem: FitProblem,
    moments: Moments,
    parameters: MixtureParameters,
    lower_bound: float,
    n_reads: int,
    emit: Callable[[Event], bool],
) -> FitResult:
    """The result where the components of all rows are known."""
    reason, error = StopReason.CLOSED_FORM, problem.sampling_error
    emit(FitFinished(reason, 0, lower_bound, n_reads, 0.0, error))
    result = problem.family.to_user(parameters, problem.coordinates)
    starved = np.zeros(problem.n_components, dtype=bool)
    return FitResult(
        result, (lower_bound,), reason, starved, 0, n_reads, 0.0, error, None, moments.sample, *_missing_in(moments)
    )


def _missing_in(moments: Moments) -> tuple[IntArray, int]:
    """Missing values of each feature, (d,), and rows that were left out for them."""
    missing = moments.missing
    if missing is None:
        return np.zeros(len(moments.mean), dtype=np.int64), 0
    return missing.counts, missing.n_dropped


def fit_mixture(
    begun: FitProgress,
    control: Control,
    start: Start,
    prepare: Callable[[Moments], FitProblem],
    run_on_sample: Callable[[RowSample], RunPass],
    rng: np.random.RandomState,
    emit: Callable[[Event], bool] = lambda event: False,
    announce: Callable[[FitProgress], object] = lambda progress: None,
) -> Reads[FitResult]:
    """Fit a mixture to rows, from the first read on.

    Parameters
    ----------
    begun : FitProgress
        Where to begin, or to go on from.
    control, start
    prepare : callable
        Judges the moments of the rows, and states the problem.
    run_on_sample : callable
        Makes a runner of passes over sampled rows.
    rng : RandomState
        Makes the starts.
    emit : callable
        Is told the events; returns True to stop after the current iteration.
    announce : callable
        Is given each progress after ``begun`` that the fit can go on from.

    Raises
    ------
    IllDefinedCovarianceError
        If a covariance is not positive definite.
    """
    progress, reads, moments = begun, ReadCount(begun.n_reads), begun.moments
    if moments is None:
        moments = (yield from reads.count(one_read(progress.first))).settled()
        progress = replace(progress, n_reads=reads.n_reads, moments=moments)
        announce(progress)
    problem, n_rows = prepare(moments), moments.n_positive
    missing = moments.missing
    if missing is not None:
        emit(ValuesMissing(int(missing.counts.sum()), missing.n_rows, missing.n_dropped))
    known = problem.closed_form()
    if known is not None:
        return _closed_form(problem, moments, *known, reads.n_reads, emit)
    surrogate = Surrogate.of(problem, n_rows, run_on_sample) if control.accelerate == "auto" else None
    sample = None if surrogate is None else surrogate.sample
    state = progress.em
    if state is None:
        chosen = choose_start(problem, start, n_rows, run_on_sample, rng, sample)
        parameters, event = yield from reads.count(chosen)
        emit(event)
        state = FitState.start(parameters)
        announce(replace(progress, n_reads=reads.n_reads, em=state))
    iterations = em(
        problem,
        control,
        state,
        emit,
        surrogate,
        lambda state: announce(replace(progress, n_reads=reads.n_reads, em=state)),
    )
    state = yield from reads.count(iterations)
    if state.reason is None:
        raise AssertionError("the iteration ended without a reason")
    result = problem.family.to_user(state.parameters, problem.coordinates)
    starved = state.reseeded | state.dead
    if not start.is_given and problem.known is None:
        order = canonical_order(result)
        result, starved = result.take(order), starved[order]
    n_reads, error = reads.n_reads, problem.sampling_error
    emit(FitFinished(state.reason, state.n_iter, state.lower_bounds[-1], n_reads, state.gap, error))
    return FitResult(
        result, state.lower_bounds, state.reason, starved, state.n_iter, n_reads, state.gap, error, progress.scan,
        moments.sample, *_missing_in(moments),
    )  # fmt: skip
