"""What the kinds of clusters with workers of their own share: how they are begun, scaled and taken down."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
import distributed
from distributed.core import Status
from distributed.security import Security

from dgmm.errors import ClusterError, JobError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from dgmm.jobs.clusters.base import Scaled

logger = logging.getLogger("dgmm")

FAILURES = (OSError, TimeoutError, ValueError, RuntimeError, TypeError, ImportError, AssertionError)
"""What Dask and the packages beside it raise where a cluster cannot be started or reached."""

IDLE_TIMEOUT = "1 hour"
"""How long a scheduler elsewhere lives without tasks: it ends by itself if this process was killed."""


@dataclass(frozen=True)
class Started:
    """A cluster that has been started, and may have no workers yet.

    Attributes
    ----------
    client : distributed.Client
    wanted : int
        Workers to wait for.
    timeout : float
        Seconds to wait for them.
    pending : callable
        Says what is known of workers that are not there yet, as "SLURM: 6 pending"; empty if nothing is.
    refusal : callable
        Says why there will never be enough workers, and what to do; empty if there may be.
    advice : str
        What to do if they do not come.
    own : bool
        Whether it was started for this block.
    """

    client: Any
    wanted: int
    timeout: float
    pending: Callable[[], str] = str
    refusal: Callable[[], str] = str
    advice: str = "start more, or wait for fewer"
    own: bool = True


def take_down(stack: ExitStack, what: str, close: Callable[[], Any]) -> None:
    """Close something at the end of the block; a failure there is told, and hides no other error."""

    def closing() -> None:
        try:
            close()
        except FAILURES as error:
            logger.warning("%s could not be taken down in good order (%s: %s)", what, type(error).__name__, error)

    stack.callback(closing)


def connect(stack: ExitStack, cluster: Any, what: str, timeout: float, security: Security | None = None) -> Any:
    """Return a client of a cluster that was started, or of a scheduler's address; it is closed at the end of the block.

    Raises
    ------
    ClusterError
    """
    if not isinstance(cluster, str):
        take_down(stack, what, lambda: end(cluster))
    try:
        # Dask's own way of making a client current would leave it behind as everybody's.
        client = distributed.Client(cluster, timeout=timeout, security=security, set_as_default=False)
    except FAILURES as error:
        raise ClusterError(f"{what} was started and does not answer: {brief(error)}") from error
    take_down(stack, f"the client of {what}", client.close)
    return client


def end(cluster: Any) -> None:
    """Close one of Dask's clusters, also if its scheduler has died: its workers cannot be retired by it then."""
    patience = "distributed.comm.timeouts.connect"
    try:
        with dask.config.set({patience: "5s"}):
            cluster.sync(cluster.scheduler_comm.identity)
    except FAILURES:
        cluster.scheduler.status = Status.closed
        with dask.config.set({patience: "100ms"}):
            cluster.close()
    else:
        cluster.close()


def scale(cluster: Any, section: Scaled) -> None:
    """Ask for workers: a fixed number, or as many as the load needs."""
    if section.adapt is not None:
        cluster.adapt(minimum=section.adapt.minimum, maximum=section.adapt.maximum)
    elif section.n_workers is not None:
        cluster.scale(section.n_workers)


def missing(package: str, extra: str, kind: str) -> MissingExtraError:
    """Return the error for a kind of cluster whose package is not installed."""
    return MissingExtraError(package, extra, f"a cluster of kind {kind}")


def brief(error: BaseException) -> str:
    """Return an error in one line: of what it was raised from, the last that says something."""
    told = error
    while error.__cause__ is not None:
        error = error.__cause__
        told = error if str(error).strip() else told
    text = " ".join(str(told).split())
    return f"{type(told).__name__}: {text[:300]}" if text else type(told).__name__


def security_of(ca_file: Path, cert: Path, key: Path) -> Security:
    """Return what a client shows and asks for, with encryption required."""
    return Security(
        tls_ca_file=str(ca_file), tls_client_cert=str(cert), tls_client_key=str(key), require_encryption=True
    )


def check_files(*, advice: str = "", **files: Path | None) -> None:
    """Refuse a section that names files which are not there; by the section's keys.

    Raises
    ------
    JobError
    """
    for key, file in files.items():
        if file is not None and not file.is_file():
            raise JobError(f"cluster.{key}: there is no such file: {file}{advice}")


def make_folders(*, mode: int = 0o777, **folders: Path | None) -> None:
    """Make the folders that a section names; by the section's keys.

    Raises
    ------
    JobError
    """
    for key, folder in folders.items():
        try:
            if folder is not None:
                folder.mkdir(mode=mode, parents=True, exist_ok=True)
        except OSError as error:
            raise JobError(f"cluster.{key}: {folder}: cannot be made ({error.strerror})") from error


def temporary_security(kind: str, extra: str) -> Security:
    """Return a key and certificate for one cluster, that no other has.

    Raises
    ------
    MissingExtraError
        If cryptography is not installed.
    """
    try:
        return Security.temporary()
    except ImportError:
        raise missing("cryptography", extra, kind) from None
