"""Marginals of a mixture, and the statistics of all features that they make of some."""

import itertools
import pickle

import numpy as np
import pytest
from cases import any_family, families, matrices, random_parameters
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from dgmm.mixture.chunks import Chunk
from dgmm.mixture.compiled import KernelOptions, compile_many, compile_mixture
from dgmm.mixture.imputing import Imputation
from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.marginal import MarginalMixture, e_step
from dgmm.mixture.missing import Missing, weights_without
from dgmm.mixture.moments import MomentsMap
from dgmm.mixture.parameters import Coordinates
from dgmm.mixture.patterns import Patterns, compute_rows

CENTRED, DOT = {"float32": -1.0, "float64": -1.0}, {"float32": 1e9, "float64": 1e9}
F8 = np.dtype(np.float64)


def coordinates(family, d, seed):
    rng = np.random.default_rng(seed)
    scale = np.tril(rng.normal(size=(d, d)), -1) + np.diag(rng.uniform(0.5, 2.0, d))
    if len(family.form.shape(d)) != 2:
        scale = np.diagonal(scale) if family.form.shape(d) == (d,) else np.full(d, 1.7)
    return Coordinates(rng.normal(size=d), np.ascontiguousarray(scale))


def mixture(family, k, d, seed, tolerance=DOT, dtype=F8):
    parameters, options = random_parameters(family, k, d, seed), KernelOptions(64, tolerance)
    compiled = compile_mixture(family, parameters, coordinates(family, d, seed), dtype, options)
    return MarginalMixture.of(compiled, parameters, dtype, options)


def gappy(n, d, seed, share=0.4):
    rng = np.random.default_rng(seed)
    X = 2.0 * rng.normal(size=(n, d))
    return np.where(rng.random((n, d)) < share, np.nan, X)


def expected(compiled, X, w):
    """Weights, means and covariances of the components, row by row, in inner coordinates; and the log-likelihood."""
    family, inner, c = compiled.family, compiled.parameters, compiled.coordinates
    k, d = inner.means.shape
    user = family.to_user(inner, c)
    own, total = matrices(family, user), 0.0
    weight, first, second = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d))
    for x, share in zip(X, w, strict=True):
        o, m = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
        if not len(o):
            continue
        joint = np.log(user.weights) + [
            multivariate_normal(user.means[i][o], own[i][np.ix_(o, o)]).logpdf(x[o]) for i in range(k)
        ]
        total += share * logsumexp(joint)
        for i, r in enumerate(share * np.exp(joint - logsumexp(joint))):
            slope = own[i][np.ix_(m, o)] @ np.linalg.inv(own[i][np.ix_(o, o)])
            filled, spread = x.copy(), np.zeros((d, d))
            filled[m] = user.means[i][m] + slope @ (x[o] - user.means[i][o])
            spread[np.ix_(m, m)] = own[i][np.ix_(m, m)] - slope @ own[i][np.ix_(o, m)]
            weight[i] += r
            first[i] += r * (filled - c.shift)
            second[i] += r * (np.outer(filled - c.shift, filled - c.shift) + spread)
    inverse = c.inverse_scale if c.is_triangular else np.diag(c.inverse_scale)
    return weight, first @ inverse.T, inverse @ second @ inverse.T, total


def check_statistics(compiled, X, w):
    family, reference = compiled.family, compiled.reference
    found = compiled.statistics(X, w)
    weight, first, second, total = expected(compiled, X, w)
    second -= first[:, :, None] * reference[:, None] + reference[:, :, None] * first[:, None]
    second += weight[:, None, None] * reference[:, :, None] * reference[:, None]
    packed = np.stack([family.form.packed_matrix(own) for own in second])
    packed = packed.sum(axis=0, keepdims=True) if family.tied else packed
    there = ~np.isnan(X).all(axis=1)
    np.testing.assert_allclose(found.weight, weight, rtol=1e-10)
    np.testing.assert_allclose(found.first, first - weight[:, None] * reference, atol=1e-8)
    np.testing.assert_allclose(found.second, packed, atol=1e-8)
    assert found.log_likelihood == pytest.approx(total, rel=1e-11)
    assert (found.n_rows, found.total_weight) == (np.count_nonzero(there), pytest.approx(w[there].sum()))


