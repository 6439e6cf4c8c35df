"""Dataframes of pandas and Dask as rows of features: columns by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from dask.highlevelgraph import HighLevelGraph
from dask.tokenize import tokenize

from dgmm.errors import DataError
from dgmm.inputs.columns import absent, choose, text_names
from dgmm.inputs.plain import PlainOrigin, refuse_names, rows_of_labels, rows_of_weights
from dgmm.inputs.table import Part, Request, Table
from dgmm.passes.rows import check_dtype, check_table


@dataclass(frozen=True)
class FrameOrigin:
    """A dask dataframe: what is said of its rows is a series or a dataframe with its index and divisions."""

    index: Any
    empty: Any
    """An index of pandas of that type, without rows."""

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
        found = self._frame([Part(name, values, columns)])
        return found if columns is not None else found[name]

    def join(self, parts: Sequence[Part]) -> Any:
        """Return a dask dataframe with the columns of all parts."""
        # That of a dimension is told from those of others by what it holds.
        return self._frame([replace(part, columns=part.columns and (part.name, part.columns[1])) for part in parts])

    def _frame(self, parts: Sequence[Part]) -> Any:
        names = tuple((part.name,) if part.columns is None else _headings(*part.columns) for part in parts)
        dtypes = [part.values.dtype for part in parts]
        empty = [np.empty((0, len(own)), dtype) for own, dtype in zip(names, dtypes, strict=True)]
        meta = _columns_of(self.empty, *empty, names=names)
        # Dask's own from_dask_array makes a name of all tasks, which takes it milliseconds for each.
        index = self.index
        name = f"rows-{tokenize(index._name, *(part.values.name for part in parts))}"
        keys = [(name, i) for i in range(index.npartitions)]
        rows = partial(_columns_of, names=names)
        tasks = {
            key: (rows, own, *((part.values.name, i, *(0,) * (part.values.ndim - 1)) for part in parts))
            for i, (key, own) in enumerate(zip(keys, index.__dask_keys__(), strict=True))
        }
        needed = [index, *(part.values for part in parts)]
        graph = HighLevelGraph.from_collections(name, tasks, dependencies=needed)
        layer = _Layer(name, dict(parts[0].values.__dask_optimize__(graph, keys)))
        return _frames().from_graph(layer, meta, index.divisions, keys, "rows")


class _Layer(Mapping[Any, Any]):
    """Tasks that Dask need not look at to give them a name."""

    def __init__(self, name: str, tasks: dict[Any, Any]) -> None:
        self._name, self._tasks = name, tasks

    def __getitem__(self, key: Any) -> Any:
        return self._tasks[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __dask_tokenize__(self) -> str:
        return self._name


def _headings(dimension: str, labels: Sequence[Any]) -> tuple[str, ...]:
    return tuple(f"{dimension}_{label}" for label in labels)


def _columns_of(index: Any, *values: Any, names: tuple[tuple[str, ...], ...]) -> Any:
    """A dataframe of pandas with the columns of several arrays, (n,) or (n, m)."""
    frame = index.to_frame()[[]]
    for own, block in zip(names, values, strict=True):
        columns = np.asarray(block).reshape(len(frame), len(own))
        frame = frame.assign(**{heading: columns[:, i] for i, heading in enumerate(own)})
    return frame


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
    frame = source.iloc[:, wanted]
    block = frame.map_partitions(
        _block, tuple(range(len(wanted))), common, meta=np.empty((0, len(wanted)), dtype=common)
    )
    X = block if len(wanted) == len(columns) else block[:, : len(columns)]
    for i, name in enumerate(named, len(columns)):
        beside[name] = block[:, i]
    X = X.astype(dtype)
    weights, labels = rows_of_weights(beside["sample_weight"], X), rows_of_labels(beside["labels"], X)
    # Optimized as the rows are: Dask joins small partitions of few columns, and reads no others.
    index = frame.map_partitions(_index, meta=source.index._meta).optimize(fuse=False)
    return Table(X, FrameOrigin(index, source._meta.index), names, weights, labels)


def _index(frame: Any) -> Any:
    return frame.index


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
