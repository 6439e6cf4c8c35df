"""EM as values: monotone, stopping for stated reasons, and never losing a component silently."""

import numpy as np
import pytest
from cases import any_family, families
from hypothesis import given
from hypothesis import strategies as st
from problems import OPTIONS, at_rows, blobs, make_problem

from dgmm.errors import IllDefinedCovarianceError
from dgmm.fitting.driving import run
from dgmm.fitting.em import FitState, em, em_step
from dgmm.fitting.events import ComponentStarved, IterationFinished
from dgmm.fitting.problem import Control
from dgmm.fitting.stopping import StopReason
from dgmm.mixture.compiled import KernelOptions, assign, dot_product_loss
from dgmm.mixture.families import get_family
from dgmm.mixture.kernel import BlockKernel, StatisticsMap, complete

FOREVER = Control(0.0, 60)


@given(any_family, st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6))
def test_the_likelihood_never_falls(family, k, d, seed) -> None:
    X = blobs(120, d, k, seed)
    problem, run_pass = make_problem(family, k, X)
    state = run(em(problem, Control(0.0, 40), FitState.start(at_rows(problem, X, list(range(k))))), run_pass)
    if not state.reseeded.any():
        steps = np.diff(state.lower_bounds)
        assert (steps >= -1e-10 * (1.0 + np.abs(state.lower_bounds[0]))).all()


@pytest.mark.parametrize("name", ["full", "diag", "spherical", "tied"])
def test_the_likelihood_does_not_fall_when_a_component_changes_kernels(name) -> None:
    family = get_family(name)
    rng = np.random.default_rng(1)
    wide, narrow = rng.normal(size=(300, 2)) * 3.0, rng.normal(size=(300, 2)) * 1e-3 + [4.0, -5.0]
    X = np.concatenate([wide, narrow]) if name != "tied" else np.concatenate([narrow + 9.0, narrow])
    probe, _ = make_problem(family, 2, X)
    start = at_rows(probe, X, [0, 300], variance=0.3)
    # Between the loss at the start and that of the narrow component, which it reaches on its way.
    loss = float(dot_product_loss(family, start).max()) * np.finfo(float).eps
    options = KernelOptions(64, {"float32": 1e-3, "float64": 10.0 * loss})
    problem, run_pass = make_problem(family, 2, X, options=options)
    state, ways = FitState.start(start), []
    for _ in range(40):
        ways.append({way: tuple(part) for way, part in assign(family, state.parameters, problem.dtype, options)})
        compiled = problem.compile(state.parameters)
        statistics = complete(compiled, run_pass(StatisticsMap(compiled)), problem.total_scatter)
        state, _ = em_step(problem, FOREVER, state, statistics)
    assert "centred" not in ways[0]
    assert "centred" in ways[-1]
    steps = np.diff(state.lower_bounds)
    assert steps.max() > 0.1
    assert (steps >= -1e-9).all()


@families
def test_a_run_can_be_taken_up_where_it_stopped(family) -> None:
    X = blobs(200, 3, 3, seed=2)
    problem, run_pass = make_problem(family, 3, X)
    start = FitState.start(at_rows(problem, X, [0, 1, 2]))
    whole = run(em(problem, Control(0.0, 10), start), run_pass)
    first = run(em(problem, Control(0.0, 4), start), run_pass)
    assert first.reason is StopReason.MAX_ITER
    again = FitState(first.parameters, first.lower_bounds, first.reseeded, first.dead)
    rest = run(em(problem, Control(0.0, 10), again), run_pass)
    assert rest.lower_bounds == whole.lower_bounds
    np.testing.assert_array_equal(rest.parameters.covariances, whole.parameters.covariances)


def test_a_tolerance_stops_at_the_first_small_step() -> None:
    X = blobs(300, 2, 3, seed=0)
    problem, run_pass = make_problem(get_family("full"), 3, X)
    state = run(em(problem, Control(1e-4, 500), FitState.start(at_rows(problem, X, [0, 1, 2]))), run_pass)
    steps = np.abs(np.diff(state.lower_bounds))
    assert state.reason is StopReason.TOLERANCE
    assert steps[-1] < 1e-4
    assert (steps[:-1] >= 1e-4).all()


@pytest.mark.parametrize("seed", range(4))
def test_auto_stops_within_the_sampling_error_of_the_optimum(seed) -> None:
    X = blobs(600, 2, 3, seed=seed, spread=1.5)
    problem, run_pass = make_problem(get_family("full"), 3, X)
    start = FitState.start(at_rows(problem, X, [0, 1, 2]))
    auto = run(em(problem, Control("auto", 5000), start), run_pass)
    converged = run(em(problem, Control(1e-9, 3000), start), run_pass)
    assert auto.reason is StopReason.GAP
    assert auto.n_iter < converged.n_iter
    # The gap is an estimate: hold it to a small multiple of what it promises.
    assert converged.lower_bounds[-1] - auto.lower_bounds[-1] < 3.0 * problem.sampling_error


def test_a_callback_stops_the_run_after_the_iteration() -> None:
    X = blobs(200, 2, 2, seed=0)
    problem, run_pass = make_problem(get_family("full"), 2, X)
    seen: list[IterationFinished] = []

    def emit(event) -> bool:
        seen.append(event)
        return event.iteration == 3

    state = run(em(problem, FOREVER, FitState.start(at_rows(problem, X, [0, 1])), emit), run_pass)
    assert state.reason is StopReason.CALLBACK
    assert [event.iteration for event in seen] == [1, 2, 3]
    assert seen[0].change == np.inf
    assert seen[2].change == pytest.approx(seen[2].lower_bound - seen[1].lower_bound)
    assert {event.n_rows for event in seen} == {200}


