"""Rows that are set aside, and means compared on them."""

from itertools import pairwise

import numpy as np
import pytest
from cases import random_parameters
from hypothesis import given
from hypothesis import strategies as st
from reference import log_joint, make_blobs
from scipy.special import logsumexp

from dgmm.mixture.chunks import Chunk
from dgmm.mixture.compiled import KernelOptions, compile_mixture
from dgmm.mixture.families import FAMILIES
from dgmm.mixture.held_out import Comparison, ComparisonMap, CountMap, HeldOut
from dgmm.mixture.moments import MomentsMap

cuts = st.lists(st.integers(0, 200), max_size=6).map(lambda inner: sorted({0, 200, *inner}))


def chunks(bounds):
    return [Chunk(i, a, b - a) for i, (a, b) in enumerate(pairwise(bounds))]


@given(cuts, st.integers(0, 2**32), st.floats(0.01, 0.99))
def test_chunks_do_not_change_which_rows_are_set_aside(bounds, seed, share):
    held_out = HeldOut(seed, share)
    whole = held_out.rows(Chunk(0, 0, 200))
    assert np.array_equal(np.concatenate([held_out.rows(chunk) for chunk in chunks(bounds)]), whole)


def test_the_share_is_kept_and_shares_nest():
    small, large = (HeldOut(7, share).rows(Chunk(0, 0, 200_000)) for share in (0.1, 0.3))
    # Binomial: a standard deviation is 134 and 205 rows.
    assert abs(small.sum() - 20_000) < 5 * 134
    assert abs(large.sum() - 60_000) < 5 * 205
    assert not (small & ~large).any()


@given(cuts, st.booleans())
def test_the_two_parts_are_all_the_rows(bounds, weighed):
    rng = np.random.default_rng(len(bounds))
    X, w = rng.normal(size=(200, 2)), rng.integers(0, 3, size=200).astype(float) if weighed else None
    held_out = HeldOut(3, 0.4)
    held = held_out.rows(Chunk(0, 0, 200))
    for part, chosen in ((held_out.train(MomentsMap(0, 50)), ~held), (held_out.test(MomentsMap(0, 50)), held)):
        assert part.name == "moments"
        found = None
        for chunk in chunks(bounds):
            at = slice(chunk.first_row, chunk.first_row + chunk.n_rows)
            record = part(X[at], None if w is None else w[at], chunk)
            found = record if found is None else found.merge(record)
        own = np.ones(chosen.sum()) if w is None else w[chosen]
        assert found.n_rows == 200
        assert found.n_positive == np.count_nonzero(own)
        np.testing.assert_allclose(found.total_weight, own.sum())
        np.testing.assert_allclose(found.mean, np.average(X[chosen], axis=0, weights=own), rtol=1e-12, atol=1e-14)


def test_bad_weights_are_found_in_either_part():
    X, w = np.zeros((50, 1)), np.full(50, -1.0)
    moments = HeldOut(0, 0.5).train(MomentsMap(0, 5))(X, w, Chunk(0, 0, 50))
    assert moments.weight_defects.count == 50


def mixtures(d=2):
    compiled = []
    for seed, family in enumerate(FAMILIES.values()):
        if family.name not in ("full", "tied", "diag", "spherical"):
            continue
        parameters = random_parameters(family, 3, d, seed)
        coordinates = family.own_coordinates(parameters)
        options = KernelOptions(64, {"float32": 1e-3, "float64": 1e-9})
        inner = family.to_inner(parameters, coordinates)
        compiled.append(
            (compile_mixture(family, inner, coordinates, np.dtype(float), options, whole_density=True), parameters)
        )
    return compiled


def joint(X, family, parameters):
    public = family.public(parameters.covariances, X.shape[1])
    return log_joint(X, parameters.weights, parameters.means, public, family.name)


@pytest.mark.parametrize("less_entropy", [False, True])
@pytest.mark.parametrize("weighed", [False, True])
def test_means_and_standard_errors_are_those_of_numpy(less_entropy, weighed):
    X = make_blobs(5000, 2, 3, seed=0)  # more than a block
    w = np.arange(5000) % 4 if weighed else None
    made = mixtures()
    chunk_map = ComparisonMap(tuple(compiled for compiled, _ in made), less_entropy)
    found = chunk_map(X, None if w is None else w.astype(float), Chunk(0, 0, 5000))
    repeated = X if w is None else np.repeat(X, w, axis=0)
    values = []
    for compiled, parameters in made:
        logits = joint(repeated, compiled.family, parameters)
        scores = logsumexp(logits, axis=1)
        r = np.exp(logits - scores[:, None])
        entropy = -np.sum(r * np.log(np.maximum(r, 1e-300)), axis=1)
        values.append(scores - entropy if less_entropy else scores)
    values = np.stack(values)
    n = values.shape[1]
    assert found.n_rows == (5000 if w is None else np.count_nonzero(w))
    np.testing.assert_allclose(found.mean, values.mean(axis=1), rtol=1e-9)
    np.testing.assert_allclose(found.standard_errors(), values.std(axis=1, ddof=1) / np.sqrt(n), rtol=1e-8)
    differences = values - values[2]
    np.testing.assert_allclose(
        found.difference_errors(2), differences.std(axis=1, ddof=1) / np.sqrt(n), rtol=1e-7, atol=1e-9
    )


@given(cuts)
def test_comparisons_of_parts_merge_to_that_of_all(bounds):
    X = make_blobs(200, 2, 3, seed=1)
    chunk_map = ComparisonMap(tuple(compiled for compiled, _ in mixtures()))
    whole, found = chunk_map(X, None, Chunk(0, 0, 200)), None
    for chunk in chunks(bounds):
        record = chunk_map(X[chunk.first_row : chunk.first_row + chunk.n_rows], None, chunk)
        found = record if found is None else found.merge(record)
    assert (found.n_rows, found.weight) == (whole.n_rows, whole.weight)
    np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(found.scatter, whole.scatter, rtol=1e-10, atol=1e-9)


def test_one_row_has_no_standard_error():
    one = Comparison(1.0, 1, np.array([-3.0]), np.zeros((1, 1)))
    assert np.isnan(one.standard_errors()).all()


def test_rows_are_counted_chunk_by_chunk():
    counted = CountMap()(np.zeros((6, 1)), None, Chunk(0, None, 6, (4, 2)))
    counted = counted.merge(CountMap()(np.zeros((3, 1)), None, Chunk(2, None, 3)))
    assert counted.lengths.tolist() == [4, 2, 3]
