"""Between fitted estimators and the plain records that files hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from dgmm.errors import FormatError
from dgmm.estimators._base import MixtureEstimator, narrowed
from dgmm.estimators._parameters import check_parameters
from dgmm.fitting.stopping import StopReason
from dgmm.mixture.families import CovarianceFamily
from dgmm.mixture.parameters import MixtureParameters
from dgmm.passes.plan import ExecutionPlan
from dgmm.storage.model import ModelRecord

E = TypeVar("E", bound=MixtureEstimator)


def _float_or_none(value: Any) -> float | None:
    return None if value is None else float(value)


def _reader(kind: type, read: Callable[[Any], Any] | None = None) -> Callable[[Any], Any]:
    """Return a reader of JSON values that takes those of one type alone."""

    def checked(value: Any) -> Any:
        # JSON has one kind of number, but True is none.
        allowed = (int, float) if kind is float else kind
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"found {str(value)[:60]!r}, expected a value of type {kind.__name__}")
        return (read or kind)(value)

    return checked


def _names(values: list[Any]) -> Any:
    if not all(isinstance(value, str) for value in values):
        raise TypeError("names are not all text")
    return np.asarray(values, dtype=object)


def _dims(values: list[Any]) -> tuple[str, ...]:
    return tuple(_names(values))


def _texts(names: Iterable[Any]) -> list[str]:
    return [str(name) for name in names]


def _plan(values: dict[str, Any]) -> ExecutionPlan:
    plan = ExecutionPlan.from_dict(values)
    tolerance = plan.tolerance.values()
    counts = (plan.block_rows, plan.chunk_rows)
    if plan.backend not in ("numba", "numpy") or not all(type(n) is int and n > 0 for n in counts):
        raise ValueError("plan_ is not one of an execution")
    if not all(type(x) is float and x >= 0.0 for x in tolerance):
        raise ValueError("plan_ has a tolerance that is none")
    return plan


def _counts(values: list[Any]) -> Any:
    if not all(type(value) is int and value >= 0 for value in values):
        raise TypeError("counts are not all whole numbers")
    return np.asarray(values, dtype=np.int64)


_read_float = _reader(float)

# Scalars of a fit: how each is written as a JSON value, and read.
_SCALARS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "n_iter_": (int, _reader(int)),
    "converged_": (bool, _reader(bool)),
    "n_reads_": (int, _reader(int)),
    "lower_bound_": (float, _read_float),
    "remaining_gap_": (_float_or_none, lambda value: None if value is None else _read_float(value)),
    "sampling_error_": (float, _read_float),
    "n_missing_": (lambda counts: [int(count) for count in counts], _reader(list, _counts)),
    "n_dropped_": (int, _reader(int)),
    "n_features_in_": (int, _reader(int)),
    "stop_reason_": (lambda reason: reason.name, _reader(str, StopReason.__getitem__)),
    "feature_names_in_": (_texts, _reader(list, _names)),
    "sample_dims_": (_texts, _reader(list, _dims)),
    "feature_dims_": (_texts, _reader(list, _dims)),
    "plan_": (ExecutionPlan.to_dict, _reader(dict, _plan)),
}


def to_record(estimator: MixtureEstimator, *, sample: bool = True) -> ModelRecord:
    """Make the record of a fitted estimator, with or without its sample; raises NotFittedError."""
    parameters, family = estimator._parameters(), estimator._family
    d = parameters.n_features
    arrays = {
        "weights": parameters.weights,
        "means": parameters.means,
        "covariances": family.public(parameters.covariances, d),
        "precisions_cholesky": family.public(parameters.precisions_cholesky, d),
        "lower_bounds": np.asarray(getattr(estimator, "lower_bounds_", ()), dtype=np.float64),
    }
    if sample and hasattr(estimator, "sample_"):
        arrays["sample"] = np.asarray(estimator.sample_, dtype=np.float64)
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
        raise FormatError(f"the model at {source} is a {record.estimator[:60]}; load it with that class")
    try:
        estimator = cls(**record.details["params"])
        params = estimator.get_params(deep=False)
        check_parameters(params)
        for name in ("weights_init", "means_init", "precisions_init"):
            if params[name] is not None and not np.isfinite(np.asarray(params[name], dtype=np.float64)).all():
                raise ValueError(f"{name} is not finite")
        with np.errstate(all="ignore"):
            _restore(estimator, record)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise FormatError(f"the model at {source} is damaged: {error}") from error
    return estimator


def _check(record: ModelRecord, family: CovarianceFamily) -> None:
    """Refuse a record whose parts do not hold together; raises ValueError."""
    arrays, (k, d) = record.arrays, record.arrays["means"].shape
    shapes = {"weights": (k,), "covariances": family.shape(k, d), "precisions_cholesky": family.shape(k, d)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} have shape {arrays[name].shape}, means {(k, d)}")
    for name, array in arrays.items():
        # In rows of a sample NaN is a value that was missing.
        if np.isinf(array).any() or (name != "sample" and np.isnan(array).any()):
            raise ValueError(f"{name} contains NaN or infinity")
    if "sample" in arrays and arrays["sample"].shape[1:] != (d,):
        raise ValueError(f"the sample has shape {arrays['sample'].shape}, means {(k, d)}")
    if (arrays["weights"] < 0.0).any() or not 0.99 < arrays["weights"].sum() < 1.01:
        raise ValueError("weights are no distribution")
    fit = record.details["fit"]
    if fit.get("n_features_in_", d) != d or len(fit.get("feature_names_in_", range(d))) != d:
        raise ValueError(f"means have {d} features, but n_features_in_ or feature_names_in_ have not")


def _restore(estimator: MixtureEstimator, record: ModelRecord) -> None:
    arrays, family, fit = record.arrays, estimator._family, record.details["fit"]
    _check(record, family)
    k, d = arrays["means"].shape
    parameters = MixtureParameters(
        arrays["weights"],
        arrays["means"],
        family.inner(arrays["covariances"], k, d),
        family.inner(arrays["precisions_cholesky"], k, d),
    )
    if not np.isfinite(family.form.half_log_det(parameters.precisions_cholesky, d)).all():
        raise ValueError("precisions_cholesky are not those of a density")
    estimator._set_parameters(parameters, np.dtype(record.dtype))
    estimator.lower_bounds_ = arrays["lower_bounds"].tolist()
    if "sample" in arrays:
        estimator.sample_ = narrowed(arrays["sample"], np.dtype(record.dtype))
    for name, (_, read) in _SCALARS.items():
        if name in fit:
            setattr(estimator, name, read(fit[name]))
