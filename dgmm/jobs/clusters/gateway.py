"""A cluster that a dask-gateway server starts for us; its traffic is encrypted by the gateway, with keys of its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dgmm.errors import ClusterError
from dgmm.jobs.clusters.starting import FAILURES, Started, brief, connect, missing, scale, take_down

if TYPE_CHECKING:
    from collections.abc import Callable
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
    tell(f"asking {section.address} for a cluster")
    try:
        gateway = Gateway(section.address, proxy_address=section.proxy_address, auth=_auth(section))
        take_down(stack, f"the connection to {section.address}", gateway.close)
        name = gateway.submit(**section.options)
        take_down(stack, f"the cluster {name} of {section.address}", lambda: gateway.stop_cluster(name))
        _wait(gateway, name, section.timeout)
        cluster = gateway.connect(name)
        client = connect(stack, cluster, f"the cluster {name} of {section.address}", section.timeout)
        scale(cluster, section)
    except (*FAILURES, ClientError, GatewayClusterError, GatewayServerError) as error:
        if isinstance(error, ClusterError):
            raise
        raise ClusterError(f"the gateway at {section.address} {_refusal(error, section)}") from error
    return Started(
        client, section.wanted, section.timeout, advice="the server may limit how many you get: ask for fewer"
    )


def _auth(section: GatewayCluster) -> Any:
    from dask_gateway import BasicAuth, JupyterHubAuth, KerberosAuth

    match section.auth:
        case "basic":
            return BasicAuth(section.username, section.password and section.password.get_secret_value())
        case "jupyterhub":
            return JupyterHubAuth(section.token and section.token.get_secret_value())
        case "kerberos":
            return KerberosAuth()


def _wait(gateway: Any, name: str, seconds: float) -> None:
    """Wait until a cluster runs; the package's own waiting has no end."""
    until = time.monotonic() + seconds
    while True:
        state = next((each.status.name for each in gateway.list_clusters() if each.name == name), "FAILED")
        if state == "RUNNING":
            return
        if state not in ("PENDING", "STARTING"):
            raise ClusterError(f"{name} of {gateway.address} did not start ({state.lower()}): look at the server's log")
        if time.monotonic() > until:
            raise ClusterError(f"{name} of {gateway.address} is still {state.lower()} after {seconds:g} s; set timeout")
        time.sleep(_POLL)


def _refusal(error: Exception, section: GatewayCluster) -> str:
    status = getattr(error, "status", None)
    if status in (401, 403):
        who = f"user {section.username!r}" if section.username else "the user"
        return f"refused {who} ({status}): check {'token' if section.auth == 'jupyterhub' else 'username and password'}"
    if isinstance(error, OSError):
        return f"does not answer ({brief(error)}); is it running, and is the address right?"
    return f"gave no cluster: {brief(error)}"
