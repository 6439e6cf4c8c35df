"""The shipped stream: batches that arrive, runs that are killed, and runs without anything new."""

import os
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer

import dask.array as da
import numpy as np
import pytest
import yaml

from dgmm import BFRGaussianMixture
from dgmm.cli import main
from dgmm.jobs.runs.telling import find_runs
from dgmm.storage.places import LOCK

ROOT = Path(__file__).parents[2]
JOB = "workflows/stream.yaml"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(ROOT / "workflows", tmp_path / "workflows", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def started(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )


def run(folder, *arguments, expected=0):
    process = started(folder, *arguments)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == expected, err
    return out, err


def arrive(folder, batches=1):
    """Have batches arrive, as the command has it that the workflow names."""
    append = runpy.run_path(str(folder / "workflows" / "append_batch.py"))["append"]
    for _ in range(batches):
        append(folder / "stream" / "rows.zarr")


def run_job(folder):
    return run(folder, "-m", "dgmm", "run", JOB)


def interrupted(folder, at, how):
    """A run of the job that is sent a signal once its log has a line with some words."""
    process = started(folder, "-m", "dgmm", "run", JOB)
    timer = Timer(120.0, process.kill)  # whatever happens, the lines end
    timer.start()
    try:
        assert any(at in line for line in process.stderr)
        process.send_signal(how)
        process.communicate(timeout=60)
        return process.returncode
    finally:
        timer.cancel()
        process.kill()
        process.wait(timeout=60)


def model_of(folder):
    return BFRGaussianMixture.load(folder / "stream" / "model.zarr")


def expected_of(folder):
    """One scan over the same rounds: each batch is one."""
    parameters = yaml.safe_load((folder / JOB).read_text())["model"]
    del parameters["kind"]
    return BFRGaussianMixture(**parameters).partial_fit(da.from_zarr(str(folder / "stream" / "rows.zarr")))


def same_bits(model, other):
    names = ("weights_", "means_", "covariances_", "lower_bounds_", "n_iter_")
    return all(np.array_equal(getattr(model, name), getattr(other, name)) for name in names)


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != LOCK}


def test_a_stream_from_its_first_batch_on(folder):
    out, _ = run(folder, "workflows/append_batch.py", "stream/rows.zarr")
    assert out == "stream/rows.zarr: 20,000 rows\n"
    out, err = run_job(folder)
    assert "20,000 rows: settled after 1 round" in out
    assert "round 1: 20,000 rows so far" in err
    arrive(folder, 4)
    out, err = run_job(folder)
    assert "going on from the checkpoint" in err
    assert "round 1:" not in err
    assert "100,000 rows" in out
    model = model_of(folder)
    assert same_bits(model, expected_of(folder))
    # The source that came with the fourth batch is a component.
    assert np.linalg.norm(model.means_ - [3.0, 14.0, 8.0], axis=1).min() < 0.2
    before = stamps(folder / "stream")
    again, err = run_job(folder)
    assert "everything was written before: nothing is left to do" in err
    assert again == out
    assert stamps(folder / "stream") == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_ended_within_goes_on(how, folder):
    arrive(folder)
    run_job(folder)
    arrive(folder, 8)
    code = interrupted(folder, "round 3:", how)
    assert code == (-signal.SIGKILL if how is signal.SIGKILL else 75)
    assert model_of(folder).n_iter_ == 1  # that of the run before, whole
    arrive(folder)
    _, err = run_job(folder)
    assert "round 10:" in err
    if how is signal.SIGTERM:  # by which what was done is kept before the end
        assert "round 2:" not in err
    assert same_bits(model_of(folder), expected_of(folder))


def test_rows_that_changed_are_refused_and_nothing_is_written(folder, capsys):
    arrive(folder)
    assert main(["run", str(folder / JOB)]) == 0
    before = stamps(folder / "stream" / "model.zarr")
    capsys.readouterr()
    shutil.rmtree(folder / "stream" / "rows.zarr")
    da.zeros((40_000, 3), chunks=(20_000, 3)).to_zarr(str(folder / "stream" / "rows.zarr"))
    assert main(["run", str(folder / JOB)]) == 2
    assert "the checkpoint is of other data: in rows 0 to 19,999 of X" in capsys.readouterr().err
    assert stamps(folder / "stream" / "model.zarr") == before


def test_too_few_rows_for_a_start_leave_no_model_yet(folder, capsys):
    text = (folder / JOB).read_text().replace("batch_rows: 20000", "batch_rows: 30000")
    (folder / JOB).write_text(text)
    arrive(folder)
    assert main(["run", str(folder / JOB)]) == 0
    out = capsys.readouterr().out
    assert "20,000 rows in 1 round: too few to start, no model yet" in out
    assert not (folder / "stream" / "model.zarr").exists()
    assert (folder / "stream" / "report.json").exists()
    assert main(["run", str(folder / JOB)]) == 0
    assert "nothing is left to do" in capsys.readouterr().err
    assert len(find_runs(folder / JOB)) == 1
    arrive(folder)
    assert main(["run", str(folder / JOB)]) == 0
    assert "40,000 rows: " in capsys.readouterr().out
    assert model_of(folder).n_iter_ == 2
