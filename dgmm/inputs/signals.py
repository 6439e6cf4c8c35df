"""What users bring of signals and images, made rows of samples, and rows of samples made signals again."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from dgmm.errors import DataError, DataTypeError, ParameterError
from dgmm.inputs.blocks import as_dask, is_lazy
from dgmm.inputs.columns import absent, listed
from dgmm.inputs.opening import found_in, open_request
from dgmm.inputs.plain import as_array
from dgmm.inputs.sources import open_source
from dgmm.inputs.stored import open_stored
from dgmm.inputs.table import Request, Table

if TYPE_CHECKING:
    from dgmm.typing import Array

_ALL = Request()

SAMPLE = "sample_of_signal"
"""The dimension that signals have while they are rows."""


# X where it is named in a message, not quoted as a name of something else.
_X = re.compile(r"(?<![\w'\"])X\b")

# What only dataframes and sparse arrays have: of those, the first are tables, the second refused.
_OTHERS = ("columns", "toarray")


@dataclass(frozen=True)
class SignalAxes:
    """What one signal looks like.

    Attributes
    ----------
    shape : tuple of int
        Samples along each axis.
    dims : tuple or None
        Names of the axes; None where they have none.
        Of flat signals that of the rows' samples.
    flat : bool
        True if signals came as rows, whatever their axes.
    variable : hashable or None
        Name of the variable of a Dataset that they were.
    coords : xarray.Coordinates or None
        Those along the axes.
    """

    shape: tuple[int, ...]
    dims: tuple[Hashable, ...] | None = None
    flat: bool = False
    variable: Hashable | None = None
    coords: xr.Coordinates | None = field(default=None, compare=False)

    @property
    def n_samples(self) -> int:
        """Samples of a signal."""
        return math.prod(self.shape)


class Signals(NamedTuple):
    """Signals that were opened, as rows of their samples, in C order.

    Attributes
    ----------
    table : Table
        Rows (rows, n).
    axes : SignalAxes
    """

    table: Table
    axes: SignalAxes


def open_signals(
    X: Any,
    *,
    shape: tuple[int, ...] | None = None,
    dims: Sequence[Hashable] | None = None,
    variable: Hashable | None = None,
    request: Request = _ALL,
) -> Signals:
    """Open signals as rows of their samples; nothing is computed.

    Parameters
    ----------
    X : array-like, dask array, DataArray, Dataset of one variable, dataframe, zarr object, path or Signals
        Signals along the first axis, (rows, *shape), or flattened, (rows, n). Signals stay what they are.
    shape : tuple of int, optional
        Of a signal; where it is left out, that of all axes but the first.
    dims : sequence, optional
        Dimensions of the signals, of something labelled; all others are sample dimensions. By default all but the
        sample dimensions that are asked for, those of the shape, the last ones, or all but the first.
    variable : hashable, optional
        Of a Dataset, if it has several: that of a fit. Else the only one that has the dimensions.
    request : Request
        What else is asked for, as of :func:`dgmm.open_rows`; ``features`` and ``fitted`` of tables, and
        ``feature_dims``, the dimensions of signals of a fit, of what is labelled.

    Returns
    -------
    Signals

    Raises
    ------
    DataError, DataTypeError, ParameterError
        If there is no such signal in it. Whether rows have as many samples as the shape is for the caller to see.
    """
    if isinstance(X, Signals):
        if not X.axes.flat:
            _agreed(X.axes.shape, shape)
        return X
    if isinstance(X, (str, os.PathLike)):
        X, request = found_in(partial(open_source, X), request)
    elif isinstance(X, (zarr.Array, zarr.Group)):
        X, request = found_in(partial(open_stored, X), request)
    wanted = request.feature_dims if dims is None else dims
    if isinstance(X, xr.Dataset):
        X, request = _variable(X, wanted, variable, request)
        variable = X.name
    if isinstance(X, xr.DataArray):
        table, axes = _labelled(X, shape, wanted, request)
        return Signals(table, replace(axes, variable=variable))
    if dims is not None:
        raise ParameterError(
            f"signal_dims is {dims!r}, but X is a {type(X).__name__}, whose dimensions have no names; give signal_shape"
        )
    if not isinstance(X, (da.Array, Table)) and not any(hasattr(X, name) for name in _OTHERS):
        X = as_array(X)
    if isinstance(X, (da.Array, np.ndarray)) and X.ndim > 2:
        axes = SignalAxes(_agreed(X.shape[1:], shape))
        return Signals(open_request(_flattened(X, 1), request), axes)
    table = open_request(X, request)
    return Signals(table, SignalAxes(shape or (int(table.X.shape[1]),), None, flat=True))


@contextmanager
def signals_called(name: str) -> Iterator[None]:
    """Errors about signals that are not X say what they are."""
    try:
        yield
    except (DataError, DataTypeError, ParameterError) as error:
        text = _X.sub(name, str(error))
        raise type(error)(text if name in text else f"{name}: {text}") from error


def _agreed(found: tuple[Any, ...], shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of the signals, if it is known, and the expected one."""
    if any(size != size for size in found):
        raise DataError(
            f"X has signals of shape {found}, of which Dask does not know how many samples they have; call "
            "compute_chunk_sizes() of the dask array first"
        )
    found = tuple(map(int, found))
    if not all(found):
        raise DataError(f"X has signals of shape {found}, without samples; give at least one along each axis")
    if shape is not None and found != shape:
        raise DataError(f"X has signals of shape {found}; expected {shape}")
    return found


