"""A cluster that a dask-gateway server starts for us; its traffic is encrypted by the gateway, with keys of its own."""

from __future__ import annotations

import asyncio
import time
import warnings
from typing import TYPE_CHECKING, Any

from distributed.utils import LoopRunner

from dgmm.errors import ClusterError
from dgmm.jobs.clusters.starting import FAILURES, Started, brief, connect, missing, take_down

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import ExitStack

    from dgmm.jobs.clusters.sections import GatewayCluster

_POLL = 0.5


def start_gateway(section: GatewayCluster, stack: ExitStack, tell: Callable[[str], None]) -> Started:
    """Ask the server for a cluster, and for workers.

    Raises
    ------
    ClusterError
        If the server does not answer, refuses, or its cluster does not start in time.
    MissingExtraError
    """
    try:
        from aiohttp import ClientError
        from dask_gateway import Gateway
        from dask_gateway.client import GatewayClusterError, GatewayServerError
    except ImportError:
        raise missing("dask-gateway", "gateway", section.kind) from None

    def ask(question: Callable[[Any], Awaitable[Any]]) -> Any:
        # Nothing stays open beyond a question. A Gateway that is forgotten leaves its connection, and one with a loop
        # of its own takes a lock of Dask's when it is collected, whenever that is.
        async def asking() -> Any:
            async with Gateway(
                section.address, proxy_address=section.proxy_address, auth=_auth(section), asynchronous=True
            ) as gateway:
                return await question(gateway)

        try:
            return LoopRunner().run_sync(asking)
        except ClusterError:
            raise
        except (*FAILURES, ClientError, GatewayClusterError, GatewayServerError) as error:
            raise ClusterError(f"the gateway at {section.address} {_refusal(error, section)}") from error

    tell(f"asking {section.address} for a cluster")
    name = ask(lambda gateway: gateway.submit(**section.options))
    what = f"the cluster {name} of {section.address}"
    take_down(stack, what, lambda: ask(lambda gateway: gateway.stop_cluster(name)))
    report = ask(lambda gateway: _wait(gateway, name, section.timeout))
    client = connect(stack, report.scheduler_address, what, section.timeout, security=report.security)
    told = _scale(ask, name, section)
    return Started(client, section.wanted, section.timeout, lambda: told, advice="ask for fewer, or set wait_for")


def _scale(ask: Callable[[Callable[[Any], Awaitable[Any]]], Any], name: str, section: GatewayCluster) -> str:
    """Ask for workers, and return what the server has to say to that."""
    from dask_gateway.client import GatewayWarning

    adapt = section.adapt
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if adapt is not None:
            ask(lambda gateway: gateway.adapt_cluster(name, minimum=adapt.minimum, maximum=adapt.maximum))
        else:
            ask(lambda gateway: gateway.scale_cluster(name, section.n_workers))
    return "; ".join(f"the server says: {each.message}" for each in caught if issubclass(each.category, GatewayWarning))


def _auth(section: GatewayCluster) -> Any:
    from dask_gateway import BasicAuth, JupyterHubAuth, KerberosAuth

    match section.auth:
        case "basic":
            return BasicAuth(section.username, section.password and section.password.get_secret_value())
        case "jupyterhub":
            return JupyterHubAuth(section.token and section.token.get_secret_value())
        case "kerberos":
            return KerberosAuth()


async def _wait(gateway: Any, name: str, seconds: float) -> Any:
    """Wait until a cluster runs, and return what the server tells of it; the package's own waiting has no end."""
    until = time.monotonic() + seconds
    while True:
        report = await gateway.get_cluster(name)
        state = report.status.name
        if state == "RUNNING":
            return report
        if state not in ("PENDING", "STARTING"):
            raise ClusterError(f"{name} of {gateway.address} did not start ({state.lower()}): look at the server's log")
        if time.monotonic() > until:
            raise ClusterError(f"{name} of {gateway.address} is still {state.lower()} after {seconds:g} s; set timeout")
        await asyncio.sleep(_POLL)


def _refusal(error: Exception, section: GatewayCluster) -> str:
    status = getattr(error, "status", None)
    if status in (401, 403):
        who = f"user {section.username!r}" if section.username else "the user"
        return f"refused {who} ({status}): check {'token' if section.auth == 'jupyterhub' else 'username and password'}"
    if isinstance(error, OSError):
        return f"does not answer ({brief(error)}); is it running, and is the address right?"
    return f"gave no cluster: {brief(error)}"
