"""Between a fitted EigenMoments and the plain record that files hold."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dgmm.errors import FormatError
from dgmm.estimators._features import SignalFeatures
from dgmm.estimators._signals import RULES, sizes, variances_of
from dgmm.inputs.signals import SignalAxes
from dgmm.rules import check, is_int, is_number
from dgmm.signals.invariants import NormalizedMoments
from dgmm.signals.models import StationaryCorrelation
from dgmm.signals.spaces import BASES, MomentSpace, order_of
from dgmm.storage.model import ModelRecord

if TYPE_CHECKING:
    from dgmm.signals.records import Space
    from dgmm.typing import FloatArray

_MOST_SAMPLES = 2**31

F = TypeVar("F", bound=SignalFeatures)

_ARRAYS = ("components", "eigenvalues", "snr", "mean", "correlation", "noise_correlation")
_GIVEN = ("noise", "correlation")
"""Parameters that may be arrays, which are stored as such."""


def to_record(features: SignalFeatures) -> ModelRecord:
    """Make the record of fitted features."""
    params = features.get_params(deep=False)
    arrays = {name: np.asarray(getattr(features, f"{name}_"), dtype=np.float64) for name in _ARRAYS}
    for name in _GIVEN:
        if not isinstance(params[name], (str, StationaryCorrelation)) and not is_number(params[name]):
            arrays[f"given_{name}"] = np.asarray(params.pop(name), dtype=np.float64)
    if np.ndim(features.noise_):
        arrays["noise"] = np.asarray(features.noise_, dtype=np.float64)
    fit: dict[str, Any] = {
        "signal_shape": list(features.signal_shape_),
        "order": list(features.order_),
        "flat": features._axes.flat,
        "information_loss": float(features.information_loss_),
        "n_signals": int(features.n_signals_),
        **_of_space(features._space),
    }
    if "noise" not in arrays:
        fit["noise"] = float(features.noise_)
    for name in ("signal_dims", "sample_dims", "feature_names_in"):
        if hasattr(features, f"{name}_"):
            fit[name] = [str(each) for each in getattr(features, f"{name}_")]
    details = {"params": {name: _plain(value) for name, value in params.items()}, "fit": fit}
    return ModelRecord(type(features).__name__, "float64", arrays, details)


def _of_space(space: Space) -> dict[str, Any]:
    if isinstance(space, NormalizedMoments):
        return {"invariant": list(space.invariant)}
    return {"basis": space.basis} if isinstance(space, MomentSpace) else {}


def _plain(value: Any) -> Any:
    """A parameter as JSON can hold it; random generators become None."""
    if isinstance(value, StationaryCorrelation):
        return {"c": _plain(value.c), "variance": float(value.variance)}
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return value if value is None or isinstance(value, (bool, int, float, str)) else None


def from_record(cls: type[F], record: ModelRecord, source: str | os.PathLike[str]) -> F:
    """Make fitted features of a record that was read from ``source``.

    Raises
    ------
    FormatError
        If the record is of another class, or does not hold together.
    """
    if record.estimator != cls.__name__:
        raise FormatError(f"the feature map at {source} is a {record.estimator[:60]}; load it with that class")
    try:
        features = cls(**_params(record))
        check(RULES, features.get_params(deep=False))
        _restore(features, record)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise FormatError(f"the feature map at {source} is damaged: {error}") from error
    return features


def _params(record: ModelRecord) -> dict[str, Any]:
    params = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record.details["params"].items()
    }
    for name in _GIVEN:
        if (given := record.arrays.get(f"given_{name}")) is not None:
            if name in params:
                raise ValueError(f"{name} is there twice")
            params[name] = variances_of(name, given, {"its own": given.shape})
    if isinstance(model := params.get("correlation"), dict):
        c = model["c"]
        params["correlation"] = StationaryCorrelation(tuple(c) if isinstance(c, list) else c, model["variance"])
    if not (params["random_state"] is None or is_int(params["random_state"], 0)):
        raise ValueError("random_state is no whole number")
    return params


def _restore(features: SignalFeatures, record: ModelRecord) -> None:
    fit, arrays = record.details["fit"], record.arrays
    shape, order = _counts(fit, "signal_shape", 1), _counts(fit, "order", 0)
    space, n = _space(fit, shape, order, len(arrays["mean"])), math.prod(shape)
    if n > _MOST_SAMPLES:
        raise ValueError(f"signals of {n:,} samples are more than can be worked with")
    names = {name: _names(fit, name) for name in ("signal_dims", "sample_dims", "feature_names_in") if name in fit}
    if not isinstance(fit["flat"], bool):
        raise TypeError("flat is neither true nor false")
    axes = shape[:1] if fit["flat"] else shape
    if len(names.get("signal_dims", axes)) != len(axes) or len(names.get("feature_names_in", range(n))) != n:
        raise ValueError("signal_dims or feature_names_in are not as many as signals have axes, or samples")
    _check_arrays(arrays, n, space.n_moments)
    noise = _number(fit, "noise") if "noise" not in arrays else arrays["noise"]
    if not is_int(fit["n_signals"], 0):
        raise TypeError("n_signals is no whole number")
    for name in _ARRAYS:
        setattr(features, f"{name}_", arrays[name])
    features.noise_, features.n_signals_ = noise, fit["n_signals"]
    features.information_loss_ = _number(fit, "information_loss")
    features.signal_shape_, features.order_, features.n_features_in_ = shape, space.order, n
    for name, found in names.items():
        setattr(features, f"{name}_", np.asarray(found, dtype=object) if name == "feature_names_in" else found)
    features._space, features._axes = space, SignalAxes(shape, names.get("signal_dims"), flat=fit["flat"])


def _check_arrays(arrays: Mapping[str, FloatArray], n: int, m: int) -> None:
    """Refuse arrays that do not hold together: k features of m moments of n samples."""
    k = len(arrays["components"])
    shapes: dict[str, tuple[tuple[int, ...], ...]] = dict.fromkeys(("correlation", "noise_correlation"), ((m, m),))
    shapes |= {"components": ((k, m),), "mean": ((m,),), "eigenvalues": ((k,),), "snr": ((k,),)}
    shapes |= {"noise": ((n,), (n, n), (m, m))}
    for name, array in arrays.items():
        if array.shape not in shapes.get(name, (array.shape,)) or not k:
            raise ValueError(f"{name} has shape {array.shape}, where there are {k} features of {m} moments")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} contains NaN or infinity")


def _number(fit: Mapping[str, Any], name: str) -> float:
    value = fit[name]
    if not is_number(value):
        raise TypeError(f"{name} is no number of at least 0")
    return float(value)


def _space(fit: Mapping[str, Any], shape: tuple[int, ...], order: tuple[int, ...], m: int) -> Space:
    """The space of m moments that a record speaks of."""
    if "invariant" in fit:
        check({"invariant": RULES["invariant"]}, fit)
        # Their number is that of the degrees up to the order, but for the few that are constant.
        if (
            len(shape) != 2
            or len({*order}) != 1
            or not 2 <= order[0] < min(shape)
            or math.comb(order[0] + 2, 2) > m + 10
        ):
            raise ValueError(f"there are no {m} invariants of order {order} of images of shape {shape}")
        return NormalizedMoments(shape, order, tuple(fit["invariant"]))
    if not (isinstance(fit["basis"], str) and fit["basis"] in BASES):
        raise ValueError(f"there is no basis {str(fit['basis'])[:60]!r}")
    return MomentSpace(shape, order_of(order, shape, 0), fit["basis"])


def _counts(fit: Mapping[str, Any], name: str, low: int) -> tuple[int, ...]:
    value = fit[name]
    if not (isinstance(value, list) and value and all(is_int(each, low) and each < 2**31 for each in value)):
        raise TypeError(f"{name} are no whole numbers")
    return sizes(value) or ()


def _names(fit: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = fit[name]
    if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise TypeError(f"{name} are not all text")
    return tuple(value)
