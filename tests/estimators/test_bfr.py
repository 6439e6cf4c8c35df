"""The mixture of one scan: as good as EM where it is easy, the same however rows arrive, each chunk read once."""

import threading
import warnings
from dataclasses import fields

import dask
import dask.array as da
import numpy as np
import pytest
from reference import FAMILIES, make_blobs
from sklearn.exceptions import ConvergenceWarning
from storing import stored

from dgmm import BFRGaussianMixture, Checkpoint, GaussianMixture
from dgmm.errors import CheckpointMismatchError, DataError, NotFittedError, ParameterError
from dgmm.estimators._keeping import Keeper
from dgmm.fitting.events import FitResumed, RoundFinished
from dgmm.fitting.progress import FitProgress, ScanProgress

ARRAYS = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_", "n_rows_", "n_iter_")
SIZES = {"batch_rows": 1000, "buffer_rows": 300, "random_state": 0}


def rows(n=6000, chunk=500, seed=1, d=3, k=4):
    X = make_blobs(n, d, k, seed=seed)
    return da.from_array(X, chunks=(chunk, d)).map_blocks(lambda block: block)


def same_bits(model, other):
    sets = ("retained_set_", "discard_set_", "compressed_set_")
    return all(np.array_equal(getattr(model, name), getattr(other, name)) for name in ARRAYS) and all(
        np.array_equal(value, getattr(other, name)[key], equal_nan=True)
        for name in sets
        for key, value in getattr(model, name).items()
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("primary", ["certain", "mahalanobis"])
def test_it_lands_where_em_does(family, weighted, primary):
    X, held_out = rows(), make_blobs(3000, 3, 4, seed=1)
    w = (np.arange(6000) % 3 + 1.0) if weighted else None
    scan = BFRGaussianMixture(4, covariance_type=family, primary=primary, **SIZES).fit(X, sample_weight=w)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        em = GaussianMixture(4, covariance_type=family, random_state=0, tol=1e-6, n_init=3).fit(X, sample_weight=w)
    # Rows that leave for good on a first guess cost the textbook's rule some.
    assert scan.score(held_out) > em.score(held_out) - (0.02 if primary == "certain" else 0.04)
    assert scan.n_rows_ == 6000
    assert len(scan.retained_set_["rows"]) <= 300
    total = sum(part["weights"].sum() for part in (scan.discard_set_, scan.compressed_set_, scan.retained_set_))
    assert total == pytest.approx(6000 if w is None else w.sum())
    # A bound of the rows' log-likelihood, which is an average over all of them.
    assert scan.lower_bound_ <= scan.score(X, sample_weight=w) + 1e-9


def test_every_chunk_is_read_once():
    read, lock = [], threading.Lock()

    def note(block, block_info=None):
        with lock:
            read.append(block_info[0]["chunk-location"][0])
        return block

    BFRGaussianMixture(4, **SIZES).fit(rows().map_blocks(note, dtype=float, meta=np.empty((0, 0))))
    assert sorted(read) == list(range(12))


def test_the_scheduler_changes_no_bit(client):
    X = rows()
    here = BFRGaussianMixture(4, **SIZES).fit(X)
    for scheduler, workers in (("synchronous", 1), ("threads", 3)):
        with dask.config.set(scheduler=scheduler, num_workers=workers):
            assert same_bits(BFRGaussianMixture(4, **SIZES).fit(X), here), scheduler
    with dask.config.set(scheduler="distributed"):
        assert same_bits(BFRGaussianMixture(4, **SIZES).fit(X), here)


@pytest.mark.parametrize("primary", ["certain", "mahalanobis"])
def test_batches_that_arrive_make_the_state_of_a_fit(primary):
    X = rows(chunk=1000)
    whole = BFRGaussianMixture(4, primary=primary, **SIZES).fit(X)
    arriving = BFRGaussianMixture(4, primary=primary, **SIZES)
    for number in range(X.numblocks[0]):
        arriving.partial_fit(X.blocks[number].compute() if number % 2 else X.blocks[number])
    assert same_bits(arriving, whole)


def test_rows_are_gathered_until_there_are_enough():
    X = rows(n=1200).compute()
    scan = BFRGaussianMixture(4, **SIZES)
    for row in X[:30]:
        scan.partial_fit(row[None])
    assert scan.n_rows_ == len(scan.retained_set_["rows"]) == 30
    with pytest.raises(NotFittedError):
        scan.predict(X)
    scan.partial_fit(X[30:])
    assert scan.predict(X).shape == (1200,)
    scan.partial_fit(X[:1])
    assert scan.n_rows_ == 1201


def test_few_rows_are_a_fit_as_well():
    X = make_blobs(60, 2, 2, seed=3)
    scan = BFRGaussianMixture(2, random_state=0).fit(X)
    assert scan.score(X) > -6.0
    assert np.isnan(scan.discard_set_["means"]).all()  # all rows are retained
    with pytest.raises(DataError, match="there are 60 rows for n_components=61"):
        BFRGaussianMixture(61, random_state=0).fit(X)


def test_rows_in_an_order_leave_the_state_of_partial_fit_but_fit_asks_the_sample_at_the_end():
    rng = np.random.default_rng(0)
    X = np.sort(rng.integers(0, 4, 6000))[:, None] * [1.5, 1.0] + rng.normal(size=(6000, 2))
    sizes = {"batch_rows": 1000, "buffer_rows": 100, "random_state": 0}
    whole, parts = (
        BFRGaussianMixture(4, **sizes).fit(da.from_array(X, chunks=(1000, 2))),
        BFRGaussianMixture(4, **sizes),
    )
    for batch in np.split(X, 6):
        parts.partial_fit(batch)
    for name in ("parameters", "discard", "sample", "retained"):
        own, other = getattr(whole._progress.scan, name), getattr(parts._progress.scan, name)
        for field in fields(own):
            np.testing.assert_array_equal(getattr(own, field.name), getattr(other, field.name))
    assert whole.n_renewed_ >= parts.n_renewed_
    assert whole.score(X) >= parts.score(X) - 0.02


def test_unknown_chunk_lengths():
    X = rows(chunk=1000)
    unknown = X[X[:, 0] > -1e9]
    assert same_bits(BFRGaussianMixture(4, **SIZES).fit(unknown), BFRGaussianMixture(4, **SIZES).fit(X))


def test_refinement_is_em_from_where_the_scan_ended():
    X = rows()
    scan = BFRGaussianMixture(4, **SIZES).fit(X)
    refined = BFRGaussianMixture(4, refine_passes=3, **SIZES).fit(X)
    with pytest.warns(ConvergenceWarning):
        em = GaussianMixture(
            4, weights_init=scan.weights_, means_init=scan.means_, precisions_init=scan.precisions_, max_iter=3,
            tol=0.0, accelerate=None,
        ).fit(X)  # fmt: skip
    assert refined.score(X) >= em.score(X) - 1e-9
    assert em.score(X) >= scan.score(X) - 1e-9
    assert len(refined.lower_bounds_) == len(scan.lower_bounds_) + 3


def test_a_refinement_goes_on_from_wherever_it_was(tmp_path, monkeypatch):
    X, parameters = rows(n=3000), {"refine_passes": 2, **SIZES}
    expected = BFRGaussianMixture(4, **parameters).fit(X)
    handed_on, begin, keep = [], Keeper.begin, Keeper.keep

    def record(keeper, progress):
        handed_on.append(progress)
        keep(keeper, progress)

    monkeypatch.setattr(Keeper, "keep", record)
    assert same_bits(BFRGaussianMixture(4, **parameters).fit(X, checkpoint=tmp_path / "whole"), expected)
    monkeypatch.setattr(Keeper, "keep", keep)
    assert {type(progress.state) for progress in handed_on} == {ScanProgress, FitProgress}
    for number, progress in enumerate(handed_on):
        again = stored(progress)
        monkeypatch.setattr(Keeper, "begin", lambda keeper, fresh, again=again: begin(keeper, fresh) and again)
        model = BFRGaussianMixture(4, **parameters).fit(X, checkpoint=tmp_path / str(number))
        assert same_bits(model, expected), number


def test_clusters_that_come_late_are_found():
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(6, 3)) * 12.0
    early, late = rng.integers(4, size=16_000), rng.integers(6, size=4_000)
    X = centres[np.concatenate([early, late])] + rng.normal(size=(20_000, 3))
    scan = BFRGaussianMixture(6, batch_rows=2000, buffer_rows=1000, random_state=0).fit(X)
    distance = np.linalg.norm(scan.means_[:, None] - centres, axis=2).min(axis=0)
    assert distance.max() < 0.5


