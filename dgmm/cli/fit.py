"""``dgmm fit``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dgmm.cli.options import (
    ClusterOption,
    DataArgument,
    DimsOption,
    FeaturesOption,
    MissingOption,
    OverwriteOption,
    VariableOption,
    columns,
    names,
)
from dgmm.cli.showing import print_result
from dgmm.jobs.commands import fit_source
from dgmm.jobs.progress import default_reporter


def fit(
    data: DataArgument,
    n_components: Annotated[int, typer.Option("--n-components", "-k", metavar="K", help="Number of components.")],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="MODEL", help="The zarr store that the model is written to: its path, or URL."
        ),
    ],
    covariance_type: Annotated[
        str, typer.Option(metavar="TYPE", help="full, tied, diag, spherical, tied-diag or tied-spherical.")
    ] = "full",
    tol: Annotated[
        str, typer.Option(metavar="NATS", help="Stop when the mean log-likelihood rises by less; or auto.")
    ] = "1e-3",
    reg_covar: Annotated[
        float, typer.Option(metavar="VARIANCE", help="Added to all variances, in the data's units squared.")
    ] = 1e-6,
    max_iter: Annotated[int, typer.Option(metavar="N", help="The most iterations.")] = 100,
    n_init: Annotated[int, typer.Option(metavar="N", help="Starts to compare on the sample.")] = 1,
    init_params: Annotated[
        str, typer.Option(metavar="START", help="kmeans, k-means++, k-means||, random, random_from_data or bfr.")
    ] = "kmeans",
    random_state: Annotated[int | None, typer.Option(metavar="SEED", help="Makes the start repeatable.")] = None,
    sample_weight: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="One weight per row: a column or variable, or an array of its own."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="Known component of each row, -1 where it is not known; likewise."),
    ] = None,
    missing: MissingOption = "raise",
    variable: VariableOption = None,
    features: FeaturesOption = None,
    sample_dims: DimsOption = None,
    cluster: ClusterOption = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="Keep the progress there; run again, the fit goes on from it."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Fit a mixture to data and save the model."""
    model: dict[str, Any] = {
        "n_components": n_components,
        "covariance_type": covariance_type,
        "tol": _number(tol),
        "reg_covar": reg_covar,
        "max_iter": max_iter,
        "n_init": n_init,
        "init_params": init_params,
        "random_state": random_state,
        "missing": missing,
    }
    source = {
        "path": data,
        "variable": variable,
        "features": columns(features),
        "sample_dims": names(sample_dims),
        "sample_weight": sample_weight,
        "labels": labels,
    }
    result = fit_source(
        source,
        output,
        model,
        cluster=cluster,
        checkpoint=checkpoint,
        overwrite=overwrite,
        reporter=default_reporter(),
    )
    print_result(result)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
