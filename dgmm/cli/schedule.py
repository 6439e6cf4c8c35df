"""``dgmm schedule``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from dgmm.cli.options import ClusterOption, OverwriteOption
from dgmm.errors import printable
from dgmm.jobs.schedules import SCHEDULERS
from dgmm.jobs.schedules.schedule import make_schedule
from dgmm.jobs.schedules.writing import write_schedule


def schedule(
    job: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file, which is checked first.")],
    cron: Annotated[
        str,
        typer.Option(metavar="TIMES", help='Five fields, as "0 2 * * *" for each night at two, or a word as @daily.'),
    ],
    scheduler: Annotated[
        str, typer.Option("--for", metavar="SCHEDULER", help=f"What runs it: {', '.join(SCHEDULERS)}.")
    ],
    cluster: ClusterOption = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE|DIR", help="Where it is written; else the current folder."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the scheduler calls it; else as the job file.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write what runs a job by the clock, and print how it is installed."""
    checked = make_schedule(job, cron, cluster_file=cluster, name=name)
    written = write_schedule(checked, scheduler, output, overwrite=overwrite)
    console = Console()
    for path in written:
        console.print(Text(printable(f"written: {path}")), soft_wrap=True)
    console.print(f"next time: {checked.times.next_after(datetime.now()):%a %Y-%m-%d %H:%M}", highlight=False)
    console.print("to install:")
    for line in (line for lines in written.values() for line in lines):
        console.print(Text(printable(f"  {line}")), soft_wrap=True)
