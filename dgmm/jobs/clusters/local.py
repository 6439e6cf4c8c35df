"""Clusters of this machine: threads, processes, and Dask's LocalCluster."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

import dask
import dask.multiprocessing
import distributed

from dgmm.errors import ClusterError
from dgmm.jobs.clusters.starting import FAILURES, Started, brief, connect
from dgmm.jobs.clusters.workers import begin_process, ignore_interrupts

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from dgmm.jobs.clusters.sections import LocalCluster, ProcessesCluster, SynchronousCluster, ThreadsCluster

_LOOPBACK = "127.0.0.1"


def start_threads(section: ThreadsCluster, stack: ExitStack, tell: Callable[[str], None]) -> None:
    """Let the threads of this process compute."""
    stack.enter_context(dask.config.set(scheduler="threads", num_workers=section.n_workers))


def start_synchronous(section: SynchronousCluster, stack: ExitStack, tell: Callable[[str], None]) -> None:
    """Let this thread compute."""
    stack.enter_context(dask.config.set(scheduler="synchronous"))


def start_processes(section: ProcessesCluster, stack: ExitStack, tell: Callable[[str], None]) -> None:
    """Start processes that compute."""
    # Dask's own processes would be started anew, with all their imports, for each pass.
    pool = ProcessPoolExecutor(section.n_workers, get_context("spawn"), begin_process)
    stack.callback(pool.shutdown, cancel_futures=True)
    stack.enter_context(dask.config.set(scheduler=partial(dask.multiprocessing.get, pool=pool)))


def start_local(section: LocalCluster, stack: ExitStack, tell: Callable[[str], None]) -> Started:
    """Start a scheduler in this process, and workers as its children.

    Raises
    ------
    ClusterError
    """
    asked = section.dashboard_address
    # A port alone would be opened to the network. Without a dashboard, Dask still answers questions
    # about its health there, and would warn if it found its usual port taken.
    dashboard = {"dashboard": asked is not None, "dashboard_address": _on_loopback(asked or "0")}
    adapt = section.adapt
    try:
        cluster = distributed.LocalCluster(
            host=_LOOPBACK,
            n_workers=adapt.minimum if adapt is not None else section.n_workers,
            threads_per_worker=section.threads_per_worker,
            memory_limit=section.memory_limit,
            local_directory=None if section.local_directory is None else str(section.local_directory),
            scheduler_kwargs=dashboard,
            preload=[ignore_interrupts.__module__],
        )
    except FAILURES as error:
        raise ClusterError(f"the local cluster could not be started: {brief(error)}") from error
    client = connect(stack, cluster, "the local cluster", section.timeout)
    if adapt is not None:
        cluster.adapt(minimum=adapt.minimum, maximum=adapt.maximum)
    return Started(client, section.wanted, section.timeout, advice="look at the memory of this machine")


def _on_loopback(address: str) -> str:
    port = address.removeprefix(":")
    return f"{_LOOPBACK}:{port}" if port.isdigit() else address
