"""Chunked arrays in local files: opened as Dask arrays, written whole or not at all."""

from __future__ import annotations

import json
import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import zarr

from dgmm.errors import DataError, FormatError
from dgmm.storage.paths import local_path, writing
from dgmm.storage.reading import NpySource, Source, ZarrSource, open_packed, open_plain
from dgmm.storage.replacing import MARKERS, is_zarr, replacing_folder
from dgmm.storage.vetting import vet_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dgmm.typing import Array

_NPY = b"\x93NUMPY"
_PART_BYTES = 2**24
_PACKING = {"_FillValue", "missing_value", "scale_factor", "add_offset"}


def open_array(path: str | Path, name: str | None = None) -> da.Array:
    """Open an array that lies in local files; nothing is read but its metadata.

    Parameters
    ----------
    path : path
        A zarr array (format 3 or 2), a zarr group, or a ``.npy`` file.
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
    path = local_path(path).absolute()
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; expected a zarr store or a .npy file")
    if path.is_file():
        if name is not None:
            raise DataError(f"{path}: a file holds one array without a name; remove the name {name!r}")
        return _open_npy(path)
    if not is_zarr(path):
        raise FormatError(
            f"{path}: not a zarr store (none of {', '.join(MARKERS)} in it); expected a zarr array, "
            "a zarr group or a .npy file"
        )
    return _open_zarr(path, name)


def read_attributes(path: str | Path, name: str) -> dict[str, Any]:
    """Return the attributes of an array in a zarr group; empty if there is no such array.

    Raises
    ------
    FormatError
        If the metadata cannot be read.
    """
    with reading(Path(path)):
        vet_store(Path(path))
        node = zarr.open_group(Path(path), mode="r", use_consolidated=False).get(name)
        return dict(node.attrs) if isinstance(node, zarr.Array) else {}


def write_array(
    x: da.Array,
    path: str | Path,
    *,
    name: str,
    dims: Sequence[str],
    attrs: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a Dask array as a zarr group with one array, which ``xarray.open_zarr`` reads.

    The group is written under a temporary name beside ``path`` and then renamed: it is there whole
    or not at all. Workers must see the same files as the caller.

    Parameters
    ----------
    x : dask.array.Array
        Chunks that differ in size along an axis are rechunked to the largest of them.
    path : path
        Folder of the new group.
    name, dims, attrs
        Name of the array, names of its dimensions, attributes that JSON can hold.
    overwrite : bool
        Replace a zarr store that is there already; anything else is never replaced.

    Raises
    ------
    DataError
        If ``x`` has unknown chunk sizes, or ``dims`` has another length than its shape.
    ExistsError
        If ``path`` exists and ``overwrite`` is False, or it is no zarr store.

    Examples
    --------
    >>> import tempfile, dask.array as da, xarray as xr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_array(da.arange(4, chunks=2), folder + "/a.zarr", name="a", dims=["row"])
    ...     print(int(xr.open_zarr(folder + "/a.zarr")["a"].sum()))
    6
    """
    if len(dims) != x.ndim:
        raise DataError(f"{name}: {x.ndim} dimensions and {len(dims)} names for them: {', '.join(dims)}")
    if any(np.isnan(size) for size in x.shape):
        raise DataError(f"{name}: the lengths of its chunks are unknown; call compute_chunk_sizes() first")
    with replacing_folder(path, overwrite=overwrite) as temporary:
        _store(x, temporary, str(path), name, dims, attrs or {})


@dataclass(frozen=True)
class _Target:
    """What a task writes its block to; opened in the task, so only a path travels."""

    folder: str
    name: str
    path: str
    """The name that the folder will have."""

    def __setitem__(self, region: tuple[slice, ...], block: Array) -> None:
        if not Path(self.folder, "zarr.json").is_file():
            # The write was given up: the folder must not come back to life.
            raise FileNotFoundError(f"{self.folder}: removed while it was written")
        with writing(self.path):
            array = zarr.open_array(Path(self.folder, self.name), mode="r+")
            array[region] = block


