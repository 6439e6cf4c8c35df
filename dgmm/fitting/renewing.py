"""The sample that a scan carries along: what it starts from, and what puts it right.

Rows may come in an order: what is discarded keeps the responsibilities of a model that had not seen
what was to come. A uniform sample of all rows so far knows nothing of their order. Where EM on it
gains more than chance, the scan goes on from its optimum, and the sample takes the place of what
was discarded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import DataError
from dgmm.fitting.climb import Part, converge
from dgmm.fitting.driving import run
from dgmm.fitting.problem import FitProblem
from dgmm.fitting.scanning import Purpose, problem_of
from dgmm.fitting.sets import Sets, statistics_of
from dgmm.fitting.start import ArrayPass, choose_start
from dgmm.mixture.checks import check_moments
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.moments import MomentsMap
from dgmm.mixture.retaining import RetainedRows
from dgmm.mixture.sampling import RowSample, uniforms
from dgmm.mixture.summaries import Summaries

if TYPE_CHECKING:
    from dgmm.fitting.scanning import BFRSetup, BFRState
    from dgmm.mixture.parameters import MixtureParameters
    from dgmm.mixture.statistics import SufficientStatistics

# The sample is asked again when so large a part of the rows that are remembered is new.
_MANY = 1.0 / 3.0
# EM steps from where the scan is: on some rows of the sample to see whether it gains, and on all to see by how much.
_TRIAL_STEPS, _TRIAL_ROWS, _STEPS = 4, 50_000, 100
# More of them at the start, until twenty gain less, in units of the sampling error.
_START_STEPS, _PLATEAU = 400, 1e-5
# Components are rare that have fewer rows in the sample.
_FEW = 30.0
# What it may be expected to gain by chance, in units of the mean.
_MUCH = 1.5


def problem_of_rows(setup: BFRSetup, held: RetainedRows, sample_rows: int) -> FitProblem:
    """The problem of some rows alone, with a sample of them; raises DataError if there is none."""
    weights = None if (held.weights == 1.0).all() else held.weights
    moments = MomentsMap(setup.control.seed, min(sample_rows, len(held)))(held.rows, weights, Chunk(0, 0, len(held)))
    check_moments(moments, setup.family, setup.n_components, setup.reg_covar)
    problem = FitProblem.of(setup.family, setup.n_components, moments, setup.reg_covar, setup.dtype, setup.options)
    sample = replace(problem.sample, size=sample_rows, keys=uniforms(problem.sample.keys))
    return replace(problem, sample=sample)


def started(setup: BFRSetup, problem: FitProblem, number: int = 0) -> MixtureParameters:
    """The optimum of EM on the problem's sample, from the best of several starts or from what the user gave."""
    part, random = Part.of(problem, problem.sample, _on_sample), setup.random(Purpose.START, number)
    # As of one row more than there are: EM on the sample is wanted.
    chosen = choose_start(problem, setup.start, len(problem.sample.rows) + 1, _on_sample, random, part)
    parameters, _ = run(chosen, _on_sample(problem.sample))
    if setup.start.is_given:
        return parameters
    # What is discarded is never weighed again: a plateau, which a fit would leave in time, must be left now.
    return converge(part, parameters, parameters.weights <= 0.0, _START_STEPS, _PLATEAU)[0]


def checked(setup: BFRSetup, state: BFRState) -> BFRState:
    """The state after the sample was asked, if many of the rows came since it was last asked."""
    return renewed(setup, state) if state.n_rows - state.n_checked >= _MANY * state.n_remembered else state


def renewed(setup: BFRSetup, state: BFRState) -> BFRState:
    """The state after the sample was asked; it is not where it has no more rows than the mixture parameters.

    Notes
    -----
    From an optimum of n rows EM gains p_free / (2 m) nats per row on a sample of m of them, in the
    mean, though nothing is wrong. Where it heads for much more, EM goes on to its optimum, from there
    and from a new start; and so it does each time once that was of use, or components have moved to
    rows that were not expected. What is found must exceed the scan by p_free / m on the sample: Akaike
    (1974), "A new look at the statistical model identification", IEEE Transactions on Automatic
    Control 19; or by half as much, its chance alone, once rows are known to come in an order.
    """
    sample, coordinates, family = state.sample, state.coordinates, setup.family
    if sample is None or coordinates is None or state.parameters is None:
        return state
    if len(sample.keys) <= family.n_parameters(setup.n_components, sample.rows.shape[1]):
        return state
    there = family.to_user(state.parameters, coordinates)
    state = replace(state, n_checked=state.n_rows)
    try:
        better = _better(setup, state, sample, there)
    except DataError:  # no mixture can be fitted to these rows, though one is to all
        return state
    return state if better is None else _replaced(setup, state, family.to_inner(better, coordinates))