def _variable(
    source: xr.Dataset, dims: Sequence[Hashable] | None, fitted: Hashable | None, request: Request
) -> tuple[xr.DataArray, Request]:
    """The variable of a Dataset, beside those of weights and labels, that a fit had, or else is the only one."""
    given = {key: value for key in ("sample_weight", "labels") if isinstance(value := getattr(request, key), str)}
    beside: dict[str, Any] = {key: source[name] for key, name in given.items() if name in source}
    names = [name for name in source.data_vars if name not in given.values()]
    if fitted in names:
        names = [fitted]
    elif dims is not None:  # others, as weights that only the fit was told of, are no signals
        names = [name for name in names if {*dims} <= {*source[name].dims}] or names
    if len(names) != 1:
        raise DataError(
            f"X is a Dataset of the variables {listed(names)}, and signals are one variable; give X[name], or stack "
            "them to one: X.to_dataarray()"
        )
    return source[names[0]], replace(request, **beside)


def _labelled(
    X: xr.DataArray, shape: tuple[int, ...] | None, dims: Sequence[Hashable] | None, request: Request
) -> Signals:
    signal_dims = _signal_dims(X, shape, dims, request.sample_dims)
    samples = tuple(dim for dim in X.dims if dim not in signal_dims)
    if not signal_dims:
        raise DataError(
            f"X has the dimensions {listed(X.dims)}, none of which is left for a signal; signals need a dimension "
            "besides those that they lie along"
        )
    if not samples:
        raise DataError(
            f"X has the dimensions {listed(X.dims)}, all of which are those of one signal; signals need a further "
            "dimension, or name fewer in signal_dims"
        )
    if SAMPLE in samples:
        raise DataError(f"X has a dimension {SAMPLE!r}, as those of signals are called here; rename it")
    X = X.transpose(*samples, *signal_dims)
    found = tuple(X.sizes[dim] for dim in signal_dims)
    flat = shape is not None and len(shape) > 1 and found == (math.prod(shape),)
    sizes = _agreed(found, None if flat else shape)
    if X.chunks is None and is_lazy(X):
        X = X.copy(data=as_dask(X, [None] * len(samples) + [(X.sizes[dim],) for dim in signal_dims]))
    rows = xr.DataArray(
        _flattened(X.data, len(samples)),
        dims=(*samples, SAMPLE),
        coords={name: coord for name, coord in X.coords.items() if {*coord.dims} <= {*samples}},
        name=X.name,
        attrs=X.attrs,  # they may say which values are missing
    )
    rows.encoding = X.encoding
    table = open_request(rows, replace(request, sample_dims=samples, feature_dims=None))
    others = [name for name, coord in X.coords.items() if not coord.dims or not {*coord.dims} <= {*signal_dims}]
    axes = SignalAxes(
        shape if flat and shape else sizes,
        signal_dims,
        flat=flat,
        coords=X.coords.to_dataset().drop_vars(others).coords,
    )
    return Signals(replace(table, feature_names=None), axes)


