"""Jobs as Prefect flows, on a real server: by the clock, killed, refused. And what `docs/prefect.md` says of that."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from waiting import wait_until

from dgmm import GaussianMixture
from dgmm.jobs.loading import load_job
from dgmm.jobs.running import STAGES, run_job

from .conftest import PATIENCE, ROOT

PAGE = (ROOT / "docs" / "prefect.md").read_text()
(DATA,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(NIGHT,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [shlex.split(line) for line in re.findall(r"^\$ (dgmm .*|python night.*)$", PAGE, re.MULTILINE)]
LONG = """
input: {path: x.npy}
model: {n_components: 8, max_iter: 400, tol: 0.0, random_state: 0}
output: {model: model.zarr, labels: labels.zarr, report: report.json}
cluster: {kind: threads, n_workers: 1}
checkpoint: {path: progress, interval: 0}
"""


def long_job(folder):
    folder.mkdir()
    rows = np.random.default_rng(0).normal(size=(40_000, 4)) + np.arange(40_000)[:, None] % 2 * 6.0
    np.save(folder / "x.npy", rows)
    (folder / "long.yaml").write_text(LONG)
    return folder / "long.yaml"


def scheduled(file, cron):
    """What the page's command writes for a job, with less time between attempts."""
    (schedule, (python, served)) = COMMANDS
    assert (python, served) == ("python", "night_prefect.py")
    words = [{"night.yaml": file.name, "0 2 * * *": cron, "dgmm": "-m dgmm"}.get(word, word) for word in schedule]
    command = [sys.executable, *words.pop(0).split(), *words]
    subprocess.run(command, cwd=file.parent, check=True, timeout=120, capture_output=True)
    written = file.with_name(served.replace("night", file.stem))
    text = written.read_text()
    assert "retry_delay_seconds=60" in text
    written.write_text(text.replace("retry_delay_seconds=60", "retry_delay_seconds=1"))
    return written


@pytest.fixture(scope="module")
def served(prefect, tmp_path_factory):
    """Two jobs: one that is due each minute, and one that is long and never due."""
    folder = tmp_path_factory.mktemp("jobs")
    long, night = long_job(folder / "long"), folder / "night" / "night.yaml"
    night.parent.mkdir()
    night.write_text(NIGHT)
    subprocess.run([sys.executable, "-c", DATA], cwd=night.parent, check=True, timeout=120)
    with (
        prefect.serving(scheduled(long, "0 0 1 1 *"), folder / "long.log") as runner,
        prefect.serving(scheduled(night, "* * * * *"), folder / "night.log"),
    ):
        yield SimpleNamespace(night=night, long=long, runner=runner)


def iterations(prefect, run):
    return [entry["message"] for entry in prefect.of_run("logs", run) if entry["message"].startswith("iteration ")]


# First, while the first minute passes for the other job.
def test_a_run_whose_process_is_killed_goes_on_and_ends_with_the_same_bits(prefect, served, tmp_path):
    run = prefect.start("long")
    wait_until(lambda: len(iterations(prefect, run)) > 5, PATIENCE, "iterations")
    (process,) = [each for each in served.runner.children() if "spawn_main" in " ".join(each.cmdline())]
    process.kill()
    ended = prefect.end_of(run)
    assert (ended["state_type"], ended["run_count"]) == ("COMPLETED", 2)
    states = [state["name"] for state in prefect.ask(f"/flow_run_states/?flow_run_id={run['id']}")]
    assert [name for name in states if name in ("Crashed", "AwaitingRetry")] == ["Crashed", "AwaitingRetry"]
    assert any("going on from the checkpoint" in entry["message"] for entry in prefect.of_run("logs", run))
    # A task that was lost with its process does not seem to run for ever.
    assert {task["state_name"] for task in prefect.of_run("task_runs", run)} == {"Completed", "Crashed"}
    alone = long_job(tmp_path / "alone")
    with pytest.warns(ConvergenceWarning):
        run_job(load_job(alone))
    killed, whole = (GaussianMixture.load(file.with_name("model.zarr")) for file in (served.long, alone))
    for name in ("weights_", "means_", "covariances_"):
        assert getattr(killed, name).tobytes() == getattr(whole, name).tobytes()


def test_a_bad_job_fails_at_once_and_is_not_tried_again(prefect, served):
    bad = served.long.with_name("bad.yaml")
    bad.write_text(LONG.replace("tol", "tool"))
    ended = prefect.end_of(prefect.start("long", job=str(bad)))
    assert (ended["state_type"], ended["run_count"]) == ("FAILED", 1)
    assert ended["state"]["message"].startswith(f"{bad}:3: model.tool: unknown key")
    told = [entry["message"] for entry in prefect.of_run("logs", ended)]
    assert not any("Traceback" in message for message in told)


def test_a_job_runs_by_the_clock_and_shows_what_it_made(prefect, served):
    def ticked():
        return next((run for run in prefect.runs("night") if run["state_type"] in ("COMPLETED", "FAILED")), None)

    run = wait_until(ticked, PATIENCE, "a run by the clock")
    assert run["auto_scheduled"]
    assert run["created_by"]["type"] == "SCHEDULE"
    assert run["parameters"] == {"job": str(served.night), "cluster": None}
    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["state"]["message"].startswith("2 components (full), 4,000 rows: converged after ")
    tasks = {task["name"]: task["state_type"] for task in prefect.of_run("task_runs", run)}
    names = {stage.name for stage in STAGES["gaussian_mixture"] if stage.is_of(load_job(served.night))}
    assert tasks == dict.fromkeys({*names, "show"}, "COMPLETED")
    assert iterations(prefect, run)
    made = {each["key"]: each for each in prefect.of_run("artifacts", run) if each["key"]}
    assert made.keys() == {"night-report", "night-components"}
    assert "# 2 components fitted to 4,000 rows of 4 features" in made["night-report"]["data"]
    model = GaussianMixture.load(served.night.with_name("model.zarr"))
    rows = json.loads(made["night-components"]["data"])
    np.testing.assert_allclose([row["weight"] for row in rows], model.weights_, rtol=1e-5)
    np.testing.assert_allclose([row["feature 3"] for row in rows], model.means_[:, 3], rtol=1e-5)
