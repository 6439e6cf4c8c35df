"""Sums of labelled rows: any cuts, any coordinates, against numpy and the kernel."""

import itertools

import numpy as np
import pytest
from cases import any_family, families, random_parameters
from hypothesis import given
from hypothesis import strategies as st
from reference import log_joint, of_form
from storing import bits, stored

from dgmm.mixture.families import CovarianceFamily
from dgmm.mixture.known import KnownMap, KnownRows
from dgmm.mixture.statistics import SufficientStatistics

K, D = 3, 2


def labelled(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, D)) * [1.0, 100.0] + 1000.0
    return X, rng.uniform(0.5, 3.0, size=n), rng.integers(-1, K - 1, size=n)  # the last component has none


def sums(family: CovarianceFamily, X: np.ndarray, w: np.ndarray, labels: np.ndarray) -> KnownRows:
    return KnownMap(family.name, K)(X, w, labels)


def packed(family: CovarianceFamily, scatters: np.ndarray) -> np.ndarray:
    own = scatters.sum(axis=0, keepdims=True) if family.tied else scatters
    return np.stack([family.form.packed_matrix(scatter) for scatter in own])


@given(any_family, st.integers(0, 60), st.integers(0, 10**6), st.lists(st.integers(0, 60), max_size=4))
def test_any_cuts_give_the_moments_of_each_component(family, n, seed, cuts) -> None:
    X, w, labels = labelled(n, seed)
    ends = [0, *sorted(min(cut, n) for cut in cuts), n]
    parts = [sums(family, X[a:b], w[a:b], labels[a:b]) for a, b in itertools.pairwise(ends)]
    merged = KnownRows.none(family, K, D)
    for part in parts:
        merged = merged.merge(part)
    scatters = np.zeros((K, D, D))
    for k in range(K):
        own, weights = X[labels == k], w[labels == k]
        np.testing.assert_allclose(merged.weight[k], weights.sum(), rtol=1e-12)
        if len(own):
            mean = weights @ own / weights.sum()
            np.testing.assert_allclose(merged.mean[k], mean, rtol=1e-12)
            scatters[k] = ((own - mean).T * weights) @ (own - mean)
    np.testing.assert_allclose(merged.scatter, packed(family, scatters), rtol=1e-7, atol=1e-6)
    assert merged.n_rows == np.count_nonzero(labels >= 0)
    assert merged.components.tolist() == [bool((labels == k).any()) for k in range(K)]
    assert bits(stored(merged)) == bits(merged)


@families
def test_in_any_coordinates_they_are_the_statistics_of_responsibilities_that_are_given(family) -> None:
    X, w, labels = labelled(80, 5)
    coordinates = family.form.coordinates(X.mean(axis=0), np.cov(X.T))
    z, known = coordinates.standardize(X), sums(family, X, w, labels).to_inner(coordinates)
    reference = np.random.default_rng(0).normal(size=(K, D))
    parameters = random_parameters(family, K, D, 1)
    nothing = SufficientStatistics.zero(reference, known.scatter.shape)
    found = known.added_to(nothing, parameters, coordinates)
    member = (labels[:, None] == np.arange(K)) * w[:, None]
    offset = z[:, None] - reference
    np.testing.assert_allclose(found.weight, member.sum(axis=0))
    np.testing.assert_allclose(found.first, np.einsum("nk,nki->ki", member, offset), atol=1e-10)
    scatters = np.einsum("nk,nki,nkj->kij", member, offset, offset)
    np.testing.assert_allclose(found.second, packed(family, scatters), atol=1e-9)
    about_0 = np.einsum("nk,ni,nj->kij", member, z, z)
    np.testing.assert_allclose(known.total_scatter()[0], family.form.packed_matrix(about_0.sum(axis=0)), atol=1e-9)
    user = family.to_user(parameters, coordinates)
    joint = log_joint(X, user.weights, user.means, family.public(user.covariances, D), family.name)
    assert found.log_likelihood == pytest.approx((joint * member).sum(), rel=1e-10)
    assert (found.n_rows, found.total_weight) == (np.count_nonzero(labels >= 0), pytest.approx(member.sum()))
    assert known.added_to(nothing).log_likelihood == 0.0


@families
def test_a_component_of_no_rows_and_one_of_many_in_a_start(family) -> None:
    """A covariance of few rows is half the one that was found; without rows a component is as it was found."""
    X, w = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])[: family.min_rows(D)], np.ones(3)[: family.min_rows(D)]
    known, found = sums(family, X, w, np.ones(len(X))), random_parameters(family, K, D, 3)
    start = known.blended(family, found, row=1.0)
    np.testing.assert_array_equal(start.means[[0, 2]], found.means[[0, 2]])
    np.testing.assert_allclose(start.means[1], X.mean(axis=0))
    if family.tied:
        np.testing.assert_array_equal(start.covariances, found.covariances)
    else:
        own = of_form(np.atleast_2d(np.cov(X.T, ddof=0)), family.name)
        covariances = family.public(start.covariances, D), family.public(found.covariances, D)
        np.testing.assert_allclose(covariances[0][1], (own + covariances[1][1]) / 2.0)
        np.testing.assert_allclose(covariances[0][[0, 2]], covariances[1][[0, 2]])
