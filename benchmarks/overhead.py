"""What does a chunk cost besides the work in it: held in memory, read from zarr, made by a graph?

One EM pass over chunks of four rows each. "held" is a pass over rows that the first pass loaded;
"zarr" a pass that reads them, beside zarr reading the same chunks with as many threads or
processes; "graph" a pass over chunks that are not independent of each other (as after a shuffle),
beside Dask's own ``map_blocks`` and sum over them. ``--million`` makes one pass over a million
chunks, and prints what that takes of the driver.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import psutil
import zarr
from distributed import Client, LocalCluster, default_client

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, interleaved, introduce
from dgmm.mixture.compiled import compile_mixture
from dgmm.mixture.families import get_family
from dgmm.mixture.kernel import StatisticsMap
from dgmm.mixture.parameters import Coordinates
from dgmm.passes.execution import Resources
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.rows import Rows
from dgmm.passes.sharding import Sharding
from dgmm.passes.tree import PassRunner

D, K, ROWS = 2, 3, 4
WORKERS = 2


def statistics_map() -> StatisticsMap:
    """One EM iteration of a small mixture."""
    family = get_family("full")
    rng = np.random.default_rng(0)
    parameters = family.parameters(np.full(K, 1.0 / K), rng.normal(size=(K, D)), np.tile(np.eye(D), (K, 1, 1)))
    plan = ExecutionPlan.choose(family, K, D)
    coordinates = Coordinates(np.zeros(D), np.eye(D))
    return StatisticsMap(compile_mixture(family, parameters, coordinates, np.dtype(np.float64), plan.options))


def store_of(folder: str, n_chunks: int) -> str:
    """An uncompressed zarr array of small chunks."""
    path = f"{folder}/{n_chunks}.zarr"
    rows = np.random.default_rng(0).normal(size=(n_chunks * ROWS, D))
    zarr.create_array(path, shape=rows.shape, chunks=(ROWS, D), dtype=rows.dtype, compressors=None)[:] = rows
    return path


def read_chunks(path: str, first: int, stop: int) -> float:
    """Read chunks one by one with zarr alone."""
    array = zarr.open_array(path, mode="r")
    return sum(float(array[i * ROWS : (i + 1) * ROWS][0, 0]) for i in range(first, stop))


def zarr_alone(path: str, n_chunks: int, scheduler: str) -> Callable[[], object]:
    """The chunks of a store read by as many threads or processes as dgmm has."""
    halves = [(i * n_chunks // WORKERS, (i + 1) * n_chunks // WORKERS) for i in range(WORKERS)]
    if scheduler == "threads":

        def run() -> None:
            with ThreadPoolExecutor(WORKERS) as pool:
                list(pool.map(lambda half: read_chunks(path, *half), halves))

        return run
    client = default_client()
    return lambda: client.gather([client.submit(read_chunks, path, *half, pure=False) for half in halves])


def dependent(n_chunks: int) -> da.Array:
    """Chunks that need a number made of all of them."""
    X = da.random.default_rng(0).normal(size=(n_chunks * ROWS, D), chunks=(ROWS, D)).persist()
    return X + X[0, 0]


def sums(block: np.ndarray) -> np.ndarray:
    """The least work that yields a record."""
    return block.sum(axis=0, keepdims=True)


def dask_alone(X: da.Array) -> Callable[[], object]:
    """Dask's own map and tree over the chunks."""
    return lambda: X.map_blocks(sums, chunks=(1, D)).sum(axis=0, split_every=16).compute()


def pass_over(X: da.Array, *, persist: bool = False) -> Callable[[], object]:
    """A statistics pass of dgmm, not the first one."""
    runner = PassRunner(Rows.from_dask(X, None), ExecutionPlan.choose(get_family("full"), K, D), persist=persist)
    chunk_map = statistics_map()
    runner(chunk_map)
    return lambda: runner(chunk_map)


@contextmanager
def threads() -> Iterator[None]:
    """The threaded scheduler."""
    with dask.config.set(scheduler="threads", num_workers=WORKERS):
        yield


@contextmanager
def processes() -> Iterator[None]:
    """A LocalCluster of two workers with a thread each."""
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        yield


SCHEDULERS = {"threads": threads, "2 workers": processes}


def compare(sizes: Sequence[int], repeats: int) -> None:
    """Print what a chunk costs."""
    table = Table(
        f"ms a chunk of {ROWS} rows (d = {D}, K = {K}); beyond: of zarr; over: times Dask's own",
        {
            "scheduler": "<9s", "chunks": "6d", "held": "7.4f", "zarr alone": "10.4f", "from zarr": "9.4f",
            "beyond": "7.4f", "dask alone": "10.4f", "graph": "6.4f", "over": "5.2f",
        },
    )  # fmt: skip
    for name, scheduler in SCHEDULERS.items():
        with scheduler(), tempfile.TemporaryDirectory() as folder:
            for n_chunks in sizes:
                path, graph = store_of(folder, n_chunks), dependent(n_chunks)
                X = da.from_zarr(path)
                tasks = {
                    "held": pass_over(X, persist=True),
                    "zarr alone": zarr_alone(path, n_chunks, name),
                    "from zarr": pass_over(X),
                    "dask alone": dask_alone(graph),
                    "graph": pass_over(graph),
                }
                seconds = interleaved(tasks, repeats, time.perf_counter)
                ms = {task: 1e3 * taken / n_chunks for task, taken in seconds.items()}
                table.row(
                    name, n_chunks, ms["held"], ms["zarr alone"], ms["from zarr"], ms["from zarr"] - ms["zarr alone"],
                    ms["dask alone"], ms["graph"], ms["graph"] / ms["dask alone"],
                )  # fmt: skip


def one_large(n_chunks: int) -> None:
    """Print what a pass over very many chunks takes."""
    process = psutil.Process()
    marks = [(time.perf_counter(), process.memory_info().rss)]

    def mark() -> None:
        marks.append((time.perf_counter(), process.memory_info().rss))

    with threads():
        X = da.zeros((n_chunks * ROWS, D), chunks=(ROWS, D))
        mark()
        rows = Rows.from_dask(X, None)
        mark()
        runner = PassRunner(rows, ExecutionPlan.choose(get_family("full"), K, D))
        Sharding.of(rows, runner.plan.chunk_rows, Resources.measure(rows).n_threads, here=True)
        mark()
        chunk_map = statistics_map()
        runner(chunk_map)
        mark()
        runner(chunk_map)
        mark()
    table = Table(
        f"{n_chunks:,} chunks on threads: seconds, and what the process grew by",
        {"step": "<34s", "s": "7.1f", "MB": "7.0f"},
    )
    steps = ("Dask's array", "its graph, optimised", "shards", "a pass, and the shards once more", "a pass")
    for step, before, after in zip(steps, marks[:-1], marks[1:], strict=True):
        table.row(step, after[0] - before[0], (after[1] - before[1]) / 1e6)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = arguments(__doc__, argv, ("--million", "one pass over a million chunks instead"))
    introduce(options)
    warnings.simplefilter("ignore")
    run = partial(one_large, 1_000 if options.quick else 1_000_000) if options.million else None
    if run is None:
        run = partial(compare, (10, 100), 1) if options.quick else partial(compare, (100, 1_000, 10_000), 3)
    run()


if __name__ == "__main__":
    main()
