"""How long is a prediction built for a scene of many chunks? Milliseconds for each thousand, and no compute.

The scene is a Dataset of two variables (time, y, x), one of (y, x) and one with four depths, in chunks of one time
and a tile; what is built is what ``predict``, ``predict_proba``, ``predict_proba(top=3)`` and ``score_samples`` return.
``fit`` builds the rows alone (``open_rows``).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import xarray as xr

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, interleaved, introduce
from dgmm import GaussianMixture, open_rows

TILE, TILES, TIMES = 1_000, 10, 100


def scene(times: int) -> xr.Dataset:
    """A scene of 100 chunks for each time: 10 TB at 17,361 times."""
    side = TILE * TILES

    def zeros(*shape: int) -> da.Array:
        return da.zeros(shape, chunks=(*(1 for _ in shape[:-2]), TILE, TILE))

    return xr.Dataset(
        {
            "a": (("time", "y", "x"), zeros(times, side, side)),
            "b": (("x", "time", "y"), zeros(times, side, side).transpose(2, 0, 1)),
            "height": (("y", "x"), zeros(side, side)),
            "depths": (("time", "depth", "y", "x"), zeros(times, 4, side, side)),
        },
        coords={"time": np.arange(times)},
    )


def refuse(*args: object, **kwargs: object) -> None:
    """Nothing may be computed."""
    raise AssertionError("something was computed")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = arguments(__doc__, argv)
    introduce(options)
    times = 2 if options.quick else TIMES
    found, n_chunks = scene(times), times * TILES**2
    rng = np.random.default_rng(0)
    small = xr.Dataset(
        {name: ("row", rng.normal(size=200)) for name in ("a", "b", "height")}
        | {"depths": (("row", "depth"), rng.normal(size=(200, 4)))}
    )
    model = GaussianMixture(3, random_state=0, max_iter=1000).fit(small, sample_dims="row")
    tasks: dict[str, Callable[[], object]] = {
        "open_rows": lambda: open_rows(found, sample_dims=("time", "y", "x")),
        "predict": lambda: model.predict(found),
        "predict_proba": lambda: model.predict_proba(found),
        "predict_proba(top=3)": lambda: model.predict_proba(found, top=3),
        "score_samples": lambda: model.score_samples(found),
    }
    with dask.config.set(scheduler=refuse):
        seconds = interleaved(tasks, 1 if options.quick else 5, time.perf_counter)
    table = Table(f"{n_chunks:,} chunks, seven features", {"what": "<20s", "ms": "8.1f", "ms / 1,000 chunks": "17.2f"})
    for name, taken in seconds.items():
        table.row(name, 1e3 * taken, 1e6 * taken / n_chunks)


if __name__ == "__main__":
    main()
