"""What the section ``cluster`` may say: one model per kind, values only.

The ``description`` of a field states its allowed values, as in :mod:`dgmm.jobs.specification`.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from dgmm.jobs.clusters.base import (
    PLACE,
    SECONDS,
    THREADS,
    Cluster,
    Memory,
    Nodes,
    Scaled,
    Seconds,
    count,
)
from dgmm.jobs.clusters.cloud_sections import FargateCluster, GCPCluster
from dgmm.jobs.clusters.kubernetes_section import KubernetesCluster
from dgmm.jobs.clusters.variables import EXPANDED, Place, Secret, Text
from dgmm.jobs.sections import COUNT, PATH, Count, FilePath


class ThreadsCluster(Cluster):
    """Threads of this process: the embedded default."""

    kind: Literal["threads"] = "threads"
    n_workers: Count | None = Field(default=None, description=f"{COUNT}: threads; one per core if left out")

    @property
    def words(self) -> str:
        """As "2 threads"."""
        return count(self.n_workers, "thread") if self.n_workers else "threads, one per core"


class SynchronousCluster(Cluster):
    """One thread, for finding errors."""

    kind: Literal["synchronous"]

    @property
    def words(self) -> str:
        """Always the same."""
        return "one thread"


class ProcessesCluster(Cluster):
    """Processes of this machine, without a scheduler."""

    kind: Literal["processes"]
    n_workers: Count | None = Field(default=None, description=f"{COUNT}: processes; one per core if left out")

    @property
    def words(self) -> str:
        """As "2 processes"."""
        return count(self.n_workers, "process") if self.n_workers else "processes, one per core"


class LocalCluster(Scaled):
    """A Dask cluster on this machine, which lives as long as the job."""

    kind: Literal["local"]
    n_workers: Count | None = Field(
        default=None, description=f"{COUNT}: worker processes; chosen by Dask if this and adapt are left out"
    )
    timeout: Seconds = Field(default=60.0, description=f"{SECONDS}: how long to wait for workers")
    threads_per_worker: Count | None = Field(default=None, description=f"{COUNT}; chosen by Dask if left out")
    memory_limit: str | Literal[0] = Field(
        default="auto",
        pattern=r"^(auto|[0-9]+(\.[0-9]+)? ?([kMGT]i?B|B))$",
        description="memory per worker as '4GiB' or '500MB', auto, or 0 for no limit",
    )
    local_directory: FilePath | None = Field(default=None, description=f"{PATH}, of the folder that workers spill to")
    dashboard_address: str | None = Field(
        default=None,
        min_length=1,
        description="an address for Dask's dashboard, as ':8787' (for this machine alone); none if left out",
    )

    def _needs_number(self) -> bool:
        return False

    @property
    def words(self) -> str:
        """As "local cluster of 2 workers"."""
        return f"local cluster{self.size}"


class SchedulerCluster(Cluster):
    """A Dask scheduler that runs already."""

    kind: Literal["scheduler"]
    address: Annotated[Text, Field(pattern=r"^(tcp|tls|ws|wss|ucx|inproc)://[^\s@?#]+$")] | None = Field(
        default=None, description=f"its address, as tcp://host:8786 or tls://host:8786; this or a file; {EXPANDED}"
    )
    scheduler_file: Place | None = Field(
        default=None, description=f"{PATH}, of the file that the scheduler wrote (its --scheduler-file); {EXPANDED}"
    )
    timeout: Seconds = Field(default=10.0, description=f"{SECONDS}: how long to wait for an answer, and for workers")
    n_workers: Count = Field(default=1, description=f"{COUNT}: workers to wait for before the job starts")
    tls_ca_file: Place | None = Field(default=None, description=f"{PLACE}; all three tls keys or none")
    tls_cert: Place | None = Field(default=None, description=f"{PLACE}; all three tls keys or none")
    tls_key: Place | None = Field(default=None, description=f"{PLACE}; all three tls keys or none")

    @model_validator(mode="after")
    def _one_place(self) -> SchedulerCluster:
        if (self.address is None) == (self.scheduler_file is None):
            raise ValueError("give address or scheduler_file, one of the two")
        return self

    @model_validator(mode="after")
    def _all_of_tls(self) -> SchedulerCluster:
        given = [x is not None for x in (self.tls_ca_file, self.tls_cert, self.tls_key)]
        if any(given) != all(given):
            raise ValueError("give tls_ca_file, tls_cert and tls_key, or none of them")
        if self.address is not None and self.address.startswith("tls://") and not all(given):
            raise ValueError("a tls:// address needs tls_ca_file, tls_cert and tls_key")
        return self

    @property
    def words(self) -> str:
        """As "scheduler at tls://host:8786"."""
        return f"scheduler at {self.address or self.scheduler_file}"


class SSHCluster(Nodes):
    """Machines that can be reached by SSH."""

    kind: Literal["ssh"]
    hosts: list[Text] = Field(
        min_length=1, description=f"a list of names or addresses of the machines that workers run on; {EXPANDED}"
    )
    scheduler: Text | None = Field(
        default=None, description=f"the machine that the scheduler runs on; the first of hosts if left out; {EXPANDED}"
    )
    workers_per_host: Count = Field(default=1, description=f"{COUNT}: worker processes on each machine")
    threads_per_worker: Count | None = Field(default=None, description=f"{THREADS}; one per core if left out")
    memory_limit: Memory | None = Field(
        default=None, description="memory of each worker as '4GiB'; its share of the machine's if left out"
    )
    username: Text | None = Field(
        default=None, description=f"the user to log in as; yours, or ~/.ssh/config's, if left out; {EXPANDED}"
    )
    port: int = Field(default=22, ge=1, le=65535, description="the port of the SSH servers")
    client_keys: list[Place] | None = Field(
        default=None,
        min_length=1,
        description=f"a list of paths of private keys; the agent's and those of ~/.ssh if left out; {EXPANDED}",
    )
    known_hosts: Place | None = Field(
        default=None, description=f"{PATH}, of the file of host keys; ~/.ssh/known_hosts if left out; {EXPANDED}"
    )
    wait_for: Count | None = Field(default=None, description=f"{COUNT}: workers that are enough; all if left out")
    timeout: Seconds = Field(default=60.0, description=f"{SECONDS}: how long to wait for each host, and for workers")

    @property
    def wanted(self) -> int:
        """Workers to wait for."""
        return self.wait_for or len(self.hosts) * self.workers_per_host

    @property
    def words(self) -> str:
        """As "4 workers on 2 hosts over SSH"."""
        workers = count(len(self.hosts) * self.workers_per_host, "worker")
        return f"{workers} on {count(len(self.hosts), 'host')} over SSH"


class SlurmCluster(Scaled, Nodes):
    """Workers in jobs of SLURM, by dask-jobqueue; the scheduler is in this process."""

    kind: Literal["slurm"]
    cores: Count = Field(description=f"{COUNT}: cores of each SLURM job, which its workers share")
    memory: Memory = Field(description="memory of each SLURM job as '16GiB', which its workers share")
    processes: Count = Field(default=1, description=f"{COUNT}: workers in each SLURM job")
    queue: Text | None = Field(default=None, description=f"the partition; SLURM's default if left out; {EXPANDED}")
    account: Text | None = Field(default=None, description=f"the account that pays; {EXPANDED}")
    walltime: str = Field(
        default="01:00:00",
        pattern=r"^([0-9]+-)?[0-9]+(:[0-9]{2}){0,2}$",
        description="the time limit of each SLURM job as '01:30:00' or '2-00:00:00'",
    )
    log_directory: Place | None = Field(default=None, description=f"{PLACE}: where the SLURM jobs write their logs")
    shared_directory: Place | None = Field(
        default=None,
        description=f"{PATH}, of a folder that this machine and the nodes see, for the keys of this cluster; "
        f"the home folder if left out; {EXPANDED}",
    )
    job_extra_directives: list[Text] = Field(
        default=[], description=f"a list of further options of sbatch, as '--constraint=avx512'; {EXPANDED}"
    )
    job_script_prologue: list[str] = Field(
        default=[], description="a list of shell commands that each SLURM job runs first; the shell expands them"
    )
    timeout: Seconds = Field(default=600.0, description=f"{SECONDS}: how long to wait for workers")

    @property
    def words(self) -> str:
        """As "SLURM cluster of 8 workers"."""
        return f"SLURM cluster{self.size}"


class GatewayCluster(Scaled):
    """A cluster of a dask-gateway server's."""

    kind: Literal["gateway"]
    address: Annotated[Text, Field(pattern=r"^https?://[^\s@?#]+$")] = Field(
        description=f"of the server, as https://dask.example.org; {EXPANDED}"
    )
    proxy_address: Annotated[Text, Field(pattern=r"^(tls|gateway)://[^\s@?#]+$")] | None = Field(
        default=None,
        description=f"of the proxy of its schedulers, as tls://host:8786, if it is not that of the server; {EXPANDED}",
    )
    allow_http: bool = Field(
        default=False, description="true or false: send the password to another machine without encryption"
    )
    auth: Literal["basic", "jupyterhub", "kerberos"] = Field(
        default="basic", description="basic (username and password), jupyterhub (token) or kerberos"
    )
    username: Text | None = Field(
        default=None, description=f"for auth: basic; the name of the user if left out; {EXPANDED}"
    )
    password: Secret | None = Field(default=None, description="for auth: basic: ${NAME}, a variable of the environment")
    token: Secret | None = Field(
        default=None, description="for auth: jupyterhub: ${NAME}; JUPYTERHUB_API_TOKEN if left out"
    )
    options: dict[str, Text | int | float | bool] = Field(
        default={},
        description=f"a mapping of the options that this server offers (worker_cores, image, ...); {EXPANDED}",
    )

    @model_validator(mode="after")
    def _private(self) -> GatewayCluster:
        parts = urlsplit(self.address)
        if parts.scheme == "http" and not (self.allow_http or _is_loopback(parts.hostname or "")):
            raise ValueError("an http:// address sends the password for all to read: use https://, or allow_http: true")
        return self

    @property
    def words(self) -> str:
        """As "gateway cluster of 4 workers"."""
        return f"gateway cluster{self.size}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


ClusterSection: TypeAlias = Annotated[
    ThreadsCluster
    | SynchronousCluster
    | ProcessesCluster
    | LocalCluster
    | SchedulerCluster
    | SSHCluster
    | SlurmCluster
    | GatewayCluster
    | KubernetesCluster
    | FargateCluster
    | GCPCluster,
    Field(discriminator="kind"),
]
"""Any of them."""
