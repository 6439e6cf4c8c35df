"""The eigenproblem, against scipy's and what holds exactly."""

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmm.errors import DataError, ParameterError
from dgmm.signals.eigen import METHODS, check_noise, generalized, signs, two_step
from dgmm.signals.models import StationaryCorrelation
from dgmm.signals.spaces import MomentSpace


def matrices(seed: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    A, B = (rng.normal(size=(m, 3 * m)) * rng.uniform(0.3, 3.0, (m, 1)) for _ in range(2))
    return A @ A.T, B @ B.T


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from(sorted(METHODS)), st.data())
def test_noise_is_white_and_signals_are_uncorrelated(seed, m, method, data):
    A, B = matrices(seed, m)
    k = data.draw(st.integers(1, m))
    found = METHODS[method](A, B, k)
    W = found.weights
    assert W.shape == (m, k)
    np.testing.assert_allclose(W.T @ B @ W, np.eye(k), rtol=0, atol=1e-10)
    ratios = found.eigenvalues
    np.testing.assert_allclose(W.T @ A @ W, np.diag(ratios), rtol=0, atol=1e-10 * max(ratios[0], 1.0))
    assert (np.diff(ratios) <= 0.0).all()
    assert 0.0 <= found.information_loss <= 1.0


@given(st.integers(0, 2**32 - 1), st.integers(2, 10), st.data())
def test_no_other_features_have_more_signal_to_noise(seed, m, data):
    A, B = matrices(seed, m)
    k = data.draw(st.integers(1, m))
    best = generalized(A, B, k)
    np.testing.assert_allclose(best.eigenvalues, scipy.linalg.eigh(A, B, eigvals_only=True)[::-1][:k], rtol=1e-8)
    assert two_step(A, B, k).eigenvalues.sum() <= best.eigenvalues.sum() * (1 + 1e-10)


@given(st.integers(0, 2**32 - 1), st.integers(1, 10))
def test_both_methods_are_one_where_nothing_is_discarded(seed, m):
    A, B = matrices(seed, m)
    one, other = (method(A, B, m) for method in METHODS.values())
    assert one.information_loss == other.information_loss == 0.0
    np.testing.assert_allclose(one.eigenvalues, other.eigenvalues, rtol=1e-8)
    # The same space: one is a combination of the other.
    assert np.linalg.matrix_rank(np.hstack([one.weights, other.weights])) == m


@given(st.integers(0, 2**32 - 1), st.integers(2, 10), st.data())
def test_the_loss_of_information_is_as_defined(seed, m, data):
    A, B = matrices(seed, m)
    k = data.draw(st.integers(1, m))
    D, P = np.linalg.eigh(B)
    W1 = P[:, :k] / np.sqrt(D[:k])
    white = P / np.sqrt(D)
    by_definition = 1.0 - np.trace(W1.T @ A @ W1) / np.trace(white.T @ A @ white)
    np.testing.assert_allclose(two_step(A, B, k).information_loss, by_definition, rtol=1e-8, atol=1e-10)
    ratios = scipy.linalg.eigh(A, B, eigvals_only=True)[::-1]
    np.testing.assert_allclose(
        generalized(A, B, k).information_loss, 1.0 - ratios[:k].sum() / ratios.sum(), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_share_keeps_the_least_number_of_features(method):
    A, B = matrices(5, 9)
    for share in (0.1, 0.5, 0.9, 0.999999):
        k = METHODS[method](A, B, share).weights.shape[1]
        assert METHODS[method](A, B, k).information_loss <= 1.0 - share
        assert k == 1 or METHODS[method](A, B, k - 1).information_loss > 1.0 - share


def test_two_steps_depend_on_the_basis_and_the_eigenproblem_does_not():
    C = StationaryCorrelation(5.0)
    spaces = [MomentSpace((64,), (7,), basis) for basis in ("monomial", "legendre", "gram")]
    gep = [generalized(C.signals(space), C.white(space, 0.1), 4).eigenvalues for space in spaces]
    np.testing.assert_allclose(gep[0], gep[1], rtol=1e-8)
    np.testing.assert_allclose(gep[1], gep[2], rtol=1e-10)
    steps = [two_step(C.signals(space), C.white(space, 0.1), 4).eigenvalues.sum() for space in spaces]
    assert abs(steps[0] - steps[1]) > 0.1 * steps[0]
    assert max(steps) < gep[0].sum()


# -- noise that is none -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("B", "words"),
    {
        "zero": (np.zeros((3, 3)), "noise is 0: .*noise_floor"),
        "one moment without": (np.diag([1.0, 0.0, 1.0]), "3 moments is singular: .*lower order.*noise_floor"),
        "a combination without": (np.array([[1.0, 1.0], [1.0, 1.0]]), "2 moments is singular"),
        "indefinite": (np.array([[1.0, 2.0], [2.0, 1.0]]), "no covariance: it has the negative eigenvalue -1"),
        "negative": (np.diag([1.0, -2.0]), "no covariance: the variance of moment 1 is -2"),
        "not finite": (np.array([[1.0, np.nan], [np.nan, 1.0]]), "out of the range of float64"),
    }.values(),
)
def test_noise_that_cannot_be_used(B, words):
    for method in METHODS.values():
        with pytest.raises(DataError, match=words):
            method(np.eye(len(B)), B, 1)


