"""Lazy arrays brought to this process block by block, for files that one process writes."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import dask
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import dask.array as da

    from dgmm.typing import Array

Region: TypeAlias = tuple[slice, ...]

# What is brought at a time: results are smaller than the rows that they are made from.
_MOST_BYTES = 2**25
_MOST_BLOCKS = 256


def windows(arrays: Mapping[str, da.Array]) -> Iterator[tuple[str, Region, Array]]:
    """Compute arrays a few blocks at a time.

    Parameters
    ----------
    arrays : mapping of str to dask array
        Blocks of the same place in several arrays are computed together, so that what they are made from is
        read once.

    Yields
    ------
    name : str
    region : tuple of slices
    block : array

    Examples
    --------
    >>> import dask.array as da
    >>> [(region[0], block.tolist()) for _, region, block in windows({"a": da.arange(3, chunks=2)})]
    [(slice(0, 2, None), [0, 1]), (slice(2, 3, None), [2])]
    """
    # Once for all: what several arrays share must stay one task.
    optimized = dict(zip(arrays, dask.optimize(*arrays.values()), strict=True))
    blocks = {name: x.to_delayed(optimize_graph=False) for name, x in optimized.items()}
    for batch in _batches(sorted(_places(arrays), key=lambda place: (place.start, place.name))):
        values = dask.compute(*(blocks[place.name][place.index] for place in batch))
        for place, value in zip(batch, values, strict=True):
            yield place.name, place.region, np.asarray(value)


@dataclass(frozen=True)
class _Place:
    """A block of an array."""

    name: str
    index: tuple[int, ...]
    region: Region
    nbytes: int

    @property
    def start(self) -> tuple[int, ...]:
        return tuple(part.start for part in self.region)


def spans(sizes: Sequence[int]) -> list[slice]:
    """Where the chunks along an axis lie."""
    return [slice(end - size, end) for size, end in zip(sizes, itertools.accumulate(sizes), strict=True)]


def _places(arrays: Mapping[str, da.Array]) -> Iterator[_Place]:
    for name, x in arrays.items():
        along = [spans(sizes) for sizes in x.chunks]
        for index in itertools.product(*map(range, x.numblocks)):
            region = tuple(parts[i] for parts, i in zip(along, index, strict=True))
            size = math.prod(part.stop - part.start for part in region)
            yield _Place(name, index, region, size * x.dtype.itemsize)


def _batches(places: list[_Place]) -> Iterator[list[_Place]]:
    batch: list[_Place] = []
    for place in places:
        if batch and (sum(one.nbytes for one in batch) + place.nbytes > _MOST_BYTES or len(batch) == _MOST_BLOCKS):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
