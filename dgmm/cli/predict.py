"""``dgmm predict``."""

from __future__ import annotations

from typing import Annotated

import typer

from dgmm.cli.options import (
    ClusterOption,
    DataArgument,
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
from dgmm.jobs.commands import predict_source
from dgmm.jobs.progress import default_reporter


def predict(
    model: ModelArgument,
    data: DataArgument,
    labels: Annotated[
        str | None,
        typer.Argument(metavar="[LABELS]", help="Where each row's component is written: .zarr, .nc, .parquet or .tif."),
    ] = None,
    probabilities: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where each row's probabilities are written, likewise.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(metavar="N", help="Only those of so many components of each row, the most probable.")
    ] = None,
    log_densities: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where each row's log-density is written, likewise.")
    ] = None,
    preprocess: PreprocessOption = None,
    variable: VariableOption = None,
    features: FeaturesOption = None,
    sample_dims: DimsOption = None,
    cluster: ClusterOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write what a model says of each row: its component, probabilities, log-density."""
    if top is not None and probabilities is None:
        raise typer.BadParameter("is for --probabilities, which is not given", param_hint="--top")
    source = {
        "path": data,
        "variable": variable,
        "features": columns(features),
        "sample_dims": names(sample_dims),
    }
    outputs = {
        "labels": labels,
        "probabilities": None if probabilities is None else {"path": probabilities, "top": top},
        "log_densities": log_densities,
        "overwrite": overwrite,
    }
    written = predict_source(
        model, source, outputs, preprocess=preprocess, cluster=cluster, reporter=default_reporter()
    )
    print_places(written)
