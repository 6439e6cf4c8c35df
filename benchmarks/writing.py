"""How much memory does it take to write the labels of a scene that is larger than memory should be asked to hold?

A scene (y, x, band) of float64 lies in a zarr group, 4 GB of it, in chunks of 8 MB. For each format a process of its
own opens it by its path, predicts, and writes. Peaks are of resident memory, of the whole process and above what it
held before the scene was opened. Labels are read back and compared with those of the first chunk.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import rasterio
import xarray as xr
import zarr

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, introduce
from benchmarks.memory import MB, in_fresh_process, peak, reset_peak, resident
from dgmm import GaussianMixture, write_results
from dgmm.inputs.sources import open_source

TILE, BANDS, K, THREADS = 500, 4, 8, 2
SUFFIXES = ("zarr", "nc", "tif", "parquet")


def make_scene(path: Path, tile: int, tiles: int) -> None:
    """Write a scene of tiles, one drawn from K clusters over and over, and a model of it beside."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(K, BANDS)) * 6
    drawn = (centres[rng.integers(0, K, (tile, tile))] + rng.normal(size=(tile, tile, BANDS))).round(3)
    side = tile * tiles
    array = zarr.create_array(
        path / "scene.zarr" / "radiance",
        shape=(side, side, BANDS),
        chunks=(tile, tile, BANDS),
        dtype="f8",
        dimension_names=("y", "x", "band"),
    )
    zarr.open_group(path / "scene.zarr", mode="a")
    for i in range(tiles):
        for j in range(tiles):
            array[i * tile : (i + 1) * tile, j * tile : (j + 1) * tile] = np.roll(drawn, i * tiles + j, axis=0)
    GaussianMixture(K, random_state=0).fit(drawn.reshape(-1, BANDS)[:100_000]).save(path / "model.zarr")


def write_labels(folder: str, suffix: str) -> dict[str, float]:
    """Write the labels of the scene in a folder; returns peaks in bytes, and seconds."""
    model = GaussianMixture.load(Path(folder, "model.zarr"))
    model.predict(np.zeros((2, BANDS)))
    reset_peak()
    before, began = resident(), time.perf_counter()
    with dask.config.set(scheduler="threads", num_workers=THREADS):
        labels = model.predict(open_source(Path(folder, "scene.zarr")))
        write_results(labels, Path(folder, f"labels.{suffix}"))
    return {"peak": peak(), "above": peak() - before, "seconds": time.perf_counter() - began}


def read_corner(path: Path, tile: int) -> Any:
    """The labels of the first tile, by the packages that people read such files with."""
    if path.suffix == ".tif":
        with rasterio.open(path) as file:
            return file.read(1, window=((0, tile), (0, tile)))
    if path.suffix == ".parquet":
        first = pd.read_parquet(sorted(path.iterdir())[0])
        return first.sort_values(["y", "x"])["labels"].to_numpy().reshape(tile, tile)
    opened = xr.open_zarr(path) if path.suffix == ".zarr" else xr.open_dataset(path)
    with opened:
        return opened["labels"][:tile, :tile].to_numpy()


def size(path: Path) -> float:
    """Bytes on disk."""
    return float(sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) or path.stat().st_size)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = arguments(__doc__, argv)
    introduce(options)
    tile, tiles = (64, 3) if options.quick else (TILE, 23)
    with tempfile.TemporaryDirectory() as folder:
        make_scene(Path(folder), tile, tiles)
        gigabytes = (tile * tiles) ** 2 * BANDS * 8 / 1e9
        columns = {"as": "<8s", "peak MB": "8.0f", "above MB": "9.0f", "seconds": "8.1f", "on disk MB": "11.1f"}
        table = Table(f"labels of {gigabytes:.2f} GB, {THREADS} threads", {**columns, "right": "<6s"})
        first = zarr.open_array(f"{folder}/scene.zarr/radiance", mode="r")[:tile, :tile]
        expected = GaussianMixture.load(f"{folder}/model.zarr").predict(first.reshape(-1, BANDS)).reshape(tile, tile)
        for suffix in SUFFIXES:
            taken = in_fresh_process("benchmarks.writing", "write_labels", folder=folder, suffix=suffix)
            path = Path(folder, f"labels.{suffix}")
            right = np.array_equal(read_corner(path, tile), expected)
            table.row(suffix, taken["peak"] / MB, taken["above"] / MB, taken["seconds"], size(path) / MB, str(right))
            shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    main()
