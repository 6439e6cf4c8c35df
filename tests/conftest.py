import os
import urllib.request
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
    _three_workers.cluster.scale(3)  # what a test has killed for good comes back
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


@pytest.fixture(scope="session")
def _s3_server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@pytest.fixture
def s3(_s3_server, monkeypatch, tmp_path):
    """URL of an empty folder in a bucket; credentials and endpoint are in the environment."""
    settings = {
        "AWS_ACCESS_KEY_ID": "marker-of-a-key-id",
        "AWS_SECRET_ACCESS_KEY": "marker-of-a-secret-key",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": _s3_server,
        "AWS_ALLOW_HTTP": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    request = urllib.request.Request(f"{_s3_server}/dgmm-test", method="PUT")
    with urllib.request.urlopen(request, timeout=30):
        pass
    return f"s3://dgmm-test/{tmp_path.name}/fit"
