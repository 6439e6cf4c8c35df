"""The command line: what it prints, and the exit codes that a scheduler of jobs relies on."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dgmm import GaussianMixture, __version__
from dgmm import errors as dgmm_errors
from dgmm.cli import EXIT_CODES, main
from dgmm.storage.storing import write_array

ROOT = Path(__file__).parents[1]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder with rows of two well separated groups."""
    rng = np.random.default_rng(3)
    data = np.concatenate([rng.normal(0, 1, (300, 3)), rng.normal(9, 1, (100, 3))])
    np.save(tmp_path / "x.npy", data)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def job_file(folder: Path, text: str = "", name: str = "job.yaml") -> str:
    sections = "input: {path: x.npy}\nmodel: {n_components: 2, random_state: 0}\noutput: {model: m.zarr}\n"
    (folder / name).write_text(sections + text)
    return name


def test_help_names_every_command_and_exit_code(folder, capsys):
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    commands = ("run", "fit", "predict", "report", "inspect", "certs", "runs")
    for words in (*commands, "A job file says what to read", "75 interrupted"):
        assert words in text


@pytest.mark.parametrize("command", ["run", "fit", "predict", "report", "inspect", "certs", "runs"])
def test_each_command_has_help(folder, capsys, command):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: dgmm {command}" in out
    assert all(len(line) <= 100 for line in out.splitlines())


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dgmm {__version__}\n"


def test_every_kind_of_error_has_an_exit_code():
    kinds = [k for k in vars(dgmm_errors).values() if isinstance(k, type) and issubclass(k, dgmm_errors.DgmmError)]
    without = [k for k in kinds if not any(issubclass(k, listed) for listed, _ in EXIT_CODES)]
    assert without == [dgmm_errors.DgmmError]


def test_run_fits_and_reports(folder, capsys):
    assert main(["run", job_file(folder)]) == 0
    printed = capsys.readouterr()
    assert re.match(r"2 components \(full\), 400 rows: converged after \d+ iterations, mean log-", printed.out)
    assert "\nmodel: m.zarr\n" in printed.out
    lines = [line for line in printed.err.splitlines() if " INFO iteration " in line]
    assert len(lines) == GaussianMixture.load(folder / "m.zarr").n_iter_
    assert re.match(r"\d\d:\d\d:\d\d INFO iteration 1 of 100: log-likelihood -", lines[0])


