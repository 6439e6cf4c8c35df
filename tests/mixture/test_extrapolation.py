"""Every vector is a mixture, and Anderson's extrapolation solves linear iterations."""

import numpy as np
import pytest
from cases import any_family, families, matrices, random_parameters
from hypothesis import given
from hypothesis import strategies as st

from dgmm.mixture.extrapolation import Anderson, from_vector, to_vector

seeds = st.integers(0, 10**6)


@given(any_family, st.integers(1, 4), st.integers(1, 4), seeds)
def test_there_and_back(family, k, d, seed) -> None:
    parameters = random_parameters(family, k, d, seed)
    back = from_vector(to_vector(parameters), parameters)
    for part in ("weights", "means", "covariances", "precisions_cholesky"):
        np.testing.assert_allclose(getattr(back, part), getattr(parameters, part), rtol=1e-6, atol=1e-9)


@given(any_family, st.integers(1, 4), st.integers(1, 4), seeds)
def test_every_vector_is_a_mixture(family, k, d, seed) -> None:
    like = random_parameters(family, k, d, seed)
    vector = np.random.default_rng(seed).uniform(-2.0, 2.0, size=len(to_vector(like)))
    found = from_vector(vector, like)
    assert found.weights.sum() == pytest.approx(1.0)
    assert (np.linalg.eigvalsh(matrices(family, found)) > 0.0).all()
    own = family.form.precision_cholesky(found.covariances)
    np.testing.assert_allclose(found.precisions_cholesky, own, rtol=1e-5, atol=1e-7)


@families
def test_dead_components_have_no_logarithm(family) -> None:
    like = random_parameters(family, 3, 2, 0).reweighted(np.array([0.25, 0.0, 0.75]))
    vector = to_vector(like)
    assert np.isfinite(vector).all()
    np.testing.assert_allclose(from_vector(vector, like).weights, like.weights)


@given(st.integers(1, 5), seeds)
def test_a_linear_iteration_is_solved_in_as_many_steps_as_it_has_dimensions(n, seed) -> None:
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(n, n)))[0]
    slopes = basis @ np.diag(np.linspace(0.3, 0.99, n)) @ basis.T
    limit = rng.normal(size=n)
    mixing, point = Anderson(n), np.zeros(n)
    for _ in range(n + 1):
        point = mixing.next(point, limit + slopes @ (point - limit))
    np.testing.assert_allclose(point, limit, rtol=1e-5, atol=1e-5)


def test_it_begins_with_the_step_itself_and_can_forget() -> None:
    mixing = Anderson(3)
    point, image = np.array([1.0, 2.0]), np.array([1.5, 2.5])
    np.testing.assert_array_equal(mixing.next(point, image), image)
    assert not np.array_equal(mixing.next(image, image + 0.1), image + 0.1)
    mixing.forget()
    np.testing.assert_array_equal(mixing.next(point, image), image)
