"""zarr's own objects as what the other kinds take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import xarray as xr
import zarr
from zarr.storage import LocalStore

from dgmm.errors import DataError
from dgmm.inputs.columns import absent, listed
from dgmm.storage import arrays


def from_zarr_array(array: zarr.Array[Any]) -> xr.DataArray | da.Array:
    """A DataArray where dimensions have names or are more than rows and features, else a dask array."""
    return named(_dask(array), arrays.dimension_names(array), array.basename or None, array.attrs)


def named(values: da.Array, dims: tuple[str | None, ...], name: str | None, attrs: Any) -> xr.DataArray | da.Array:
    """The same for a dask array with the names of its dimensions."""
    known = len(dims) == values.ndim and all(dims) and len({*dims}) == len(dims)
    if not known and values.ndim <= 2:
        return values
    return xr.DataArray(values, dims=dims if known else None, name=name, attrs=dict(attrs))


def from_zarr_group(group: zarr.Group, variable: str | None) -> xr.DataArray | xr.Dataset | da.Array:
    """One array of a group: the one that is named, or the only one; else the Dataset of all.

    Raises
    ------
    DataError
        If there is no array, or none of that name, or several that are no Dataset.
    """
    where = f"the zarr group {group.name}"
    members = dict(sorted(group.arrays()))  # stores list them in any order
    dims = {name: arrays.dimension_names(array) for name, array in members.items()}
    data = {name for name in members if dims[name] != (name,)}
    if not data:
        raise DataError(f"{where} holds no arrays of data; it has: {listed(sorted(members))}")
    if variable is not None:
        if variable not in members:
            raise DataError(f"variable: {absent(variable, sorted(members), where)}")
        data = {variable}
    nameless = sorted(name for name in data if len(dims[name]) != members[name].ndim or None in dims[name])
    if nameless:
        if len(data) > 1:
            raise DataError(
                f"{where} holds {len(data)} arrays, and the dimensions of {listed(nameless)} have no names, so that "
                "they cannot be brought together; give the variable that is meant"
            )
        return from_zarr_array(members[next(iter(data))])
    own = {dim for name in data for dim in dims[name]}
    within = [name for name in members if name in data or (dims[name] == (name,) and name in own)]
    found = xr.Dataset({name: (dims[name], _dask(members[name]), dict(members[name].attrs)) for name in within})
    found = xr.decode_cf(found.assign_attrs(dict(group.attrs)), mask_and_scale=False)
    return found[next(iter(data))] if len(data) == 1 else found


def _dask(array: zarr.Array[Any]) -> da.Array:
    """Lazily: files are opened where they are read; other stores travel as they are."""
    store = array.store
    if isinstance(store, LocalStore):
        return arrays.as_dask(array, str(Path(store.root, array.path)))
    return da.from_array(array, chunks=arrays.read_chunks(array), lock=False)
