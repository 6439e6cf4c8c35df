"""A scan of an array that rows are appended to: each call takes those that are new."""

import dask.array as da
import numpy as np
import pytest
from reference import make_blobs

from dgmm import BFRGaussianMixture, Checkpoint
from dgmm.errors import CheckpointMismatchError, NotFittedError, ParameterError
from dgmm.fitting.events import FitResumed, PassStarted, RoundFinished
from dgmm.storage.places import LOCK

SIZES = {"batch_rows": 500, "buffer_rows": 100, "random_state": 0}
ARRAYS = ("weights_", "means_", "covariances_", "lower_bounds_", "n_rows_", "n_iter_")
ROWS = make_blobs(6000, 3, 4, seed=1)


def arrived(n, chunk=250, rows=ROWS):
    return da.from_array(rows[:n], chunks=(chunk, 3)).map_blocks(lambda block: block)


def take(n, place, chunk=250, callbacks=(), rows=ROWS, **parameters):
    model = BFRGaussianMixture(4, **{**SIZES, **parameters})
    return model.fit_growing(arrived(n, chunk, rows), checkpoint=Checkpoint(place, interval=0.0), callbacks=callbacks)


def scanned(*stops):
    """The scan of rows that came in these batches."""
    model = BFRGaussianMixture(4, **SIZES)
    for first, stop in zip((0, *stops), stops, strict=False):
        model.partial_fit(arrived(6000)[first:stop])
    return model


def same_bits(model, other):
    sets = [getattr(each, name) for each in (model, other) for name in ("retained_set_", "discard_set_")]
    return all(np.array_equal(getattr(model, name), getattr(other, name)) for name in ARRAYS) and all(
        np.array_equal(a[key], b[key], equal_nan=True) for a, b in zip(sets[:2], sets[2:], strict=True) for key in a
    )


class StopError(Exception):
    pass


def stop_at(number):
    def callback(event):
        if isinstance(event, RoundFinished) and event.round == number:
            raise StopError

    return callback


@pytest.mark.parametrize("ends", [(2000, 4000), (1900, 4100, 4101, 5000)], ids=["of chunks", "within chunks"])
def test_each_call_takes_what_is_new(ends, tmp_path):
    for number, end in enumerate(ends, 1):
        model = take(end, tmp_path / "place")
        assert same_bits(model, scanned(*ends[:number])), end


def test_whole_rounds_make_the_state_of_one_fit(tmp_path):
    take(2000, tmp_path / "place")
    model = take(6000, tmp_path / "place")
    assert same_bits(model, BFRGaussianMixture(4, **SIZES).fit(arrived(6000)))


def test_nothing_new_changes_nothing(tmp_path):
    before = take(2000, tmp_path / "place")

    def stamps():
        files = (path for path in tmp_path.rglob("*") if path.is_file() and path.name != LOCK)
        return {path: path.stat().st_mtime_ns for path in files}

    stamped = stamps()
    events = []
    assert same_bits(take(2000, tmp_path / "place", callbacks=events.append), before)
    assert not [event for event in events if isinstance(event, (PassStarted, RoundFinished))]
    assert [event.n_rounds for event in events if isinstance(event, FitResumed)] == [4]
    assert stamps() == stamped


@pytest.mark.parametrize("later", [4000, 4100, 6000])
@pytest.mark.parametrize("chunk", [250, 2000])
def test_what_was_interrupted_is_ended_first(later, chunk, tmp_path):
    """Also where more rows have come meanwhile; with chunks of many rounds, also within one."""
    place = tmp_path / "place"
    for end in (2000, 4000, *([later] if later > 4000 else [])):
        expected = take(end, tmp_path / "undisturbed", chunk)
    take(2000, place, chunk)
    for number in (5, 6, 7):
        with pytest.raises(StopError):
            take(4000, place, chunk, callbacks=stop_at(number))
    assert same_bits(take(later, place, chunk), expected)


def test_rows_may_be_chunked_anew_between_two_calls(tmp_path):
    take(2000, tmp_path / "place")
    model = take(4000, tmp_path / "place", chunk=1000)
    assert model.n_rows_ == 4000
    with pytest.raises(StopError):
        take(6000, tmp_path / "place", chunk=1000, callbacks=stop_at(model.n_iter_ + 2))
    with pytest.raises(CheckpointMismatchError, match="the chunks of the rows are not those"):
        take(6000, tmp_path / "place", chunk=250)


@pytest.mark.parametrize("row", [0, 1999])
def test_rows_that_changed_are_refused(row, tmp_path):
    take(2000, tmp_path / "place")
    changed = ROWS.copy()
    changed[row] += 20.0
    with pytest.raises(CheckpointMismatchError, match=r"in rows [0-9,]+ to [0-9,]+ of X the m[a-z]+ of feature 0 is"):
        take(4000, tmp_path / "place", rows=changed)


def test_an_array_that_shrank_is_refused(tmp_path):
    take(2000, tmp_path / "place")
    with pytest.raises(CheckpointMismatchError, match="the rows before were 2,000 and are 1,750: the array has shrunk"):
        take(1750, tmp_path / "place")


def test_other_parameters_and_the_checkpoints_of_fits_are_refused(tmp_path):
    take(2000, tmp_path / "place")
    with pytest.raises(CheckpointMismatchError, match="buffer_rows was 100 and is 50"):
        take(2000, tmp_path / "place", buffer_rows=50)
    with pytest.raises(CheckpointMismatchError, match="rows was 'growing' and is 2000"):
        BFRGaussianMixture(4, **SIZES).fit(arrived(2000), checkpoint=tmp_path / "place")


def test_rows_are_gathered_until_there_are_enough(tmp_path):
    model = take(300, tmp_path / "place")
    with pytest.raises(NotFittedError):
        model.predict(ROWS)
    assert take(700, tmp_path / "place").predict(ROWS).shape == (6000,)


def test_what_cannot_be_taken_is_refused(tmp_path):
    X = arrived(2000)
    with pytest.raises(ParameterError, match=r"chunk lengths of X are unknown; call X.compute_chunk_sizes"):
        BFRGaussianMixture(4, **SIZES).fit_growing(X[X[:, 0] > -1e9], checkpoint=tmp_path / "place")
    with pytest.raises(ParameterError, match="checkpoint is None; give the place"):
        BFRGaussianMixture(4, **SIZES).fit_growing(X, checkpoint=None)
    with pytest.raises(ParameterError, match=r"refine_passes is 1; .*must be 0"):
        BFRGaussianMixture(4, refine_passes=1, **SIZES).fit_growing(X, checkpoint=tmp_path / "place")


def test_an_array_may_begin_without_rows(tmp_path):
    model = take(0, tmp_path / "place")
    assert (model.n_rows_, model.n_iter_) == (0, 0)
    assert same_bits(take(2000, tmp_path / "place"), scanned(2000))


def test_rows_in_memory(tmp_path):
    for end in (2000, 6000):
        model = BFRGaussianMixture(4, **SIZES).fit_growing(ROWS[:end], checkpoint=tmp_path / "place")
    assert model.n_rows_ == 6000


def test_a_scan_that_goes_on_knows_its_rows_again(tmp_path):
    with pytest.raises(StopError):
        BFRGaussianMixture(4, **SIZES).fit(arrived(6000), checkpoint=tmp_path / "place", callbacks=stop_at(5))
    changed = ROWS.copy()
    changed[7] += 20.0
    with pytest.raises(CheckpointMismatchError, match="in rows 0 to 499 of X"):
        BFRGaussianMixture(4, **SIZES).fit(arrived(6000, rows=changed), checkpoint=tmp_path / "place")
