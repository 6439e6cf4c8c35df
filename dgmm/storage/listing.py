"""What is stored at a path: arrays of zarr, NetCDF or ``.npy``, columns of Parquet, without reading them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from dgmm.storage.arrays import as_dask, dimension_names, open_array, open_node, reading
from dgmm.storage.groups import read_netcdf
from dgmm.storage.model import FORMAT
from dgmm.storage.netcdf import NETCDF
from dgmm.storage.parquet import count_rows, is_parquet, open_parquet
from dgmm.storage.replacing import is_zarr

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr


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


def is_model(path: str | Path) -> bool:
    """Return True if a model of dgmm is stored at ``path``.

    Raises
    ------
    FormatError
        If it is a zarr store whose metadata cannot be read.
    """
    if not is_zarr(path):
        return False
    with reading(Path(path)):
        return bool(open_node(Path(path)).attrs.get("format") == FORMAT)


def list_arrays(path: str | Path) -> list[ArrayListing]:
    """List the arrays that are stored at a path.

    Raises
    ------
    DataError, FormatError
        As :func:`dgmm.storage.arrays.open_array`.
    """
    path = Path(path)
    if is_zarr(path):
        node = open_node(path)
        with reading(path):
            if isinstance(node, zarr.Array):
                return [_listing("", node, path)]
            return [_listing(name, array, path) for name, array in sorted(node.arrays())]
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


def _listing(name: str, array: Any, path: Path) -> ArrayListing:
    dims = dimension_names(array)
    x = as_dask(array, str(path / name))
    return ArrayListing(name, array.shape, x.dtype, array.chunks, array.shards, dims or None)
