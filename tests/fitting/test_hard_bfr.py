"""One scan of hard clusters: no row is lost, rounds are those of the book, memory is bounded."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import OPTIONS, blobs
from sklearn.metrics import adjusted_rand_score
from storing import bits, stored

from dgmm.errors import DataError
from dgmm.fitting.driving import run
from dgmm.fitting.hard_bfr import HardScan
from dgmm.fitting.hard_scanning import HardSetup, HardState
from dgmm.fitting.progress import ScanProgress
from dgmm.fitting.start import ArrayPass

WIDE = np.array([1.0, 3.0])


def scan_of(k, *, init="k-means++", centres=None, **options) -> HardScan:
    given = {"n_init": 2, "threshold": 1.5, "tightness": 1.0, "batch_rows": 400, "buffer_rows": 100} | options
    return HardScan(HardSetup(k, init, centres, options=OPTIONS, **given))


def states(scan, X, weights=None, rows=None):
    """All states of a scan."""
    found, rows = [HardState.empty(X.shape[1], X.dtype)], rows or scan.setup.batch_rows
    for first in range(0, len(X), rows):
        part = X[first : first + rows]
        w = np.ones(len(part)) if weights is None else weights[first : first + rows]
        found.append(run(scan.round(found[-1]), ArrayPass(part, w)))
    return found


def totals(state):
    """Count, sum and sum of squares of all rows that a state stands for, in inner coordinates."""
    sets, held = state.begun, state.retained
    z, w = sets.coordinates.standardize(held.rows), held.weights
    both = sets.discard.joined(sets.compressed)
    own = {"weight": w.sum(), "first": w @ z, "second": w @ np.square(z)}
    return [np.ldexp(getattr(both, name).sum(axis=0) + rows, sets.exponent) for name, rows in own.items()]


@settings(max_examples=40)
@given(
    st.integers(1, 4), st.integers(1, 6), st.sampled_from([0.3, 0.8, 1.5, 4.0]), st.sampled_from([0.1, 1.0, 4.0]),
    st.sampled_from([0, 1, 30, 1000]), st.booleans(), st.sampled_from([0.0, 1e8]), st.integers(0, 10**6),
)  # fmt: skip
def test_the_three_sets_stand_for_exactly_all_rows(d, k, threshold, tightness, buffer, weighted, offset, seed) -> None:
    X = blobs(1000, d, k + 2, seed) + offset
    w = np.random.default_rng(seed).integers(0, 4, 1000) * 1.0 if weighted else None
    scan = scan_of(k, threshold=threshold, tightness=tightness, buffer_rows=buffer, batch_rows=150, seed=seed)
    found = states(scan, X, w)
    used = np.ones(1000) if w is None else w
    for state in (*found[2:], scan.ended(found[-1])):
        assert len(state.retained) <= buffer
        assert len(state.begun.compressed) <= 10 * k
    for state in (found[-1], scan.ended(found[-1])):
        z = state.begun.coordinates.standardize(X)
        expected = used.sum(), used @ z, used @ np.square(z)
        for own, whole in zip(totals(state), expected, strict=True):
            np.testing.assert_allclose(own, whole, rtol=1e-9, atol=1e-7 * used.sum())
        assert (state.n_rows, np.ldexp(state.weight, state.begun.exponent)) == (np.count_nonzero(used), used.sum())
    ended = scan.ended(found[-1])
    assert not len(ended.retained) + len(ended.begun.compressed)


def reference_round(state, X, k, threshold):
    """What the book says of a round, in the user's units: sums of the rows that join, and the others."""
    sets = state.begun
    means = sets.coordinates.restore(sets.clusters.means)
    variances = sets.clusters.covariances * sets.coordinates.scale**2
    joined, others = [[] for _ in range(k)], []
    for x in X:
        squared = [float(np.sum((x - m) ** 2 / v)) for m, v in zip(means, variances, strict=True)]
        nearest = int(np.argmin([s + float(np.log(v).sum()) for s, v in zip(squared, variances, strict=True)]))
        (joined[nearest] if squared[nearest] < threshold**2 * len(x) else others).append(x)
    return joined, others


