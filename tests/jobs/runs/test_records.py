"""Records of runs: read back as written, never believed; what is written of a run holds no secrets."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgmm.jobs import load_job, run_file
from dgmm.jobs.digest import digest_of
from dgmm.jobs.runs.folders import RunsFolder, runs_in
from dgmm.jobs.runs.logs import JsonLines, read_lines
from dgmm.jobs.runs.origin import keep_origin, new_record
from dgmm.jobs.runs.records import RunRecord, Written, read_record, write_record
from dgmm.jobs.runs.stamps import Stamp, stamp_of
from dgmm.jobs.runs.striking import struck_text
from dgmm.jobs.source import parse

RECORD = RunRecord(
    "1f3a9c",
    "/a/night.yaml",
    "night",
    "0123456789abcdef",
    "2026-11-22T03:30:42.123Z",
    command=("dgmm", "run"),
    inputs={"input.path": Stamp(3, 4, "5"), "input.labels": None},
    outputs={"model": Written("/a/m.zarr", Stamp(1, 2, "3")), "labels": Written("s3://bucket/l.zarr")},
    exit_code=0,
    ended="2026-11-22T03:31:42.123Z",
    log_likelihood=-3.5,
)


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    write_record(tmp_path, RECORD)
    assert read_record(tmp_path) == RECORD
    assert RECORD.seconds == 60.0
    assert json.loads((tmp_path / "run.json").read_text())["seconds"] == 60.0


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(RECORD.to_json())), values)
def test_any_value_in_a_record_gives_a_record_or_none(key, value):
    found = RunRecord.of_json({**RECORD.to_json(), key: value})
    assert found is None or isinstance(found.to_json(), dict)


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", "1", "[" * 100_000, '{"format": 2}'])
def test_what_is_no_record_is_passed_over(text, tmp_path):
    run = tmp_path / "20261122T033042Z-night-1f3a9c"
    run.mkdir()
    (run / "run.json").write_text(text)
    assert runs_in(tmp_path) == []


def test_what_else_lies_among_runs_is_passed_over(tmp_path):
    folder = RunsFolder(tmp_path)
    opened = folder.open(RECORD)
    (tmp_path / "model.zarr").mkdir()
    (tmp_path / "20261122T033042Z-night-1f3a9d").symlink_to(opened.path)
    assert [run.record.id for run in runs_in(tmp_path)] == ["1f3a9c"]
    opened.close()
    assert runs_in(tmp_path)[0].record.state == "lost"  # it never said how it ended


def test_lines_that_are_none_are_passed_over(tmp_path):
    lines = JsonLines(tmp_path / "x.jsonl")
    lines.append({"a": 1.5, "b": "ü\n"})
    lines.append({"a": 2})
    lines.close()
    lines.append({"a": 3})
    with (tmp_path / "x.jsonl").open("a") as file:
        file.write('[1]\n{"a": 4')  # as a killed process leaves it
    assert read_lines(tmp_path / "x.jsonl") == [{"a": 1.5, "b": "ü\n"}, {"a": 2}]
    assert read_lines(tmp_path / "none") == []


def job(folder, text=""):
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(200, 2)))
    sections = "input: {path: x.npy}\nmodel: {n_components: 2, random_state: 0}\noutput: {model: m.zarr}\n"
    (folder / "job.yaml").write_text(sections + text)
    return folder / "job.yaml"


def test_a_job_is_known_by_what_it_asks_for(tmp_path):
    first = digest_of(load_job(job(tmp_path)))
    for same in ("cluster: {kind: synchronous}", "run: {keep: 3}", "checkpoint: none", "# a comment"):
        assert digest_of(load_job(job(tmp_path, f"{same}\n"))) == first
    other = load_job(job(tmp_path))
    assert digest_of(replace(other, output=other.output.model_copy(update={"overwrite": True}))) == first
    assert digest_of(load_job(job(tmp_path, "preprocess: {dtype: float32}\n"))) != first
    (tmp_path / "elsewhere").mkdir()
    assert digest_of(load_job(job(tmp_path / "elsewhere"))) != first


def test_what_is_kept_of_a_job_has_no_secrets(tmp_path):
    text = "# password: MARKER\n# {aws_secret_access_key: 'MARKER', n: 1}\n# s3://me:MARKER@bucket/x\n"
    path = job(tmp_path, text)
    keep_origin(tmp_path, load_job(path))
    (tmp_path / "kept").mkdir()
    keep_origin(tmp_path / "kept", load_job(path))
    kept = (tmp_path / "kept" / "job.yaml").read_text()
    assert "MARKER" not in kept
    assert "n: 1}" in kept
    assert kept.startswith("input: {path: x.npy}\nmodel: ")
    assert json.loads((tmp_path / "kept" / "resolved.json").read_text())["model"]["n_components"] == 2
    assert "MARKER" not in str(new_record(path, ["--cluster", "s3://me:MARKER@x"]).to_json())


def test_a_run_leaves_what_happened_in_it(tmp_path):
    done = run_file(job(tmp_path), command=["dgmm", "run", "job.yaml"])
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "job.yaml",
        "log.jsonl",
        "passes.jsonl",
        "report.json",
        "resolved.json",
        "run.json",
    ]
    record = read_record(done.folder)
    assert (record.state, record.exit_code, record.command) == ("done", 0, ("dgmm", "run", "job.yaml"))
    assert record.rows == 200
    assert record.bytes_read == 200 * 2 * 8  # the first pass loaded them
    assert record.log_likelihood == pytest.approx(done.report["mean_log_likelihood"])
    assert record.peak_memory > 10_000_000
    assert record.versions["numpy"] == np.__version__
    assert record.outputs["model"].stamp == stamp_of(tmp_path / "m.zarr")
    lines = read_lines(done.folder / "passes.jsonl")
    assert [line["stage"] for line in lines if "stage" in line] == ["prepare", "open", "fit", "write"]
    passes = [line for line in lines if "pass" in line]
    assert len(passes) == record.passes == done.report["reads"]
    assert {line["rows"] for line in passes} == {200}
    assert [line["log_likelihood"] for line in passes[1:]] == done.report["lower_bounds"]
    log = read_lines(done.folder / "log.jsonl")
    assert {"time", "level", "text"} <= log[0].keys()
    events = [line["fields"]["event"] for line in log if "fields" in line]
    assert events.count("IterationFinished") == done.report["iterations"]
    assert json.loads((done.folder / "report.json").read_text()) == done.report


def test_warnings_stand_in_the_log(tmp_path):
    path = job(tmp_path)
    path.write_text(path.read_text().replace("random_state: 0", "max_iter: 1, tol: 0.0"))
    with pytest.warns(match="did not converge"):
        done = run_file(path)
    record = read_record(done.folder)
    assert record.warnings == 1
    (line,) = [line for line in read_lines(done.folder / "log.jsonl") if line["level"] == "WARNING"]
    assert line["text"].startswith("ConvergenceWarning: the fit did not converge in 1 iteration")


SECRETS = """\
# password: MARKER
cluster: {kind: threads, api_key: "MAR\\x4bER", nested: {token: [MARKER, 1], n: 1}}
password: |
  MARKER
  MARKER

  # MARKER
