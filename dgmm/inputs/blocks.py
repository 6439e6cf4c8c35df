"""Arrays with named dimensions as rows: block by block where they are lazy, at once where they are in memory."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr

from dgmm.inputs.layout import Layout
from dgmm.passes.shards import check_unmasked

if TYPE_CHECKING:
    from dgmm.typing import Array


def is_lazy(values: xr.DataArray) -> bool:
    """Whether values are not in memory: Dask's, or those of a file that is open."""
    # xarray has no public name for this; `.data` of an open file would read it.
    return not values.variable._in_memory


@dataclass(frozen=True)
class _Place:
    """How an array lies among the sample dimensions.

    Attributes
    ----------
    order : tuple of int
        Its axes: the sample dimensions that it has, in their order, then that of features.
    absent : tuple of int
        The sample dimensions that it lacks, by their number.
    single : bool
        True if it has no dimension of features.
    marks : tuple of numbers
        Values that its attributes say are missing.
    """

    order: tuple[int, ...]
    absent: tuple[int, ...]
    single: bool
    marks: tuple[Any, ...]

    @classmethod
    def of(cls, values: xr.DataArray, feature: Hashable | None, dims: Sequence[Hashable]) -> _Place:
        there = [dim for dim in dims if dim in values.dims]
        own = there if feature is None else [*there, feature]
        absent = tuple(i for i, dim in enumerate(dims) if dim not in values.dims)
        return cls(tuple(values.dims.index(dim) for dim in own), absent, feature is None, _marks(values))

    def arranged(self, block: Any) -> Array:
        """A block with all sample dimensions, of length 1 where it has none, and that of features last."""
        check_unmasked(block, "X")
        ordered = np.transpose(np.asarray(block), self.order)
        if self.marks:
            ordered = np.where(np.isin(ordered, self.marks), np.nan, ordered)
        return np.expand_dims(ordered[..., None] if self.single else ordered, self.absent)


def _marks(values: xr.DataArray) -> tuple[Any, ...]:
    """Values that attributes say are missing, as where a raster was opened without a mask; NaN needs none."""
    found = (mark for key in ("_FillValue", "missing_value") for mark in np.ravel(values.attrs.get(key, ())))
    return tuple(mark for mark in found if isinstance(mark, np.number) and not np.isnan(mark))


def _common(variables: Sequence[xr.DataArray]) -> np.dtype[Any]:
    """What numpy makes of several variables; whole numbers of which some are missing are float64."""
    kinds = (np.result_type(x.dtype, np.float64) if _marks(x) and x.dtype.kind != "f" else x.dtype for x in variables)
    return np.result_type(*kinds)


def _joined(*blocks: Any, places: tuple[_Place, ...], dtype: np.dtype[Any]) -> Array:
    """The features of a block of cells, (*shape, d)."""
    parts = [place.arranged(block) for place, block in zip(places, blocks, strict=True)]
    shape = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
    if len(parts) == 1 and parts[0].dtype == dtype and parts[0].shape[:-1] == shape:
        return parts[0]
    ends = np.cumsum([0, *(part.shape[-1] for part in parts)])
    joined = np.empty((*shape, ends[-1]), dtype=dtype)
    for part, first, stop in zip(parts, ends[:-1], ends[1:], strict=True):
        joined[..., first:stop] = part
    return joined


def pack_here(
    variables: Sequence[xr.DataArray], features: Sequence[Hashable | None], dims: Sequence[Hashable]
) -> Array:
    """Rows of variables in memory, (n, d), in C order of the sample dimensions.

    Parameters
    ----------
    variables : sequence of DataArray
    features : sequence
        The dimension of each that holds features, if it has one.
    dims : sequence
        The sample dimensions; a variable is repeated along those that it lacks.
    """
    places = tuple(_Place.of(*pair, dims) for pair in zip(variables, features, strict=True))
    dtype = _common(variables)
    joined = _joined(*(values.data for values in variables), places=places, dtype=dtype)
    return joined.reshape(-1, joined.shape[-1])


