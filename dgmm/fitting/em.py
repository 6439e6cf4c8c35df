"""Expectation maximisation, as values: a state, a step, a reason to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import IllDefinedCovarianceError
from dgmm.fitting.events import ComponentStarved, Event, IterationFinished
from dgmm.fitting.stopping import StopReason, aitken_gap, predicted_gap
from dgmm.mixture.compiled import CentredGroup
from dgmm.mixture.marginal import e_step
from dgmm.mixture.patterns import compute_rows

if TYPE_CHECKING:
    from dgmm.fitting.driving import Reads
    from dgmm.fitting.problem import Control, FitProblem
    from dgmm.fitting.surrogate import Surrogate
    from dgmm.mixture.kernel import BlockKernel
    from dgmm.mixture.parameters import MixtureParameters
    from dgmm.mixture.statistics import SufficientStatistics
    from dgmm.typing import Array, FloatArray


# Aitken's estimate is too small while EM still slows down: a tenth of the sampling error, twice in a
# row, keeps what remains within a small multiple of that error (held by a test).
GAP_SHARE = 0.1
# By how much shorter proposals get after one that failed.
_CAUTION = 4


@dataclass(frozen=True)
class FitState:
    """Where a fit is between two iterations.

    Attributes
    ----------
    parameters : MixtureParameters
        In inner coordinates; what the next E-step uses.
    lower_bounds : tuple of float
        Mean log-likelihood per row of the parameters that entered each iteration, in nats.
    reseeded : (K,) bool
        Components that have been moved once because they starved.
    dead : (K,) bool
        Components that starved again: their weight stays 0.
    settled_since : int
        Number of bounds when a component last starved; steps across it say nothing about convergence.
    reason : StopReason or None
        None while the fit goes on.
    safe : MixtureParameters or None
        The EM step from the best parameters that were read, where ``parameters`` are not it but a
        proposal, which a read has yet to confirm.
    n_steps : int
        Steps in memory that the proposal took.
    reach : int or None
        Steps that a proposal may take; None for as many as it likes, until one fails.
    n_rejected : int
        Reads of proposals that were worse than what they came from; they leave no lower bound.
    gap : float or None
        Estimated rise from the last lower bound that is still to come, in nats per row.
    """

    parameters: MixtureParameters
    lower_bounds: tuple[float, ...]
    reseeded: Array
    dead: Array
    settled_since: int = 0
    reason: StopReason | None = None
    safe: MixtureParameters | None = None
    n_steps: int = 1
    reach: int | None = None
    n_rejected: int = 0
    gap: float | None = None

    @classmethod
    def start(cls, parameters: MixtureParameters) -> FitState:
        """The state before the first iteration."""
        none = np.zeros(parameters.n_components, dtype=bool)
        return cls(parameters, (), none, none)

    @property
    def n_iter(self) -> int:
        """Iterations made, each one read of the rows."""
        return len(self.lower_bounds) + self.n_rejected

    @property
    def change(self) -> float:
        """Rise of the lower bound in the last iteration; infinite in the first."""
        return self.lower_bounds[-1] - self.lower_bounds[-2] if len(self.lower_bounds) > 1 else np.inf

    @property
    def settled_bounds(self) -> tuple[float, ...]:
        """Lower bounds since the last reseeding."""
        return self.lower_bounds[self.settled_since :]

    @property
    def is_settled(self) -> bool:
        """False right after a component starved: no read has seen what became of it."""
        return self.settled_since < len(self.lower_bounds)

    def stepped_back(self) -> FitState:
        """The state after the read of a proposal that was worse than what it came from.

        The EM step is taken in its place, and proposals dare less from here on.
        """
        if self.safe is None:
            raise AssertionError("there is nothing to step back to")
        return replace(
            self,
            parameters=self.safe,
            safe=None,
            n_steps=1,
            reach=max(self.n_steps // _CAUTION, 1),
            n_rejected=self.n_rejected + 1,
        )


def em_step(
    problem: FitProblem, control: Control, state: FitState, statistics: SufficientStatistics
) -> tuple[FitState, list[Event]]:
    """The M-step, the rule for starved components, and the decision to stop.

    Parameters
    ----------
    problem, control
    state : FitState
        Before the iteration.
    statistics : SufficientStatistics
        Complete, of ``state.parameters`` over all the rows.

    Returns
    -------
    state : FitState
        After the iteration.
    events : list of ComponentStarved

    Raises
    ------
    IllDefinedCovarianceError
        If a covariance is not positive definite.

    Notes
    -----
    A component with fewer effective rows than ``problem.min_rows`` is moved, once, to the sample
    row of lowest density, with the pooled covariance and the weight 1 / K. If it starves again it
    keeps its mean and covariance and gets weight 0. K never changes. In the last iteration nothing
    is moved.
    """
    effective = statistics.weight * problem.rows_per_weight
    starved = problem.starved(statistics.weight) & ~state.dead
    if state.n_iter + 1 >= control.max_iter:  # no E-step would see where a component was moved to
        starved[:] = False
    moved = starved & ~state.reseeded
    dead = state.dead | (starved & state.reseeded)
    parameters = problem.family.estimate(
        statistics,
        problem.coordinates,
        problem.reg_covar,
        pooled=moved | (effective <= 0.0),
        kept=dead,
        previous=state.parameters,
    )
    bounds = (*state.lower_bounds, statistics.mean_log_likelihood)
    new = replace(state, parameters=parameters, lower_bounds=bounds, dead=dead, safe=None, n_steps=1)
    if starved.any():
        new = replace(new, reseeded=state.reseeded | moved, settled_since=len(bounds))
    if moved.any():
        new = replace(new, parameters=_reseed(problem, parameters, moved))
    events: list[Event] = [
        ComponentStarved(int(k), new.n_iter, float(effective[k]), bool(moved[k])) for k in np.flatnonzero(starved)
    ]
    return replace(new, gap=aitken_gap(new.settled_bounds), reason=stop_reason(problem, control, new)), events


def stop_reason(problem: FitProblem, control: Control, state: FitState) -> StopReason | None:
    """Why the fit ends after this iteration, or None if it goes on."""
    settled = state.settled_bounds
    if control.tol == "auto":
        gaps = (aitken_gap(settled[:-1]), aitken_gap(settled))
        if all(gap is not None and gap < GAP_SHARE * problem.sampling_error for gap in gaps):
            return StopReason.GAP
    elif len(settled) > 1 and abs(settled[-1] - settled[-2]) < control.tol:
        return StopReason.TOLERANCE
    return StopReason.MAX_ITER if state.n_iter >= control.max_iter else None


def _reseed(problem: FitProblem, parameters: MixtureParameters, moved: Array) -> MixtureParameters:
    """Put the moved components at the sample rows of lowest density, with weight 1 / K each."""
    share = 1.0 / parameters.n_components
    others = np.where(moved, 0.0, parameters.weights)
    rest = others.sum()
    compiled, sample = problem.compile(parameters.reweighted(others / rest), whole_density=True), problem.sample.rows
    order = np.argsort(compute_rows(_inner_scores, compiled, sample, np.dtype(np.float64)), kind="stable")
    rows = problem.imputed(sample[order])
    means: FloatArray = parameters.means.copy()
    places = np.flatnonzero(moved)
    means[places] = problem.coordinates.standardize(rows[np.arange(len(places)) % len(rows)])
    weights = np.where(moved, share, others * ((1.0 - share * len(places)) / rest))
    return replace(parameters, means=means, weights=weights)


def _inner_scores(kernel: BlockKernel, X: Array) -> FloatArray:
    """Log-densities in inner units, so that those of different features compare."""
    return kernel.score_samples(X) + kernel.compiled.coordinates.log_det


def _iterate(problem: FitProblem, control: Control, state: FitState) -> Reads[tuple[FitState, list[Event], int]]:
    """One iteration; the rows are read again if their sums were too coarse for what came of them.

    How a component is served follows from its old parameters. One that shrinks by orders of
    magnitude in a single step outgrows the precision of its sums, and is summed again about its
    mean.
    """
    compiled = problem.compile(state.parameters)
    record = yield e_step(compiled, problem.exponent)
    statistics = problem.complete(compiled, record, state.parameters)
    try:
        new, events = em_step(problem, control, state, statistics)
        if not problem.outgrown(compiled, new.parameters):
            return new, events, statistics.n_rows
    except IllDefinedCovarianceError:
        if all(isinstance(group, CentredGroup) for group in compiled.groups):
            raise
    compiled = problem.compile(state.parameters, centred=True)
    record = yield e_step(compiled, problem.exponent)
    statistics = problem.complete(compiled, record, state.parameters)
    new, events = em_step(problem, control, state, statistics)
    return new, events, statistics.n_rows


def _fell(problem: FitProblem, before: FitState, after: FitState) -> bool:
    """Whether the last lower bound is below the one before by more than rounding."""
    new, old = after.lower_bounds[-1], before.lower_bounds[-1]
    return not new >= old - 64.0 * np.finfo(problem.dtype).eps * (1.0 + abs(old))


def _read(problem: FitProblem, control: Control, state: FitState) -> Reads[tuple[FitState, list[Event], int]]:
    """One iteration, undone if it was made at a proposal that turns out to be worse."""
    if state.safe is None:
        return (yield from _iterate(problem, control, state))
    try:
        new, events, n_rows = yield from _iterate(problem, control, state)
    except IllDefinedCovarianceError:
        n_rows = 0
    else:
        if not _fell(problem, state, new):
            # One that goes as far as it may, and comes out well, lets the next one go further.
            if state.reach is not None and state.n_steps * 2 > state.reach:
                new = replace(new, reach=2 * state.reach)
            return new, events, n_rows
    back = state.stepped_back()
    return replace(back, reason=StopReason.MAX_ITER if back.n_iter >= control.max_iter else None), [], n_rows


def em(
    problem: FitProblem,
    control: Control,
    state: FitState,
    emit: Callable[[Event], bool] = lambda event: False,
    surrogate: Surrogate | None = None,
    announce: Callable[[FitState], object] = lambda state: None,
) -> Reads[FitState]:
    """Iterate until there is a reason to stop.

    Parameters
    ----------
    problem, control
    state : FitState
        Where to start, or to go on from.
    emit : callable
        Is told the events; returns True to stop the fit.
    surrogate : Surrogate, optional
        Proposes where to read next; without one it is always the EM step.
    announce : callable
        Is given the state after each iteration.

    Returns
    -------
    FitState
        With a reason. Its parameters are the EM step from the best ones that were read.
    """
    stopping = False
    while state.reason is None:
        began = time.perf_counter()
        before = state
        state, events, n_rows = yield from _read(problem, control, before)
        accepted = state.n_rejected == before.n_rejected
        proposal = None
        if surrogate is not None and accepted and state.reason is None and state.is_settled:
            proposal = surrogate.propose(before.parameters, state.parameters, state.dead, state.reach)
            if proposal.rise is not None:
                gap = predicted_gap(state.settled_bounds, proposal.rise)
                enough = control.tol == "auto" and gap is not None and gap < GAP_SHARE * problem.sampling_error
                state = replace(state, gap=gap, reason=StopReason.GAP if enough else None)
        events.append(
            IterationFinished(
                iteration=state.n_iter,
                max_iter=control.max_iter,
                lower_bound=state.lower_bounds[-1],
                change=state.change if accepted else 0.0,
                remaining_gap=state.gap,
                n_rows=n_rows,
                seconds=time.perf_counter() - began,
                accepted=accepted,
            )
        )
        answers = [emit(event) for event in events]
        stopping = stopping or any(answers)
        # Parameters that no E-step has seen are not an end.
        if stopping and state.reason is None and state.is_settled:
            state = replace(state, reason=StopReason.CALLBACK)
        if state.reason is None and proposal is not None and proposal.n_steps > 1:
            state = replace(state, parameters=proposal.parameters, safe=state.parameters, n_steps=proposal.n_steps)
        announce(state)
    return state
