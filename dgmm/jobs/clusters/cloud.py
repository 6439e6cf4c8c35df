"""Clusters that are rented, by dask-cloudprovider."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import dask

from dgmm.errors import ClusterError
from dgmm.jobs.clusters.starting import (
    IDLE_TIMEOUT,
    Started,
    brief,
    check_files,
    connect,
    missing,
    scale,
    security_of,
    temporary_security,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from dgmm.jobs.clusters.cloud_sections import FargateCluster, GCPCluster, RentedCluster

_NO_PAGES = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]


def start_fargate(section: FargateCluster, stack: ExitStack, tell: Callable[[str], None]) -> Started:
    """Start a scheduler and workers on AWS Fargate.

    Raises
    ------
    ClusterError, JobError, MissingExtraError
    """
    try:
        from dask_cloudprovider.aws import FargateCluster as Backend
    except ImportError:
        raise missing("dask-cloudprovider", "aws", section.kind) from None
    files = [section.certificates / name for name in ("ca.pem", "client.pem", "client-key.pem")]
    for file in files:
        check_files(certificates=file, advice="; make it with dgmm certs")
    arguments = fargate_arguments(section) | {"security": security_of(*files)}
    return _start(Backend, arguments, section, stack, tell)


def start_gcp(section: GCPCluster, stack: ExitStack, tell: Callable[[str], None]) -> Started:
    """Start a scheduler and workers on virtual machines of Google's.

    Raises
    ------
    ClusterError, MissingExtraError
    """
    try:
        from dask_cloudprovider.gcp import GCPCluster as Backend
    except ImportError:
        raise missing("dask-cloudprovider", "gcp", section.kind) from None
    return _start(
        Backend, gcp_arguments(section) | {"security": temporary_security(section.kind, "gcp")}, section, stack, tell
    )


def _start(
    backend: Any,
    arguments: dict[str, Any],
    section: RentedCluster,
    stack: ExitStack,
    tell: Callable[[str], None],
) -> Started:
    tell(f"starting a {section.words}: this takes minutes")
    # dask-cloudprovider leaves its keys in Dask's configuration.
    stack.callback(_restore, copy.deepcopy(dask.config.config))
    try:
        cluster = backend(**arguments)
    except Exception as error:  # whatever the cloud's own packages raise
        raise ClusterError(
            f"the {section.words} could not be started: {brief(error)}; look in the cloud's console for what was left"
        ) from error
    client = connect(stack, cluster, f"the {section.words}", section.timeout)
    scale(cluster, section)
    return Started(client, section.wanted, section.timeout, advice="look at the cloud's limits and its logs")


def _restore(config: dict[str, Any]) -> None:
    dask.config.config.clear()
    dask.config.update(dask.config.config, config)


def fargate_arguments(section: FargateCluster) -> dict[str, Any]:
    """Return the arguments of dask-cloudprovider's class but for its ``security``."""
    return {
        "image": section.image,
        "region_name": section.region,
        "n_workers": 0,
        "worker_cpu": section.worker_cpu,
        "worker_mem": section.worker_memory,
        "worker_nthreads": section.threads_per_worker,
        "worker_extra_args": [*_tls(section, "worker"), *_NO_PAGES],
        "scheduler_cpu": section.scheduler_cpu,
        "scheduler_mem": section.scheduler_memory,
        "scheduler_timeout": IDLE_TIMEOUT,
        "scheduler_extra_args": [*_tls(section, "scheduler"), *_NO_PAGES],
        "fargate_spot": section.spot,
        "fargate_use_private_ip": section.private_ip,
        "vpc": section.vpc,
        "subnets": section.subnets,
        "security_groups": section.security_groups,
        "execution_role_arn": section.execution_role_arn,
        "task_role_arn": section.task_role_arn,
        "environment": dict(section.environment),
    }


def _tls(section: FargateCluster, role: str) -> list[str]:
    folder = section.image_certificates.rstrip("/")
    files = {"--tls-ca-file": "ca.pem", "--tls-cert": f"{role}.pem", "--tls-key": f"{role}-key.pem"}
    return ["--protocol", "tls", *(part for key, name in files.items() for part in (key, f"{folder}/{name}"))]


def gcp_arguments(section: GCPCluster) -> dict[str, Any]:
    """Return the arguments of dask-cloudprovider's class but for its ``security``."""
    return {
        "projectid": section.project,
        "zone": section.zone,
        "docker_image": section.image,
        "machine_type": section.machine_type,
        "network": section.network,
        "source_image": section.source_image,
        "filesystem_size": section.disk_gb,
        "preemptible": section.preemptible,
        "service_account": section.service_account,
        "auto_shutdown": True,
        "n_workers": 0,
        "env_vars": dict(section.environment),
        "scheduler_options": {"idle_timeout": IDLE_TIMEOUT},
    }
