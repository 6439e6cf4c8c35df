"""Where a job computes: the sections of ``cluster`` turned into running Dask schedulers."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

import dask
import dask.multiprocessing
import distributed
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker
from distributed.security import Security

from dgmm.errors import ClusterError
from dgmm.jobs.clusters.sections import (
    ClusterSection,
    LocalCluster,
    ProcessesCluster,
    SchedulerCluster,
    SynchronousCluster,
    ThreadsCluster,
)
from dgmm.jobs.clusters.workers import begin_process, ignore_interrupts

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOPBACK = "127.0.0.1"
_LOST = (BrokenProcessPool, KilledWorker, CommClosedError, CancelledError, asyncio.CancelledError)


@contextmanager
def open_cluster(section: ClusterSection | None = None) -> Iterator[str]:
    """Make a cluster current for the body, and take down whatever was started for it.

    Parameters
    ----------
    section : ClusterSection, optional
        A checked ``cluster`` section; the threads of this process if left out.

    Yields
    ------
    str
        A few words on what computes, for logs and reports.

    Raises
    ------
    ClusterError
        If the cluster cannot be reached or started, or is lost while the body runs.

    Examples
    --------
    >>> from dgmm.jobs.clusters.sections import ThreadsCluster
    >>> with open_cluster(ThreadsCluster(n_workers=2)) as words:
    ...     print(words)
    2 threads
    """
    with ExitStack() as stack:
        words = _enter(section or ThreadsCluster(), stack)
        try:
            yield words
        except _LOST as error:
            raise ClusterError(
                f"the cluster ({words}) was lost while the job ran: {type(error).__name__}: {error}; "
                "look at its workers' memory and logs, then run the job again"
            ) from error


def _enter(section: ClusterSection, stack: ExitStack) -> str:
    match section:
        case ThreadsCluster(n_workers=n):
            stack.enter_context(dask.config.set(scheduler="threads", num_workers=n))
            return _count(n, "thread") if n else "threads, one per core"
        case SynchronousCluster():
            stack.enter_context(dask.config.set(scheduler="synchronous"))
            return "one thread"
        case ProcessesCluster(n_workers=n):
            return _start_processes(n, stack)
        case LocalCluster():
            return _start_local(section, stack)
        case SchedulerCluster():
            return _connect(section, stack)


def _start_processes(n: int | None, stack: ExitStack) -> str:
    # Dask's own processes would be started anew, with all their imports, for each pass.
    pool = ProcessPoolExecutor(n, get_context("spawn"), begin_process)
    stack.callback(pool.shutdown, cancel_futures=True)
    stack.enter_context(dask.config.set(scheduler=partial(dask.multiprocessing.get, pool=pool)))
    return _count(n, "process") if n else "processes, one per core"


def _start_local(section: LocalCluster, stack: ExitStack) -> str:
    asked = section.dashboard_address
    # A port alone would be opened to the network. Without a dashboard, Dask still answers questions
    # about its health there, and would warn if it found its usual port taken.
    dashboard = {"dashboard": asked is not None, "dashboard_address": _on_loopback(asked or "0")}
    try:
        cluster = stack.enter_context(
            distributed.LocalCluster(
                host=_LOOPBACK,
                n_workers=section.n_workers,
                threads_per_worker=section.threads_per_worker,
                memory_limit=section.memory_limit,
                local_directory=None if section.local_directory is None else str(section.local_directory),
                scheduler_kwargs=dashboard,
                preload=[ignore_interrupts.__module__],
            )
        )
        stack.enter_context(distributed.Client(cluster))
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"the local cluster could not be started: {error}") from error
    workers = cluster.scheduler_info["workers"]
    return f"local cluster of {_count(len(cluster.workers) or len(workers), 'worker')}"


def _on_loopback(address: str) -> str:
    port = address.removeprefix(":")
    return f"{_LOOPBACK}:{port}" if port.isdigit() else address


def _connect(section: SchedulerCluster, stack: ExitStack) -> str:
    security = None
    for key in ("tls_ca_file", "tls_cert", "tls_key"):
        file = getattr(section, key)
        if file is not None and not file.is_file():
            raise ClusterError(f"{section.address} cannot be reached: cluster.{key}: there is no such file: {file}")
    if section.tls_ca_file is not None:
        security = Security(
            tls_ca_file=str(section.tls_ca_file),
            tls_client_cert=str(section.tls_cert),
            tls_client_key=str(section.tls_key),
            require_encryption=True,
        )
    try:
        # Dask's own way of making a client current leaves one that could not connect behind as everybody's.
        client = distributed.Client(section.address, timeout=section.timeout, security=security, set_as_default=False)
    except (OSError, TimeoutError, ValueError, RuntimeError, TypeError, ImportError) as error:
        raise ClusterError(
            f"no Dask scheduler answered at {section.address} within {section.timeout:g} s; is it running, "
            f"and can it be reached from this machine? ({type(error).__name__}: {error})"
        ) from error
    stack.enter_context(client)
    stack.enter_context(client.as_current())
    stack.enter_context(dask.config.set(scheduler="dask.distributed"))
    if section.n_workers is not None:
        try:
            client.wait_for_workers(section.n_workers, timeout=section.timeout)
        except TimeoutError as error:
            running = len(client.scheduler_info(n_workers=-1)["workers"])
            raise ClusterError(
                f"the scheduler at {section.address} has {_count(running, 'worker')} after "
                f"{section.timeout:g} s; the job waits for {section.n_workers}: start more or wait for fewer"
            ) from error
    return f"scheduler at {section.address}"


def _count(number: int, noun: str) -> str:
    plural = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{plural}"
