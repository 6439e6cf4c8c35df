"""The report of a job: what ran, on what, how well it fits, with which versions."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm._version import __version__
from dgmm.jobs.specification import ImageInput
from dgmm.mixture.families import get_family

if TYPE_CHECKING:
    import dask.array as da

    from dgmm.estimators import GaussianMixture
    from dgmm.jobs.loading import Job
    from dgmm.jobs.progress import Reporter

_PACKAGES = ("dask", "distributed", "numpy", "scipy", "scikit-learn", "zarr")


def make_report(
    job: Job, model: GaussianMixture, rows: da.Array, weights: da.Array | None, cluster: str, told: Reporter
) -> dict[str, Any]:
    """Return the report as values that JSON can hold; costs one pass over the rows.

    Log-likelihoods are in nats; the information criterion is lower for better models.
    """
    told.step("scoring the model")
    n_parameters = get_family(job.model.covariance_type).n_parameters(job.model.n_components, rows.shape[1])
    bic = float(model.bic(rows, sample_weight=weights))
    total = float(rows.shape[0] if weights is None else weights.sum().compute())
    log_likelihood = (n_parameters * float(np.log(total)) - bic) / 2
    return {
        "job": Path(job.file).name,
        "input": str(job.input.store if isinstance(job.input, ImageInput) else job.input.path),
        "cluster": cluster,
        "n_rows": int(rows.shape[0]),
        "n_features": int(rows.shape[1]),
        "n_components": int(model.n_components),
        "covariance_type": str(model.covariance_type),
        "free_parameters": n_parameters,
        "converged": bool(model.converged_),
        "stop_reason": model.stop_reason_.value,
        "iterations": int(model.n_iter_),
        "reads": int(model.n_reads_),
        "remaining_gap": model.remaining_gap_,
        "sampling_error": float(model.sampling_error_),
        "log_likelihood": log_likelihood,
        "mean_log_likelihood": log_likelihood / total,
        "bic": bic,
        "lower_bounds": [float(bound) for bound in model.lower_bounds_],
        "weights": np.asarray(model.weights_, dtype=float).tolist(),
        "means": np.asarray(model.means_, dtype=float).tolist(),
        "model": job.model.model_dump(),
        "versions": {"python": platform.python_version(), **versions()},
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide on the result."""
    found = {"dgmm": __version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
