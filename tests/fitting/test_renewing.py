"""The sample that a scan carries along is uniform, and puts the scan right where rows come in an order."""

from dataclasses import replace

import numpy as np
import pytest
from cases import families
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import OPTIONS, blobs
from sklearn.mixture import GaussianMixture

from dgmm.fitting.bfr import bfr_round
from dgmm.fitting.driving import run
from dgmm.fitting.renewing import renewed
from dgmm.fitting.scanning import BFRControl, BFRSetup, BFRState, problem_of
from dgmm.fitting.start import ArrayPass, Start
from dgmm.mixture.families import get_family
from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.sampling import row_keys, uniforms


def setup_of(family, k, **control) -> BFRSetup:
    given = {"sample_rows": 400, "buffer_rows": 100} | control
    return BFRSetup(family, k, 1e-6, np.dtype(np.float64), OPTIONS, Start("kmeans", 1), BFRControl(**given))


def scan(setup, X, rounds, weights=None) -> BFRState:
    state = BFRState.empty(X.shape[1], setup.dtype)
    w = np.ones(len(X)) if weights is None else weights
    for part, own in zip(np.split(X, rounds), np.split(w, rounds), strict=True):
        state = run(bfr_round(setup, state), ArrayPass(part, own))
    return state


def score(setup, state, X) -> float:
    problem = problem_of(setup, state, 1.0, 1.0)
    return float(BlockKernel(problem.compile(state.parameters, whole_density=True)).score_samples(X).mean())


@settings(max_examples=20)
@given(st.sampled_from([1.0, 0.5, 0.9]), st.integers(1, 5), st.integers(20, 600), st.booleans(), st.integers(0, 10**6))
def test_the_sample_is_of_the_rows_with_the_smallest_keys(forgetting, rounds, size, weighted, seed) -> None:
    n = 400
    X = blobs(n * rounds, 2, 2, seed % 100)
    weights = np.random.default_rng(seed).integers(0, 3, len(X)).astype(float) if weighted else np.ones(len(X))
    setup = setup_of(get_family("diag"), 2, sample_rows=size, forgetting=forgetting, seed=seed)
    state = scan(setup, X, rounds, weights)
    if state.sample is None:
        assert state.n_rows < size
        return
    gathered, first = 0, None  # rounds before the start are one
    for number in range(rounds):
        gathered += int(np.count_nonzero(weights[number * n : (number + 1) * n]))
        if gathered >= size:
            first = number
            break
    begun = X[: (first + 1) * n][weights[: (first + 1) * n] > 0.0]
    keys, rows = [uniforms(row_keys(seed, 0, len(begun)))], [begun]
    for number in range(first + 1, rounds):
        own = slice(number * n, (number + 1) * n)
        keys = [old / forgetting for old in keys] + [uniforms(row_keys(seed, 0, n, number + 1))[weights[own] > 0.0]]
        rows.append(X[own][weights[own] > 0.0])
    order = np.argsort(np.concatenate(keys))[:size]
    order = order[np.concatenate(keys)[order] <= 1.0]  # a row is forgotten with the probability that it has lost
    np.testing.assert_array_equal(state.sample.rows, np.concatenate(rows)[order])
    np.testing.assert_allclose(state.sample.keys, np.concatenate(keys)[order], rtol=1e-12)


def test_a_sample_for_more_rows_than_are_remembered_is_as_old_as_what_is() -> None:
    """Batches are small beside the sample: its rows must not outlive what was discarded."""
    forgetting, n, n_rounds = 0.5, 500, 15
    setup = setup_of(get_family("diag"), 2, sample_rows=2500, buffer_rows=200, forgetting=forgetting)
    rng = np.random.default_rng(0)
    state = scan(setup, rng.normal(size=(2500, 1)), 1)
    for number in range(n_rounds):
        X = 0.3 * (number + 1) + rng.normal(size=(n, 1))
        state = run(bfr_round(setup, state), ArrayPass(X, np.ones(n)))
    assert state.sample is not None
    remembered = n / (1.0 - forgetting)
    assert state.n_remembered == pytest.approx(remembered, rel=1e-2)
    assert len(state.sample.keys) == pytest.approx(remembered, rel=0.1)
    ages = forgetting ** np.arange(n_rounds)
    drifted = 0.3 * (n_rounds - np.arange(n_rounds))
    mean = float(ages @ drifted / ages.sum())
    user = setup.family.to_user(state.parameters, state.coordinates)
    assert state.sample.rows.mean() == pytest.approx(mean, abs=0.1)
    assert float(user.weights @ user.means[:, 0]) == pytest.approx(mean, abs=0.1)


