"""What ``dgmm runs`` prints: in a narrow window, in a wide one, for scripts."""

import json
from dataclasses import replace

import pytest

from dgmm.cli import main
from dgmm.jobs.runs.folders import RunsFolder
from dgmm.jobs.runs.records import RunRecord, write_record

SAYS = "8 components (full), 273,280 rows: converged after 31 iterations, mean log-likelihood -12.345678 nats per row"
DONE = RunRecord(
    "1f3a9c",
    "/data/night.yaml",
    "night",
    "d",
    "2026-11-22T03:30:42.123Z",
    state="done",
    exit_code=0,
    ended="2026-11-22T05:31:42.123Z",
    rows=273_280,
    passes=33,
    log_likelihood=-12.345678,
    says=SAYS,
)
ERROR = "input.path: row 3 of chunk 7 holds nan; drop it"
FAILED = replace(
    DONE, id="2b0000", state="bad data", exit_code=65, says="", error=ERROR, begun="2026-11-23T03:30:42.123Z"
)
HOSTILE = replace(DONE, id="2bffff", name="\x1b[2J[bold]", says="[red]\x1b]0;x\x07", begun="2026-11-24T03:30:42.123Z")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = RunsFolder(tmp_path / "jobs" / "runs")
    for record in (DONE, FAILED, HOSTILE):
        opened = runs.open(record)
        write_record(opened.path, record)
        opened.close()
    return tmp_path


def printed(capsys, *arguments, code=0):
    assert main(["runs", *arguments]) == code
    found = capsys.readouterr()
    return found.err if code else found.out


@pytest.mark.parametrize("width", [60, 80, 160])
def test_runs_are_listed_newest_first_in_any_window(width, folder, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    out = printed(capsys)
    assert max(map(len, out.splitlines())) <= width
    assert "\x1b" not in out
    words = " ".join(out.split())
    assert words.index("2bffff") < words.index("2b0000") < words.index("1f3a9c")
    for text in ("2026-11-22 03:30", "night", "done", "bad data", "2:01:00"):
        assert text in words
    for word in f"{SAYS} {ERROR}".split():
        assert word in words
    if width == 160:
        assert "rows  log-likelihood  it says" in out.splitlines()[0]


def test_the_story_of_one(folder, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    out = printed(capsys, "show", "1f")
    assert max(map(len, out.splitlines())) <= 60
    words = " ".join(out.split())
    assert words.startswith("Run 1f3a9c of night.yaml: done")
    assert "see run 2bffff, which came after it: done" in words
    assert "\x1b" not in printed(capsys, "show", "last")


def test_numbers_that_mean_no_run_or_many_are_refused(folder, capsys):
    assert "'2b' begins the numbers of 2 runs: 2bffff, 2b0000" in printed(capsys, "show", "2b", code=2)
    assert "no run has a number that begins with 'ff'" in printed(capsys, "show", "ff", code=2)
    assert "there is no such file or folder" in printed(capsys, "nowhere", code=2)
    (folder / "empty").mkdir()
    assert "there are no runs here" in printed(capsys, "show", "last", "empty", code=2)


def test_runs_for_scripts(folder, capsys):
    found = json.loads(printed(capsys, "--json"))
    assert [run["id"] for run in found] == ["2bffff", "2b0000", "1f3a9c"]
    assert found[1]["exit_code"] == 65
    assert found[1]["error"] == ERROR
    assert found[1]["path"].endswith("-2b0000")
    assert [run["id"] for run in json.loads(printed(capsys, "-n", "1", "--json"))] == ["2bffff"]
    one = json.loads(printed(capsys, "show", "1f3a", "--json"))
    assert one["passes_done"] == one["warned"] == []


def test_places_to_look_in(folder, capsys):
    for place in (".", "jobs", "jobs/runs"):
        assert len(json.loads(printed(capsys, place, "--json"))) == 3
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "jobs" / "runs").rename(folder / "a" / "b" / "c" / "runs")
    assert "no runs in this folder: dgmm run JOB.yaml leaves one" in printed(capsys)
    assert len(json.loads(printed(capsys, "a", "--json"))) == 0
    assert len(json.loads(printed(capsys, "a/b", "--json"))) == 3


def test_runs_of_a_job_file(folder, capsys):
    (folder / "jobs" / "other.yaml").write_text("run: {folder: runs}\n")
    (folder / "jobs" / "night.yaml").write_text("run: {folder: ../jobs/runs}\n")
    write_record(
        next((folder / "jobs" / "runs").glob("*-1f3a9c")), replace(DONE, job=str(folder / "jobs" / "night.yaml"))
    )
    assert [run["id"] for run in json.loads(printed(capsys, "jobs/night.yaml", "--json"))] == ["1f3a9c"]
    assert json.loads(printed(capsys, "jobs/other.yaml", "--json")) == []
