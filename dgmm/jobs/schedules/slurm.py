"""A batch script for SLURM: the whole job, with scheduler and workers, in one allocation."""

from __future__ import annotations

import math
import re
import shlex
from typing import TYPE_CHECKING, Any

from dask.utils import parse_bytes

from dgmm.errors import JobError
from dgmm.jobs.clusters.sections import SlurmCluster
from dgmm.jobs.schedules.schedule import Written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dgmm.jobs.schedules.schedule import Schedule

_UNQUOTABLE = re.compile(r"[\"'\\]")

_SCRIPT = """\
#!/bin/bash
# Submit with sbatch: dgmm run {title}, {size}.
# By the clock, on a login node by cron, or in a scrontab below a line "#SCRON --time=5":
#     {cron} sbatch {file}
# Credentials{named}: NAME=value lines in {environment_file}, mode 600.
{directives}
# One at a time.
#SBATCH --dependency=singleton
# Before the time is up this script is told, and a node that fails or is taken away begins it anew elsewhere.
#SBATCH --signal=B:USR1@{notice}
#SBATCH --requeue
#SBATCH --open-mode=append

cd {folder} || exit 2
if [ -f {environment} ]; then set -a && . {environment} && set +a || exit 2; fi
{prologue}
finish() {{
    code=$?
    trap '' USR1 TERM
    kill $(jobs -p) 2>/dev/null
    wait
    rm -rf "${{DGMM_CLUSTER-}}"
    # Interrupted: back into the queue, to go on from the checkpoint.
    if [ "$code" = 75 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
    exit "$code"
}}
trap finish EXIT
trap 'exit 75' USR1 TERM
{start}
{command} &
run=$!
trap 'kill -USR1 "$run"' USR1 TERM
while kill -0 "$run" 2>/dev/null; do wait "$run"; done
wait "$run"
"""

_START = """
# Certificates, and where the scheduler is: for this allocation alone, seen by its nodes.
export DGMM_CLUSTER=$(mktemp -d "$PWD/.{name}-XXXXXXXX") || exit 69
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
both=(--scheduler-file "$DGMM_CLUSTER/scheduler.json" --protocol tls --tls-ca-file "$DGMM_CLUSTER/certs/ca.pem"
    --no-dashboard --dashboard-address 127.0.0.1:0{interface})
{python} -m distributed.cli.dask_scheduler "${{both[@]}}" --port 0 \\
    --tls-cert "$DGMM_CLUSTER/certs/scheduler.pem" --tls-key "$DGMM_CLUSTER/certs/scheduler-key.pem" &
for _ in {{1..600}}; do
    [ -f "$DGMM_CLUSTER/scheduler.json" ] && break
    sleep 0.1
done
# A worker that dies is started again by its nanny, and the others go on.
srun --ntasks={tasks} --cpus-per-task={cores} --kill-on-bad-exit=0 --wait=0 \\
    {python} -m distributed.cli.dask_worker "${{both[@]}}" --preload dgmm.jobs.workers \\
    --tls-cert "$DGMM_CLUSTER/certs/worker.pem" --tls-key "$DGMM_CLUSTER/certs/worker-key.pem" \\
    --nworkers {processes} --nthreads {threads} --memory-limit {memory_limit}{spill} &
"""


def write_slurm(schedule: Schedule) -> list[Written]:
    """Write a script for sbatch that runs a job, and runs it again where it was interrupted.

    With a cluster of kind ``slurm`` the workers that are jobs of their own there are tasks of one allocation
    here, with scheduler and driver on its first node. With any other kind the allocation is for the driver.

    Raises
    ------
    JobError
        If the job has no checkpoint, or a path cannot be said in a line of a batch script.
    """
    if schedule.job.checkpoint is None:
        raise JobError(
            f"{schedule.file}: checkpoint: missing; SLURM ends a job when its time is up, and without a checkpoint "
            "it would begin again each time: add the section checkpoint"
        )
    if _UNQUOTABLE.search(str(schedule.log)):
        raise JobError(f"{schedule.log}: SLURM takes no path with quotes or backslashes for a log; rename the folder")
    section = schedule.job.cluster
    command, start, prologue = schedule.shell_command, "", ""
    if isinstance(section, SlurmCluster):
        python = section.python or schedule.python
        command = f'{shlex.join((python, *schedule.command[1:5]))} --cluster "$DGMM_CLUSTER/cluster.yaml"'
        start = _START.format(**_cluster(schedule, section, shlex.quote(python)))
        prologue = "".join(f"{line}\n" for line in section.job_script_prologue)
    name = f"dgmm-{schedule.name}.sbatch"
    text = _SCRIPT.format(
        title=schedule.file.name,
        size=section.words,
        cron=schedule.times.text,
        file=shlex.quote(str(schedule.folder / name)),
        named=f" ({', '.join(schedule.environment)})" if schedule.environment else "",
        environment_file=schedule.environment_file,
        environment=shlex.quote(str(schedule.environment_file)),
        directives="\n".join(f"#SBATCH {each}" for each in _directives(schedule)),
        notice=120,
        folder=shlex.quote(str(schedule.folder)),
        prologue=prologue,
        start=start,
        command=command,
    )
    return [Written(name, text, ("sbatch {file}",))]


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
