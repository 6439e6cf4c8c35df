"""Runs as processes: their exit codes, who may run, and what is left of one that was killed."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import numpy as np
import pytest
from waiting import wait_until

from dgmm.cli import main
from dgmm.jobs.exits import ENDINGS
from dgmm.jobs.runs.folders import PROGRESS, runs_in
from dgmm.jobs.runs.logs import read_lines

ROOT = Path(__file__).parents[3]
JOB = """
input: {path: x.npy}
model: {n_components: 2, random_state: 0}
output: {model: m.zarr}
"""
LONG = JOB.replace("n_components: 2", "n_components: 12, max_iter: 100000, tol: 0.0").replace("x.npy", "long.npy")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    np.save("x.npy", np.random.default_rng(0).normal(size=(400, 3)))
    return tmp_path


def started(name="job.yaml", *options):
    return subprocess.Popen(
        [sys.executable, "-m", "dgmm", "run", name, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def ended(text, name="job.yaml"):
    """The exit code of a run, and what it said."""
    Path(name).write_text(text)
    process = started(name)
    try:
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, err


@contextmanager
def running(words="iteration 3 of"):
    """A job that iterates for long, once its log has some words."""
    if not Path("long.npy").exists():
        np.save("long.npy", np.random.default_rng(0).normal(size=(60_000, 6)))
    Path("job.yaml").write_text(LONG)
    process = started()
    timer = Timer(120.0, process.kill)  # whatever happens, the lines end
    timer.start()
    try:
        assert any(words in line for line in process.stderr)
        yield process
    finally:
        timer.cancel()
        process.kill()
        process.communicate(timeout=60)


def last_run():
    return runs_in(Path("runs"))[0]


def no_rows(folder):
    np.save("x.npy", np.full((400, 3), np.nan))
    return JOB


CASES = {
    0: lambda folder: JOB,
    2: lambda folder: JOB.replace("x.npy", "none.npy"),
    65: no_rows,
    69: lambda folder: f"{JOB}cluster: {{kind: scheduler, address: 'tcp://127.0.0.1:1', timeout: 0.5}}\n",
}


@pytest.mark.parametrize("code", CASES)
def test_each_exit_code_stands_in_the_record(code, folder, capsys):
    found, err = ended(CASES[code](folder))
    assert found == code, err
    record = last_run().record
    assert (record.exit_code, record.state) == (code, ENDINGS[code].state)
    assert json.loads((last_run().path / "run.json").read_text())["exit_code"] == code
    assert bool(record.error) == bool(code)
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    assert ENDINGS[code].state in out
    assert main(["runs", "show", "last"]) == 0
    assert ENDINGS[code].advice[:20] in " ".join(capsys.readouterr().out.split())


def test_a_bug_stands_in_the_record_with_its_trace(folder, monkeypatch):
    Path("job.yaml").write_text(JOB)
    code = (
        "import sys, dgmm.jobs.running as running\n"
        "def broken(*arguments): raise RuntimeError('boom')\n"
        "running.make_report = broken\n"
        "from dgmm.cli import main\n"
        "sys.exit(main(['run', 'job.yaml']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == 1
    record = last_run().record
    assert (record.exit_code, record.state, record.error) == (1, "bug", "boom")
    (line,) = [line for line in read_lines(last_run().path / "log.jsonl") if line["level"] == "ERROR"]
    assert line["text"] == "RuntimeError: boom"
    assert "in broken" in line["fields"]["trace"]


def test_an_interrupted_run_says_so_and_is_gone_on_with(folder):
    with running() as process:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 75
        assert f"{PROGRESS}: run again to go on" in err
    record = last_run().record
    assert (record.exit_code, record.state) == (75, "interrupted")
    assert record.passes >= 4
    assert record.error.startswith("SIGTERM")
    assert last_run().progress.is_dir()
    assert ended(LONG.replace("100000", "5"))[0] == 0  # another job, which ends
    assert last_run().record.resumed_from is None


def test_a_second_run_at_once_is_refused_with_who_runs_the_first(folder, capsys):
    with running() as process:
        assert last_run().record.state == "running"
        assert main(["run", "job.yaml"]) == 75
        err = capsys.readouterr().err
        assert f"process {process.pid} on " in err
        assert "runs this job since 20" in err
        assert f"(run {last_run().record.id})" in err
        # Another job that writes to the same place, too.
        Path("other.yaml").write_text(JOB)
        assert main(["run", "other.yaml"]) == 75
        assert "job.yaml, which writes the same output.model, since" in capsys.readouterr().err
        assert len(runs_in(folder / "runs")) == 1  # nothing ran, so nothing is left
        wait_until(lambda: last_run().record.passes)  # written every two seconds
        process.kill()
        process.wait(timeout=60)
        killed = last_run()
        assert killed.record.state == "lost"
        # What was written as it happened: a pass is a line, a log record is one.
        assert len([line for line in read_lines(killed.path / "passes.jsonl") if "pass" in line]) >= 3
        assert any("iteration 3 of" in line["text"] for line in read_lines(killed.path / "log.jsonl"))
        assert main(["runs", "show", "last"]) == 0
        assert "it goes on from what was kept" in " ".join(capsys.readouterr().out.split())
        with running(" of 100000: "):  # no lock is left behind
            assert last_run().record.resumed_from == killed.record.id
            assert last_run().record.attempt == 2


def test_a_job_file_that_is_wrong_stands_among_the_runs(folder):
    assert ended(JOB)[0] == 0
    code, err = ended(JOB.replace("n_components: 2", "n_components: two"))
    assert code == 2
    record = last_run().record
    assert (record.exit_code, record.state) == (2, "bad job")
    assert record.error in err
    assert "job.yaml:3: model.n_components: found 'two'" in record.error


def test_a_first_job_file_that_is_wrong_leaves_nothing(folder):
    assert ended(JOB.replace("n_components: 2", "n_components: two"))[0] == 2
    assert sorted(path.name for path in folder.iterdir()) == ["job.yaml", "x.npy"]


def test_too_little_memory_is_no_bug(folder, monkeypatch, capsys):
    def allocate(*_):
        np.empty(2**58)  # as a worker does whose ulimit is too tight

    monkeypatch.setattr("dgmm.jobs.running._fitted", allocate)
    Path("job.yaml").write_text(JOB)
    assert main(["run", "job.yaml"]) == 69
    err = capsys.readouterr().err
    assert "no more memory (Unable to allocate" in err
    assert "Traceback" not in err
    assert last_run().record.state == "cluster failed"
