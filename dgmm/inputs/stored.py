"""zarr's own objects as what the other kinds take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import xarray as xr
import zarr
from zarr.storage import LocalStore

from dgmm.errors import DataError
from dgmm.inputs.columns import absent, listed
from dgmm.inputs.sources import open_source
from dgmm.storage.arrays import dimension_names, read_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence


def open_stored(
    node: zarr.Array[Any] | zarr.Group, *, variable: str | None = None, features: Sequence[Any] | None = None
) -> Any:
    """Open a zarr array or group as :func:`~dgmm.inputs.sources.open_source` opens its path.

    What lies in files is opened by whoever reads it; other stores travel with the tasks.
    """
    if isinstance(node.store, LocalStore):
        return open_source(Path(node.store.root, node.path), variable=variable, features=features)
    if isinstance(node, zarr.Group):
        return _group(node, variable)
    return named(_dask(node), dimension_names(node), node.basename or None)


def named(values: da.Array, dims: tuple[str | None, ...] = (), name: str | None = None) -> xr.DataArray | da.Array:
    """A DataArray where dimensions have names or are more than rows and features, else a dask array."""
    known = len(dims) == values.ndim and all(dims) and len({*dims}) == len(dims)
    if not known and values.ndim <= 2:
        return values
    return xr.DataArray(values, dims=dims if known else None, name=name)


def _group(group: zarr.Group, variable: str | None) -> xr.DataArray | xr.Dataset | da.Array:
    """One array of a group: the one that is named, or the only one; else the Dataset of all."""
    where = f"the zarr group {group.name}"
    members = dict(sorted(group.arrays()))  # stores list them in any order
    data = [name for name, array in members.items() if dimension_names(array) != (name,)]
    if variable is not None:
        if variable not in members:
            raise DataError(f"variable: {absent(variable, sorted(members), where)}")
        data = [variable]
    if not data:
        raise DataError(f"{where} holds no arrays of data; it has: {listed(members)}")
    nameless = [name for name, array in members.items() if len(dimension_names(array)) != array.ndim]
    if nameless and len(data) > 1:
        raise DataError(
            f"{where} holds {len(data)} arrays, and the dimensions of {listed(nameless)} have no names, so that they "
            "cannot be brought together; give the variable that is meant"
        )
    if nameless:
        only = members[data[0]]
        return named(_dask(only), dimension_names(only), data[0])
    found = xr.open_zarr(group.store, group=group.path, chunks=None, consolidated=False)
    for name in data:
        chunks = dict(zip(found[name].dims, read_chunks(members[name]), strict=True))
        found = found.assign({name: found[name].chunk(chunks)})
    return found[data[0]] if len(data) == 1 else found[data]


def _dask(array: zarr.Array[Any]) -> da.Array:
    return da.from_array(array, chunks=read_chunks(array), lock=False)
