"""A whole job in one allocation: what ``dgmm schedule --for slurm`` writes, run by a real SLURM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from waiting import wait_until

from dgmm import GaussianMixture
from dgmm.cli import main

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0
pytestmark = pytest.mark.cluster
JOB = """\
input: {path: x.npy}
model: {n_components: 6, max_iter: 60, tol: 0.0, accelerate: null, random_state: 0}
output: {model: model.zarr}
cluster: {kind: threads, n_workers: 2}
checkpoint: {path: progress, interval: 0}
"""
CLUSTER = """\
kind: slurm
n_workers: 2
cores: 1
memory: 1GiB
interface: lo
walltime: "00:15:00"
"""


@pytest.fixture
def folder(tmp_path):
    """A job of 60 iterations."""
    folder = tmp_path / "jobs, 100%"
    folder.mkdir()
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(40_000, 4)))
    (folder / "job.yaml").write_text(JOB)
    (folder / "slurm.yaml").write_text(CLUSTER)
    (folder / "job.env").write_text(f"PYTHONPATH={ROOT}\n")
    return folder


def parameters(path):
    model = GaussianMixture.load(path)
    return [model.weights_, model.means_, model.covariances_]


def wait_for(log, text):
    wait_until(
        lambda: log.exists() and text in log.read_text(),
        PATIENCE,
        lambda: log.read_text() if log.exists() else "no log",
    )


@pytest.mark.filterwarnings("ignore:the fit did not converge")
def test_a_job_is_interrupted_requeued_and_ends_with_the_same_bits(folder, slurm, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["schedule", "job.yaml", "--cron", "@daily", "--for", "slurm", "--cluster", "slurm.yaml"]) == 0
    number = slurm.call("sbatch", "--parsable", "dgmm-job.sbatch")
    log = folder / "job.log"
    wait_for(log, "iteration 3 of 60")
    # What SLURM sends by --signal before the time is up.
    slurm.call("scancel", "--signal=USR1", "--batch", number)
    slurm.wait(lambda queue: [job for job in queue if job["state"] == "PENDING"], PATIENCE)
    assert not (folder / "model.zarr").exists()
    slurm.wait(lambda queue: not queue, PATIENCE)
    text = log.read_text()
    assert text.count("free in each of 2 processes") == 2
    assert "going on from the checkpoint" in text
    assert "a bug in dgmm" not in text
    assert not list(folder.glob(".*"))
    requeued = parameters(folder / "model.zarr")
    (folder / "job.yaml").write_text(JOB.replace("model.zarr", "threads.zarr").replace("progress", "other"))
    assert main(["run", "job.yaml"]) == 0
    for one, other in zip(requeued, parameters(folder / "threads.zarr"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_job_that_is_cancelled_stays_so(folder, slurm, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "job.yaml").write_text(JOB.replace("max_iter: 60", "max_iter: 3000"))
    assert main(["schedule", "job.yaml", "--cron", "@daily", "--for", "slurm"]) == 0
    number = slurm.call("sbatch", "--parsable", "dgmm-job.sbatch")
    log = folder / "job.log"
    wait_for(log, "iteration 3 of")
    assert [job["cores"] for job in slurm.queue()] == ["2"]
    slurm.call("scancel", number)
    slurm.wait(lambda queue: not queue, PATIENCE)
    assert "REQUEUE" not in log.read_text()


@pytest.mark.parametrize(
    ("job", "cluster", "words"),
    [
        ("checkpoint:", "", "checkpoint: SLURM ends a job when its time is up, and this one keeps no progress"),
        ("", "walltime", "cluster.walltime: found '00:04:59'; a job that is told of its end two minutes before needs"),
    ],
)
def test_a_job_that_could_not_go_on_is_refused(job, cluster, words, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    if job:
        (folder / "job.yaml").write_text(JOB.partition(job)[0] + "checkpoint: none\n")
    if cluster:
        (folder / "slurm.yaml").write_text(CLUSTER.replace("00:15:00", "00:04:59"))
    command = ["schedule", "job.yaml", "--cron", "@daily", "--for", "slurm", "--cluster", "slurm.yaml"]
    assert main(command) == 2
    assert words in capsys.readouterr().err
