"""Jobs of kind bfr, and those that start with a scan."""

import json
import logging

import dask.array as da
import numpy as np
import pytest

from dgmm import BFRGaussianMixture, GaussianMixture
from dgmm.cli import main
from dgmm.errors import DataError
from dgmm.fitting.events import FitResumed, RoundFinished
from dgmm.jobs import load_job, run_job
from dgmm.jobs.progress import LogReporter

PARAMETERS = {"n_components": 2, "batch_rows": 500, "buffer_rows": 100, "random_state": 0}
JOB = """
input: {path: X.zarr}
model: {kind: bfr, n_components: 2, batch_rows: 500, buffer_rows: 100, random_state: 0}
output: {model: out/model.zarr, labels: out/labels.zarr, report: out/report.json}
checkpoint: {path: progress, interval: 0.0}
"""


class DiedError(Exception):
    pass


class Told(LogReporter):
    """Keeps the events; dies at a round."""

    def __init__(self, dies_at=0):
        super().__init__()
        self.dies_at, self.events, self.steps = dies_at, [], []

    def __call__(self, event):
        super().__call__(event)
        self.events.append(event)
        if isinstance(event, RoundFinished) and event.round == self.dies_at:
            raise DiedError

    def step(self, text):
        self.steps.append(text)


@pytest.fixture
def stored(tmp_path):
    X = np.random.default_rng(0).normal(size=(3000, 2))
    X[::2] += 6.0
    chunked = da.from_array(X, chunks=(250, 2))
    chunked.to_zarr(str(tmp_path / "X.zarr"))
    return chunked


def job(folder, **changes):
    text = JOB
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "job.yaml").write_text(text)
    return load_job(folder / "job.yaml")


def test_a_scan_by_a_job_is_that_of_the_class(stored, tmp_path):
    expected = BFRGaussianMixture(**PARAMETERS).fit(stored)
    told = Told(dies_at=4)
    with pytest.raises(DiedError):
        run_job(job(tmp_path), told)
    told = Told()
    result = run_job(job(tmp_path), told)
    assert [event.n_rounds for event in told.events if isinstance(event, FitResumed)] == [3]
    model = BFRGaussianMixture.load(tmp_path / "out" / "model.zarr")
    assert np.array_equal(model.means_, expected.means_)
    labels = da.from_zarr(str(tmp_path / "out" / "labels.zarr"), component="labels")
    assert np.array_equal(labels.compute(), expected.predict(stored).compute())
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report == result.report
    assert (report["kind"], report["rounds"], report["n_rows"]) == ("bfr", 6, 3000)
    assert report["mean_lower_bound"] == expected.lower_bound_
    told = Told()
    run_job(job(tmp_path), told)
    assert "nothing is left to do" in told.steps[-1]


def test_the_log_has_a_line_for_each_round(stored, tmp_path, caplog):
    caplog.set_level(logging.INFO, "dgmm")
    run_job(job(tmp_path))
    lines = [record.message for record in caplog.records]
    found = [line.partition(" rows")[0] for line in lines if line.startswith("round")]
    assert found == [f"round {number}: {500 * number:,}" for number in range(1, 7)]
    assert not [line for line in lines if line.startswith("pass")]


def test_the_commands_know_scans(stored, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job(tmp_path)
    assert main(["run", "job.yaml"]) == 0
    assert "2 components (full), 3,000 rows: " in capsys.readouterr().out
    assert main(["inspect", "out/model.zarr"]) == 0
    assert "6 rounds, settled" in capsys.readouterr().out
    assert main(["predict", "out/model.zarr", "X.zarr", "again.zarr"]) == 0
    again, labels = (
        da.from_zarr(str(tmp_path / name), component="labels") for name in ("again.zarr", "out/labels.zarr")
    )
    assert np.array_equal(again.compute(), labels.compute())


def test_a_refined_scan(stored, tmp_path):
    result = run_job(job(tmp_path, **{"random_state: 0": "random_state: 0, refine_passes: 2"}))
    expected = BFRGaussianMixture(refine_passes=2, **PARAMETERS).fit(stored)
    assert np.array_equal(result.model.means_, expected.means_)
    assert len(result.report["lower_bounds"]) == 6 + 2


def test_em_that_starts_with_a_scan(stored, tmp_path):
    changes = {"kind: bfr, ": "", "batch_rows: 500, buffer_rows: 100": "init_params: bfr, sample_rows: 500"}
    result = run_job(job(tmp_path, **changes))
    expected = GaussianMixture(2, init_params="bfr", sample_rows=500, random_state=0).fit(stored)
    assert np.array_equal(result.model.means_, expected.means_)
    assert result.report["reads"] == expected.n_reads_


def test_an_array_that_grows_has_two_dimensions(tmp_path):
    da.zeros((4, 5, 2), chunks=(2, 5, 2)).to_zarr(str(tmp_path / "X.zarr"))
    changes = {"X.zarr": "X.zarr, growing: true", "labels: out/labels.zarr, ": ""}
    with pytest.raises(DataError, match="rows run over dim_0, dim_1; what grows must have one dimension"):
        run_job(job(tmp_path, **changes))
