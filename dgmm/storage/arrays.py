"""Stored arrays, opened as Dask arrays: zarr in local files or in an object store, and ``.npy`` files."""

from __future__ import annotations

import math
import os
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import zarr

from dgmm.errors import DataError, FormatError, MissingExtraError, StoreError
from dgmm.storage.objects import asking
from dgmm.storage.paths import is_url, local_path
from dgmm.storage.places import check_path, folder_of
from dgmm.storage.reading import NpySource, Source, ZarrSource, open_plain, unpack, zarr_store
from dgmm.storage.replacing import MARKERS
from dgmm.storage.vetting import is_group, vet_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NPY = b"\x93NUMPY"
PART_BYTES = 2**24
"""About how much of a stored array is read at a time, where its chunks leave that open."""
_PACKING = {"_FillValue", "missing_value", "scale_factor", "add_offset"}


def open_array(path: str | os.PathLike[str], name: str | None = None) -> da.Array:
    """Open a stored array; nothing is read but its metadata.

    Parameters
    ----------
    path : path or URL
        A zarr array (format 3 or 2), a zarr group, or a ``.npy`` file; zarr also in an object store.
    name : str, optional
        Name of the array within the group. Needed if the group holds several arrays; coordinates
        (one-dimensional arrays named as their own dimension) do not count.

    Returns
    -------
    dask.array.Array
        Chunks are those of :func:`read_chunks` for a zarr array, and of about
        ``array.chunk-size`` of Dask's configuration for a ``.npy`` file. Packed values (xarray's
        ``scale_factor``, ``add_offset``, ``_FillValue``) are unpacked when they are read. What cannot be
        read then is tried again, and at last a ReadError that names the store and the chunk.

    Raises
    ------
    DataError
        If there is nothing at ``path``, or the group has no array of that name, or several arrays
        and no name was given.
    FormatError
        If what lies there is neither zarr nor ``.npy``.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "x.npy"), np.arange(6.0).reshape(3, 2))
    ...     print(open_array(Path(folder, "x.npy")).sum().compute())
    15.0
    """
    place = locate(path)
    require(place)
    if not is_url(place) and Path(place).is_file():
        if name is not None:
            raise DataError(f"{place}: a file holds one array without a name; remove the name {name!r}")
        return open_npy(Path(place))
    node = open_node(place)
    with reading(place):
        if isinstance(node, zarr.Group):
            name = choose_array(place, dict(node.arrays()), name)
            return as_dask(node[name], f"{place}/{name}")
        if name is not None:
            raise DataError(f"{place}: this is an array itself, without names in it; remove the name {name!r}")
        return as_dask(node, place)


def locate(path: str | os.PathLike[str]) -> str:
    """Return a path made absolute, or a URL of an object store, checked; nothing need be there.

    Raises
    ------
    ParameterError
        If it is neither, or a URL that cannot be read.
    """
    if not (isinstance(path, (str, os.PathLike)) and is_url(path)):
        return str(local_path(path).absolute())
    folder = folder_of(check_path(path))
    return os.fspath(path).rstrip("/") if folder is None else str(local_path(folder))


def require(place: str, expected: str = "a zarr store or a .npy file") -> None:
    """Refuse a path at which there is nothing; raises DataError."""
    if not (is_url(place) or Path(place).exists()):
        raise DataError(f"{place}: there is no such file or folder; expected {expected}")


def open_npy(path: Path) -> da.Array:
    """Open a ``.npy`` file; raises FormatError if it is none that holds numbers."""
    try:
        with path.open("rb") as file:
            if file.read(len(_NPY)) != _NPY:
                raise FormatError(
                    f"{path}: neither a zarr store nor a .npy file, NetCDF or Parquet (.npz archives are not read)"
                )
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        chunks = ("auto", *found.shape[1:]) if found.ndim else ()
        return lazily(NpySource(str(path), found.shape, found.dtype), chunks)
    except FormatError:
        raise
    except Exception as error:  # whatever numpy stumbles over in a foreign header
        raise FormatError(f"{path}: not a .npy file of numbers that can be read: {error}") from error


@contextmanager
def reading(place: str | Path) -> Iterator[None]:
    """Say of whatever goes wrong with a store's metadata where they lie; raises FormatError."""
    try:
        with asking(str(place), "read") if is_url(place) else nullcontext():
            yield
    except (DataError, FormatError, MissingExtraError, StoreError):
        raise
    except Exception as error:  # whatever zarr stumbles over in a foreign file
        raise FormatError(
            f"{place}: its zarr metadata cannot be read: {type(error).__name__}: {error}; write the store again"
        ) from error


