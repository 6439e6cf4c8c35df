"""Odd but legal input: a fit is finite, has K components, and describes the rows."""

import warnings

import dask.array as da
import numpy as np
import pytest
from reference import FAMILIES, form_of, is_tied, make_blobs, make_start, of_form, plain_em, start_parameters
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from dgmm import Execution, GaussianMixture
from dgmm.errors import RegularizationWarning, StarvedComponentWarning
from dgmm.fitting.events import ComponentStarved


def fit(X, n_components=2, **parameters):
    parameters = {"random_state": 0, "max_iter": 300} | parameters
    return GaussianMixture(n_components, **parameters).fit(X)


def assert_sound(model, X, k):
    d = np.shape(X)[1]
    assert model.means_.shape == (k, d)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_", "lower_bounds_"):
        assert np.isfinite(getattr(model, name)).all(), name
    assert model.weights_.sum() == pytest.approx(1.0, abs=1e-6)
    responsibilities = np.asarray(model.predict_proba(X))
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1.0, atol=1e-5)
    assert np.isfinite(np.asarray(model.score_samples(X))).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_constant_feature(family, dtype):
    X = make_blobs(200, 3, 2, seed=1, spread=8.0).astype(dtype)
    X[:, 1] = 4.0
    model = fit(X, covariance_type=family, reg_covar=1e-4)
    assert_sound(model, X, 2)
    np.testing.assert_allclose(model.means_[:, 1], 4.0)
    if family in ("full", "diag"):
        variances = model.covariances_[:, 1, 1] if family == "full" else model.covariances_[:, 1]
        np.testing.assert_allclose(variances, 1e-4, rtol=1e-5)
    rest = fit(np.delete(X, 1, axis=1), covariance_type=family, reg_covar=1e-4)
    if form_of(family) != "spherical":  # whose one variance is over all features
        np.testing.assert_array_equal(model.predict(X), rest.predict(np.delete(X, 1, axis=1)))


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_are_all_the_same(family):
    X = np.full((20, 2), 3.0)
    model = fit(X, 1, covariance_type=family)
    assert_sound(model, X, 1)
    np.testing.assert_allclose(model.means_, 3.0)
    np.testing.assert_allclose(np.max(model.covariances_), 1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "k-means||", "random_from_data", "random"])
def test_fewer_distinct_rows_than_components(family, init_params):
    X = np.repeat([[0.0, 0.0], [5.0, 1.0]], 20, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StarvedComponentWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = fit(X, 3, covariance_type=family, init_params=init_params)
    assert_sound(model, X, 3)
    if init_params != "random":
        assert len({*model.predict(X)[:20]} & {*model.predict(X)[20:]}) == 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "k-means||", "random_from_data", "random"])
def test_as_many_components_as_rows(family, init_params):
    X = make_blobs(5, 2, 5, seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StarvedComponentWarning)
        assert_sound(fit(X, 5, covariance_type=family, init_params=init_params), X, 5)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_component_is_the_mean_and_covariance(family):
    X = make_blobs(100, 3, 2, seed=3)
    model = fit(da.from_array(X, chunks=(7, 2)), 1, covariance_type=family, reg_covar=0.0)
    covariance = np.cov(X.T, bias=True)
    expected = of_form(covariance if is_tied(family) else covariance[None], family)
    np.testing.assert_allclose(model.means_[0], X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(model.covariances_, expected, rtol=1e-11)
    assert model.weights_.tolist() == [1.0]
    assert set(model.predict(X)) == {0}


def test_one_row():
    for data in ([[1.0, 2.0]], da.ones((1, 2))):
        assert_sound(fit(data, 1), np.asarray(data), 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_feature_gives_the_same_mixture_in_every_own_covariance(family):
    X = make_blobs(200, 1, 2, seed=4, spread=8.0)
    start = make_start(X, 2, "spherical")
    covariances = of_form(start[2][0, None, None] if is_tied(family) else start[2][:, None, None], family)
    model = GaussianMixture(**start_parameters(start[0], start[1], covariances, family), max_iter=300).fit(X)
    assert_sound(model, X, 2)
    if not is_tied(family):
        plain = plain_em(X, *start, "spherical", 1e-6, model.n_iter_)
        np.testing.assert_allclose(model.covariances_.ravel(), plain[2], rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_chunks_of_one_row(family):
    X = make_blobs(40, 2, 2, seed=5, spread=8.0)
    model, whole = fit(da.from_array(X, chunks=1), covariance_type=family), fit(X, covariance_type=family)
    np.testing.assert_allclose(model.covariances_, whole.covariances_, rtol=1e-9, atol=1e-12)
    assert np.array_equal(model.predict(da.from_array(X, chunks=1)).compute(), whole.predict(X))


@pytest.mark.parametrize("family", FAMILIES)
def test_more_features_than_rows(family):
    X = make_blobs(60, 120, 2, seed=6, spread=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StarvedComponentWarning)
        model = fit(X, covariance_type=family, reg_covar=1e-3)
    assert_sound(model, X, 2)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "bool", "float16", "float32", ">f8", "longdouble"])
def test_types_of_numbers(dtype):
    X = np.random.default_rng(7).integers(0, 2, size=(100, 3)) * (1 if dtype == "bool" else 50)
    X = X.astype(dtype)
    expected = fit(X.astype(np.float64), 2, covariance_type="diag")
    for data in (X, da.from_array(X, chunks=(30, 2))):
        model = fit(data, 2, covariance_type="diag")
        assert model.means_.dtype == (np.float32 if dtype == "float32" else np.float64)
        np.testing.assert_allclose(model.means_, expected.means_, rtol=1e-3, atol=1e-3)
        scores = model.score_samples(data)
        assert scores.dtype == np.asarray(scores).dtype == model.means_.dtype
        np.testing.assert_allclose(np.asarray(scores), expected.score_samples(X.astype(np.float64)), atol=1e-2)


@pytest.mark.parametrize("persist", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "bool"])
def test_whole_numbers_are_the_same_rows_wherever_they_are_held(dtype, persist):
    X = da.from_array(np.random.default_rng(8).integers(0, 99, (300, 3)).astype(dtype), chunks=(50, 3))
    model = GaussianMixture(2, covariance_type="diag", init_params="k-means||", random_state=0)
    models = [
        clone(model).fit(rows, execution=Execution(persist=persist))
        for rows in (X.map_blocks(lambda block: block), X.astype(np.float64))
    ]
    np.testing.assert_array_equal(models[0].means_, models[1].means_)
    np.testing.assert_array_equal(models[0].covariances_, models[1].covariances_)


