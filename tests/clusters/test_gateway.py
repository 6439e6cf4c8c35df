"""A real dask-gateway server with processes of this machine behind it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from aiohttp import ClientSession
from clusters.documented import run_page
from clusters.fits import PATIENCE, check_fit, free_port
from waiting import wait_until, wait_until_gone

from dgmm.errors import ClusterError, JobError
from dgmm.jobs.clusters.opening import open_cluster

ROOT = Path(__file__).parents[2]
PASSWORD = "marker-of-a-password"
pytestmark = pytest.mark.cluster

CONFIG = """\
from dask_gateway_server.options import Integer, Options

c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = {password!r}
c.DaskGateway.address = "127.0.0.1:{private}"
c.Proxy.address = "127.0.0.1:{public}"
c.Proxy.tcp_address = "127.0.0.1:{tcp}"
c.UnsafeLocalBackend.clusters_directory = {folder!r}
c.ClusterConfig.scheduler_cmd = [{python!r}, "-m", "distributed.cli.dask_scheduler"]
c.ClusterConfig.worker_cmd = [{python!r}, "-m", "distributed.cli.dask_worker"]
c.ClusterConfig.cluster_max_workers = 2
c.Backend.cluster_options = Options(Integer("worker_cores", default=1, min=1, max=2))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The keys of a cluster section for a server that runs."""
    folder = tmp_path_factory.mktemp("gateway")
    ports = {name: free_port() for name in ("private", "public", "tcp")}
    (folder / "config.py").write_text(
        CONFIG.format(**ports, password=PASSWORD, python=sys.executable, folder=str(folder))
    )
    command = [sys.executable, "-m", "dask_gateway_server", "-f", str(folder / "config.py")]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, cwd=folder, env=os.environ | {"PYTHONPATH": path})
    address = f"http://127.0.0.1:{ports['public']}"
    try:
        wait_until(lambda: healthy(address) or process.poll() is not None, told=(folder / "log").read_text)
        assert process.poll() is None, (folder / "log").read_text()
        yield {
            "kind": "gateway",
            "address": address,
            "proxy_address": f"tls://127.0.0.1:{ports['tcp']}",
            "username": "alice",
            "password": "${DGMM_GATEWAY_PASSWORD}",
            "n_workers": 2,
            "timeout": PATIENCE,
        }
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(PATIENCE)
        for each in children:
            if each.is_running():
                each.kill()


def healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/api/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(autouse=True)
def password(monkeypatch):
    monkeypatch.setenv("DGMM_GATEWAY_PASSWORD", PASSWORD)


def test_a_fit_has_the_bits_of_one_here_also_when_a_worker_is_killed(server):
    with open_cluster(server) as client:
        assert client.scheduler.address.startswith("gateway://127.0.0.1:")
        check_fit(client, kill_a_worker=True)
        pids = [*client.run(os.getpid).values(), client.run_on_scheduler(os.getpid)]
        workers = client.scheduler_info(n_workers=-1)["workers"]
        assert all(address.startswith("tls://") for address in workers)
    wait_until_gone(pids)


def test_a_wrong_password_is_said_and_not_shown(server, monkeypatch, caplog):
    monkeypatch.setenv("DGMM_GATEWAY_PASSWORD", "marker-of-another")
    with (
        pytest.raises(ClusterError, match=r"refused user 'alice' \(401\): check username") as caught,
        open_cluster(server),
    ):
        pytest.fail("the body must not run")
    assert "marker-of" not in str(caught.value) + caplog.text


def test_what_the_server_refuses_is_said(server):
    with pytest.raises(ClusterError, match="worker_cores"), open_cluster(server | {"options": {"worker_cores": 9}}):
        pytest.fail("the body must not run")


def test_a_server_that_does_not_answer(server):
    nobody = server | {"address": f"http://127.0.0.1:{free_port()}"}
    with pytest.raises(ClusterError, match=r"does not answer .*; is it running") as caught, open_cluster(nobody):
        pytest.fail("the body must not run")
    # One that stays open complains when the program ends, below the error.
    assert caught.tb
    sessions = [each for each in gc.get_objects() if isinstance(each, ClientSession)]
    assert all(each.closed for each in sessions)


def test_a_server_that_gives_fewer_workers(server):
    with (
        pytest.raises(ClusterError, match=r"of 3 workers after .*; the server says: .*limit of 2 workers"),
        open_cluster(server | {"n_workers": 3, "timeout": 4.0}),
    ):
        pytest.fail("the body must not run")


def test_a_password_over_plain_http_to_another_machine_is_refused(server):
    elsewhere = server | {"address": "http://dask.example.org"}
    with pytest.raises(JobError, match="for all to read: use https://"), open_cluster(elsewhere):
        pytest.fail("the body must not run")


def test_the_page_says_how(server, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    run_page("dask-gateway", "gateway.yaml", tmp_path, **server)
    assert PASSWORD not in caplog.text + (tmp_path / "report.json").read_text()
