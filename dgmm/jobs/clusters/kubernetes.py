"""A scheduler and workers in pods, which the dask-kubernetes operator makes of a resource that is created here.

`dask_kubernetes.operator.KubeCluster` talks to its scheduler without encryption and offers no other way. So the
resource is created here, with a key of its own, and the client connects to the scheduler as to any other.
"""

from __future__ import annotations

import os
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import distributed

from dgmm.errors import ClusterError
from dgmm.jobs.clusters.starting import FAILURES, Started, brief, missing, take_down, temporary_security
from dgmm.jobs.manifests import API, PORT, Pods, dask_cluster, network_policy, resource

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from distributed.security import Security

    from dgmm.jobs.clusters.kubernetes_section import KubernetesCluster

_POLL = 0.5
_TELL = 15.0
# Seconds without work after which the operator removes the cluster of a process that was killed.
_IDLE = 3600
_OPERATOR = "is the Dask operator installed there, and does it run? (helm install dask-kubernetes-operator)"


def start_kubernetes(section: KubernetesCluster, stack: ExitStack, tell: Callable[[str], None]) -> Started:
    """Create a Dask cluster of pods, and connect to its scheduler, encrypted.

    Raises
    ------
    ClusterError
        If Kubernetes does not answer or refuses, or the scheduler does not start in time.
    MissingExtraError
    """
    try:
        import kr8s
        from httpx import HTTPError
        from kr8s import objects
    except ImportError:
        raise missing("kr8s", "kubernetes", section.kind) from None
    failures = (*FAILURES, HTTPError, kr8s.ServerError, kr8s.NotFoundError, kr8s.APITimeoutError)
    security, name = temporary_security(section.kind, "kubernetes"), f"dgmm-{secrets.token_hex(4)}"
    try:
        # Without its file it is looked for once in the life of a process.
        api = kr8s.api(namespace=section.namespace, kubeconfig=os.environ.get("KUBECONFIG"))
        take_down(stack, "the connection to Kubernetes", partial(_disconnect, api))
        for manifest in manifests(section, name):
            made = objects.object_from_spec(manifest, api=api, allow_unknown_type=True)
            made.create()
            take_down(stack, f"the {made.kind} {name}", partial(_delete, made, kr8s.NotFoundError, failures))
            if made.kind == "DaskCluster":
                cluster = made
                # Its pods wait for the key, so none runs before others are kept from them.
                for belonging in (network_policy(name), _secret(name, security)):
                    _create_with(objects, cluster, belonging)
        pending = partial(_states, objects, cluster)
        tell(f"waiting for the scheduler of {name}")
        _wait(objects, cluster, section.timeout, tell)
        address = _address(objects, cluster, stack)
        client = distributed.Client(address, security=security, timeout=section.timeout, set_as_default=False)
    except failures as error:
        if isinstance(error, ClusterError):
            raise
        found = getattr(getattr(error, "response", None), "status_code", None)
        advice = f"; {_OPERATOR}" if found == 404 else ""
        raise ClusterError(f"the Kubernetes cluster could not be started: {brief(error)}{advice}") from error
    take_down(stack, f"the client of {name}", client.close)
    return Started(
        client,
        section.wanted,
        section.timeout,
        pending=pending,
        advice=f"look at the pods (kubectl describe pods -l dask.org/cluster-name={name}), or wait longer (timeout)",
    )


def manifests(section: KubernetesCluster, name: str) -> list[dict[str, Any]]:
    """Return what is created for a cluster, but for what belongs to it: its key and its network policy."""
    pods = Pods(section.image, section.cores, section.memory, section.claim, section.mount, section.credentials)
    n = section.n_workers or (section.adapt.minimum if section.adapt else 1)
    cluster = dask_cluster(name, pods, name, n_workers=n, scheduler_memory=section.scheduler_memory, idle_timeout=_IDLE)
    if section.adapt is None:
        return [cluster]
    bounds = {"cluster": name, "minimum": section.adapt.minimum, "maximum": section.adapt.maximum}
    return [cluster, resource(API, "DaskAutoscaler", name, spec=bounds)]


