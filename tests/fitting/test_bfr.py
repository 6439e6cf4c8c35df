"""One scan: a true bound that EM over the sets never lowers, whatever the chunks, with bounded memory."""

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from cases import any_family, families, peers_families
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from problems import OPTIONS, blobs

from dgmm.fitting.bfr import bfr_round, start_scan
from dgmm.fitting.driving import run
from dgmm.fitting.scanning import BFRControl, BFRSetup, BFRState, problem_of
from dgmm.fitting.sets import Sets, maximise
from dgmm.fitting.start import ArrayPass, Start
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.families import get_family
from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.merging import merge_in_order
from dgmm.mixture.summaries import Summaries

PRIMARIES = ("certain", "mahalanobis")
FLOATS = np.dtype(np.float64)


def setup_of(family, k, *, reg_covar=1e-6, dtype=FLOATS, start="kmeans", **control) -> BFRSetup:
    given = {"sample_rows": 400, "buffer_rows": 100} | control
    return BFRSetup(family, k, reg_covar, np.dtype(dtype), OPTIONS, Start(start, 1), BFRControl(**given))


def chunked(X, weights, lengths):
    """Runs maps over chunks of some lengths, merged as the passes do."""
    edges = np.cumsum([0, *lengths])
    assert edges[-1] == len(X)

    def run_pass(chunk_map):
        return merge_in_order(
            chunk_map(X[a:b], None if weights is None else weights[a:b], Chunk(i, int(a), int(b - a)))
            for i, (a, b) in enumerate(pairwise(edges))
        )

    return run_pass


def scan(setup, X, weights=None, rows=None, lengths=lambda n: [n]):
    """All states of a scan."""
    states, rows = [BFRState.empty(X.shape[1], setup.dtype)], rows or setup.control.sample_rows
    for first in range(0, len(X), rows):
        part, w = X[first : first + rows], None if weights is None else weights[first : first + rows]
        states.append(run(bfr_round(setup, states[-1]), chunked(part, w, lengths(len(part)))))
    return states


def mean_log_likelihood(setup, state, X):
    problem = problem_of(setup, state, 1.0, 1.0)
    return float(BlockKernel(problem.compile(state.parameters, whole_density=True)).score_samples(X).mean())


def user_means(setup, state):
    return setup.family.to_user(state.parameters, state.coordinates).means


def assert_same(a: BFRState, b: BFRState, rtol=1e-7) -> None:
    for field in fields(BFRState):
        x, y = getattr(a, field.name), getattr(b, field.name)
        parts = [(x, y)] if np.isscalar(x) else [(getattr(x, f.name), getattr(y, f.name)) for f in fields(x)]
        for u, v in parts:
            np.testing.assert_allclose(u, v, rtol=rtol, atol=1e-7, err_msg=field.name)


@settings(max_examples=25)
@given(any_family, st.sampled_from(PRIMARIES), st.integers(1, 3), st.integers(1, 4), st.integers(0, 10**6))
def test_em_over_fixed_sets_never_falls_and_bounds_the_likelihood_of_the_rows(family, primary, d, k, seed) -> None:
    X = blobs(1000, d, k, seed)
    setup = setup_of(family, k, primary=primary, secondary_tightness=1.0)
    state = scan(setup, X)[-1]
    # The sums of a sample stand for other rows; and a component of few rows has no covariance of its own.
    assume(not state.n_renewed and 1000.0 * state.parameters.weights.min() > 20.0)
    problem = problem_of(setup, state, state.total_weight, state.n_remembered)
    sets, parameters, bounds = Sets.of(problem, state), state.parameters, []
    assert state.total_weight == pytest.approx(1000.0, rel=1e-9)
    for _ in range(8):
        compiled = sets.compile(parameters)
        statistics = sets.statistics(parameters, compiled)
        assert statistics.weight.sum() == pytest.approx(1000.0, rel=1e-9)
        bounds.append(statistics.log_likelihood)
        whole = float(BlockKernel(compiled).score_samples(X).sum())
        assert bounds[-1] <= whole + 1e-7 * abs(whole)
        parameters = maximise(replace(problem, reg_covar=0.0), statistics, parameters)
    assert (np.diff(bounds) >= -1e-9 * (1.0 + abs(bounds[0]))).all()


