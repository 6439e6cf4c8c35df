"""What does a selection cost, beside its candidates fitted one by one, and beside scikit-learn's loop?

Full covariances, K = 1 to 20, the same ``random_state``; rows in memory, and in zarr (chunks of 4 MB, zstd) read in
every pass. "select": dgmm.select; "one by one": each candidate fitted alone and scored by one more read, with the
same parameters and result; "scikit-learn": each fitted by its default start with tol=0.001 and scored, in memory.
"reads" counts reads of all the rows, an EM iteration of scikit-learn being one. Seconds on two threads, and CPU
seconds; "ratio" is CPU seconds over those of the selection. BIC per row, the lowest over K, and that K.
With ``--growth``: which K the criteria choose as rows are added from three clusters that are no Gaussians.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dask
import numpy as np
from sklearn.mixture import GaussianMixture as Peer
from threadpoolctl import threadpool_limits

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import dgmm
from benchmarks.machine import Table, arguments, introduce
from benchmarks.out_of_core import folder_for_stores, open_store, write_store
from benchmarks.reads import Case
from dgmm import Execution, GaussianMixture

THREADS = 2
ROWS = 500_000
OPTIONS: dict[str, Any] = {"tol": "auto", "max_iter": 200}

Found = tuple[int, dict[int, float]]
"""Reads of the data, and BIC by K."""


def select(X: Any, numbers: Sequence[int], sample_rows: int) -> Found:
    """All candidates at once."""
    found = dgmm.select(
        X,
        numbers,
        criterion="bic",
        random_state=0,
        sample_rows=sample_rows,
        execution=Execution(persist=False),
        **OPTIONS,
    )
    bic = found.table.bic.sel(covariance_type="full")
    return found.n_reads, {int(k): float(bic.sel(n_components=k)) for k in numbers}


def one_by_one(X: Any, numbers: Sequence[int], sample_rows: int) -> Found:
    """Each candidate by itself."""
    reads, bic = 0, {}
    for k in numbers:
        model = GaussianMixture(k, random_state=0, sample_rows=sample_rows, **OPTIONS)
        model.fit(X, execution=Execution(persist=False))
        bic[k] = model.bic(X)
        reads += model.n_reads_ + 1
    return reads, bic


def peers(X: np.ndarray, numbers: Sequence[int], sample_rows: int) -> Found:
    """scikit-learn's loop; it has no sample."""
    reads, bic = 0, {}
    with threadpool_limits(THREADS):
        for k in numbers:
            model = Peer(k, random_state=0).fit(X)
            bic[k] = model.bic(X)
            reads += model.n_iter_ + 1
    return reads, bic


def compare(case: Case, numbers: Sequence[int], folder: Path, *, quick: bool) -> None:
    """Print the table of one case."""
    X = case.rows()
    sample_rows = len(X) // 5
    store = write_store(
        folder / f"{case.n}.zarr", "zstd", X, len(X), max(500, 2**22 // (8 * case.d)) if not quick else 500
    )
    in_memory = np.ascontiguousarray(open_store(store).compute())
    table = Table(
        f"K = {numbers[0]} to {numbers[-1]} of {case.n} rows, {case.d} features, {case.k} clusters",
        {
            "rows": "<6s", "way": "<12s", "reads": "5d", "seconds": "7.1f", "CPU s": "6.1f", "ratio": "5.2f",
            "BIC": "9.5f", "best": "4d",
        },
    )  # fmt: skip
    ways: list[tuple[str, str, Callable[..., Found], Any]] = [
        ("memory", "select", select, in_memory),
        ("memory", "one by one", one_by_one, in_memory),
        ("memory", "scikit-learn", peers, in_memory),
        ("zarr", "select", select, open_store(store)),
        ("zarr", "one by one", one_by_one, open_store(store)),
    ]
    first = {}
    for place, way, function, rows in ways:
        wall, cpu = time.perf_counter(), time.process_time()
        reads, bic = function(rows, numbers, sample_rows)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        best = min(bic, key=bic.__getitem__)
        table.row(place, way, reads, wall, cpu, cpu / first.setdefault(place, cpu), bic[best] / case.n, best)


def grow(noise: str, most: int, counts: Sequence[int], table: Table) -> None:
    """Print which K the criteria choose from more and more rows of three clusters."""
    X = np.random.default_rng(0).permutation(Case(max(counts), 2, 3, 0.0, 6.0, 1.0, noise).rows())
    for n in counts:
        sample_rows = max(2000, n // 5)
        found = dgmm.select(X[:n], range(1, most + 1), "full", "heldout", random_state=0, sample_rows=sample_rows)
        own = found.table.sel(covariance_type="full")
        behind = abs(float(own.heldout_difference.sel(n_components=3)))
        error = float(own.heldout_difference_se.sel(n_components=3))
        lowest = [int(own[name].idxmin()) for name in ("bic", "icl")]
        table.row(noise, n, *lowest, found.best[1], found.simplest[1], behind, error)


def growth(*, quick: bool) -> None:
    """Print the choices of the criteria for clusters with heavy tails, and for skew ones."""
    columns = {"rows are": "<8s", "n": "6d", "BIC": "3d", "ICL": "3d", "held-out": "8d", "within 1 SE": "11d",
               "3 behind by": "11.4f", "+/-": "6.4f"}  # fmt: skip
    table = Table("K that each criterion chooses; what K = 3 lacks on held-out rows, nats a row", columns)
    for noise in ("t", "skew"):
        grow(noise, 3 if quick else 20, (300, 600) if quick else (1000, 5000, 20_000, 200_000), table)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the comparison."""
    values = {"--folder": ("", "where the store is written"), "--rows": (ROWS, "rows")}
    options = arguments(__doc__, argv, ("--growth", "compare the criteria instead"), values=values)
    introduce(options)
    warnings.simplefilter("ignore")
    numbers = range(1, 4 if options.quick else 21)
    # Compiled before anything is timed.
    GaussianMixture(2, random_state=0).fit(np.random.default_rng(0).normal(size=(1000, 2)))
    with dask.config.set(scheduler="threads", num_workers=THREADS), folder_for_stores(options.folder) as folder:
        if options.growth:
            return growth(quick=options.quick)
        case = Case(2_000, 2, 3, 0.0, 12.0) if options.quick else Case(options.rows, 8, 8, 0.0, 4.0, 0.02)
        compare(case, numbers, folder, quick=options.quick)


if __name__ == "__main__":
    main()
