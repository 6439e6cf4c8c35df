"""Hard clusters of one scan: the same however rows arrive, each chunk read once, used as scikit-learn's are."""

import pickle
import threading
import warnings

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from reference import make_blobs
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from dgmm import BFRKMeans, Checkpoint
from dgmm.errors import CheckpointMismatchError, DataError, NotFittedError, ParameterError
from dgmm.fitting.events import FitResumed, RoundFinished

SIZES = {"batch_rows": 1000, "buffer_rows": 300, "random_state": 0}
ARRAYS = ("cluster_centers_", "cluster_variances_", "cluster_counts_", "inertia_", "n_rows_", "n_iter_")
NOT_CLAIMED = {
    "check_dtype_object": "numbers in an object array are refused, with advice, not converted",
    "check_array_api_input": "needs a setting of scipy's",
}


def rows(n=6000, chunk=500, seed=1, d=3, k=4, dtype=np.float64):
    X = make_blobs(n, d, k, seed=seed).astype(dtype)
    return da.from_array(X, chunks=(chunk, d)).map_blocks(lambda block: block)


def same_bits(model, other):
    sets = ("retained_set_", "discard_set_", "compressed_set_")
    return all(np.array_equal(getattr(model, name), getattr(other, name)) for name in ARRAYS) and all(
        np.array_equal(value, getattr(other, name)[key], equal_nan=True)
        for name in sets
        for key, value in getattr(model, name).items()
    )


def checks_that_apply():
    for own, check in estimator_checks_generator(BFRKMeans(3)):
        name = getattr(check, "func", check).__name__
        if name not in NOT_CLAIMED:
            yield pytest.param(own, check, id=name)


@pytest.mark.parametrize(("estimator", "check"), list(checks_that_apply()))
def test_scikit_learns_own_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_clusters_of_unequal_width_are_found(dtype, weighted):
    rng = np.random.default_rng(2)
    truth = rng.choice(4, 8000, p=[0.4, 0.3, 0.2, 0.1])
    centres = np.array([[0.0, 0.0, 0.0], [14.0, 0.0, 3.0], [0.0, 12.0, 0.0], [8.0, 8.0, 9.0]])
    widths = np.array([[4.0, 0.3, 1.0], [0.2, 3.0, 2.0], [0.5, 0.5, 0.5], [1.0, 1.0, 3.0]])
    X = (centres[truth] + widths[truth] * rng.normal(size=(8000, 3))).astype(dtype)
    w = rng.integers(0, 3, 8000) if weighted else None
    scan = BFRKMeans(4, **SIZES).fit(X, sample_weight=w)
    assert adjusted_rand_score(truth, scan.labels_) > 0.99
    assert scan.cluster_centers_.dtype == scan.transform(X).dtype == dtype
    order = ((scan.cluster_centers_[:, None] - centres) ** 2).sum(axis=2).argmin(axis=0)
    np.testing.assert_allclose(scan.cluster_centers_[order], centres, atol=0.35)
    np.testing.assert_allclose(np.sqrt(scan.cluster_variances_[order]), widths, rtol=0.15)
    total = 8000 if w is None else w.sum()
    assert scan.cluster_counts_.sum() == pytest.approx(total)
    assert sum(part["weights"].sum() for part in (scan.discard_set_, scan.compressed_set_, scan.retained_set_)) == (
        pytest.approx(total)
    )
    # The inertia of the sums is that of rows as they joined, before the last ones moved the means a little.
    assert scan.inertia_ == pytest.approx(-scan.score(X, sample_weight=w), rel=0.01)


def test_rounds_have_fifty_thousand_rows_by_default():
    events = []
    BFRKMeans(1, random_state=0).fit(np.random.default_rng(0).normal(size=(120_000, 1)), callbacks=events.append)
    assert [event.n_rows for event in events if isinstance(event, RoundFinished)] == [60_000, 120_000]


def test_every_chunk_is_read_once():
    read, lock = [], threading.Lock()

    def note(block, block_info=None):
        with lock:
            read.append(block_info[0]["chunk-location"][0])
        return block

    scan = BFRKMeans(4, **SIZES).fit(rows().map_blocks(note, dtype=float, meta=np.empty((0, 0))))
    assert sorted(read) == list(range(12))
    assert (scan.cluster_centers_.shape, scan.inertia_ > 0.0) == ((4, 3), True)
    lazily = scan.labels_
    assert len(read) == 12
    assert (lazily.chunks[0], lazily.compute().shape) == ((500,) * 12, (6000,))
    assert len(read) == 24


def test_what_is_asked_of_rows_is_lazy_where_they_are(computes):
    X = rows()
    scan = BFRKMeans(4, **SIZES).fit(X.compute())
    computes.clear()
    lazily = scan.predict(X), scan.transform(X)
    assert not computes
    own = scan.predict(X.compute()), scan.transform(X.compute())
    for a, b in zip(lazily, own, strict=True):
        np.testing.assert_array_equal(a.compute(), b)
    assert [part.dtype for part in own] == [np.int64, np.float64]


