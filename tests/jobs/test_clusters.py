"""Clusters: made current for a block, and gone after it."""

from __future__ import annotations

import os

import dask
import dask.array as da
import distributed
import psutil
import pytest
from waiting import wait_until_gone

from dgmm.errors import ClusterError, JobError
from dgmm.jobs.clusters.opening import open_cluster
from dgmm.jobs.clusters.sections import (
    LocalCluster,
    ProcessesCluster,
    SchedulerCluster,
    SynchronousCluster,
    ThreadsCluster,
)

KINDS = {
    "threads": ThreadsCluster(n_workers=2),
    "synchronous": SynchronousCluster(kind="synchronous"),
    "processes": ProcessesCluster(kind="processes", n_workers=1),
    "local": LocalCluster(kind="local", n_workers=1, threads_per_worker=1),
}


def where(block):
    return block * 0 + os.getpid()


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.mark.parametrize(("kind", "fails"), [*((kind, False) for kind in KINDS), ("threads", True), ("local", True)])
def test_a_cluster_computes_and_leaves_nothing_behind(kind, fails):
    config, before = dict(dask.config.config), children()
    try:
        with open_cluster(KINDS[kind]):
            pids = set(da.zeros(4, dtype=int, chunks=2).map_blocks(where, dtype=int).compute().tolist())
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert (pids == {os.getpid()}) == (kind in ("threads", "synchronous"))
    assert dask.config.config == config
    with pytest.raises(ValueError, match="No global client"):
        distributed.get_client()
    # multiprocessing keeps one resource tracker of its own.
    wait_until_gone(pids - {os.getpid()})
    assert len(children() - before) <= 1


def test_without_a_section_threads_compute():
    with open_cluster() as client:
        assert client is None
        assert dask.config.get("scheduler") == "threads"


@pytest.mark.cluster
def test_a_running_scheduler_is_used_and_left_running():
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        address = cluster.scheduler_address
        section = SchedulerCluster(kind="scheduler", address=address, n_workers=1)
        assert address in section.words
        with open_cluster(section) as client:
            assert client.scheduler.address == address
            assert int(da.ones(10, chunks=5).sum().compute()) == 10
        assert len(cluster.scheduler_info["workers"]) == 1
        waiting = SchedulerCluster(kind="scheduler", address=address, n_workers=2, timeout=0.5)
        with pytest.raises(ClusterError, match=r"has 1 of 2 workers after 0.5 s; start more"), open_cluster(waiting):
            pytest.fail("the body must not run")


def test_a_scheduler_that_does_not_answer_is_a_cluster_error():
    section = SchedulerCluster(kind="scheduler", address="tcp://127.0.0.1:9", timeout=0.5)
    words = r"no Dask scheduler answered at tcp://127.0.0.1:9 within 0.5 s"
    with pytest.raises(ClusterError, match=words), open_cluster(section):
        pytest.fail("the body must not run")
    with pytest.raises(ValueError, match="No global client"):
        distributed.get_client()


def test_missing_certificates_are_an_error_of_the_job(tmp_path):
    files = dict.fromkeys(("tls_ca_file", "tls_cert", "tls_key"), tmp_path / "none.pem")
    section = SchedulerCluster.model_validate(
        {"kind": "scheduler", "address": "tls://127.0.0.1:9", "timeout": 0.5}
        | {key: str(path) for key, path in files.items()}
    )
    with (
        pytest.raises(JobError, match=r"cluster.tls_ca_file: there is no such file: .*none.pem"),
        open_cluster(section),
    ):
        pytest.fail("the body must not run")


@pytest.mark.cluster
def test_the_loss_of_the_workers_is_a_cluster_error():
    section = LocalCluster(kind="local", n_workers=1, threads_per_worker=1)
    words = r"local cluster of 1 worker\) was lost .* KilledWorker"
    dying = dask.delayed(os._exit)(1)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        pytest.raises(ClusterError, match=words),
        open_cluster(section),
    ):
        dying.compute()


def test_processes_live_as_long_as_the_job_and_their_loss_is_a_cluster_error():
    ids = da.zeros(2, dtype=int, chunks=2).map_blocks(where, dtype=int)
    dying = dask.delayed(os._exit)(1)
    first = []
    words = r"the cluster \(1 process\) was lost .* BrokenProcessPool"

    def compute_twice_and_die():
        with open_cluster(KINDS["processes"]):
            first.extend([ids.compute()[0], ids.compute()[0]])
            dying.compute()

    with pytest.raises(ClusterError, match=words):
        compute_twice_and_die()
    assert first[0] == first[1] != os.getpid()