user: me # is kept
passphrase: >-
    MARKER
    MARKER
"pass\\x77ord2": 'MARKER
  MARKER'
secret:
  a: MARKER
  b: [MARKER,
    MARKER]
# is kept too
? aws-credentials
: MARKER
plain_secret: MARKER
  MARKER
environment:
  ANYTHING: MARKER
  LINES: |-
    MARKER
path: "s3://me:MAR\\
  KER@bucket/x"
empty_token:
last: 1
"""


def test_secrets_are_struck_in_whatever_form_they_stand():
    kept = struck_text(SECRETS)
    assert "MAR" not in kept
    assert "KER" not in kept
    value = parse(kept, "kept").value  # is a job file still
    assert value["user"] == "me"
    assert value["cluster"] == {"kind": "threads", "api_key": "***", "nested": {"token": "***", "n": 1}}
    assert value["environment"] == {"ANYTHING": "***", "LINES": "***"}
    assert (value["path"], value["empty_token"], value["last"]) == ("s3://***@bucket/x", None, 1)
    for key in ("password", "passphrase", "password2", "secret", "aws-credentials", "plain_secret"):
        assert value[key] == "***"
    assert "# is kept\n" in kept


def test_only_the_user_and_the_group_see_into_a_run(tmp_path):
    done = run_file(job(tmp_path))
    assert not done.folder.stat().st_mode & 0o007
