"""``dgmm schedule``: what it checks, where it writes, and its page of the documentation."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

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
    told = []
    for command in next(text for kind, text in blocks if kind == "console").splitlines():
        assert main(shlex.split(command.removeprefix("$ dgmm "))) == 0, capsys.readouterr().err
        told.append(capsys.readouterr().out)
    (shown,) = [text for kind, text in blocks if kind == "text" and text.startswith("written:")]
    days = r"next time: \w{3} \d{4}-\d\d-\d\d 02:00"
    assert re.sub(days, "", told[0]) == re.sub(days, "", shown).replace("/home/me", str(tmp_path))
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
        ({"--output": "a\nb.txt"}, "b.txt: a path with control characters cannot be written"),
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


GATEWAY = "kind: gateway\naddress: https://dask.example.org\npassword: ${DGMM_PASSWORD}\nn_workers: 2\n"


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_password_is_not_needed_before_the_job_runs(scheduler, job, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DGMM_PASSWORD", raising=False)
    plain = job.rename(tmp_path / job.name)
    (tmp_path / "cluster.yaml").write_text(GATEWAY)
    command = ["schedule", str(plain), "--for", scheduler, "--cron", "@daily", "-o", str(tmp_path)]
    assert main([*command, "--cluster", str(tmp_path / "cluster.yaml")]) == 0, capsys.readouterr().err
    plain.write_text(plain.read_text() + "cluster: " + json.dumps(yaml.safe_load(GATEWAY)))
    assert main([*command, "--overwrite"]) == 0, capsys.readouterr().err
    # One in the file is still refused.
    (tmp_path / "cluster.yaml").write_text(GATEWAY.replace("${DGMM_PASSWORD}", "marker"))
    assert main([*command, "--cluster", str(tmp_path / "cluster.yaml")]) == 2
    assert "marker" not in (said := capsys.readouterr().err)
    assert "write ${NAME}" in said
    assert main(["run", str(plain)]) == 2
    assert "the environment variable DGMM_PASSWORD is not set" in capsys.readouterr().err


def test_a_batch_script_says_how_it_is_submitted_from_where_it_lies(job, tmp_path):
    plain = job.rename(tmp_path / job.name)  # SLURM takes no quotes in the path of the log
    place = job.parent / "units" / "other.sbatch"
    command = ["schedule", str(plain), "--for", "slurm", "--cron", "@daily", "-o", str(place)]
    assert main(command) == 0
    lines = place.read_text().splitlines()
    assert shlex.split(lines[2].removeprefix("#")) == ["sbatch", str(place)]
    # What cron hands to the shell: an escaped percent sign is one, another would end the line.
    times, _, words = lines[4].removeprefix("#").partition("sbatch")
    assert times.split() == ["0", "0", "*", "*", "*"]
    assert not re.search(r"(?<!\\)%", words)
    assert shlex.split(words.replace(r"\%", "%")) == [str(place)]
    assert lines[0] == "#!/bin/bash"


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
