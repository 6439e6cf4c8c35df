"""The first read: moments, defects and a sample, whatever the chunks are."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgmm.mixture.chunks import Chunk
from dgmm.mixture.moments import Moments, MomentsMap
from dgmm.mixture.sampling import threshold_for


def read(X: np.ndarray, cuts: list[int], weights: np.ndarray | None = None, sample: int = 20) -> Moments:
    """Moments of X cut at some rows, merged from the left."""
    edges = [0, *sorted(cuts), len(X)]
    threshold = threshold_for(sample, len(X))
    chunk_map = MomentsMap(5, sample, threshold)
    merged = None
    for index, (start, end) in enumerate(pairwise(edges)):
        w = None if weights is None else weights[start:end]
        record = chunk_map(X[start:end], w, Chunk(index, start, end - start))
        merged = record if merged is None else merged.merge(record)
    assert merged is not None
    return merged


@st.composite
def cut_rows(draw):
    n, d = draw(st.integers(1, 60)), draw(st.sampled_from([1, 2, 4, 50]))
    seed = draw(st.integers(0, 10**6))
    offset = draw(st.sampled_from([0.0, 1e4, 1e8]))
    X = np.random.default_rng(seed).normal(size=(n, d)) + offset
    return X, draw(st.lists(st.integers(0, n), max_size=6)), seed


@given(cut_rows(), st.booleans())
def test_any_cuts_give_the_moments_of_numpy(rows, weighted) -> None:
    X, cuts, seed = rows
    w = np.random.default_rng(seed).integers(0, 3, size=len(X)).astype(float) if weighted else None
    moments = read(X, cuts, w)
    repeated = X if w is None else np.repeat(X, w.astype(int), axis=0)
    assert moments.n_rows == len(X)
    assert moments.total_weight == len(repeated)
    if len(repeated) == 0:
        assert moments.n_positive == 0
        return
    centred = repeated - repeated.mean(axis=0)
    scale = max(1.0, float(np.square(centred).sum()))
    np.testing.assert_allclose(moments.mean, repeated.mean(axis=0), rtol=1e-14, atol=1e-13)
    np.testing.assert_allclose(np.ldexp(moments.scatter, moments.exponent), centred.T @ centred, atol=1e-6 * scale)
    np.testing.assert_array_equal(moments.minimum, repeated.min(axis=0))
    np.testing.assert_array_equal(moments.maximum, repeated.max(axis=0))


@given(cut_rows(), st.integers(1, 30))
def test_the_sample_does_not_depend_on_the_cuts(rows, size) -> None:
    X, cuts, _ = rows
    whole, parts = read(X, [], sample=size).sample, read(X, cuts, sample=size).sample
    assert len(whole.rows) == min(size, len(X))
    np.testing.assert_array_equal(whole.keys, parts.keys)
    np.testing.assert_array_equal(whole.rows, parts.rows)


def test_the_sample_is_uniform() -> None:
    n, size, draws = 400, 40, 300
    X = np.arange(float(n))[:, None]
    counts = np.zeros(n)
    for seed in range(draws):
        sample = MomentsMap(seed, size, threshold_for(size, n))(X, None, Chunk(0, 0, n)).sample
        assert len(sample.rows) == size
        counts[sample.rows[:, 0].astype(int)] += 1
    expected = draws * size / n
    # Binomial counts: chi-squared with n degrees of freedom, within five standard deviations.
    statistic = np.square(counts - expected).sum() / (expected * (1 - size / n))
    assert abs(statistic - n) < 5 * np.sqrt(2 * n)


def test_rows_without_weight_are_not_sampled() -> None:
    X = np.arange(50.0)[:, None]
    w = (np.arange(50) % 2).astype(float)
    sample = read(X, [7, 30], w, sample=100).sample
    assert len(sample.rows) == 25
    assert (sample.rows % 2 == 1).all()


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_extreme_weights_neither_vanish_nor_overflow(scale) -> None:
    X = np.random.default_rng(0).normal(size=(100, 2))
    moments = read(X, [10, 50], np.full(100, scale))
    np.testing.assert_allclose(moments.covariance, np.cov(X.T, bias=True), rtol=1e-12)
    assert 0.0 < moments.weight < 1000.0


def test_weights_of_very_different_size_are_added_in_common_units() -> None:
    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    w = np.array([1.0, 2.0, 2.0**40, 2.0**41])
    moments = read(X, [2], w)
    assert moments.total_weight == w.sum()
    np.testing.assert_allclose(moments.mean, np.average(X, axis=0, weights=w))


@given(st.integers(1, 40), st.data())
def test_the_first_defect_is_found_where_it_is(n, data) -> None:
    X = np.zeros((n, 3))
    places = data.draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, 2)), min_size=1, unique=True))
    for row, feature in places:
        X[row, feature] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    cuts = data.draw(st.lists(st.integers(0, n), max_size=4))
    moments = read(X, cuts)
    row, feature = min(places)
    edges = np.cumsum(moments.lengths)
    chunk = int(np.searchsorted(edges, row, side="right"))
    defects = moments.defects if moments.missing is None else moments.defects.merge(moments.missing.defects)
    assert defects.count == len(places)
    assert (defects.chunk, defects.feature) == (chunk, feature)
    assert defects.row == row - (edges[chunk] - moments.lengths[chunk])


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_bad_weights_are_found(value) -> None:
    w = np.ones(20)
    w[[13, 17]] = value
    defects = read(np.zeros((20, 1)), [10], w).weight_defects
    assert (defects.count, defects.chunk, defects.row) == (2, 1, 3)


def test_an_overflowing_sum_is_no_defect() -> None:
    X = np.full((10, 1), 1.7e308)
    assert read(X[:2], []).defects.count == 0
