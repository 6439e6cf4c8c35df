"""The block kernel against direct sums, and its ways of serving a component against each other."""

from dataclasses import replace

import numpy as np
import pytest
from cases import any_family, families, matrices, random_parameters
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax
from scipy.stats import entropy, multivariate_normal

from dgmm.mixture.compiled import CentredGroup, DotGroup, KernelOptions, assign, compile_mixture, dot_product_loss
from dgmm.mixture.families import get_family
from dgmm.mixture.kernel import BlockKernel, complete

ALL_DOT = {"float32": np.inf, "float64": np.inf}
DOUBLE = {"float32": -1.0, "float64": np.inf}
CENTRED = {"float32": -1.0, "float64": -1.0}


def make(family, parameters, coordinates, tolerance=DOUBLE, dtype=np.float64, block_rows=64, whole=True):
    return compile_mixture(
        family,
        family.to_inner(parameters, coordinates),
        coordinates,
        np.dtype(dtype),
        KernelOptions(block_rows, tolerance),
        whole_density=whole,
    )


def direct(family, parameters, X):
    return np.stack(
        [
            np.log(weight) + multivariate_normal(mean, covariance).logpdf(X).reshape(len(X))
            for weight, mean, covariance in zip(
                parameters.weights, parameters.means, matrices(family, parameters), strict=True
            )
        ],
        axis=1,
    )


def case(family, k=3, d=4, n=150, seed=0):
    parameters = random_parameters(family, k, d, seed)
    X = np.random.default_rng(seed).normal(size=(n, d)) * 1.5
    return parameters, X, family.own_coordinates(parameters)


@pytest.mark.parametrize("tolerance", [DOUBLE, CENTRED], ids=["dot", "centred"])
@families
def test_densities_are_those_of_scipy(family, tolerance) -> None:
    parameters, X, coordinates = case(family)
    kernel = BlockKernel(make(family, parameters, coordinates, tolerance))
    expected = direct(family, parameters, X)
    np.testing.assert_allclose(kernel.score_samples(X), logsumexp(expected, axis=1), rtol=1e-10)
    np.testing.assert_allclose(kernel.responsibilities(X), softmax(expected, axis=1), atol=1e-11)
    np.testing.assert_array_equal(kernel.labels(X), expected.argmax(axis=1))
    assert kernel.entropy(X) == pytest.approx(entropy(softmax(expected, axis=1), axis=1).sum(), rel=1e-9)


@given(
    any_family,
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(0, 90),
    st.integers(1, 100),
    st.sampled_from([DOUBLE, CENTRED]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_statistics_are_direct_sums(family, k, d, n, block_rows, tolerance, weighted, seed) -> None:
    parameters, X, coordinates = case(family, k, d, n, seed)
    w = np.random.default_rng(seed + 1).uniform(0.0, 3.0, size=n) if weighted else None
    compiled = make(family, parameters, coordinates, tolerance, block_rows=block_rows)
    statistics = BlockKernel(compiled).statistics(X, w)

    weights = np.ones(n) if w is None else w
    log_densities = direct(family, parameters, X)
    R = softmax(log_densities, axis=1) * weights[:, None]
    offsets = coordinates.standardize(X)[:, None] - compiled.reference
    np.testing.assert_allclose(statistics.weight, R.sum(axis=0), atol=1e-9)
    np.testing.assert_allclose(statistics.first, np.einsum("nk,nki->ki", R, offsets), atol=1e-8)
    products = np.stack([family.form.packed_outer(offsets[:, j]) for j in range(k)], axis=1)
    second = np.einsum("nk,nkq->kq", R, products)
    second = second.sum(axis=0, keepdims=True) if family.tied else second
    np.testing.assert_allclose(statistics.second, second, atol=1e-8)
    expected = float(weights @ logsumexp(log_densities, axis=1)) if n else 0.0
    assert statistics.log_likelihood == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert statistics.total_weight == pytest.approx(weights.sum())
    assert statistics.n_rows == n


@given(any_family, st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6), st.booleans())
def test_both_kernels_give_the_same_m_step(family, k, d, seed, mixed) -> None:
    parameters, X, coordinates = case(family, k, d, 200, seed)
    total = (lambda z: family.form.packed_matrix(z.T @ z)[None])(coordinates.standardize(X))
    estimates = []
    losses = dot_product_loss(family, family.to_inner(parameters, coordinates)) * np.finfo(float).eps
    halfway = {"float32": -1.0, "float64": float(np.median(losses))}
    for tolerance in (DOUBLE, halfway if mixed else CENTRED):
        compiled = make(family, parameters, coordinates, tolerance, whole=False)
        statistics = complete(compiled, BlockKernel(compiled).statistics(X), total)
        estimate = family.to_user(family.estimate(statistics, coordinates, 1e-9), coordinates)
        estimates.append((statistics.mean_log_likelihood, estimate))
    (a_bound, a), (b_bound, b) = estimates
    assert a_bound == pytest.approx(b_bound, rel=1e-10)
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-7, atol=1e-8)


@families
def test_float32_products_are_good_to_their_tolerance(family) -> None:
    parameters, X, coordinates = case(family, k=4, d=6, n=4000)
    X32 = X.astype(np.float32)
    single = BlockKernel(make(family, parameters, coordinates, ALL_DOT, np.float32))
    assert single.compiled.dtype == np.float32
    double = BlockKernel(make(family, parameters, coordinates, DOUBLE, np.float32))
    error = np.abs(single.score_samples(X32) - double.score_samples(X32))
    loss = dot_product_loss(family, family.to_inner(parameters, coordinates)).max() * np.finfo(np.float32).eps
    assert 0.0 < error.mean() < loss
    assert single.statistics(X32).mean_log_likelihood == pytest.approx(
        double.statistics(X32).mean_log_likelihood, abs=1e-5
    )


