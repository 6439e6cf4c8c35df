"""Weights are frequencies: weight 2 is the row twice, weight 0 is no row."""

import warnings

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import FAMILIES, make_blobs, make_start, plain_em, start_parameters
from sklearn.exceptions import ConvergenceWarning

from dgmm import GaussianMixture

N, D, K = 120, 2, 3
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def fit(X, start, family, sample_weight=None, **parameters):
    parameters = {"tol": 0.0, "max_iter": 5} | parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(**start_parameters(*start, family), **parameters).fit(X, sample_weight=sample_weight)


def assert_same(model, other, **tolerance):
    tolerance = tolerance or CLOSE
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        np.testing.assert_allclose(getattr(model, name), getattr(other, name), **tolerance, err_msg=name)


counts = st.lists(st.integers(0, 3), min_size=N, max_size=N).map(np.array).filter(lambda c: (c > 0).sum() > N // 2)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15)
@given(counts=counts, chunk_rows=st.integers(1, N))
def test_a_weight_is_a_number_of_rows(family, counts, chunk_rows):
    X = make_blobs(N, D, K, seed=7)
    start = make_start(X, K, family)
    repeated = np.repeat(X, counts, axis=0)
    model = fit(da.from_array(X, chunks=(max(chunk_rows, 10), D)), start, family, sample_weight=counts)
    plain = fit(repeated, start, family)
    assert_same(model, plain, rtol=1e-10, atol=1e-10)
    for criterion in ("score", "aic", "bic", "icl"):
        weighted = getattr(model, criterion)(X, sample_weight=counts)
        assert weighted == pytest.approx(getattr(model, criterion)(repeated), rel=1e-10, abs=1e-8), criterion


@pytest.mark.parametrize("family", FAMILIES)
def test_fractional_weights_equal_the_plain_reference(family):
    X = make_blobs(N, D, K, seed=8)
    start = make_start(X, K, family)
    w = np.random.default_rng(0).gamma(1.0, size=N)
    weights, means, covariances, lower_bounds = plain_em(X, *start, family, 1e-6, 5, w)
    model = fit(X, start, family, sample_weight=w)
    np.testing.assert_allclose(model.weights_, weights, **CLOSE)
    np.testing.assert_allclose(model.means_, means, **CLOSE)
    np.testing.assert_allclose(model.covariances_, covariances, **CLOSE)
    np.testing.assert_allclose(model.lower_bounds_, lower_bounds, **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_weight_zero_are_absent_whatever_they_hold(family):
    X = make_blobs(N, D, K, seed=9)
    w = np.where(np.arange(N) % 4 == 0, 0.0, 1.0)
    start = make_start(X, K, family)
    spoilt = np.where(w[:, None] == 0.0, 1e6, X)
    assert_same(fit(spoilt, start, family, sample_weight=w), fit(X[w > 0.0], start, family))


def test_a_chunk_of_weight_zero():
    X = make_blobs(N, D, K, seed=9)
    w = np.where(np.arange(N) < 30, 0.0, 1.0)
    start = make_start(X, K, "full")
    model = fit(da.from_array(X, chunks=(15, D)), start, "full", sample_weight=da.from_array(w, chunks=50))
    assert_same(model, fit(X[30:], start, "full"))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("power", [-1000, -60, -1, 1, 40, 1000])
def test_weights_times_a_power_of_two_give_the_same_bits(family, power):
    X = make_blobs(N, D, K, seed=10)
    w = np.random.default_rng(1).gamma(2.0, size=N)
    start = make_start(X, K, family)
    model, other = fit(X, start, family, w), fit(X, start, family, np.ldexp(w, power))
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        assert np.array_equal(getattr(model, name), getattr(other, name)), name
    assert model.score(X, sample_weight=np.ldexp(w, power)) == pytest.approx(model.score(X, sample_weight=w))


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "k-means||"])
def test_scale_of_the_weights_does_not_change_the_default_start(init_params):
    X = make_blobs(N, D, K, seed=10, spread=10.0)
    w = np.random.default_rng(1).gamma(2.0, size=N)
    models = [
        GaussianMixture(K, init_params=init_params, random_state=0, max_iter=500).fit(X, sample_weight=w * scale)
        for scale in (1.0, 2.0**30, 2.0**-30)
    ]
    assert_same(models[1], models[0], rtol=1e-6, atol=1e-6)
    assert_same(models[2], models[0], rtol=1e-6, atol=1e-6)


