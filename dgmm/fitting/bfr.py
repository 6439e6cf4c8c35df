"""One scan of the rows, in rounds: each takes some rows, and keeps only what the next one needs.

A round asks for several maps over its rows. After it the rows are summed up: those that the model
is sure of join the discard set, those that it is not sure of are retained as they are, and tight
groups that no component explains become summaries of their own.

Bradley, Fayyad and Reina (1998), "Scaling EM (expectation-maximization) clustering to large
databases", Microsoft Research MSR-TR-98-35.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.fitting.climb import Part
from dgmm.fitting.discarding import discard_map, settle
from dgmm.fitting.driving import ManyMap, run
from dgmm.fitting.problem import FitProblem
from dgmm.fitting.reseeding import place_components
from dgmm.fitting.scanning import Purpose, problem_of
from dgmm.fitting.sets import Sets, maximise
from dgmm.fitting.start import ArrayPass, choose_start
from dgmm.mixture.checks import check_moments
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.kernel import StatisticsMap
from dgmm.mixture.moments import MomentsMap
from dgmm.mixture.retaining import Appraisal, DrawMap, RetainedRows, RowsMap
from dgmm.mixture.summaries import Summaries, about_origin

if TYPE_CHECKING:
    from dgmm.fitting.driving import Reads
    from dgmm.fitting.scanning import BFRSetup, BFRState
    from dgmm.mixture.parameters import MixtureParameters
    from dgmm.mixture.sampling import Candidates, RowSample

# A sweep that raises the bound by less than this share of p_free / 2 nats is the round's last but one.
_SMALL = 0.02
# Rows of a round that are looked at for clusters which are not there yet.
_REVIEW_ROWS = 5000


def start_scan(setup: BFRSetup, state: BFRState) -> BFRState:
    """Begin with the rows that the state holds: coordinates, parameters, and the three sets.

    Raises
    ------
    DataError
        If these rows are too few, or a feature is constant in them and ``reg_covar`` is 0.
    IllDefinedCovarianceError
        If a covariance is not positive definite.
    """
    held, d = state.retained, state.retained.rows.shape[1]
    weights = None if (held.weights == 1.0).all() else held.weights
    moments = MomentsMap(setup.control.seed, len(held))(held.rows, weights, Chunk(0, 0, len(held)))
    check_moments(moments, setup.family, setup.n_components, setup.reg_covar)
    problem = FitProblem.of(setup.family, setup.n_components, moments, setup.reg_covar, setup.dtype, setup.options)

    def on_sample(sample: RowSample) -> ArrayPass:
        return ArrayPass(sample.rows, sample.weights)

    part = Part.of(problem, problem.sample, on_sample)
    # As of one row more than there are: EM on the sample is wanted.
    chosen = choose_start(problem, setup.start, len(held) + 1, on_sample, setup.random(Purpose.START), part)
    parameters, _ = run(chosen, on_sample(problem.sample))
    begun = replace(
        state,
        retained=held.take(np.empty(0, dtype=np.int64)),
        parameters=parameters,
        coordinates=problem.coordinates,
        discard=Summaries.of_components(setup.family, setup.n_components, d),
        compressed=Summaries.none(setup.family, d),
        exponent=problem.exponent,
    )
    problem = problem_of(setup, begun, problem.total_weight, state.n_remembered)
    discard = discard_map(setup, problem, parameters, state.n_rounds, len(held))
    discarded = ArrayPass(held.rows, held.weights)(discard)
    sets, total = Sets.of(problem, begun), problem.total_weight
    return settle(setup, begun, sets, parameters, discarded, total, discard.radius_squared)


def bfr_round(setup: BFRSetup, state: BFRState) -> Reads[BFRState]:
    """One round: yields maps over its rows, and returns the state after it.

    Before the start the rows are only gathered; the scan starts as soon as there are enough. The
    rows of all rounds have weights, or none do.

    Parameters
    ----------
    setup : BFRSetup
    state : BFRState

    Raises
    ------
    IllDefinedCovarianceError
        If a covariance is not positive definite.
    """
    forgotten = replace(state.forgetting(setup.control.forgetting), n_rounds=state.n_rounds + 1)
    if forgotten.parameters is not None:
        return (yield from _round(setup, forgotten, forgotten.parameters))
    gathered = forgotten.retained.joined((yield RowsMap()))
    n_new = len(gathered) - len(forgotten.retained)
    forgotten = replace(
        forgotten,
        retained=gathered,
        n_rows=forgotten.n_rows + n_new,
        n_remembered=forgotten.n_remembered + n_new,
    )
    return start_scan(setup, forgotten) if len(gathered) >= setup.control.batch_rows else forgotten


def _round(setup: BFRSetup, state: BFRState, parameters: MixtureParameters) -> Reads[BFRState]:
    """A round after the start."""
    control = setup.control
    compiled = problem_of(setup, state, 1.0, 1.0).compile(parameters, whole_density=True)
    draw = DrawMap(_REVIEW_ROWS, control.seed, state.n_rounds, state.exponent)
    batch, drawn = (yield ManyMap((StatisticsMap(compiled, state.exponent), draw))).records
    n_new, n_sweeps = batch.n_rows, 1
    if not n_new:
        return state
    total, n_remembered = state.total_weight + batch.total_weight, state.n_remembered + n_new
    problem = problem_of(setup, state, total, n_remembered)
    sets = Sets.of(problem, state)
    parameters, sets, n_moved = _review(setup, state, sets, parameters, drawn, batch.total_weight)
    scale = problem.sampling_error * total
    bound, small = -np.inf, _SMALL * scale
    for number in range(control.inner_max_iter):
        if number or n_moved:
            compiled = sets.compile(parameters)
            batch = yield StatisticsMap(compiled, state.exponent)
            n_sweeps += 1
        whole = about_origin(batch, problem.family.form).merge(sets.statistics(parameters, compiled))
        parameters = maximise(problem, whole, parameters)
        rise, bound = whole.log_likelihood - bound, whole.log_likelihood
        if rise < small or (state.settled and not n_moved):
            break
    discard = discard_map(setup, problem, parameters, state.n_rounds, n_new)
    after = settle(setup, state, sets, parameters, (yield discard), total, discard.radius_squared)
    # New rows alone move the optimum, which raises the bound by their share of the scale.
    risen = np.inf if after.lower_bound is None else after.lower_bound * total - bound
    return replace(
        after,
        settled=bool(risen < small + 2.0 * scale * batch.total_weight / total),
        n_rows=state.n_rows + n_new,
        n_remembered=n_remembered,
        n_sweeps=state.n_sweeps + (n_sweeps + 1) * n_new,
        n_moved=state.n_moved + n_moved,
    )


def _review(
    setup: BFRSetup,
    state: BFRState,
    sets: Sets,
    parameters: MixtureParameters,
    drawn: Candidates,
    new_weight: float,
) -> tuple[MixtureParameters, Sets, int]:
    """Look for clusters that are not there yet, and move components to them; how many moved."""
    sample = drawn.smallest()
    share = new_weight / float(sample.weights.sum())
    compiled = sets.compile(parameters)
    new = np.flatnonzero(Appraisal.of(compiled, parameters)(sample.rows).strange)
    # The most doubtful rows come first; they were strange at the end of the last round.
    old = state.retained.take(np.arange(state.n_strange))
    strange = RetainedRows(sample.rows[new], sample.weights[new] * share).joined(old)
    rng = setup.random(Purpose.MOVES, state.n_rounds)
    parameters, moves = place_components(sets.problem, compiled, parameters, strange, sets.problem.total_weight, rng)
    for move in moves:
        if move.kept != move.moved:
            sets = sets.joined(move.kept, move.moved)
    return parameters, sets, len(moves)
