"""What does a chunk cost besides its rows: one EM iteration over many chunks of almost no rows.

"dask" is a plain ``map_blocks`` and sum over the same chunks, built and computed anew as a pass is.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, interleaved, introduce, one_thread
from dgmm.mixture.compiled import compile_mixture
from dgmm.mixture.families import get_family
from dgmm.mixture.kernel import BlockKernel, StatisticsMap
from dgmm.mixture.parameters import Coordinates
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.rows import Rows
from dgmm.passes.tree import PassRunner

D, K, ROWS = 2, 3, 4


def statistics_map() -> StatisticsMap:
    """One EM iteration of a small mixture."""
    family = get_family("full")
    rng = np.random.default_rng(0)
    parameters = family.parameters(np.full(K, 1.0 / K), rng.normal(size=(K, D)), np.tile(np.eye(D), (K, 1, 1)))
    plan = ExecutionPlan.choose(family, K, D)
    coordinates = Coordinates(np.zeros(D), np.eye(D))
    return StatisticsMap(compile_mixture(family, parameters, coordinates, np.dtype(np.float64), plan.options))


def small_chunks(n_chunks: int) -> da.Array:
    """Chunks of four rows, each made by a task."""
    return da.random.default_rng(0).normal(size=(n_chunks * ROWS, D), chunks=(ROWS, D))


def sums(block: np.ndarray) -> np.ndarray:
    """The least work that yields a record."""
    return block.sum(axis=0, keepdims=True)


def dask_alone(X: da.Array) -> Callable[[], object]:
    """Dask's own map and tree over the chunks."""
    return lambda: X.map_blocks(sums, chunks=(1, D)).sum(axis=0, split_every=16).compute()


def pass_over(X: da.Array) -> Callable[[], object]:
    """A statistics pass of dgmm."""
    runner = PassRunner(Rows.from_dask(X, None), ExecutionPlan.choose(get_family("full"), K, D))
    chunk_map = statistics_map()
    return lambda: runner(chunk_map)


def kernel_alone(n_chunks: int) -> Callable[[], object]:
    """The kernel in a plain loop, without Dask."""
    blocks = np.random.default_rng(0).normal(size=(n_chunks, ROWS, D))
    compiled = statistics_map().compiled

    def run() -> None:
        with one_thread():
            for block in blocks:
                BlockKernel(compiled).statistics(block)

    return run


@contextmanager
def threads() -> Iterator[None]:
    """The threaded scheduler."""
    with dask.config.set(scheduler="threads"):
        yield


@contextmanager
def processes() -> Iterator[None]:
    """A LocalCluster of two workers with a thread each."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        yield


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = arguments(__doc__, argv)
    introduce(options)
    warnings.simplefilter("ignore")
    table = Table(
        f"seconds of one pass over chunks of {ROWS} rows (d = {D}, K = {K}), and ms a chunk",
        {
            "scheduler": "<14s", "chunks": "6d", "kernel s": "8.3f", "dask s": "7.3f", "pass s": "7.3f",
            "persisted s": "11.3f", "dask ms": "7.3f", "pass ms": "7.3f", "persisted ms": "12.3f",
        },
    )  # fmt: skip
    for name, scheduler in {"threads": threads, "2 workers": processes}.items():
        with scheduler():
            for n_chunks in (10, 100) if options.quick else (100, 1_000, 10_000):
                X = small_chunks(n_chunks)
                tasks = {
                    "kernel": kernel_alone(n_chunks),
                    "dask": dask_alone(X),
                    "pass": pass_over(X),
                    "persisted": pass_over(X.persist()),
                }
                seconds = interleaved(tasks, 1 if options.quick else 3 if n_chunks < 10_000 else 2, time.perf_counter)
                per_chunk = (1e3 * seconds[task] / n_chunks for task in ("dask", "pass", "persisted"))
                table.row(name, n_chunks, *seconds.values(), *per_chunk)


if __name__ == "__main__":
    main()
