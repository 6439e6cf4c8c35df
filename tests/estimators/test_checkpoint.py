"""A fit with a checkpoint: it goes on with the same bits, and only with what it began with."""

import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from dask.callbacks import Callback
from reference import make_blobs
from sklearn.exceptions import ConvergenceWarning
from storing import stored

from dgmm import Checkpoint, Execution, GaussianMixture
from dgmm.errors import CheckpointError, CheckpointMismatchError, CheckpointWarning, NotFoundError, ParameterError
from dgmm.estimators import _keeping
from dgmm.estimators._keeping import Keeper
from dgmm.fitting.events import FitFinished, FitResumed, PassAdvanced, PassFinished, PassStarted
from dgmm.passes.plan import ExecutionPlan
from dgmm.storage.checkpoint import CheckpointStore

ARRAYS = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_", "n_reads_", "remaining_gap_")


def rows(n=1200, chunk=100, seed=1, dtype=np.float64):
    return da.from_array(make_blobs(n, 3, 3, seed=seed).astype(dtype), chunks=(chunk, 3)).map_blocks(
        lambda block: block
    )


def fit(X, checkpoint=None, callbacks=(), sample_weight=None, execution=None, **parameters):
    parameters = {"n_components": 3, "max_iter": 4, "tol": 0.0, "random_state": 0, "sample_rows": 300} | parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(**parameters).fit(
            X, sample_weight=sample_weight, checkpoint=checkpoint, callbacks=callbacks,
            execution=execution or Execution(persist=False),
        )  # fmt: skip


def same_bits(model, other):
    return all(np.array_equal(getattr(model, name), getattr(other, name)) for name in ARRAYS)


class StopError(Exception):
    pass


def stop_at(index):
    def callback(event):
        if isinstance(event, PassStarted) and event.index == index:
            raise StopError

    return callback