class StopError(Exception):
    pass


def test_a_scan_goes_on_from_its_last_round(tmp_path):
    X = rows(n=10_000)
    expected = BFRGaussianMixture(4, **SIZES).fit(X)
    place = Checkpoint(tmp_path / "place", interval=0.0)

    def stop(event):
        if isinstance(event, RoundFinished) and event.round == stop.at:
            raise StopError

    for stop.at in (2, 5, 9):
        with pytest.raises(StopError) as caught:
            BFRGaussianMixture(4, **SIZES).fit(X, checkpoint=place, callbacks=stop)
        assert "run again to go on" in caught.value.__notes__[0]
    events = []
    model = BFRGaussianMixture(4, **SIZES).fit(X, checkpoint=place, callbacks=events.append)
    assert same_bits(model, expected)
    assert min(event.round for event in events if isinstance(event, RoundFinished)) >= 9
    events.clear()
    assert same_bits(BFRGaussianMixture(4, **SIZES).fit(X, checkpoint=place, callbacks=events.append), expected)
    assert [type(event) for event in events] == [FitResumed]
    with pytest.raises(CheckpointMismatchError, match="buffer_rows was 300 and is 200"):
        BFRGaussianMixture(4, **{**SIZES, "buffer_rows": 200}).fit(X, checkpoint=place)


