"""What one scan is compared with does what its papers say, by plain references."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from dgmm.fitting.scanning import BFRControl, BFRSetup
from dgmm.fitting.start import Start
from dgmm.mixture.families import get_family
from dgmm.passes.plan import ExecutionPlan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def peers() -> SimpleNamespace:
    """The module, whatever the folder that the tests are run in."""
    before = list(sys.path)
    names = SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "competitors.py")))
    sys.path[:] = before
    return names


def random_gaussians(peers, m, d, seed):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(m, d, d)) / np.sqrt(d)
    weights = rng.dirichlet(np.ones(m))
    return peers.Gaussians(weights, 4.0 * rng.normal(size=(m, d)), roots @ roots.swapaxes(1, 2) + 0.3 * np.eye(d))


def setup_of(k, d):
    family = get_family("full")
    options = ExecutionPlan.choose(family, k, d).options
    return BFRSetup(family, k, 1e-6, np.dtype(np.float64), options, Start("kmeans", 1), BFRControl(sample_rows=500))


def clusters(n, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    return np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 6.0]])[labels] + rng.normal(size=(n, 2)) * [1.0, 0.5]


def as_sklearn(parameters):
    """scikit-learn's mixture of these parameters."""
    model = GaussianMixture(len(parameters.weights))
    model.weights_, model.means_ = parameters.weights, parameters.means
    model.precisions_cholesky_ = np.linalg.inv(np.linalg.cholesky(parameters.covariances)).swapaxes(1, 2)
    return model


def test_divergence_is_the_mean_difference_of_log_densities(peers):
    a, b = random_gaussians(peers, 3, 2, 0), random_gaussians(peers, 2, 2, 1)
    divergence = a.divergence(b)
    for i in range(3):
        own = multivariate_normal(a.means[i], a.covariances[i])
        rows = own.rvs(200_000, random_state=i)
        for j in range(2):
            terms = own.logpdf(rows) - multivariate_normal(b.means[j], b.covariances[j]).logpdf(rows)
            assert divergence[i, j] == pytest.approx(terms.mean(), abs=6.0 * terms.std() / np.sqrt(len(rows)))


def test_joined_gaussians_have_the_moments_of_their_group(peers):
    parts = random_gaussians(peers, 4, 3, 2)
    joined = parts.joined(np.array([0, 1, 0, 0]), 2)
    group = [0, 2, 3]
    share = parts.weights[group] / parts.weights[group].sum()
    raw = sum(
        s * (parts.covariances[i] + np.outer(parts.means[i], parts.means[i])) for s, i in zip(share, group, strict=True)
    )
    mean = share @ parts.means[group]
    np.testing.assert_allclose(joined.means[0], mean)
    np.testing.assert_allclose(joined.covariances[0], raw - np.outer(mean, mean))
    np.testing.assert_allclose(joined.covariances[1], parts.covariances[1])
    np.testing.assert_allclose(joined.weights, [parts.weights[group].sum(), parts.weights[1]])


def test_reduction_never_costs_more_than_its_start_and_finds_copies(peers):
    parts, rng = random_gaussians(peers, 12, 2, 3), np.random.RandomState(0)
    for start in peers.spread_starts(parts, 4, 5, rng):
        found = peers.reduced(parts, 4, [start])
        assert found.weights.sum() == pytest.approx(1.0)
        costs = [float(parts.weights @ parts.divergence(to).min(axis=1)) for to in (found, start)]
        assert costs[0] <= costs[1] + 1e-12
    truth = random_gaussians(peers, 3, 2, 4)
    copies = peers.Gaussians(
        *(np.concatenate([part] * 5) for part in (truth.weights / 5, truth.means, truth.covariances))
    )
    found = peers.reduced(copies, 3, peers.spread_starts(copies, 3, 5, rng))
    order = [int(np.square(found.means - mean).sum(axis=1).argmin()) for mean in truth.means]
    np.testing.assert_allclose(found.weights[order], truth.weights)
    np.testing.assert_allclose(found.covariances[order], truth.covariances, atol=1e-10)


def test_an_em_pass_is_scikit_learns(peers):
    X = clusters(2_000)
    setup = setup_of(3, 2)
    start = peers.sample_em(setup, X, 200)
    after = next(peers.em_passes(setup, X, start))
    reference = as_sklearn(start)
    _, log_shares = reference._e_step(X)
    reference._m_step(X, log_shares)
    np.testing.assert_allclose(after.weights, reference.weights_, rtol=1e-9)
    np.testing.assert_allclose(after.means, reference.means_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(after.covariances, reference.covariances_, rtol=1e-6, atol=1e-8)


def test_stepwise_em_is_its_recursion(peers):
    X = clusters(2_500)
    setup = setup_of(3, 2)
    start = peers.sample_em(setup, X[:500], 500)
    last, mean = peers.stepwise_em(setup, X, start, 500, 0.6, 500)
    model, every, ends = as_sklearn(start), None, []
    for t, first in enumerate([None, 500, 1_000, 1_500, 2_000]):
        rows = X[:500] if first is None else X[first : first + 500]
        shares = np.exp(model._e_step(rows)[1]) / 500
        own = (shares.sum(axis=0), shares.T @ rows, np.einsum("nk,ni,nj->kij", shares, rows, rows))
        if every is None:
            every = own
            continue
        step = (t - 1 + 2.0) ** -0.6
        every = tuple((1.0 - step) * a + step * b for a, b in zip(every, own, strict=True))
        weights, means = every[0], every[1] / every[0][:, None]
        covariances = every[2] / weights[:, None, None] - means[:, :, None] * means[:, None, :]
        ends.append((weights, means, covariances))
        model = as_sklearn(SimpleNamespace(weights=weights, means=means, covariances=covariances))
    for found, expected in ((last, ends[-1]), (mean, [(a + b) / 2 for a, b in zip(ends[2], ends[3], strict=True)])):
        np.testing.assert_allclose(found.weights, expected[0], rtol=1e-6)
        np.testing.assert_allclose(found.means, expected[1], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.covariances, expected[2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["sample_em", "split_and_conquer"])
def test_all_rows_in_memory_are_fitted_as_scikit_learn_fits_them(peers, method):
    X = clusters(3_000)
    found = getattr(peers, method)(setup_of(3, 2), X, len(X))
    reference = GaussianMixture(3, n_init=5, tol=1e-8, max_iter=1_000, random_state=0).fit(X)
    assert as_sklearn(found).score(X) == pytest.approx(reference.score(X), abs=1e-4)


def test_parts_in_random_order_are_reduced_to_the_whole(peers):
    X = clusters(6_000)
    found = as_sklearn(peers.split_and_conquer(setup_of(3, 2), X, 1_500))
    reference = GaussianMixture(3, n_init=5, tol=1e-8, max_iter=1_000, random_state=0).fit(X)
    assert found.score(X) == pytest.approx(reference.score(X), abs=2e-3)
