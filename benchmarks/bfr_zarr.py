"""What does one scan of rows on disk cost, beside one EM pass over them?

Wall seconds on two threads, the rows read from zarr each time, the fastest of some turns taken in turns. "pass":
one EM pass of a ``GaussianMixture``. "scan": the fit of a ``BFRGaussianMixture``; "start": its first round, in
which the start is made. "ratio": the scan but for the first round, as if that had gone like the others, in
passes; "whole": the scan in passes. "sweep": how often EM's maps went over a row, in the mean.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask
import numpy as np

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.bfr import Case
from benchmarks.machine import Table, arguments, introduce
from benchmarks.out_of_core import folder_for_stores, open_store, write_store
from dgmm import BFRGaussianMixture, Execution, GaussianMixture
from dgmm.fitting.events import Event, PassFinished, RoundFinished

CASES = (Case(2, 3, 6.0), Case(4, 8, 4.0), Case(8, 16, 3.0), Case(16, 8, 3.0), Case(16, 32, 6.0), Case(32, 8, 6.0))
QUICK_CASES = (Case(2, 3, 6.0),)
THREADS = 2
DISTINCT_ROWS = 1_000_000


class Watch:
    """Keeps what a fit tells."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


def pass_seconds(path: Path, k: int, means: np.ndarray) -> float:
    """Wall seconds of one EM pass, the faster of two."""
    d, watch = means.shape[1], Watch()
    model = GaussianMixture(
        k, weights_init=np.full(k, 1.0 / k), means_init=means, precisions_init=np.broadcast_to(np.eye(d), (k, d, d)),
        max_iter=2, tol=0.0, accelerate=None, random_state=0,
    )  # fmt: skip
    model.fit(open_store(path), callbacks=watch, execution=Execution(persist=False))
    return min(event.seconds for event in watch.of(PassFinished)[1:])


def scan(path: Path, k: int, batch_rows: int | None) -> tuple[BFRGaussianMixture, float, list[RoundFinished]]:
    """A fitted scan, its wall seconds, and its rounds."""
    model, watch = BFRGaussianMixture(k, batch_rows=batch_rows, random_state=0), Watch()
    began = time.perf_counter()
    model.fit(open_store(path), callbacks=watch)
    return model, time.perf_counter() - began, watch.of(RoundFinished)


def measure(path: Path, case: Case, n: int, turns: int, batch_rows: int | None) -> tuple[float, ...]:
    """One row of the table: rows of a round, pass, scan, start, ratio, whole, sweeps."""
    means = case.parts(0)[1]
    pass_seconds(path, case.k, means)  # the kernel is compiled, the rows are in the page cache
    passes, scans = [], []
    for _ in range(turns):
        passes.append(pass_seconds(path, case.k, means))
        scans.append(scan(path, case.k, batch_rows))
    model, whole, rounds = min(scans, key=lambda found: found[1])
    first = rounds[0].n_rows
    rest = whole - rounds[0].seconds
    sweeps = model._progress.scan.n_sweeps / n
    ratio = rest * n / max(n - first, 1) / min(passes)
    return first, min(passes), whole, rounds[0].seconds, ratio, whole / min(passes), sweeps


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    values: dict[str, tuple[Any, str]] = {
        "--folder": ("", "where the rows are written; the system's temporary folder if left out"),
        "--rows": (10_000_000, "rows of a case"),
        "--turns": (2, "how often each fit is made"),
    }
    options = arguments(__doc__, argv, values=values)
    introduce(options)
    warnings.simplefilter("ignore")
    n, batch = (40_000, 5_000) if options.quick else (options.rows, None)
    columns = {
        "d": "2d", "K": "2d", "round": "9,d", "pass": "6.2f", "scan": "6.2f", "start": "6.2f", "ratio": "5.2f",
        "whole": "5.1f", "sweep": "4.2f",
    }  # fmt: skip
    table = Table(f"{n:,} rows from zarr", columns)
    with folder_for_stores(options.folder) as folder, dask.config.set(scheduler="threads", num_workers=THREADS):
        for case in QUICK_CASES if options.quick else CASES:
            base = case.rows(min(n, DISTINCT_ROWS), 0)
            path = write_store(folder / f"{case.d}-{case.k}.zarr", "compressed", base, n, min(n // 20, 100_000))
            table.row(case.d, case.k, *measure(path, case, n, 1 if options.quick else options.turns, batch))


if __name__ == "__main__":
    main()