def test_distances_and_the_rule_of_the_nearest():
    X = rows().compute()
    scan = BFRKMeans(4, **SIZES).fit(X)
    expected = np.stack([
        np.sqrt((np.square(X - centre) / variances).sum(axis=1))
        for centre, variances in zip(scan.cluster_centers_, scan.cluster_variances_, strict=True)
    ], axis=1)  # fmt: skip
    np.testing.assert_allclose(scan.transform(X), expected, rtol=1e-9)
    widths = np.log(scan.cluster_variances_).sum(axis=1)
    np.testing.assert_array_equal(scan.predict(X), (expected**2 + widths).argmin(axis=1))
    squares = np.square(X - scan.cluster_centers_[scan.predict(X)]).sum()
    assert scan.score(X) == pytest.approx(-squares)
    assert scan.score(da.from_array(X, chunks=(700, 3))) == pytest.approx(-squares)


def test_the_scheduler_changes_no_bit(client):
    X = rows()
    with dask.config.set(scheduler="threads"):
        here = BFRKMeans(4, **SIZES).fit(X)
    for scheduler, workers in (("synchronous", 1), ("threads", 3)):
        with dask.config.set(scheduler=scheduler, num_workers=workers):
            assert same_bits(BFRKMeans(4, **SIZES).fit(X), here), scheduler
    with dask.config.set(scheduler="distributed"):
        assert same_bits(BFRKMeans(4, **SIZES).fit(X), here)


@pytest.mark.parametrize("threshold", [0.7, 1.5])
def test_batches_that_arrive_make_the_state_of_a_fit(threshold):
    X = rows(chunk=1000)
    whole = BFRKMeans(4, threshold=threshold, **SIZES).fit(X)
    arriving = BFRKMeans(4, threshold=threshold, **SIZES)
    for number in range(X.numblocks[0]):
        batch = X.blocks[number].compute() if number % 2 else X.blocks[number]
        arriving.partial_fit(batch)
    assert same_bits(arriving, whole)
    assert arriving.labels_.shape == (1000,)  # of the last batch
    later = BFRKMeans(4, threshold=threshold, **SIZES).fit(X[:4000]).partial_fit(X[4000:])
    assert same_bits(later, whole)


def test_rows_may_arrive_one_by_one():
    X = rows(n=1200).compute()
    scan = BFRKMeans(4, **SIZES)
    for row in X[:3]:
        scan.partial_fit(row[None])
    assert scan.n_rows_ == 3
    with pytest.raises(NotFittedError, match="has seen 3 rows for n_clusters=4"):
        scan.predict(X)
    for row in X[3:10]:
        scan.partial_fit(row[None])
    assert scan.predict(X).shape == (1200,)  # ten rows are enough for clusters, if not for good ones
    scan.partial_fit(X[10:])
    whole = scan.cluster_centers_
    scan.partial_fit(X[:1])
    assert scan.n_rows_ == 1201
    np.testing.assert_allclose(scan.cluster_centers_, whole, atol=0.1)
    assert scan.cluster_counts_.sum() == 1201.0


def test_unknown_chunk_lengths():
    X = rows(chunk=1000)
    assert same_bits(BFRKMeans(4, **SIZES).fit(X[X[:, 0] > -1e9]), BFRKMeans(4, **SIZES).fit(X))


class StopError(Exception):
    pass


def test_a_scan_goes_on_from_its_last_round(tmp_path):
    X = rows(n=10_000)
    expected = BFRKMeans(4, **SIZES).fit(X)
    place = Checkpoint(tmp_path / "place", interval=0.0)

    def stop(event):
        if isinstance(event, RoundFinished) and event.round == stop.at:
            raise StopError

    for stop.at in (1, 5, 9):
        with pytest.raises(StopError) as caught:
            BFRKMeans(4, **SIZES).fit(X, checkpoint=place, callbacks=stop)
        assert "run again to go on" in caught.value.__notes__[0]
    events = []
    model = BFRKMeans(4, **SIZES).fit(X, checkpoint=place, callbacks=events.append)
    assert same_bits(model, expected)
    assert min(event.round for event in events if isinstance(event, RoundFinished)) >= 9
    events.clear()
    assert same_bits(BFRKMeans(4, **SIZES).fit(X, checkpoint=place, callbacks=events.append), expected)
    assert [type(event) for event in events] == [FitResumed]
    with pytest.raises(CheckpointMismatchError, match=r"threshold was 1.5 and is 2.0"):
        BFRKMeans(4, threshold=2.0, **SIZES).fit(X, checkpoint=place)


