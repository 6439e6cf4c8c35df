"""What lies at a path or URL, as the labelled object that it is; nothing is read but metadata."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from dgmm.errors import DataError, FormatError
from dgmm.storage.arrays import locate, open_npy, require
from dgmm.storage.groups import is_netcdf, open_netcdf, open_zarr
from dgmm.storage.parquet import is_parquet, open_parquet
from dgmm.storage.paths import is_url
from dgmm.storage.replacing import is_zarr

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

_EXPECTED = "a zarr store, a .npy file, a NetCDF file or Parquet (a file, a folder, or a pattern with *)"


@dataclass(frozen=True)
class _Kind:
    """A kind of source."""

    matches: Callable[[str], bool]
    open: Callable[..., Any]
    takes_variable: bool
    """Whether there may be several arrays in it, one of which is named."""


def _begins(path: str, size: int = 8) -> bytes:
    if not Path(path).is_file():
        return b""
    with Path(path).open("rb") as file:
        return file.read(size)


_KINDS = {
    "zarr": _Kind(lambda place: is_url(place) or is_zarr(place), open_zarr, takes_variable=True),
    ".npy": _Kind(lambda place: _begins(place).startswith(b"\x93NUMPY"), lambda p: open_npy(Path(p)), False),
    "NetCDF": _Kind(
        lambda place: is_netcdf(_begins(place)) or place.endswith((".nc", ".nc4")), open_netcdf, takes_variable=True
    ),
    "Parquet": _Kind(is_parquet, open_parquet, takes_variable=False),
}


def open_source(
    path: str | os.PathLike[str], *, variable: str | None = None, features: Sequence[Any] | None = None
) -> Any:
    """Open what lies at a path or URL; nothing is read but metadata, and the coordinates of dimensions.

    Parameters
    ----------
    path : path or URL
        A zarr array or group (also in an object store: ``s3://``, ``gs://``, ``az://``), a NetCDF file, a ``.npy``
        file, or Parquet: a file, a folder of files, or a pattern with ``*``. An object store is opened by
        whoever reads, with the credentials of its own environment.
    variable : str, optional
        The array that is meant, where there are several.
    features : sequence of str or int, optional
        Columns that will be asked for: what names the only variable gets a Dataset.

    Returns
    -------
    xarray.Dataset
        Of a zarr group or NetCDF file of several variables, none of which was named.
    xarray.DataArray
        Of one variable; of a zarr array whose dimensions have names.
    dask.array.Array
        Of a zarr array without names, or a ``.npy`` file.
    dask.dataframe.DataFrame
        Of Parquet.

    Raises
    ------
    DataError
        If there is nothing at the path, or not the variable.
    FormatError
        If what lies there is of no kind that is read, or is damaged.
    MissingExtraError
        If a package that it takes is not installed.

    Examples
    --------
    >>> import tempfile, numpy as np, xarray as xr
    >>> scene = xr.Dataset({"red": (("y", "x"), np.eye(2)), "blue": (("y", "x"), np.ones((2, 2)))})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = scene.to_zarr(f"{folder}/scene.zarr", consolidated=False)
    ...     opened = open_source(f"{folder}/scene.zarr")
    ...     print(list(opened), opened.red.dims, float(opened.red.sum()))
    ['blue', 'red'] ('y', 'x') 2.0
    """
    found = _open(locate(path), variable)
    if isinstance(found, xr.DataArray) and variable is None and found.name in (features or ()):
        return found.to_dataset()
    return found


def _open(place: str, variable: str | None) -> Any:
    for name, kind in _KINDS.items():
        if kind.matches(place):
            if kind.takes_variable:
                return kind.open(place, variable)
            if variable is not None:
                raise DataError(f"{place}: {name} holds no arrays with names; remove the name {variable!r}")
            return kind.open(place)
    require(place, _EXPECTED)
    raise FormatError(f"{place}: of no kind that is read; expected {_EXPECTED}")
