"""What is written for cron: a real tick of a real cron runs a job."""

from __future__ import annotations

import pytest
from programs import require_programs
from waiting import wait_until

from dgmm import GaussianMixture
from dgmm.errors import JobError
from dgmm.jobs.schedules import SCHEDULERS
from dgmm.jobs.schedules.schedule import make_schedule


def test_a_command_that_is_too_long_for_cron_is_refused(tmp_path):
    folder = tmp_path / ("a" * 200) / ("b" * 200)
    folder.mkdir(parents=True)
    (folder / "job.yaml").write_text("input: {path: x.npy}\nmodel: {n_components: 2}\noutput: {model: m.zarr}\n")
    with pytest.raises(JobError, match=r"its command has [0-9]+ characters, and cron takes 998; move the job"):
        SCHEDULERS["cron"](make_schedule(folder / "job.yaml", "@daily"))


# The last of its folder to be run: the tick has come by then.
def test_a_tick_runs_the_job(ticking):
    require_programs("cron", "crontab", "unshare", package="cron util-linux")
    assert ticking is not None, "cron needs a mount namespace of its own: unshare --mount is not permitted"
    folder, installed = ticking
    assert installed.count("# begin dgmm job-1\n") == installed.count("# somebody's own\n") == 1
    log = folder / "job-1.log"
    wait_until(lambda: log.exists() and "model: " in log.read_text(), 100, lambda: list(folder.iterdir()))
    assert GaussianMixture.load(folder / "model.zarr").means_.shape == (2, 2)
