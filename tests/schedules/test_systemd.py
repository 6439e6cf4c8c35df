"""What is written for systemd: its own judgement of the units."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from dgmm.errors import JobError
from dgmm.jobs.schedules.schedule import make_schedule
from dgmm.jobs.schedules.writing import write_schedule


def verify(paths):
    """Complaints of systemd about units."""
    command = ["systemd-analyze", "--man=no", "verify", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("cron", ["0 2 * * *", "*/15 2 1,15 * mon", "@weekly"])
def test_systemd_finds_nothing_wrong_with_the_units(cron, job, tmp_path, monkeypatch, systemd_analyze):
    # systemd looks whether the program is there, so this also tells whether it reads the name as it is meant.
    python = tmp_path / "py$thon 100% & [#]"
    python.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(python))
    written = write_schedule(make_schedule(job, cron), "systemd", tmp_path)
    assert sorted(path.name for path in written) == ["dgmm-job-1.service", "dgmm-job-1.timer"]
    assert verify(written) == ""
    python.unlink()
    assert f"Command {python} is not executable" in verify(written)


def test_the_commands_install_the_units(job, tmp_path):
    written = write_schedule(make_schedule(job, "@daily"), "systemd", job.parent)
    install = [line for lines in written.values() for line in lines]
    assert [line.split()[0] for line in install] == ["install", "install", "systemctl", "loginctl"]
    for line in install[:2]:
        subprocess.run(["sh", "-c", line], check=True, env={**os.environ, "HOME": str(tmp_path)})
    units = tmp_path / ".config/systemd/user"
    assert {path.name: path.read_text() for path in units.iterdir()} == {p.name: p.read_text() for p in written}


def test_an_interrupted_run_is_run_again_and_paths_are_literal(job, tmp_path):
    service, _ = write_schedule(make_schedule(job, "@daily"), "systemd", tmp_path)
    keys = dict(line.split("=", 1) for line in service.read_text().splitlines() if re.match("[A-Z]", line))
    # systemd refuses these for Type=oneshot.
    assert (keys["Type"], keys["RestartForceExitStatus"], keys["SuccessExitStatus"]) == ("exec", "75", "75")
    folder = str(job.parent).replace("%", "%%")
    assert keys["WorkingDirectory"] == folder
    # systemd takes it for a pattern.
    assert keys["EnvironmentFile"] == f"-{folder.replace('[', '[[]')}/job-1.env"


@pytest.mark.parametrize("name", ["ends in a backslash\\", "ends in a space "])
def test_a_folder_that_a_unit_cannot_name_is_refused(name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "job.yaml").write_text("input: {path: x.npy}\nmodel: {n_components: 2}\noutput: {model: m.zarr}\n")
    with pytest.raises(JobError, match="systemd takes no path that ends in a space or backslash"):
        write_schedule(make_schedule(folder / "job.yaml", "@daily"), "systemd", tmp_path)


def test_a_program_that_systemd_does_not_start_is_refused(job, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/it's/python")
    with pytest.raises(JobError, match="systemd starts no program with quotes"):
        write_schedule(make_schedule(job, "@daily"), "systemd", tmp_path)
