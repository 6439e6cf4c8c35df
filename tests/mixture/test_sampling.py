"""Keys of rows, rows drawn by keys, and rows drawn from mixtures."""

import numpy as np
import pytest
from cases import families, matrices, random_parameters
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from dgmm.mixture.sampling import Candidates, RowSample, draw, row_keys, uniforms


@given(st.integers(0, 2**64 - 1), st.integers(0, 10**12), st.integers(0, 50), st.integers(0, 50), st.integers(0, 9))
def test_a_key_depends_on_the_row_alone(seed, first, skip, count, stream) -> None:
    whole = row_keys(seed, first, skip + count, stream)
    np.testing.assert_array_equal(row_keys(seed, first + skip, count, stream), whole[skip:])


def test_keys_are_uniform_and_seeds_are_unlike() -> None:
    n = 20_000
    a, b, c = (uniforms(row_keys(seed, 0, n, stream)) for seed, stream in ((1, 0), (2, 0), (1, 1)))
    for sample in (a, b, c):
        assert kstest(sample, "uniform").pvalue > 1e-3
        assert ((sample > 0.0) & (sample < 1.0)).all()
        # Neighbouring rows are independent.
        assert abs(np.corrcoef(sample[1:], sample[:-1])[0, 1]) < 5 / np.sqrt(n)
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(n)
    assert abs(np.corrcoef(a, c)[0, 1]) < 5 / np.sqrt(n)


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=40), st.integers(0, 20), st.integers(0, 40))
def test_merged_samples_are_samples_of_the_whole(keys, size, cut) -> None:
    keys = np.array(keys, dtype=np.uint64)
    rows, weights = keys[:, None].astype(float), np.ones(len(keys))
    whole = RowSample.smallest(size, keys, rows, weights)
    parts = [Candidates.of(size, keys[part], rows[part], weights[part]) for part in (slice(cut), slice(cut, None))]
    merged = parts[0].merge(parts[1]).smallest()
    np.testing.assert_array_equal(merged.keys, np.sort(keys)[:size])
    np.testing.assert_array_equal(merged.rows, whole.rows)


def test_candidates_stay_few():
    """However many parts are merged, and whatever is the order of their keys."""
    size, n = 50, 4000
    keys = row_keys(3, 0, n)
    candidates = Candidates.of(size, keys[:0], np.empty((0, 1)), np.empty(0))
    for i in range(0, n, 40):
        part = slice(i, i + 40)
        own = Candidates.of(size, keys[part], keys[part, None].astype(float), np.ones(40))
        candidates = candidates.merge(own) if i % 80 else own.merge(candidates)
        assert sum(len(kept.keys) for kept in candidates.parts) <= 1.25 * size + 1000
    np.testing.assert_array_equal(candidates.smallest().keys, np.sort(keys)[:size])


@families
def test_drawn_rows_have_the_moments_of_their_components(family) -> None:
    parameters = random_parameters(family, 3, 2, seed=4)
    n = 60_000
    X, y = draw(family, parameters, n, np.random.RandomState(0))
    assert X.shape == (n, 2)
    assert (np.diff(y) >= 0).all()
    for k, covariance in enumerate(matrices(family, parameters)):
        rows = X[y == k]
        share = parameters.weights[k]
        assert len(rows) / n == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / n))
        error = 5 * np.sqrt(np.diagonal(covariance) / len(rows))
        assert (np.abs(rows.mean(axis=0) - parameters.means[k]) < error).all()
        bound = 8 * np.abs(covariance).max() / np.sqrt(len(rows))
        np.testing.assert_allclose(np.cov(rows.T), covariance, atol=bound)