@families
@pytest.mark.parametrize("tolerance", [CENTRED, DOT], ids=["centred", "dot"])
def test_statistics_are_those_of_rows_filled_in_by_expectation(family, tolerance):
    check_statistics(mixture(family, 3, 4, 1, tolerance), gappy(40, 4, 2), np.random.default_rng(3).random(40))


@settings(max_examples=40)
@given(family=any_family, k=st.integers(1, 3), d=st.integers(1, 5), seed=st.integers(0, 999), centred=st.booleans())
def test_any_mixture(family, k, d, seed, centred):
    tolerance = CENTRED if centred else {"float32": 1e-6, "float64": 30e-16}  # some are centred, some are not
    check_statistics(mixture(family, k, d, seed, tolerance), gappy(12, d, seed), np.random.default_rng(seed).random(12))


@families
def test_rows_of_float32(family):
    X, w = gappy(50, 4, 4).astype(np.float32), np.random.default_rng(3).random(50)
    narrow = mixture(family, 2, 4, 5, {"float32": 1e-2, "float64": 1e-9}, np.dtype(np.float32)).statistics(X, w)
    wide = mixture(family, 2, 4, 5).statistics(X.astype(np.float64), w)
    np.testing.assert_allclose(narrow.second, wide.second, rtol=1e-4, atol=1e-3)
    assert narrow.log_likelihood == pytest.approx(wide.log_likelihood, rel=1e-5)


@families
def test_a_component_without_weight(family):
    compiled = mixture(family, 3, 4, 1)
    parameters = compiled.parameters.reweighted(np.array([0.4, 0.0, 0.6]))
    whole = compile_mixture(family, parameters, compiled.coordinates, F8, compiled.options)
    found = MarginalMixture.of(whole, parameters, F8, compiled.options).statistics(gappy(30, 4, 1), None)
    assert found.weight[1] == 0.0
    assert np.isfinite(found.second).all()


@families
def test_how_many_are_worked_on_together_is_rounding(family, monkeypatch):
    X = gappy(200, 5, 6)
    found = []
    for together, kept in ((2**20, 2**24), (1, 2**24), (2**9, 0)):
        monkeypatch.setattr("dgmm.mixture.marginal._TOGETHER", together)
        monkeypatch.setattr("dgmm.mixture.marginal._KEPT", kept)
        compiled = mixture(family, 2, 5, 3)
        found.append(compiled.statistics(X, None))
        assert bool(compiled._marginals) == bool(kept)
    for other in found[1:]:
        np.testing.assert_allclose(other.second, found[0].second, rtol=1e-12, atol=1e-12)


@families
def test_marginals_are_made_anew_in_another_process(family):
    compiled, X = mixture(family, 2, 4, 3), gappy(60, 4, 6)
    here = e_step(compiled)(X, None, Chunk(0, 0, 60))
    copied = pickle.loads(pickle.dumps(e_step(compiled)))
    assert len(pickle.dumps(e_step(compiled))) < 20_000
    there = copied(X, None, Chunk(0, 0, 60))
    np.testing.assert_array_equal(here.second, there.second)


@settings(max_examples=25)
@given(family=any_family, k=st.integers(1, 4), d=st.integers(2, 6), seed=st.integers(0, 99))
def test_who_is_made_together_changes_no_bit(family, k, d, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, d))
    observed = np.zeros((20, d), dtype=bool)
    np.put_along_axis(observed, rng.random((20, d)).argpartition(n - 1, axis=1)[:, :n], values=True, axis=1)
    compiled = mixture(family, k, d, seed)
    for own, there in zip(compiled._make(observed), observed, strict=True):
        (alone,) = compiled._make(there[None])
        for name in ("offset", "slope", "covariance"):
            np.testing.assert_array_equal(getattr(own, name), getattr(alone, name))
        for a, b in zip(own.compiled.groups, alone.compiled.groups, strict=True):
            assert all(np.array_equal(value, getattr(b, name)) for name, value in vars(a).items())


