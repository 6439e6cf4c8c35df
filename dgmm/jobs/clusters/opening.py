"""Clusters made current for a block, and taken down after it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import distributed
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from dgmm.errors import ClusterError, ParameterError
from dgmm.jobs.clusters.base import Cluster
from dgmm.jobs.clusters.cloud import start_fargate, start_gcp
from dgmm.jobs.clusters.gateway import start_gateway
from dgmm.jobs.clusters.kubernetes import start_kubernetes
from dgmm.jobs.clusters.local import start_local, start_processes, start_synchronous, start_threads
from dgmm.jobs.clusters.scheduler import start_scheduler
from dgmm.jobs.clusters.sections import ThreadsCluster
from dgmm.jobs.clusters.slurm import start_slurm
from dgmm.jobs.clusters.ssh import start_ssh
from dgmm.jobs.clusters.starting import Started
from dgmm.jobs.clusters.versions import check_processes, watch_joining
from dgmm.jobs.clusters.waiting import wait_for_workers
from dgmm.jobs.interrupts import terminable
from dgmm.jobs.loading import load_cluster, make_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger("dgmm")

_LOST = (BrokenProcessPool, KilledWorker, CommClosedError, CancelledError, asyncio.CancelledError)

OPENERS: Mapping[str, Callable[[Any, ExitStack, Callable[[str], None]], Started | None]] = {
    "threads": start_threads,
    "synchronous": start_synchronous,
    "processes": start_processes,
    "local": start_local,
    "scheduler": start_scheduler,
    "ssh": start_ssh,
    "slurm": start_slurm,
    "gateway": start_gateway,
    "kubernetes": start_kubernetes,
    "aws-fargate": start_fargate,
    "gcp": start_gcp,
}
"""How each kind is started: a function of its section, the stack that takes it down, and what takes lines for a person.

One that has no workers of its own sets Dask's configuration and returns None.
"""


@contextmanager
def open_cluster(
    cluster: str | Path | Mapping[str, Any] | Cluster | distributed.Client | None = None,
    *,
    tell: Callable[[str], None] = logger.info,
) -> Iterator[distributed.Client | None]:
    """Make a cluster current for the body, and take down whatever was started for it.

    All that Dask computes in the body, fits among it, is computed there. At the end, also after an error, Ctrl-C
    or SIGTERM, what was started is taken down, and what was current before is current again.

    Parameters
    ----------
    cluster : path, mapping, section or distributed.Client, optional
        A file as in ``cluster_configs/``, or what stands in one; the threads of this process if left out. A client is
        used as it is, and left open.
    tell : callable
        Takes a line now and then on what is waited for; logged if left out.

    Yields
    ------
    distributed.Client or None
        None for the kinds ``threads``, ``synchronous`` and ``processes``, which have no scheduler to talk to: there,
        Dask's configuration says what computes.

    Raises
    ------
    JobError
        If the file or the mapping is wrong.
    ClusterError
        If the cluster cannot be started or reached, has too few workers in time, runs other versions than this process,
        or is lost while the body runs; or if a client is closed.
    MissingExtraError
        If the package of its kind is not installed.

    Examples
    --------
    >>> import dask.array as da
    >>> import dgmm
    >>> with dgmm.open_cluster({"kind": "threads", "n_workers": 2}):
    ...     print(da.ones(10, chunks=5).sum().compute())
    10.0
    """
    with ExitStack() as stack:
        stack.enter_context(terminable())
        started, words = _start(cluster, stack, tell)
        client = None if started is None else started.client
        if started is not None:
            stack.enter_context(started.client.as_current())
            held = wait_for_workers(started, tell, words)
            stack.callback(held.release)
            families = check_processes(started.client, words)
            if started.client is not cluster:
                stack.enter_context(watch_joining(started.client, families, retire=started.own))
        try:
            yield client
        except _LOST as error:
            raise ClusterError(
                f"the cluster ({words}) was lost while the job ran: {type(error).__name__}: {error}; "
                "look at its workers' memory and logs, then run the job again"
            ) from error


def _start(given: Any, stack: ExitStack, tell: Callable[[str], None]) -> tuple[Started | None, str]:
    if isinstance(given, distributed.Client):
        if given.status == "closed" or given.scheduler is None:
            raise ClusterError(
                "cluster: this client is closed, or has lost its scheduler; open a new one, or give a file"
            )
        return Started(given, wanted=1, timeout=_PATIENCE), f"scheduler at {given.scheduler.address}"
    section = _section(given)
    return OPENERS[section.kind](section, stack, tell), section.words


_PATIENCE = 60.0


def _section(given: Any) -> Any:
    if given is None:
        return ThreadsCluster()
    if isinstance(given, Cluster):
        return given
    if isinstance(given, Mapping):
        return make_cluster(given, Path.cwd())
    if isinstance(given, str | Path):
        return load_cluster(given)
    raise ParameterError(f"cluster is {given!r}; expected a path, a mapping, a section or a distributed.Client")
