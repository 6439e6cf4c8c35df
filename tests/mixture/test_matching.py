"""Distances between Gaussians, and components paired by them."""

from itertools import permutations

import numpy as np
import pytest
from cases import any_family, families, matrices, random_parameters
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from dgmm.mixture.families import FAMILIES, get_family
from dgmm.mixture.matching import assign, bhattacharyya_distances, hellinger

seeds = st.integers(0, 2**20)


def distances(a, b):
    return hellinger(bhattacharyya_distances(a, b))


def by_determinants(family_a, a, family_b, b):
    """The textbook's formula, with the matrices that it is written in."""
    found = np.empty((a.n_components, b.n_components))
    for i, (p, S) in enumerate(zip(a.means, matrices(family_a, a), strict=True)):
        for j, (q, T) in enumerate(zip(b.means, matrices(family_b, b), strict=True)):
            mean = (S + T) / 2.0
            overlap = np.exp(-(p - q) @ np.linalg.inv(mean) @ (p - q) / 8.0)
            overlap *= (np.linalg.det(S) * np.linalg.det(T)) ** 0.25 / np.sqrt(np.linalg.det(mean))
            found[i, j] = np.sqrt(max(1.0 - overlap, 0.0))
    return found


@given(any_family, any_family, st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), seeds)
def test_distances_are_those_of_the_textbook(family_a, family_b, d, k, m, seed):
    a, b = random_parameters(family_a, k, d, seed), random_parameters(family_b, m, d, seed + 1)
    found = distances(a, b)
    np.testing.assert_allclose(found, by_determinants(family_a, a, family_b, b), atol=1e-7)
    np.testing.assert_allclose(found, distances(b, a).T, rtol=1e-12, atol=1e-14)
    assert ((found >= 0.0) & (found <= 1.0)).all()


@pytest.mark.parametrize("d", [1, 2])
@families
def test_distances_are_those_of_the_densities(family, d):
    a, b = random_parameters(family, 2, d, seed=3), random_parameters(family, 2, d, seed=4)
    line = np.linspace(-40.0, 40.0, 4001 if d == 1 else 801)
    grid = np.stack(np.meshgrid(*[line] * d, indexing="ij"), axis=-1)
    cell = (line[1] - line[0]) ** d
    p, q = (
        [multivariate_normal(m, S).pdf(grid) for m, S in zip(x.means, matrices(family, x), strict=True)] for x in (a, b)
    )
    squared = [[0.5 * np.square(np.sqrt(f) - np.sqrt(g)).sum() * cell for g in q] for f in p]
    np.testing.assert_allclose(distances(a, b), np.sqrt(squared), atol=1e-6)


@given(any_family, st.integers(1, 6), st.integers(1, 4), seeds)
def test_a_gaussian_is_at_no_distance_from_itself(family, d, k, seed):
    a = random_parameters(family, k, d, seed)
    assert np.diagonal(distances(a, a)).max() < 1e-12


@given(st.integers(1, 4), st.integers(1, 3), seeds)
def test_distances_are_the_same_in_any_units(d, k, seed):
    family, rng = get_family("full"), np.random.default_rng(seed)
    turn = rng.normal(size=(d, d)) + 3.0 * np.eye(d)
    turn *= np.exp(rng.uniform(-20.0, 20.0))
    if np.linalg.cond(turn) > 1e3:
        return
    shift = rng.normal(scale=10.0, size=d) * np.abs(turn).max()

    def moved(x):
        return family.parameters(x.weights, x.means @ turn.T + shift, turn @ x.covariances @ turn.T)

    a, b = (random_parameters(family, k, d, s) for s in (seed, seed + 1))
    np.testing.assert_allclose(distances(moved(a), moved(b)), distances(a, b), atol=1e-7)


def test_small_and_large_distances_keep_their_digits():
    """Where determinants cancel, overflow, or the densities do not overlap at all."""
    d, family = 300, get_family("diag")
    one = family.parameters(np.ones(1), np.zeros((1, d)), np.full((1, d), 1e-30))
    near = family.parameters(np.ones(1), np.full((1, d), 1e-25), np.full((1, d), 1e-30))
    expected = np.sqrt(d * (1e-25 / 1e-15) ** 2 / 8.0)
    np.testing.assert_allclose(distances(one, near), [[expected]], rtol=1e-9)
    full = get_family("full")
    same = [full.parameters(np.ones(1), x.means, x.covariances[..., None] * np.eye(d)) for x in (one, near)]
    np.testing.assert_allclose(distances(*same), [[expected]], rtol=1e-9)
    wide = family.parameters(np.ones(1), np.zeros((1, d)), np.full((1, d), 1e30))
    assert distances(one, wide) == 1.0
    far = family.parameters(np.ones(1), np.ones((1, d)), np.full((1, d), 1e-30))
    assert distances(one, far) == 1.0
    assert np.isfinite(bhattacharyya_distances(one, far)).all()


def test_features_may_be_in_another_order():
    order = np.array([2, 0, 3, 1])
    for name in FAMILIES:
        family = get_family(name)
        a, b = (random_parameters(family, 3, 4, seed=s) for s in (1, 2))
        back = np.argsort(order)
        means, covariances = b.means[:, back], b.covariances
        if covariances.ndim == 3:
            covariances = covariances[:, back][:, :, back]
        elif covariances.shape[1] == 4:
            covariances = covariances[:, back]
        turned = family.parameters(b.weights, means, covariances)
        np.testing.assert_allclose(bhattacharyya_distances(a, turned, order), bhattacharyya_distances(a, b))


@given(any_family, st.integers(1, 4), st.integers(1, 6), seeds)
def test_components_in_another_order_are_found(family, d, k, seed):
    a = random_parameters(family, k, d, seed)
    order = np.random.default_rng(seed).permutation(k)
    rows, columns = assign(bhattacharyya_distances(a, a.take(order)))
    np.testing.assert_array_equal(order[columns], rows)


@given(st.integers(1, 5), st.integers(1, 5), seeds)
def test_no_other_pairs_have_a_smaller_sum(k, m, seed):
    cost = np.random.default_rng(seed).exponential(size=(k, m))
    rows, columns = assign(cost)
    assert len(set(rows)) == len(set(columns)) == min(k, m)
    square = hellinger(cost if k <= m else cost.T)
    ways = permutations(range(max(k, m)), min(k, m))
    least = min(square[range(min(k, m)), way].sum() for way in ways)
    assert hellinger(cost)[rows, columns].sum() == pytest.approx(least, abs=1e-7)


def test_narrow_components_that_all_moved_are_paired_with_the_nearer_ones():
    family = get_family("spherical")
    means, order = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]), np.array([2, 0, 1])
    a = family.parameters(np.full(3, 1 / 3), means, np.full((3, 1), 1e-6))
    b = family.parameters(np.full(3, 1 / 3), means[order] + 1.0, np.full((3, 1), 1e-6))
    found = bhattacharyya_distances(a, b)
    assert (hellinger(found) == 1.0).all()
    rows, columns = assign(found)
    np.testing.assert_array_equal(order[columns], rows)
