"""Starts: the user's is kept, the sample's is good, and reads are counted."""

import numpy as np
import pytest
from cases import families
from problems import at_rows, blobs, make_problem
from reference import form_of
from sklearn.mixture import GaussianMixture as SklearnMixture

from dgmm.fitting.driving import run
from dgmm.fitting.em import FitState, em
from dgmm.fitting.problem import Control
from dgmm.fitting.start import INIT_PARAMS, ArrayPass, Start, choose_start
from dgmm.mixture.families import get_family


class CountedPass:
    def __init__(self, run_pass) -> None:
        self.run_pass, self.names = run_pass, []

    def __call__(self, chunk_map):
        self.names.append(chunk_map.name)
        return self.run_pass(chunk_map)


def choose(problem, run_pass, start, n_rows=None, seed=0):
    steps = choose_start(
        problem,
        start,
        len(problem.sample.rows) if n_rows is None else n_rows,
        lambda sample: ArrayPass(sample.rows, sample.weights),
        np.random.RandomState(seed),
    )
    return run(steps, run_pass)


@families
def test_a_whole_start_of_the_user_is_kept(family) -> None:
    X = blobs(100, 3, 2, seed=0)
    problem, run_pass = make_problem(family, 2, X)
    user = family.to_user(at_rows(problem, X, [0, 1]), problem.coordinates)
    counted = CountedPass(run_pass)
    start = Start("kmeans", 1, user.weights, user.means, user.covariances)
    parameters, event = choose(problem, counted, start)
    back = family.to_user(parameters, problem.coordinates)
    np.testing.assert_allclose(back.means, user.means)
    np.testing.assert_allclose(back.covariances, user.covariances)
    assert counted.names == []
    assert (event.sample_rows, event.n_starts, event.sample_iterations) == (0, 0, 0)


def test_given_means_take_their_nearest_rows() -> None:
    X = np.concatenate(
        [np.random.default_rng(0).normal(size=(90, 2)), np.random.default_rng(1).normal(size=(30, 2)) + 20]
    )
    family = get_family("full")
    problem, run_pass = make_problem(family, 2, X)
    given = np.array([[0.5, 0.4], [19.5, 19.6]])
    parameters, _ = choose(problem, run_pass, Start("kmeans", 1, means=given))
    user = family.to_user(parameters, problem.coordinates)
    np.testing.assert_allclose(user.means, given)
    np.testing.assert_allclose(user.weights, [0.75, 0.25])
    np.testing.assert_allclose(user.covariances[1], np.cov(X[90:].T, bias=True), rtol=1e-9)


def test_given_weights_replace_those_that_were_found() -> None:
    X = blobs(200, 2, 2, seed=0)
    problem, run_pass = make_problem(get_family("full"), 2, X)
    parameters, _ = choose(problem, run_pass, Start("kmeans", 1, weights=np.array([0.9, 0.1])))
    np.testing.assert_array_equal(parameters.weights, [0.9, 0.1])


@pytest.mark.parametrize("name", [name for name in INIT_PARAMS if name != "random"])
@families
def test_every_start_leads_to_the_clusters_that_are_there(family, name) -> None:
    X = blobs(900, 2, 3, seed=8, spread=30.0)
    problem, run_pass = make_problem(family, 3, X, reg_covar=1e-6)
    counted = CountedPass(run_pass)
    parameters, event = choose(problem, counted, Start(name, 3))
    assert counted.names == (["distances"] * 6 + ["nearest centres"] if name == "k-means||" else [])
    assert event.n_starts == 3 * (4 if name == "kmeans" else 1)
    state = run(em(problem, Control(1e-8, 300), FitState.start(parameters)), run_pass)
    np.testing.assert_allclose(state.parameters.weights, 1 / 3, atol=0.01)


@families
def test_a_random_start_is_better_than_one_component(family) -> None:
    # Random responsibilities start near a saddle: which optimum follows is chance.
    X = blobs(900, 2, 3, seed=8, spread=30.0)
    problem, run_pass = make_problem(family, 3, X, reg_covar=1e-6)
    parameters, _ = choose(problem, run_pass, Start("random", 5))
    state = run(em(problem, Control(1e-8, 300), FitState.start(parameters)), run_pass)
    peer = SklearnMixture(1, covariance_type=form_of(family.name)).fit(X)  # one component has no one to share with
    assert state.lower_bounds[-1] > peer.score(X) + 0.5


def test_em_on_the_sample_runs_where_the_sample_is_a_part() -> None:
    X = blobs(500, 2, 3, seed=1)
    problem, run_pass = make_problem(get_family("full"), 3, X)
    _, whole = choose(problem, run_pass, Start("kmeans", 1), n_rows=500)
    _, part = choose(problem, run_pass, Start("kmeans", 1), n_rows=5000)
    assert whole.sample_iterations == 0
    assert part.sample_iterations >= 4


@pytest.mark.parametrize("name", INIT_PARAMS)
def test_duplicates_fewer_than_components_still_start(name) -> None:
    X = np.repeat(np.array([[0.0, 0.0], [3.0, 1.0]]), 20, axis=0)
    problem, run_pass = make_problem(get_family("full"), 3, X, reg_covar=1e-3)
    parameters, _ = choose(problem, run_pass, Start(name, 1))
    assert (parameters.weights > 0.0).all()
    assert np.isfinite(parameters.means).all()
