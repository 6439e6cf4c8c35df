"""A selection with a checkpoint: it goes on with the same bits, and only with what it began with."""

import dask
import dask.array as da
import numpy as np
import pytest
from reference import make_blobs
from selections import assert_same_model

import dgmm
from dgmm.errors import CheckpointMismatchError
from dgmm.fitting.events import FitResumed, PassFinished, PassStarted

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WAYS = {
    "by BIC": {},
    "held out": {"criterion": "heldout", "held_out": 0.3},
    "screened": {"screen": True, "criterion": "bic", "covariance_type": ["full", "spherical"]},
    "starts that read": {"init_params": "k-means||"},
}


@pytest.fixture(autouse=True)
def _one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def rows(seed=2):
    X = np.random.default_rng(0).permutation(make_blobs(900, 2, 3, seed=seed, spread=6.0))
    return da.from_array(X, chunks=(300, 2))


def select(X, checkpoint=None, callbacks=(), **way):
    way = {"n_components": [1, 3, 4], "sample_rows": 300, "max_iter": 6, "tol": 0.0, "random_state": 0} | way
    return dgmm.select(X, checkpoint=checkpoint, callbacks=callbacks, **way)


class StopError(Exception):
    pass


def stop_at(index):
    def callback(event):
        if isinstance(event, PassStarted) and event.index == index:
            raise StopError

    return callback


def same(selection, other):
    assert selection.best == other.best
    assert selection.models.keys() == other.models.keys()
    assert selection.dropped == other.dropped
    for key, model in selection.models.items():
        assert_same_model(model, other.models[key])
    for name in selection.table.data_vars:
        if name != "seconds":
            np.testing.assert_array_equal(selection.table[name], other.table[name])


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_it_goes_on_from_wherever_it_was(way, tmp_path):
    X = rows()
    expected = select(X, **way)
    for index in range(1, expected.n_reads + 1, 2):
        place, events = tmp_path / str(index), []
        with pytest.raises(StopError):
            select(X, place, stop_at(index), **way)
        same(select(X, place, events.append, **way), expected)
        done = [event for event in events if isinstance(event, PassFinished)]
        assert len([event for event in events if isinstance(event, FitResumed)]) == 1
        # The read that was under way is read again, and those of a start; what is looked at to know the rows again
        # is no read of theirs.
        again = 7 if "init_params" in way else 2
        assert len([event for event in done if event.name != "moments"]) <= expected.n_reads - index + again


def test_a_finished_selection_is_only_scored_again(tmp_path):
    X, events = rows(), []
    expected = select(X, tmp_path / "progress")
    same(select(X, tmp_path / "progress", events.append), expected)
    assert [event.name for event in events if isinstance(event, PassFinished)] == ["score"]


@pytest.mark.parametrize("way", [{}, {"held_out": 0.3}], ids=["all", "held out"])
def test_another_selection_is_refused(way, tmp_path):
    select(rows(), tmp_path / "progress", **way)
    with pytest.raises(CheckpointMismatchError, match="in chunk 0 of X"):
        select(rows(seed=3), tmp_path / "progress", **way)
    with pytest.raises(CheckpointMismatchError, match=r"candidates was .* and is"):
        select(rows(), tmp_path / "progress", n_components=[1, 2], **way)
    with pytest.raises(CheckpointMismatchError, match="criterion was 'bic' and is 'icl'"):
        select(rows(), tmp_path / "progress", criterion="icl", **way)
