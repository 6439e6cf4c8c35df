"""What a model says of rows, in the files that people keep: by the suffix of their name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from dgmm.errors import DataError, DataTypeError, ParameterError
from dgmm.storage import geotiff, netcdf, parquet
from dgmm.storage.geotiff import GEOTIFF, NO_LABEL
from dgmm.storage.netcdf import NETCDF
from dgmm.storage.parquet import PARQUET
from dgmm.storage.paths import is_url
from dgmm.storage.replacing import ZARR, Form
from dgmm.storage.storing import write_zarr
from dgmm.storage.urls import locate_output
from dgmm.storage.windows import spans

if TYPE_CHECKING:
    import os

# Dimensions whose entries are columns of a table, not rows.
_COLUMN_DIMS = ("component", "rank")
_ROW = "row"

LABEL_ATTRS: Mapping[str, Any] = {
    "long_name": "component of the mixture with the largest responsibility, from 0",
    "valid_min": 0,
    "flag_values": NO_LABEL,
    "flag_meanings": "no_label",
}
"""Attributes of labels, by CF's conventions: -1 is no label, and not valid."""


@dataclass(frozen=True)
class Writer:
    """How results are written under names of one suffix.

    Attributes
    ----------
    form : Form
        What may be replaced.
    is_folder : bool
    require : callable
        Raises MissingExtraError if a package that it takes is not installed.
    check : callable
        Takes results; raises DataError if they cannot be written so, before anything is computed.
    write : callable
        Takes results, a path, and whether to overwrite.
    by_url : bool
        Whether it also takes a URL of an object store.
    """

    form: Form
    is_folder: bool
    require: Callable[[], object]
    check: Callable[[Any], object]
    write: Callable[[Any, Any, bool], None]
    by_url: bool = False