def _store(x: da.Array, folder: Path, path: str, name: str, dims: Sequence[str], attrs: Mapping[str, Any]) -> None:
    chunks = tuple(max(1, *sizes) for sizes in x.chunks)
    # Two tasks that share a chunk of the store would overwrite each other's part.
    x = x.rechunk(chunks)
    with writing(path):
        group = zarr.open_group(folder, mode="w-", zarr_format=3)
        group.create_array(
            name,
            shape=x.shape,
            chunks=chunks,
            dtype=x.dtype,
            dimension_names=tuple(dims),
            attributes=dict(attrs),
        )
    if x.size:
        da.store(x, _Target(str(folder), name, path), lock=False)
    with writing(path):
        consolidate(folder)


def consolidate(folder: Path) -> None:
    """Consolidate the metadata of a group, so that a plain ``xarray.open_zarr`` has no complaint."""
    with warnings.catch_warnings():
        # zarr warns that format 3 does not standardise this yet; readers without it ignore the key.
        warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
        zarr.consolidate_metadata(folder, zarr_format=3)


def _open_npy(path: Path) -> da.Array:
    try:
        with path.open("rb") as file:
            if file.read(len(_NPY)) != _NPY:
                raise FormatError(f"{path}: neither a zarr store nor a .npy file (.npz archives are not read)")
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        chunks = ("auto", *found.shape[1:]) if found.ndim else ()
        return _lazily(NpySource(str(path), found.shape, found.dtype), chunks)
    except FormatError:
        raise
    except Exception as error:  # whatever numpy stumbles over in a foreign header
        raise FormatError(f"{path}: not a .npy file of numbers that can be read: {error}") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say of whatever goes wrong with a store's metadata where they lie; raises FormatError."""
    try:
        yield
    except (DataError, FormatError):
        raise
    except Exception as error:  # whatever zarr stumbles over in a foreign file
        raise FormatError(
            f"{path}: its zarr metadata cannot be read: {type(error).__name__}: {error}; write the store again"
        ) from error


def _open_zarr(path: Path, name: str | None) -> da.Array:
    node = open_node(path)
    with reading(path):
        if isinstance(node, zarr.Group):
            name = choose_array(path, dict(node.arrays()), name)
            return as_dask(node[name], path, name)
        if name is not None:
            raise DataError(f"{path}: this is an array itself, without names in it; remove the name {name!r}")
        return as_dask(node, path.parent, path.name)


def open_node(path: Path) -> zarr.Array[Any] | zarr.Group:
    """Open a zarr array or group for reading.

    Raises
    ------
    FormatError
        If its metadata cannot be read.
    """
    with reading(path):
        vet_store(path)
        if _is_group(path):
            return zarr.open_group(path, mode="r", use_consolidated=False)
        return open_plain(path)


def _is_group(path: Path) -> bool:
    if Path(path, "zarr.json").is_file():
        return bool(json.loads(Path(path, "zarr.json").read_text()).get("node_type") == "group")
    return Path(path, ".zgroup").is_file()


def choose_array(path: Path, arrays: Mapping[str, zarr.Array[Any]], name: str | None) -> str:
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


def as_dask(array: Any, folder: Path, name: str) -> da.Array:
    """Return a stored array as a lazy Dask array, unpacked; ``folder`` and ``name`` say where it lies."""
    packed = _is_packed(array) and _is_group(folder)
    opened = open_packed(folder, name) if packed else array
    source = ZarrSource(str(folder / name), opened.shape, opened.dtype, array.shards or array.chunks, packed)
    return _lazily(source, read_chunks(array))


def _lazily(source: Source, chunks: tuple[Any, ...]) -> da.Array:
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
    fitting = [part for part in parts if part * row <= _PART_BYTES]
    return (max(fitting, default=parts[0]), *array.shards[1:])


def _is_packed(array: zarr.Array[Any]) -> bool:
    dims = dimension_names(array)
    if len(dims) != array.ndim or None in dims:
        return False
    # In format 2, xarray keeps a missing-value mark in the fill value.
    marked = array.metadata.zarr_format == 2 and array.metadata.fill_value is not None
    return marked or bool(_PACKING & set(array.attrs))
