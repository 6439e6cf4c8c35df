"""Any chunking == one chunk == a plain numpy reference == scikit-learn, from the same start."""

import warnings
from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
import sklearn.mixture
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import FAMILIES, PEERS_FAMILIES, log_joint, make_blobs, make_start, plain_em, start_parameters
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning

from dgmm import GaussianMixture

ITERATIONS = 6
N, D, K = 240, 3, 3
CLOSE = {"rtol": 1e-8, "atol": 1e-8}


def fit(X, start, family, sample_weight=None, **parameters):
    parameters = {"tol": 0.0, "max_iter": ITERATIONS} | parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(**start_parameters(*start, family), **parameters).fit(X, sample_weight=sample_weight)


def assert_parameters(model, weights, means, covariances, **tolerance):
    tolerance = tolerance or CLOSE
    np.testing.assert_allclose(model.weights_, weights, **tolerance)
    np.testing.assert_allclose(model.means_, means, **tolerance)
    np.testing.assert_allclose(model.covariances_, covariances, **tolerance)


@st.composite
def partitions(draw, total):
    """Lengths of chunks that sum to total; many of them 0 or 1."""
    cuts = draw(st.lists(st.integers(0, total), max_size=8))
    ones = range(draw(st.integers(0, 4)))
    return lengths_between([0, *ones, *cuts, total])


def lengths_between(edges):
    return tuple(b - a for a, b in pairwise(sorted(edges)))


@st.composite
def feature_partitions(draw, total):
    return lengths_between([0, *draw(st.sets(st.integers(1, total - 1))), total])


def chunked(X, *chunks):
    """A dask array of stated chunks, empty ones included."""
    lazy = da.from_array(X, chunks=chunks)
    assert lazy.chunks == chunks
    return lazy


@pytest.mark.parametrize("family", FAMILIES)
def test_numpy_in_one_chunk_equals_the_plain_reference(family):
    X = make_blobs(N, D, K, seed=1)
    start = make_start(X, K, family)
    *parameters, lower_bounds = plain_em(X, *start, family, 1e-6, ITERATIONS)
    model = fit(X, start, family)
    assert_parameters(model, *parameters)
    np.testing.assert_allclose(model.lower_bounds_, lower_bounds, **CLOSE)
    assert model.lower_bound_ == model.lower_bounds_[-1]
    assert model.n_iter_ == ITERATIONS


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=20)
@given(rows=partitions(N), features=feature_partitions(D), seed=st.integers(0, 3))
def test_any_chunking_equals_the_plain_reference(family, rows, features, seed):
    X = make_blobs(N, D, K, seed)
    start = make_start(X, K, family, seed)
    *parameters, lower_bounds = plain_em(X, *start, family, 1e-6, ITERATIONS)
    model = fit(chunked(X, rows, features), start, family)
    assert_parameters(model, *parameters)
    np.testing.assert_allclose(model.lower_bounds_, lower_bounds, **CLOSE)


