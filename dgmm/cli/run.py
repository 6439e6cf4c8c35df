"""``dgmm run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dgmm.cli.options import ClusterOption
from dgmm.cli.showing import print_places, print_result
from dgmm.jobs.loading import load_cluster
from dgmm.jobs.progress import default_reporter
from dgmm.jobs.runs.recording import run_file


def run(
    job: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file; paths in it start from its folder.")],
    cluster: ClusterOption = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="From the beginning, also what is done or half done already.")
    ] = False,
) -> None:
    """Run a job file: read the data, fit the mixture, write what the file asks for.

    A run that was ended within goes on; what is done already is not done again. Each run leaves a folder that
    tells its story: dgmm runs.
    """
    where = None if cluster is None else load_cluster(cluster)
    words = ["dgmm", "run", str(job), *([] if cluster is None else ["--cluster", str(cluster)])]
    done = run_file(job, default_reporter(), cluster=where, anew=anew, command=[*words, *(["--anew"] if anew else [])])
    print_result(done)
    if done.folder is not None:
        print_places({"run": done.folder})