@families
def test_each_component_is_served_as_its_loss_allows(family) -> None:
    parameters, _, coordinates = case(family, k=3, d=2)
    narrow = np.array(parameters.covariances)
    narrow[0] *= 1e-8
    inner = family.to_inner(family.parameters(parameters.weights, parameters.means, narrow), coordinates)
    loss = dot_product_loss(family, inner)
    options = KernelOptions(64, {"float32": float(loss.min()) * 1.2e-7, "float64": float(loss.max()) * 1e-16})
    ways = dict(assign(family, inner, np.dtype(np.float32), options))
    if family.tied:
        assert set(ways) == {"float32"}
    else:
        assert 0 in ways["centred"]
        assert set(np.concatenate(list(ways.values()))) == {0, 1, 2}
    assert "float32" not in dict(assign(family, inner, np.dtype(np.float64), options))


def test_groups_carry_the_precision_they_were_given() -> None:
    family = get_family("full")
    parameters, X, coordinates = case(family, k=3, d=2)
    compiled = make(family, parameters, coordinates, DOUBLE, np.float32)
    assert [type(group) for group in compiled.groups] == [DotGroup]
    assert compiled.dtype == np.float64
    compiled = make(family, parameters, coordinates, CENTRED, np.float32)
    assert [type(group) for group in compiled.groups] == [CentredGroup]
    assert BlockKernel(compiled).responsibilities(X.astype(np.float32)).dtype == np.float64


@families
def test_a_component_of_weight_zero_takes_no_part(family) -> None:
    parameters, X, coordinates = case(family, k=3)
    dead = parameters.reweighted(np.array([0.4, 0.0, 0.6]))
    for tolerance in (DOUBLE, CENTRED):
        kernel = BlockKernel(make(family, dead, coordinates, tolerance))
        responsibilities = kernel.responsibilities(X)
        assert (responsibilities[:, 1] == 0.0).all()
        np.testing.assert_allclose(responsibilities.sum(axis=1), 1.0)
        assert kernel.statistics(X).weight[1] == 0.0
        assert np.isfinite(kernel.entropy(X))


def test_given_responsibilities_are_used_as_they_are() -> None:
    family = get_family("full")
    parameters, X, coordinates = case(family, k=2, d=3, n=100)
    R = np.random.default_rng(3).dirichlet(np.ones(2), size=100).T
    compiled = make(family, parameters, coordinates)
    statistics = BlockKernel(compiled).given_statistics(X, lambda rows: R[:, rows])
    np.testing.assert_allclose(statistics.weight, R.sum(axis=1))
    np.testing.assert_allclose(statistics.first, R @ coordinates.standardize(X), atol=1e-10)


def test_the_nearest_centre_is_the_nearest() -> None:
    rng = np.random.default_rng(0)
    X, centres = rng.normal(size=(500, 3)), rng.normal(size=(7, 3))
    family = get_family("spherical")
    parameters = family.parameters(np.ones(7) / 7, centres, np.ones((7, 1)))
    coordinates = replace(family.own_coordinates(parameters), shift=np.zeros(3), scale=np.ones(3))
    labels, squared = BlockKernel(make(family, parameters, coordinates)).nearest(X, centres)
    distances = np.square(X[:, None] - centres).sum(axis=2)
    np.testing.assert_array_equal(labels, distances.argmin(axis=1))
    np.testing.assert_allclose(squared, distances.min(axis=1))


def test_a_kernel_can_be_used_again() -> None:
    family = get_family("full")
    parameters, X, coordinates = case(family)
    kernel = BlockKernel(make(family, parameters, coordinates))
    first = kernel.statistics(X)
    again = kernel.statistics(X)
    np.testing.assert_array_equal(first.second, again.second)
    assert first.log_likelihood == again.log_likelihood


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@families
def test_rows_at_any_distance_have_probabilities(family, dtype) -> None:
    parameters, _, coordinates = case(family, k=3, d=2)
    far = np.array([[1e10, 0.0], [1e15, -1e15], [9.96921e36, 9.96921e36], [3e38, -1e38], [0.0, 0.0]], dtype=dtype)
    if dtype == np.float64:
        far = np.concatenate([far, [[1e160, 1e-160], [1e300, -1e300]]])
    kernel = BlockKernel(make(family, parameters, coordinates, ALL_DOT, dtype))
    probabilities = kernel.responsibilities(far)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), kernel.labels(far))
    assert np.isfinite(kernel.score_samples(far)).all()
    assert np.isfinite(kernel.entropy(far))


def test_the_log_likelihood_of_float32_products_is_mended() -> None:
    """Rounding A errs alike for all rows; what that takes from the log-likelihood is put back."""
    family = get_family("full")
    mended, as_it_was = [], []
    for seed in range(10):
        parameters, X, coordinates = case(family, k=4, d=6, n=3000, seed=seed)
        X32 = X.astype(np.float32)
        compiled = make(family, parameters, coordinates, ALL_DOT, np.float32)
        exact = BlockKernel(make(family, parameters, coordinates, DOUBLE, np.float32)).statistics(X32)
        mended.append(BlockKernel(compiled).statistics(X32).mean_log_likelihood - exact.mean_log_likelihood)
        as_it_was.append(BlockKernel(compiled).score_samples(X32).mean() - exact.mean_log_likelihood)
    assert np.abs(mended).mean() < 0.5 * np.abs(as_it_was).mean()
    assert np.abs(mended).max() < 2e-6
