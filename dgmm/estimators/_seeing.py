"""Rows that are looked at with a mixture: some of them, and a map of their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr

from dgmm.storage.geotiff import SPACE
from dgmm.viz.labelmap import LabelMap

if TYPE_CHECKING:
    from dgmm.estimators._base import MixtureEstimator
    from dgmm.inputs.table import Table
    from dgmm.typing import Array

# Places of a map that are drawn, lines and columns.
_MOST_PLACES = (700, 900)
# Rows that stand for an array, and the chunks that they are taken from.
_SAMPLE_ROWS, _SAMPLE_CHUNKS = 2_000, 16


def look_at(mixture: MixtureEstimator, table: Table) -> dict[str, Any]:
    """Look at rows with a mixture: what :class:`dgmm.viz.content.ReportContent` calls ``sample`` and ``grid``."""
    return {"sample": few_rows(table.X), "grid": map_of(mixture.predict(table))}


def map_of(labels: Any) -> LabelMap | None:
    """Bring labels to a map of their dimensions of space, or else of the last two; of others the middle is taken.

    Parameters
    ----------
    labels : DataArray, array or dask array
        What the mixture's ``predict`` gives.

    Returns
    -------
    LabelMap or None
        None if there are fewer than two dimensions. Large maps are thinned.
    """
    if labels.ndim < 2:
        return None
    grid = labels if isinstance(labels, xr.DataArray) else xr.DataArray(labels)
    space = next((pair for pair in SPACE if {*pair} <= {*grid.dims}), grid.dims[-2:])
    grid = grid.transpose(..., *space)
    notes, lines_and_columns = [], [str(name) for name in grid.dims[-2:]]
    for name, length in zip(grid.dims[:-2], grid.shape[:-2], strict=True):
        where = f" ({grid[name].values[length // 2]})" if name in grid.coords else ""
        notes.append(f"{name} number {length // 2}{where}")
        grid = grid.isel({name: length // 2})
    step = max(-(-length // most) for length, most in zip(grid.shape, _MOST_PLACES, strict=True))
    if step > 1:
        notes.append(f"one line and column in {step}")
        grid = grid[::step, ::step]
    places = [np.asarray(grid[name].values) if name in grid.coords else None for name in lines_and_columns]
    names = [
        name if place is not None else f"{name} (index)" for name, place in zip(lines_and_columns, places, strict=True)
    ]
    return LabelMap(np.asarray(grid.values), places[0], places[1], (names[0], names[1]), ", ".join(notes))


def few_rows(rows: Any) -> Array:
    """Some rows of an array or dask array (n, d), of chunks that lie evenly over it."""
    rng = np.random.default_rng(0)
    if not isinstance(rows, da.Array):
        return np.asarray(rows)[np.sort(rng.choice(len(rows), min(len(rows), _SAMPLE_ROWS), replace=False))]
    blocks, found = rows.numblocks[0], []
    chosen = np.unique(np.linspace(0, blocks - 1, min(blocks, _SAMPLE_CHUNKS)).round().astype(int))
    for block in chosen.tolist():
        values = np.asarray(rows.blocks[block].compute())
        count = min(-(-_SAMPLE_ROWS // len(chosen)), len(values))
        found.append(values[np.sort(rng.choice(len(values), count, replace=False))])
    return np.concatenate(found)
