"""What EigenMoments takes: its parameters checked, and signals made rows and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.errors import DataError, ParameterError
from dgmm.estimators._inputs import rows_of
from dgmm.estimators._parameters import RULES as PARAMETER_RULES
from dgmm.estimators._parameters import real_array
from dgmm.mixture.missing import RAISE
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.tree import PassRunner
from dgmm.rules import Rule, is_bool, is_int, is_number, one_of
from dgmm.signals.eigen import METHODS
from dgmm.signals.invariants import INVARIANCES
from dgmm.signals.models import StationaryCorrelation
from dgmm.signals.spaces import BASES

if TYPE_CHECKING:
    from dgmm.fitting.events import Event
    from dgmm.inputs.table import Table
    from dgmm.passes.rows import Rows
    from dgmm.signals.records import SignalMap, SignalRecord
    from dgmm.typing import FloatArray

AUTO, DIFFERENCES, DATA = "auto", "differences", "data"
"""Where the noise, and what signals are like, come from."""


def _is_sizes(value: Any, low: int) -> bool:
    value = _listed(value)
    many = isinstance(value, (tuple, list)) and len(value) > 0 and all(is_int(each, low) for each in value)
    return value is None or is_int(value, low) or many


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _is_array(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or hasattr(value, "__array__")


RULES = {
    "n_components": Rule(
        lambda v: v is None or is_int(v, 1) or (isinstance(v, float) and 0.0 < v < 1.0),
        "None, an int of at least 1, or a share of the ratio of signal to noise, a float between 0 and 1",
    ),
    "order": Rule(lambda v: _is_sizes(v, 0), "None, an int of at least 0, or one for each axis"),
    "signal_shape": Rule(lambda v: _is_sizes(v, 1), "None, the number of samples, or that along each axis"),
    "signal_dims": Rule(
        lambda v: v is None or isinstance(v, str) or (isinstance(v, Sequence) and len(v) > 0),
        "None, or names of dimensions",
    ),
    "noise": Rule(
        lambda v: v in (AUTO, DIFFERENCES) if isinstance(v, str) else is_number(v) or _is_array(v),
        "'auto', 'differences', the variance of a sample, or an array of variances or covariances",
    ),
    "noise_floor": Rule(is_number, "a finite float of at least 0"),
    "correlation": Rule(
        lambda v: v == DATA if isinstance(v, str) else isinstance(v, StationaryCorrelation) or _is_array(v),
        "'data', a StationaryCorrelation, or an array (n, n)",
    ),
    "method": one_of(METHODS),
    "basis": one_of(BASES),
    "center": Rule(is_bool, "True or False"),
    "random_state": PARAMETER_RULES["random_state"],
    "noisy": Rule(is_bool, "True or False"),
    "invariant": Rule(
        lambda v: (
            isinstance(v, (tuple, list))
            and len({*v}) == len(v)
            and all(isinstance(each, str) and each in INVARIANCES for each in v)
        ),
        f"a tuple of some of {', '.join(map(repr, INVARIANCES))}",
    ),
}


def rows_of_signals(table: Table) -> Rows:
    """Rows of samples of a table of signals."""
    rows, _ = rows_of(table, lambda n: ExecutionPlan.of_signals(n).chunk_rows, RAISE)
    return rows


def read(rows: Rows, signals: SignalMap, emit: Callable[[Event], bool]) -> SignalRecord:
    """Read signals once; raises DataError if there are none."""
    record = PassRunner(rows, ExecutionPlan.of_signals(rows.n_features), emit)(signals)
    if not record.weight > 0.0:
        found = f"every sample_weight of its {rows.n_rows} signals is zero" if rows.n_rows else "it has no signals"
        raise DataError(f"X has no moments: {found}; give at least one signal of weight above 0")
    return record


def sizes(value: Any) -> tuple[int, ...] | None:
    """Whole numbers that were given as one, or several."""
    value = _listed(value)
    if value is None:
        return None
    return tuple(map(int, value)) if isinstance(value, (tuple, list)) else (int(value),)


def variances_of(name: str, value: Any, shapes: Mapping[str, tuple[int, ...]]) -> FloatArray:
    """A copy of an array of variances, or of covariances, of one of some shapes; else a ParameterError."""
    array = real_array(name, value, shapes)
    variances = np.diag(array) if array.ndim == 2 else array
    if (variances < 0.0).any():
        first = int(np.argmax(variances < 0.0))
        raise ParameterError(f"{name} has {variances[first]:g} at {[first] * array.ndim}; no variance is below 0")
    if array.ndim == 2 and not np.allclose(array, array.T, rtol=1e-8, atol=1e-12 * float(np.abs(array).max())):
        raise ParameterError(f"{name} must be symmetric")
    return array