@families
@pytest.mark.parametrize("primary", PRIMARIES)
def test_any_chunking_of_a_round_gives_the_same(family, primary) -> None:
    X = blobs(1200, 2, 3, seed=1)
    weights = np.random.default_rng(0).uniform(0.5, 2.0, 1200)
    setup = setup_of(family, 3, primary=primary)
    whole = scan(setup, X, weights)[-1]
    assert_same(whole, scan(setup, X, weights, lengths=lambda n: [n // 3, 1, n - n // 3 - 1])[-1])


@families
@pytest.mark.parametrize("primary", PRIMARIES)
def test_a_weight_of_two_is_the_row_twice_and_of_zero_no_row(family, primary) -> None:
    rng = np.random.default_rng(3)
    X = blobs(600, 2, 3, seed=2)
    w = rng.integers(0, 3, 600).astype(float)
    # All rows are examined and none has to leave: which of two equal rows would is no property of theirs.
    control = {"primary": primary, "buffer_rows": 2000, "inner_max_iter": 3}
    first = setup_of(get_family(family.name), 3, sample_rows=10**6, **control)
    start = start_scan(first, scan(first, X[:200])[-1])
    weighted = run(bfr_round(first, start), chunked(X[200:], w[200:], [400]))
    twice = np.repeat(X[200:], w[200:].astype(int), axis=0)
    repeated = run(bfr_round(first, start), chunked(twice, None, [len(twice)]))
    np.testing.assert_allclose(weighted.parameters.means, repeated.parameters.means, atol=1e-9)
    np.testing.assert_allclose(weighted.parameters.covariances, repeated.parameters.covariances, atol=1e-9)
    assert weighted.total_weight == pytest.approx(repeated.total_weight)


@families
@pytest.mark.parametrize("primary", PRIMARIES)
def test_a_scan_finds_separated_clusters_in_any_precision(family, primary) -> None:
    X = blobs(4000, 3, 4, seed=5, spread=20.0)
    found = []
    for dtype in (np.float32, np.float64):
        setup = setup_of(family, 4, dtype=dtype, primary=primary, sample_rows=800)
        state = scan(setup, X.astype(dtype))[-1]
        found.append(user_means(setup, state))
        centres = np.stack([X[k::4].mean(axis=0) for k in range(4)])
        distances = np.linalg.norm(found[-1][:, None] - centres, axis=2).min(axis=1)
        assert distances.max() < 0.1
        assert state.parameters.weights.min() > 0.2
        assert (state.n_moved, state.n_rounds, state.n_rows) == (0, 5, 4000)
    first, second = (means[np.argsort(means[:, 0])] for means in found)
    np.testing.assert_allclose(first, second, atol=1e-2)


@pytest.mark.parametrize("primary", PRIMARIES)
def test_memory_is_bounded(primary) -> None:
    X = blobs(8000, 2, 5, seed=3, spread=2.0)
    setup = setup_of(get_family("full"), 5, primary=primary, secondary_tightness=1.0)
    for state in scan(setup, X)[1:]:
        assert len(state.retained) <= 100
        assert len(state.compressed) <= 50
        assert len(state.discard) == 5


def ten_clusters(n: int, order: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and centres of ten clusters: sorted by cluster, or three of them in the last fifth only."""
    rng = np.random.default_rng(8)
    angles = 2.0 * np.pi * np.arange(10) / 10
    centres = 20.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = rng.integers(0, 10, n)
    if order == "sorted":
        labels = np.sort(labels)
    if order == "late":
        early = np.arange(n) < 0.8 * n
        labels = np.where(early, labels % 7, np.where(rng.random(n) < 0.5, 7 + labels % 3, labels))
    return centres[labels] + rng.normal(size=(n, 2)), centres


@peers_families
@pytest.mark.parametrize("order", ["random", "late", "sorted"])
def test_clusters_are_found_whenever_they_come(family, order) -> None:
    X, centres = ten_clusters(20_000, order)
    setup = setup_of(family, 10, sample_rows=2000, buffer_rows=500)
    state = scan(setup, X)[-1]
    distances = np.linalg.norm(centres[:, None] - user_means(setup, state), axis=2).min(axis=1)
    assert distances.max() < 0.5
    assert (state.n_moved == 0) if order == "random" else (state.n_moved >= 3)


def test_old_rows_are_forgotten() -> None:
    before, after = blobs(4000, 2, 1, seed=1), blobs(4000, 2, 1, seed=1) + 3.0
    means = {}
    for forgetting in (1.0, 0.5):
        setup = setup_of(get_family("full"), 1, forgetting=forgetting)
        state = scan(setup, np.concatenate([before, after]))[-1]
        means[forgetting] = user_means(setup, state)[0] - before.mean(axis=0)
        limit = 8000.0 if forgetting == 1.0 else 800.0
        assert state.total_weight == pytest.approx(limit, rel=1e-3)
    np.testing.assert_allclose(means[1.0], 1.5, atol=1e-6)
    np.testing.assert_allclose(means[0.5], 3.0, atol=0.1)


def test_rows_are_kept_until_there_are_enough_to_start() -> None:
    X = blobs(401, 2, 2, seed=4)
    setup = setup_of(get_family("full"), 2)
    state = scan(setup, X[:399], rows=1)[-1]
    assert state.parameters is None
    np.testing.assert_array_equal(state.retained.rows, X[:399])
    started = run(bfr_round(setup, state), ArrayPass(X[399:400], np.ones(1)))
    assert started.parameters is not None
    after = run(bfr_round(setup, started), ArrayPass(X[400:], np.ones(1)))
    assert after.n_rows == 401
    assert after.total_weight == pytest.approx(401.0)


@families
def test_one_round_more_costs_few_sweeps_once_the_model_has_settled(family) -> None:
    X = blobs(20_000, 2, 3, seed=6, spread=15.0)
    setup = setup_of(family, 3, sample_rows=1000)
    states = scan(setup, X)
    sweeps = np.diff([state.n_sweeps for state in states[10:]]) / 1000
    assert np.count_nonzero(sweeps == 2) >= 5
    assert states[-1].n_sweeps <= 3 * 20_000


@peers_families
def test_a_scan_ends_where_em_from_there_ends(family) -> None:
    X = blobs(20_000, 2, 3, seed=7, spread=2.0)
    setup = setup_of(family, 3, sample_rows=4000, buffer_rows=1000)
    state = scan(setup, X)[-1]
    score = mean_log_likelihood(setup, state, X)
    parameters = state.parameters
    problem = problem_of(setup, state, 20_000.0, 20_000.0)
    nothing = Summaries.none(family, 2)
    every = replace(
        Sets.of(problem, state),
        discard=Summaries.of_components(family, 3, 2),
        entropy=0.0,
        compressed=nothing,
        retained=replace(state.retained, rows=X, weights=np.ones(20_000)),
    )
    for _ in range(300):
        parameters = maximise(problem, every.statistics(parameters, every.compile(parameters)), parameters)
    assert mean_log_likelihood(setup, replace(state, parameters=parameters), X) - score < 0.01
