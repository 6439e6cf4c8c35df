"""Shift, scale and precision of the input change nothing but the units of the parameters."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import FAMILIES, form_of, make_blobs, make_start, plain_em, start_parameters
from sklearn.exceptions import ConvergenceWarning

from dgmm import GaussianMixture

N, D, K = 300, 3, 3


def fit(X, start, family, **parameters):
    parameters = {"tol": 0.0, "max_iter": 8, "reg_covar": 0.0} | parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(**start_parameters(*start, family), **parameters).fit(X)


def scale_covariances(covariances, scale, family):
    match form_of(family):
        case "full":
            return covariances * scale * scale[:, None]
        case "diag":
            return covariances * scale**2
    return covariances * scale[0] ** 2


def moved(start, shift, scale, family):
    weights, means, covariances = start
    return weights, means * scale + shift, scale_covariances(covariances, scale, family)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15)
@given(
    shift=st.lists(st.floats(-1e4, 1e4), min_size=D, max_size=D).map(np.array),
    exponents=st.lists(st.floats(-6.0, 6.0), min_size=D, max_size=D).map(np.array),
)
def test_shift_and_scale_only_change_the_units(family, shift, exponents):
    scale = 10.0 ** (np.full(D, exponents[0]) if form_of(family) == "spherical" else exponents)
    X = make_blobs(N, D, K, seed=1)
    shift = shift * scale  # so that rounding the shifted input costs the same digits everywhere
    start = make_start(X, K, family)
    plain = fit(X, start, family)
    model = fit(X * scale + shift, moved(start, shift, scale, family), family)
    np.testing.assert_allclose(model.weights_, plain.weights_, rtol=1e-7)
    np.testing.assert_allclose((model.means_ - shift) / scale, plain.means_, atol=1e-6)
    np.testing.assert_allclose(
        scale_covariances(model.covariances_, 1.0 / scale, family), plain.covariances_, rtol=1e-6, atol=1e-7
    )
    # The density is one per unit of volume.
    np.testing.assert_allclose(
        np.asarray(model.lower_bounds_) + np.log(scale).sum(), plain.lower_bounds_, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_shift_and_scale_do_not_change_the_default_start(family):
    X = make_blobs(N, D, K, seed=3, spread=6.0)
    scale = np.full(D, 1e-3) if form_of(family) == "spherical" else np.array([1e-3, 1.0, 1e5])
    shift = np.array([1.0, -300.0, 1e7]) * scale
    parameters = {"covariance_type": family, "random_state": 0, "reg_covar": 0.0, "tol": 1e-6, "max_iter": 500}
    plain = GaussianMixture(K, **parameters).fit(X)
    model = GaussianMixture(K, **parameters).fit(X * scale + shift)
    assert np.mean(model.predict(X * scale + shift) == plain.predict(X)) == 1.0
    np.testing.assert_allclose(model.weights_, plain.weights_, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "offset"), [(np.float64, 1e8), (np.float32, 1e4), (np.float32, -1e4)])
def test_an_offset_costs_only_what_rounding_the_input_costs(family, dtype, offset):
    """Compared with plain EM on the input as rounded, moved back to 0 in float64."""
    X = (make_blobs(4000, D, K, seed=2) + offset).astype(dtype)
    rounded = X.astype(np.float64) - offset
    start = make_start(rounded, K, family)
    expected = plain_em(rounded, *start, family, 0.0, 5)
    weights, means, covariances = start
    model = fit(X, (weights, means + offset, covariances), family, max_iter=5)
    variances, right = (
        np.diagonal(c, axis1=-2, axis2=-1) if form_of(family) == "full" else c
        for c in (model.covariances_, expected[2])
    )
    np.testing.assert_allclose(variances, right, rtol=1e-3)
    np.testing.assert_allclose(model.covariances_, expected[2], rtol=1e-3, atol=1e-3 * np.abs(expected[2]).max())
    np.testing.assert_allclose(model.weights_, expected[0], atol=1e-4)
    assert model.score(X) == pytest.approx(
        plain_em(rounded, *expected[:3], family, 0.0, 1)[3][0], abs=1e-4 if dtype == np.float32 else 1e-7
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "offset"), [(np.float64, 1e8), (np.float32, 1e4)])
def test_an_offset_does_not_spoil_the_default_fit(family, dtype, offset):
    blobs = make_blobs(2000, D, K, seed=4, spread=10.0)
    X = (blobs + offset).astype(dtype)
    rounded = X.astype(np.float64) - offset
    parameters = {"covariance_type": family, "random_state": 0, "tol": 1e-6, "max_iter": 500}
    model = GaussianMixture(K, **parameters).fit(X)
    plain = GaussianMixture(K, **parameters).fit(rounded)
    assert model.score(X) == pytest.approx(plain.score(rounded), abs=1e-4)
    np.testing.assert_array_equal(model.predict(X), plain.predict(rounded))


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_input_is_the_same_numbers_in_float64(family):
    X = make_blobs(N, D, K, seed=5).astype(np.float32)
    start = make_start(X, K, family)
    narrow, wide = (fit(data, start, family) for data in (X, X.astype(np.float64)))
    for name in ("weights_", "means_", "covariances_", "precisions_"):
        assert getattr(narrow, name).dtype == np.float32, name
        np.testing.assert_allclose(getattr(narrow, name), getattr(wide, name), rtol=2e-4, atol=2e-5, err_msg=name)
    np.testing.assert_allclose(narrow.lower_bounds_, wide.lower_bounds_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(narrow.score_samples(X), wide.score_samples(X), rtol=0, atol=2e-3)
    np.testing.assert_allclose(narrow.predict_proba(X), wide.predict_proba(X), rtol=0, atol=1e-3)


@pytest.mark.parametrize("family", ["full", "tied"])
def test_features_correlated_to_one_in_ten_thousand_million(family):
    """x2 = x1 + 1e-5 noise: the correlation is 1 - 1e-10 / 2, and the covariance has condition 4e10.

    The rotation [[1, 0], [-1e5, 1e5]] takes the data to independent coordinates; a fit there, mapped
    back, is the truth.
    """
    rng = np.random.default_rng(6)
    eps = 1.4e-5
    u = make_blobs(600, 2, 2, seed=7, spread=4.0)
    X = np.column_stack([u[:, 0], u[:, 0] + eps * u[:, 1]])
    assert 1.0 - np.corrcoef(X.T)[0, 1] < 1e-9
    back = np.array([[1.0, 0.0], [-1.0 / eps, 1.0 / eps]])
    exact = X @ back.T
    start = make_start(exact, 2, family, seed=int(rng.integers(10)))
    forward = np.linalg.inv(back)
    weights, means, covariances = start
    X_start = (weights, means @ forward.T, forward @ covariances @ forward.T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianMixture(
            2, covariance_type=family, weights_init=weights, means_init=X_start[1],
            precisions_init=back.T @ np.linalg.inv(covariances) @ back,
            reg_covar=0.0, tol=0.0, max_iter=8,
        ).fit(X)  # fmt: skip
    expected = plain_em(exact, *start, family, 0.0, 8)
    np.testing.assert_allclose(model.weights_, expected[0], atol=1e-5)
    np.testing.assert_allclose(model.means_ @ back.T, expected[1], atol=1e-4)
    np.testing.assert_allclose(
        np.asarray(model.lower_bounds_) - np.log(np.linalg.det(back)), expected[3], rtol=0, atol=1e-4
    )
    assert model.score(X) == pytest.approx(model.lower_bound_, abs=0.1)
    assert np.mean(model.predict(X) == GaussianMixture(
        2, covariance_type=family, weights_init=weights, means_init=means,
        precisions_init=np.linalg.inv(covariances), reg_covar=0.0, max_iter=500,
    ).fit(exact).predict(exact)) > 0.95  # fmt: skip


@pytest.mark.parametrize("family", ["full", "tied"])
def test_linearly_dependent_features_with_reg_covar(family):
    u = make_blobs(400, 2, 2, seed=8, spread=6.0)
    X = np.column_stack([u, u.sum(axis=1), u[:, 0]])
    model = GaussianMixture(2, covariance_type=family, random_state=0, tol=1e-6, max_iter=300).fit(X)
    reference = GaussianMixture(2, covariance_type=family, random_state=0, tol=1e-6, max_iter=300).fit(u)
    assert np.isfinite(model.covariances_).all()
    assert np.isfinite(model.score_samples(X)).all()
    agreement = np.mean(model.predict(X) == reference.predict(u))
    assert max(agreement, 1.0 - agreement) > 0.99
