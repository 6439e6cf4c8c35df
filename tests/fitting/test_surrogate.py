"""Proposals from the sample: fewer reads, the same optimum, and nothing lost where they are wrong."""

from dataclasses import replace

import numpy as np
import pytest
from cases import any_family, families
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import OPTIONS, blobs

from dgmm.errors import IllDefinedCovarianceError
from dgmm.fitting.driving import run
from dgmm.fitting.em import FitState, em
from dgmm.fitting.events import IterationFinished
from dgmm.fitting.problem import Control, FitProblem
from dgmm.fitting.start import ArrayPass, Start, choose_start
from dgmm.fitting.stopping import StopReason, predicted_gap
from dgmm.fitting.surrogate import Proposal, Surrogate
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.families import FAMILIES, get_family
from dgmm.mixture.moments import MomentsMap

AUTO = Control("auto", 500)


def on_sample(sample):
    return ArrayPass(sample.rows, sample.weights)


def sampled(family, k, X, m, reg_covar=1e-6, weights=None):
    """A problem whose sample is a part of the rows, its start, and a runner over all of them."""
    moments = MomentsMap(3, m)(X, weights, Chunk(0, 0, len(X)))
    problem = FitProblem.of(family, k, moments, reg_covar, X.dtype, OPTIONS)
    steps = choose_start(problem, Start("kmeans", 1), len(X), on_sample, np.random.RandomState(0))
    run_pass = ArrayPass(X, np.ones(len(X)) if weights is None else weights)
    return problem, FitState.start(run(steps, run_pass)[0]), run_pass


def both_ways(problem, start, run_pass, n_rows, control=AUTO, emit=lambda event: False):
    plain = run(em(problem, control, start), run_pass)
    return plain, run(em(problem, control, start, emit, Surrogate.of(problem, n_rows, on_sample)), run_pass)


def mixed(n, seed, d=3, k=4, tails=False):
    """Overlapping clusters; with heavy tails that no mixture of k Gaussians has."""
    rng = np.random.default_rng(seed)
    centres = 2.0 * rng.normal(size=(k, d))
    noise = rng.standard_t(4, size=(n, d)) if tails else rng.normal(size=(n, d))
    return centres[rng.integers(0, k, n)] + noise * rng.uniform(0.7, 1.3, size=d)


@settings(max_examples=25)
@given(any_family, st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6), st.sampled_from([40, 150, 400]))
def test_the_likelihood_never_falls(family, k, d, seed, m) -> None:
    X = blobs(2000, d, k + 1, seed)
    problem, start, run_pass = sampled(family, k, X, m)
    _, state = both_ways(problem, start, run_pass, len(X), Control(0.0, 12))
    if not state.reseeded.any():
        assert (np.diff(state.lower_bounds) >= -1e-12 * (1.0 + np.abs(state.lower_bounds[0]))).all()
    assert state.n_iter == len(state.lower_bounds) + state.n_rejected == 12


@pytest.mark.parametrize("tails", [False, True], ids=["normal", "heavy tails"])
@pytest.mark.parametrize("name", list(FAMILIES))
def test_fewer_reads_reach_the_same_optimum(name, tails) -> None:
    X = mixed(20_000, seed=5, tails=tails)
    problem, start, run_pass = sampled(get_family(name), 4, X, 2000)
    plain, fast = both_ways(problem, start, run_pass, len(X))
    best = run(em(problem, Control(1e-10, 3000), FitState.start(fast.parameters)), run_pass).lower_bounds[-1]
    reached = run(em(problem, Control(0.0, 1), FitState.start(fast.parameters)), run_pass).lower_bounds[0]
    assert best - reached < problem.sampling_error
    assert abs(plain.lower_bounds[-1] - reached) < 2.0 * problem.sampling_error
    assert fast.n_iter <= plain.n_iter + 1
    assert fast.reason is StopReason.GAP
    assert fast.gap is not None


