"""``dgmm report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dgmm.cli.options import DimsOption, FeaturesOption, OverwriteOption, VariableOption, columns, names
from dgmm.cli.showing import print_places
from dgmm.jobs.commands import report_source


def report(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model that was saved by fit or run.")],
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="Rows to draw below the components; else those that the model holds."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PAGE.html", help="The page that is written.")
    ] = Path("report.html"),
    variable: VariableOption = None,
    features: FeaturesOption = None,
    sample_dims: DimsOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a page to look at: what a model holds, how its fit went, and what stands out."""
    source = {
        "path": data,
        "variable": variable,
        "features": columns(features),
        "sample_dims": names(sample_dims),
    }
    report_source(model, output, source, overwrite=overwrite)
    print_places({"page": output})
