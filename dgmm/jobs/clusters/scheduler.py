"""A Dask scheduler that runs already."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import distributed

from dgmm.errors import ClusterError
from dgmm.jobs.clusters.starting import FAILURES, Started, brief, check_files, security_of, take_down

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from dgmm.jobs.clusters.sections import SchedulerCluster


def start_scheduler(section: SchedulerCluster, stack: ExitStack, tell: Callable[[str], None]) -> Started:
    """Connect to it.

    Raises
    ------
    ClusterError
        If it does not answer, or has not written its file.
    JobError
        If there is no such key or certificate.
    """
    check_files(tls_ca_file=section.tls_ca_file, tls_cert=section.tls_cert, tls_key=section.tls_key)
    address = section.address or _address_in(section.scheduler_file)
    security = None
    if section.tls_ca_file is not None and section.tls_cert is not None and section.tls_key is not None:
        security = security_of(section.tls_ca_file, section.tls_cert, section.tls_key)
    elif address.startswith("tls://"):
        raise ClusterError(f"{address} is encrypted: give tls_ca_file, tls_cert and tls_key")
    try:
        # Dask's own way of making a client current leaves one that could not connect behind as everybody's.
        client = distributed.Client(address, timeout=section.timeout, security=security, set_as_default=False)
    except FAILURES as error:
        raise ClusterError(
            f"no Dask scheduler answered at {address} within {section.timeout:g} s; is it running, "
            f"and can it be reached from this machine? ({brief(error)})"
        ) from error
    take_down(stack, f"the client of {address}", client.close)
    return Started(client, section.n_workers, section.timeout, own=False)


def _address_in(file: Path | None) -> str:
    """Read the address in the file that a scheduler has written."""
    try:
        address = json.loads(file.read_text(encoding="utf-8"))["address"] if file is not None else None
    except OSError as error:
        raise ClusterError(
            f"cluster.scheduler_file: {file}: cannot be read ({error.strerror}); has the scheduler been started?"
        ) from error
    except (ValueError, KeyError, TypeError):
        address = None
    if not isinstance(address, str) or "://" not in address:
        raise ClusterError(f"cluster.scheduler_file: {file}: no file that a Dask scheduler wrote: it has no address")
    return address
