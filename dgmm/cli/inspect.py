"""``dgmm inspect``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dgmm.jobs.inspection import inspect_path


def inspect(
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="A model, zarr, NetCDF, Parquet or a .npy file; or a URL of zarr."),
    ],
) -> None:
    """Show what a model or a file of data holds."""
    sheet = inspect_path(path)
    console = Console()
    console.print(Text(sheet.heading, style="bold"))
    facts = Table.grid(padding=(0, 2))
    for key, value in sheet.facts:
        facts.add_row(Text(key, style="cyan"), Text(value))
    if sheet.facts:
        console.print(facts)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan")
    for column in sheet.columns:
        table.add_column(column, justify="left" if column in ("array", "dimensions", "dtype") else "right")
    for row in sheet.rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
