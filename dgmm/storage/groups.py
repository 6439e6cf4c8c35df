"""Labelled arrays that are stored together: zarr groups and NetCDF files as xarray sees them, read by dgmm."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from dgmm.errors import DataError, FormatError, MissingExtraError
from dgmm.storage.arrays import PART_BYTES, as_dask, choose_array, dimension_names, lazily, open_vetted, reading
from dgmm.storage.reading import NetcdfSource, zarr_store
from dgmm.storage.vetting import listed_names

if TYPE_CHECKING:
    from collections.abc import Callable

_CLASSIC = (b"CDF\x01", b"CDF\x02")
_NETCDF = (*_CLASSIC, b"CDF\x05", b"\x89HDF")
# A coordinate is one also where only an attribute of a variable says so; a number of days is a number.
_DECODING: dict[str, Any] = {"decode_coords": "all", "decode_timedelta": False}


def open_zarr(place: str, variable: str | None = None) -> xr.Dataset | xr.DataArray | da.Array:
    """Open a zarr array or group; nothing is read but metadata and the coordinates of dimensions.

    Parameters
    ----------
    place : str
        Path or URL, from :func:`~dgmm.storage.arrays.locate`.
    variable : str, optional
        The array of a group that is meant.

    Returns
    -------
    Dataset, DataArray or dask array
        A Dataset if a group holds several arrays whose dimensions have names, and none of them was
        named; a dask array if dimensions have no names.

    Raises
    ------
    DataError
        If the group has no such array, or several arrays without names of dimensions.
    FormatError
        If the metadata cannot be read, or arrays that the group's own say of are not there.
    """
    node, found = open_vetted(place)
    with reading(place):
        if isinstance(node, zarr.Group):
            return _open_group(place, node, listed_names(found), variable)
        if variable is not None:
            raise DataError(f"{place}: this is an array itself, without names in it; remove the name {variable!r}")
        return _alone(node, place)


def _alone(array: Any, place: str) -> xr.DataArray | da.Array:
    data, dims = as_dask(array, place), _named(array)
    return data if dims is None else xr.DataArray(data, dims=dims, name=Path(place).name, attrs=_plain(array))


def _open_group(
    place: str, group: zarr.Group, listed: list[str], variable: str | None
) -> xr.Dataset | xr.DataArray | da.Array:
    arrays = dict(group.arrays())
    _require_whole(place, group, listed)
    if any(_named(array) is None for array in arrays.values()):
        # xarray opens no group in which dimensions have no names.
        name = choose_array(place, arrays, variable)
        return _alone(arrays[name], f"{place}/{name}")
    if variable is not None:
        choose_array(place, arrays, variable)
    dataset = xr.open_zarr(zarr_store(place), chunks=None, consolidated=False, **_DECODING)
    dataset = _with_data(dataset, lambda name, one: as_dask(arrays[name], f"{place}/{name}", one.dtype))
    if variable is not None:
        return dataset[variable]
    # Folders are listed in no order: that of a group's own metadata, or else of the names.
    order = [name for name in listed or sorted(arrays) if name in dataset.data_vars]
    return _only(dataset[order])


def _require_whole(place: str, group: zarr.Group, listed: list[str]) -> None:
    members = dict(group.members())
    if gone := sorted({*listed} - members.keys()):
        raise FormatError(
            f"{place}: {', '.join(gone)}: not there, although the metadata of this zarr group list it; "
            "write the group again, or fetch what is missing"
        )
    if not any(isinstance(member, zarr.Array) for member in members.values()):
        within = f"the groups in it: {', '.join(sorted(members))}; give the path of one"
        raise FormatError(
            f"{place}: there is no array in this zarr group; "
            f"{within if members else 'was its writer ended before it wrote any? write it again'}"
        )


def _named(array: Any) -> tuple[str, ...] | None:
    """Names of an array's dimensions; None unless each has one of its own."""
    names = dimension_names(array)
    if len(names) != array.ndim or not all(names) or len(set(names)) != len(names):
        return None
    return tuple(str(name) for name in names)


