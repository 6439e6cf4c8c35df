"""Checks of the constructor's parameters: one table, one kind of message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dgmm.errors import ParameterError
from dgmm.fitting.hard_start import INIT
from dgmm.fitting.start import FROM_SCAN, INIT_PARAMS, Start
from dgmm.mixture.families import FAMILIES, CovarianceFamily
from dgmm.mixture.missing import DROP, POLICIES, RAISE
from dgmm.passes.execution import Execution
from dgmm.rules import Rule, at_least, check, is_bool, is_int, is_number, one_of
from dgmm.typing import FloatArray

RULES: dict[str, Rule] = {
    "n_components": at_least(1),
    "n_clusters": at_least(1),
    "covariance_type": one_of(FAMILIES),
    "tol": Rule(lambda v: v == "auto" if isinstance(v, str) else is_number(v), "a float of at least 0, or 'auto'"),
    "reg_covar": Rule(is_number, "a finite float of at least 0"),
    "max_iter": at_least(1),
    "n_init": at_least(1),
    "init_params": one_of((*INIT_PARAMS, FROM_SCAN)),
    "init": Rule(
        lambda v: v in INIT if isinstance(v, str) else isinstance(v, (list, tuple)) or hasattr(v, "__array__"),
        f"one of {', '.join(map(repr, INIT))}, or an array of centres",
    ),
    "random_state": Rule(
        lambda v: (
            v is None
            or isinstance(v, (np.random.RandomState, np.random.Generator))
            or (is_int(v, 0) and int(v) < 2**32)
        ),
        "None, an int from 0 to 2**32 - 1, a numpy RandomState or a numpy Generator",
    ),
    "warm_start": Rule(is_bool, "True or False"),
    "verbose": Rule(lambda v: is_bool(v) or is_int(v, 0), "an int of at least 0"),
    "verbose_interval": at_least(1),
    "sample_rows": Rule(lambda v: v is None or is_int(v, 1), "None or an int of at least 1"),
    "batch_rows": Rule(lambda v: v is None or is_int(v, 1), "None or an int of at least 1"),
    "buffer_rows": at_least(0),
    "primary": one_of(("certain", "mahalanobis")),
    "primary_fraction": Rule(lambda v: is_number(v) and v <= 1.0, "a float from 0 to 1"),
    "secondary_tightness": Rule(lambda v: is_number(v) and v > 0.0, "a finite float above 0"),
    "threshold": Rule(lambda v: is_number(v) and v > 0.0, "a finite float above 0"),
    "forgetting": Rule(lambda v: is_number(v) and 0.0 < v <= 1.0, "a float above 0 and at most 1"),
    "inner_max_iter": at_least(1),
    "refine_passes": at_least(0),
    "missing": one_of(POLICIES),
    "accelerate": Rule(lambda v: v is None or (isinstance(v, str) and v == "auto"), "'auto' or None"),
}


# A scan starts on its first rows, which are in memory; what it keeps of rows are sums.
_SCAN_RULES = {
    **RULES,
    "init_params": one_of(tuple(name for name in INIT_PARAMS if name != "k-means||")),
    "missing": Rule(
        lambda v: isinstance(v, str) and v in (RAISE, DROP),
        "'raise' or 'drop': sums of rows say nothing of what was missing in each "
        "(dgmm.GaussianMixture takes 'marginalize')",
    ),
}


def check_parameters(parameters: dict[str, Any]) -> None:
    """Refuse impossible parameters; raises ParameterError naming the first one."""
    rules = _SCAN_RULES if "batch_rows" in parameters else RULES
    check({name: rule for name, rule in rules.items() if name in parameters}, parameters)


def real_array(name: str, value: Any, shapes: Mapping[str, tuple[int, ...]]) -> FloatArray:
    """A copy of an array of finite numbers of one of some shapes, given by their symbols; else a ParameterError."""
    words = " or ".join(f"{symbols} = {shape}" for symbols, shape in shapes.items())
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "biuf" or np.ma.is_masked(value):
        raise ParameterError(f"{name} must be an array of numbers of shape {words}, none of them missing")
    array = array.astype(np.float64)
    if array.shape not in shapes.values():
        raise ParameterError(f"{name} has shape {array.shape}; expected {words}")
    if not np.isfinite(array).all():
        at = tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
        raise ParameterError(f"{name} contains {array[at]} at {list(at)}; all values must be finite")
    return array


def _weights(value: Any, k: int) -> FloatArray:
    weights = real_array("weights_init", value, {"(n_components,)": (k,)})
    if (weights < 0.0).any() or (weights > 1.0).any():
        at = int(np.argmax((weights < 0.0) | (weights > 1.0)))
        raise ParameterError(f"weights_init[{at}] is {weights[at]:g}; weights must be from 0 to 1")
    if not np.isclose(weights.sum(), 1.0, rtol=0.0, atol=1e-6):
        raise ParameterError(f"weights_init sums to {weights.sum():.8g}; weights must sum to 1")
    return np.asarray(weights / weights.sum())


def _covariances(value: Any, family: CovarianceFamily, k: int, d: int) -> FloatArray:
    name = "precisions_init"
    precisions = family.inner(real_array(name, value, {family.public_shape: family.shape(k, d)}), k, d)
    if precisions.ndim == 3 and not np.allclose(precisions, np.swapaxes(precisions, 1, 2)):
        raise ParameterError(f"{name} must be symmetric for covariance_type={family.name!r}")
    words = "positive definite" if precisions.ndim == 3 else "positive"
    try:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            covariances = family.form.invert(precisions)
    except ValueError as error:
        raise ParameterError(f"{name} must be {words} for covariance_type={family.name!r}") from error
    if not np.isfinite(covariances).all():
        raise ParameterError(f"{name} must be {words} with an inverse that float64 can hold; scale the input data")
    return covariances


def make_start(parameters: dict[str, Any], family: CovarianceFamily, d: int) -> Start:
    """Check the parts of the start that the user gave, for data of d features.

    Raises
    ------
    ParameterError
        If a part has the wrong shape or impossible values.
    """
    k = int(parameters["n_components"])
    weights, means, precisions = (parameters[f"{name}_init"] for name in ("weights", "means", "precisions"))
    return Start(
        parameters["init_params"],
        int(parameters["n_init"]),
        None if weights is None else _weights(weights, k),
        None if means is None else real_array("means_init", means, {"(n_components, n_features)": (k, d)}),
        None if precisions is None else _covariances(precisions, family, k, d),
    )


def make_centres(init: Any, n_clusters: int, d: int) -> FloatArray | None:
    """Check centres that the user gave as ``init``, for data of d features; None for a name.

    Raises
    ------
    ParameterError
        If they have the wrong shape or impossible values.
    """
    return None if isinstance(init, str) else real_array("init", init, {"(n_clusters, n_features)": (n_clusters, d)})


def to_random_state(random_state: Any) -> np.random.RandomState:
    """A RandomState for anything that ``random_state`` takes."""
    if isinstance(random_state, np.random.RandomState):
        return random_state
    if isinstance(random_state, np.random.Generator):
        return np.random.RandomState(int(random_state.integers(2**32)))
    return np.random.RandomState(random_state)


def check_fitted_arrays(attributes: dict[str, Any], family: CovarianceFamily) -> tuple[int, int]:
    """Check parameters that the user set by hand.

    Returns
    -------
    K, d : int
        Numbers of components and features, as ``means_`` has them.

    Raises
    ------
    ParameterError
        If an attribute has another shape than the others ask for, or values that are no mixture's.
    """
    shape = np.shape(attributes["means_"])
    k, d = shape if len(shape) == 2 else (0, 0)
    real_array("means_", attributes["means_"], {"(n_components, n_features)": (k, d)})
    weights = real_array("weights_", attributes["weights_"], {"(n_components,)": (k,)})
    if (weights < 0.0).any():
        at = int(np.argmax(weights < 0.0))
        raise ParameterError(f"weights_[{at}] is {weights[at]:g}; weights must be at least 0")
    real_array("precisions_cholesky_", attributes["precisions_cholesky_"], {family.public_shape: family.shape(k, d)})
    return k, d


def check_execution(execution: Any) -> Execution:
    """What the user gave as ``execution``; raises ParameterError if it is none."""
    if not (execution is None or isinstance(execution, Execution)):
        raise ParameterError(f"execution is {execution!r}; it must be None or a dgmm.Execution")
    return execution or Execution()
