"""Appends a batch of rows to a zarr array, as an instrument would that runs night after night.

    python workflows/append_batch.py stream/rows.zarr

Each batch is one chunk: 20,000 readings of three features, of four sources; a fifth one is there from the
fourth batch on. The same batch has the same rows whenever it is made.
"""

import sys
from pathlib import Path

import numpy as np
import zarr

BATCH_ROWS = 20_000
SOURCES = np.array([[0.0, 0.0, 0.0], [6.0, 0.0, 2.0], [0.0, 6.0, -2.0], [6.0, 6.0, 0.0], [3.0, 14.0, 8.0]])
LAST_APPEARS = 3


def batch(number: int) -> np.ndarray:
    """Return the rows of a batch, counted from 0."""
    rng = np.random.default_rng(number)
    sources = rng.integers(len(SOURCES) - (number < LAST_APPEARS), size=BATCH_ROWS)
    return SOURCES[sources] + rng.normal(size=(BATCH_ROWS, SOURCES.shape[1]))


def append(path: Path) -> int:
    """Append the next batch to the array at ``path``, which is made if it is not there; return its rows."""
    if path.exists():
        array = zarr.open_array(path, mode="r+")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (0, SOURCES.shape[1])
        array = zarr.create_array(path, shape=shape, chunks=(BATCH_ROWS, SOURCES.shape[1]), dtype="float64")
    array.append(batch(array.shape[0] // BATCH_ROWS))
    return array.shape[0]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} PATH.zarr")
    print(f"{sys.argv[1]}: {append(Path(sys.argv[1])):,} rows")
