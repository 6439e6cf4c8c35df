"""Metrics of runs, read by Prometheus' own parser."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dgmm.cli import main
from dgmm.jobs.runs.metrics import metrics_text, write_metrics
from dgmm.jobs.runs.records import RunRecord, since_epoch
from dgmm.jobs.runs.telling import find_runs

RECORD = RunRecord(
    "1f3a9c",
    "/a/night.yaml",
    "night",
    "",
    "2026-11-22T03:30:42.000Z",
    ended="2026-11-22T03:31:42.000Z",
    exit_code=0,
    rows=10**9,
    passes=7,
    bytes_read=8 * 10**12,
    log_likelihood=-3.25,
)


def samples(text):
    """The values of a text, by metric, and the labels that all have."""
    families = list(text_string_to_metric_families(text))
    assert all(family.type == "gauge" and family.documentation and len(family.samples) == 1 for family in families)
    (labels,) = {tuple(family.samples[0].labels.items()) for family in families}
    return {family.name.removeprefix("dgmm_run_"): family.samples[0].value for family in families}, dict(labels)


def test_prometheus_reads_what_is_written():
    found, labels = samples(metrics_text(RECORD, 1700000000.5))
    assert labels == {"job": "night", "file": "/a/night.yaml"}
    assert found == {
        "exit_code": 0,
        "end_timestamp_seconds": since_epoch(RECORD.ended),
        "duration_seconds": 60.0,
        "attempt": 1,
        "rows": 1e9,
        "passes": 7,
        "read_bytes": 8e12,
        "mean_log_likelihood_nats": -3.25,
        "warnings": 0,
        "last_success_timestamp_seconds": 1700000000.5,
    }


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "naïve {x}", 'a\\"', ""])
def test_any_name_of_a_job_is_escaped(name):
    record = replace(RECORD, name=name, job=f"/a/{name}.yaml")
    assert samples(metrics_text(record, None))[1] == {"job": name, "file": f"/a/{name}.yaml"}


def test_jobs_share_a_folder(tmp_path):
    files = ["/a/night.yaml", "/a/the day.yaml", "/b/night.yaml"]  # two have one name
    for file in files:
        write_metrics(tmp_path, replace(RECORD, job=file, name=Path(file).stem), None)
    found = [samples(path.read_text())[1] for path in tmp_path.iterdir()]
    assert sorted(labels["file"] for labels in found) == files
    assert sorted(labels["job"] for labels in found) == ["night", "night", "the day"]
    write_metrics(tmp_path / "own.prom", RECORD, None)
    assert samples((tmp_path / "own.prom").read_text())[1]["file"] == "/a/night.yaml"


def test_a_run_that_fails_tells_when_one_succeeded_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).normal(size=(200, 2)))
    text = "input: {path: x.npy}\nmodel: {n_components: 2}\noutput: {model: m.zarr}\nrun: {metrics: metrics/}\n"
    (tmp_path / "night.yaml").write_text(text)
    codes, successes = [], []

    def run():
        main(["run", "night.yaml"])
        (file,) = (tmp_path / "metrics").iterdir()
        found, labels = samples(file.read_text())
        assert labels == {"job": "night", "file": str(tmp_path / "night.yaml")}
        codes.append(found["exit_code"])
        successes.append(found.get("last_success_timestamp_seconds"))

    run()
    run()  # nothing was left to do: it is known again that all is done
    np.save("x.npy", np.full((200, 2), np.nan))
    run()
    (tmp_path / "night.yaml").write_text(text.replace("n_components", "components"))
    run()
    assert codes == [0, 0, 2, 2]
    assert successes[0] < successes[1] == successes[2] == successes[3]


def test_metrics_have_the_suffix_that_is_collected(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text("model: {n_components: 2}\nrun: {metrics: a.txt}\n")
    assert main(["run", "job.yaml"]) == 2
    assert "run.metrics: found 'a.txt' (a file of metrics must end in .prom)" in capsys.readouterr().err


def test_metrics_that_cannot_be_written_end_no_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).normal(size=(200, 2)))
    (tmp_path / "a").write_text("a file")
    text = "input: {path: x.npy}\nmodel: {n_components: 2}\noutput: {model: m.zarr}\nrun: {metrics: a/b.prom}\n"
    (tmp_path / "night.yaml").write_text(text)
    assert main(["run", "night.yaml"]) == 0
    assert "the metrics of this run are not written" in capsys.readouterr().err


def test_a_job_file_that_was_renamed_takes_its_runs_and_metrics_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).normal(size=(200, 2)))
    text = "input: {path: x.npy}\nmodel: {n_components: 2}\noutput: {model: m.zarr}\nrun: {metrics: metrics/}\n"
    (tmp_path / "night.yaml").write_text(text)
    (tmp_path / "copy.yaml").write_text(text)

    def told():
        return [samples(path.read_text())[1]["job"] for path in sorted((tmp_path / "metrics").iterdir())]

    assert main(["run", "night.yaml"]) == 0
    assert main(["run", "copy.yaml"]) == 0  # asks for the same, so that nothing is left to do
    assert told() == ["copy", "night"]
    (tmp_path / "copy.yaml").unlink()
    (tmp_path / "night.yaml").rename(tmp_path / "late.yaml")
    assert main(["run", "late.yaml"]) == 0
    assert [run.record.name for run in find_runs(tmp_path / "late.yaml")] == ["late"]
    assert told() == ["copy", "late"]