def overlapping(order: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, 25_000)
    if order == "sorted":
        labels = np.sort(labels)
    centres = 1.7 * np.array([[0, 0], [1, 1], [2, -1], [-1, 2], [-2, -1]], dtype=float)
    return centres[labels] + rng.normal(size=(len(labels), 2))


@pytest.mark.parametrize("primary", ["certain", "mahalanobis"])
def test_rows_in_an_order_cost_little(primary) -> None:
    setup = setup_of(get_family("full"), 5, sample_rows=2500, buffer_rows=500, primary=primary)
    held_out = overlapping("random", 1)
    state = scan(setup, overlapping("sorted"), 10)
    ended = renewed(setup, state)
    assert ended.n_renewed >= 1
    assert ended.total_weight == pytest.approx(25_000.0, rel=1e-9)
    # What scikit-learn makes of as many rows at random.
    peer = GaussianMixture(5, n_init=5, random_state=0).fit(overlapping("random")[:2500])
    assert score(setup, ended, held_out) > peer.score(held_out) - 0.02


@families
def test_rows_in_random_order_need_no_repair(family) -> None:
    setup = setup_of(family, 5, sample_rows=2500, buffer_rows=500)
    state = scan(setup, overlapping("random"), 10)
    assert state.n_renewed == 0
    assert renewed(setup, state).parameters is state.parameters


@families
def test_sums_of_the_sample_stand_for_all_rows_that_were_discarded(family) -> None:
    setup = setup_of(family, 5, sample_rows=2500, buffer_rows=500)
    X = overlapping("random")
    state = scan(setup, X, 10)
    wrong = family.parameters(state.parameters.weights, state.parameters.means + 0.5, state.parameters.covariances)
    ended = renewed(setup, replace(state, parameters=wrong))
    assert (ended.n_renewed, ended.n_checked) == (1, 25_000)
    # The bound is that of the sample and of the sets that are left.
    assert ended.lower_bound == pytest.approx(score(setup, ended, X), abs=0.1)
    np.testing.assert_allclose(ended.discard.total_weight, state.discard.total_weight)
    mean = ended.discard.first.sum(axis=0) / ended.discard.total_weight
    z = ended.coordinates.standardize(ended.sample.rows)
    np.testing.assert_allclose(mean, z.mean(axis=0), atol=1e-9)


@families
@pytest.mark.parametrize("forgetting", [0.1, 5e-324])
def test_a_sample_that_says_nothing_stops_no_scan(family, forgetting) -> None:
    """Two rows are remembered in the mean: fewer than components."""
    setup = setup_of(family, 3, sample_rows=200, buffer_rows=50, forgetting=forgetting)
    X = blobs(400, 2, 3, 0)
    state = scan(setup, X[:200], 1)
    for i in range(200, 400, 2):
        state = run(bfr_round(setup, state), ArrayPass(X[i : i + 2], np.ones(2)))
    assert (state.n_rows, state.n_renewed) == (400, 0)
    assert len(state.sample.keys) < 10


def test_a_feature_may_be_constant_in_the_sample_but_not_in_the_rows() -> None:
    """Without ``reg_covar`` it makes no sample unfit that all the rows are fit for."""
    setup = replace(setup_of(get_family("diag"), 1, sample_rows=50, buffer_rows=20), reg_covar=0.0)
    X = np.random.default_rng(0).normal(size=(50_050, 2))
    X[50:, 1] = 0.0
    state = scan(setup, X[:50], 1)
    for part in np.split(X[50:], 10):
        state = run(bfr_round(setup, state), ArrayPass(part, np.ones(len(part))))
    assert (state.sample.rows[:, 1] == 0.0).all()
    user = setup.family.to_user(renewed(setup, state).parameters, state.coordinates)
    np.testing.assert_allclose(user.means[0], X.mean(axis=0), atol=1e-2)
    np.testing.assert_allclose(user.covariances[0], X.var(axis=0), rtol=0.05)
