"""What does it cost that rows lie on disk: the time of a pass from zarr, and the memory of a fit.

"reading" is the chunks read by zarr alone on as many threads, "kernel" the same rows in memory
through a pass; no pass can take less than either, or than the CPU seconds of both over the threads.
Stores are written first, lie in the page cache while they are read, and are deleted. Memory is the
peak of what is resident, in a process of its own, beyond what is resident after the imports;
"allowed" is two chunks a thread and 64 MB. About four minutes.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr
from distributed import Client, LocalCluster

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import dgmm
from benchmarks import memory
from benchmarks.fits import FROM_STORE, Fit, threads
from benchmarks.kernel import Case
from benchmarks.machine import Table, arguments, introduce
from dgmm.fitting.events import Event, PassFinished, PassStarted

THREADS = 2
CHUNK_BYTES = 16 * 2**20
SPARE_BYTES = 64 * 2**20
INNER_CHUNKS = 16
"""Chunks of a shard."""

STORES = ("zstd", "raw", "zstd shards", "raw shards")
SHAPES = ((2, 3), (16, 8), (64, 16))
"""(d, K) of the passes; full covariances."""

FEATURES, COMPONENTS = 16, 8
"""Of the fits whose memory is measured."""


@contextmanager
def folder_for_stores(parent: str) -> Iterator[Path]:
    """A folder that is deleted in the end."""
    folder = Path(tempfile.mkdtemp(prefix="dgmm-stores-", dir=parent or None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_store(path: Path, kind: str, rows: np.ndarray, n: int, chunk_rows: int) -> Path:
    """Write a store of n rows, those given over and over, a chunk (or shard) at a time.

    Values are rounded to three decimals, so that zstd halves them.
    """
    sharded = kind.endswith("shards")
    inner = max(1, chunk_rows // INNER_CHUNKS) if sharded else chunk_rows
    chunk_rows = inner * INNER_CHUNKS if sharded else chunk_rows
    z = zarr.create_array(
        path,
        shape=(n, rows.shape[1]),
        chunks=(inner, rows.shape[1]),
        shards=(chunk_rows, rows.shape[1]) if sharded else None,
        dtype=rows.dtype,
        compressors=None if kind.startswith("raw") else "auto",
    )
    rows = rows.round(3)
    for start in range(0, n, chunk_rows):
        stop = min(n, start + chunk_rows)
        z[start:stop] = np.resize(np.roll(rows, start // chunk_rows, axis=0), (stop - start, rows.shape[1]))
    return path


def open_store(path: Path | str) -> da.Array:
    """The store as a dask array, a chunk (or shard) a task."""
    z = zarr.open_array(path, mode="r")
    return da.from_zarr(z, chunks=z.shards or z.chunks)


def read_alone(path: Path, n_threads: int = THREADS) -> None:
    """Read all chunks with zarr on so many threads, and drop them."""
    z = zarr.open_array(path, mode="r")
    step = (z.shards or z.chunks)[0]
    starts, lock = iter(range(0, z.shape[0], step)), threading.Lock()

    def work() -> None:
        while True:
            with lock:
                start = next(starts, None)
            if start is None:
                return
            z[start : start + step]

    running = [threading.Thread(target=work) for _ in range(n_threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


# -- time -------------------------------------------------------------------------------------------


@dataclass
class Taken:
    """Least wall and CPU seconds, of the whole process, of a piece of work."""

    wall: float = np.inf
    cpu: float = np.inf

    def add(self, wall: float, cpu: float) -> None:
        self.wall, self.cpu = min(self.wall, wall), min(self.cpu, cpu)


class PassClock:
    """A callback that takes the time of each statistics pass."""

    def __init__(self, taken: Taken) -> None:
        self.taken, self.began = taken, 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, PassFinished) and event.name == "statistics":
            self.taken.add(event.seconds, time.process_time() - self.began)
        if isinstance(event, PassStarted):
            self.began = time.process_time()


def time_pass(fit: Fit, taken: Taken, iterations: int) -> None:
    """Take the time of the passes of a fit."""
    with threads(THREADS):
        fit.run(iterations, PassClock(taken))


def time_reading(path: Path, taken: Taken) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    read_alone(path)
    taken.add(time.perf_counter() - wall, time.process_time() - cpu)


def compare_times(folder: Path, *, quick: bool) -> None:
    """Print what a pass from each kind of store takes beside its parts."""
    n_bytes = 2**20 if quick else 320 * 2**20
    repeats, iterations = (1, 1) if quick else (3, 2)
    table = Table(
        f"a pass over {n_bytes / 2**20:.0f} MB in chunks of {_chunk_bytes(quick) / 2**20:g} MB, {THREADS} threads: "
        "ms, and over its bound",
        {"store": "<11s", "d": "3d", "K": "2d", "rows": "8d", "reading": "7.0f", "kernel": "7.0f", "CPU/2": "6.0f",
         "bound": "6.0f", "pass": "6.0f", "its CPU/2": "9.0f", "ratio": "5.2f"},
    )  # fmt: skip
    for d, k in SHAPES[:1] if quick else SHAPES:
        case = Case.make("full", d, k, np.float64, quick=quick)
        n, chunk_rows = n_bytes // (8 * d), _chunk_bytes(quick) // (8 * d)
        for kind in STORES:
            path = write_store(folder / "times.zarr", kind, case.X, n, chunk_rows)
            stored = Fit(case, open_store(path), FROM_STORE)
            in_memory = Fit(case, zarr.open_array(path, mode="r")[:])
            reading, kernel, both = Taken(), Taken(), Taken()
            for _ in range(repeats):
                time_reading(path, reading)
                time_pass(in_memory, kernel, iterations)
                time_pass(stored, both, iterations)
            cpu = (reading.cpu + kernel.cpu) / THREADS
            bound = max(reading.wall, kernel.wall, cpu)
            seconds = (reading.wall, kernel.wall, cpu, bound, both.wall, both.cpu / THREADS)
            table.row(kind, d, k, n, *(1e3 * s for s in seconds), both.wall / bound)
            shutil.rmtree(path)


def _chunk_bytes(quick: bool) -> int:
    return 2**17 if quick else CHUNK_BYTES


# -- memory -----------------------------------------------------------------------------------------


def fit_in_fresh_process(path: str, iterations: int, limit_bytes: float = 0.0, lean: bool = False) -> dict[str, Any]:
    """Fit a store from the default start; meant for a process of its own.

    Parameters
    ----------
    path : str
    iterations : int
    limit_bytes : float
        Of address space, beyond what is in use after the imports; 0 for no limit.
    lean : bool
        See ``dgmm.Execution``.

    Returns
    -------
    dict
        ``peak`` and ``by_phase``, bytes beyond those after the imports; ``seconds`` of a pass; the
        last ``bound``.
    """
    X = open_store(path)
    with threads(THREADS):  # numba is imported by the first E-step
        dgmm.GaussianMixture(2, random_state=0).fit(np.random.default_rng(0).normal(size=(1000, 2)))
    before = memory.resident()
    if limit_bytes:
        limit = int(memory.address_space() + limit_bytes)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    memory.reset_peak()
    by_phase: dict[str, float] = {}
    taken = Taken()
    clock = PassClock(taken)

    def listen(event: Event) -> None:
        clock(event)
        name = event.name if isinstance(event, PassFinished) else type(event).__name__
        if name in ("moments", "StartChosen", "statistics"):
            by_phase[name] = max(by_phase.get(name, 0.0), memory.peak() - before)
            memory.reset_peak()

    model = dgmm.GaussianMixture(COMPONENTS, max_iter=iterations, tol=0.0, random_state=0)
    with warnings.catch_warnings(), threads(THREADS):
        warnings.simplefilter("ignore")  # it does not converge
        model.fit(X, callbacks=[listen], execution=dgmm.Execution(persist=False, lean=lean))
    return {
        "peak": max(memory.peak() - before, *by_phase.values()),
        "by_phase": by_phase,
        "seconds": taken.wall,
        "bound": model.lower_bound_,
    }


def rows_to_store(n_bytes: float, chunk_bytes: int) -> tuple[int, int]:
    """Rows, a whole number of chunks, and rows of a chunk."""
    chunk_rows = chunk_bytes // (8 * FEATURES)
    return max(2, round(n_bytes / (8 * FEATURES * chunk_rows))) * chunk_rows, chunk_rows


def compare_memory(folder: Path, gigabytes: float, *, quick: bool) -> None:
    """Print the peak of the memory of fits of more and more rows, in larger and smaller chunks."""
    most = _chunk_bytes(quick)
    table = Table(
        f"peak memory of a fit beyond the imports, d = {FEATURES}, K = {COMPONENTS}, {THREADS} threads, MB",
        {"store": "<11s", "lean": "<4s", "GB": "5.2f", "chunks": "6d", "chunk MB": "8.2f", "moments": "7.0f",
         "start": "5.0f",
         "passes": "6.0f", "peak": "5.0f", "allowed": "7.0f", "pass s": "6.2f"},
    )  # fmt: skip
    case = Case.make("full", FEATURES, COMPONENTS, np.float64, quick=quick)
    default = [("zstd", 0.25, most), ("zstd", 0.25, most // 4), *((kind, 1.0, most) for kind in STORES)]
    lean = [("zstd", 0.25, most), ("zstd", 1.0, most), ("raw", 1.0, most)]
    cases = [*((False, *case) for case in default), *((True, *case) for case in lean)]
    for is_lean, kind, share, chunk_bytes in (cases[0], cases[5], cases[-1]) if quick else cases:
        n, chunk_rows = rows_to_store(share * gigabytes * 1e9, chunk_bytes)
        path = write_store(folder / "memory.zarr", kind, case.X, n, chunk_rows)
        done = memory.in_fresh_process(
            "benchmarks.out_of_core",
            "fit_in_fresh_process",
            path=str(path),
            iterations=2 if quick else 3,
            lean=is_lean,
        )
        phases = [done["by_phase"].get(name, 0.0) for name in ("moments", "StartChosen", "statistics")]
        allowed = 2 * THREADS * chunk_bytes + SPARE_BYTES
        sizes = [size / 2**20 for size in (*phases, done["peak"], allowed)]
        told = ("yes" if is_lean else "no", 8 * n * FEATURES / 1e9, n // chunk_rows, chunk_bytes / 2**20)
        table.row(kind, *told, *sizes, done["seconds"])
        shutil.rmtree(path)


def worker_state(client: Client) -> tuple[set[int], float, float]:
    """Process ids of the workers, the largest peak of their memory, and bytes that they have spilled."""
    peaks = client.run(memory.peak)
    pids = client.run(os.getpid)
    metrics = [worker["metrics"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    spilled = sum(max(metric["spilled_bytes"].values()) for metric in metrics)
    return set(pids.values()), max(peaks.values()), spilled


def fit_on_cluster(folder: Path, gigabytes: float, *, quick: bool) -> None:
    """Print how a fit fares on workers of 700 MB each."""
    table = Table(
        "a fit on two workers of 700 MB, a thread each: the larger peak, and what went wrong",
        {"store": "<11s", "GB": "6.2f", "idle MB": "7.0f", "peak MB": "7.0f", "spilled MB": "10.0f",
         "restarts": "8d", "warnings": "8d", "pass s": "6.2f"},
    )  # fmt: skip
    case = Case.make("full", FEATURES, COMPONENTS, np.float64, quick=quick)
    n, chunk_rows = rows_to_store(gigabytes * 1e9, _chunk_bytes(quick))
    for kind in STORES[:1] if quick else STORES[:2]:
        path = write_store(folder / "cluster.zarr", kind, case.X, n, chunk_rows)
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="700MB", dashboard_address=":0") as cluster,
            Client(cluster) as client,
        ):
            pids, idle, _ = worker_state(client)
            spilled, taken = [0.0], Taken()
            clock = PassClock(taken)

            def listen(event: Event, clock: PassClock = clock, spilled: list[float] = spilled) -> None:
                clock(event)
                if isinstance(event, PassFinished):
                    spilled.append(worker_state(client)[2])

            model = dgmm.GaussianMixture(COMPONENTS, max_iter=2 if quick else 3, tol=0.0, random_state=0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it does not converge
                model.fit(open_store(path), callbacks=[listen], **FROM_STORE)
            after, peak, _ = worker_state(client)
            logs = [*client.get_worker_logs().values(), *client.get_worker_logs(nanny=True).values()]
            told = [line for log in logs for level, line in log if level in ("WARNING", "ERROR")]
            table.row(
                kind, 8 * n * FEATURES / 1e9, idle / 2**20, peak / 2**20, max(spilled) / 2**20, len(after - pids),
                len(told), taken.wall,
            )  # fmt: skip
        for line in told:
            print("  told:", line[:90])
        shutil.rmtree(path)


def larger_than_memory(folder: Path, gigabytes: float, limit_gigabytes: float) -> None:
    """Fit a store under a limit of the address space far below its size, and print the outcome."""
    n, chunk_rows = rows_to_store(gigabytes * 1e9, CHUNK_BYTES)
    free = shutil.disk_usage(folder).free
    if free < 1.2e9 * gigabytes:
        raise SystemExit(f"the store needs up to {gigabytes:g} GB in {folder}, which has {free / 1e9:.0f} GB free")
    case = Case.make("full", FEATURES, COMPONENTS, np.float64, quick=False)
    path = write_store(folder / "larger.zarr", "zstd", case.X, n, chunk_rows)
    on_disk = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    table = Table(
        "a fit under an enforced limit of the address space, beyond what the imports take",
        {"GB": "6.2f", "GB on disk": "10.2f", "chunks": "6d", "limit GB": "8.2f", "peak MB": "7.0f", "pass s": "6.1f",
         "logL": "8.3f"},
    )  # fmt: skip
    done = memory.in_fresh_process(
        "benchmarks.out_of_core",
        "fit_in_fresh_process",
        path=str(path),
        iterations=2,
        limit_bytes=1e9 * limit_gigabytes,
    )
    table.row(
        8 * n * FEATURES / 1e9, on_disk / 1e9, n // chunk_rows, limit_gigabytes, done["peak"] / 2**20, done["seconds"],
        done["bound"],
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    options = arguments(
        __doc__,
        argv,
        ("--larger-than-memory", "fit one store of --gigabytes under --limit instead"),
        values={
            "--gigabytes": (2.0, "size of the largest store as an array"),
            "--folder": ("", "where the stores are written; by default where temporary files are"),
            "--limit": (2.0, "GB of address space for --larger-than-memory"),
        },
    )
    introduce(options)
    gigabytes = min(options.gigabytes, 0.02) if options.quick else options.gigabytes
    with folder_for_stores(options.folder) as folder:
        if options.larger_than_memory:
            larger_than_memory(folder, gigabytes, options.limit)
            return
        compare_times(folder, quick=options.quick)
        compare_memory(folder, gigabytes, quick=options.quick)
        fit_on_cluster(folder, gigabytes, quick=options.quick)


if __name__ == "__main__":
    main()
