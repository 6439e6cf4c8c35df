"""One door for all that rows are made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import dask.array as da
import xarray as xr
import zarr

from dgmm.errors import ParameterError
from dgmm.inputs.columns import choose
from dgmm.inputs.frames import open_dask_frame, open_pandas
from dgmm.inputs.labelled import open_labelled
from dgmm.inputs.plain import open_dask, open_plain, refuse_variable
from dgmm.inputs.sources import open_source
from dgmm.inputs.stored import named, open_stored
from dgmm.inputs.table import Request, Table

Opener: TypeAlias = Callable[[Any, Request], Table]


def open_rows(
    source: Any,
    *,
    features: Sequence[Any] | None = None,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    sample_weight: Any = None,
    labels: Any = None,
    variable: str | None = None,
) -> Table:
    """Make rows of features of anything that holds some; nothing is computed.

    Parameters
    ----------
    source : array-like, dask array, DataArray, Dataset, dataframe of pandas or Dask, zarr object, path, URL or Table
        What the estimators take as X. A Table stays what it is.
    features : sequence of str or int, optional
        Names or numbers of the columns that are features, in that order; of a Dataset also of variables. By
        default all, but for those that are weights or labels.
    sample_dims : name or sequence of names, optional
        Of an xarray object: the dimensions that rows run over. By default all of a DataArray but
        ``band``, ``channel``, ``feature`` or ``variable``, or else the last one, and those that all variables of a
        Dataset share. One other dimension of each variable may hold features.
    sample_weight : str, array-like, dask array, DataArray or number, optional
        How many rows each row stands for, or the column or variable that says so.
    labels : str, array-like, dask array or DataArray, optional
        Known components of the rows, -1 where it is not known, or the column or variable that says so.
    variable : str, optional
        The array that is meant, of a group or file that holds several.

    Returns
    -------
    Table

    Raises
    ------
    DataError, DataTypeError, ParameterError
        If the source has not what is asked for, or holds no real numbers.
    FormatError
        If a file cannot be opened.

    Notes
    -----
    Rows of arrays with several sample dimensions come block by block, in C order of the blocks and within each,
    in the order of the dimensions of the source, so that no block is cut or moved. In memory there is one block.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from dgmm import open_rows
    >>> sea = xr.Dataset({"temp": (("y", "x"), np.ones((2, 3))), "salt": (("x", "y"), np.zeros((3, 2)))})
    >>> table = open_rows(sea)
    >>> table.X.shape, table.feature_names
    ((6, 2), ('temp', 'salt'))
    >>> table.origin.restore(np.arange(6), "labels").sizes
    Frozen({'y': 2, 'x': 3})
    """
    dims: Any = (sample_dims,) if isinstance(sample_dims, str) else sample_dims
    return open_request(source, Request(features, dims, sample_weight, labels, variable))


def open_request(source: Any, request: Request) -> Table:
    """Open a source of any kind."""
    for accepts, opener in _KINDS:
        if accepts(source):
            return opener(source, request)
    return open_plain(source, request)


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda source: isinstance(source, types)


def _named(module: str, name: str) -> Callable[[Any], bool]:
    """Whether something is of a class of a package that need not be installed."""

    def accepts(source: Any) -> bool:
        return any(kind.__name__ == name and kind.__module__.startswith(module) for kind in type(source).__mro__)

    return accepts


def _as_it_is(source: Table, request: Request) -> Table:
    """A table has weights and dimensions of its own; features of a fit are found by their names."""
    for name in ("sample_dims", "sample_weight", "labels", "variable"):
        if getattr(request, name) is not None:
            raise ParameterError(f"{name} is given beside a Table, which is made already; give it to open_rows")
    chosen = choose(source.feature_names, int(source.X.shape[1]), request, "the columns of X")
    if chosen is None:
        return source
    names = source.feature_names and tuple(source.feature_names[i] for i in chosen)
    return replace(source, X=source.X[:, chosen], feature_names=names)


def _open_path(source: str | os.PathLike[str], request: Request) -> Table:
    return _open_found(partial(open_source, source), request)


def _open_zarr(source: zarr.Array[Any] | zarr.Group, request: Request) -> Table:
    if isinstance(source, zarr.Array):
        refuse_variable(request, "a zarr array")
    return _open_found(partial(open_stored, source), request)


def _open_found(find: Callable[..., Any], request: Request) -> Table:
    """Open what ``find`` finds."""
    found, request = found_in(find, request)
    return open_request(named(found) if isinstance(found, da.Array) else found, request)


def found_in(find: Callable[..., Any], request: Request) -> tuple[Any, Request]:
    """What ``find`` finds of a variable and features, and what is still asked of it."""
    found = find(variable=request.variable, features=request.features)
    if request.variable is not None:  # what is named lies beside the variable
        given = {name: getattr(request, name) for name in ("sample_weight", "labels")}
        beside = {name: find(variable=value) for name, value in given.items() if isinstance(value, str)}
        request = replace(request, **beside)
    return found, replace(request, variable=None)


_KINDS: tuple[tuple[Callable[[Any], bool], Opener], ...] = (
    (_is(Table), _as_it_is),
    (_is(da.Array), open_dask),
    (_is(xr.DataArray, xr.Dataset), open_labelled),
    (_named("dask.dataframe", "DataFrame"), open_dask_frame),
    (_named("pandas", "DataFrame"), open_pandas),
    (_is(zarr.Array, zarr.Group), _open_zarr),
    (_is(str, os.PathLike), _open_path),
)
