"""``dgmm run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dgmm.cli.options import ClusterOption
from dgmm.cli.showing import print_result
from dgmm.jobs.loading import load_cluster, load_job
from dgmm.jobs.progress import default_reporter
from dgmm.jobs.running import run_job


def run(
    job: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file; paths in it start from its folder.")],
    cluster: ClusterOption = None,
) -> None:
    """Run a job file: read the data, fit the mixture, write what the file asks for."""
    where = None if cluster is None else load_cluster(cluster)
    print_result(run_job(load_job(job, cluster=where), default_reporter()))
