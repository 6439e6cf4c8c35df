"""``dgmm certs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from dgmm.jobs.certificates import HOSTS, make_certificates


def certs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet.")],
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name or address of the machines, as often as needed; else this one's."),
    ] = None,
    days: Annotated[int, typer.Option(metavar="N", help="How long they are good for.")] = 365,
) -> None:
    """Make certificates that encrypt a cluster's traffic and keep others out of it."""
    for line in make_certificates(folder, hosts=host or HOSTS, days=days):
        Console().print(Text(line), soft_wrap=True)