def _better(setup: BFRSetup, state: BFRState, sample: RowSample, at: MixtureParameters) -> MixtureParameters | None:
    """What a sample says is better than the scan's parameters, if it does; both in the user's units."""
    family, held = setup.family, RetainedRows(sample.rows, sample.weights)
    in_order = state.n_moved or state.n_renewed
    if not in_order and not _gains(setup, held.take(slice(_TRIAL_ROWS)), at):
        return None
    problem = problem_of_rows(setup, held, len(held))
    part = Part.of(problem, problem.sample, _on_sample)
    there, small = family.to_inner(at, problem.coordinates), part.problem.sampling_error
    found = [converge(part, there, there.weights <= 0.0, _STEPS)[0], started(setup, problem, state.n_rounds)]
    unseen = _unseen(setup, state, len(sample.keys))
    value, *values = (_value(part, unseen, parameters) for parameters in (there, *found))
    if max(values) - value < (1.0 if in_order else 2.0) * small:
        return None
    return family.to_user(found[int(np.argmax(values))], problem.coordinates)


def _unseen(setup: BFRSetup, state: BFRState, sample_rows: int) -> RetainedRows:
    """What is discarded to components that are too rare for the sample: their means, for the rows of each.

    Weights are shares of all rows.
    """
    if state.discard is None or state.coordinates is None:
        raise AssertionError("the scan has not begun")
    share = state.discard.weight / state.total_weight
    rare = np.flatnonzero((share > 0.0) & (share * sample_rows < _FEW))
    return RetainedRows(state.coordinates.restore(state.discard.means[rare]).astype(setup.dtype), share[rare])


def _value(part: Part, unseen: RetainedRows, parameters: MixtureParameters) -> float:
    """Mean log-likelihood of a sample, and of the rows that it does not see as if each were their mean, in nats."""
    value = part.statistics(parameters).mean_log_likelihood
    if not len(unseen):
        return value
    compiled = part.problem.compile(parameters, whole_density=True)
    share = float(unseen.weights.sum())
    return (1.0 - share) * value + float(unseen.weights @ BlockKernel(compiled).score_samples(unseen.rows))


def _gains(setup: BFRSetup, rows: RetainedRows, at: MixtureParameters) -> bool:
    """Whether EM on some rows of the sample heads for more than chance: some steps, and Aitken's extrapolation."""
    problem = problem_of_rows(setup, rows, len(rows))
    part, at = Part.of(problem, problem.sample, _on_sample), setup.family.to_inner(at, problem.coordinates)
    dead, statistics, values = at.weights <= 0.0, part.statistics(at), []
    for _ in range(_TRIAL_STEPS):
        values.append(statistics.mean_log_likelihood)
        step = part.estimate(statistics, at, dead)
        if step is None:
            return True
        at, statistics = step, part.statistics(step)
    gains = np.diff([*values, statistics.mean_log_likelihood])
    rate = float(np.clip(gains[-1] / gains[-2], 0.0, 0.99)) if gains[-2] > 0.0 else 0.0
    return bool(gains.sum() + gains[-1] * rate / (1.0 - rate) >= _MUCH * part.problem.sampling_error)


def _replaced(setup: BFRSetup, state: BFRState, parameters: MixtureParameters) -> BFRState:
    """The state with other parameters, and the sample in the place of what was discarded."""
    if state.sample is None or state.discard is None:
        raise AssertionError("the scan has not begun")
    problem = problem_of(setup, state, state.total_weight, state.n_remembered)
    compiled = problem.compile(parameters, whole_density=True)
    statistics = statistics_of(RetainedRows(state.sample.rows, state.sample.weights), compiled)
    own = Summaries.of_statistics(statistics, setup.family)
    entropy = statistics.log_likelihood - own.expected(setup.family, parameters, problem.coordinates)
    scale = state.discard.total_weight / own.total_weight
    after = replace(
        state,
        parameters=parameters,
        discard=own.scaled(scale),
        entropy=max(scale * entropy, 0.0),
        settled=False,
        n_renewed=state.n_renewed + 1,
    )
    bound: SufficientStatistics = Sets.of(problem, after).statistics(parameters, compiled)
    return replace(after, lower_bound=bound.log_likelihood / state.total_weight)


def _on_sample(sample: RowSample) -> ArrayPass:
    return ArrayPass(sample.rows, sample.weights)
