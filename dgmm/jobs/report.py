"""The report of a job: what ran, on what, how well it fits, with which versions."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm._version import __version__
from dgmm.estimators._selection_table import STATUS
from dgmm.estimators.bfr_gaussian_mixture import BFRGaussianMixture
from dgmm.jobs.models import SavedSection
from dgmm.jobs.refitting import refit_in_words
from dgmm.jobs.specification import ImageInput
from dgmm.mixture.criteria import bic
from dgmm.mixture.families import get_family

if TYPE_CHECKING:
    from dgmm.estimators.gaussian_mixture import GaussianMixture
    from dgmm.estimators.loading import Mixture
    from dgmm.estimators.selection import Selection
    from dgmm.inputs.table import Table
    from dgmm.jobs.loading import Job
    from dgmm.jobs.progress import Reporter

_PACKAGES = ("dask", "distributed", "numpy", "scipy", "scikit-learn", "zarr")


def make_report(
    job: Job, model: Mixture, table: Table, cluster: str, told: Reporter, selection: Selection | None = None
) -> dict[str, Any]:
    """Return the report as values that JSON can hold.

    Log-likelihoods are in nats; the information criterion is lower for better models. It costs one
    pass over the rows, but none of those of one scan, which may be read once.
    """
    family, n_components = str(model.covariance_type), int(model.n_components)
    n_parameters = get_family(family).n_parameters(n_components, table.X.shape[1])
    what: dict[str, Any] = {
        "job": Path(job.file).name,
        "kind": job.model.kind,
        "input": str(job.input.store if isinstance(job.input, ImageInput) else job.input.path),
        "cluster": cluster,
        "n_features": int(table.X.shape[1]),
        **({} if table.feature_names is None else {"feature_names": list(table.feature_names)}),
        "n_components": n_components,
        "covariance_type": family,
        "free_parameters": n_parameters,
        "lower_bounds": [float(bound) for bound in model.lower_bounds_],
        "model": job.model.model_dump(mode="json"),
        "versions": {"python": platform.python_version(), **versions()},
    }
    if hasattr(model, "weights_"):
        what["weights"] = np.asarray(model.weights_, dtype=float).tolist()
        what["means"] = np.asarray(model.means_, dtype=float).tolist()
    if isinstance(job.model, SavedSection):
        return what | _of_rows(model, table, job.model.rare, told)
    if isinstance(model, BFRGaussianMixture):
        return what | _of_scan(model)
    if selection is not None:
        what["selection"] = _of_selection(selection)
    return what | _of_fit(model, table, n_parameters, told)


def _of_rows(model: Mixture, table: Table, rare: float, told: Reporter) -> dict[str, Any]:
    """How well a model that was there before describes rows."""
    told.step("scoring the rows")
    below = model._rare_below(rare)
    score = model._score(table, None, rare_below=below)
    return {
        "n_rows": score.n_rows,
        "log_likelihood": score.log_likelihood,
        "mean_log_likelihood": score.log_likelihood / score.total_weight,
        "rare_log_density": below,
        "rare_share": score.rare_weight / score.total_weight,
        "rare_share_expected": rare,
    }


def _of_selection(selection: Selection) -> dict[str, Any]:
    """The table of the candidates, and how they were compared."""
    table = selection.table
    family, k = selection.best
    simplest = selection.simplest
    candidates = [
        {"covariance_type": name, "n_components": count} | _cells(table.sel(covariance_type=name, n_components=count))
        for name in table.covariance_type.values.tolist()
        for count in table.n_components.values.tolist()
    ]
    return {
        "criterion": selection.criterion,
        "best": {"covariance_type": family, "n_components": k},
        "simplest": {"covariance_type": simplest[0], "n_components": simplest[1]},
        "reads": selection.n_reads,
        **{key: table.attrs[key] for key in ("held_out", "n_rows_held_out") if key in table.attrs},
        "candidates": candidates,
        "failures": {f"{name} {count}": str(error) for (name, count), error in selection.failures.items()},
        "dropped": {f"{name} {count}": words for (name, count), words in selection.dropped.items()},
    }


def _cells(candidate: Any) -> dict[str, Any]:
    """The values of one candidate; what is not a number is None."""
    found = {str(name): cell.item() for name, cell in candidate.data_vars.items()}
    found["status"] = STATUS[found["status"]].replace("_", " ")
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value for name, value in found.items()
    }


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
        "total_weight": score.total_weight,
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


# What is shown of a report of each kind of job that is known again by its checkpoint, and of which type it is.
SHOWN: dict[str, dict[str, type | tuple[type, ...]]] = {
    "gaussian_mixture": {
        "converged": bool,
        "iterations": int,
        "n_rows": int,
        "mean_log_likelihood": float,
        "bic": float,
    },
    "selection": {
        "converged": bool,
        "iterations": int,
        "n_rows": int,
        "n_components": int,
        "covariance_type": str,
        "mean_log_likelihood": float,
        "bic": float,
        "selection": dict,
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
    if report["kind"] == "saved":
        return (
            f"{what}: mean log-likelihood {report['mean_log_likelihood']:.6f} nats per row, "
            f"{report['rare_share']:.2%} of the rows are rare ({report['rare_share_expected']:.2%} expected)"
        )
    if report["kind"] == "selection":
        what = f"chosen among {len(report['selection'].get('candidates', ()))} by {_chosen_by(report)}: {what}"
    state = "converged" if report["converged"] else "not converged"
    told = f"; {refit_in_words(report['refit'])}" if "refit" in report else ""
    return (
        f"{what}: {state} after {report['iterations']} iteration{'s' * (report['iterations'] != 1)}, "
        f"mean log-likelihood {report['mean_log_likelihood']:.6f} nats per row, BIC {report['bic']:,.0f}{told}"
    )


def _chosen_by(report: dict[str, Any]) -> str:
    """The criterion of a selection, as it is written."""
    criterion = str(report["selection"].get("criterion"))
    return "held-out rows" if criterion == "heldout" else criterion.upper()


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide on the result."""
    found = {"dgmm": __version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
