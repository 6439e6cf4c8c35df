"""Workers and schedulers are killed, stopped and starved, by process id, while a fit runs on them."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client
from faults.small_fit import fit, rows, same_bits

from dgmm import Checkpoint, Execution
from dgmm.errors import ClusterError
from dgmm.fitting.events import PassStarted

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
pytestmark = pytest.mark.cluster


@cache
def expected():
    with dask.config.set(scheduler="synchronous"):
        return fit(rows())


class Cluster:
    """A scheduler and workers, each a process of its own that the test knows the id of."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, []
        self.scheduler_file = folder / "scheduler.json"
        self.scheduler = self.start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self.scheduler_file)
        )
        self.workers = []

    def start(self, command: str, *arguments: str) -> subprocess.Popen:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
            "DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "1s",
        }
        log = (self.folder / f"{len(self.processes)}.log").open("w")
        command = [sys.executable, "-m", f"distributed.cli.{command}", "--no-dashboard", *arguments]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)
        log.close()
        self.processes.append(process)
        return process

    def add_worker(self, *arguments: str) -> subprocess.Popen:
        worker = self.start(
            "dask_worker", "--scheduler-file", str(self.scheduler_file), "--nthreads", "1", "--host", "127.0.0.1",
            *(arguments or ("--no-nanny",)),
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def client(self) -> Client:
        return Client(scheduler_file=str(self.scheduler_file), timeout=PATIENCE, set_as_default=False)

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait(PATIENCE)


@pytest.fixture
def new_cluster(tmp_path):
    clusters = []

    def start(n_workers: int, *arguments: str) -> Cluster:
        folder = tmp_path / f"cluster-{len(clusters)}"
        folder.mkdir()
        clusters.append(Cluster(folder))
        for _ in range(n_workers):
            clusters[-1].add_worker(*arguments)
        return clusters[-1]

    try:
        yield start
    finally:
        for cluster in clusters:
            cluster.close()


class InPass:
    """A callback that lets something happen at a random moment of a pass, once."""

    def __init__(self, number: int, action, seed: int, longest: float = 0.5) -> None:
        self.number, self.action, self.done = number, action, threading.Event()
        self.delay = random.Random(seed).uniform(0.0, longest)

    def __call__(self, event) -> None:
        if isinstance(event, PassStarted) and event.index == self.number:
            threading.Timer(self.delay, self._act).start()

    def _act(self) -> None:
        self.action()
        self.done.set()


def fit_on(client: Client, callback, checkpoint=None, execution=None, **parameters):
    with client.as_current(), dask.config.set(scheduler="distributed"):
        model = fit(rows(pause=0.1), checkpoint, [callback], execution or Execution(persist=False), **parameters)
    assert callback.done.wait(PATIENCE)
    return model


def kill(*processes: subprocess.Popen) -> None:
    for process in processes:
        process.kill()


@pytest.mark.parametrize(("persist", "seed"), [(False, 0), (True, 1)])
def test_a_worker_dies_in_a_pass(new_cluster, persist, seed):
    cluster = new_cluster(3)
    with cluster.client() as client:
        client.wait_for_workers(3, timeout=PATIENCE)
        disturb = InPass(2, lambda: kill(cluster.workers[0]), seed)
        model = fit_on(client, disturb, execution=Execution(persist=persist))
    assert same_bits(model, expected())


def test_the_worker_that_holds_the_parameters_dies(new_cluster):
    cluster, killed = new_cluster(3), []
    with cluster.client() as client:
        client.wait_for_workers(3, timeout=PATIENCE)
        pids = client.run(os.getpid)

        def kill_the_holders() -> None:
            held = client.run_on_scheduler(holders_of_parameters)
            killed.extend(held)
            for address in held[:2]:  # at least one is left
                os.kill(pids[address], signal.SIGKILL)

        model = fit_on(client, InPass(2, kill_the_holders, seed=3))
    assert killed
    assert same_bits(model, expected())


def holders_of_parameters(dask_scheduler) -> list[str]:
    return sorted(
        worker.address
        for key, task in dask_scheduler.tasks.items()
        if str(key).startswith("dgmm-parameters-")
        for worker in task.who_has or ()
    )


@pytest.mark.parametrize("persist", [False, True])
def test_all_workers_die_and_others_come(new_cluster, persist):
    cluster = new_cluster(2)
    with cluster.client() as client:
        client.wait_for_workers(2, timeout=PATIENCE)

        def replace_all() -> None:
            kill(*cluster.workers)
            cluster.add_worker()

        model = fit_on(client, InPass(2, replace_all, seed=4), execution=Execution(persist=persist))
    assert same_bits(model, expected())


def test_a_worker_is_stopped_and_goes_on(new_cluster):
    cluster = new_cluster(2)
    with cluster.client() as client:
        client.wait_for_workers(2, timeout=PATIENCE)

        def stop() -> None:
            cluster.workers[1].send_signal(signal.SIGSTOP)
            time.sleep(3.0)
            cluster.workers[1].send_signal(signal.SIGCONT)

        model = fit_on(client, InPass(2, stop, seed=5))
    assert same_bits(model, expected())


def test_the_scheduler_dies_and_the_fit_goes_on_with_another(new_cluster, tmp_path):
    cluster, place = new_cluster(2), Checkpoint(tmp_path / "place", interval=0.0)
    client = cluster.client()
    try:
        client.wait_for_workers(2, timeout=PATIENCE)
        with pytest.raises(ClusterError, match=r"the scheduler was lost during pass 2 .* run again") as caught:
            fit_on(client, InPass(2, lambda: kill(cluster.scheduler), seed=6, longest=0.3), place)
        assert any("run again to go on" in note for note in caught.value.__notes__)
    finally:
        client.close(timeout=5)
    other, started = new_cluster(1), []
    with other.client() as client, client.as_current(), dask.config.set(scheduler="distributed"):
        client.wait_for_workers(1, timeout=PATIENCE)
        model = fit(rows(pause=0.1), place, [lambda event: started.append(event)])
    assert min(event.index for event in started if isinstance(event, PassStarted)) == 2
    assert same_bits(model, expected())


def hog(block, block_info=None, allowed=None):
    """The same rows; one chunk takes more memory than a worker has, until it is allowed to be read."""
    if block_info[0]["chunk-location"][0] == 5 and not Path(allowed).exists():
        taken = np.ones(2**28)  # 2 GiB
        time.sleep(30.0)
        del taken
    return block


def test_a_chunk_that_does_not_fit_a_worker_is_named(new_cluster, tmp_path):
    cluster, allowed = new_cluster(2, "--nanny", "--memory-limit", "900MB"), tmp_path / "allowed"
    X = rows().map_blocks(hog, allowed=str(allowed), dtype=np.float64)
    place = Checkpoint(tmp_path / "place", interval=0.0)
    with cluster.client() as client, client.as_current(), dask.config.set(scheduler="distributed"):
        client.wait_for_workers(2, timeout=PATIENCE)
        with pytest.raises(
            ClusterError, match=r"pass 1 \(moments\) over chunks 4 to 5 .*: 2 workers died of it.* smaller chunks"
        ):
            fit(X, place, execution=Execution(persist=False, pass_retries=0))
        allowed.touch()
        client.wait_for_workers(2, timeout=PATIENCE)
        model = fit(X, place)
    assert same_bits(model, expected())