def test_bad_values_are_named_with_their_chunk():
    X = rows().compute()
    X[3700, 2] = np.nan
    scan = BFRGaussianMixture(4, **SIZES)
    with pytest.raises(DataError, match="NaN, first at chunk 7, row 200, feature 2"):
        scan.fit(da.from_array(X, chunks=(500, 3)))
    assert not hasattr(scan, "n_rows_")


BAD = {
    "batch_rows": (0, "None or an int of at least 1"),
    "buffer_rows": (-1, "an int of at least 0"),
    "primary": ("soft", "one of 'certain', 'mahalanobis'"),
    "primary_fraction": (1.5, "from 0 to 1"),
    "secondary_tightness": (0.0, "above 0"),
    "forgetting": (0.0, "above 0 and at most 1"),
    "refine_passes": (1.5, "an int of at least 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_parameters(name):
    value, words = BAD[name]
    with pytest.raises(ParameterError, match=f"{name} is .*; it must be .*{words}"):
        BFRGaussianMixture(2, **{name: value}).fit(np.zeros((5, 2)))


def test_a_scan_is_saved_as_a_model(tmp_path):
    scan = BFRGaussianMixture(4, **SIZES).fit(rows())
    scan.save(tmp_path / "model.zarr")
    again = BFRGaussianMixture.load(tmp_path / "model.zarr")
    assert np.array_equal(again.predict(make_blobs(100, 3, 4, seed=1)), scan.predict(make_blobs(100, 3, 4, seed=1)))


def test_a_stream_that_drifts_is_followed_by_forgetting():
    rng = np.random.default_rng(0)
    steps = np.linspace(0.0, 6.0, 20)
    stream = [rng.normal(size=(1000, 2)) + np.array([step, 0.0]) for step in steps]
    remembering, forgetting = (
        BFRGaussianMixture(1, forgetting=factor, **SIZES) for factor in (1.0, 0.5)
    )  # fmt: skip
    for batch in stream:
        remembering.partial_fit(batch)
        forgetting.partial_fit(batch)
    assert remembering.means_[0, 0] == pytest.approx(3.0, abs=0.1)
    assert forgetting.means_[0, 0] == pytest.approx(np.average(steps, weights=0.5 ** np.arange(20)[::-1]), abs=0.1)


def test_rounds_are_printed(capsys):
    BFRGaussianMixture(4, verbose=1, verbose_interval=2, **SIZES).fit(rows())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["  Round 2", "  Round 4", "  Round 6"]
    assert "2000 rows so far, lower bound -" in lines[0]


def test_rows_that_arrive_after_a_fit_are_taken():
    X = rows(chunk=1000)
    whole = BFRGaussianMixture(4, **SIZES).fit(X)
    later = BFRGaussianMixture(4, **SIZES).fit(X[:4000]).partial_fit(X[4000:])
    assert same_bits(later, whole)


@pytest.mark.parametrize("other", [{"n_components": 5}, {"n_components": 3}, {"covariance_type": "diag"}])
def test_a_scan_keeps_what_its_sums_are_of(other):
    scan = BFRGaussianMixture(4, **SIZES, sample_rows=500).partial_fit(rows())
    before = scan.means_
    (name,) = other
    with pytest.raises(ParameterError, match=rf"{name} was .* and is .*: set it back, or call fit"):
        scan.set_params(**other).partial_fit(rows())
    assert scan.n_rows_ == 6000
    np.testing.assert_array_equal(scan.means_, before)
    assert len(scan.fit(rows()).weights_) == other.get("n_components", 4)


def test_a_mixture_that_was_loaded_is_no_scan_to_go_on_with(tmp_path):
    scan = BFRGaussianMixture(4, **SIZES).fit(rows())
    scan.save(tmp_path / "model.zarr")
    again = BFRGaussianMixture.load(tmp_path / "model.zarr")
    with pytest.raises(ParameterError, match=r"loaded or set by hand.*call fit, or fit_growing with a checkpoint"):
        again.partial_fit(rows())
    np.testing.assert_array_equal(again.means_, scan.means_)
    assert again.fit(rows()).partial_fit(rows()).n_rows_ == 12_000


@pytest.mark.parametrize("first", [None, 1.0])
def test_rows_have_weights_or_none_do(first):
    scan = BFRGaussianMixture(4, **SIZES).partial_fit(rows(), sample_weight=first)
    with pytest.raises(ParameterError, match=r"sample_weight: the rows before had .*give all rows weights"):
        scan.partial_fit(rows(), sample_weight=None if first else 1.0)
    assert scan.n_rows_ == 6000