@pytest.mark.parametrize("family", PEERS_FAMILIES)
@pytest.mark.parametrize(("n", "d", "k"), [(400, 2, 1), (300, 1, 2), (500, 8, 4), (300, 20, 2)])
def test_fit_equals_scikit_learn(family, n, d, k):
    X = make_blobs(n, d, k, seed=d)
    start = make_start(X, k, family)
    peer = sklearn.mixture.GaussianMixture(**start_parameters(*start, family), tol=0.0, max_iter=ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(X)
    model = fit(da.from_array(X, chunks=(57, d)), start, family)
    assert_parameters(model, peer.weights_, peer.means_, peer.covariances_)
    np.testing.assert_allclose(model.precisions_, peer.precisions_, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(model.precisions_cholesky_, peer.precisions_cholesky_, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(model.lower_bound_, peer.lower_bound_, **CLOSE)


def test_default_start_reaches_the_optimum_of_scikit_learn():
    X = make_blobs(600, D, K, seed=5, spread=8.0)
    model = GaussianMixture(K, tol=1e-9, max_iter=500, random_state=0).fit(X)
    peer = sklearn.mixture.GaussianMixture(K, tol=1e-9, max_iter=500, random_state=0).fit(X)
    assert model.score(X) == pytest.approx(peer.score(X), abs=1e-6)
    order = np.argsort(peer.means_[:, 0])
    np.testing.assert_allclose(model.means_[np.argsort(model.means_[:, 0])], peer.means_[order], atol=1e-3)


@pytest.fixture(scope="module", params=FAMILIES)
def fitted(request):
    X = make_blobs(N, D, K, seed=2, spread=1.5)
    start = make_start(X, K, request.param)
    return X, fit(X, start, request.param), request.param


def test_each_row_as_the_plain_formula_says(fitted):
    X, model, family = fitted
    joint = log_joint(X, model.weights_, model.means_, model.covariances_, family)
    scores = logsumexp(joint, axis=1)
    np.testing.assert_allclose(model.score_samples(X), scores, rtol=0, atol=1e-9)
    np.testing.assert_allclose(model.predict_proba(X), np.exp(joint - scores[:, None]), rtol=0, atol=1e-9)
    assert np.array_equal(model.predict(X), joint.argmax(axis=1))


@settings(max_examples=15)
@given(rows=partitions(N), features=feature_partitions(D))
def test_each_row_under_any_chunking(fitted, rows, features):
    X, model, _ = fitted
    lazy = chunked(X, rows, features)
    for method in (model.predict, model.predict_proba, model.score_samples):
        result = method(lazy)
        assert isinstance(result, da.Array)
        assert result.chunks[0] == rows
        values = result.compute()
        assert values.dtype == result.dtype
        assert values.shape == result.shape
        np.testing.assert_allclose(values, method(X), rtol=0, atol=1e-10)


def test_sums_over_rows_as_the_plain_formulas_say(fitted):
    X, model, family = fitted
    joint = log_joint(X, model.weights_, model.means_, model.covariances_, family)
    scores = logsumexp(joint, axis=1)
    r = np.exp(joint - scores[:, None])
    n_covariance = {
        "full": K * D * (D + 1) / 2, "tied": D * (D + 1) / 2, "diag": K * D, "spherical": K,
        "tied-diag": D, "tied-spherical": 1,
    }[family]  # fmt: skip
    p = n_covariance + K * D + K - 1
    entropy = -(r * np.log(np.where(r > 0, r, 1.0))).sum()
    bic = -2 * scores.sum() + p * np.log(N)
    for data in (X, da.from_array(X, chunks=(31, 2))):
        assert model.score(data) == pytest.approx(scores.mean(), abs=1e-10)
        assert model.aic(data) == pytest.approx(-2 * scores.sum() + 2 * p, abs=1e-7)
        assert model.bic(data) == pytest.approx(bic, abs=1e-7)
        assert model.icl(data) == pytest.approx(bic + 2 * entropy, abs=1e-7)


def test_sums_over_rows_equal_scikit_learn(fitted):
    X, model, family = fitted
    if family not in PEERS_FAMILIES:
        return
    peer = sklearn.mixture.GaussianMixture(K, covariance_type=family)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(peer, name, getattr(model, name))
    for criterion in ("score", "aic", "bic"):
        assert getattr(model, criterion)(X) == pytest.approx(getattr(peer, criterion)(X), abs=1e-7)


# -- unknown chunk lengths ----------------------------------------------------------------------


def masked(X, keep, chunk_rows):
    """X[keep] with unknown chunk lengths, some of them 0."""
    lazy = da.from_array(X, chunks=(chunk_rows, 2))[da.from_array(keep, chunks=chunk_rows)]
    assert np.isnan(lazy.chunks[0]).all()
    return lazy


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_chunk_lengths(family):
    X = make_blobs(N, D, K, seed=3)
    keep = np.random.default_rng(0).random(N) < 0.7
    keep[40:60] = False  # a whole chunk is empty
    w = np.random.default_rng(1).integers(0, 4, N).astype(float)
    start = make_start(X, K, family)
    lazy, lazy_w = masked(X, keep, 20), da.from_array(w, chunks=20)[da.from_array(keep, chunks=20)]
    expected = plain_em(X[keep], *start, family, 1e-6, ITERATIONS, w[keep])
    model = fit(lazy, start, family, sample_weight=lazy_w)
    assert_parameters(model, *expected[:3])
    assert np.array_equal(model.predict(lazy).compute(), model.predict(X[keep]))
    assert model.predict_proba(lazy).compute().shape == (keep.sum(), K)
    assert model.score(lazy, sample_weight=lazy_w) == pytest.approx(model.score(X[keep], sample_weight=w[keep]))


def test_default_start_with_unknown_chunk_lengths():
    X = make_blobs(N, D, 2, seed=4, spread=10.0)
    keep = np.arange(N) % 3 != 0
    for init_params in ("kmeans", "k-means||", "random"):
        model = GaussianMixture(2, init_params=init_params, max_iter=300, tol=1e-8, random_state=0)
        model.fit(masked(X, keep, 50))
        peer = sklearn.mixture.GaussianMixture(2, tol=1e-8, max_iter=300, random_state=0).fit(X[keep])
        assert model.lower_bound_ == pytest.approx(peer.lower_bound_, abs=1e-5)


def test_chunking_does_not_change_the_default_start():
    X = make_blobs(N, D, K, seed=6)
    models = [
        GaussianMixture(K, init_params=init_params, random_state=3, max_iter=300, sample_rows=100).fit(data)
        for init_params in ("kmeans", "k-means||")
        for data in (X, da.from_array(X, chunks=(17, 1)), da.from_array(X, chunks=((1, 0, 200, 39), (1, 2))))
    ]
    for model, first in zip(models, [models[0]] * 3 + [models[3]] * 3, strict=True):
        assert_parameters(model, first.weights_, first.means_, first.covariances_, rtol=1e-7, atol=1e-7)