def _create_with(objects: Any, cluster: Any, manifest: dict[str, Any]) -> None:
    """Create what Kubernetes removes with a cluster, however that ends."""
    owner = {"apiVersion": API, "kind": "DaskCluster", "name": cluster.name, "uid": cluster.metadata.uid}
    metadata = {**manifest["metadata"], "ownerReferences": [owner]}
    objects.object_from_spec({**manifest, "metadata": metadata}, api=cluster.api).create()


def _secret(name: str, security: Security) -> dict[str, Any]:
    """Return the key and certificate of one cluster."""
    files = {"ca.pem": security.tls_ca_file}
    for role in ("scheduler", "worker"):
        files[f"{role}.pem"] = getattr(security, f"tls_{role}_cert")
        files[f"{role}-key.pem"] = getattr(security, f"tls_{role}_key")
    return resource("v1", "Secret", name, type="Opaque", stringData=files)


def _wait(objects: Any, cluster: Any, seconds: float, tell: Callable[[str], None]) -> None:
    """Wait until the scheduler is ready."""
    began, told = time.monotonic(), 1
    while not any(_is_ready(pod) for pod in _pods(objects, cluster, "scheduler")):
        waited = time.monotonic() - began
        if waited > seconds:
            cluster.refresh()
            why = _states(objects, cluster) if cluster.raw.get("status") else f"nothing was done; {_OPERATOR}"
            raise ClusterError(f"the scheduler of {cluster.name} is not ready after {seconds:g} s: {why}")
        if waited > told * _TELL:
            tell(f"waiting for the scheduler: {_states(objects, cluster) or 'no pod yet'} after {waited:.0f} s")
            told += 1
        time.sleep(_POLL)


def _pods(objects: Any, cluster: Any, component: str | None = None) -> list[Any]:
    labels = {"dask.org/cluster-name": cluster.name} | ({"dask.org/component": component} if component else {})
    return list(objects.Pod.list(namespace=cluster.namespace, label_selector=labels, api=cluster.api))


def _is_ready(pod: Any) -> bool:
    conditions = pod.raw.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _states(objects: Any, cluster: Any) -> str:
    """Say in which states the pods are, as "2 Running, 6 Pending (Unschedulable)"."""
    counted: dict[str, int] = {}
    for pod in _pods(objects, cluster):
        state = _state(pod.raw.get("status", {}))
        counted[state] = counted.get(state, 0) + 1
    return ", ".join(f"{n} {state}" for state, n in counted.items())


def _state(status: dict[str, Any]) -> str:
    phase, reasons = str(status.get("phase", "unknown")), []
    for each in status.get("containerStatuses") or ():
        reasons += [state["reason"] for state in each.get("state", {}).values() if state and state.get("reason")]
    if phase == "Pending" and not reasons:
        reasons = [each["reason"] for each in status.get("conditions") or () if each.get("reason")]
    return f"{phase} ({reasons[0]})" if reasons else phase


def _address(objects: Any, cluster: Any, stack: ExitStack) -> str:
    """Return the scheduler's address: its own within Kubernetes, else that of a tunnel to it."""
    service = f"{cluster.name}-scheduler"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return f"tls://{service}.{cluster.namespace}:{PORT}"
    (pod, *_) = _pods(objects, cluster, "scheduler")
    tunnel = pod.portforward(PORT, "auto")
    tunnel.start()
    take_down(stack, f"the tunnel to {service}", tunnel.stop)
    until = time.monotonic() + 30.0
    while not tunnel.servers and time.monotonic() < until:
        time.sleep(0.05)
    return f"tls://127.0.0.1:{tunnel.local_port}"


def _disconnect(api: Any) -> None:
    """Close the connections of kr8s, which has no public way to do so."""
    from kr8s._async_utils import as_sync_func

    if api._session is not None:
        as_sync_func(api._session.aclose)()


def _delete(made: Any, gone: type[BaseException], failures: tuple[type[BaseException], ...]) -> None:
    try:
        made.delete()
    except gone:  # with the cluster that it belonged to
        pass
    except failures as error:
        raise ClusterError(brief(error)) from error