def pack(
    variables: Sequence[xr.DataArray], features: Sequence[Hashable | None], dims: Sequence[Hashable]
) -> tuple[da.Array, Layout]:
    """Lazy rows of variables, (n, d), block by block, and how they lie; parameters are those of :func:`pack_here`.

    Blocks are the variables' own; where these differ, their common refinement.
    """
    places = tuple(_Place.of(*pair, dims) for pair in zip(variables, features, strict=True))
    dtype = _common(variables)
    arrays, chunks = _alike(variables, features)
    # Dimensions by number: Dask sorts them, and their names may be of any kind.
    axes: dict[Hashable, int] = {dim: i for i, dim in enumerate(dims)}
    last, width = len(dims), 0
    arguments: list[Any] = []
    for number, (values, feature) in enumerate(zip(variables, features, strict=True), last + 1):
        # Variables may have features along one dimension, and not the same ones.
        arguments += [arrays[number - last - 1], tuple(axes.get(dim, number) for dim in values.dims)]
        width += 1 if feature is None else values.sizes[feature]
    joined = da.blockwise(
        partial(_joined, places=places, dtype=dtype),
        tuple(range(last + 1)),
        *arguments,
        new_axes={last: width},
        concatenate=True,  # chunks of features too: to rechunk them would take Dask ten times as long
        align_arrays=False,
        dtype=dtype,
        meta=np.empty((0,) * (last + 1), dtype=dtype),
    )
    layout = Layout(tuple(chunks[dim] for dim in dims))
    return layout.flatten(joined), layout


def _alike(
    variables: Sequence[xr.DataArray], features: Sequence[Hashable | None]
) -> tuple[list[da.Array], dict[Hashable, tuple[int, ...]]]:
    """The variables as dask arrays that are chunked alike along their sample dimensions, and these chunks."""
    names = [
        tuple((dim, i) if dim == feature else dim for dim in values.dims)
        for i, (values, feature) in enumerate(zip(variables, features, strict=True))
    ]
    chunked = [i for i, values in enumerate(variables) if values.chunks is not None]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(name for own in names for name in own))}
    found, unified = da.core.unify_chunks(
        *(item for i in chunked for item in (variables[i].data, tuple(numbers[name] for name in names[i]))),
        warn=False,  # that there are more chunks now: each is as small as it must be to be read once
    )
    arrays: dict[int, da.Array] = dict(zip(chunked, unified, strict=True))
    chunks = {name: found[number] for name, number in numbers.items() if number in found}
    # The largest file says how the others are cut; what is in memory is cut as they are.
    rest = sorted({*range(len(variables))} - {*chunked}, key=lambda i: (not is_lazy(variables[i]), -variables[i].size))
    for i in rest:
        arrays[i] = as_dask(variables[i], [chunks.get(name) for name in names[i]], features[i])
        chunks |= dict(zip(names[i], arrays[i].chunks, strict=True))
    return [arrays[i] for i in range(len(variables))], chunks


def as_dask(values: xr.DataArray, chunks: Sequence[tuple[int, ...] | None], whole: Hashable | None = None) -> da.Array:
    """Values that are not in chunks as a dask array; nothing is read.

    Parameters
    ----------
    values : DataArray
    chunks : sequence
        Of each dimension; None for any: all in memory, of a file about Dask's usual size, along the file's own.
    whole : dimension, optional
        It is not cut.
    """
    if not is_lazy(values):
        wanted = tuple(-1 if sizes is None else sizes for sizes in chunks)
        return da.from_array(values.data, chunks=wanted, name=False)
    stored = values.encoding.get("shards") or values.encoding.get("preferred_chunks") or values.shape
    own = tuple(stored[dim] for dim in values.dims) if isinstance(stored, dict) else tuple(stored)
    cut = da.core.normalize_chunks(
        tuple(sizes or (-1 if dim == whole else "auto") for dim, sizes in zip(values.dims, chunks, strict=True)),
        values.shape,
        dtype=values.dtype,
        previous_chunks=da.core.normalize_chunks(own, values.shape),
    )
    data: da.Array = values.chunk(dict(zip(values.dims, cut, strict=True))).data
    return data


def spread(
    value: xr.DataArray | float, name: str, dims: Sequence[Hashable], shape: tuple[int, ...], layout: Layout | None
) -> Any:
    """One value for each row, (n,): a number, or an array that is repeated along the sample dimensions it lacks."""
    if not isinstance(value, xr.DataArray):
        if layout is None:
            return np.full(int(np.prod(shape)), value, dtype=np.float64)
        return da.full(sum(layout.lengths), value, chunks=(layout.lengths,), dtype=np.float64)
    value = value.transpose(*(dim for dim in dims if dim in value.dims))
    absent = tuple(i for i, dim in enumerate(dims) if dim not in value.dims)
    if layout is None:
        check_unmasked(value.data, name)
        rows = np.broadcast_to(np.expand_dims(value.data, absent), shape).reshape(-1)
        return rows.astype(np.float64) if name == "sample_weight" else rows
    chunks = [sizes for i, sizes in enumerate(layout.chunks) if i not in absent]
    data = as_dask(value, chunks) if value.chunks is None else value.data.rechunk(tuple(chunks))
    if absent:
        data = data[tuple(None if i in absent else slice(None) for i in range(len(dims)))]
        data = da.broadcast_to(data, shape, chunks=layout.chunks)
    return layout.flatten(data)
