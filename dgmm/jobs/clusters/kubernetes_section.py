"""A cluster of pods, made by the dask-kubernetes operator."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dgmm.jobs.clusters.base import IMAGE, SECONDS, Memory, Scaled, Seconds
from dgmm.jobs.clusters.variables import EXPANDED, Text
from dgmm.jobs.sections import COUNT, Count

# A name as Kubernetes takes it.
Name = Annotated[Text, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class KubernetesCluster(Scaled):
    """A scheduler and workers as pods, by the dask-kubernetes operator."""

    kind: Literal["kubernetes"]
    image: Text = Field(description=IMAGE)
    namespace: Name | None = Field(
        default=None, description=f"of Kubernetes; that of the kubeconfig or of this pod if left out; {EXPANDED}"
    )
    cores: Count = Field(default=2, description=f"{COUNT}: cores and threads of each worker")
    memory: Memory = Field(default="4GiB", description="memory of each worker as '4GiB'")
    scheduler_memory: Memory = Field(default="2GiB", description="memory of the scheduler as '2GiB'")
    claim: Name | None = Field(
        default=None,
        description=f"the PersistentVolumeClaim with the data, if they are not in an object store; {EXPANDED}",
    )
    mount: Annotated[str, Field(pattern=r"^/[^:]+$")] = Field(
        default="/data", description="the path at which workers see it; the job must see it there too"
    )
    credentials: Name | None = Field(
        default=None, description=f"the Secret whose keys become environment variables of the workers; {EXPANDED}"
    )
    timeout: Seconds = Field(
        default=600.0, description=f"{SECONDS}: how long to wait for the scheduler, and for workers"
    )

    @property
    def words(self) -> str:
        """As "Kubernetes cluster of 8 workers"."""
        return f"Kubernetes cluster{self.size}"
