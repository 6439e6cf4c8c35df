"""``dgmm report``."""

from __future__ import annotations

from typing import Annotated

import typer

from dgmm.cli.options import (
    DimsOption,
    FeaturesOption,
    ModelArgument,
    OverwriteOption,
    PreprocessOption,
    VariableOption,
    columns,
    names,
)
from dgmm.cli.showing import print_places
from dgmm.jobs.commands import report_source
from dgmm.storage.urls import locate_output


def report(
    model: ModelArgument,
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="Rows to draw below the components; else those that the model holds."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="PAGE.html", help="The page that is written.")
    ] = "report.html",
    preprocess: PreprocessOption = None,
    variable: VariableOption = None,
    features: FeaturesOption = None,
    sample_dims: DimsOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a page to look at: what a model holds, how its fit went, and what stands out."""
    if preprocess is not None and data is None:
        raise typer.BadParameter("is for DATA, which is not given", param_hint="--preprocess")
    source = {
        "path": data,
        "variable": variable,
        "features": columns(features),
        "sample_dims": names(sample_dims),
    }
    report_source(model, output, source, preprocess=preprocess, overwrite=overwrite)
    print_places({"page": locate_output(output)})