@pytest.mark.parametrize("seed", range(5))
def test_a_round_is_that_of_the_book(seed) -> None:
    X = blobs(1000, 2, 3, seed)
    # So large a buffer that nothing is compressed.
    scan = scan_of(3, buffer_rows=10**6, threshold=1.0, seed=seed)
    before, after = states(scan, X)[1:3]
    joined, others = reference_round(before, X[400:800], 3, 1.0)
    counts = np.array([len(rows) for rows in joined])
    sums = np.array([np.sum(rows, axis=0) if rows else np.zeros(2) for rows in joined])
    old, new, coordinates = before.begun.discard, after.begun.discard, before.begun.coordinates
    again = len(others) - len(after.retained)  # rows that lay within a cluster as it was after the others joined
    assert 0 <= again <= 20
    assert new.weight.sum() - old.weight.sum() == counts.sum() + again
    if not again:
        np.testing.assert_allclose(new.weight - old.weight, counts)
        grown = new.first - old.first
        np.testing.assert_allclose(grown * coordinates.scale + counts[:, None] * coordinates.shift, sums, rtol=1e-9)
    assert {tuple(x) for x in after.retained.rows} <= {tuple(x) for x in others}


def test_the_order_of_the_rows_of_a_round_is_none_of_their_properties() -> None:
    X = blobs(1200, 3, 4, seed=3)
    scan = scan_of(4, buffer_rows=10**6)
    begun = states(scan, X[:400])[-1]
    order = np.random.default_rng(0).permutation(400)
    one, other = (run(scan.round(begun), ArrayPass(rows, np.ones(400))) for rows in (X[400:800], X[400:800][order]))
    np.testing.assert_allclose(one.begun.clusters.means, other.begun.clusters.means, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.begun.discard.second, other.begun.discard.second, rtol=1e-9)
    assert sorted(map(tuple, one.retained.rows)) == sorted(map(tuple, other.retained.rows))


@pytest.mark.parametrize("factor", [1.0, 1e-300, 1e300])
def test_weights_are_counts(factor) -> None:
    X, w = blobs(600, 2, 3, seed=2), np.random.default_rng(0).integers(0, 3, 600).astype(float)
    scan = scan_of(3, centres=X[:3].copy(), batch_rows=10**6)
    weighted = scan.ended(states(scan, X, w * factor)[-1]).begun
    repeated = scan.ended(states(scan, np.repeat(X, w.astype(int), axis=0))[-1]).begun
    if factor == 1.0:
        np.testing.assert_allclose(weighted.clusters.covariances, repeated.clusters.covariances, rtol=1e-8)
    np.testing.assert_allclose(weighted.clusters.means, repeated.clusters.means, rtol=0.1, atol=0.05)
    counts = np.ldexp(weighted.discard.weight, weighted.exponent) / factor
    np.testing.assert_allclose(counts, np.ldexp(repeated.discard.weight, repeated.exponent), atol=12.0)


@pytest.mark.parametrize(("shift", "unit"), [(0.0, 2.0**-100), (0.0, 2.0**100), (2.0**30, 1.0)])
def test_neither_offset_nor_unit_matter(shift, unit) -> None:
    X = np.round(blobs(1500, 3, 5, seed=4) * 2**12) / 2**12  # exact also at the offset
    labels = []
    for rows in (X, X * unit + shift):
        scan = scan_of(4, seed=3)
        ended = scan.ended(states(scan, rows)[-1])
        labels.append(ended.assigning(scan.setup).judge(rows)[0])
    assert adjusted_rand_score(*labels) > 0.999


