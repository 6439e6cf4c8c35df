"""A cluster that a dask-gateway server starts for us; its traffic is encrypted by the gateway, with keys of its own."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

from dgmm.errors import ClusterError
from dgmm.jobs.clusters.starting import FAILURES, Started, brief, connect, missing, take_down

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
        # It closes itself when nobody holds it any more, and complains if it was closed before.
        gateway = Gateway(section.address, proxy_address=section.proxy_address, auth=_auth(section))
        name = gateway.submit(**section.options)
        what = f"the cluster {name} of {section.address}"
        take_down(stack, what, lambda: gateway.stop_cluster(name))
        report = _wait(gateway, name, section.timeout)
        client = connect(stack, report.scheduler_address, what, section.timeout, security=report.security)
        told = _scale(gateway, name, section)
    except ClusterError:
        raise
    except (*FAILURES, ClientError, GatewayClusterError, GatewayServerError) as error:
        raise ClusterError(f"the gateway at {section.address} {_refusal(error, section)}") from error
    return Started(client, section.wanted, section.timeout, lambda: told, advice="ask for fewer, or set wait_for")


def _scale(gateway: Any, name: str, section: GatewayCluster) -> str:
    """Ask for workers, and return what the server has to say to that."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if section.adapt is not None:
            gateway.adapt_cluster(name, minimum=section.adapt.minimum, maximum=section.adapt.maximum)
        else:
            gateway.scale_cluster(name, section.n_workers)
    return "; ".join(f"the server says: {each.message}" for each in caught)


def _auth(section: GatewayCluster) -> Any:
    from dask_gateway import BasicAuth, JupyterHubAuth, KerberosAuth

    match section.auth:
        case "basic":
            return BasicAuth(section.username, section.password and section.password.get_secret_value())
        case "jupyterhub":
            return JupyterHubAuth(section.token and section.token.get_secret_value())
        case "kerberos":
            return KerberosAuth()


def _wait(gateway: Any, name: str, seconds: float) -> Any:
    """Wait until a cluster runs, and return what the server tells of it; the package's own waiting has no end."""
    until = time.monotonic() + seconds
    while True:
        report = gateway.get_cluster(name)
        state = report.status.name
        if state == "RUNNING":
            return report
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
