"""Arrays written as zarr, whole or not at all."""

from __future__ import annotations

import os
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from zarr.errors import UnstableSpecificationWarning
from zarr.storage import ObjectStore

from dgmm.errors import DataError
from dgmm.storage.arrays import reading
from dgmm.storage.objects import ObjectPlace, asking, open_objects
from dgmm.storage.paths import writing
from dgmm.storage.publishing import drafting, lost
from dgmm.storage.replacing import replacing_folder
from dgmm.storage.urls import ObjectUrl, locate_output
from dgmm.storage.vetting import vet_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dgmm.storage.urls import Location
    from dgmm.typing import Array

_KEPT = ("units", "calendar", "grid_mapping")


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
    write_zarr(xr.Dataset({name: (tuple(dims), x, dict(attrs or {}))}), path, overwrite=overwrite)


def write_zarr(dataset: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a Dataset as a zarr group; lazy values are computed chunk by chunk, by whoever computes.

    Parameters
    ----------
    dataset : xarray.Dataset
        Chunks that differ in size along an axis are rechunked to the largest of them.
    path, overwrite
        As :func:`write_array`, whose errors it raises.
    """
    require_lengths(dataset)
    # Two tasks that share a chunk of the store would overwrite each other's part.
    lazy = {
        name: variable.data.rechunk(tuple(max(1, *sizes) for sizes in variable.chunks))
        for name, variable in dataset.variables.items()
        if variable.chunks is not None
    }
    layout = dataset.copy()
    for name, data in lazy.items():
        layout[name] = layout[name].copy(data=data)
    keep_encoding(layout)
    place = locate_output(path)
    if isinstance(place, ObjectUrl):
        with tempfile.TemporaryDirectory(prefix="dgmm-") as folder, drafting(place, overwrite=overwrite) as draft:
            _lay_out(layout, group := Path(folder, "group"), place)
            draft.write(group)
            _store(lazy, str(place), place, draft.claim)
    else:
        with replacing_folder(place, overwrite=overwrite) as folder:
            _lay_out(layout, folder, place)
            _store(lazy, str(folder), place, None)


def _lay_out(layout: xr.Dataset, folder: Path, place: Location) -> None:
    """Write a Dataset but for its lazy values."""
    with writing(place), encoding(place):
        with warnings.catch_warnings():
            # Texts among the coordinates, which zarr itself reads back.
            warnings.simplefilter("ignore", UnstableSpecificationWarning)
            layout.to_zarr(folder, mode="w-", zarr_format=3, consolidated=False, compute=False)
        consolidate(folder)


def _store(lazy: Mapping[Any, da.Array], folder: str, place: Location, claim: bytes | None) -> None:
    """Compute lazy values, and write them block by block."""
    full = {name: data for name, data in lazy.items() if data.size}
    if full:
        da.store(list(full.values()), [_Target(folder, str(name), str(place), claim) for name in full], lock=False)


@contextmanager
def encoding(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say of coordinates and attributes that a format has no place for that it is these; raises DataError."""
    try:
        yield
    except (TypeError, ValueError, NotImplementedError) as error:
        raise DataError(
            f"{path}: a coordinate or an attribute of the results cannot be kept in such a file: {error}; drop it, "
            "or make it numbers or text"
        ) from error


def keep_encoding(dataset: xr.Dataset) -> None:
    """Drop from the encodings of variables what is of the files that they were read from."""
    for variable in dataset.variables.values():
        kept = (*_KEPT, "dtype") if variable.dtype.kind in "mM" else _KEPT
        variable.encoding = {key: value for key, value in variable.encoding.items() if key in kept}


def require_lengths(dataset: xr.Dataset) -> None:
    """Refuse values whose number is not known before they are computed; raises DataError."""
    for name, variable in dataset.data_vars.items():
        if any(np.isnan(size) for size in variable.shape):
            raise DataError(
                f"{name}: the lengths of its chunks are unknown; call compute_chunk_sizes() first, or write .parquet"
            )


@dataclass(frozen=True)
class _Target:
    """What a task writes its block to; opened in the task, so only a path or URL travels."""

    folder: str
    name: str
    path: str
    """The name that the folder will have."""
    claim: bytes | None
    """The head of a group in an object store, as long as it is this one that is written."""

    def __setitem__(self, region: tuple[slice, ...], block: Array) -> None:
        place = f"{self.folder}/{self.name}"
        if self.claim is None:
            # The write may have been given up: the folder must not come back to life.
            if not Path(self.folder, "zarr.json").is_file():
                raise FileNotFoundError(f"{self.folder}: removed while it was written")
            with writing(self.path):
                zarr.open_array(Path(place), mode="r+")[region] = block
            return
        if ObjectPlace(self.folder).read_pointer() != self.claim:
            raise lost(self.path)
        with writing(self.path), asking(self.path, "written"):
            zarr.open_array(ObjectStore(open_objects(place)), mode="r+", zarr_format=3)[region] = block


def consolidate(folder: Path) -> None:
    """Consolidate the metadata of a group, so that a plain ``xarray.open_zarr`` has no complaint."""
    with warnings.catch_warnings():
        # zarr warns that format 3 does not standardise this yet; readers without it ignore the key.
        warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
        warnings.simplefilter("ignore", UnstableSpecificationWarning)
        zarr.consolidate_metadata(folder, zarr_format=3)
