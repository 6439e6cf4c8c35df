"""A batch script for SLURM: the whole job, with scheduler and workers, in one allocation."""

from __future__ import annotations

import math
import re
import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

from dask.utils import parse_bytes

from dgmm.errors import JobError
from dgmm.jobs.clusters.base import count
from dgmm.jobs.clusters.sections import SlurmCluster
from dgmm.jobs.clusters.workers import ignore_interrupts
from dgmm.jobs.schedules.schedule import Written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dgmm.jobs.schedules.schedule import Schedule

_UNQUOTABLE = re.compile(r"[\"'\\]")

_SHORTEST = 300
"""Seconds of a job that is worth starting: SLURM tells it of its end two minutes before, or up to one earlier."""

_HEAD = """\
#!/bin/bash
# Now:
#     sbatch {file}
# By the clock, on a login node by cron, or in a scrontab below a line "#SCRON --time=5":
#     {cron} sbatch {escaped}
"""

_SCRIPT = """\
# dgmm run {title}, {size}.
# Credentials{named}: NAME=value lines in {environment_file}, mode 600.
{directives}
# One at a time: it waits for those of its name.
#SBATCH --dependency=singleton
# This script is told two minutes before the time is up. If its node fails the job goes back into the queue.
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append

cd {folder} || exit 2
if [ -f {environment} ]; then set -a && . {environment} && set +a || exit 2; fi
{prologue}
again=yes
finish() {{
    code=$?
    trap '' USR1 TERM
    if [ -n "${{workers-}}" ]; then
        # The workers leave with their scheduler, or are made to.
        kill "$scheduler"
        {{ sleep 30; kill "$workers"; }} &
        wait "$scheduler" "$workers"
    fi 2>/dev/null
    if [ -n "${{DGMM_CLUSTER-}}" ]; then rm -rf "$DGMM_CLUSTER"; fi
    # Back into the queue, to go on from the checkpoint; not if it was cancelled.
    if [ "$code$again" = 75yes ]; then scontrol requeue "$SLURM_JOB_ID"; fi
    exit "$code"
}}
trap finish EXIT
trap 'exit 75' USR1
trap 'again=no; exit 75' TERM
{start}
{command} &
run=$!
trap 'kill -USR1 "$run"' USR1
trap 'again=no; kill "$run"' TERM
while kill -0 "$run" 2>/dev/null; do wait "$run"; done
wait "$run"
"""

_START = """
# Certificates, and where the scheduler is: for this allocation alone, seen by its nodes.
DGMM_CLUSTER=$(mktemp -d "$PWD/.{name}-XXXXXXXX") || exit 69
export DGMM_CLUSTER
{python} -m dgmm certs "$DGMM_CLUSTER/certs" --days 365 > "$DGMM_CLUSTER/certs.log" || exit 69
cat > "$DGMM_CLUSTER/cluster.yaml" << 'END'
kind: scheduler
scheduler_file: ${{DGMM_CLUSTER}}/scheduler.json
tls_ca_file: ${{DGMM_CLUSTER}}/certs/ca.pem
tls_cert: ${{DGMM_CLUSTER}}/certs/client.pem
tls_key: ${{DGMM_CLUSTER}}/certs/client-key.pem
n_workers: {wanted}
timeout: {timeout:g}
persist: {persist}
lean: {lean}
END
export DASK_LOGGING__DISTRIBUTED=warning
tls=DASK_DISTRIBUTED__COMM__TLS
export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=True "${{tls}}__CA_FILE=$DGMM_CLUSTER/certs/ca.pem"
for role in scheduler worker; do
    export "${{tls}}__${{role^^}}__CERT=$DGMM_CLUSTER/certs/$role.pem"
    export "${{tls}}__${{role^^}}__KEY=$DGMM_CLUSTER/certs/$role-key.pem"
done
both=(--scheduler-file "$DGMM_CLUSTER/scheduler.json" --protocol tls --no-dashboard
    --dashboard-address 127.0.0.1:0{interface})
{python} -m distributed.cli.dask_scheduler "${{both[@]}}" --port 0 &
scheduler=$!
# A worker that dies is started again by its nanny. They wait for the scheduler's file.
srun --ntasks={tasks} --cpus-per-task={cores} --kill-on-bad-exit=0 --wait=0 \\
    {python} -m distributed.cli.dask_worker "${{both[@]}}" --preload {preload} \\
    --nworkers {processes} --nthreads {threads} --memory-limit {memory_limit}{spill} &
workers=$!
until [ -s "$DGMM_CLUSTER/scheduler.json" ]; do
    kill -0 "$scheduler" || exit 69
    sleep 0.2
done
"""


