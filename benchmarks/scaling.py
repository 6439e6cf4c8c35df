"""How much faster is an iteration on two threads, or on two worker processes, than on one?

Each line does the same iterations of ``GaussianMixture.fit`` on the same rows with one BLAS thread
a task: wall seconds, the least of several runs taken in turns. "CPU" is how much CPU time the two
take over the one: 1 where nothing is lost to the other, so that what is missing from a ratio of 2
is waiting. The lines of the machine are bare loops on two threads. About four minutes.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.fits import Fit, threads
from benchmarks.kernel import Case
from benchmarks.machine import Table, arguments, introduce, one_thread

SHAPES = ((2, 3), (4, 8), (8, 16), (16, 32), (32, 64), (64, 32), (128, 16))
"""(d, K) of the iterations on threads; full covariances."""

PROCESS_SHAPES = ((2, 32), (8, 16), (16, 32), (64, 32))
"""(d, K) of the iterations on worker processes."""

SECONDS_ON_THREADS = 0.25
"""Of an iteration on one thread, at least."""

SECONDS_ON_PROCESSES = 1.3
"""Of an iteration on one worker, at least."""

MOST_BYTES = 800e6
CHUNKS_OF_A_WORKER = 4
"""Chunks that each of two workers holds."""


def rows_for(case: Case, seconds: float) -> int:
    """Rows with which an iteration takes so long on one thread, as far as they stay within ``MOST_BYTES``."""
    with threads(1):
        _, taken = Fit(case, case.X).run(2)
    wanted = 1.2 * seconds / taken * len(case.X)
    return int(min(wanted, MOST_BYTES / (8 * case.X.shape[1])))


def repeated(case: Case, n: int) -> np.ndarray:
    """The rows of a case, repeated to n."""
    return np.resize(case.X, (n, case.X.shape[1]))


def side_by_side(function: Callable[[], object], count: int) -> None:
    """Call a function on so many threads at once."""
    running = [threading.Thread(target=function) for _ in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def timed(run: Callable[[], float | None]) -> tuple[float, float]:
    """Wall seconds, by its own account if it gives one, and CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    own = run()
    return time.perf_counter() - wall if own is None else own, time.process_time() - cpu


def one_and_two(run: Callable[[int], float | None], repeats: int) -> tuple[float, float, float]:
    """Least wall seconds with one and with two, and the CPU time of two over that of one."""
    wall, cpu = {1: np.inf, 2: np.inf}, {1: np.inf, 2: np.inf}
    for _ in range(repeats):
        for count in (1, 2):
            seconds, used = timed(lambda count=count: run(count))  # type: ignore[misc]
            wall[count], cpu[count] = min(wall[count], seconds), min(cpu[count], used)
    return wall[1], wall[2], cpu[2] / cpu[1]


def limits_of_two_threads(table: Table, *, quick: bool) -> None:
    """Print the lines of the machine: the same work on each of two threads, or twice on one."""
    size = 256 if quick else 1536
    square = np.random.default_rng(0).normal(size=(size, size))
    memory = np.zeros(2**20 if quick else 2**25)
    loops: dict[str, Callable[[], object]] = {
        "dgemm": lambda: np.matmul(square, square),
        "memory read": lambda: [memory.max() for _ in range(4)],
    }
    for name, loop in loops.items():

        def run(count: int, loop: Callable[[], object] = loop) -> None:
            if count == 2:
                side_by_side(loop, 2)
            else:
                loop()
                loop()

        with one_thread():
            one, two, cpu = one_and_two(run, 2 if quick else 7)
        table.row(name, None, None, None, 1e3 * one, 1e3 * two, one / two, cpu)


def compare_threads(*, quick: bool) -> None:
    """Print the comparison of two threads with one."""
    table = Table(
        "two threads against one, float64, full",
        {"work": "<11s", "d": "3d", "K": "2d", "rows": "8d", "one ms": "7.1f", "two ms": "7.1f", "ratio": "5.2f",
         "CPU": "5.2f"},
    )  # fmt: skip
    limits_of_two_threads(table, quick=quick)
    for d, k in SHAPES[:3] if quick else SHAPES:
        case = Case.make("full", d, k, np.float64, quick=quick)
        fit = Fit(case, case.X if quick else repeated(case, rows_for(case, SECONDS_ON_THREADS)))

        def run(count: int, fit: Fit = fit) -> float:
            with threads(count):
                return fit.run(1 if quick else 3)[1]

        one, two, cpu = one_and_two(run, 1 if quick else 5)
        table.row("iteration", d, k, len(fit.X), 1e3 * one, 1e3 * two, one / two, cpu)


def made_on_workers(case: Case, n: int, client: Client) -> da.Array:
    """n rows of a case in the memory of the workers, in chunks that two workers can share evenly."""
    d, n_chunks = case.X.shape[1], 2 * CHUNKS_OF_A_WORKER
    rows = n // n_chunks
    source = client.scatter(case.X, broadcast=True, hash=False)
    made = client.map(make_chunk, range(n_chunks), source=source, rows=rows, pure=False)
    with client.as_current():
        X = da.concatenate([da.from_delayed(chunk, (rows, d), case.X.dtype) for chunk in made]).persist()
        wait(X)
    return X


def make_chunk(number: int, source: np.ndarray, rows: int) -> np.ndarray:
    """Rows of a chunk."""
    return np.resize(np.roll(source, number, axis=0), (rows, source.shape[1]))


def compare_processes(*, quick: bool) -> None:
    """Print the comparison of two worker processes with one."""
    table = Table(
        "two worker processes against one, a thread each, rows in their memory, float64, full",
        {"d": "3d", "K": "2d", "rows": "8d", "one ms": "7.0f", "two ms": "7.0f", "ratio": "5.2f"},
    )
    with ExitStack() as stack:
        clients = {}
        for count in (1, 2):
            cluster = stack.enter_context(
                LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=":0", memory_limit=0)
            )
            clients[count] = stack.enter_context(Client(cluster, set_as_default=False))
        for d, k in PROCESS_SHAPES[:1] if quick else PROCESS_SHAPES:
            case = Case.make("full", d, k, np.float64, quick=quick)
            n = len(case.X) if quick else rows_for(case, SECONDS_ON_PROCESSES)
            data = {count: made_on_workers(case, n, client) for count, client in clients.items()}

            def run(count: int, case: Case = case, data: dict[int, da.Array] = data) -> float:
                with clients[count].as_current():
                    return Fit(case, data[count]).run(1 if quick else 2)[1]

            one, two, _ = one_and_two(run, 1 if quick else 4)
            table.row(d, k, len(data[1]), 1e3 * one, 1e3 * two, one / two)
            del data, run


def main(argv: Sequence[str] | None = None) -> None:
    """Print the comparisons."""
    options = arguments(__doc__, argv)
    introduce(options)
    compare_threads(quick=options.quick)
    compare_processes(quick=options.quick)


if __name__ == "__main__":
    main()
