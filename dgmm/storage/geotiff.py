"""Georeferenced rasters as GeoTIFF, with rioxarray (the extra ``geotiff``), written block by block."""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from dgmm.errors import DataError, MissingExtraError
from dgmm.storage.paths import writing
from dgmm.storage.replacing import Form, begins_with, creating_file
from dgmm.storage.storing import require_lengths
from dgmm.storage.windows import windows

if TYPE_CHECKING:
    import xarray as xr

GEOTIFF = Form("TIFF file", begins_with(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))

NO_LABEL = -1

SPACE: tuple[tuple[Hashable, Hashable], ...] = (
    ("y", "x"),
    ("lat", "lon"),
    ("latitude", "longitude"),
    ("northing", "easting"),
)
"""Names of dimensions of space, lines first."""

# Tiles that are kept until they are full; GDAL takes a twentieth of the memory of the machine if not told.
_CACHE_BYTES = 2**27


def library() -> Any:
    """Import what writes GeoTIFF; raises MissingExtraError if it is not installed."""
    try:
        import rasterio
        import rioxarray
    except ImportError as error:
        raise MissingExtraError("rioxarray", "geotiff", "a GeoTIFF") from error
    return rasterio, rioxarray


def write_geotiff(values: xr.DataArray, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a raster; lazy values are computed a few blocks at a time, and written by this process.

    Parameters
    ----------
    values : xarray.DataArray
        Two spatial dimensions (``y, x``, ``lat, lon``, or as CF's attributes or rioxarray's say), in any order, and at
        most one other, whose entries are bands. The reference system is that of its ``rio`` accessor: of its
        coordinate ``spatial_ref``, or what ``grid_mapping`` names. Whole numbers have -1 as nodata, others NaN.
    path : path
    overwrite : bool
        Replace a TIFF file that is there already; anything else is never replaced.

    Raises
    ------
    DataError
        If it is no such raster: other dimensions, or coordinates that are not evenly spaced.
    ExistsError
        If something is in the way.
    MissingExtraError
        If rioxarray is not installed.
    """
    rasterio, _ = library()
    require_lengths(values.to_dataset(name="values"))
    bands, y, x = spatial_dims(values)
    values = values.rio.set_spatial_dims(x_dim=x, y_dim=y, inplace=False)
    with warnings.catch_warnings():
        # rioxarray multiplies matrices in a way that is to go.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        transform, crs = values.rio.transform(recalc=True), values.rio.crs
    raster = (values if bands is None else values.transpose(bands, y, x)).transpose(..., y, x)
    data = raster.data if isinstance(raster.data, da.Array) else da.from_array(raster.data, chunks=raster.shape)
    data = data[None] if bands is None else data
    options: dict[str, Any] = {
        "driver": "GTiff",
        "count": data.shape[0],
        "height": data.shape[1],
        "width": data.shape[2],
        "dtype": data.dtype,
        "nodata": NO_LABEL if data.dtype.kind == "i" else np.nan if data.dtype.kind == "f" else None,
        "crs": crs,
        "transform": transform,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }
    if min(data.shape[1:]) >= 256:
        options |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    with creating_file(path, GEOTIFF, overwrite=overwrite) as temporary:
        with writing(path), warnings.catch_warnings():
            # Where a raster has no coordinates, there is nothing to say.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            opened = rasterio.open(temporary, "w", **options)
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES), opened:
            _describe(opened, raster, bands)
            for _, (band, rows, columns), block in windows({"values": data}):
                window = rasterio.windows.Window.from_slices(rows, columns)
                with writing(path):
                    opened.write(block, indexes=list(range(band.start + 1, band.stop + 1)), window=window)


def spatial_dims(values: xr.DataArray) -> tuple[Hashable | None, Hashable, Hashable]:
    """The dimension of the bands, if there is one, and those of space: y and x.

    Raises
    ------
    DataError
        As :func:`write_geotiff`.
    """
    _, rioxarray = library()
    try:
        y, x = next((pair for pair in SPACE if {*pair} <= {*values.dims}), None) or (
            values.rio.y_dim,
            values.rio.x_dim,
        )
    except rioxarray.exceptions.DimensionError as error:
        raise DataError(
            f"a GeoTIFF needs two dimensions of space, as y and x; found {', '.join(map(str, values.dims))}: name "
            "them with .rio.set_spatial_dims, or write .zarr or .nc"
        ) from error
    others = [dim for dim in values.dims if dim not in (y, x)]
    if len(others) > 1:
        raise DataError(
            f"a GeoTIFF holds one dimension beside {y} and {x}, its bands; found {', '.join(map(str, others))}: "
            "select of them, or write .zarr or .nc"
        )
    for dim in (y, x):
        _require_even(values, dim)
    return (others[0] if others else None), y, x


def _require_even(values: xr.DataArray, dim: Hashable) -> None:
    if dim not in values.coords or values.sizes[dim] < 2:
        return
    if values[dim].dtype.kind not in "iuf":
        raise DataError(
            f"the coordinate {dim} is of dtype {values[dim].dtype}; a GeoTIFF needs numbers there: write .zarr or .nc"
        )
    steps = np.diff(values[dim].to_numpy().astype(np.float64))
    if steps[0] == 0 or not np.allclose(steps, steps.mean(), rtol=1e-3, atol=0):
        raise DataError(
            f"the coordinate {dim} is not evenly spaced (steps of {steps.min():g} to {steps.max():g}), as a GeoTIFF "
            "needs it; write .zarr or .nc"
        )


def _describe(file: Any, raster: xr.DataArray, bands: Hashable | None) -> None:
    """Attributes, and what each band is."""
    tags = {str(key): str(value) for key, value in raster.attrs.items()}
    file.update_tags(**tags)
    name = str(raster.name or "values")
    labels = [None] if bands is None else [str(label) for label in raster[bands].to_numpy()]
    for number, label in enumerate(labels, 1):
        file.set_band_description(number, name if label is None else f"{name} {bands} {label}")
