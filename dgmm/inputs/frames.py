"""Dataframes of pandas and Dask as rows of features: columns by name."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np

from dgmm.errors import DataError
from dgmm.inputs.columns import absent, choose, text_names
from dgmm.inputs.plain import PlainOrigin, refuse_names, rows_of_labels, rows_of_weights
from dgmm.inputs.table import Part, Request, Table
from dgmm.passes.rows import check_dtype, check_table


@dataclass(frozen=True)
class FrameOrigin:
    """A dask dataframe: what is said of its rows is a series or a dataframe with its index and divisions."""

    index: Any

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
        """Return a dask series; a dataframe where there are several columns."""
        names = name if columns is None else [f"{columns[0]}_{label}" for label in columns[1]]
        return _frames().from_dask_array(values, columns=names, index=self.index)

    def join(self, parts: Sequence[Part]) -> Any:
        """Return a dask dataframe with the columns of all parts."""
        kinds = []
        for part in parts:
            if part.columns is None:
                kinds.append((part.name, part.values.dtype))
            else:
                kinds += [(f"{part.name}_{label}", part.values.dtype) for label in part.columns[1]]
        dtype = np.dtype(kinds)
        values = [part.values if part.columns is not None else part.values[:, None] for part in parts]
        records = da.blockwise(
            _records,
            "i",
            *(item for value in values for item in (value, ("i", f"columns of {value.name}"))),
            concatenate=True,
            align_arrays=False,
            dtype=dtype,
            meta=np.empty(0, dtype=dtype),
            fields=dtype,
        )
        return _frames().from_dask_array(records, columns=list(dtype.names or ()), index=self.index)


def _records(*values: Any, fields: np.dtype[Any]) -> Any:
    records = np.empty(len(values[0]), dtype=fields)
    columns = [column for value in values for column in value.T]
    for name, column in zip(fields.names or (), columns, strict=True):
        records[name] = column
    return records


def _frames() -> Any:
    # Who has one of its dataframes has imported it.
    return sys.modules["dask.dataframe"]


def open_pandas(source: Any, request: Request) -> Table:
    """Take a dataframe in memory."""
    refuse_names(request, "a pandas DataFrame", "frame")
    names, columns = _columns(source, request)
    dtype = _common(source, columns)
    check_table(2, (len(source), len(columns)), dtype)
    X = _block(source, columns, dtype)
    weights, labels = (_beside(source, request, name) for name in ("sample_weight", "labels"))
    return Table(X, PlainOrigin(), names, rows_of_weights(weights, X), rows_of_labels(labels, X))


def open_dask_frame(source: Any, request: Request) -> Table:
    """Take a dask dataframe; a partition is a chunk, of unknown length."""
    refuse_names(request, "a dask DataFrame", "frame")
    names, columns = _columns(source, request)
    dtype = _common(source, columns)
    check_table(2, (np.nan, len(columns)), dtype)
    beside = {name: getattr(request, name) for name in ("sample_weight", "labels")}
    named = {name: _place(source, value, name) for name, value in beside.items() if isinstance(value, str)}
    wanted = [*columns, *named.values()]
    # Columns that are taken together are read together.
    common = np.result_type(dtype, np.float64) if named else dtype
    block = source.iloc[:, wanted].map_partitions(
        _block, tuple(range(len(wanted))), common, meta=np.empty((0, len(wanted)), dtype=common)
    )
    X = block if len(wanted) == len(columns) else block[:, : len(columns)]
    for i, name in enumerate(named, len(columns)):
        beside[name] = block[:, i]
    X = X.astype(dtype)
    weights, labels = rows_of_weights(beside["sample_weight"], X), rows_of_labels(beside["labels"], X)
    return Table(X, FrameOrigin(source.index), names, weights, labels)


def _columns(frame: Any, request: Request) -> tuple[tuple[str, ...] | None, list[int]]:
    """Names of the features, and the numbers of their columns in the frame."""
    beside = {
        _place(frame, value, name)
        for name, value in (("sample_weight", request.sample_weight), ("labels", request.labels))
        if isinstance(value, str)
    }
    rest = [i for i in range(len(frame.columns)) if i not in beside]
    names = text_names([frame.columns[i] for i in rest])
    chosen = choose(names, len(rest), request, "the columns of X")
    if chosen is None:
        return names, rest
    return None if names is None else tuple(names[i] for i in chosen), [rest[i] for i in chosen]


def _place(frame: Any, column: str, name: str) -> int:
    columns = list(frame.columns)
    if column not in columns:
        raise DataError(f"{name}: {absent(column, columns, 'the columns of X')}")
    check_dtype(frame.dtypes.iloc[columns.index(column)], f"{name} (column {column!r} of X)")
    return columns.index(column)


def _beside(frame: Any, request: Request, name: str) -> Any:
    value = getattr(request, name)
    if not isinstance(value, str):
        return value
    return _block(frame, [_place(frame, value, name)], np.dtype(np.float64))[:, 0]


def _common(frame: Any, columns: Sequence[int]) -> np.dtype[Any]:
    """The dtype of the rows: float32 if numpy makes that of the columns' own, else float64."""
    kinds = []
    for i in columns:
        dtype = frame.dtypes.iloc[i]
        check_dtype(dtype, f"column {frame.columns[i]!r} of X")
        # Those of pandas that know missing values name the one that they wrap.
        kinds.append(getattr(dtype, "numpy_dtype", dtype))
    return np.dtype(np.float32 if kinds and np.result_type(*kinds) == np.float32 else np.float64)


def _block(frame: Any, columns: Sequence[int], dtype: np.dtype[Any]) -> Any:
    """Some columns as an array, (n, d), with NaN where a value is missing."""
    with np.errstate(over="ignore"):
        return frame.iloc[:, list(columns)].to_numpy(dtype=dtype, na_value=np.nan)
