"""Arrays of rows and features, in memory or Dask's; weights and labels that are given beside rows."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from dgmm.errors import DataError, DataTypeError, ParameterError
from dgmm.inputs.columns import choose
from dgmm.inputs.table import Table
from dgmm.passes.rows import (
    check_not_lazy,
    check_table,
    chunk_lengths,
    in_memory,
    matching_rows,
    mismatch,
)
from dgmm.passes.shards import check_unmasked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dgmm.inputs.table import Part, Request
    from dgmm.typing import Array


@dataclass(frozen=True)
class PlainOrigin:
    """Arrays: what is said of rows is an array as it is."""

    sample_dims = None
    feature_dims = None

    def restore(
        self,
        values: Any,
        name: str,
        *,
        columns: tuple[str, Sequence[Any]] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the values."""
        return values

    def join(self, parts: Sequence[Part]) -> Any:
        """Return the values of each."""
        return tuple(part.values for part in parts)


def open_dask(X: da.Array, request: Request) -> Table:
    """Take a dask array, (n, d), of any chunks."""
    refuse_names(request, "a dask array", "array")
    check_table(X.ndim, X.shape, X.dtype)
    chosen = choose(None, int(X.shape[1]), request, "X")
    if chosen is not None:
        X = X[:, chosen]
    weights = rows_of_weights(request.sample_weight, X)
    return Table(X, PlainOrigin(), None, weights, rows_of_labels(request.labels, X))


def open_plain(X: Any, request: Request) -> Table:
    """Take what numpy makes an array of: a table in memory, (n, d).

    Raises
    ------
    DataTypeError
        If it holds no real numbers, or is a lazy collection that is no dask array.
    DataError
        If its shape is wrong.
    """
    check_not_lazy(X, "X")
    if hasattr(X, "toarray"):
        raise DataTypeError(
            "Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert to a dense numpy "
            "array."
        )
    refuse_names(request, f"a {type(X).__name__}", "array")
    array = as_array(X)
    check_table(array.ndim, array.shape, array.dtype)
    chosen = choose(None, array.shape[1], request, "X")
    if chosen is not None:
        array = array[:, chosen]
    weights = rows_of_weights(request.sample_weight, array)
    return Table(array, PlainOrigin(), None, weights, rows_of_labels(request.labels, array))


def as_array(X: Any) -> Array:
    """Make an array of anything; raises DataError or DataTypeError where it is none."""
    check_unmasked(X, "X")
    if isinstance(X, np.matrix):
        raise DataTypeError("X is a numpy.matrix, whose products are not those of arrays; give np.asarray(X)")
    try:
        array = np.asarray(X)
    except (TypeError, ValueError) as error:
        raise DataError(f"X cannot be made an array; expected rows of one length: {error}") from error
    if array.ndim == 0 and array.dtype.kind not in "biufc":
        raise DataTypeError(
            f"X is a {type(X).__name__}, which holds no real numbers; give an array of rows and features, an xarray "
            "object, a dataframe, or the path of a file"
        )
    return array


def refuse_names(request: Request, what: str, holds: str) -> None:
    """Refuse what only a source with names of its own can be asked for."""
    if request.sample_dims is not None:
        raise ParameterError(
            f"sample_dims is {request.sample_dims!r}, but X is {what}, whose dimensions have no names; leave it out, "
            "or give an xarray object"
        )
    refuse_variable(request, what)
    if holds != "array":
        return
    for name in ("sample_weight", "labels"):
        value = getattr(request, name)
        if isinstance(value, str):
            raise ParameterError(f"{name} is {value!r}, but X is {what}, which has no names; give an array")


def refuse_variable(request: Request, what: str) -> None:
    """Refuse the name of a variable where there are none to choose from."""
    if request.variable is not None:
        raise ParameterError(f"variable is {request.variable!r}, but X is {what}, of which it is no part; leave it out")


# -- weights and labels ---------------------------------------------------------------------------


def rows_of_weights(sample_weight: Any, X: Any) -> Any:
    """Weights of rows, (n,), chunked as these; a number is the weight of each row.

    Parameters
    ----------
    sample_weight : array-like, dask array, dask series, number or None
    X : array or dask array, (n, d)

    Raises
    ------
    DataError, DataTypeError
        If they do not fit the rows, or hold no real numbers.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        if isinstance(X, da.Array):
            return da.full_like(X[:, 0], sample_weight, dtype=np.float64)
        return np.full(len(X), sample_weight, dtype=np.float64)
    return _beside(sample_weight, X, "sample_weight")


def rows_of_labels(labels: Any, X: Any) -> Any:
    """Labels of rows, (n,), chunked as these; the first read looks at their values.

    Raises
    ------
    DataError, DataTypeError
        If they do not fit the rows, or are no numbers.
    """
    return None if labels is None else _beside(labels, X, "labels")


def _beside(values: Any, X: Any, name: str) -> Any:
    """Something that is given for each row, in memory or lazy as the rows are."""
    if hasattr(values, "to_dask_array"):
        values = values.to_dask_array()
    if isinstance(X, da.Array):
        lengths = chunk_lengths(X)
        return matching_rows(values, X, lengths, name)
    if isinstance(values, da.Array):
        raise ParameterError(f"{name} is a dask array and X is not; give both as dask arrays, or neither")
    array = in_memory(values, name)
    if array.shape != (len(X),):
        raise DataError(mismatch(name, array.shape, len(X)))
    return array.astype(np.float64) if name == "sample_weight" else array
