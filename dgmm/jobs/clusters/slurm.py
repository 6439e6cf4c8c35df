"""Workers in jobs of SLURM, by dask-jobqueue; the scheduler is in this process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.errors import ClusterError
from dgmm.jobs.clusters.starting import FAILURES, Started, brief, connect, missing, scale, temporary_security

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from dgmm.jobs.clusters.sections import SlurmCluster

_PROGRAMS = ("sbatch", "squeue", "scancel")
_SECONDS = 10.0


def start_slurm(section: SlurmCluster, stack: ExitStack, tell: Callable[[str], None]) -> Started:
    """Start a scheduler in this process, and submit jobs whose workers connect to it, encrypted.

    Raises
    ------
    ClusterError
        If SLURM's commands are not there, or the scheduler cannot be started.
    MissingExtraError
    """
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError:
        raise missing("dask-jobqueue", "slurm", section.kind) from None
    if absent := [name for name in _PROGRAMS if shutil.which(name) is None]:
        raise ClusterError(
            f"a cluster of kind slurm needs {', '.join(absent)} on this machine: run the job where jobs are submitted"
        )
    security = temporary_security(section.kind, "slurm")
    if section.log_directory is not None:
        section.log_directory.mkdir(parents=True, exist_ok=True)
    if section.shared_directory is not None:
        section.shared_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        cluster = SLURMCluster(**slurm_arguments(section), security=security)
    except FAILURES as error:
        raise ClusterError(f"the SLURM cluster could not be started: {brief(error)}") from error
    client = connect(stack, cluster, "the SLURM cluster", section.timeout)
    scale(cluster, section)
    return Started(
        client,
        section.wanted,
        section.timeout,
        pending=lambda: _states(cluster),
        advice="look at squeue and at the jobs' logs (log_directory), ask for less, or wait longer (timeout)",
    )


def slurm_arguments(section: SlurmCluster) -> dict[str, Any]:
    """Return the arguments of dask-jobqueue's class but for its ``security``."""
    return {
        "n_workers": 0,
        "queue": section.queue,
        "account": section.account,
        "walltime": section.walltime,
        "cores": section.cores,
        "memory": section.memory,
        "processes": section.processes,
        "interface": section.interface,
        "python": section.python or sys.executable,
        "local_directory": section.local_directory,
        "log_directory": None if section.log_directory is None else str(section.log_directory),
        "job_extra_directives": list(section.job_extra_directives),
        "job_script_prologue": list(section.job_script_prologue),
        "protocol": "tls://",
        "shared_temp_directory": str(section.shared_directory or Path.home()),
        # Health pages would answer without encryption.
        "scheduler_options": {"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        "worker_extra_args": ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"],
    }


def _states(cluster: Any) -> str:
    """Say in which states the jobs are, as "SLURM: 2 running, 6 pending"."""
    ids = [job.job_id for job in list(cluster.workers.values()) if job.job_id]
    if not ids:
        return ""
    try:
        told = subprocess.run(
            ["squeue", "--noheader", "--format=%T %r", f"--jobs={','.join(ids)}"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = [line.split(maxsplit=1) for line in told.stdout.splitlines() if line.strip()]
    counted = Counter(state.lower() + (f" ({reason[0]})" if state == "PENDING" else "") for state, *reason in lines)
    if gone := len(ids) - len(lines):
        counted["ended"] = gone
    return "SLURM: " + ", ".join(f"{n} {state}" for state, n in counted.items())
