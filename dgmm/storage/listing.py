"""What is stored at a path: arrays of zarr, NetCDF or ``.npy``, columns of Parquet, without reading them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zarr

from dgmm.storage.arrays import as_dask, dimension_names, open_array, open_node, reading
from dgmm.storage.groups import read_netcdf
from dgmm.storage.model import LAYOUTS, Layout
from dgmm.storage.netcdf import NETCDF
from dgmm.storage.parquet import count_rows, is_parquet, open_parquet
from dgmm.storage.replacing import is_zarr
from dgmm.storage.urls import ObjectUrl, locate_output

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from dgmm.storage.urls import Location


@dataclass(frozen=True)
class ArrayListing:
    """The metadata of one stored array."""

    name: str
    """Empty for an array that is not in a group."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    """Of the file, or of the reading; none of columns."""
    shards: tuple[int, ...] | None
    dims: tuple[str | None, ...] | None
    """Names of the dimensions, if the file has them."""


def layout_of(path: str | Location) -> Layout | None:
    """What dgmm has stored at a path or URL: a model or a feature map; None if it is neither.

    Raises
    ------
    FormatError
        If it is a zarr store whose metadata cannot be read.
    """
    place = locate_output(path)
    found = open_node(str(place)).attrs.get("format") if is_zarr(place) else None
    return LAYOUTS.get(found) if isinstance(found, str) else None


def list_arrays(path: str | Location) -> list[ArrayListing]:
    """List the arrays that are stored at a path or URL.

    Raises
    ------
    DataError, FormatError
        As :func:`dgmm.storage.arrays.open_array`.
    """
    path = locate_output(path)
    if isinstance(path, ObjectUrl) or is_zarr(path):
        node = open_node(str(path))
        with reading(str(path)):
            if isinstance(node, zarr.Array):
                return [_listing("", node, str(path))]
            return [_listing(name, array, str(path)) for name, array in sorted(node.arrays())]
    if NETCDF.matches(path):
        return [_of_variable(str(name), one) for name, one in sorted(read_netcdf(str(path)).variables.items())]
    if is_parquet(str(path)):
        frame, n_rows = open_parquet(str(path)), count_rows(str(path))
        return [ArrayListing(str(name), (n_rows,), dtype, (), None, None) for name, dtype in frame.dtypes.items()]
    x = open_array(path)
    return [ArrayListing("", x.shape, x.dtype, x.chunksize, None, None)]


def _of_variable(name: str, variable: xr.Variable) -> ArrayListing:
    chunks = tuple(sizes[0] for sizes in variable.chunks or ()) or variable.shape
    return ArrayListing(name, variable.shape, variable.dtype, chunks, None, tuple(map(str, variable.dims)))


def _listing(name: str, array: Any, place: str) -> ArrayListing:
    dims = dimension_names(array)
    x = as_dask(array, f"{place}/{name}" if name else place)
    return ArrayListing(name, array.shape, x.dtype, array.chunks, array.shards, dims or None)
