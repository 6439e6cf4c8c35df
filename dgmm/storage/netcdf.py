"""NetCDF files, written block by block."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.errors import MissingExtraError
from dgmm.storage.paths import writing
from dgmm.storage.replacing import Form, begins_with, creating_file
from dgmm.storage.storing import encoding, keep_encoding, require_lengths
from dgmm.storage.windows import windows

if TYPE_CHECKING:
    import xarray as xr

HDF5 = b"\x89HDF\r\n\x1a\n"
NETCDF = Form("NetCDF file", begins_with(b"CDF", HDF5))

# A chunk of the file is what is compressed, and read, as a whole.
_CHUNK_BYTES = 2**24


def library() -> Any:
    """Import what writes NetCDF; raises MissingExtraError if it is not installed."""
    try:
        import netCDF4
    except ImportError as error:
        raise MissingExtraError("netCDF4", "netcdf", "writing NetCDF") from error
    return netCDF4


def write_netcdf(dataset: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a Dataset as NetCDF 4; lazy values are computed a few blocks at a time, and written by this process.

    Parameters
    ----------
    dataset : xarray.Dataset
    path : path
    overwrite : bool
        Replace a NetCDF file that is there already; anything else is never replaced.

    Raises
    ------
    DataError
        If lengths are unknown.
    ExistsError
        If something is in the way.
    MissingExtraError
        If netCDF4 is not installed.
    """
    netCDF4 = library()
    require_lengths(dataset)
    dataset = dataset.copy()
    keep_encoding(dataset)
    lazy = [str(name) for name, variable in dataset.data_vars.items() if variable.chunks is not None]
    with creating_file(path, NETCDF, overwrite=overwrite) as temporary:
        with writing(path), encoding(path):
            dataset.drop_vars(lazy).to_netcdf(temporary, engine="netcdf4", format="NETCDF4")
        with netCDF4.Dataset(temporary, "a") as file:
            for name in lazy:
                _create(file, dataset, name)
            for name, region, block in windows({name: dataset[name].data for name in lazy}):
                with writing(path):
                    file.variables[name][region] = block


def _create(file: Any, dataset: xr.Dataset, name: str) -> None:
    """Create a variable with CF's attributes."""
    values = dataset[name]
    for dim, size in values.sizes.items():
        if dim not in file.dimensions:
            file.createDimension(str(dim), size)
    block = tuple(max(1, *sizes) for sizes in values.chunks or ())
    small = np.prod(block) * values.dtype.itemsize <= _CHUNK_BYTES
    variable = file.createVariable(
        name,
        values.dtype,
        tuple(map(str, values.dims)),
        compression="zlib",
        complevel=1,
        chunksizes=block if small else None,
        fill_value=False,
    )
    variable.set_auto_maskandscale(False)
    mapping = values.encoding.get("grid_mapping", values.attrs.get("grid_mapping"))
    others = sorted(str(key) for key in values.coords if key not in values.dims and key != mapping)
    attrs = {**values.attrs, **({"coordinates": " ".join(others)} if others else {})}
    if mapping is not None:
        attrs["grid_mapping"] = mapping
    # CF wants these in the type of the variable.
    attrs |= {key: values.dtype.type(attrs[key]) for key in ("valid_min", "flag_values") if key in attrs}
    variable.setncatts(attrs)
