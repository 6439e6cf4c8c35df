"""Makes a zarr store of rows that is as large as you say, chunk by chunk, in little memory.

    python workflows/make_store.py larger_than_memory/rows.zarr --size 8GB

Each row has 16 float32 features, of one of six clusters that overlap; each chunk is 16 MB. The same size has the
same rows whenever it is made.
"""

import argparse
from pathlib import Path

import numpy as np
import zarr
from dask.utils import format_bytes, parse_bytes

FEATURES, CLUSTERS = 16, 6
CHUNK_ROWS = 250_000
ROW_BYTES = 4 * FEATURES


def chunk(number: int, rows: int) -> np.ndarray:
    """Return the rows of a chunk, counted from 0."""
    clusters = np.random.default_rng(0)
    centres = clusters.normal(scale=2.5, size=(CLUSTERS, FEATURES)).astype("float32")
    spreads = clusters.uniform(0.5, 1.5, size=(CLUSTERS, FEATURES)).astype("float32")
    rng = np.random.default_rng([1, number])
    which = rng.choice(CLUSTERS, p=np.arange(1, CLUSTERS + 1) / 21, size=rows)
    return centres[which] + spreads[which] * rng.standard_normal((rows, FEATURES), dtype="float32")


def make(path: Path, size: int) -> int:
    """Write about ``size`` bytes to a new store at ``path``; return its rows."""
    rows = max(size // ROW_BYTES, CHUNK_ROWS)
    path.parent.mkdir(parents=True, exist_ok=True)
    array = zarr.create_array(path, shape=(rows, FEATURES), chunks=(CHUNK_ROWS, FEATURES), dtype="float32")
    for number, first in enumerate(range(0, rows, CHUNK_ROWS)):
        stop = min(first + CHUNK_ROWS, rows)
        array[first:stop] = chunk(number, stop - first)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, metavar="PATH.zarr")
    parser.add_argument("--size", type=parse_bytes, default="8GB", help="of the rows in memory; 8GB if left out")
    given = parser.parse_args()
    count = make(given.path, given.size)
    print(f"{given.path}: {count:,} rows, {format_bytes(count * ROW_BYTES)} in memory")