def _plain(array: Any) -> dict[str, Any]:
    packing = ("_ARRAY_DIMENSIONS", "_FillValue", "missing_value", "scale_factor", "add_offset")
    return {key: value for key, value in array.attrs.items() if key not in packing}


def _with_data(dataset: xr.Dataset, make: Callable[[str, xr.Variable], da.Array]) -> xr.Dataset:
    """Replace the values of all that is no index by arrays that are read by dgmm; single values are loaded."""
    lazy = {}
    for name, variable in dataset.variables.items():
        if name not in dataset.indexes:
            data = make(str(name), variable) if variable.ndim else variable.to_numpy()
            lazy[name] = xr.Variable(variable.dims, data, variable.attrs, variable.encoding)
    coords = {name: variable for name, variable in lazy.items() if name in dataset.coords}
    return dataset.assign({name: lazy[name] for name in lazy.keys() - coords.keys()}).assign_coords(coords)[
        list(dataset.data_vars)
    ]


def _only(dataset: xr.Dataset) -> xr.Dataset | xr.DataArray:
    names = list(dataset.data_vars)
    return dataset[names[0]] if len(names) == 1 else dataset


def is_netcdf(head: bytes) -> bool:
    """Whether a file that begins so is NetCDF (or HDF5)."""
    return head.startswith(_NETCDF)


def open_netcdf(place: str, variable: str | None = None) -> xr.Dataset | xr.DataArray:
    """Open a NetCDF file; nothing is read but metadata and the coordinates of dimensions.

    Parameters
    ----------
    place : str
        Path.
    variable : str, optional

    Returns
    -------
    Dataset, or DataArray
        A DataArray if there is one variable beside the coordinates, or one was named.

    Raises
    ------
    DataError
        If there is no such variable, or none.
    FormatError
        If the file is no NetCDF, or is damaged.
    MissingExtraError
        If it takes a package that is not installed.
    """
    dataset = read_netcdf(place)
    if variable is not None:
        if variable not in dataset.variables:
            names = ", ".join(map(str, dataset.data_vars)) or "none"
            raise DataError(f"{place}: no variable {variable!r} in this file; the variables in it: {names}")
        return dataset[variable]
    if not dataset.data_vars:
        raise DataError(f"{place}: there is no variable in this file beside its coordinates")
    return _only(dataset)


def read_netcdf(place: str) -> xr.Dataset:
    """Open a NetCDF file as the Dataset that it is; errors are those of :func:`open_netcdf`."""
    path = Path(place)
    with path.open("rb") as file:
        head = file.read(8)
    if not is_netcdf(head):
        raise FormatError(f"{place}: not a NetCDF file; fetch or write it again")
    engine = "scipy" if head.startswith(_CLASSIC) else "netcdf4"
    if engine == "netcdf4" and find_spec("netCDF4") is None:
        raise MissingExtraError("netCDF4", "netcdf", f"reading {path.name}")
    options = {"engine": engine, **_DECODING}
    try:
        with xr.open_dataset(path, **options) as opened:
            dataset = _with_data(opened, lambda name, one: _from_netcdf(place, name, one, engine))
            # Nothing of the file stays open.
            return dataset.assign_coords({name: opened[name].load() for name in opened.indexes})
    except Exception as error:  # whatever the library stumbles over in a foreign file
        raise FormatError(
            f"{place}: not a NetCDF file that can be read, or one that was cut short: {type(error).__name__}: {error}; "
            "fetch or write it again"
        ) from error


def _from_netcdf(place: str, name: str, variable: xr.Variable, engine: str) -> da.Array:
    source = NetcdfSource(place, variable.shape, np.dtype(variable.dtype), name, engine)
    stored = variable.encoding.get("chunksizes")
    chunks = da.core.normalize_chunks(
        "auto",
        variable.shape,
        limit=PART_BYTES,
        dtype=np.float64 if variable.dtype == object else variable.dtype,
        previous_chunks=None if stored is None else tuple(stored),
    )
    return lazily(source, chunks)
