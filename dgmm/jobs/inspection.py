"""What lies at a path, as tables for a person: a model's components, features, or the arrays of a store."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import JobError, printable
from dgmm.estimators.bfr_gaussian_mixture import BFRGaussianMixture
from dgmm.estimators.eigenmoments import EigenMoments
from dgmm.estimators.loading import load_mixture
from dgmm.storage.listing import layout_of, list_arrays
from dgmm.storage.model import FEATURES, MODEL
from dgmm.storage.urls import locate_output

if TYPE_CHECKING:
    from dgmm.estimators.loading import Mixture
    from dgmm.storage.urls import Location


@dataclass(frozen=True)
class Sheet:
    """A heading, facts and a table, all as text without control characters."""

    heading: str
    facts: list[tuple[str, str]]
    columns: list[str]
    rows: list[list[str]]


_MOST_FEATURES = 6


def inspect_path(path: str | Location) -> Sheet:
    """Describe the model, the feature map or the arrays at a path.

    Raises
    ------
    JobError
        If there is nothing.
    FormatError
        If it is nothing that dgmm reads.
    """
    path = locate_output(path)
    require_file(path)
    layout = layout_of(path)
    sheet = _arrays_sheet(path) if layout is None else _SHEETS[layout.format](path)
    # Names in the file are its author's.
    return Sheet(
        printable(sheet.heading),
        [(key, printable(value)) for key, value in sheet.facts],
        sheet.columns,
        [[printable(cell) for cell in row] for row in sheet.rows],
    )


def require_file(path: Location) -> None:
    """Refuse a path or URL at which there is nothing; raises JobError."""
    if not path.exists():
        raise JobError(
            f"{path}: there is no such file or folder; expected a model, zarr, NetCDF, Parquet or a .npy file"
        )


def _model_sheet(path: Location) -> Sheet:
    model = load_mixture(path)
    means = np.asarray(model.means_)
    k, d = means.shape
    facts = [("components", f"{k} ({model.covariance_type})"), ("features", f"{d}{_feature_names(model)}")]
    # A model that was set by hand has no fit to tell of.
    if isinstance(model, BFRGaussianMixture):
        state = "settled" if model.converged_ else "not settled"
        facts.append(("scan", f"{model.n_iter_} round{'s' * (model.n_iter_ != 1)}, {state}"))
    elif hasattr(model, "stop_reason_") and hasattr(model, "n_iter_"):
        state = "yes" if model.stop_reason_.converged else "no"
        facts.append(("converged", f"{state}, after {model.n_iter_} iterations: {model.stop_reason_.value}"))
    if hasattr(model, "lower_bound_"):
        facts.append(("log-likelihood", f"{float(model.lower_bound_):.6f} nats per row (of the fit's rows)"))
    shown = min(d, _MOST_FEATURES)
    columns = ["component", "weight", *(f"mean {j}" for j in range(shown)), *(["..."] if d > shown else [])]
    rows = [
        [
            str(i),
            f"{float(model.weights_[i]):.4f}",
            *(f"{float(means[i, j]):.5g}" for j in range(shown)),
            *(["..."] if d > shown else []),
        ]
        for i in range(k)
    ]
    return Sheet(f"{path.name}: a Gaussian mixture", facts, columns, rows)


def _feature_names(model: Mixture) -> str:
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return ""
    shown = ", ".join(str(name) for name in names[:_MOST_FEATURES])
    return f": {shown}{', ...' if len(names) > _MOST_FEATURES else ''}"


def _features_sheet(path: Location) -> Sheet:
    features = EigenMoments.load(path)
    shape, order = " x ".join(map(str, features.signal_shape_)), " x ".join(map(str, features.order_))
    order = f"{features.order_[0]} in all" if features.invariant else order
    dims = ", ".join(features.signal_dims_) if hasattr(features, "signal_dims_") else ""
    invariant = f", invariant to {', '.join(features.invariant)}" if features.invariant else ""
    noise = f"variance {features.noise_:.5g} a sample" if isinstance(features.noise_, float) else "as an array"
    facts = [
        ("signals", f"{shape} samples{dims and f' ({dims})'}, {features.n_signals_:,} were read"),
        ("moments", f"{len(features.mean_):,}, of order {order}{invariant}"),
        ("features", f"{len(features.eigenvalues_):,} by {features.method}"),
        ("noise", noise),
        ("information loss", f"{features.information_loss_:.2%} of the ratio of signal to noise"),
    ]
    columns = ["feature", "eigenvalue", "signal to noise"]
    rows = [
        [str(i), f"{float(eigenvalue):.5g}", f"{float(snr):.5g}"]
        for i, (eigenvalue, snr) in enumerate(zip(features.eigenvalues_, features.snr_, strict=True))
    ]
    return Sheet(f"{path.name}: EigenMoments, features of signals", facts, columns, rows)


_SHEETS = {MODEL.format: _model_sheet, FEATURES.format: _features_sheet}


def _arrays_sheet(path: Location) -> Sheet:
    listings = list_arrays(path)
    rows = []
    for item in listings:
        # Texts are of any length.
        size = math.prod(item.shape) * getattr(item.dtype, "itemsize", 0)
        rows.append(
            [
                item.name or path.name,
                _sizes(item.shape),
                "" if item.dims is None else ", ".join(str(name) for name in item.dims),
                str(item.dtype),
                "" if item.shape and not item.chunks else _sizes(item.chunks),
                "" if item.shards is None else _sizes(item.shards),
                _bytes(size) if size else "",
            ]
        )
    count = f"{len(rows)} array{'s' * (len(rows) != 1)}"
    return Sheet(
        f"{path.name}: {count}",
        [],
        ["array", "shape", "dimensions", "dtype", "chunks", "shards", "size"],
        rows,
    )


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{length:,}" for length in shape) or "scalar"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
