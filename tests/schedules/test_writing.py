"""``dgmm schedule``: what it checks, where it writes, and its page of the documentation."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dgmm.cli import main
from dgmm.jobs.schedules import SCHEDULERS
from dgmm.jobs.schedules.schedule import make_schedule

PAGE = (Path(__file__).parents[2] / "docs" / "scheduling.md").read_text(encoding="utf-8")
CLUSTER = "kind: scheduler\naddress: tls://${DGMM_HOST}:8786\ntls_ca_file: a\ntls_cert: b\ntls_key: c\n"


def test_the_commands_of_the_page_write_files_and_its_refusals_are_those_of_dgmm(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    Path("slurm.yaml").write_text("kind: slurm\nn_workers: 8\ncores: 4\nmemory: 16GiB\n")
    Path("nightly.yaml").write_text(next(text for kind, text in blocks if kind == "yaml"))
    for command in next(text for kind, text in blocks if kind == "console").splitlines():
        assert main(shlex.split(command.removeprefix("$ dgmm "))) == 0, capsys.readouterr().err
    written = {path.name for path in tmp_path.rglob("*.*")} - {"slurm.yaml", "nightly.yaml"}
    assert written == {"nightly.crontab", "dgmm-nightly.service", "dgmm-nightly.timer", "dgmm-weekdays.sbatch"}
    capsys.readouterr()
    (refusals,) = [text for kind, text in blocks if kind == "text" and text.startswith("$ dgmm")]
    lines = refusals.splitlines()
    for command, error in zip(lines[::2], lines[1::2], strict=True):
        assert main(shlex.split(command.removeprefix("$ dgmm "))) == 2
        assert capsys.readouterr().err == f"{error}\n"


def test_every_scheduler_and_option_is_on_the_page(capsys):
    assert main(["schedule", "--help"]) == 0
    options = set(re.findall(r"--[a-z]+", capsys.readouterr().out)) - {"--help"}
    assert options == set(re.findall(r"^\| `(--[a-z]+)", PAGE, flags=re.MULTILINE))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_job_that_is_wrong_is_not_scheduled(scheduler, job, capsys):
    job.write_text("input: {path: x.npy}\nmodel: {n_components: 0}\noutput: {model: m.zarr}\n")
    assert main(["schedule", str(job), "--cron", "@daily", "--for", scheduler, "-o", str(job.parent)]) == 2
    assert "model.n_components: found 0; allowed: a whole number of at least 1" in capsys.readouterr().err
    assert not list(job.parent.glob("*job-1*[!v]"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"--for": "at"}, f"--for: found 'at'; allowed: {', '.join(SCHEDULERS)}\n"),
        ({"--name": "Nightly job"}, "--name: found 'Nightly job'; allowed: at most 40 letters a to z"),
        ({"--name": "-x"}, "--name: found '-x'"),
        ({"--cron": "0 2 * *"}, "--cron: found '0 2 * *', 4 fields; expected five"),
        ({"--cluster": "none.yaml"}, "none.yaml: "),
        ({"--output": "x.npy"}, "x.npy: exists already and says something else; remove it, or give --overwrite"),
        ({"--output": "x.npy/units/"}, "cannot be written: "),
    ],
)
def test_what_is_wrong_is_refused(options, words, job, monkeypatch, capsys):
    monkeypatch.chdir(job.parent)
    given = {"--cron": "@daily", "--for": "cron"} | options
    assert main(["schedule", job.name, *(f"{key}={value}" for key, value in given.items())]) == 2
    assert words in capsys.readouterr().err


def test_outputs_that_are_in_the_way_are_found_now_and_not_at_night(job, monkeypatch, capsys):
    monkeypatch.chdir(job.parent)
    Path("model.zarr").write_text("no model")
    assert main(["schedule", job.name, "--cron", "@daily", "--for", "cron"]) == 2
    assert "output.model: " in capsys.readouterr().err


def test_the_same_again_changes_nothing_and_other_times_need_a_word(job, monkeypatch, capsys):
    monkeypatch.chdir(job.parent)
    command = ["schedule", job.name, "--for", "cron", "-o", "line.txt", "--cron"]
    assert [main([*command, "@daily"]), main([*command, "@daily"]), main([*command, "@hourly"])] == [0, 0, 2]
    assert "says something else" in capsys.readouterr().err
    assert main([*command, "@hourly", "--overwrite"]) == 0
    assert "\n0 * * * * cd " in Path("line.txt").read_text()


@pytest.mark.parametrize("scheduler", ["cron", "systemd", "slurm"])
def test_names_of_secrets_are_written_and_values_are_not(scheduler, job, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DGMM_HOST", "marker-of-a-value")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "marker-of-a-value")
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    job.write_text(job.read_text().replace("x.npy", "s3://bucket/x.zarr"))
    plain = tmp_path / "plain"
    job.parent.rename(plain)
    schedule = make_schedule(plain / job.name, "@daily", cluster_file=tmp_path / "cluster.yaml")
    texts = "\n".join(each.text for each in SCHEDULERS[scheduler](schedule))
    assert "marker" not in texts
    assert schedule.environment == ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "DGMM_HOST")
    assert all(name in texts for name in schedule.environment)