def write_results(results: Any, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write labels, probabilities or log-densities, in the format that the suffix of ``path`` names.

    Lazy results are computed and written block by block. What is written is there whole, or not at all.

    Parameters
    ----------
    results : DataArray, Dataset, array, dask array, series, dataframe, or TopProbabilities
        What ``predict``, ``predict_proba`` or ``score_samples`` returned.
    path : path or URL
        ``.zarr`` (format 3), or no suffix, also in an object store (``s3://bucket/labels.zarr``);
        ``.nc`` (NetCDF 4, extra ``netcdf``); ``.parquet``, a folder of files with
        a row for each cell, and its coordinates as columns (extra ``parquet``), where times of other calendars are
        text; ``.tif`` (GeoTIFF, extra ``geotiff``) of one result with two dimensions of space, and at most one other.
    overwrite : bool
        Replace what was written there before, if it is of the same format.

    Raises
    ------
    ParameterError
        If the suffix is none of these.
    DataError, DataTypeError
        If the results cannot be written so: those of a dask dataframe as anything but ``.parquet``, since the number
        of their rows is unknown; several results, or no raster, as ``.tif``.
    ExistsError
        If there is something at ``path`` and ``overwrite`` is False, or it is of another kind.
    MissingExtraError
        If a package that it takes is not installed.
    WriteError
        If there is no room, or no right to write.
    StoreError
        If an object store does not answer.

    Notes
    -----
    No label is -1: GeoTIFF's nodata; elsewhere ``valid_min`` and ``flag_values`` say so. Labels are written as int32
    if they came as int64.

    Examples
    --------
    >>> import tempfile, numpy as np, xarray as xr
    >>> from dgmm import write_results
    >>> labels = xr.DataArray(np.array([[0, 1], [1, -1]]), dims=("y", "x"), coords={"y": [10.0, 20.0]}, name="labels")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_results(labels, f"{folder}/labels.zarr")
    ...     read = xr.open_zarr(f"{folder}/labels.zarr").labels.load()
    >>> bool((read == labels).all()), read.dtype.name, read.attrs["flag_meanings"]
    (True, 'int32', 'no_label')
    """
    writer_of(path).write(results, locate_output(path), overwrite)


def writer_of(path: str | os.PathLike[str]) -> Writer:
    """Return how results are written under a name; raises ParameterError if its suffix is of no format for it."""
    suffix = Path(path).suffix.lower() or ".zarr"
    if suffix not in (allowed := endings(path)):
        where = " to a URL" if is_url(path) else ""
        raise ParameterError(
            f"{path}: results are written{where} as {', '.join(allowed)}; end the name with one of these"
        )
    return WRITERS[suffix]


def endings(path: str | os.PathLike[str]) -> list[str]:
    """Return the suffixes that names of results may have, by the kind of place that a path is."""
    return [suffix for suffix, writer in WRITERS.items() if writer.by_url or not is_url(path)]


# -- results as a Dataset -------------------------------------------------------------------------


def to_dataset(results: Any) -> xr.Dataset:
    """Make a Dataset of results of any kind, with names, and labels as they are written.

    Raises
    ------
    DataError
        If their number is unknown.
    DataTypeError
        If they are of no kind that an estimator returns.
    """
    if isinstance(results, xr.Dataset):
        found = results
    elif isinstance(results, xr.DataArray):
        found = results.to_dataset(name=results.name or _name(results))
    elif isinstance(results, pd.Series | pd.DataFrame):
        frame = results.to_frame(results.name or "values") if isinstance(results, pd.Series) else results
        found = xr.Dataset.from_dataframe(frame.rename_axis(index=frame.index.name or _ROW))
    elif hasattr(results, "_fields"):
        second = {"component": "rank", "probability": "rank"}
        found = xr.Dataset({name: _unnamed(getattr(results, name), second.get(name)) for name in results._fields})
    elif isinstance(results, np.ndarray | da.Array):
        found = xr.Dataset({_name(results): _unnamed(results, "component")})
    else:
        _require_frame(results, "expected what predict, predict_proba or score_samples gives")
        raise DataError(
            "how many rows a dask dataframe has is not known before it is computed; write .parquet, or compute() first"
        )
    # Files have no index of several levels: each becomes a coordinate.
    stacked = [name for name, index in found.indexes.items() if index.nlevels > 1 and name in found.dims]
    found = found.reset_index(stacked)
    return found.assign({name: _as_written(values) for name, values in found.data_vars.items()})


def _require_frame(results: Any, expected: str) -> None:
    if not (hasattr(results, "to_delayed") and hasattr(results, "divisions")):
        raise DataTypeError(f"results are of type {type(results).__name__}; {expected}")


def _name(values: Any) -> str:
    if values.dtype.kind in "iu":
        return "labels"
    return "probability" if "component" in getattr(values, "dims", ()) or values.ndim == 2 else "log_density"


def _unnamed(values: Any, second: str | None) -> xr.DataArray:
    if np.isnan(values.shape[0]):
        raise DataError("how many rows the results have is unknown; call compute_chunk_sizes() first")
    return xr.DataArray(values, dims=(_ROW, second)[: values.ndim])


def _as_written(values: xr.DataArray) -> xr.DataArray:
    encoding = values.encoding
    if _are_labels(values.name) and values.dtype == np.int64:
        values = values.astype(np.int32, keep_attrs=True)
    if values.name == "labels":
        values = values.assign_attrs({**LABEL_ATTRS, **values.attrs})
    values.encoding = encoding
    return values


def _are_labels(name: Hashable) -> bool:
    return str(name).split("_")[0] in ("labels", "component")


# -- results as rows of a table -------------------------------------------------------------------


def _rows(results: Any) -> list[Any]:
    """Dataframes, or Delayed ones, that are the rows of results of any kind."""
    if isinstance(results, pd.Series | pd.DataFrame):
        return [_narrow(results)]
    if hasattr(results, "to_delayed") and hasattr(results, "divisions"):
        return [dask.delayed(_narrow)(part) for part in results.to_delayed()]
    return _frames(to_dataset(results))


def _narrow(part: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """A dataframe whose columns have names, with labels as they are written elsewhere."""
    frame = part.to_frame(part.name or "values") if isinstance(part, pd.Series) else part
    wide = [name for name, dtype in frame.dtypes.items() if dtype == np.int64 and _are_labels(name)]
    return frame.astype(dict.fromkeys(wide, np.int32)).rename(columns=str)


def _frames(dataset: xr.Dataset) -> list[Any]:
    """One dataframe for each block of a Dataset."""
    mappings = {_mapping(values) for values in dataset.data_vars.values()}
    dataset = _wide(dataset.drop_vars([name for name in dataset.coords if name in mappings]))
    # Parquet knows no calendar but the common one.
    other = [name for name, coord in dataset.coords.items() if coord.dtype == object and _are_cftime(coord)]
    dataset = dataset.assign_coords({name: dataset[name].astype(str) for name in other})
    dims = tuple(dict.fromkeys(dim for values in dataset.data_vars.values() for dim in values.dims))
    # Cells are known by where they lie, where coordinates do not say it.
    missing = {dim: np.arange(dataset.sizes[dim]) for dim in dims if dim not in dataset.coords}
    dataset = dataset.assign_coords(missing).unify_chunks()
    lazy = [name for name, variable in dataset.variables.items() if variable.chunks is not None]
    if not lazy:
        return [_frame(dataset, dims)]
    arrays = dict(zip(lazy, dask.optimize(*(dataset[name].data for name in lazy)), strict=True))
    blocks = {name: x.to_delayed(optimize_graph=False) for name, x in arrays.items()}
    known = dataset.drop_vars(lazy)
    along = [spans(dataset.chunks.get(dim, (dataset.sizes[dim],))) for dim in dims]
    frames = []
    for index in itertools.product(*(range(len(parts)) for parts in along)):
        at = dict(zip(dims, index, strict=True))
        region = {dim: parts[at[dim]] for dim, parts in zip(dims, along, strict=True)}
        parts = {
            name: (dataset[name].dims, blocks[name][tuple(at[dim] for dim in dataset[name].dims)]) for name in lazy
        }
        frames.append(dask.delayed(_block_frame)(known.isel(region), parts, dims, list(dataset.data_vars)))
    return frames


def _block_frame(known: xr.Dataset, parts: dict[Any, Any], dims: tuple[Hashable, ...], order: list[Any]) -> Any:
    block = known.assign(parts)
    return _frame(block.set_coords([name for name in parts if name not in order])[order], dims)


def _frame(dataset: xr.Dataset, dims: tuple[Hashable, ...]) -> pd.DataFrame:
    return dataset.to_dataframe(dim_order=list(dims)).reset_index()


def _wide(dataset: xr.Dataset) -> xr.Dataset:
    """Give each component, or rank, a variable of its own."""
    found: dict[str, Any] = {}
    for name, values in dataset.data_vars.items():
        second = next((dim for dim in values.dims if dim in _COLUMN_DIMS), None)
        if second is None:
            found[str(name)] = values
        else:
            labels = values[second].to_numpy()
            found |= {f"{name}_{label}": values.isel({second: i}, drop=True) for i, label in enumerate(labels)}
    return xr.Dataset(found, attrs=dataset.attrs)


def _are_cftime(coord: xr.DataArray) -> bool:
    return coord.chunks is None and any(hasattr(value, "calendar") for value in coord.to_numpy().flat[:1])


def _mapping(values: xr.DataArray) -> Any:
    return values.encoding.get("grid_mapping", values.attrs.get("grid_mapping", "spatial_ref"))


# -- the table of formats -------------------------------------------------------------------------


def _one(results: Any) -> xr.DataArray:
    dataset = to_dataset(results)
    if len(dataset.data_vars) != 1:
        names = ", ".join(map(str, dataset.data_vars))
        raise DataError(f"a GeoTIFF holds one result, and these are several: {names}; write .zarr or .nc")
    (values,) = dataset.data_vars.values()
    return values


_TIFF = Writer(
    GEOTIFF,
    is_folder=False,
    require=geotiff.library,
    check=lambda results: geotiff.spatial_dims(_one(results)),
    write=lambda results, path, overwrite: geotiff.write_geotiff(_one(results), path, overwrite=overwrite),
)

WRITERS: Mapping[str, Writer] = {
    ".zarr": Writer(
        ZARR,
        is_folder=True,
        require=lambda: None,
        check=to_dataset,
        write=lambda results, path, overwrite: write_zarr(to_dataset(results), path, overwrite=overwrite),
        by_url=True,
    ),
    ".nc": Writer(
        NETCDF,
        is_folder=False,
        require=netcdf.library,
        check=to_dataset,
        write=lambda results, path, overwrite: netcdf.write_netcdf(to_dataset(results), path, overwrite=overwrite),
    ),
    ".parquet": Writer(
        PARQUET,
        is_folder=True,
        require=parquet.library,
        check=lambda results: None,
        write=lambda results, path, overwrite: parquet.write_parquet(_rows(results), path, overwrite=overwrite),
    ),
    ".tif": _TIFF,
    ".tiff": _TIFF,
}
"""How results are written, by the suffix of their name."""