def test_most_of_the_reads_are_saved_where_em_is_slow() -> None:
    X = mixed(40_000, seed=1, d=2, k=3)
    problem, start, run_pass = sampled(get_family("full"), 3, X, 4000)
    plain, fast = both_ways(problem, start, run_pass, len(X))
    assert plain.n_iter > 12
    assert fast.n_iter <= 5


@families
def test_weights_and_float32_change_nothing(family) -> None:
    X = mixed(8000, seed=2).astype(np.float32)
    weights = np.random.default_rng(0).integers(0, 4, len(X)).astype(float)
    problem, start, run_pass = sampled(family, 4, X, 1000, weights=weights)
    plain, fast = both_ways(problem, start, run_pass, len(X))
    assert abs(fast.lower_bounds[-1] - plain.lower_bounds[-1]) < problem.sampling_error
    assert fast.n_iter <= plain.n_iter + 1


@families
def test_without_it_em_is_what_it_was(family) -> None:
    X = mixed(3000, seed=4)
    problem, start, run_pass = sampled(family, 4, X, 3000)
    assert Surrogate.of(problem, len(X), on_sample) is None
    assert Surrogate.of(problem, 20 * len(X), on_sample) is not None
    a, b = both_ways(problem, start, run_pass, len(X))
    assert a.lower_bounds == b.lower_bounds
    np.testing.assert_array_equal(a.parameters.covariances, b.parameters.covariances)


class Misleading:
    """Proposes the same parameters always."""

    def __init__(self, parameters) -> None:
        self.parameters, self.reaches = parameters, []

    def propose(self, at, em_step, dead, reach=None):
        self.reaches.append(reach)
        far = reach is None or reach > 1
        return Proposal(self.parameters if far else em_step, 1.0, min(reach or 40, 40))


def test_a_proposal_that_is_worse_costs_a_read_and_no_more() -> None:
    X = mixed(3000, seed=4)
    problem, start, run_pass = sampled(get_family("full"), 4, X, 300)
    bad = replace(start.parameters, means=start.parameters.means + 3.0)
    events: list[IterationFinished] = []
    plain = run(em(problem, Control(1e-6, 200), start), run_pass)
    surrogate = Misleading(bad)
    state = run(em(problem, Control(1e-6, 200), start, lambda event: bool(events.append(event)), surrogate), run_pass)
    assert state.lower_bounds == plain.lower_bounds
    np.testing.assert_array_equal(state.parameters.means, plain.parameters.means)
    assert state.n_rejected == 3
    assert surrogate.reaches[:4] == [None, 10, 2, 1]
    assert [event.accepted for event in events].count(False) == 3
    assert all(event.change == 0.0 for event in events if not event.accepted)


def test_a_proposal_that_cannot_be_estimated_is_caught() -> None:
    X = np.concatenate([mixed(3000, seed=4), np.full((5, 3), 40.0)])
    problem, start, run_pass = sampled(get_family("full"), 4, X, 300, reg_covar=0.0)
    means = start.parameters.means.copy()
    means[0] = problem.coordinates.standardize(X[-1:])
    narrow = start.parameters.covariances.copy()
    narrow[0] = 1e-6 * np.eye(3)
    collapsing = problem.family.parameters(start.parameters.weights, means, narrow)
    with pytest.raises(IllDefinedCovarianceError):
        run(em(problem, Control(0.0, 5), FitState.start(collapsing)), run_pass)
    state = run(em(problem, Control(0.0, 12), start, surrogate=Misleading(collapsing)), run_pass)
    assert state.n_rejected > 0
    plain = run(em(problem, Control(0.0, 12 - state.n_rejected), start), run_pass)
    assert state.lower_bounds == plain.lower_bounds


