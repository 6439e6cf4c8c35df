"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ClusterOption = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        metavar="FILE",
        help="Compute there, as in cluster_configs/; else on this machine's threads.",
    ),
]
VariableOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="The array to read, where DATA holds several.")
]
FeaturesOption = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="The columns or variables to use, by names or numbers from 0; else all."),
]
DimsOption = Annotated[
    str | None,
    typer.Option(metavar="Y,X,...", help="The dimensions that rows run over; else all but that of the features."),
]
MissingOption = Annotated[
    str, typer.Option(metavar="POLICY", help="Rows with missing values: raise, drop or marginalize.")
]
PreprocessOption = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="The features of signals that the model was fitted to: a path or URL."),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model that was saved by fit or run: its path, or its URL.")
]
DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="A path: zarr, NetCDF, .npy or Parquet (also a pattern with *). Or a URL of zarr."
    ),
]


def names(text: str | None) -> list[str] | None:
    """Names that are parted by commas."""
    return None if text is None else text.split(",")


def columns(text: str | None) -> list[int | str] | None:
    """Names, or numbers where they look like some; what is too long for a number stays as it is."""
    parts = names(text)
    if parts is None:
        return None
    return [int(part) if part.isascii() and part.isdigit() and len(part) < 10 else part for part in parts]
