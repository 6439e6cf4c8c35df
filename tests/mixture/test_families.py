"""Families: densities, shapes, free parameters and coordinates, against scipy and scikit-learn."""

import numpy as np
import pytest
from cases import any_family, families, matrices, peers_families, random_parameters
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture as SklearnMixture

from dgmm.errors import IllDefinedCovarianceError, ParameterError
from dgmm.mixture.families import FAMILIES, CovarianceFamily, get_family
from dgmm.mixture.parameters import Coordinates, MixtureParameters


@given(any_family, st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**6))
def test_a_density_is_a_dot_product_with_the_feature_map(family, k, d, seed) -> None:
    parameters = random_parameters(family, k, d, seed)
    points = np.random.default_rng(seed + 1).normal(size=(7, d))
    phi = np.empty((family.n_mapped(d), 7))
    phi[0], phi[1 : 1 + d] = 1.0, points.T
    family.form.products(points.T.copy(), phi[1 + d :])
    expected = [
        np.log(weight) + multivariate_normal(mean, covariance).logpdf(points)
        for weight, mean, covariance in zip(
            parameters.weights, parameters.means, matrices(family, parameters), strict=True
        )
    ]
    np.testing.assert_allclose(family.natural(parameters) @ phi, expected, rtol=1e-9, atol=1e-9)


@peers_families
@pytest.mark.parametrize(("k", "d"), [(1, 1), (3, 1), (1, 4), (3, 3), (4, 2)])
def test_shapes_and_free_parameters_are_those_of_scikit_learn(family, k, d) -> None:
    rng = np.random.default_rng(0)
    peer = SklearnMixture(k, covariance_type=family.name, random_state=0)
    peer.fit(rng.normal(size=(40, d)) + 5.0 * rng.integers(0, k, size=(40, 1)))
    assert family.shape(k, d) == peer.covariances_.shape
    assert family.n_parameters(k, d) == peer._n_parameters()
    inner = family.inner(peer.covariances_, k, d)
    assert inner.shape == family.inner_shape(k, d)
    np.testing.assert_array_equal(family.public(inner, d), peer.covariances_)
    assert len(family.dimensions) == len(family.shape(k, d))


@given(any_family, st.integers(1, 4), st.integers(1, 5), st.integers(0, 10**6))
def test_precisions_invert_covariances(family, k, d, seed) -> None:
    parameters = random_parameters(family, k, d, seed)
    precisions = family.form.precision(parameters.precisions_cholesky)
    product = family.form.full(precisions, d) @ family.form.full(parameters.covariances, d)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(d), product.shape), atol=1e-8)
    np.testing.assert_allclose(family.form.invert(precisions), parameters.covariances, rtol=1e-8, atol=1e-10)
    _, log_det = np.linalg.slogdet(family.form.full(precisions, d))
    np.testing.assert_allclose(family.form.half_log_det(parameters.precisions_cholesky, d), 0.5 * log_det, atol=1e-9)


@given(any_family, st.integers(1, 4), st.integers(1, 5), st.integers(0, 10**6))
def test_largest_precision_is_a_bound(family, k, d, seed) -> None:
    parameters = random_parameters(family, k, d, seed)
    largest = np.linalg.eigvalsh(family.form.full(family.form.precision(parameters.precisions_cholesky), d))[:, -1]
    bound = family.form.largest_precision(parameters.precisions_cholesky)
    assert (bound >= largest * (1 - 1e-12)).all()
    assert (bound <= largest * d * (1 + 1e-12)).all()


def own_coordinates(family: CovarianceFamily, d: int, seed: int) -> Coordinates:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(50, d)) @ rng.normal(size=(d, d)) * rng.uniform(0.1, 10.0, size=d)
    return family.form.coordinates(rows.mean(axis=0), np.cov(rows.T).reshape(d, d))


@given(any_family, st.integers(1, 4), st.integers(1, 5), st.integers(0, 10**6))
def test_coordinates_change_nothing_but_the_units(family, k, d, seed) -> None:
    parameters = random_parameters(family, k, d, seed)
    coordinates = own_coordinates(family, d, seed)
    inner = family.to_inner(parameters, coordinates)
    back = family.to_user(inner, coordinates)
    for name in ("weights", "means", "covariances", "precisions_cholesky"):
        np.testing.assert_allclose(getattr(back, name), getattr(parameters, name), rtol=1e-6, atol=1e-6)
    points = np.random.default_rng(seed).normal(size=(5, d))
    z = coordinates.standardize(points)
    np.testing.assert_allclose(coordinates.restore(z), points, atol=1e-9)
    determinant = np.linalg.slogdet(matrices(family, parameters))[1]
    inner_determinant = np.linalg.slogdet(matrices(family, inner))[1]
    np.testing.assert_allclose(determinant, inner_determinant + 2.0 * coordinates.log_det, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(distances(family, inner, z), distances(family, parameters, points), rtol=1e-5, atol=1e-6)


def distances(family: CovarianceFamily, parameters: MixtureParameters, points: np.ndarray) -> np.ndarray:
    offsets = points[:, None] - parameters.means
    solved = np.linalg.solve(matrices(family, parameters), np.moveaxis(offsets, 0, 2))
    return np.einsum("nki,kin->nk", offsets, solved)


@given(st.sampled_from(["full", "tied"]), st.integers(1, 5), st.integers(0, 10**6))
def test_whitened_data_have_unit_covariance(name, d, seed) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(60, d)) @ rng.normal(size=(d, d)) + 100.0
    coordinates = get_family(name).form.coordinates(rows.mean(axis=0), np.cov(rows.T, bias=True).reshape(d, d))
    z = coordinates.standardize(rows)
    np.testing.assert_allclose(np.cov(z.T, bias=True).reshape(d, d), np.eye(d), atol=1e-6)


def test_dependent_features_still_get_coordinates() -> None:
    covariance = np.ones((3, 3))
    coordinates = get_family("full").form.coordinates(np.zeros(3), covariance)
    assert np.isfinite(coordinates.inverse_scale).all()
    np.testing.assert_allclose(coordinates.scale @ coordinates.scale.T, covariance, atol=1e-5)


@given(any_family, st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6))
def test_total_covariance_is_that_of_many_rows(family, k, d, seed) -> None:
    parameters = random_parameters(family, k, d, seed)
    mean, covariance = family.total_covariance(parameters)
    # E[x x'] by the components, then centred.
    second = sum(
        weight * (c + np.outer(m, m))
        for weight, m, c in zip(parameters.weights, parameters.means, matrices(family, parameters), strict=True)
    )
    np.testing.assert_allclose(mean, parameters.weights @ parameters.means, atol=1e-12)
    np.testing.assert_allclose(covariance, second - np.outer(mean, mean), atol=1e-9)


@families
def test_a_singular_covariance_is_named(family) -> None:
    covariances = np.array(random_parameters(family, 3, 2, 0).covariances)
    bad = 0 if family.tied else 1
    covariances[bad] = 0.0
    with pytest.raises(IllDefinedCovarianceError, match=f"component {bad} is not positive definite.*reg_covar"):
        family.parameters(np.ones(3) / 3, np.zeros((3, 2)), covariances)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ParameterError, match=f"'round'.*{', '.join(map(repr, FAMILIES))}"):
        get_family("round")
