"""Signals to ``dgmm run``, really sent."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import numpy as np
import psutil
import pytest

ROOT = Path(__file__).parents[1]
JOB = """
input: {{path: x.npy}}
model: {{n_components: 12, max_iter: 100000, tol: 0.0, random_state: 0}}
output: {{model: model.zarr, labels: labels.zarr}}
cluster: {{kind: {kind}, n_workers: 2}}
checkpoint: {{path: progress}}
"""


@contextmanager
def iterating(folder, kind):
    """A run of a job that iterates for long; killed at the end, with all that it started."""
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(60_000, 6)))
    (folder / "job.yaml").write_text(JOB.format(kind=kind))
    process = subprocess.Popen(
        [sys.executable, "-m", "dgmm", "run", "job.yaml"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    started = []
    timer = Timer(120.0, process.kill)  # whatever happens, the lines end
    timer.start()
    try:
        assert any("iteration 2 of" in line for line in process.stderr)
        started = psutil.Process(process.pid).children(recursive=True)
        yield process, started
    finally:
        timer.cancel()
        for each in started:
            if each.is_running():
                each.kill()
        process.kill()
        process.communicate(timeout=60)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGUSR1])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_with_75_too(first, second, tmp_path):
    with iterating(tmp_path, "threads") as (process, _):
        process.send_signal(first)
        process.send_signal(second)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 75
        assert "run again" in err
        assert "Traceback" not in err
    assert not list(tmp_path.glob("*.zarr"))


def test_processes_of_a_pool_end_with_a_run_that_is_killed(tmp_path):
    with iterating(tmp_path, "processes") as (process, started):
        assert len(started) >= 2
        process.kill()
        _, alive = psutil.wait_procs(started, timeout=60)
        assert not alive