def test_the_checkpoint_of_given_centres_knows_them(tmp_path):
    X = rows()
    centres = X[:4].compute()
    BFRKMeans(4, init=centres, **SIZES).fit(X, checkpoint=tmp_path / "place")
    with pytest.raises(CheckpointMismatchError, match="means was"):
        BFRKMeans(4, init=centres + 1.0, **SIZES).fit(X, checkpoint=tmp_path / "place")


def test_given_centres_keep_their_order():
    X = make_blobs(6000, 3, 4, seed=1, spread=20.0)
    found = BFRKMeans(4, **SIZES).fit(X).cluster_centers_[::-1]
    again = BFRKMeans(4, init=found.tolist(), **SIZES).fit(X).cluster_centers_
    np.testing.assert_allclose(again, found, atol=0.2)


def test_bad_values_are_named_with_their_chunk_and_change_nothing():
    X = rows().compute()
    scan = BFRKMeans(4, **SIZES).fit(X)
    before = scan.cluster_centers_
    X[3700, 2] = np.nan
    for method in (scan.fit, scan.partial_fit, scan.score):
        with pytest.raises(DataError, match="NaN, first at chunk 7, row 200"):
            method(da.from_array(X, chunks=(500, 3)))
    with pytest.raises(DataError, match="4 features, but BFRKMeans is expecting 3"):
        scan.predict(np.zeros((5, 4)))
    with pytest.raises(DataError, match=r"3 sample\(s\).*n_clusters=4"):
        scan.fit(X[:3])
    X[3700, 2] = 1e200
    with pytest.raises(DataError, match="the variance of feature 2 overflows float64"):
        scan.fit(X)
    np.testing.assert_array_equal(scan.cluster_centers_, before)
    assert scan.n_rows_ == 6000


def test_weights_of_zero_for_all_rows():
    scan = BFRKMeans(4, **SIZES)
    with pytest.raises(DataError, match="weight is not zero"):
        scan.fit(rows(), sample_weight=0.0)
    with pytest.raises(DataError, match="every sample_weight of its 6000 rows is zero"):
        scan.fit(rows()).score(rows(), sample_weight=0.0)


@pytest.mark.parametrize("n_clusters", [3, 5])
def test_a_scan_keeps_its_number_of_clusters(n_clusters):
    scan = BFRKMeans(4, **SIZES).partial_fit(rows())
    with pytest.raises(ParameterError, match=rf"n_clusters was 4 and is {n_clusters}; .*: set it back, or call fit"):
        scan.set_params(n_clusters=n_clusters).partial_fit(rows())
    assert (scan.n_rows_, len(scan.cluster_centers_)) == (6000, 4)


@pytest.mark.parametrize("first", [None, 1.0])
def test_rows_have_weights_or_none_do(first):
    scan = BFRKMeans(4, **SIZES).partial_fit(rows(), sample_weight=first)
    with pytest.raises(ParameterError, match=r"sample_weight: the rows before had .*give all rows weights"):
        scan.partial_fit(rows(), sample_weight=None if first else 1.0)
    assert scan.n_rows_ == 6000


def test_before_rows_there_are_no_clusters():
    scan = BFRKMeans(4)
    for name in ("predict", "transform", "score"):
        with pytest.raises(NotFittedError, match="not fitted yet; call fit or partial_fit"):
            getattr(scan, name)(np.zeros((5, 2)))
    assert not any(hasattr(scan, name) for name in ("cluster_centers_", "labels_", "inertia_", "discard_set_"))


def test_it_is_used_as_estimators_of_scikit_learn_are():
    X = rows().compute()
    scan = BFRKMeans(4, **SIZES)
    np.testing.assert_array_equal(scan.fit_predict(X), scan.labels_)
    np.testing.assert_array_equal(clone(scan).fit_transform(X), scan.transform(X))
    again = pickle.loads(pickle.dumps(scan))
    assert same_bits(again, scan)
    np.testing.assert_array_equal(again.predict(X), scan.labels_)
    assert not hasattr(again, "labels_")  # the rows are not pickled with it
    assert same_bits(again.partial_fit(X[:1000]), scan.partial_fit(X[:1000]))
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    named = clone(scan).set_output(transform="pandas").fit(frame)
    assert named.transform(frame).columns.tolist() == [f"bfrkmeans{i}" for i in range(4)]
    assert make_pipeline(StandardScaler(), clone(scan)).fit(X).predict(X).shape == (6000,)
    with pytest.raises(ParameterError, match=r"Invalid parameter 'n_cluster' .*did you mean 'n_clusters'"):
        scan.set_params(n_cluster=3)


def test_rounds_are_printed(capsys):
    BFRKMeans(4, verbose=1, verbose_interval=2, **SIZES).fit(rows())
    assert capsys.readouterr().out.splitlines() == [f"  Round {i}: {i}000 rows so far" for i in (2, 4, 6)]
