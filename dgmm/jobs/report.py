"""The report of a job: what ran, on what, how well it fits, with which versions."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm._version import __version__
from dgmm.estimators.bfr_gaussian_mixture import BFRGaussianMixture
from dgmm.jobs.specification import ImageInput
from dgmm.mixture.criteria import bic
from dgmm.mixture.families import get_family

if TYPE_CHECKING:
    from dgmm.estimators.gaussian_mixture import GaussianMixture
    from dgmm.estimators.loading import Mixture
    from dgmm.inputs.table import Table
    from dgmm.jobs.loading import Job
    from dgmm.jobs.progress import Reporter

_PACKAGES = ("dask", "distributed", "numpy", "scipy", "scikit-learn", "zarr")


def make_report(job: Job, model: Mixture, table: Table, cluster: str, told: Reporter) -> dict[str, Any]:
    """Return the report as values that JSON can hold.

    Log-likelihoods are in nats; the information criterion is lower for better models. It costs one
    pass over the rows, but none of those of one scan, which may be read once.
    """
    n_parameters = get_family(job.model.covariance_type).n_parameters(job.model.n_components, table.X.shape[1])
    what: dict[str, Any] = {
        "job": Path(job.file).name,
        "kind": job.model.kind,
        "input": str(job.input.store if isinstance(job.input, ImageInput) else job.input.path),
        "cluster": cluster,
        "n_features": int(table.X.shape[1]),
        **({} if table.feature_names is None else {"feature_names": list(table.feature_names)}),
        "n_components": int(model.n_components),
        "covariance_type": str(model.covariance_type),
        "free_parameters": n_parameters,
        "lower_bounds": [float(bound) for bound in model.lower_bounds_],
        "model": job.model.model_dump(),
        "versions": {"python": platform.python_version(), **versions()},
    }
    if hasattr(model, "weights_"):
        what["weights"] = np.asarray(model.weights_, dtype=float).tolist()
        what["means"] = np.asarray(model.means_, dtype=float).tolist()
    if isinstance(model, BFRGaussianMixture):
        return what | _of_scan(model)
    return what | _of_fit(model, table, n_parameters, told)


def _of_scan(model: BFRGaussianMixture) -> dict[str, Any]:
    """What is known after one scan; there is no model before ``sample_rows`` rows have come."""
    return {
        "started": hasattr(model, "weights_"),
        "converged": bool(model.converged_),
        "n_rows": int(model.n_rows_),
        "rounds": int(model.n_iter_),
        "mean_lower_bound": float(model.lower_bounds_[-1]) if model.lower_bounds_ else None,
        "renewed": int(model.n_renewed_),
        "retained_rows": len(model.retained_set_["weights"]),
    }


def _of_fit(model: GaussianMixture, table: Table, n_parameters: int, told: Reporter) -> dict[str, Any]:
    told.step("scoring the model")
    score = model._score(table, None)
    return {
        "n_rows": score.n_rows,
        "converged": bool(model.converged_),
        "stop_reason": model.stop_reason_.value,
        "iterations": int(model.n_iter_),
        "reads": int(model.n_reads_),
        "remaining_gap": model.remaining_gap_,
        "sampling_error": float(model.sampling_error_),
        "log_likelihood": score.log_likelihood,
        "mean_log_likelihood": score.log_likelihood / score.total_weight,
        "bic": bic(score.log_likelihood, n_parameters, score.total_weight),
    }


# What is shown of a report of each kind of model, and of which type it is.
SHOWN: dict[str, dict[str, type | tuple[type, ...]]] = {
    "gaussian_mixture": {
        "converged": bool,
        "iterations": int,
        "n_rows": int,
        "mean_log_likelihood": float,
        "bic": float,
    },
    "bfr": {
        "started": bool,
        "converged": bool,
        "rounds": int,
        "n_rows": int,
        "mean_lower_bound": (float, type(None)),
        "renewed": int,
    },
}


def in_words(report: dict[str, Any]) -> str:
    """A report as one line."""
    what = f"{report['n_components']} components ({report['covariance_type']}), {report['n_rows']:,} rows"
    if report["kind"] == "bfr":
        rounds = f"{report['rounds']} round{'s' * (report['rounds'] != 1)}"
        if not report["started"]:
            return f"{what} in {rounds}: too few to start, no model yet"
        state, bound = "settled" if report["converged"] else "not settled", report["mean_lower_bound"]
        # Sums of a sample, which may stand for what was discarded, bound nothing.
        how = "about" if report["renewed"] else "at least"
        return f"{what}: {state} after {rounds}, mean log-likelihood {how} {bound:.6f} nats per row"
    state = "converged" if report["converged"] else "not converged"
    return (
        f"{what}: {state} after {report['iterations']} iteration{'s' * (report['iterations'] != 1)}, "
        f"mean log-likelihood {report['mean_log_likelihood']:.6f} nats per row, BIC {report['bic']:,.0f}"
    )


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide on the result."""
    found = {"dgmm": __version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
