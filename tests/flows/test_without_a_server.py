"""What can be said of flows without Prefect's server: what is written for it, and when Prefect is imported at all."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dgmm.errors import MissingExtraError
from dgmm.jobs.clusters.opening import open_cluster
from dgmm.jobs.loading import load_job
from dgmm.jobs.page import Stopwatch
from dgmm.jobs.prefect import _show, job_flow
from dgmm.jobs.running import run_job
from dgmm.jobs.schedules.schedule import make_schedule
from dgmm.jobs.schedules.writing import write_schedule

JOB = "input: {path: s3://bucket/x.zarr}\nmodel: {n_components: 2}\noutput: {model: model.zarr}\n"


def test_prefect_and_kr8s_are_left_alone_until_they_are_needed():
    lines = "import sys, dgmm, dgmm.cli, dgmm.jobs.prefect; print({'prefect', 'kr8s'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", lines], check=True, capture_output=True, text=True, timeout=120)
    assert told.stdout == "set()\n"


def test_an_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "prefect", None)
    with pytest.raises(MissingExtraError, match=r"'dgmm\[prefect\]'"):
        job_flow("night")
    monkeypatch.setitem(sys.modules, "kr8s", None)
    section = {"kind": "kubernetes", "image": "dgmm", "n_workers": 1}
    with pytest.raises(MissingExtraError, match=r"'dgmm\[kubernetes\]'"), open_cluster(section):
        pass


@pytest.mark.parametrize("name", ["night.yaml", 'it\'s "100%" {job}.yaml', "back\\slash.yaml", '"""; import os.yaml'])
def test_the_file_of_a_flow_is_python_whatever_the_job_is_called(name, tmp_path):
    job = tmp_path / name
    job.write_text(JOB)
    (path,) = write_schedule(make_schedule(job, "0 2 * * mon-fri"), "prefect", tmp_path)
    module = ast.parse(path.read_text())
    call = next(each for each in ast.walk(module) if isinstance(each, ast.Call) and ast.unparse(each.func) == "serve")
    given = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
    assert (given["job"], given["cluster"], given["cron"]) == (str(job), None, "0 2 * * 1-5")
    assert ZoneInfo(given["timezone"])
    assert "AWS_SECRET_ACCESS_KEY" in ast.get_docstring(module)
    (function,) = [each for each in module.body if isinstance(each, ast.FunctionDef)]
    assert ast.get_docstring(function)


def test_the_command_that_serves_it_is_one_for_a_shell(tmp_path, monkeypatch):
    (tmp_path / "job.yaml").write_text(JOB)
    monkeypatch.setattr(sys, "executable", "/opt/my python/bin/python")
    schedule = make_schedule(tmp_path / "job.yaml", "@daily")
    ((path, (command,)),) = write_schedule(schedule, "prefect", f"{tmp_path}/my flows/").items()
    assert shlex.split(command) == ["/opt/my python/bin/python", str(path)]


def test_the_candidates_of_a_selection_are_a_table_beside_the_components(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", np.concatenate([rng.normal(0, 1, (300, 2)), rng.normal(9, 1, (200, 2))]))
    (tmp_path / "choose.yaml").write_text(
        "input: {path: x.npy}\nmodel: {kind: selection, n_components: [1, 2], random_state: 0}\n"
        "output: {model: model.zarr}\n"
    )
    job, artifacts = load_job(tmp_path / "choose.yaml"), Mock()
    _show(SimpleNamespace(artifacts=artifacts), job, run_job(job), Stopwatch())
    tables = {call.kwargs["key"]: call.args[0] for call in artifacts.create_table_artifact.call_args_list}
    assert set(tables) == {"choose-components", "choose-candidates"}
    assert [row["n_components"] for row in tables["choose-candidates"]] == [1, 2]
    assert len(tables["choose-components"]) == 2
    json.dumps(tables, allow_nan=False)
