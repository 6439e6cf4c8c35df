"""Workers as jobs of a real SLURM: fits through them, their deaths, and what is left of them."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import dask
import numpy as np
import pytest
import yaml
from clusters.documented import run_page
from faults.small_fit import fit, rows, same_bits
from waiting import wait_until

from dgmm.errors import ClusterError
from dgmm.fitting.events import PassStarted
from dgmm.jobs.clusters.opening import open_cluster

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.cluster
PATIENCE = 300.0
OTHER = ("--job-name=other", "--output=/dev/null", "--wrap", "sleep 600")


@pytest.fixture
def section(tmp_path):
    """Two workers of one core."""
    return {
        "kind": "slurm",
        "n_workers": 2,
        "cores": 1,
        "memory": "1GiB",
        "walltime": "00:10:00",
        "interface": "lo",
        "log_directory": str(tmp_path),
        "shared_directory": str(tmp_path),
        "job_script_prologue": [f"export PYTHONPATH={ROOT}:{ROOT / 'tests'}"],
        "timeout": PATIENCE,
    }


@pytest.fixture(scope="module")
def expected():
    with dask.config.set(scheduler="synchronous"):
        return fit(rows())


class InPass:
    """A callback that lets something happen while the second pass runs."""

    def __init__(self, action) -> None:
        self.action, self.done = action, threading.Event()

    def __call__(self, event) -> None:
        if isinstance(event, PassStarted) and event.index == 2:
            threading.Timer(0.1, self._act).start()

    def _act(self) -> None:
        self.action()
        self.done.set()


def fit_while_workers_die(section, slurm, expected):
    """Fits that are disturbed ever more, and then an error."""
    told = []
    with open_cluster(section, tell=told.append) as client:
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        assert {job["state"] for job in slurm.queue()} == {"RUNNING"}
        assert same_bits(fit(rows()), expected)

        (keys,) = Path(section["shared_directory"]).glob(".dgmm-slurm-*")
        assert not any(stat.S_IMODE(path.stat().st_mode) & 0o77 for path in (keys, keys / "key.pem"))
        victim = next(iter(client.run(os.getpid).values()))
        killing = InPass(lambda: os.kill(victim, signal.SIGKILL))
        assert same_bits(fit(rows(pause=0.03), callbacks=[killing]), expected)
        assert killing.done.wait(PATIENCE)

        cancelled = slurm.queue()[0]["id"]
        killing = InPass(lambda: slurm.call("scancel", cancelled))
        assert same_bits(fit(rows(pause=0.03), callbacks=[killing]), expected)
        assert killing.done.wait(PATIENCE)
        # Its place is taken by another job.
        slurm.wait(lambda queue: len(queue) == 2 and cancelled not in {job["id"] for job in queue})
        client.wait_for_workers(2, timeout=PATIENCE)
        assert "1 SLURM job ended before the work was done; submitted again" in told
        raise ZeroDivisionError


def test_a_fit_has_the_bits_of_one_here_whoever_dies(section, slurm, expected, tmp_path):
    with pytest.raises(ZeroDivisionError):
        fit_while_workers_die(section, slurm, expected)
    slurm.wait(lambda queue: not queue, PATIENCE)
    assert not list(tmp_path.glob(".dgmm-slurm-*"))


def test_what_is_waited_for_is_told_and_nothing_stays_behind(section, slurm):
    # One of the two jobs finds no core.
    slurm.call("sbatch", f"--cpus-per-task={slurm.cores - 1}", "--mem=100", *OTHER)
    slurm.wait(lambda queue: [job for job in queue if job["state"] == "RUNNING"])
    told = []
    words = r"has [01] of 2 workers after 8 s; SLURM: 1 running, 1 pending \((Resources|Priority)\); look at squeue"
    with pytest.raises(ClusterError, match=words), open_cluster(section | {"timeout": 8}, tell=told.append):
        pytest.fail("the body must not run")
    assert re.fullmatch(r"waiting for workers: [01] of 2 workers after 5 s; SLURM: .*1 pending \(.*\).*", told[0])
    slurm.wait(lambda queue: [job["name"] for job in queue] == ["other"], PATIENCE)


def test_what_slurm_refuses_is_said_at_once_in_its_words(section, slurm, capfd, tmp_path):
    words = (
        r"SLURM refuses 2 of 2 jobs: invalid partition specified: nowhere; .*correct the keys of the cluster file \("
    )
    with pytest.raises(ClusterError, match=words), open_cluster(section | {"queue": "nowhere", "timeout": 3600.0}):
        pytest.fail("the body must not run")
    assert capfd.readouterr().err == ""
    assert not slurm.queue()
    assert not list(tmp_path.glob(".dgmm-slurm-*"))


def test_a_job_that_slurm_refuses_for_a_while_is_submitted_again(section, slurm, monkeypatch):
    monkeypatch.setattr("dgmm.jobs.clusters.slurm._LOOK", (0.5, 2.0))
    told = []
    with open_cluster(section | {"wait_for": 1}, tell=told.append) as client:
        # Nobody may submit, until the first refusal has been told.
        slurm.call("scontrol", "update", "PartitionName=main", "State=INACTIVE")
        try:
            slurm.call("scancel", slurm.queue()[0]["id"])
            wait_until(lambda: any(line.startswith("SLURM refused 1 job, to be") for line in told), PATIENCE)
        finally:
            slurm.call("scontrol", "update", "PartitionName=main", "State=UP")
        client.wait_for_workers(2, timeout=PATIENCE)


def test_the_page_says_how(section, slurm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = ("interface", "log_directory", "shared_directory", "job_script_prologue", "timeout")
    run_page("SLURM", "slurm.yaml", tmp_path, **{key: section[key] for key in ours})
    slurm.wait(lambda queue: not queue, PATIENCE)
    assert Path("dgmm-job.sbatch").exists()


JOB = """\
input: {path: x.npy}
model: {n_components: 12, max_iter: 100000, tol: 0.0, random_state: 0}
output: {model: model.zarr}
checkpoint: {path: progress}
"""


def test_sigterm_to_the_command_takes_the_jobs_down(section, slurm, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60_000, 6)))
    (tmp_path / "job.yaml").write_text(JOB)
    (tmp_path / "slurm.yaml").write_text(yaml.safe_dump(section | {"adapt": {"maximum": 2}, "n_workers": None}))
    process = subprocess.Popen(
        [sys.executable, "-m", "dgmm", "run", "job.yaml", "--cluster", "slurm.yaml"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    timer = threading.Timer(PATIENCE, process.kill)  # whatever happens, the lines end
    timer.start()
    try:
        assert any("iteration 2 of" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    finally:
        timer.cancel()
        process.kill()
    assert (process.returncode, "Traceback" in err) == (75, False), err
    slurm.wait(lambda queue: not queue, PATIENCE)
    assert not list(tmp_path.glob(".dgmm-slurm-*"))
