"""What travels between the driver and the workers."""

import os

import dask.array as da
import numpy as np
import pytest
from recorders import BlasMap, FailingMap, SpellingMap, TravellingMap, TravellingMixture, arrivals
from reference import make_blobs

from dgmm import GaussianMixture
from dgmm.errors import DataError
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.predict import LABELS, predict_lazily
from dgmm.passes.rows import Rows
from dgmm.passes.tree import PassRunner

pytestmark = pytest.mark.cluster

PLAN = ExecutionPlan("numpy", 64, 2, {"float32": 1e-3, "float64": 1e-9})
N_CHUNKS = 60


def rows():
    return Rows.from_dask(da.ones((2 * N_CHUNKS, 3), chunks=(2, 3)), None)


def on_workers(log, client):
    """Arrivals at each worker; the driver's own copies aside."""
    pids = set(client.run(os.getpid).values())
    return {pid: count for pid, count in arrivals(log).items() if pid in pids}


def test_parameters_travel_once_to_each_worker(client, tmp_path):
    """The worker that makes them also sends them, so it may see them twice: as a task and as its result."""
    log = tmp_path / "arrivals"
    record = PassRunner(rows(), PLAN)(TravellingMap(str(log), bytes(100_000)))
    ran_on = {int(pid) for pid in record.text.split()}
    assert len(record.text.split()) == N_CHUNKS
    assert len(ran_on) > 1
    counts = on_workers(log, client)
    assert set(counts) >= ran_on
    assert max(counts.values()) <= 2
    assert sum(counts.values()) <= len(counts) + 1


def test_a_fitted_model_travels_once_to_each_worker(client, tmp_path):
    log = tmp_path / "arrivals"
    X = make_blobs(2 * N_CHUNKS, 3, 2, seed=1)
    model = GaussianMixture(2, random_state=0, max_iter=300).fit(X)
    compiled, _ = model._compiled(np.dtype(np.float64))
    lazy = predict_lazily(da.from_array(X, chunks=(2, 3)), TravellingMixture.of(compiled, str(log)), LABELS)
    assert np.array_equal(lazy.compute(), model.predict(X))
    counts = on_workers(log, client)
    assert len(counts) > 1
    assert max(counts.values()) <= 2
    assert sum(counts.values()) <= len(counts) + 1


def test_one_round_trip_for_each_pass(client):
    """A pass brings one record back, not one for each chunk."""
    run_pass = PassRunner(rows(), PLAN)
    first = run_pass(SpellingMap())
    assert first.text.count("[") == N_CHUNKS
    assert first == run_pass(SpellingMap())


def test_blas_has_one_thread_in_a_workers_task(client):
    def two_threads():
        import threading

        from threadpoolctl import threadpool_limits

        thread = threading.Thread(target=threadpool_limits, args=(2, "blas"))
        thread.start()
        thread.join()

    def threads():
        import recorders

        return set(recorders.blas_threads())

    client.run(two_threads)
    assert set(PassRunner(rows(), PLAN)(BlasMap()).text) == {"1"}
    assert set().union(*client.run(threads).values()) == {2}


def test_an_error_in_a_workers_task_comes_out_as_it_is(client):
    with pytest.raises(DataError, match=r"^chunk 3 is bad$"):
        PassRunner(rows(), PLAN)(FailingMap(3))
    X = np.ones((40, 2))
    X[23, 1] = np.nan
    lazy = da.from_array(X, chunks=(10, 2))
    with pytest.raises(DataError, match=r"chunk 2, row 3 \(row 23 of the data\), feature 1"):
        GaussianMixture(2).fit(lazy)
