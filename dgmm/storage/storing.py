"""Arrays written in local files, whole or not at all."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import zarr

from dgmm.errors import DataError
from dgmm.storage.arrays import reading
from dgmm.storage.paths import writing
from dgmm.storage.replacing import replacing_folder
from dgmm.storage.vetting import vet_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dgmm.typing import Array


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
