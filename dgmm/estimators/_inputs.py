"""What the user passes as X and sample_weight, made into rows or an array."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from sklearn.utils.validation import validate_data

from dgmm.errors import DataError, DataTypeError, ParameterError
from dgmm.passes.rows import Rows, check_table
from dgmm.passes.shards import check_unmasked

if TYPE_CHECKING:
    from collections.abc import Callable

    from dgmm.typing import Array, FloatArray


def check_features(estimator: Any, n_features: int, *, reset: bool) -> None:
    """Remember the number of features, or compare it with that of the fit."""
    if reset:
        estimator.n_features_in_ = n_features
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    elif n_features != estimator.n_features_in_:
        raise DataError(
            f"X has {n_features} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input"
        )


def to_array(estimator: Any, X: Any, *, reset: bool) -> Array:
    """Make a table in memory a float32 or float64 array, (n, d), as scikit-learn would.

    Raises
    ------
    DataTypeError
        If it holds no real numbers, or is a lazy collection that is no dask array.
    DataError
        If its shape is wrong.
    """
    if hasattr(X, "__dask_graph__") and X.__dask_graph__() is not None:
        raise DataTypeError(
            f"X is a {type(X).__module__}.{type(X).__name__}; give its dask array instead "
            "(`.data` of an xarray object, `.to_dask_array(lengths=True)` of a dataframe)"
        )
    try:
        own = X if hasattr(X, "dtype") or hasattr(X, "dtypes") or hasattr(X, "toarray") else np.asarray(X)
    except ValueError as error:
        raise DataError(f"X cannot be made an array; expected rows of one length: {error}") from error
    check_unmasked(own, "X")
    _check_kind(own)
    try:
        array: Array = validate_data(
            estimator,
            own,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            ensure_min_samples=1,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    except TypeError as error:
        raise DataTypeError(str(error)) from error
    return array


def _check_kind(table: Any) -> None:
    """Refuse what scikit-learn would try to convert number by number."""
    if hasattr(table, "dtypes") and hasattr(table, "columns"):
        kinds = {f"column {name!r}": dtype for name, dtype in zip(table.columns, table.dtypes, strict=True)}
    elif hasattr(table, "toarray"):
        return
    else:
        kinds = {"X": np.asarray(table).dtype}
    for what, dtype in kinds.items():
        if getattr(dtype, "kind", "O") in "OUSmMV":
            raise DataTypeError(
                f"{what if what == 'X' else what + ' of X'} has dtype {dtype}, which holds no real numbers; "
                "convert it first, for example with .astype(float)"
            )


def to_weights(sample_weight: Any, n_rows: int) -> FloatArray | None:
    """Make weights for rows in memory, (n,); a number is the weight of each row."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        return np.full(n_rows, sample_weight, dtype=np.float64)
    if isinstance(sample_weight, da.Array):
        raise ParameterError("sample_weight is a dask array and X is not; give both as dask arrays, or neither")
    check_unmasked(sample_weight, "sample_weight")
    weights = np.asarray(sample_weight)
    if weights.dtype.kind not in "biuf":
        raise DataTypeError(f"sample_weight has dtype {weights.dtype}, which holds no real numbers")
    return weights.astype(np.float64)


def to_rows(
    estimator: Any, X: Any, sample_weight: Any, chunk_rows: Callable[[int], int], *, reset: bool
) -> tuple[Rows, np.dtype[Any]]:
    """Make rows of a table in memory or of a dask array.

    Parameters
    ----------
    estimator : estimator
        Remembers, or is asked for, the number and names of the features.
    X, sample_weight
        What the user gave.
    chunk_rows : callable
        From the number of features to the rows of a chunk, for tables in memory.
    reset : bool
        True in ``fit``.

    Returns
    -------
    rows : Rows
    dtype : dtype
        float32 or float64: what the fitted attributes will have.
    """
    if isinstance(X, da.Array):
        check_table(X.ndim, X.shape, X.dtype)
        check_features(estimator, int(X.shape[1]), reset=reset)
        if isinstance(sample_weight, numbers.Real):
            sample_weight = da.full_like(X[:, 0], sample_weight, dtype=np.float64)
        rows = Rows.from_dask(X, sample_weight)
        dtype = np.float32 if X.dtype == np.float32 else np.float64
        return rows, np.dtype(dtype)
    array = to_array(estimator, X, reset=reset)
    weights = to_weights(sample_weight, len(array))
    return Rows.from_array(array, weights, chunk_rows(array.shape[1])), array.dtype
