"""How often an estimator reads the data, and what it leaves lazy."""

import dask
import dask.array as da
import numpy as np
import pytest
from reference import FAMILIES, make_blobs, make_start, start_parameters
from sklearn.exceptions import ConvergenceWarning

from dgmm import Execution, GaussianMixture
from dgmm.fitting.events import (
    ExecutionChosen,
    FitFinished,
    IterationFinished,
    PassAdvanced,
    PassFinished,
    PassStarted,
    StartChosen,
)

N, D, K = 200, 3, 2


@pytest.fixture(name="X", scope="module")
def blobs():
    return make_blobs(N, D, K, seed=1, spread=6.0)


@pytest.fixture(scope="module")
def model(X):
    return GaussianMixture(K, random_state=0, max_iter=300).fit(X)


class RefusedError(Exception):
    """Something was computed."""


def refuse(graph, keys, **kwargs):
    raise RefusedError


@pytest.mark.parametrize("persist", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_fit_from_a_given_start_reads_the_data_once_for_its_moments_and_once_an_iteration(
    X, family, persist, computes
):
    reads = []

    def read(block, block_id):
        reads.append(block_id[0])
        return block

    lazy = da.from_array(X, chunks=(40, D)).map_blocks(read, dtype=float, meta=np.empty((0, 0)))
    model = GaussianMixture(**start_parameters(*make_start(X, K, family), family), tol=0.0, max_iter=4)
    with pytest.warns(ConvergenceWarning):
        model.fit(lazy, sample_weight=lazy[:, 0] ** 2, execution=Execution(persist=persist))
    assert model.n_iter_ == 4
    assert len(computes) == model.n_iter_ + 1
    assert sorted(reads) == sorted([*range(5)] * (1 if persist else model.n_iter_ + 1))


@pytest.mark.parametrize(
    ("init_params", "extra"),
    [("kmeans", 0), ("k-means++", 0), ("random", 0), ("random_from_data", 0), ("k-means||", 7)],
)
@pytest.mark.parametrize("n_init", [1, 3])
def test_starts_from_the_sample_cost_no_read_of_the_data(X, init_params, extra, n_init):
    reads, events = [], []

    def read(block, block_id):
        reads.append(block_id[0])
        return block

    lazy = da.from_array(X, chunks=(40, D)).map_blocks(read, dtype=float, meta=np.empty((0, 0)))
    model = GaussianMixture(
        K, init_params=init_params, n_init=n_init, sample_rows=100, random_state=0, max_iter=300
    ).fit(lazy, callbacks=[events.append], execution=Execution(persist=False))
    passes = 1 + extra + model.n_iter_  # restarts of k-means|| share their reads
    assert len(reads) == 5 * passes
    finished = [event for event in events if isinstance(event, PassFinished)]
    assert [event.index for event in finished] == list(range(1, passes + 1))
    assert {event.n_rows for event in finished} == {N}
    assert {event.n_bytes for event in finished} == {X.nbytes}


def test_only_the_pass_that_loads_rows_reads_bytes(X):
    for rows, kept, read in ((X, "auto", 0), (da.from_array(X, chunks=(40, D)), True, X.nbytes)):
        events = []
        GaussianMixture(K, random_state=0).fit(rows, callbacks=[events.append], execution=Execution(persist=kept))
        first, *others = [event.n_bytes for event in events if isinstance(event, PassFinished)]
        assert first == read
        assert others
        assert not any(others)


def test_scores_read_the_data_once(model, X, computes):
    lazy = da.from_array(X, chunks=(30, D))
    for count, method in enumerate((model.score, model.aic, model.bic, model.icl), start=1):
        method(lazy)
        assert len(computes) == count


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples"])
def test_nothing_is_computed_while_a_prediction_is_built(model, X, method):
    mask = da.from_array(X[:, 0] > 0, chunks=30)
    for lazy in (da.from_array(X, chunks=(30, 1)), da.from_array(X, chunks=(30, D))[mask]):
        with dask.config.set(scheduler=refuse):
            result = getattr(model, method)(lazy)
            with pytest.raises(RefusedError):
                result.compute()
        np.testing.assert_array_equal(result.chunks[0], lazy.chunks[0])
        assert result.ndim == (2 if method == "predict_proba" else 1)


def test_predictions_can_be_used_like_any_dask_array(model, X):
    lazy = da.from_array(X, chunks=(30, D))
    labels, responsibilities = model.predict(lazy), model.predict_proba(lazy)
    assert responsibilities.shape == (N, K)
    assert responsibilities.chunks == (lazy.chunks[0], (K,))
    share = (responsibilities.max(axis=1) > 0.9).mean()
    counts = da.bincount(labels, minlength=K)
    share, counts = dask.compute(share, counts)
    assert share == np.mean(model.predict_proba(X).max(axis=1) > 0.9)
    assert np.array_equal(counts, np.bincount(model.predict(X), minlength=K))
    assert np.array_equal(labels[45:77].compute(), model.predict(X[45:77]))


def test_a_prediction_keeps_the_model_of_its_making(model, X):
    """Fitting again does not change what was built before."""
    lazy = da.from_array(X, chunks=(30, D))
    own = GaussianMixture(K, random_state=0, max_iter=300).fit(X)
    scores = own.score_samples(lazy)
    own.fit(X + 5.0)
    np.testing.assert_array_equal(scores.compute(), model.score_samples(X))


def test_numpy_in_gives_numpy_out(model, X):
    for method in (model.predict, model.predict_proba, model.score_samples, model.fit_predict):
        assert type(method(X)) is np.ndarray
    assert isinstance(model.fit_predict(da.from_array(X)), da.Array)


def test_events_in_order(X):
    events = []
    model = GaussianMixture(K, random_state=0, max_iter=300, sample_rows=50).fit(X, callbacks=[events.append])
    kinds = [type(event) for event in events if not isinstance(event, PassAdvanced)]
    assert kinds[:4] == [ExecutionChosen, PassStarted, PassFinished, StartChosen]
    assert kinds[4:] == [PassStarted, PassFinished, IterationFinished] * model.n_iter_ + [FitFinished]
    iterations = [event for event in events if isinstance(event, IterationFinished)]
    assert [event.lower_bound for event in iterations] == model.lower_bounds_
    assert [event.iteration for event in iterations] == list(range(1, model.n_iter_ + 1))
    chosen = next(event for event in events if isinstance(event, StartChosen))
    assert chosen.sample_rows == 50


def test_a_callback_stops_the_fit_and_all_are_told(X):
    told = []
    model = GaussianMixture(K, random_state=0, tol=0.0, max_iter=300).fit(
        X, callbacks=[lambda event: isinstance(event, IterationFinished) and event.iteration == 2, told.append]
    )
    assert model.n_iter_ == 2
    assert model.stop_reason_.name == "CALLBACK"
    assert not model.converged_
    assert sum(isinstance(event, IterationFinished) for event in told) == 2


def test_an_error_in_a_callback_ends_the_fit_with_that_error(X):
    def fail(event):
        raise RefusedError

    with pytest.raises(RefusedError):
        GaussianMixture(K).fit(X, callbacks=[fail])
