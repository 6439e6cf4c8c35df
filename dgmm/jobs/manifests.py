"""Pods that run dgmm on Kubernetes, and the Dask clusters that the dask-kubernetes operator makes of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

API = "kubernetes.dask.org/v1"
TLS_FOLDER = "/etc/dgmm/tls"
PORT, HEALTH_PORT = 8786, 8787

# An id that is nobody's; the volume is made this group's.
_USER = 10001
# The operator asks the scheduler here which workers it needs and since when it is idle. Nothing else is shown.
_ROUTES = ("distributed.http.health", "distributed.http.scheduler.api")
# Seconds from SIGTERM to SIGKILL: a checkpoint takes less.
GRACE = 300


@dataclass(frozen=True)
class Pods:
    """What the pods of a job have in common.

    Attributes
    ----------
    image : str
        With dgmm in it.
    cores : int
    memory : str
        In the units of the job files, as "4GiB".
    claim : str or None
        The PersistentVolumeClaim of the job's folder.
    mount : str
        Where it stands in every pod.
    credentials : str or None
        The Secret whose keys become environment variables.
    """

    image: str
    cores: int = 2
    memory: str = "4GiB"
    claim: str | None = None
    mount: str = "/data"
    credentials: str | None = None


def resource(api: str, kind: str, name: str, **parts: Any) -> dict[str, Any]:
    """Return a manifest.

    Examples
    --------
    >>> resource("v1", "ServiceAccount", "night")
    {'apiVersion': 'v1', 'kind': 'ServiceAccount', 'metadata': {'name': 'night'}}
    """
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **parts}


def quantity(memory: str) -> str:
    """Return an amount of memory in the units of Kubernetes.

    Examples
    --------
    >>> quantity("4GiB"), quantity("1.5 GB"), quantity("500 kB")
    ('4Gi', '1.5G', '500k')
    """
    return memory.replace(" ", "").removesuffix("B")


def pod(
    name: str,
    command: list[str],
    pods: Pods,
    *,
    secret: str | None = None,
    files: dict[str, tuple[str, str]] | None = None,
    account: str | None = None,
    restart: str | None = None,
    **container: Any,
) -> dict[str, Any]:
    """Return the specification of a pod with one container.

    It runs as no particular user, may write to its volume and to /tmp alone, and gains no rights.

    Parameters
    ----------
    name : str
        Of the container.
    command : list of str
    pods : Pods
    secret : str, optional
        With the keys and certificates of ``dgmm certs``.
    files : dict, optional
        Paths in the pod, and for each the ConfigMap and the key with its content.
    account : str, optional
        The ServiceAccount whose rights the pod has; none if left out.
    restart : str, optional
    **container
        What else is said of the container.
    """
    volumes: list[dict[str, Any]] = [{"name": "scratch", "emptyDir": {}}]
    mounts: list[dict[str, Any]] = [{"name": "scratch", "mountPath": "/tmp"}]
    if pods.claim is not None:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": pods.claim}})
        mounts.append({"name": "data", "mountPath": pods.mount})
    if secret is not None:
        volumes.append({"name": "tls", "secret": {"secretName": secret, "defaultMode": 0o440}})
        mounts.append({"name": "tls", "mountPath": TLS_FOLDER, "readOnly": True})
    for number, (path, (config, key)) in enumerate((files or {}).items()):
        volumes.append({"name": f"file-{number}", "configMap": {"name": config}})
        mounts.append({"name": f"file-{number}", "mountPath": path, "subPath": key, "readOnly": True})
    amounts = {"cpu": str(pods.cores), "memory": quantity(pods.memory)}
    one: dict[str, Any] = {
        "name": name,
        "image": pods.image,
        "command": command,
        "workingDir": pods.mount if pods.claim is not None else "/tmp",
        **container,
        "env": [{"name": "HOME", "value": "/tmp"}, *container.get("env", ())],
        "resources": {"requests": amounts, "limits": {"memory": amounts["memory"]}},
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if pods.credentials is not None:
        one["envFrom"] = [{"secretRef": {"name": pods.credentials}}]
    return {
        **({} if restart is None else {"restartPolicy": restart}),
        **({"automountServiceAccountToken": False} if account is None else {"serviceAccountName": account}),
        "terminationGracePeriodSeconds": GRACE,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [one],
        "volumes": volumes,
    }


def scheduler_address(name: str) -> str:
    """Return the address of a cluster's scheduler within its namespace."""
    return f"tls://{name}-scheduler:{PORT}"


