import os
from dataclasses import replace

import dask
import pytest
from hypothesis import settings

from dgmm.passes.plan import ExecutionPlan

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "local")


@pytest.fixture(scope="session")
def _three_workers():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=3, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def client(_three_workers):
    """The current client, of three worker processes with one thread each."""
    _three_workers.wait_for_workers(3, timeout=60)
    with _three_workers.as_current(), dask.config.set(scheduler="distributed"):
        yield _three_workers


@pytest.fixture
def small_pieces(monkeypatch):
    """Chunks are joined up to 200 rows only, so that small data is cut as large data is."""
    choose = ExecutionPlan.choose
    monkeypatch.setattr(ExecutionPlan, "choose", lambda *shape: replace(choose(*shape), chunk_rows=200))


@pytest.fixture
def computes():
    """Dask's computes within a test: a list with the keys that each was asked for."""
    calls = []

    def get(graph, keys, **kwargs):
        calls.append(keys)
        return dask.get(graph, keys, **kwargs)

    with dask.config.set(scheduler=get):
        yield calls