def test_inspect_shows_variables_and_columns(folder, capsys):
    dataset = xr.Dataset({"sst": (("y", "x"), np.zeros((3, 4), np.float32))}, coords={"y": np.arange(3.0)})
    dataset.to_netcdf("s.nc")
    pd.DataFrame({"delay": [1.0, 2.0], "carrier": ["AA", "UA"]}).to_parquet("t.parquet")
    assert main(["inspect", "s.nc"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"sst\s+3 x 4\s+y, x\s+float32\s+3 x 4\s+48 B", out)
    assert re.search(r"y\s+3\s+y\s+float64", out)
    assert main(["inspect", "t.parquet"]) == 0
    assert re.search(r"delay\s+2\s+float64\s+16 B", capsys.readouterr().out)


def test_fit_predict_inspect(folder, capsys):
    assert main(["fit", "x.npy", "-k", "2", "-o", "m.zarr", "--random-state", "0", "--features", "0,2"]) == 0
    model = GaussianMixture.load(folder / "m.zarr")
    assert model.means_.shape == (2, 2)
    assert main(["predict", "m.zarr", "x.npy", "l.zarr", "--features", "0,2"]) == 0
    labels = xr.open_zarr(folder / "l.zarr").labels
    assert labels.dims == ("row",)
    np.testing.assert_array_equal(labels.values, model.predict(np.load("x.npy")[:, [0, 2]]))
    capsys.readouterr()

    assert main(["inspect", "m.zarr"]) == 0
    out = capsys.readouterr().out
    assert "2 (full)" in out
    assert "converged" in out
    for k in range(2):
        row = next(line.split() for line in out.splitlines() if line.split()[:1] == [str(k)])
        np.testing.assert_allclose([float(cell) for cell in row[1:]], [model.weights_[k], *model.means_[k]], rtol=1e-3)

    assert main(["inspect", "l.zarr"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"labels\s+400\s+row\s+int32\s+400", out)


def test_inspect_shows_every_array_of_a_store(folder, capsys):
    write_array(
        da.zeros((600, 40, 3), chunks=(100, 40, 3), dtype="u1"), "s.zarr", name="scene", dims=("y", "x", "band")
    )
    assert main(["inspect", "s.zarr"]) == 0
    assert re.search(r"scene\s+600 x 40 x 3\s+y, x, band\s+uint8\s+100 x 40 x 3\s+70.3 KiB", capsys.readouterr().out)
    assert main(["inspect", "x.npy"]) == 0
    assert re.search(r"x.npy\s+400 x 3\s+float64", capsys.readouterr().out)


def test_all_problems_of_a_job_are_printed_with_their_lines(folder, capsys):
    name = job_file(folder, "cluster: {kind: x}\ncheckpoint: here\n")
    assert main(["run", name]) == 2
    err = capsys.readouterr().err
    assert err.startswith("job.yaml:4: cluster.kind: found 'x'")
    assert "\njob.yaml:5: checkpoint: found 'here'; allowed: a section that says where the progress" in err


def test_a_bug_is_logged_with_its_trace(folder, monkeypatch, capsys):
    def bug(*_, **__):
        raise RuntimeError("boom")

    monkeypatch.setattr("dgmm.jobs.runs.recording.run_job", bug)
    assert main(["run", job_file(folder)]) == 1
    err = capsys.readouterr().err
    assert "ERROR a bug in dgmm" in err
    assert "RuntimeError: boom" in err


def test_warnings_are_logged_not_raised_on_the_screen(folder, monkeypatch, capsys):
    name = job_file(folder)
    (folder / name).write_text((folder / name).read_text().replace("random_state: 0", "max_iter: 1, tol: 0"))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["run", name]) == 0
    printed = capsys.readouterr()
    assert "WARNING ConvergenceWarning: " in printed.err
    assert "not converged after 1 iteration," in printed.out


def test_the_process_is_left_as_it_was(folder):
    logger = logging.getLogger("dgmm")
    before = [logger.level, logger.propagate, list(logger.handlers), warnings.showwarning]
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    main(["run", job_file(folder)])
    assert [logger.level, logger.propagate, list(logger.handlers), warnings.showwarning] == before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (signal.SIGINT, "threads"),
        (signal.SIGTERM, "threads"),
        pytest.param(signal.SIGTERM, "local", marks=pytest.mark.cluster),
    ],
)
def test_a_signal_ends_a_run_with_75_and_no_half_output(folder, number, kind):
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(200_000, 6)))
    options = ", n_workers: 1, threads_per_worker: 1" if kind == "local" else ""
    job = job_file(folder, f"cluster: {{kind: {kind}{options}}}\n")
    text = (folder / job).read_text().replace("n_components: 2", "n_components: 12, tol: 0, max_iter: 100000")
    (folder / job).write_text(text)
    process = subprocess.Popen(
        [sys.executable, "-m", "dgmm", "run", job],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "iteration 2 of" in line:
            break
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 75
    assert time.monotonic() - began < 15
    assert f"interrupted ({number.name}); no output was left half-written; what the fit has done is kept in " in err
    assert err.endswith(": run again to go on\n")
    assert "Traceback" not in err
    assert out == ""
    assert names(folder) == ["job.yaml", "runs", "x.npy"]


def test_the_module_is_a_command(folder):
    done = subprocess.run(
        [sys.executable, "-m", "dgmm", "inspect", "nothing"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "nothing: there is no such file or folder; expected a model, zarr, NetCDF, Parquet or a .npy file\n"
    )
