"""A flow for Prefect, with a deployment that runs it by the clock."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from dgmm.jobs.schedules.schedule import Written
from dgmm.jobs.schedules.zone import local_zone

if TYPE_CHECKING:
    from dgmm.jobs.schedules.schedule import Schedule

_FLOW = '''\
"""The job {name} as a Prefect flow (python -m pip install 'dgmm[prefect]').

Run this file, and keep it running: it serves the flow, and runs it at its times.
PREFECT_API_URL says where Prefect's server is. An attempt that is lost, also with its
process, is tried again and goes on from the job's checkpoint.
{credentials}"""

from dgmm.jobs.prefect import job_flow, run_in_tasks, serve


@job_flow({name!r}, retries=3, retry_delay_seconds=60)
def run(job: str, cluster: str | None = None):
    """dgmm run {words}"""
    return run_in_tasks(job, cluster)


if __name__ == "__main__":
    serve(
        run,
        job={job!r},
        cluster={cluster!r},
        cron={cron!r},
        timezone={zone!r},
    )
'''


def write_prefect(schedule: Schedule) -> list[Written]:
    """Write a Python file that serves a job to Prefect."""
    credentials = ""
    if schedule.environment:
        credentials = f"It takes credentials from its environment: {', '.join(schedule.environment)}.\n"
    text = _FLOW.format(
        name=schedule.name,
        words=schedule.file.name.replace("\\", "_").replace('"', "_"),
        job=str(schedule.file),
        cluster=None if schedule.cluster_file is None else str(schedule.cluster_file),
        cron=schedule.times.text,
        zone=local_zone(),
        credentials=credentials,
    )
    return [Written(f"{schedule.name}_prefect.py", text, (f"{shlex.quote(schedule.python)} {{file}}",))]
