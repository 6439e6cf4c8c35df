"""What the section ``cluster`` may say: one model for each kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dgmm.jobs.sections import COUNT, PATH, Count, FilePath, Section


class Cluster(Section):
    """What every kind of cluster takes: where the rows are held."""

    persist: Literal["auto"] | bool = Field(
        default="auto",
        description="true loads the rows into memory once, false reads them in each pass, auto by what memory is free",
    )
    lean: bool = Field(
        default=False, description="true or false: rows that are read in each pass take the least memory, and more time"
    )


class ThreadsCluster(Cluster):
    """Threads of this process: the embedded default."""

    kind: Literal["threads"] = "threads"
    n_workers: Count | None = Field(default=None, description=f"{COUNT}: threads; one per core if left out")


class SynchronousCluster(Cluster):
    """One thread, for finding errors."""

    kind: Literal["synchronous"]


class ProcessesCluster(Cluster):
    """Processes of this machine, without a scheduler."""

    kind: Literal["processes"]
    n_workers: Count | None = Field(default=None, description=f"{COUNT}: processes; one per core if left out")


class LocalCluster(Cluster):
    """A Dask cluster on this machine, which lives as long as the job."""

    kind: Literal["local"]
    n_workers: Count | None = Field(default=None, description=f"{COUNT}: worker processes; chosen by Dask if left out")
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


class SchedulerCluster(Cluster):
    """A Dask scheduler that runs already."""

    kind: Literal["scheduler"]
    address: str = Field(
        pattern=r"^(tcp|tls|ws|wss|ucx|inproc)://[^\s@?#]+$",
        description="the scheduler's address, as tcp://host:8786 or tls://host:8786",
    )
    timeout: float = Field(default=10.0, gt=0.0, description="a number of seconds above 0")
    n_workers: Count | None = Field(default=None, description=f"{COUNT}: workers to wait for before the job starts")
    tls_ca_file: FilePath | None = Field(default=None, description=f"{PATH}; all three tls keys or none")
    tls_cert: FilePath | None = Field(default=None, description=f"{PATH}; all three tls keys or none")
    tls_key: FilePath | None = Field(default=None, description=f"{PATH}; all three tls keys or none")

    @model_validator(mode="after")
    def _all_of_tls(self) -> SchedulerCluster:
        given = [x is not None for x in (self.tls_ca_file, self.tls_cert, self.tls_key)]
        if any(given) != all(given):
            raise ValueError("give tls_ca_file, tls_cert and tls_key, or none of them")
        if self.address.startswith("tls://") and not all(given):
            raise ValueError("a tls:// address needs tls_ca_file, tls_cert and tls_key")
        return self


ClusterSection = Annotated[
    ThreadsCluster | SynchronousCluster | ProcessesCluster | LocalCluster | SchedulerCluster,
    Field(discriminator="kind"),
]
