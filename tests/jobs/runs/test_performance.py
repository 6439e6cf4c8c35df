"""Dask's performance report, where the job asks for it and computes on a cluster."""

import numpy as np
import pytest

from dgmm.cli import main
from dgmm.jobs.runs import performance
from dgmm.jobs.runs.folders import runs_in

JOB = """
input: {path: x.npy}
model: {n_components: 2, random_state: 0}
output: {model: m.zarr}
run: {performance_report: true}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).normal(size=(400, 2)))
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore::DeprecationWarning:bokeh", "ignore::FutureWarning:bokeh")
def test_a_job_on_a_cluster_leaves_one(folder, capsys):
    pytest.importorskip("bokeh", reason="install the extra performance")
    with (folder / "job.yaml").open("a") as file:
        file.write("cluster: {kind: local, n_workers: 1, threads_per_worker: 1}\n")
    assert main(["run", "job.yaml"]) == 0, capsys.readouterr().err
    text = (runs_in(folder / "runs")[0].path / "performance.html").read_text()
    assert "dgmm-moments" in text
    assert main(["runs", "show", "last"]) == 0
    assert "performance.html" in capsys.readouterr().out


def test_without_a_cluster_the_log_says_that_there_is_none(folder, monkeypatch, capsys):
    monkeypatch.setattr(performance.importlib.util, "find_spec", lambda name: object())
    assert main(["run", "job.yaml"]) == 0
    assert "no performance report: Dask makes one on clusters that have a scheduler" in capsys.readouterr().err


def test_what_draws_it_is_asked_for_before_anything_is_read(folder, monkeypatch, capsys):
    monkeypatch.setattr(performance.importlib.util, "find_spec", lambda name: None)
    assert main(["run", "job.yaml"]) == 2
    assert "python -m pip install 'dgmm[performance]'" in capsys.readouterr().err
    assert not (folder / "m.zarr").exists()