def test_layouts_of_memory():
    X = make_blobs(90, 3, 2, seed=8, spread=8.0)
    expected = fit(X)
    padded = np.zeros((180, 6))
    padded[::2, ::2] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    for layout in (np.asfortranarray(X), padded[::2, ::2], X[::-1].copy()[::-1], frozen, X.tolist()):
        before = np.array(layout)
        model = fit(layout)
        np.testing.assert_allclose(model.covariances_, expected.covariances_, rtol=1e-12)
        np.testing.assert_allclose(model.predict_proba(layout), expected.predict_proba(X), atol=1e-12)
        assert np.array_equal(np.asarray(layout), before)


# -- starved components -------------------------------------------------------------------------


def starving_start(family):
    """The third component is where no row is."""
    X = make_blobs(200, 2, 2, seed=9, spread=5.0)
    weights, means, covariances = make_start(X, 3, family)
    means[2] = [1e3, 1e3]
    return X, start_parameters(weights, means, covariances, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_component_without_rows_is_moved_with_a_warning(family):
    X, start = starving_start(family)
    events = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with pytest.warns(StarvedComponentWarning, match=r"components \[2\] had too few rows and were moved"):
            model = GaussianMixture(**start, max_iter=300).fit(X, callbacks=[events.append])
    assert_sound(model, X, 3)
    starved = [event for event in events if isinstance(event, ComponentStarved)]
    assert starved[0].component == 2
    assert starved[0].iteration == 1
    assert starved[0].reseeded
    assert starved[0].effective_rows < 3


def test_a_component_that_starves_again_gets_weight_zero():
    """Without reg_covar, one row holds no component of full covariance."""
    X = np.concatenate([make_blobs(50, 2, 1, seed=1), [[30.0, 30.0]]])
    start = start_parameters([0.4, 0.6], [[1e4, 1e4], [0.0, 0.0]], np.stack([np.eye(2)] * 2), "full")
    events = []
    with pytest.warns(StarvedComponentWarning, match=r"\[0\].*were moved .*; \[0\] .* they have weight 0"):
        model = GaussianMixture(**start, max_iter=500, reg_covar=0.0).fit(X, callbacks=[events.append])
    assert_sound(model, X, 2)
    assert model.weights_.tolist() == [0.0, 1.0]
    assert [event.reseeded for event in events if isinstance(event, ComponentStarved)] == [True, False]
    assert set(model.predict(X)) == {1}
    assert model.icl(X) == pytest.approx(model.bic(X))
    rows, labels = model.sample(50)
    assert np.isfinite(rows).all()
    assert set(labels) == {1}


def test_reg_covar_that_swamps_a_feature_warns():
    X = make_blobs(200, 2, 2, seed=10) * [1.0, 1e-3]
    with pytest.warns(RegularizationWarning, match=r"reg_covar=0.001 is .*% of the variance of feature 1 .*scale"):
        GaussianMixture(1, reg_covar=1e-3).fit(X)