def test_one_number_is_the_weight_of_every_row():
    X = make_blobs(N, D, K, seed=11)
    start = make_start(X, K, "full")
    plain = fit(X, start, "full")
    for data in (X, da.from_array(X, chunks=(33, 1))):
        for weight in (2.0, np.float32(0.5), 3):
            assert_same(fit(data, start, "full", sample_weight=weight), plain)
    mask = da.from_array(np.arange(N) % 2 == 0, chunks=33)
    unknown = da.from_array(X, chunks=(33, D))[mask]
    assert_same(fit(unknown, start, "full", sample_weight=2.0), fit(X[::2], start, "full"))
    assert plain.score(X, sample_weight=2.0) == pytest.approx(plain.score(X))
    assert plain.bic(X, sample_weight=2.0) == pytest.approx(plain.bic(np.repeat(X, 2, axis=0)))


def test_weights_in_any_container_and_chunking():
    X = make_blobs(N, D, K, seed=12)
    start = make_start(X, K, "diag")
    w = np.arange(N) % 3
    plain = fit(X, start, "diag", sample_weight=w)
    lazy = da.from_array(X, chunks=(25, D))
    for weights in (w, w.astype(np.float32), w.tolist(), w.astype(bool) * w, da.from_array(w, chunks=7)):
        assert_same(fit(lazy, start, "diag", sample_weight=weights), plain)
    assert_same(fit(X, start, "diag", sample_weight=w.tolist()), plain)


def test_weights_of_unknown_length_beside_rows_of_unknown_length():
    X = make_blobs(N, D, K, seed=13)
    start = make_start(X, K, "tied")
    keep = np.random.default_rng(3).random(N) < 0.6
    w = np.random.default_rng(4).gamma(1.0, size=N)
    lazy_keep = da.from_array(keep, chunks=11)
    lazy = da.from_array(X, chunks=(11, 1))[lazy_keep]
    lazy_w = da.from_array(w, chunks=11)[lazy_keep]
    model = fit(lazy, start, "tied", sample_weight=lazy_w)
    plain = fit(X[keep], start, "tied", sample_weight=w[keep])
    assert_same(model, plain)
    assert model.bic(lazy, sample_weight=lazy_w) == pytest.approx(plain.bic(X[keep], sample_weight=w[keep]))


def test_normalised_weights_fit_like_counts():
    """Weights that sum to 1 are no reason to call every component starved."""
    X = make_blobs(N, D, K, seed=14)
    start = make_start(X, K, "full")
    assert_same(fit(X, start, "full", sample_weight=np.full(N, 1.0 / N)), fit(X, start, "full"))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "fill"), [(np.float32, 9.96921e36), (np.float64, 1e200)])
def test_fill_values_of_weight_zero(family, dtype, fill):
    """What a NetCDF file holds where nothing was measured."""
    X = make_blobs(N, D, K, seed=9).astype(dtype)
    w = np.where(np.arange(N) % 4 == 0, 0.0, 1.0)
    filled = np.where(w[:, None] == 0.0, dtype(fill), X)
    start = make_start(X, K, family)
    model = fit(filled, start, family, sample_weight=w)
    assert_same(model, fit(X[w > 0.0], start, family), rtol=1e-5, atol=1e-5)
    assert model.score(filled, sample_weight=w) == pytest.approx(model.score(X[w > 0.0]), abs=1e-5)
