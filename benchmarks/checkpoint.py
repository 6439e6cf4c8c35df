"""What does it cost to keep a fit's progress, and what does it save?

The same fit from zarr without a checkpoint, and with one at several intervals; seconds are of the
whole fit on two threads, least of some turns. "pass" is the median pass of the fit, "kept" how often
a state was written, "MB" what lies in the place in the end. "again" is what the same call takes when
the fit was stopped in the middle of its last pass, and "finished" when it had ended.
"""

from __future__ import annotations

import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import dask
import numpy as np

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, introduce
from benchmarks.out_of_core import folder_for_stores, open_store, write_store
from dgmm import Checkpoint, Execution, GaussianMixture
from dgmm.fitting.events import Event, PassAdvanced, PassFinished
from dgmm.storage.checkpoint import CheckpointStore

FEATURES, COMPONENTS, ITERATIONS = 16, 64, 3
INTERVALS = (60.0, 1.0, 0.0)


class StoppedError(Exception):
    """Raised in the middle of the last pass."""


class Watch:
    """Takes the seconds of the passes; may stop the last one in its middle."""

    def __init__(self, *, stop: bool = False) -> None:
        self.seconds: list[float] = []
        self.stop = stop

    def __call__(self, event: Event) -> None:
        if isinstance(event, PassFinished):
            self.seconds.append(event.seconds)
        last = isinstance(event, PassAdvanced) and event.index == 1 + ITERATIONS
        if self.stop and last and event.chunks_done >= event.n_chunks / 2:
            raise StoppedError


def fit(path: Path, means: np.ndarray, checkpoint: Checkpoint | None, watch: Watch) -> float:
    """Wall seconds of a fit from given means."""
    precisions = np.broadcast_to(np.eye(FEATURES), (COMPONENTS, FEATURES, FEATURES))
    model = GaussianMixture(
        COMPONENTS,
        weights_init=np.full(COMPONENTS, 1.0 / COMPONENTS),
        means_init=means,
        precisions_init=precisions,
        max_iter=ITERATIONS,
        tol=0.0,
        accelerate=None,
        random_state=0,
    )
    began = time.perf_counter()
    with warnings.catch_warnings(), dask.config.set(scheduler="threads", num_workers=2):
        warnings.simplefilter("ignore")
        execution = Execution(persist=False)
        model.fit(open_store(path), checkpoint=checkpoint, callbacks=watch, execution=execution)
    return time.perf_counter() - began


def megabytes(place: Path) -> float:
    """What lies in a folder."""
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / 1e6


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    values: dict[str, tuple[Any, str]] = {
        "--folder": ("", "where the rows are written; the system's temporary folder if left out"),
        "--turns": (3, "how often each fit is made"),
    }
    options = arguments(__doc__, argv, values=values)
    introduce(options)
    n, turns = (40_000, 1) if options.quick else (10_000_000, options.turns)
    rng = np.random.default_rng(0)
    means = 4.0 * rng.normal(size=(COMPONENTS, FEATURES))
    base = means[rng.integers(COMPONENTS, size=200_000)] + rng.normal(size=(200_000, FEATURES))
    count, save = [0], CheckpointStore.save

    def counted(*arguments: Any, **keywords: Any) -> None:
        count[0] += 1
        save(*arguments, **keywords)

    CheckpointStore.save = counted  # type: ignore[method-assign]
    with folder_for_stores(options.folder) as folder:
        path = write_store(folder / "rows.zarr", "raw", base, n, n // 80)
        place = folder / "place"
        least, kept, passes = dict.fromkeys((None, *INTERVALS), np.inf), {}, []
        fit(path, means, None, Watch())  # the kernel is compiled, the rows are in the page cache
        for _ in range(turns):
            for interval in (None, *INTERVALS):
                shutil.rmtree(place, ignore_errors=True)
                count[0], watch = 0, Watch()
                checkpoint = None if interval is None else Checkpoint(place, interval=interval)
                least[interval] = min(least[interval], fit(path, means, checkpoint, watch))
                kept[interval] = (count[0], 0.0 if interval is None else megabytes(place))
                passes += watch.seconds if interval is None else []
        title = f"{n:,} rows, d = {FEATURES}, K = {COMPONENTS}, {1 + ITERATIONS} passes of {median(passes):.2f} s"
        table = Table(title, {"interval": "<8", "seconds": "8.2f", "ratio": "6.3f", "kept": "5d", "MB": "6.1f"})
        for interval, seconds in least.items():
            name = "none" if interval is None else f"{interval:g} s"
            table.row(name, seconds, seconds / least[None], *(kept[interval] if interval is not None else (None, None)))
        shutil.rmtree(place, ignore_errors=True)
        checkpoint = Checkpoint(place, interval=1.0 if not options.quick else 0.0)
        try:
            fit(path, means, checkpoint, Watch(stop=True))
        except StoppedError:
            again = Watch()
            seconds = fit(path, means, checkpoint, again)
            table = Table("the same call once more", {"after": "<22", "seconds": "8.2f", "passes": "6d"})
            table.row("stopped in pass 4", seconds, len(again.seconds))
            again = Watch()
            seconds = fit(path, means, checkpoint, again)
            table.row("finished", seconds, len(again.seconds))


if __name__ == "__main__":
    main()