def test_moments_of_any_size_are_not_taken_for_singular():
    check_noise(np.diag([1e-30, 1.0, 1e30]))


def test_no_signal_is_an_error():
    with pytest.raises(DataError, match="no moments that differ from 0"):
        generalized(np.zeros((2, 2)), np.eye(2), 1)


def test_signs_are_those_of_the_last_of_the_largest_samples():
    filters = np.array([[1.0, 0.0, -1.0], [1.0, -1.0 + 1e-12, 0.5], [-3.0, 1.0, 2.0]])
    assert signs(filters).tolist() == [-1.0, -1.0, -1.0]
    assert signs(-filters).tolist() == [1.0, 1.0, 1.0]


# -- a model of the signals -------------------------------------------------------------------------


@pytest.mark.parametrize("basis", ["legendre", "monomial"])
@pytest.mark.parametrize("c", [0.5, 40.0])
def test_the_models_correlations_are_integrals(c, basis):
    space, model = MomentSpace((50,), (4,), basis), StationaryCorrelation(c, variance=2.0)
    P = {"legendre": scipy.special.eval_legendre, "monomial": lambda i, x: x**i}[basis]

    def integral(i, j):
        value, _ = scipy.integrate.dblquad(
            lambda y, x: 2.0 * np.exp(-c * (x - y) ** 2) * P(i, x) * P(j, y), -1, 1, -1, 1, epsabs=1e-11, epsrel=1e-11
        )
        return value / 4.0

    expected = [[integral(i, j) for j in range(3)] for i in range(3)]
    np.testing.assert_allclose(model.signals(space)[:3, :3], expected, rtol=0, atol=1e-10)
    white = [[scipy.integrate.quad(lambda x: P(i, x) * P(j, x), -1, 1)[0] / 2 for j in range(5)] for i in range(5)]  # noqa: B023
    np.testing.assert_allclose(model.white(space, 3.0), 3.0 / 50 * np.array(white), rtol=0, atol=1e-12)


def test_the_eigenvalues_of_the_article_s_form():
    """On [-1, 1] with noise of density sigma^2: the same ratios, since a cell of width 2 / n averages it."""
    c, n, order, sigma2 = 0.5, 40, 5, 0.25
    x, w = np.polynomial.legendre.leggauss(60)
    P = np.vander(x, order + 1, increasing=True) * w[:, None]
    A = P.T @ np.exp(-c * np.subtract.outer(x, x) ** 2) @ P
    B = sigma2 * np.array(
        [[2.0 / (i + j + 1) * ((i + j) % 2 == 0) for j in range(order + 1)] for i in range(order + 1)]
    )
    article = scipy.linalg.eigh(A, B, eigvals_only=True)[::-1]
    space, model = MomentSpace((n,), (order,)), StationaryCorrelation(c)
    found = generalized(model.signals(space), model.white(space, sigma2 * n / 2.0), order + 1)
    np.testing.assert_allclose(found.eigenvalues, article, rtol=1e-7, atol=1e-9)


FINE = np.polynomial.legendre.leggauss(700)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 1e4), st.integers(0, 20))
def test_the_quadrature_has_settled(c, order):
    x, w = FINE
    P = np.polynomial.legendre.legvander(x, order) * (w / 2)[:, None]
    finer = P.T @ np.exp(-c * np.subtract.outer(x, x) ** 2) @ P
    found = StationaryCorrelation(c).signals(MomentSpace((order + 1,), (order,)))
    np.testing.assert_allclose(found, finer, rtol=0, atol=1e-12)


def test_samples_of_a_fine_grid_come_near_the_model():
    model, space = StationaryCorrelation((2.0, 7.0)), MomentSpace((200, 150), (3, 3))
    y, x = ((2 * np.arange(n) + 1) / n - 1 for n in space.shape)
    axes = [np.exp(-c * np.subtract.outer(t, t) ** 2) for c, t in zip(model.c, (y, x), strict=True)]
    factors = [axis.T @ C @ axis for axis, C in zip(space.axes, axes, strict=True)]
    np.testing.assert_allclose(model.signals(space), np.kron(*factors), rtol=0, atol=2e-4)


@pytest.mark.parametrize("wrong", [{"c": 0.0}, {"c": 2e4}, {"c": ()}, {"c": "a"}, {"c": 1.0, "variance": 0.0}], ids=str)
def test_models_that_are_none(wrong):
    with pytest.raises(ParameterError, match=r"c is|variance is"):
        StationaryCorrelation(**wrong)


def test_a_model_of_other_axes():
    with pytest.raises(ParameterError, match="have 1 axes"):
        StationaryCorrelation((1.0, 2.0)).signals(MomentSpace((5,), (2,)))
