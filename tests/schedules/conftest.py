"""Jobs to schedule, and the programs that judge what is written for schedulers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from programs import require_programs

from dgmm.jobs.schedules.schedule import make_schedule
from dgmm.jobs.schedules.writing import write_schedule

ROOT = Path(__file__).parents[2]
JOB = """\
input: {path: x.npy}
model: {n_components: 2, random_state: 0}
output: {model: model.zarr}
checkpoint: {path: progress}
"""
# Characters that mean something to a shell, cron or systemd.
AWKWARD = 'it\'s 100% $HOME & [a] "b" #1'

# In a mount namespace of its own: cron's folders are fixed, and a machine's own crontabs are left alone.
_PRIVATE = """
mount --bind "$0/crontabs" /var/spool/cron/crontabs && mount --bind "$0/cron.d" /etc/cron.d &&
mount --bind "$0/crontab" /etc/crontab && mount --bind "$0/run" /run && exec "$@"
"""


def write_job(folder: Path) -> Path:
    """A job that runs within seconds, in a folder whose name is awkward; its environment finds dgmm."""
    folder = folder / AWKWARD
    folder.mkdir()
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(1000, 2)))
    (folder / "job 1.yaml").write_text(JOB)
    (folder / "job-1.env").write_text(f"PYTHONPATH='{ROOT}'\n")
    return folder / "job 1.yaml"


@pytest.fixture
def job(tmp_path):
    """The path of a job file."""
    return write_job(tmp_path)


@pytest.fixture(scope="session")
def systemd_analyze():
    """Nothing, where systemd-analyze is installed."""
    require_programs("systemd-analyze", package="systemd")


@pytest.fixture(scope="session", autouse=True)
def ticking(tmp_path_factory):
    """A real cron with the line of a job in it, started before the other tests: a tick takes up to a minute.

    None where it cannot be had; the test of the tick says why.
    """
    private = ["unshare", "--mount", "sh", "-c", _PRIVATE]
    cron = shutil.which("cron", path=f"{os.environ['PATH']}:/usr/sbin")
    if cron is None or subprocess.run([*private[:2], "true"], check=False).returncode:
        yield None
        return
    job, folder = write_job(tmp_path_factory.mktemp("ticking")), tmp_path_factory.mktemp("cron")
    for name in ("crontabs", "cron.d", "run"):
        (folder / name).mkdir(mode=0o700)
    (folder / "crontab").touch()
    words = [*private, str(folder)]
    written = write_schedule(make_schedule(job, "* * * * *"), "cron", job.parent)
    ((install,),) = written.values()
    subprocess.run([*words, "crontab", "-"], input="# somebody's own\n", text=True, check=True)
    for _ in range(2):  # the second time changes nothing
        subprocess.run([*words, "sh", "-c", install], check=True)
    installed = subprocess.run([*words, "crontab", "-l"], capture_output=True, text=True, check=True).stdout
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen([*words, cron, "-f"], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    yield job.parent, installed
    process.terminate()
    process.wait(timeout=30)
