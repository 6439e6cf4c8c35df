"""Between fitted estimators and the plain records that files hold."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from dgmm.errors import FormatError
from dgmm.estimators._base import MixtureEstimator
from dgmm.estimators._parameters import check_parameters
from dgmm.fitting.stopping import StopReason
from dgmm.mixture.parameters import MixtureParameters
from dgmm.passes.plan import ExecutionPlan
from dgmm.storage.model import ModelRecord

E = TypeVar("E", bound=MixtureEstimator)


def _float_or_none(value: Any) -> float | None:
    return None if value is None else float(value)


# Scalars of a fit: how each is written as a JSON value, and read.
_SCALARS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "n_iter_": (int, int),
    "converged_": (bool, bool),
    "n_reads_": (int, int),
    "lower_bound_": (float, float),
    "remaining_gap_": (_float_or_none, _float_or_none),
    "sampling_error_": (float, float),
    "n_features_in_": (int, int),
    "stop_reason_": (lambda reason: reason.name, StopReason.__getitem__),
    "feature_names_in_": (lambda names: [str(name) for name in names], lambda names: np.asarray(names, dtype=object)),
    "plan_": (ExecutionPlan.to_dict, ExecutionPlan.from_dict),
}


def to_record(estimator: MixtureEstimator) -> ModelRecord:
    """Make the record of a fitted estimator; raises NotFittedError."""
    parameters, family = estimator._parameters(), estimator._family
    d = parameters.n_features
    arrays = {
        "weights": parameters.weights,
        "means": parameters.means,
        "covariances": family.public(parameters.covariances, d),
        "precisions_cholesky": family.public(parameters.precisions_cholesky, d),
        "lower_bounds": np.asarray(getattr(estimator, "lower_bounds_", ()), dtype=np.float64),
    }
    fit = {name: write(getattr(estimator, name)) for name, (write, _) in _SCALARS.items() if hasattr(estimator, name)}
    details = {"params": _plain_params(estimator), "fit": fit}
    return ModelRecord(type(estimator).__name__, np.asarray(estimator.means_).dtype.name, arrays, details)


def _plain_params(estimator: MixtureEstimator) -> dict[str, Any]:
    """The constructor's parameters as JSON values; random generators become None."""
    params = estimator.get_params(deep=False)
    for name in ("weights_init", "means_init", "precisions_init"):
        if params[name] is not None:
            params[name] = np.asarray(params[name], dtype=np.float64).tolist()
    if not isinstance(params["random_state"], (int, np.integer)):
        params["random_state"] = None
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()}


def from_record(cls: type[E], record: ModelRecord, source: str | os.PathLike[str]) -> E:
    """Make a fitted estimator of a record that was read from ``source``.

    Raises
    ------
    FormatError
        If the record is of another class, or does not hold together.
    """
    if record.estimator != cls.__name__:
        raise FormatError(f"the model at {source} is a {record.estimator}; load it with that class")
    try:
        estimator = cls(**record.details["params"])
        check_parameters(estimator.get_params(deep=False))
        _restore(estimator, record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"the model at {source} is damaged: {error}") from error
    return estimator


def _restore(estimator: MixtureEstimator, record: ModelRecord) -> None:
    arrays, family = record.arrays, estimator._family
    k, d = arrays["means"].shape
    if arrays["weights"].shape != (k,):
        raise ValueError(f"weights have shape {arrays['weights'].shape}, means {arrays['means'].shape}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} contains NaN or infinity")
    if record.details["fit"].get("n_features_in_", d) != d:
        raise ValueError(f"means have {d} features, n_features_in_ is {record.details['fit']['n_features_in_']}")
    parameters = MixtureParameters(
        arrays["weights"],
        arrays["means"],
        family.inner(arrays["covariances"], k, d),
        family.inner(arrays["precisions_cholesky"], k, d),
    )
    estimator._set_parameters(parameters, np.dtype(record.dtype))
    estimator.lower_bounds_ = arrays["lower_bounds"].tolist()
    for name, (_, read) in _SCALARS.items():
        if name in record.details["fit"]:
            setattr(estimator, name, read(record.details["fit"][name]))
