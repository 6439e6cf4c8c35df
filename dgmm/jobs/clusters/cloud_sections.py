"""Clusters that are rented: dask-cloudprovider's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dgmm.jobs.clusters.base import IMAGE, PLACE, SECONDS, THREADS, Scaled, Seconds
from dgmm.jobs.clusters.variables import EXPANDED, Place, Text
from dgmm.jobs.sections import COUNT, Count


class RentedCluster(Scaled):
    """What the kinds take whose machines are rented."""

    image: Text = Field(description=IMAGE)
    environment: dict[str, Text] = Field(
        default={},
        description=f"a mapping of variables of the containers; their values are visible in the cloud; {EXPANDED}",
    )
    timeout: Seconds = Field(default=900.0, description=f"{SECONDS}: how long to wait for workers")


class FargateCluster(RentedCluster):
    """A scheduler and workers as tasks of AWS Fargate."""

    kind: Literal["aws-fargate"]
    region: Text | None = Field(default=None, description=f"as eu-central-1; the environment's if left out; {EXPANDED}")
    certificates: Place = Field(description=f"{PLACE}; the folder that dgmm certs made")
    image_certificates: Text = Field(
        default="/certificates",
        description=f"where ca.pem and the files of scheduler and workers lie in the image, or are mounted; {EXPANDED}",
    )
    worker_cpu: Count = Field(default=4096, description=f"{COUNT}: 1,024ths of a core of each worker, as Fargate sells")
    worker_memory: Count = Field(default=16384, description=f"{COUNT}: MB of each worker, as Fargate sells")
    threads_per_worker: Count | None = Field(default=None, description=f"{THREADS}; one per core if left out")
    scheduler_cpu: Count = Field(default=1024, description=f"{COUNT}: 1,024ths of a core of the scheduler")
    scheduler_memory: Count = Field(default=4096, description=f"{COUNT}: MB of the scheduler")
    spot: bool = Field(default=False, description="true or false: workers that cost less and may be taken away")
    vpc: Text | None = Field(default=None, description=f"the network; AWS's default if left out; {EXPANDED}")
    subnets: list[Text] | None = Field(default=None, min_length=1, description=f"a list of subnets; {EXPANDED}")
    security_groups: list[Text] | None = Field(
        default=None, min_length=1, description=f"a list of security groups; a new, open one if left out; {EXPANDED}"
    )
    private_ip: bool = Field(
        default=False, description="true or false: the scheduler is reached by its private address"
    )
    execution_role_arn: Text | None = Field(default=None, description=f"the role that starts tasks; {EXPANDED}")
    task_role_arn: Text | None = Field(
        default=None, description=f"the role that the workers have, by which they read S3; {EXPANDED}"
    )

    @property
    def words(self) -> str:
        """As "Fargate cluster of 8 workers"."""
        return f"Fargate cluster{self.size}"


class GCPCluster(RentedCluster):
    """A scheduler and workers on virtual machines of Google's."""

    kind: Literal["gcp"]
    project: Text = Field(description=f"the identifier of the project; {EXPANDED}")
    zone: Text = Field(description=f"as europe-west3-a; {EXPANDED}")
    machine_type: Text = Field(default="e2-standard-4", description=f"of the scheduler and of each worker; {EXPANDED}")
    network: Text | None = Field(
        default=None, description=f"the network; the project's default if left out; {EXPANDED}"
    )
    source_image: Text | None = Field(
        default=None, description=f"the image that machines boot from; dask-cloudprovider's if left out; {EXPANDED}"
    )
    disk_gb: Annotated[int, Field(ge=10)] = Field(
        default=50, description="a whole number of at least 10: GB of each disk"
    )
    preemptible: bool = Field(default=False, description="true or false: workers that cost less and may be taken away")
    service_account: Text | None = Field(default=None, description=f"that the machines have; {EXPANDED}")

    @property
    def words(self) -> str:
        """As "Google Cloud cluster of 8 workers"."""
        return f"Google Cloud cluster{self.size}"
