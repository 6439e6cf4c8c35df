"""Starts: distances, draws and responsibilities against direct computations."""

import numpy as np
import pytest
from cases import families
from reference import of_form
from sklearn.cluster import KMeans

from dgmm.mixture.chunks import Chunk
from dgmm.mixture.compiled import KernelOptions, compile_about
from dgmm.mixture.families import get_family
from dgmm.mixture.parameters import Coordinates
from dgmm.mixture.seeding import (
    CENTRES,
    DistancesMap,
    NearestStatisticsMap,
    RandomResponsibilities,
    kmeans,
    nearest_mixture,
)

OPTIONS = KernelOptions(32, {"float32": 1e-3, "float64": 1e-9})
UNIT = Coordinates(np.zeros(2), np.ones(2))


def blobs(n: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) * 0.3 + 4.0 * rng.integers(0, 3, size=(n, 1))


def distances(X, centres, n_drawn=5, weights=None, seed=1) -> DistancesMap:
    return DistancesMap(nearest_mixture(centres, UNIT, OPTIONS), centres, seed, 0, n_drawn)


def squared(X: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.square(X[:, None] - centres).sum(axis=2)


def test_cost_and_counts_are_direct_sums() -> None:
    X, centres = blobs(), np.array([[0.0, 0.0], [5.0, 4.0]])
    w = np.random.default_rng(1).uniform(0.0, 2.0, size=len(X))
    record = distances(X, centres)(X, w, Chunk(0, 0, len(X)))
    assert record.cost == pytest.approx(w @ squared(X, centres).min(axis=1))
    nearest = squared(X, centres).argmin(axis=1)
    np.testing.assert_allclose(record.counts, [w[nearest == 0].sum(), w[nearest == 1].sum()])


def test_draws_do_not_depend_on_the_chunks() -> None:
    X, centres = blobs(), np.array([[0.0, 0.0]])
    chunk_map = distances(X, centres, n_drawn=20)
    whole = chunk_map(X, None, Chunk(0, 0, 300))
    parts = chunk_map(X[:110], None, Chunk(0, 0, 110)).merge(chunk_map(X[110:], None, Chunk(1, 110, 190)))
    np.testing.assert_array_equal(whole.drawn.smallest().rows, parts.drawn.smallest().rows)
    assert whole.cost == pytest.approx(parts.cost)


def test_rows_are_drawn_in_proportion_to_their_squared_distance() -> None:
    X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    w = np.array([1.0, 4.0, 3.0, 9.0])
    centres = np.zeros((1, 2))
    counts = np.zeros(4)
    draws = 4000
    for seed in range(draws):
        drawn = distances(X, centres, n_drawn=1, seed=seed)(X, w, Chunk(0, 0, 4)).drawn.smallest().rows
        counts[(drawn[0] == X).all(axis=1).argmax()] += 1
    share = np.array([0.0, 4.0, 12.0, 0.0]) / 16.0
    np.testing.assert_allclose(counts / draws, share, atol=5 * np.sqrt(0.25 / draws))


@families
def test_nearest_statistics_are_those_of_the_clusters(family) -> None:
    X, centres = blobs(), np.array([[0.0, 0.0], [4.0, 4.0], [8.0, 8.0]])
    chunk_map = NearestStatisticsMap.about(family, centres, UNIT, OPTIONS)
    statistics = chunk_map(X, None, Chunk(0, 0, len(X)))
    labels = squared(X, centres).argmin(axis=1)
    clusters = [X[labels == k] for k in range(3)]
    np.testing.assert_allclose(statistics.weight, [len(rows) for rows in clusters])
    estimate = family.estimate(statistics, UNIT, 0.0)
    np.testing.assert_allclose(estimate.means, [rows.mean(axis=0) for rows in clusters])
    own = [np.cov(rows.T, bias=True) for rows in clusters]
    shared = sum(covariance * len(rows) for covariance, rows in zip(own, clusters, strict=True)) / len(X)
    expected = of_form(shared if family.tied else own, family.name)
    np.testing.assert_allclose(family.public(estimate.covariances, 2), expected, atol=1e-12)


def test_random_responsibilities_are_even_and_belong_to_the_rows() -> None:
    X = blobs()
    target = compile_about(get_family("full"), np.zeros((4, 2)), UNIT, OPTIONS)
    chunk_map = RandomResponsibilities(target, seed=3)
    whole = chunk_map(X, None, Chunk(0, 0, 300))
    parts = chunk_map(X[:70], None, Chunk(0, 0, 70)).merge(chunk_map(X[70:], None, Chunk(1, 70, 230)))
    np.testing.assert_allclose(whole.weight, parts.weight)
    assert whole.weight.sum() == pytest.approx(300)
    np.testing.assert_allclose(whole.weight, 75.0, rtol=0.2)


@pytest.mark.parametrize("name", CENTRES)
def test_every_way_of_placing_centres_gives_rows_or_means_of_rows(name) -> None:
    X = blobs()
    centres = CENTRES[name](X, np.ones(300), 3, np.random.RandomState(0))
    again = CENTRES[name](X, np.ones(300), 3, np.random.RandomState(0))
    np.testing.assert_array_equal(centres, again)
    assert centres.shape == (3, 2)
    assert (centres >= X.min(axis=0)).all()
    assert (centres <= X.max(axis=0)).all()


def test_k_means_is_as_good_as_scikit_learns() -> None:
    X = blobs(600)
    centres = kmeans(X, np.ones(600), 3, np.random.RandomState(0), n_init=4)
    peer = KMeans(3, n_init=4, random_state=0).fit(X)
    assert squared(X, centres).min(axis=1).sum() == pytest.approx(peer.inertia_, rel=1e-6)
