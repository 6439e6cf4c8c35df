"""What the user passes as X and sample_weight, made into rows or an array."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from sklearn.utils.validation import validate_data

from dgmm.errors import DataError, DataTypeError, ParameterError
from dgmm.mixture.missing import MARGINALIZE, any_missing
from dgmm.passes.rows import Rows, check_dtype, check_not_lazy, check_table, weights_in_memory
from dgmm.passes.shards import check_unmasked

_LONGER = 8

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
            f"{estimator.n_features_in_} features as input: give the features of the fit, in their order"
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
    check_not_lazy(X, "X")
    own: Any = X if hasattr(X, "columns") or hasattr(X, "toarray") else _as_array(X)
    if hasattr(own, "columns"):
        for name, dtype in zip(own.columns, own.dtypes, strict=True):
            check_dtype(dtype, f"column {name!r} of X")
        check_table(2, own.shape, np.dtype(np.float64))
    elif not hasattr(own, "toarray"):
        check_table(own.ndim, own.shape, own.dtype)
    try:
        with np.errstate(over="ignore"):  # what is out of float64's range is reported as infinity
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


def _as_array(X: Any) -> Array:
    check_unmasked(X, "X")
    if isinstance(X, np.matrix):
        raise DataTypeError("X is a numpy.matrix, whose products are not those of arrays; give np.asarray(X)")
    try:
        array = np.asarray(X)
    except (TypeError, ValueError) as error:
        raise DataError(f"X cannot be made an array; expected rows of one length: {error}") from error
    if array.ndim == 0 and array.dtype.kind not in "biufc":
        raise DataTypeError(
            f"X is a {type(X).__name__}, which holds no real numbers; give an array of rows and features "
            "(open a file first: dask.array.from_zarr, numpy.load)"
        )
    return array


def to_weights(sample_weight: Any, n_rows: int) -> FloatArray | None:
    """Make weights for rows in memory, (n,); a number is the weight of each row."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        return np.full(n_rows, sample_weight, dtype=np.float64)
    if isinstance(sample_weight, da.Array):
        raise ParameterError("sample_weight is a dask array and X is not; give both as dask arrays, or neither")
    return weights_in_memory(sample_weight).astype(np.float64)


def to_rows(
    estimator: Any, X: Any, sample_weight: Any, chunk_rows: Callable[[int], int], *, reset: bool
) -> tuple[Rows, np.dtype[Any]]:
    """Make rows of a table in memory or of a dask array.

    Parameters
    ----------
    estimator : estimator
        Remembers, or is asked for, the number and names of the features; says what is done about missing values.
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
        rows = Rows.from_dask(X, sample_weight).with_missing(estimator.missing)
        dtype = np.float32 if X.dtype == np.float32 else np.float64
        return rows, np.dtype(dtype)
    array = to_array(estimator, X, reset=reset)
    weights = to_weights(sample_weight, len(array))
    length = rows_together(estimator.missing, array, chunk_rows(array.shape[1]))
    return Rows.from_array(array, weights, length).with_missing(estimator.missing), array.dtype


def rows_together(missing: str, X: Array, chunk_rows: int) -> int:
    """Rows of the chunks that an array in memory, (n, d), is cut into.

    More where values are missing that are marginalized: each pattern of a chunk has its price, whatever its rows.
    """
    return chunk_rows * (_LONGER if missing == MARGINALIZE and any_missing(X) else 1)