def _signal_dims(
    X: xr.DataArray,
    shape: tuple[int, ...] | None,
    dims: Sequence[Hashable] | None,
    sample_dims: Sequence[Hashable] | None,
) -> tuple[Hashable, ...]:
    for key, given in (("signal_dims", dims), ("sample_dims", sample_dims)):
        for dim in given or ():
            if dim not in X.dims:
                raise DataError(f"{key}: {absent(dim, X.dims, 'the dimensions of X')}")
        if given is not None and len({*given}) < len(given):
            raise ParameterError(f"{key} names a dimension twice: {listed(given)}; name each once")
    if sample_dims is not None:
        rest = tuple(dim for dim in X.dims if dim not in sample_dims)
        if dims is not None and {*dims} != {*rest}:
            raise ParameterError(
                f"sample_dims: {listed(sample_dims)} leave the dimensions {listed(rest)} for a signal, and signal_dims "
                f"are {listed(dims)}; leave one of them out"
            )
        return rest if dims is None else tuple(dims)
    if dims is not None:
        return tuple(dims)
    if shape is None or X.ndim < 2:
        return X.dims[1:]
    last = X.dims[-len(shape) :]
    if tuple(X.sizes[dim] for dim in last) != shape and X.shape[-1] == math.prod(shape):
        return X.dims[-1:]
    return last if len(shape) < X.ndim or X.shape == shape else X.dims[1:]


def _flattened(X: Any, n_leading: int) -> Any:
    """The last axes of an array made one; of a lazy one, chunk by chunk."""
    return _reshaped(X, n_leading, (math.prod(map(int, X.shape[n_leading:])),))


def signals_of(rows: Any, axes: SignalAxes) -> Any:
    """Rows of samples, (..., n), as signals again, (..., *shape), if they came so; lazy where the rows are."""
    if isinstance(rows, xr.DataArray):
        shape = (axes.n_samples,) if axes.flat else axes.shape
        dims = axes.dims or tuple(f"signal_{i}" for i in range(len(shape)))
        data, rows = _reshaped(rows.data, rows.ndim - 1, shape), rows.drop_vars(SAMPLE)
        signals = xr.DataArray(data, dims=(*rows.dims[:-1], *dims), coords=rows.coords, name=rows.name)
        if axes.coords is None:
            return signals
        taken = [name for name in axes.coords if name in rows.coords or name in rows.dims]
        return signals.assign_coords(axes.coords.to_dataset().drop_vars(taken).coords)
    return rows if axes.flat else _reshaped(rows, 1, axes.shape)


def _reshaped(X: Any, n_leading: int, shape: tuple[int, ...]) -> Any:
    """Axes after the leading ones brought to another shape."""
    if not isinstance(X, da.Array):
        X = np.ma.asarray(X) if np.ma.isMaskedArray(X) else np.asarray(X)
        return X.reshape(*X.shape[:n_leading], *shape)
    X = X.rechunk(dict.fromkeys(range(n_leading, X.ndim), -1))
    new = dict(enumerate(shape, X.ndim))
    # Not map_blocks, which would copy each block: it joins those along axes that are dropped.
    return da.blockwise(
        _reshape_block,
        (*range(n_leading), *new),
        X,
        tuple(range(X.ndim)),
        new_axes=new,
        dtype=X.dtype,
        meta=np.empty((0,) * (n_leading + len(shape)), dtype=X.dtype),
        n_leading=n_leading,
        shape=shape,
    )


def _reshape_block(block: Any, n_leading: int, shape: tuple[int, ...]) -> Array:
    while isinstance(block, list):  # of the only block along each axis
        (block,) = block
    reshaped: Array = block.reshape(*block.shape[:n_leading], *shape)
    return reshaped
