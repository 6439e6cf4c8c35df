"""What the user passes as X and what goes with it, opened, compared with the fit, and made rows."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from sklearn.utils.validation import check_array

from dgmm.errors import DataError, DataTypeError
from dgmm.inputs.opening import open_request
from dgmm.inputs.table import Request, Table
from dgmm.mixture.missing import MARGINALIZE, any_missing
from dgmm.passes.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from dgmm.typing import Array

# How many times longer chunks are where values are missing.
_LONGER = 8


def open_table(
    estimator: Any,
    X: Any,
    sample_weight: Any = None,
    labels: Any = None,
    *,
    sample_dims: Any = None,
    reset: bool,
) -> Table:
    """Open what the user gave as rows with the features of the estimator.

    Parameters
    ----------
    estimator : estimator
        Remembers, or is asked for, the number and names of the features, and the dimensions.
    X, sample_weight, labels, sample_dims
        What the user gave.
    reset : bool
        True in ``fit``.

    Returns
    -------
    Table
        With float32 or float64 rows where they are in memory.

    Raises
    ------
    DataTypeError
        If it holds no real numbers.
    DataError
        If it has not the shape, names or features that it should have.
    """
    dims: Any = (sample_dims,) if isinstance(sample_dims, str) else sample_dims
    request = Request(sample_dims=dims, sample_weight=sample_weight, labels=labels)
    if not reset:
        names = getattr(estimator, "feature_names_in_", None)
        request = Request(
            sample_dims=dims,
            sample_weight=sample_weight,
            labels=labels,
            fitted=None if names is None else tuple(names),
            feature_dims=getattr(estimator, "feature_dims_", None),
        )
    return settled(estimator, open_request(X, request), reset=reset)


def settled(estimator: Any, table: Table, *, reset: bool, whole_numbers: bool = False) -> Table:
    """Rows that were opened, as scikit-learn would have them, which the estimator remembers or knows again.

    Parameters, results and errors are those of :func:`open_table`; whole numbers in memory may stay what they are.
    """
    if not isinstance(table.X, da.Array):
        keep = whole_numbers and type(table.X) is np.ndarray and table.X.dtype.kind in "biu"
        table = _checked(estimator, table, [table.X.dtype] if keep else [np.float64, np.float32])
        if not reset:
            _warn_of_names(estimator, table.feature_names)
    _remember(estimator, table, reset=reset)
    return table


def _checked(estimator: Any, table: Table, dtypes: list[Any]) -> Table:
    """Rows in memory as scikit-learn would have them."""
    try:
        with np.errstate(over="ignore"):  # what is out of float64's range is reported as infinity
            array = check_array(
                table.X,
                dtype=dtypes,
                ensure_all_finite=False,
                ensure_min_samples=1,
                estimator=estimator,
                input_name="X",
            )
    except ValueError as error:
        raise DataError(str(error)) from error
    except TypeError as error:
        raise DataTypeError(str(error)) from error
    return Table(array, table.origin, table.feature_names, table.weights, table.labels)


def _warn_of_names(estimator: Any, names: tuple[str, ...] | None) -> None:
    """Say in scikit-learn's words that the fit had names and X has none, or the other way round."""
    name, fitted = type(estimator).__name__, getattr(estimator, "feature_names_in_", None)
    if names is not None and fitted is None:
        warnings.warn(f"X has feature names, but {name} was fitted without feature names", stacklevel=6)
    if names is None and fitted is not None:
        warnings.warn(f"X does not have valid feature names, but {name} was fitted with feature names", stacklevel=6)


def _remember(estimator: Any, table: Table, *, reset: bool) -> None:
    """Remember features and dimensions, or compare the number of features with that of the fit."""
    n_features = int(table.X.shape[1])
    if not reset:
        if n_features != estimator.n_features_in_:
            raise DataError(
                f"X has {n_features} features, but {type(estimator).__name__} is expecting "
                f"{estimator.n_features_in_} features as input: give the features of the fit, in their order"
            )
        return
    estimator.n_features_in_ = n_features
    names = table.feature_names
    found = {
        "feature_names_in_": None if names is None else np.asarray(names, dtype=object),
        "sample_dims_": table.origin.sample_dims,
        "feature_dims_": table.origin.feature_dims,
    }
    for name, value in found.items():
        if value is not None:
            setattr(estimator, name, value)
        elif hasattr(estimator, name):
            delattr(estimator, name)


def to_rows(
    estimator: Any,
    X: Any,
    sample_weight: Any,
    chunk_rows: Callable[[int], int],
    *,
    reset: bool,
    labels: Any = None,
    sample_dims: Any = None,
) -> tuple[Rows, np.dtype[Any]]:
    """Make rows of anything that holds some.

    Parameters
    ----------
    estimator, X, sample_weight, sample_dims, reset
        See :func:`open_table`; the estimator also says what is done about missing values.
    chunk_rows : callable
        From the number of features to the rows of a chunk, for tables in memory.

    Returns
    -------
    rows : Rows
    dtype : dtype
        float32 or float64: what the fitted attributes will have.
    """
    table = open_table(estimator, X, sample_weight, labels, sample_dims=sample_dims, reset=reset)
    return rows_of(table, chunk_rows, estimator.missing)


def rows_of(table: Table, chunk_rows: Callable[[int], int], missing: str) -> tuple[Rows, np.dtype[Any]]:
    """Make rows of a table; parameters and results are those of :func:`to_rows`."""
    if isinstance(table.X, da.Array):
        dtype = np.float32 if table.X.dtype == np.float32 else np.float64
        return Rows.from_dask(table.X, table.weights, table.labels).with_missing(missing), np.dtype(dtype)
    length = rows_together(missing, table.X, chunk_rows(table.X.shape[1]))
    rows = Rows.from_array(table.X, table.weights, length, table.labels)
    return rows.with_missing(missing), table.X.dtype


def rows_together(missing: str, X: Array, chunk_rows: int) -> int:
    """Rows of the chunks that an array in memory, (n, d), is cut into.

    More where values are missing that are marginalized: each pattern of a chunk has its price, whatever its rows.
    """
    return chunk_rows * (_LONGER if missing == MARGINALIZE and any_missing(X) else 1)