def dask_cluster(
    name: str, pods: Pods, secret: str, *, n_workers: int, scheduler_memory: str = "2GiB", idle_timeout: int = 0
) -> dict[str, Any]:
    """Return a ``DaskCluster`` whose traffic is encrypted.

    Parameters
    ----------
    name : str
    pods : Pods
        Of the workers.
    secret : str
        With the keys and certificates of ``dgmm certs``.
    n_workers : int
    scheduler_memory : str
        As "2GiB".
    idle_timeout : int
        Seconds without work after which the operator removes it; 0 for never.
    """
    scheduler = Pods(pods.image, cores=1, memory=scheduler_memory)
    health: dict[str, Any] = {"httpGet": {"port": "http-dashboard", "path": "/health"}, "periodSeconds": 5}
    ports = [("tcp-comm", PORT), ("http-dashboard", HEALTH_PORT)]
    return resource(
        API,
        "DaskCluster",
        name,
        spec={
            "idleTimeout": idle_timeout,
            "worker": {
                "replicas": n_workers,
                "spec": pod(
                    "worker",
                    [
                        *_dask("worker", scheduler_address(name), "--name", "$(DASK_WORKER_NAME)"),
                        *("--nthreads", str(pods.cores), "--local-directory", "/tmp"),
                        *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
                    ],
                    pods,
                    secret=secret,
                    # Else the operator names one without encryption.
                    env=[{"name": "DASK_SCHEDULER_ADDRESS", "value": scheduler_address(name)}],
                ),
            },
            "scheduler": {
                "spec": pod(
                    "scheduler",
                    [
                        *_dask("scheduler", "--host", "0.0.0.0", "--port", str(PORT)),
                        *("--no-dashboard", "--dashboard-address", f":{HEALTH_PORT}"),
                    ],
                    scheduler,
                    secret=secret,
                    env=[{"name": "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES", "value": json.dumps(_ROUTES)}],
                    ports=[{"name": each, "containerPort": port, "protocol": "TCP"} for each, port in ports],
                    readinessProbe={**health, "timeoutSeconds": 60},
                    livenessProbe={**health, "initialDelaySeconds": 30, "timeoutSeconds": 60, "failureThreshold": 10},
                ),
                "service": {
                    "type": "ClusterIP",
                    "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
                    "ports": [
                        {"name": each, "protocol": "TCP", "port": port, "targetPort": each} for each, port in ports
                    ],
                },
            },
        },
    )


def network_policy(name: str) -> dict[str, Any]:
    """Return a ``NetworkPolicy``: a cluster's pods are reached by each other, and its health page by the operator.

    It keeps others from the scheduler's HTTP pages, which take workers away. The scheduler's own port is left to
    whoever has the cluster's key: the job may be a pod of any name.
    """
    own = {"matchLabels": {"dask.org/cluster-name": name}}
    operator = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "dask-kubernetes-operator"}},
    }
    rules = [
        {"from": [{"podSelector": own}]},
        {"from": [operator], "ports": [{"protocol": "TCP", "port": HEALTH_PORT}]},
        {"ports": [{"protocol": "TCP", "port": PORT}]},
    ]
    spec = {"podSelector": own, "policyTypes": ["Ingress"], "ingress": rules}
    return resource("networking.k8s.io/v1", "NetworkPolicy", name, spec=spec)


def _dask(role: str, *arguments: str) -> list[str]:
    files = {"ca-file": "ca", "cert": role, "key": f"{role}-key"}
    tls = [word for flag, name in files.items() for word in (f"--tls-{flag}", f"{TLS_FOLDER}/{name}.pem")]
    return ["python", "-m", f"distributed.cli.dask_{role}", *arguments, "--protocol", "tls", *tls]