@families
def test_a_starved_component_is_moved_once_and_then_dies(family) -> None:
    X = blobs(150, 2, 2, seed=3)
    X[0] = [500.0, 500.0]
    problem, run_pass = make_problem(family, 3, X, reg_covar=0.0)
    inner = at_rows(problem, X, [1, 2, 0], variance=0.05)
    far = inner.means.copy()
    far[2] = -50.0  # no row is near
    start = family.parameters(inner.weights, far, inner.covariances)
    events: list[ComponentStarved] = []

    def emit(event) -> bool:
        if isinstance(event, ComponentStarved):
            events.append(event)
        return False

    state = run(em(problem, Control(0.0, 30), FitState.start(start), emit), run_pass)
    assert [(event.component, event.reseeded) for event in events[:1]] == [(2, True)]
    assert state.parameters.n_components == 3
    assert np.isfinite(state.parameters.means).all()
    assert np.isfinite(state.parameters.covariances).all()
    assert state.parameters.weights.sum() == pytest.approx(1.0)
    assert state.reseeded[2]
    if family.min_rows(2) > 1:  # alone on the outlier, it starves again
        assert [(event.component, event.reseeded) for event in events] == [(2, True), (2, False)]
        assert state.dead.tolist() == [False, False, True]
        assert state.parameters.weights[2] == 0.0
    settled = np.diff(state.lower_bounds[state.settled_since + 2 :])
    assert (settled > -1e-8).all()


def test_a_moved_component_goes_to_the_row_of_lowest_density() -> None:
    family = get_family("full")
    X = blobs(150, 2, 2, seed=3)
    X[70] = [60.0, -60.0]
    problem, _ = make_problem(family, 3, X, reg_covar=1e-6)
    inner = at_rows(problem, X, [0, 1, 2], variance=0.2)
    means = inner.means.copy()
    means[2] = -50.0
    compiled = problem.compile(family.parameters(inner.weights, means, inner.covariances))
    statistics = BlockKernel(compiled).statistics(X)
    start = FitState.start(family.parameters(inner.weights, means, inner.covariances))
    state, _ = em_step(problem, FOREVER, start, statistics)
    np.testing.assert_allclose(problem.coordinates.restore(state.parameters.means[2:]), X[70:71])


def test_as_many_components_as_rows_is_legal() -> None:
    X = np.random.default_rng(0).normal(size=(6, 2)) * 10.0
    problem, run_pass = make_problem(get_family("full"), 6, X, reg_covar=1e-3)
    start = FitState.start(at_rows(problem, X, list(range(6)), variance=0.01))
    state = run(em(problem, Control(0.0, 20), start), run_pass)
    np.testing.assert_allclose(state.parameters.weights, 1 / 6, atol=1e-6)
    np.testing.assert_allclose(problem.coordinates.restore(state.parameters.means), X, atol=1e-6)


@pytest.mark.parametrize("name", ["full", "diag", "spherical"])
def test_a_collapse_without_regularisation_is_an_error(name) -> None:
    X = np.concatenate([np.random.default_rng(0).normal(size=(50, 2)), np.full((20, 2), 30.0)])
    problem, run_pass = make_problem(get_family(name), 2, X)
    start = FitState.start(at_rows(problem, X, [0, 69], variance=0.01))
    with pytest.raises(IllDefinedCovarianceError, match=r"component 1 .*reg_covar"):
        run(em(problem, FOREVER, start), run_pass)


def test_the_plan_of_the_kernel_does_not_matter() -> None:
    X = blobs(300, 3, 3, seed=5)
    bounds = []
    for options in (OPTIONS, KernelOptions(7, {"float32": 1e-3, "float64": -1.0})):
        problem, run_pass = make_problem(get_family("full"), 3, X, options=options)
        state = run(em(problem, Control(0.0, 15), FitState.start(at_rows(problem, X, [0, 1, 2]))), run_pass)
        bounds.append(state.lower_bounds)
    np.testing.assert_allclose(bounds[0], bounds[1], rtol=1e-10)


def starving():
    """A problem, and a start whose third component is near no row."""
    family = get_family("full")
    X = blobs(150, 2, 2, seed=3)
    problem, run_pass = make_problem(family, 3, X, reg_covar=1e-6)
    inner = at_rows(problem, X, [0, 1, 2], variance=0.2)
    means = inner.means.copy()
    means[2] = -50.0
    return problem, run_pass, FitState.start(family.parameters(inner.weights, means, inner.covariances))


def test_nothing_is_moved_in_the_last_iteration() -> None:
    """No E-step would see it, and the result would be worse than what entered."""
    problem, run_pass, start = starving()
    state = run(em(problem, Control(0.0, 1), start), run_pass)
    assert not state.reseeded.any()
    next_bound = run(em(problem, Control(0.0, 1), FitState.start(state.parameters)), run_pass).lower_bounds[0]
    assert next_bound >= state.lower_bounds[0] - 1e-9


def test_a_callback_cannot_stop_right_after_a_move() -> None:
    problem, run_pass, start = starving()
    state = run(em(problem, FOREVER, start, lambda event: True), run_pass)
    assert state.reason is StopReason.CALLBACK
    assert (state.settled_since, state.n_iter) == (1, 2)