def open_node(place: str | Path) -> zarr.Array[Any] | zarr.Group:
    """Open a zarr array or group for reading.

    Raises
    ------
    FormatError
        If there is none, or its metadata cannot be read.
    """
    return open_vetted(place)[0]


def open_vetted(place: str | Path) -> tuple[zarr.Array[Any] | zarr.Group, dict[str, Any]]:
    """Open a zarr array or group; with its own metadata as JSON values, by file name."""
    with reading(place):
        found = vet_store(place)
        if not found.keys() & {*MARKERS}:
            raise FormatError(
                f"{place}: not a zarr store (none of {', '.join(MARKERS)} in it); expected a zarr array, "
                "a zarr group or a .npy file"
            )
        if is_group(found):
            return zarr.open_group(zarr_store(place), mode="r", use_consolidated=False), found
        return open_plain(place), found


def choose_array(path: str | Path, arrays: Mapping[str, zarr.Array[Any]], name: str | None) -> str:
    """Return the name of the array that is meant: ``name``, or the only one that is no coordinate."""
    names = ", ".join(sorted(arrays)) or "none"
    if name is not None:
        if name not in arrays:
            raise DataError(f"{path}: no array {name!r} in this group; the arrays in it: {names}")
        return name
    candidates = [key for key, array in arrays.items() if dimension_names(array) != (key,)]
    if len(candidates) != 1:
        raise DataError(
            f"{path}: this group holds {len(candidates)} arrays that could be meant; give the name of one; "
            f"the arrays in it: {names}"
        )
    return candidates[0]


def dimension_names(array: zarr.Array[Any]) -> tuple[str | None, ...]:
    """Return the names of an array's dimensions; empty if it has none."""
    if array.metadata.zarr_format == 3:
        return tuple(array.metadata.dimension_names or ())
    names: Any = array.attrs.get("_ARRAY_DIMENSIONS", ())
    return tuple(names)


def as_dask(array: Any, place: str, dtype: np.dtype[Any] | None = None) -> da.Array:
    """Return a stored array as a lazy Dask array, unpacked; ``place`` says where it lies.

    Parameters
    ----------
    array : zarr.Array
    place : str
        Path or URL.
    dtype : dtype, optional
        What xarray makes of it, times among others; left out, times stay numbers.
    """
    times = dtype is not None and dtype.kind in "mMO"
    unpacked = _is_packed(array) or (dtype is not None and dtype != array.dtype)
    if unpacked:
        dtype = unpack(np.empty((0,) * array.ndim, array.dtype), array, times=times).dtype
    source = ZarrSource(place, array.shape, dtype or array.dtype, array.shards or array.chunks, unpacked, times)
    return lazily(source, read_chunks(array))


def lazily(source: Source, chunks: tuple[Any, ...]) -> da.Array:
    """Make a Dask array of a source."""
    return da.from_array(
        source, chunks=chunks, lock=False, asarray=False, meta=np.empty((0,) * source.ndim, source.dtype)
    )


def read_chunks(array: zarr.Array[Any]) -> tuple[int, ...]:
    """Return in which chunks an array is best read.

    Those of the array, if it is not sharded. Else shards (a chunk at a time they are read several
    times slower), or equal parts of long ones along the first axis, whole chunks each, of about 16
    MiB: rows that are read in each pass must not take more memory than that.
    """
    if array.shards is None:
        return array.chunks
    length, inner = array.shards[0], array.chunks[0]
    row = math.prod(array.shards[1:]) * array.dtype.itemsize
    # A shard is a whole number of chunks.
    parts = [inner * n for n in range(1, length // inner + 1) if (length // inner) % n == 0]
    fitting = [part for part in parts if part * row <= PART_BYTES]
    return (max(fitting, default=parts[0]), *array.shards[1:])


def _is_packed(array: zarr.Array[Any]) -> bool:
    dims = dimension_names(array)
    if len(dims) != array.ndim or None in dims:
        return False
    # In format 2, xarray keeps a missing-value mark in the fill value.
    marked = array.metadata.zarr_format == 2 and array.metadata.fill_value is not None
    return marked or bool(_PACKING & set(array.attrs))