def write_slurm(schedule: Schedule) -> list[Written]:
    """Write a script for sbatch that runs a job, and runs it again where it was interrupted.

    With a cluster of kind ``slurm`` the workers that are jobs of their own there are tasks of one allocation
    here, with scheduler and driver on its first node. With any other kind the allocation is for the driver.

    Raises
    ------
    JobError
        If the job keeps no progress, or a path cannot be said in a line of a batch script.
    """
    job = schedule.job
    if job.checkpoint is None and job.kind != "saved" and (job.keeps_no_progress or job.run.folder is None):
        raise JobError(
            f"{schedule.file}: checkpoint: SLURM ends a job when its time is up, and this one keeps no progress: "
            "it would begin again each time; add the section checkpoint, or a folder of runs"
        )
    if _UNQUOTABLE.search(str(schedule.log)):
        raise JobError(f"{schedule.log}: SLURM takes no path with quotes or backslashes for a log; rename the folder")
    section = schedule.job.cluster
    command, start, prologue, size = schedule.shell_command, "", "", f"with a cluster of kind {section.kind}"
    if isinstance(section, SlurmCluster):
        if _seconds(section.walltime) < _SHORTEST:
            raise JobError(
                f"cluster.walltime: found {section.walltime!r}; a job that is told of its end two minutes before "
                f"needs at least {_SHORTEST // 60} minutes"
            )
        python = section.python or schedule.python
        command = f'{shlex.join((python, *schedule.command[1:5]))} --cluster "$DGMM_CLUSTER/cluster.yaml"'
        start = _START.format(**_cluster(schedule, section, shlex.quote(python)))
        size = f"on {count(_tasks(section) * section.processes, 'worker')}"
        prologue = "".join(f"{line}\n" for line in section.job_script_prologue)
    text = _SCRIPT.format(
        title=schedule.file.name,
        size=size,
        named=f" ({', '.join(schedule.environment)})" if schedule.environment else "",
        environment_file=schedule.environment_file,
        environment=shlex.quote(str(schedule.environment_file)),
        directives="\n".join(f"#SBATCH {each}" for each in _directives(schedule)),
        folder=shlex.quote(str(schedule.folder)),
        prologue=prologue,
        start=start,
        command=command,
    )
    return [Written(f"dgmm-{schedule.name}.sbatch", text, ("sbatch {file}",), partial(_head, schedule.times.text))]


def _head(cron: str, path: Path) -> str:
    file = shlex.quote(str(path))
    # To cron a percent sign ends the command, also within quotes.
    return _HEAD.format(file=file, cron=cron, escaped=file.replace("%", r"\%"))


def _seconds(walltime: str) -> int:
    """Return a time limit in seconds: minutes, minutes:seconds, hours:minutes:seconds, or days-hours and so on.

    Source: sbatch(1), "--time".
    """
    days, _, rest = walltime.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if days:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, minutes, seconds = (0, *parts, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _directives(schedule: Schedule) -> Iterator[str]:
    yield f"--job-name=dgmm-{schedule.name}"
    yield f'--output="{_literal(schedule.log)}"'
    section = schedule.job.cluster
    if not isinstance(section, SlurmCluster):
        yield from _one_node(section)
        return
    yield f"--ntasks={_tasks(section)}"
    yield f"--cpus-per-task={section.cores}"
    yield f"--mem-per-cpu={math.ceil(parse_bytes(section.memory) / section.cores / 2**20)}M"
    yield f"--time={section.walltime}"
    for option, value in (("--partition", section.queue), ("--account", section.account)):
        if value is not None:
            yield f"{option}={value}"
    yield from section.job_extra_directives


def _one_node(section: Any) -> Iterator[str]:
    """Ask for one node: all of it where the job takes all cores."""
    yield "--nodes=1"
    if section.kind == "synchronous":
        yield "--cpus-per-task=1"
    elif section.kind in ("threads", "processes", "local"):
        n = section.n_workers
        yield f"--cpus-per-task={n * (getattr(section, 'threads_per_worker', None) or 1)}" if n else "--exclusive"
        yield "--mem=0" if not n else "--mem-per-cpu=2G"


def _cluster(schedule: Schedule, section: SlurmCluster, python: str) -> dict[str, Any]:
    memory = parse_bytes(section.memory) // section.processes
    return {
        "name": schedule.name,
        "python": python,
        "wanted": section.wanted,
        "timeout": section.timeout,
        "persist": str(section.persist).lower(),
        "lean": str(section.lean).lower(),
        "interface": f" --interface {shlex.quote(section.interface)}" if section.interface else "",
        "preload": ignore_interrupts.__module__,
        "tasks": _tasks(section),
        "cores": section.cores,
        "processes": section.processes,
        "threads": max(section.cores // section.processes, 1),
        "memory_limit": memory,
        "spill": f" --local-directory {shlex.quote(section.local_directory)}" if section.local_directory else "",
    }


def _tasks(section: SlurmCluster) -> int:
    """How many of the SLURM jobs that the section describes: a task each."""
    workers = section.n_workers or (section.adapt.maximum if section.adapt else 1)
    return math.ceil(workers / section.processes)


def _literal(path: Path) -> str:
    """Return a path that SLURM takes as it is: a percent sign begins one of its patterns."""
    return str(path).replace("%", "%%")