def test_a_cluster_that_was_not_there_takes_the_place_of_one_that_is_split() -> None:
    rng = np.random.default_rng(1)
    early, late = rng.normal(size=(2000, 2)) * WIDE, rng.normal([40.0, 0.0], size=(800, 2))
    X = np.concatenate([early, late])
    scan = scan_of(2, batch_rows=500)
    found = states(scan, X)
    ended = scan.ended(found[-1])
    assert ended.n_moved >= 1
    np.testing.assert_allclose(sorted(ended.begun.discard.weight), [800.0, 2000.0], atol=10.0)


def test_a_wide_cluster_is_found_after_a_narrow_one() -> None:
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.normal([12.0, 0.0], 0.2, size=(1000, 2)), rng.normal(0.0, [5.0, 1.0], size=(3000, 2))])
    scan = scan_of(2, batch_rows=500)
    ended = scan.ended(states(scan, X)[-1]).begun
    np.testing.assert_allclose(sorted(ended.discard.weight), [1000.0, 3000.0], atol=30.0)


@pytest.mark.parametrize("threshold", [1.0, 1.5])
def test_widths_do_not_shrink_for_rows_that_lie_outside_the_radius(threshold) -> None:
    X = np.random.default_rng(0).normal(size=(40_000, 2)) * WIDE
    scan = scan_of(1, batch_rows=500, threshold=threshold)
    state = states(scan, X)[-1]
    widths = np.sqrt(state.begun.clusters.covariances[0]) * state.begun.coordinates.scale
    np.testing.assert_allclose(widths, WIDE, rtol=0.03)


def test_an_empty_cluster_goes_to_rows_of_none() -> None:
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.normal(size=(500, 2)), rng.normal([30.0, 0.0], size=(500, 2))])
    scan = scan_of(2, centres=np.array([[0.0, 0.0], [500.0, 500.0]]), batch_rows=500)
    begun, after = states(scan, X)[1:]
    assert begun.begun.discard.weight.min() == 0.0
    np.testing.assert_allclose(scan.ended(after).begun.discard.weight, [500.0, 500.0], atol=5.0)


@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize(
    "X",
    [np.zeros((50, 2)), np.repeat([[0.0, 1.0], [5.0, 1.0]], 25, axis=0), np.arange(10.0).reshape(5, 2)],
    ids=["equal", "two points", "as many as clusters"],
)
def test_degenerate_rows_have_clusters(X, init) -> None:
    scan = scan_of(5, init=init)
    ended = scan.ended(states(scan, X)[-1]).begun
    assert ended.discard.weight.sum() == len(X)
    assert np.isfinite(ended.clusters.means).all()
    assert (ended.clusters.covariances > 0.0).all()
    assert len(np.unique(scan.ended(states(scan, X)[-1]).assigning(scan.setup).judge(X)[0])) == len(
        np.unique(X, axis=0)
    )


def test_too_few_rows_and_overflow_are_refused() -> None:
    scan = scan_of(3)
    with pytest.raises(DataError, match=r"2 sample\(s\).*n_clusters=3"):
        scan.finish(states(scan, np.zeros((2, 2)))[-1])
    X = np.ones((100, 2))
    X[::2, 1] = 1e200
    with pytest.raises(DataError, match="the variance of feature 1 overflows float64; scale the input data"):
        scan.finish(states(scan, X)[-1])
    late = np.concatenate([blobs(400, 2, 3, seed=0), X])
    with pytest.raises(DataError, match="feature 1 overflows"):
        states(scan, late)


def test_a_scan_from_stored_states_is_the_same_scan() -> None:
    X = blobs(2000, 3, 6, seed=5).astype(np.float32)
    scan = scan_of(5, threshold=0.8)
    for before, after in zip(states(scan, X)[:-1], states(scan, X)[1:], strict=True):
        progress = ScanProgress(7, before, 1, 2)
        back = stored(progress)
        assert bits(back) == bits(progress)
        first = before.n_rounds * 400
        again = run(scan.round(back.scan), ArrayPass(X[first : first + 400], np.ones(400)))
        assert bits(again) == bits(after)
    assert bits(replace(after, n_moved=0)) == bits(replace(again, n_moved=0))