def stopped(place, X, index, **parameters):
    with pytest.raises(StopError):
        fit(X, place, stop_at(index), **parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {"covariance_type": "full"},
        {"covariance_type": "tied", "init_params": "k-means||", "n_init": 2},
        {"covariance_type": "diag", "accelerate": None},
        {"covariance_type": "spherical", "tol": "auto", "max_iter": 30},
        {"n_components": 9, "reg_covar": 0.0, "max_iter": 6},
        {"init_params": "bfr"},
        {"init_params": "bfr", "covariance_type": "tied", "weights_init": [0.5, 0.3, 0.2]},
    ],
    ids=lambda parameters: " ".join(map(str, parameters.values())),
)
@pytest.mark.parametrize("weighted", [False, True])
def test_it_goes_on_from_wherever_it_was(parameters, weighted, monkeypatch, tmp_path, small_pieces):
    """From each progress that was ever handed on, stored and read back."""
    X, w = rows(), np.arange(1200) % 3 if weighted else None
    handed_on, begin, keep = [], Keeper.begin, Keeper.keep

    def record(keeper, progress):
        handed_on.append(progress)
        keep(keeper, progress)

    monkeypatch.setattr(Keeper, "keep", record)
    with dask.config.set(scheduler="synchronous"):
        expected = fit(X, sample_weight=w, **parameters)
        assert same_bits(fit(X, Checkpoint(tmp_path / "0", interval=0.0), sample_weight=w, **parameters), expected)
        monkeypatch.setattr(Keeper, "keep", keep)
        assert len(handed_on) > 20
        for number, progress in enumerate(handed_on[:: max(len(handed_on) // 12, 1)], 1):
            again = stored(progress)
            monkeypatch.setattr(Keeper, "begin", lambda keeper, fresh, again=again: begin(keeper, fresh) and again)
            place = Checkpoint(tmp_path / str(number), interval=0.0)
            assert same_bits(fit(X, place, sample_weight=w, **parameters), expected), number


def test_what_was_not_seeded_goes_on_with_the_numbers_it_began_with(tmp_path):
    stopped(tmp_path / "a", rows(), 2, random_state=None)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert same_bits(fit(rows(), tmp_path / "a", random_state=None), fit(rows(), tmp_path / "b", random_state=None))


def test_a_finished_fit_does_nothing_and_says_so(tmp_path):
    expected, events = fit(rows(), tmp_path / "a"), []
    model = fit(rows(), tmp_path / "a", events.append)
    assert same_bits(model, expected)
    assert not [event for event in events if isinstance(event, PassStarted)]
    (resumed,) = [event for event in events if isinstance(event, FitResumed)]
    assert resumed.finished
    assert resumed.n_reads == expected.n_reads_
    assert any(isinstance(event, FitFinished) for event in events)


def test_rows_of_unknown_lengths(tmp_path):
    X = rows()
    unknown = X[X[:, 0] > -1e9]  # of which Dask does not know how many there are
    expected = fit(unknown)
    for index in (1, 2, 3, 4):
        stopped(tmp_path / "a", unknown, index)
    assert same_bits(fit(unknown, tmp_path / "a"), expected)


def test_rows_in_memory_and_float32(tmp_path):
    X = make_blobs(3000, 3, 3, seed=2).astype(np.float32)
    expected = fit(X)
    stopped(Checkpoint(tmp_path / "a", interval=0.0), X, 3)
    assert same_bits(fit(X, tmp_path / "a"), expected)
    changed = X.copy()
    changed[0, 1] += 1.0
    with pytest.raises(CheckpointMismatchError, match=r"in chunk 0 of X the m[a-z]+ of feature 1 is"):
        fit(changed, tmp_path / "a")


def one_row_more(X):
    return da.concatenate([X, X[:1]]).rechunk((100, 3))


def other_rows(X):
    return rows(seed=9)


OTHERS = {
    "parameter": ({"X": lambda X: X, "covariance_type": "diag"}, "covariance_type was 'full' and is 'diag'"),
    "seed": ({"X": lambda X: X, "random_state": 5}, "random_state was 0 and is 5"),
    "start": ({"X": lambda X: X, "means_init": np.eye(3)}, "start: means was None and is "),
    "rows": ({"X": one_row_more}, "rows was 1200 and is 1201"),
    "chunks": ({"X": lambda X: X.rechunk((200, 3))}, "chunks was 12 and is 6"),
    "dtype": ({"X": lambda X: X.astype(np.float32)}, "dtype was 'float64' and is 'float32'"),
    "weights": ({"X": lambda X: X, "sample_weight": np.ones(1200)}, "weights was False and is True"),
    "other rows": ({"X": other_rows}, "in chunk 0 of X the m[a-z]+ of feature 0 is .*, not "),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_fit_is_refused_with_what_differs(name, tmp_path):
    changes, words = OTHERS[name]
    place, X = tmp_path / "a", rows()
    stopped(place, X, 3)
    before = sorted(path.name for path in place.iterdir())
    with pytest.raises(CheckpointMismatchError, match=words) as caught:
        fit(changes["X"](X), place, **{key: value for key, value in changes.items() if key != "X"})
    assert str(place) in str(caught.value)
    assert sorted(path.name for path in place.iterdir()) == before
    assert same_bits(fit(X, place), fit(X))


def test_another_plan_is_refused(tmp_path, monkeypatch):
    stopped(tmp_path / "a", rows(), 3)
    choose = ExecutionPlan.choose
    monkeypatch.setattr(ExecutionPlan, "choose", lambda *shape: replace(choose(*shape), chunk_rows=300))
    with pytest.raises(CheckpointMismatchError, match=r"plan: chunk_rows was [0-9]+ and is 300"):
        fit(rows(), tmp_path / "a")


def test_other_software_is_told_of(tmp_path, monkeypatch):
    stopped(tmp_path / "a", rows(), 3)
    monkeypatch.setattr(_keeping, "__version__", "99.0")
    with pytest.warns(CheckpointWarning, match=r"dgmm was .* and is '99.0'.*last bits") as told:
        fit(rows(), tmp_path / "a")
    assert told[0].filename == __file__


def test_resume_says_what_is_wanted(tmp_path):
    place = tmp_path / "a"
    with pytest.raises(NotFoundError, match="no checkpoint to go on from"):
        fit(rows(), Checkpoint(place, resume="must"))
    stopped(place, rows(), 3)
    begun = []
    fit(rows(seed=7), Checkpoint(place, resume="never"), begun.append)
    assert min(event.index for event in begun if isinstance(event, PassStarted)) == 1
    fit(rows(seed=7), Checkpoint(place, resume="must"))
    with pytest.raises(ParameterError, match="checkpoint is 7; expected a path"):
        fit(rows(), 7)


def test_a_checkpoint_that_holds_another_state_is_refused(tmp_path):
    with CheckpointStore(Checkpoint(tmp_path / "a")) as store:
        store.save({"estimator": "GaussianMixture"}, {"rounds": (1, 2)})
    with pytest.raises(CheckpointMismatchError, match="another fit"):
        fit(rows(), tmp_path / "a")


def test_a_place_that_cannot_be_written_is_known_at_the_start(tmp_path):
    (tmp_path / "file").write_text("mine")
    read = []
    with pytest.raises((CheckpointError, FileExistsError)):
        fit(rows(), tmp_path / "file" / "a", read.append)
    assert not [event for event in read if isinstance(event, PassStarted)]
    assert Path(tmp_path / "file").read_text() == "mine"


def stopped_in_a_read(place, X, index, chunks):
    """Stop a fit within a read, as soon as so many chunks of it are finished; returns where that read went on."""
    seen = []

    def callback(event):
        if isinstance(event, PassAdvanced) and event.index == index:
            seen.append(event.chunks_done)
        if isinstance(event, PassAdvanced | PassFinished) and event.index == index and seen and seen[-1] >= chunks:
            raise StopError

    with pytest.raises(StopError), dask.config.set(scheduler="synchronous"):
        fit(X, Checkpoint(place, interval=0.0), callback)
    return seen[0]


@pytest.mark.parametrize("index", [1, 2])
def test_who_dies_again_at_once_loses_nothing_of_a_read(index, tmp_path, small_pieces):
    stopped_in_a_read(tmp_path / "a", rows(), index, 8)
    for _ in range(3):
        assert stopped_in_a_read(tmp_path / "a", rows(), index, 0) >= 8
    assert same_bits(fit(rows(), tmp_path / "a"), fit(rows()))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fits_in_threads_of_one_process(tmp_path):
    """Each hears of its own chunks alone."""
    sizes = (2, 30, 300)

    def run(n):
        heard = []
        model = GaussianMixture(3, max_iter=4, tol=0.0, random_state=0, sample_rows=300).fit(
            rows(1200, chunk=1200 // n),
            checkpoint=Checkpoint(tmp_path / str(n), interval=0.0),
            callbacks=heard.append,
            execution=Execution(persist=False),
        )
        return model, [event for event in heard if isinstance(event, PassAdvanced)]

    with ThreadPoolExecutor(len(sizes)) as pool:
        found = list(pool.map(run, sizes))
    for (model, heard), n in zip(found, sizes, strict=True):
        assert same_bits(model, fit(rows(1200, chunk=1200 // n)))
        assert all(event.chunks_done <= event.n_chunks == n for event in heard)
    assert not Callback.active


def test_sums_beyond_floats_are_no_other_data(tmp_path):
    """A chunk whose mean is no number is the same chunk at the next look."""
    X, w = da.round(rows() * 1e9), np.full(1200, 1e300)
    with pytest.raises(StopError), np.errstate(over="ignore", invalid="ignore"):
        fit(X, tmp_path / "a", stop_at(2), sample_weight=w)
    with np.errstate(over="ignore", invalid="ignore"):
        assert same_bits(fit(X, tmp_path / "a", sample_weight=w), fit(X, sample_weight=w))