@families
def test_many_are_compiled_as_each_is_alone(family):
    options, d = KernelOptions(64, {"float32": 3e-6, "float64": 1e-9}), 3
    parameters = [random_parameters(family, 4, d, seed) for seed in range(5)]
    places = [coordinates(family, d, seed) for seed in range(5)]
    for dtype in (np.float32, np.float64):
        together = compile_many(family, parameters, places, np.dtype(dtype), options)
        for own, place, found in zip(parameters, places, together, strict=True):
            alone = compile_mixture(family, own, place, np.dtype(dtype), options)
            np.testing.assert_array_equal(found.reference, alone.reference)
            for a, b in zip(found.groups, alone.groups, strict=True):
                assert a.dtype == b.dtype
                for name, value in vars(a).items():
                    np.testing.assert_allclose(value, getattr(b, name), rtol=1e-6, atol=1e-7)


@given(
    d=st.sampled_from([1, 3, 8, 9, 20, 40, 70, 140]),
    n=st.integers(1, 30),
    most=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_rows_are_grouped_by_what_is_missing(d, n, most, seed):
    X = gappy(n, d, seed, 0.5)
    X = X[np.random.default_rng(seed).integers(0, max(n // 3, 1), n)]
    X[::5] = 1.0
    seen = []
    for some in Patterns.of(X, most):
        assert len(some.observed) <= most
        for observed, (there, where) in zip(some.observed, some.groups(), strict=True):
            rows = some.rows[where]
            np.testing.assert_array_equal(rows, np.flatnonzero((np.isnan(X) == ~observed).all(axis=1)))
            np.testing.assert_array_equal(there, X[np.ix_(rows, observed)])
            seen.append(observed)
    assert len({own.tobytes() for own in seen}) == len(seen)
    counts = [int(own.sum()) for own in seen]
    assert counts == sorted(counts, reverse=True)


@families
def test_densities_are_those_of_the_marginals(family):
    compiled, X = mixture(family, 3, 4, 8), gappy(40, 4, 9, 0.5)
    X[0] = np.nan
    scores = compute_rows(BlockKernel.score_samples, compiled, X, F8)
    shares = compute_rows(BlockKernel.responsibilities, compiled, X, F8)
    labels = compute_rows(BlockKernel.labels, compiled, X, np.dtype(np.int64))
    user = family.to_user(compiled.parameters, compiled.coordinates)
    own = matrices(family, user)
    for i, x in enumerate(X):
        o = np.flatnonzero(~np.isnan(x))
        if not len(o):
            assert np.isnan(scores[i])
            assert np.isnan(shares[i]).all()
            assert labels[i] == -1
            continue
        joint = np.log(user.weights) + [
            multivariate_normal(mean[o], square[np.ix_(o, o)]).logpdf(x[o])
            for mean, square in zip(user.means, own, strict=True)
        ]
        assert scores[i] == pytest.approx(logsumexp(joint), rel=1e-10)
        np.testing.assert_allclose(shares[i], np.exp(joint - logsumexp(joint)), atol=1e-12)
        assert labels[i] == np.argmax(joint)


# -- the first read -----------------------------------------------------------------------------


def read(X, cuts, w=None):
    edges, moments = [0, *sorted(cuts), len(X)], None
    for i, (a, b) in enumerate(itertools.pairwise(edges)):
        own = MomentsMap(7, 10)(X[a:b], None if w is None else w[a:b], Chunk(i, a, b - a))
        moments = own if moments is None else moments.merge(own)
    return moments


@given(
    seed=st.integers(0, 999),
    share=st.sampled_from([0.01, 0.3, 0.9]),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    weighted=st.booleans(),
    offset=st.sampled_from([0.0, 1e6]),
)
def test_moments_of_what_is_there(seed, share, cuts, weighted, offset):
    X = gappy(60, 3, seed, share) + offset
    w = np.random.default_rng(seed).integers(0, 3, 60) * 1.5 if weighted else np.ones(60)
    w[:2] = 1.0
    X[:2] = offset + np.arange(6.0).reshape(2, 3)
    moments = read(X, cuts, w if weighted else None)
    whole, nan = moments.whole(), np.isnan(X)
    assert whole.total_weight == pytest.approx(w.sum())
    assert whole.n_positive == np.count_nonzero(w)
    for j in range(3):
        values, own = X[~nan[:, j], j], w[~nan[:, j]]
        mean = np.average(values, weights=own)
        assert whole.mean[j] == pytest.approx(mean, rel=1e-12, abs=1e-9)
        variance = np.average((values - mean) ** 2, weights=own)
        assert whole.covariance[j, j] == pytest.approx(variance, rel=1e-9)
        assert (whole.minimum[j], whole.maximum[j]) == (values[own > 0].min(), values[own > 0].max())
    assert (np.linalg.eigvalsh(whole.covariance) > -1e-9).all()
    if nan.any():
        np.testing.assert_array_equal(moments.missing.counts, nan.sum(axis=0))
        assert moments.missing.n_dropped == np.count_nonzero(nan[w == 0.0].any(axis=1))
        assert moments.missing.defects.count == nan[w > 0.0].sum()
    else:
        assert moments.missing is None
    assert len(moments.sample.rows) == min(10, np.count_nonzero(w))


def test_weights_of_any_size():
    X = gappy(60, 3, 1)
    for factor in (2.0**-900, 2.0**900):
        moments, plain = read(X, [20], np.full(60, factor)).whole(), read(X, [20]).whole()
        np.testing.assert_allclose(moments.covariance, plain.covariance, rtol=1e-12)
        assert moments.total_weight == 60 * factor


def test_weights_of_any_sizes():
    X = gappy(60, 3, 1)
    w = np.geomspace(1e-300, 1e300, 60)
    moments = read(X, [20, 40], w)
    assert moments.n_positive == 60
    there = ~np.isnan(X[-1])
    np.testing.assert_allclose(moments.whole().mean[there], X[-1, there], rtol=1e-6)
    assert np.isfinite(moments.whole().covariance).all()


def test_missing_values_of_nothing_merge():
    none = Missing.of(np.ones((2, 2)), np.zeros((2, 2), bool), np.ones(2), Chunk(0, 0, 2))
    some = Missing.of(np.full((1, 2), np.nan), np.ones((1, 2), bool), np.ones(1), Chunk(1, 2, 1))
    both = none.merge(some)
    assert both.counts.tolist() == [1, 1]
    assert both.weight.tolist() == [0.0, 0.0]


def test_infinite_values_are_not_dropped():
    X = np.array([[np.nan, np.inf], [np.nan, 1.0], [1.0, 1.0]])
    assert weights_without(X, None, "drop").tolist() == [1.0, 0.0, 1.0]
    assert weights_without(X, np.full(3, 2.0), "drop").tolist() == [2.0, 0.0, 2.0]
    assert weights_without(X, None, "raise") is None


# -- starts -------------------------------------------------------------------------------------


def test_filled_in_values_are_conditional_means():
    X = gappy(30, 3, 4)
    mean, root = np.array([1.0, -2.0, 5.0]), np.random.default_rng(0).normal(size=(3, 3))
    covariance = root @ root.T
    filled = Imputation(mean, covariance)(X)
    for x, found in zip(X, filled, strict=True):
        o, m = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
        slope = covariance[np.ix_(m, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
        np.testing.assert_array_equal(found[o], x[o])
        np.testing.assert_allclose(found[m], mean[m] + slope @ (x[o] - mean[o]), rtol=1e-6, atol=1e-6)
