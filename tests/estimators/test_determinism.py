"""Under one plan the same bits, wherever and by however many workers the rows are worked on."""

import os
import signal
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import dask
import dask.array as da
import numpy as np
import pytest
from reference import FAMILIES, make_blobs
from sklearn.exceptions import ConvergenceWarning

from dgmm import Execution, GaussianMixture
from dgmm.fitting.events import IterationFinished, PassStarted

ARRAYS = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_")


def slowly(block):
    """The same rows after a moment, so that a pass lasts long enough to be disturbed."""
    threading.Event().wait(0.02)
    return block


def rows(n_chunks=20, dtype=np.float64):
    X = make_blobs(40 * 50, 4, 3, seed=1).astype(dtype)
    return da.from_array(X, chunks=(2000 // n_chunks, 4))


def fit(X, family="full", callbacks=(), persist="auto", **parameters):
    parameters = {"max_iter": 3, "tol": 0.0, "random_state": 0, "sample_rows": 500} | parameters
    w = np.arange(len(X)) % 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianMixture(3, covariance_type=family, **parameters)
        return model.fit(X, sample_weight=w, callbacks=callbacks, execution=Execution(persist=persist))


def assert_same_bits(model, other):
    for name in ARRAYS:
        assert np.array_equal(getattr(model, name), getattr(other, name)), name


@pytest.fixture
def expected(small_pieces):
    """The fits of every family on the synchronous scheduler."""
    return expected_fits()


@cache
def expected_fits():
    with dask.config.set(scheduler="synchronous"):
        return {family: fit(rows(), family) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("num_workers", [1, 4])
@pytest.mark.parametrize("persist", [True, False])
def test_threads(expected, family, num_workers, persist):
    with dask.config.set(scheduler="threads", num_workers=num_workers):
        assert_same_bits(fit(rows(), family, persist=persist), expected[family])


def test_lean(expected):
    X = rows().map_blocks(slowly)  # which is read, so that there is something to be lean about
    lean = GaussianMixture(3, max_iter=3, tol=0.0, random_state=0, sample_rows=500)
    with pytest.warns(ConvergenceWarning):
        lean.fit(X, sample_weight=np.arange(len(X)) % 3, execution=Execution(persist=False, lean=True))
    assert_same_bits(lean, expected["full"])


@pytest.mark.parametrize("persist", [True, False])
def test_chunks_that_dask_makes(expected, persist):
    """Chunks that are not independent of each other are handed to the shards by Dask."""
    X = rows()
    assert_same_bits(fit(X + 0.0 * X.sum(), persist=persist), expected["full"])


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "k-means||", "random", "random_from_data"])
def test_every_start_on_threads(init_params):
    models = []
    for scheduler in ("synchronous", "threads"):
        with dask.config.set(scheduler=scheduler):
            models.append(fit(rows(dtype=np.float32), init_params=init_params, n_init=2))
    assert_same_bits(*models)


def test_the_same_seed_twice_and_in_every_form():
    X = rows().compute()[:300]
    for make_seed in (lambda: 5, lambda: np.random.RandomState(5), lambda: np.random.default_rng(5)):
        assert_same_bits(fit(X, random_state=make_seed()), fit(X, random_state=make_seed()))
    assert_same_bits(fit(X, random_state=5), fit(X, random_state=np.int64(5)))
    drawn = [GaussianMixture(3, random_state=s, max_iter=200).fit(X).sample(5)[0] for s in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.cluster
def test_processes(expected):
    pool = ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    with pool, dask.config.set(scheduler="processes", pool=pool):
        assert_same_bits(fit(rows()), expected["full"])


@pytest.mark.cluster
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("persist", [True, False])
def test_three_workers(expected, family, persist, client):
    assert len(client.scheduler_info()["workers"]) == 3
    assert_same_bits(fit(rows(), family, persist=persist), expected[family])


@pytest.mark.cluster
@pytest.mark.parametrize("persist", [True, False])
def test_rows_that_workers_hold_already(expected, persist, client):
    X = rows().persist()
    assert_same_bits(fit(X, persist=persist), expected["full"])
    assert_same_bits(fit(X + 0.0 * X[0, 0], persist=persist), expected["full"])


@pytest.mark.cluster
def test_prediction_on_three_workers(expected, client):
    model, X = expected["full"], rows()
    on_workers = [method(X).compute() for method in (model.predict, model.predict_proba, model.score_samples)]
    sums = model.bic(X)
    with dask.config.set(scheduler="synchronous"):
        here = [method(X).compute() for method in (model.predict, model.predict_proba, model.score_samples)]
        assert model.bic(X) == sums
    for a, b in zip(on_workers, here, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.cluster
def test_numpy_rows_beside_a_client_are_worked_on_here(client):
    X = make_blobs(300, 2, 2, seed=3)
    before = set(client.run(os.getpid).values())
    model = GaussianMixture(2, random_state=0).fit(X)
    with dask.config.set(scheduler="synchronous"):
        assert_same_bits(model, GaussianMixture(2, random_state=0).fit(X))
    assert set(client.run(os.getpid).values()) == before


def kill_one(client):
    os.kill(sorted(client.run(os.getpid).values())[0], signal.SIGKILL)


@pytest.mark.cluster
@pytest.mark.parametrize("persist", [True, False])
def test_a_worker_that_dies_between_two_passes(expected, persist, client):
    def callback(event):
        if isinstance(event, IterationFinished) and event.iteration == 2:
            kill_one(client)

    assert_same_bits(fit(rows(), callbacks=[callback], persist=persist), expected["full"])


@pytest.mark.cluster
@pytest.mark.parametrize("persist", [True, False])
def test_a_worker_that_dies_within_a_pass(expected, persist, client):
    client.wait_for_workers(3, timeout=60)
    pids = client.run(os.getpid)
    timers = []

    def callback(event):
        if isinstance(event, PassStarted) and event.index == (1 if persist else 3):
            timers.append(threading.Timer(0.1, os.kill, [min(pids.values()), signal.SIGKILL]))
            timers[-1].start()

    assert_same_bits(fit(rows().map_blocks(slowly), callbacks=[callback], persist=persist), expected["full"])
    assert len(timers) == 1


@pytest.mark.cluster
def test_one_worker(expected):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=True, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster),
    ):
        assert_same_bits(fit(rows()), expected["full"])
