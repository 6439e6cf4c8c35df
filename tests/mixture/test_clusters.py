"""Hard clusters against plain formulas on their rows."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import OPTIONS
from scipy.spatial.distance import cdist
from scipy.stats import norm

from dgmm.errors import DataError
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.clusters import (
    FAMILY,
    AssignMap,
    InertiaMap,
    Merging,
    closest,
    compile_clusters,
    distances,
    merge_groups,
    shapes,
    surplus_clusters,
    total_energy,
)
from dgmm.mixture.parameters import Coordinates
from dgmm.mixture.summaries import Summaries

seeds = st.integers(0, 10**6)


def grouped(n: int, d: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, Summaries]:
    """Rows, weights and groups, of which the last is empty where there are many, and their sums."""
    rng = np.random.default_rng(seed)
    z, w = rng.normal(size=(n, d)) * rng.uniform(0.2, 2.0, size=d), rng.uniform(0.5, 2.0, size=n)
    groups = rng.integers(max(k - 1, 1) if k > 3 else k, size=n)
    z += groups[:, None] * rng.normal(size=d)
    return z, w, groups, Summaries.of_groups(FAMILY, z, w, groups, k)


def scatters_of(z: np.ndarray, w: np.ndarray, groups: np.ndarray, k: int) -> np.ndarray:
    scatters = np.zeros((k, z.shape[1]))
    for i in np.unique(groups):
        own = groups == i
        scatters[i] = w[own] @ np.square(z[own] - np.average(z[own], axis=0, weights=w[own]))
    return scatters


def variances_of(z, w, groups, k: int, row: float, pooled: np.ndarray) -> np.ndarray:
    """With one row more in each group, whose squared offset is ``pooled``."""
    weight = np.bincount(groups, weights=w, minlength=k)
    return np.asarray((scatters_of(z, w, groups, k) + row * pooled) / (weight + row)[:, None])


def pooled_of(z: np.ndarray, w: np.ndarray, groups: np.ndarray, k: int) -> np.ndarray:
    return np.asarray(scatters_of(z, w, groups, k).sum(axis=0) / w.sum() + 1e-12)


def energy_of(z: np.ndarray, w: np.ndarray, groups: np.ndarray, k: int, pooled: np.ndarray) -> float:
    weight, variances = np.bincount(groups, weights=w, minlength=k), variances_of(z, w, groups, k, 1.0, pooled)
    used = weight > 0.0
    return float((weight[used] * (0.5 * np.log(variances[used]).sum(axis=1) - np.log(weight[used]))).sum())


@given(st.integers(1, 4), st.integers(1, 5), seeds)
def test_shapes_are_means_and_variances_of_the_rows(d, k, seed) -> None:
    z, w, groups, sums = grouped(60, d, k, seed)
    previous = FAMILY.parameters(np.full(k, 1.0 / k), np.full((k, d), 7.0), np.ones((k, d)))
    found = shapes(sums, 0.5, previous)
    np.testing.assert_allclose(
        found.covariances, variances_of(z, w, groups, k, 0.5, pooled_of(z, w, groups, k)), rtol=1e-9
    )
    np.testing.assert_allclose(found.weights, 1.0 / k)
    for i in range(k):
        own = groups == i
        expected = np.average(z[own], axis=0, weights=w[own]) if own.any() else np.full(d, 7.0)
        np.testing.assert_allclose(found.means[i], expected, rtol=1e-9, atol=1e-12)


def test_equal_rows_and_single_rows_have_a_width() -> None:
    z = np.repeat([[0.0, 1.0], [3.0, 1.0], [5.0, -2.0]], [10, 10, 1], axis=0)
    sums = Summaries.of_groups(FAMILY, z, np.ones(21), np.repeat([0, 1, 2], [10, 10, 1]), 3)
    assert (shapes(sums, 1.0).covariances > 0.0).all()
    z[0] = 0.5
    wider = shapes(Summaries.of_groups(FAMILY, z, np.ones(21), np.repeat([0, 1, 2], [10, 10, 1]), 3), 1.0)
    assert (wider.covariances[2] > wider.covariances[1]).all()


@given(st.integers(1, 4), st.integers(2, 6), seeds)
def test_the_cost_of_a_merger_is_the_rise_of_the_energy(d, k, seed) -> None:
    z, w, groups, sums = grouped(50, d, k, seed)
    pooled = pooled_of(z, w, groups, k)
    before = energy_of(z, w, groups, k, pooled)
    assert total_energy(sums, 1.0) == pytest.approx(before)
    merging = Merging(sums, 1.0)
    for i, j in combinations(range(k), 2):
        expected = energy_of(z, w, np.where(groups == j, i, groups), k, pooled) - before
        assert merging.cost(i, np.array([j]))[0] == pytest.approx(expected, abs=1e-8)
        assert merging.costs(k)[j, i] == pytest.approx(expected, abs=1e-8)


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(2, 8), st.integers(0, 8), seeds)
def test_merging_takes_the_cheapest_pair_each_time(d, k, count, seed) -> None:
    z, w, groups, _ = grouped(80, d, k, seed)
    groups = np.unique(groups, return_inverse=True)[1]
    k = int(groups.max()) + 1
    pooled, merged = pooled_of(z, w, groups, k), np.arange(k)
    for _ in range(k - max(count, 1)):
        before = energy_of(z, w, merged[groups], k, pooled)
        ways = [np.where(merged == j, i, merged) for i, j in combinations(np.unique(merged), 2)]
        rises = [energy_of(z, w, way[groups], k, pooled) - before for way in ways]
        if not count and min(rises) >= 0.0:
            break
        merged = ways[int(np.argmin(rises))]
    found = merge_groups(Summaries.of_groups(FAMILY, z, w, groups, k), 1.0, count)
    np.testing.assert_array_equal(found, np.unique(merged, return_inverse=True)[1])


def test_merging_finds_clusters_of_unequal_width() -> None:
    rng = np.random.default_rng(0)
    wide, narrow = rng.normal(size=(2000, 2)) * [10.0, 8.0], rng.normal(size=(1000, 2)) * 0.3 + [12.0, 12.0]
    found = surplus_clusters(np.concatenate([wide, narrow]), np.ones(3000), 2, 1.0, np.random.RandomState(0))
    assert sorted(found.weight) == pytest.approx([1000.0, 2000.0], abs=150.0)


def plain_clusters(k: int, d: int, seed: int):
    rng = np.random.default_rng(seed)
    coordinates = Coordinates(rng.normal(size=d) * 10.0, rng.uniform(0.5, 3.0, size=d))
    parameters = FAMILY.parameters(np.full(k, 1.0 / k), rng.normal(size=(k, d)), rng.uniform(0.05, 2.0, size=(k, d)))
    user = FAMILY.to_user(parameters, coordinates)
    X = coordinates.restore(rng.normal(size=(200, d)) * 2.0)
    densities = np.stack([norm(m, np.sqrt(v)).logpdf(X).sum(axis=1) for m, v in zip(user.means, user.covariances,
        strict=True)], axis=1)  # fmt: skip
    labels = densities.argmax(axis=1)
    squared = np.stack([cdist(X, user.means[i : i + 1], "seuclidean", V=user.covariances[i])[:, 0] ** 2
        for i in range(k)], axis=1)  # fmt: skip
    return parameters, coordinates, user, X, labels, squared


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(st.integers(1, 5), st.integers(1, 4), seeds)
@settings(max_examples=20)
def test_rows_join_the_cluster_of_the_highest_density_within_the_radius(dtype, k, d, seed) -> None:
    parameters, coordinates, _, X, labels, squared = plain_clusters(k, d, seed)
    X, w, radius_squared = X.astype(dtype), np.arange(200) % 3.0, 2.0 * d
    assign = AssignMap.of(parameters, coordinates, OPTIONS, radius_squared)
    found, at = assign.judge(X)
    assert np.mean(found == labels) > 0.98  # rounding of float32 rows
    np.testing.assert_allclose(
        at[found == labels], squared[np.arange(200), labels][found == labels], rtol=2e-4, atol=1e-4
    )
    record = assign(X, w, Chunk(0, 0, 200))
    inside = (at < radius_squared) & (w > 0.0)
    np.testing.assert_array_equal(record.outside.rows, X[~inside & (w > 0.0)])
    assert record.n_rows == np.count_nonzero(w)
    assert record.weight == pytest.approx(w.sum())
    expected = Summaries.of_groups(FAMILY, coordinates.standardize(X[inside]), w[inside], found[inside], k)
    sums = Summaries.of_statistics(record.inside, FAMILY)
    for name in ("weight", "first", "second"):
        np.testing.assert_allclose(getattr(sums, name), getattr(expected, name), rtol=1e-7, atol=1e-8)
    parts = [assign(X[a:b], w[a:b], Chunk(i, a, b - a)) for i, (a, b) in enumerate(((0, 3), (3, 3), (3, 200)))]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    np.testing.assert_array_equal(merged.outside.rows, record.outside.rows)
    np.testing.assert_allclose(merged.inside.second, record.inside.second, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 5), st.integers(1, 4), seeds)
@settings(max_examples=20)
def test_distances_are_those_of_mahalanobis(k, d, seed) -> None:
    parameters, coordinates, _, X, _, squared = plain_clusters(k, d, seed)
    np.testing.assert_allclose(distances(X, parameters, coordinates) ** 2, squared, rtol=1e-9, atol=1e-12)


@given(st.integers(1, 5), st.integers(1, 4), seeds)
@settings(max_examples=20)
def test_a_set_is_as_far_from_a_cluster_as_its_rows_in_the_mean(k, d, seed) -> None:
    parameters, coordinates, _, X, _, _ = plain_clusters(k, d, seed)
    z = coordinates.standardize(X)
    sums = Summaries.of_groups(FAMILY, z, np.ones(200), np.arange(200) // 20, 10)
    labels, squared = closest(sums, parameters)
    rows = np.square(distances(X, parameters, coordinates)).reshape(10, 20, k).mean(axis=1)
    expected = (rows + np.log(parameters.covariances).sum(axis=1)).argmin(axis=1)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_allclose(squared, rows[np.arange(10), expected], rtol=1e-9)


def test_inertia_is_a_sum_over_rows_and_refuses_what_is_none() -> None:
    parameters, coordinates, user, X, labels, _ = plain_clusters(3, 2, seed=4)
    chunk, w = Chunk(0, 0, 200), np.arange(200) % 2.0
    inertia = InertiaMap(compile_clusters(parameters, coordinates, OPTIONS), parameters.means)
    squares = np.square(X - user.means[labels]).sum(axis=1)
    assert inertia(X, None, chunk).total == pytest.approx(squares.sum())
    found = inertia(X[:50], w[:50], Chunk(0, 0, 50)).merge(inertia(X[50:], w[50:], Chunk(1, 50, 150)))
    assert (found.total, found.weight, found.n_rows) == (pytest.approx(squares @ w), 100.0, 200)
    with pytest.raises(DataError, match="NaN, first at chunk 0, row 3, feature 1"):
        inertia(np.where(np.arange(400).reshape(200, 2) == 7, np.nan, X), None, chunk)
    with pytest.raises(DataError, match="sample_weight contains -1, first at chunk 0, row 0"):
        inertia(X, w - 1.0, chunk)