@pytest.mark.parametrize("seed", range(3))
def test_a_sample_of_other_rows_is_found_out(seed) -> None:
    """The halves agree with each other, and are both wrong: only a read can tell."""
    X = mixed(6000, seed=seed, d=2, k=3)
    problem, start, run_pass = sampled(get_family("full"), 3, X, 600)
    other = np.random.default_rng(seed).permuted(problem.sample.rows, axis=0) * [3.0, 0.4]
    problem = replace(problem, sample=replace(problem.sample, rows=other))
    plain, state = both_ways(problem, start, run_pass, len(X), Control("auto", 2000))
    assert (np.diff(state.lower_bounds) >= -1e-12 * np.abs(state.lower_bounds[0])).all()
    assert abs(state.lower_bounds[-1] - plain.lower_bounds[-1]) < 2.0 * problem.sampling_error


@pytest.mark.parametrize("n_reads", [1, 2, 3])
def test_what_no_read_has_confirmed_is_not_a_result(n_reads) -> None:
    X = mixed(6000, seed=0)
    problem, start, run_pass = sampled(get_family("full"), 4, X, 600)
    surrogate = Surrogate.of(problem, len(X), on_sample)
    stopped = run(em(problem, Control(0.0, n_reads), start, surrogate=surrogate), run_pass)
    called = run(em(problem, Control(0.0, 50), start, lambda event: event.iteration == n_reads, surrogate), run_pass)
    assert (stopped.reason, called.reason) == (StopReason.MAX_ITER, StopReason.CALLBACK)
    for state in (stopped, called):
        after = run(em(problem, Control(0.0, 1), FitState.start(state.parameters)), run_pass)
        assert after.lower_bounds[0] >= state.lower_bounds[-1]
    if n_reads == 1:
        plain = run(em(problem, Control(0.0, 1), start), run_pass)
        np.testing.assert_array_equal(stopped.parameters.means, plain.parameters.means)


def test_memory_work_is_bounded() -> None:
    X = mixed(20_000, seed=3, d=2)
    rows = []

    def listening(sample):
        run_pass = on_sample(sample)

        def listen(chunk_map):
            rows.append(len(sample.rows))
            return run_pass(chunk_map)

        return listen

    for m in (500, 2000, 5000):
        problem, start, run_pass = sampled(get_family("full"), 4, X, m)
        surrogate = Surrogate.of(problem, len(X), listening)
        state = run(em(problem, Control(0.0, 4), start, surrogate=surrogate), run_pass)
        assert state.n_iter == 4
        assert 0 < sum(rows) <= 3 * 6 * len(X)
        rows.clear()


def test_the_foreseen_gap_of_a_geometric_series_is_exact() -> None:
    bounds = tuple(1.0 - 0.5 ** np.arange(4))
    gap = predicted_gap(bounds, 0.5**4)
    assert gap == pytest.approx(0.5**3)
    assert predicted_gap(bounds[:1], 0.5) is None
    assert predicted_gap((0.0, 1.0), 2.0) is None
    assert predicted_gap((0.0, 1.0), 0.0) == 0.0
    assert predicted_gap((0.0,), 0.0) is None


def test_a_sample_with_too_few_rows_for_a_component_stops_nothing() -> None:
    """Without ``reg_covar`` a half of the sample cannot estimate what all the rows can."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(6000, 6)), 0.3 * rng.normal(size=(90, 6)) + 8.0])
    problem, start, run_pass = sampled(get_family("full"), 2, rng.permutation(X), 800, reg_covar=0.0)
    surrogate = Surrogate.of(problem, len(X), on_sample)
    assert surrogate is not None
    em_step = run(em(problem, Control(0.0, 1), start), run_pass).parameters
    few = start.parameters.reweighted(np.array([1.0 - 1e-4, 1e-4]))
    assert surrogate.propose(few, em_step, np.zeros(2, dtype=bool)).n_steps >= 1
    plain, fast = both_ways(problem, start, run_pass, len(X))
    assert abs(fast.lower_bounds[-1] - plain.lower_bounds[-1]) < problem.sampling_error


def test_a_sample_of_next_to_no_rows_is_not_asked() -> None:
    X = blobs(400, 2, 2, seed=0)
    problem, _, _ = sampled(get_family("spherical"), 2, X, 3)
    assert Surrogate.of(problem, len(X), on_sample) is None
