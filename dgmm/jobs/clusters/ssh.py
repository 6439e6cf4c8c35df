"""Machines that are reached by SSH, with traffic of their own that is encrypted by TLS.

SSH carries the start of the processes and nothing else: what the scheduler, the workers and this process say to one
another goes over connections of Dask's own. So a key and certificate are made for this one cluster, handed to each host
over SSH, into a folder that only its user may enter, and removed at the end.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import distributed

from dgmm.errors import ClusterError
from dgmm.jobs.clusters.starting import (
    FAILURES,
    IDLE_TIMEOUT,
    Started,
    brief,
    check_files,
    connect,
    missing,
    temporary_security,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import ExitStack

    from distributed.security import Security

    from dgmm.jobs.clusters.sections import SSHCluster

logger = logging.getLogger("dgmm")

_FIND = (
    "import importlib.util as u, sys; absent = [n for n in ('dgmm', 'distributed') if u.find_spec(n) is None]; "
    "sys.exit('it has no ' + ' and no '.join(absent) if absent else 0)"
)
# Health pages would answer without encryption.
_NO_PAGES = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}


def start_ssh(section: SSHCluster, stack: ExitStack, tell: Callable[[str], None]) -> Started:
    """Start a scheduler and workers on the hosts.

    Raises
    ------
    ClusterError
        If a host cannot be reached, or lacks Python or dgmm; with each host that does.
    JobError
        If there is no such key.
    MissingExtraError
    """
    try:
        import asyncssh
    except ImportError:
        raise missing("asyncssh", "ssh", section.kind) from None
    for key in section.client_keys or ():
        check_files(client_keys=key)
    security = temporary_security(section.kind, "ssh")
    file = f"/tmp/dgmm-{secrets.token_hex(16)}/tls.pem"
    hosts, options = list(dict.fromkeys([scheduler_of(section), *section.hosts])), connect_options(section)
    python = section.python or sys.executable

    def on_hosts(script: str, text: str) -> dict[str, str]:
        return _on_hosts(asyncssh, hosts, options, script, text, section.timeout)

    tell(f"reaching {', '.join(hosts)} over SSH")
    # A worker that is started anew reads the file again.
    stack.callback(_remove, on_hosts, file)
    if failed := on_hosts(_hand_over(file, python), _pem(security)):
        raise ClusterError(
            "; ".join(f"{host}: {why}" for host, why in failed.items())
            + f"; can you log in there with ssh -p {section.port}, and is dgmm installed for its {python}?"
        )
    try:
        cluster = distributed.SSHCluster(**ssh_arguments(section, file), security=security)
    except FAILURES as error:
        raise ClusterError(
            f"the scheduler or a worker could not be started on {', '.join(hosts)}: {brief(error)}; try "
            f"{python} -m distributed.cli.dask_worker --help there"
        ) from error
    for process in (cluster.scheduler, *cluster.workers.values()):
        cluster.loop.add_callback(_drain, process.proc.stderr)
    client = connect(stack, cluster, "the SSH cluster", section.timeout)
    return Started(client, section.wanted, section.timeout, advice="look at the hosts, or wait for fewer (wait_for)")


def scheduler_of(section: SSHCluster) -> str:
    """Return the host that the scheduler runs on."""
    return section.scheduler or section.hosts[0]


def connect_options(section: SSHCluster) -> dict[str, Any]:
    """Return asyncssh's options; host keys are always checked."""
    given = {
        "username": section.username,
        "client_keys": None if section.client_keys is None else [str(path) for path in section.client_keys],
        "known_hosts": None if section.known_hosts is None else str(section.known_hosts),
    }
    options = {key: value for key, value in given.items() if value is not None}
    return options | {"port": section.port, "connect_timeout": section.timeout, "login_timeout": section.timeout}


def ssh_arguments(section: SSHCluster, file: str) -> dict[str, Any]:
    """Return the arguments of Dask's SSHCluster but for its ``security``; ``file`` holds the keys on each host."""
    both = {"protocol": "tls://", "interface": section.interface, **_NO_PAGES}
    worker = {
        "n_workers": section.workers_per_host,
        "nthreads": section.threads_per_worker,
        "memory_limit": section.memory_limit,
        "local_directory": section.local_directory,
        "death_timeout": section.timeout,
        "security": _paths("worker", file),
        **both,
    }
    scheduler = {"port": 0, "idle_timeout": IDLE_TIMEOUT, "security": _paths("scheduler", file), **both}
    return {
        "hosts": [scheduler_of(section), *section.hosts],
        "connect_options": connect_options(section),
        "worker_options": {key: value for key, value in worker.items() if value is not None},
        "scheduler_options": {key: value for key, value in scheduler.items() if value is not None},
        "remote_python": section.python or sys.executable,
        "silence_logs": logging.WARNING,
    }


def _paths(role: str, file: str) -> dict[str, Any]:
    return {"require_encryption": True, "tls_ca_file": file, f"tls_{role}_cert": file, f"tls_{role}_key": file}


def _pem(security: Security) -> str:
    """The key and certificate that all processes of the cluster share."""
    return f"{security.tls_worker_key}\n{security.tls_worker_cert}\n"


def _hand_over(file: str, python: str) -> str:
    folder = shlex.quote(file.rpartition("/")[0])
    # The same machine may go by two names; nobody else can guess this one.
    return (
        f"umask 077 && {{ mkdir {folder} 2>/dev/null || test -O {folder}; }} && cat > {shlex.quote(file)} && "
        f"{python} -c {shlex.quote(_FIND)}"
    )


def _remove(on_hosts: Callable[[str, str], dict[str, str]], file: str) -> None:
    for host, why in on_hosts(f"rm -rf {shlex.quote(file.rpartition('/')[0])}", "").items():
        logger.debug("%s was left on %s: %s", file, host, why)


def _on_hosts(
    asyncssh: Any, hosts: list[str], options: dict[str, Any], script: str, text: str, seconds: float
) -> dict[str, str]:
    """Run a shell script on each host at once; what went wrong, by host."""

    async def on_one(host: str) -> str:
        try:
            async with asyncssh.connect(host, **options) as connection:
                done = await connection.run(script, input=text, timeout=seconds)
        except (OSError, TimeoutError, ValueError, asyncssh.Error) as error:
            return brief(error)
        if done.exit_status == 0:
            return ""
        return " ".join(str(done.stderr).split())[:300] or f"exit status {done.exit_status}"

    async def on_all() -> list[str]:
        return await asyncio.gather(*map(on_one, hosts))

    return {host: why for host, why in zip(hosts, _run(on_all()), strict=True) if why}


def _run(work: Coroutine[Any, Any, list[str]]) -> list[str]:
    # A notebook has a loop of its own in this thread.
    with ThreadPoolExecutor(1, "dgmm-ssh") as threads:
        return threads.submit(asyncio.run, work).result()


async def _drain(stream: Any) -> None:
    """Read what a process logs: one that nobody reads would stop when its pipe is full."""
    try:
        while line := await stream.readline():
            logger.debug("%s", line.rstrip())
    except FAILURES:
        return
