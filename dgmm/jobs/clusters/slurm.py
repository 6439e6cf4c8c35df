"""Workers in jobs of SLURM, by dask-jobqueue; the scheduler is in this process."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from distributed.core import Status
from distributed.security import Security

from dgmm.errors import ClusterError
from dgmm.jobs.clusters.base import count
from dgmm.jobs.clusters.starting import (
    FAILURES,
    Started,
    brief,
    connect,
    make_folders,
    missing,
    scale,
    take_down,
    temporary_security,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from dgmm.jobs.clusters.sections import SlurmCluster

_PROGRAMS = ("sbatch", "squeue", "scancel")
_ROLES = ("scheduler", "worker", "client")
_SECONDS = 10.0
_LOOK = (5.0, 600.0)
"""Seconds between two looks at the queue: as a rule, and at most where jobs keep ending."""


def start_slurm(section: SlurmCluster, stack: ExitStack, tell: Callable[[str], None]) -> Started:
    """Start a scheduler in this process, and submit jobs whose workers connect to it, encrypted.

    Raises
    ------
    ClusterError
        If SLURM's commands are not there, or the scheduler cannot be started.
    JobError
        If a folder that the section names cannot be made.
    MissingExtraError
    """
    try:
        from dask_jobqueue.slurm import SLURMCluster, SLURMJob
    except ImportError:
        raise missing("dask-jobqueue", "slurm", section.kind) from None
    if absent := [name for name in _PROGRAMS if shutil.which(name) is None]:
        raise ClusterError(
            f"a cluster of kind slurm needs {', '.join(absent)} on this machine: run the job where jobs are submitted"
        )
    temporary = temporary_security(section.kind, "slurm")
    make_folders(log_directory=section.log_directory)
    make_folders(mode=0o700, shared_directory=section.shared_directory)
    try:
        security = _written(temporary, section.shared_directory or Path.home(), stack)
        cluster = SLURMCluster(**slurm_arguments(section), security=security, job_cls=_job_class(SLURMJob))
    except FAILURES as error:
        raise ClusterError(f"the SLURM cluster could not be started: {brief(error)}") from error
    client = connect(stack, cluster, "the SLURM cluster", section.timeout)
    scale(cluster, section)
    _keep(cluster, stack, tell)
    return Started(
        client,
        section.wanted,
        section.timeout,
        pending=lambda: _states(cluster),
        refusal=lambda: _refusal(cluster, section),
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
        # Health pages would answer without encryption.
        "scheduler_options": {"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        "worker_extra_args": ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"],
    }


def _written(temporary: Security, folder: Path, stack: ExitStack) -> Security:
    """Write a key and its certificate where the nodes see them, for this user's eyes, until the end of the block."""
    place = Path(stack.enter_context(TemporaryDirectory(prefix=".dgmm-slurm-", dir=folder)))
    certificate, key = place / "certificate.pem", place / "key.pem"
    certificate.write_text(temporary.tls_worker_cert, encoding="ascii")
    key.touch(0o600)
    key.write_text(temporary.tls_worker_key, encoding="ascii")
    roles = {f"tls_{role}_{what}": str(path) for role in _ROLES for what, path in (("cert", certificate), ("key", key))}
    return Security(require_encryption=True, tls_ca_file=str(certificate), **roles)


def _job_class(base: Any) -> Any:
    """Return a class of jobs, made of dask-jobqueue's, that keep what sbatch says if it refuses them.

    Dask would show a trace of the error, in a thread of its own, and nobody would know of it.
    """

    class Job(base):  # type: ignore[misc]
        refusal = ""

        async def start(self) -> None:
            try:
                await super().start()
            except (OSError, RuntimeError, ValueError) as error:
                # dask-jobqueue tells the command, its output and last what it said.
                said = str(error).rpartition("stderr:")[2].splitlines()
                self.refusal = "; ".join(filter(None, (line.removeprefix("sbatch: error: ").strip() for line in said)))
                self.refusal = self.refusal or "sbatch failed, and did not say why"
                self.status = Status.running  # to Dask, which looks at no number of a job

    return Job


def _refusal(cluster: Any, section: SlurmCluster) -> str:
    """Return what SLURM says, if it takes fewer jobs than the work can begin with."""
    jobs = list(cluster.workers.values())
    refusals = [job.refusal for job in jobs if job.refusal]
    if not refusals or (len(jobs) - len(refusals)) * section.processes >= section.wanted:
        return ""
    return (
        f"SLURM refuses {len(refusals)} of {count(len(jobs), 'job')}: {refusals[0]}; correct the keys of the cluster "
        "file (queue, account, walltime, cores, memory, job_extra_directives), or ask for fewer workers"
    )


def _keep(cluster: Any, stack: ExitStack, tell: Callable[[str], None]) -> None:
    """Submit a job again where one has ended: dask-jobqueue itself misses one that was cancelled or ran out of time."""

    async def begin() -> asyncio.Task[None]:
        return asyncio.create_task(_keeping(cluster, tell))

    task = cluster.sync(begin)

    async def end() -> None:
        task.cancel()

    take_down(stack, "the watch over the SLURM jobs", lambda: cluster.sync(end))


async def _keeping(cluster: Any, tell: Callable[[str], None]) -> None:
    seconds, known = _LOOK[0], set[str]()
    while True:
        await asyncio.sleep(seconds)
        # One that SLURM refused has no number, so it is in no queue and has ended too.
        jobs = {name: job.job_id for name, job in cluster.workers.items()}
        listed = await asyncio.to_thread(_listed, list(jobs.values()))
        if listed is None:
            continue
        known |= set(jobs)
        # Dask itself forgets a job some time after it has lost the worker, and does not make up for it.
        ended = [name for name in set(cluster.worker_spec) & known if jobs.get(name) not in listed]
        # What ends again and again is submitted ever more seldom.
        seconds = min(2 * seconds, _LOOK[1]) if ended else _LOOK[0]
        known -= set(ended)
        gone = [cluster.workers.pop(name, None) for name in ended]
        if refusals := [job.refusal for job in gone if job is not None and job.refusal]:
            tell(f"SLURM refused {count(len(refusals), 'job')}, to be submitted again: {refusals[0]}")
        if lost := len(gone) - len(refusals):
            tell(f"{count(lost, 'SLURM job')} ended before the work was done; submitted again")
        # Also what Dask forgot of those that were submitted again; what is being submitted is not, twice.
        if set(cluster.worker_spec) - set(cluster.workers):
            cluster.scale(jobs=len(cluster.worker_spec))


def _listed(ids: list[str]) -> dict[str, tuple[str, str]] | None:
    """Return the state and reason of the jobs that are in SLURM's queue; None if it does not answer."""
    command = ["squeue", "--noheader", "--format=%i %T %r", "--user", str(os.getuid())]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = (line.split(maxsplit=2) for line in told.stdout.splitlines())
    return {number: (state, reason) for number, state, reason in found if number in ids}


def _states(cluster: Any) -> str:
    """Say in which states the jobs are, as "SLURM: 2 running, 6 pending (Resources)"."""
    ids = [job.job_id for job in list(cluster.workers.values()) if job.job_id]
    listed = _listed(ids)
    if not ids or listed is None:
        return ""
    counted = Counter(
        f"{state.lower()} ({reason})" if state == "PENDING" else state.lower() for state, reason in listed.values()
    )
    if ended := len(ids) - len(listed):
        counted["ended"] = ended
    return "SLURM: " + ", ".join(f"{n} {state}" for state, n in sorted(counted.items(), reverse=True))
