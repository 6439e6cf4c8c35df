"""How good are hard clusters of one scan, beside scikit-learn's MiniBatchKMeans over the same rows?

Adjusted Rand indices against the clusters that the rows were drawn from, means over the seeds. Both see
each row once, in the same batches (``batch``); MiniBatchKMeans also in batches of 1,024, its own
default, and both with features as they are and scaled to unit variance (``s``), which needs a
read of its own. ``known``: of rows labelled by the clusters that they were drawn from, which overlap;
``gain``: over the best of the four; ``time``: CPU seconds in units of the first of these.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import adjusted_rand_score

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, introduce, one_thread
from dgmm import BFRKMeans

OWN_BATCH = 1024
NAMES = ("known", "scan", "batch", "batch s", "1024", "1024 s")


@dataclass(frozen=True)
class Case:
    """Rows of K axis-aligned normal clusters of unequal width.

    Centres lie ``apart`` units from each other, roughly. A cluster's width, and that of each of its features beside
    the others, are each drawn log-uniformly over a factor ``wide``, about 1. Shares fall geometrically to ``least``
    of the largest.
    """

    d: int
    k: int
    apart: float
    wide: float = 4.0
    least: float = 1.0

    def parts(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shares (K,), centres (K, d) and widths (K, d) of the clusters."""
        rng = np.random.default_rng([self.d, self.k, seed])
        centres = self.apart * rng.normal(size=(self.k, self.d)) / np.sqrt(2.0 * self.d)
        exponents = rng.uniform(-0.5, 0.5, size=(self.k, 1)) + rng.uniform(-0.5, 0.5, size=(self.k, self.d))
        shares = np.geomspace(1.0, self.least, self.k)
        return shares / shares.sum(), centres, self.wide**exponents

    def rows(self, n: int, seed: int, order: str = "random") -> tuple[np.ndarray, np.ndarray]:
        """Rows (n, d) and their clusters (n,): at random, sorted by cluster, or three in the last fifth only."""
        shares, centres, widths = self.parts(seed)
        rng = np.random.default_rng([n, seed])
        labels = rng.choice(self.k, n, p=shares)
        if order == "sorted":
            labels = np.sort(labels)
        elif order == "late":
            early = np.arange(n) < 0.8 * n
            labels = np.where(early, rng.integers(self.k - 3, size=n), rng.integers(self.k, size=n))
        return centres[labels] + widths[labels] * rng.normal(size=(n, self.d)), labels

    def knowing(self, X: np.ndarray, seed: int) -> np.ndarray:
        """The most probable cluster of each row, by what the rows were drawn from."""
        shares, centres, widths = self.parts(seed)
        densities = [
            np.log(share) - np.log(width).sum() - 0.5 * np.square((X - centre) / width).sum(axis=1)
            for share, centre, width in zip(shares, centres, widths, strict=True)
        ]
        return np.argmax(densities, axis=0)


CASES = (
    Case(2, 3, 8.0), Case(2, 8, 12.0, least=0.3), Case(2, 16, 24.0, least=0.3),
    Case(4, 4, 5.0), Case(4, 8, 8.0, least=0.2), Case(4, 16, 8.0, least=0.2),
    Case(8, 3, 4.0, wide=6.0), Case(8, 8, 6.0, least=0.2), Case(8, 32, 8.0, least=0.3),
    Case(16, 4, 4.0, least=0.2), Case(16, 16, 8.0, least=0.2),
    Case(32, 8, 6.0, least=0.2), Case(32, 32, 8.0, least=0.3),
)  # fmt: skip
ORDERED_CASES = (Case(2, 10, 14.0), Case(4, 10, 8.0), Case(8, 10, 8.0), Case(16, 10, 6.0))
QUICK_CASES = (Case(2, 3, 12.0), Case(4, 8, 10.0))


def in_batches(model: BFRKMeans | MiniBatchKMeans, X: np.ndarray, batch: int) -> np.ndarray:
    """Labels of the rows, after a pass over them in batches."""
    for first in range(0, len(X), batch):
        model.partial_fit(X[first : first + batch])
    return np.asarray(model.predict(X))


def ways(case: Case, seed: int, X: np.ndarray, batch: int) -> dict[str, Callable[[], np.ndarray]]:
    """What labels the rows: who knows the clusters, one scan, and scikit-learn's class in four ways."""
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)

    def peer(rows: np.ndarray, size: int) -> Callable[[], np.ndarray]:
        return lambda: in_batches(MiniBatchKMeans(case.k, random_state=seed), rows, size)

    return {
        "known": lambda: case.knowing(X, seed),
        "scan": lambda: in_batches(BFRKMeans(case.k, batch_rows=batch, random_state=seed), X, batch),
        "batch": peer(X, batch),
        "batch s": peer(scaled, batch),
        "1024": peer(X, OWN_BATCH),
        "1024 s": peer(scaled, OWN_BATCH),
    }


def compare(cases: Sequence[Case], seeds: Sequence[int], n: int, batch: int) -> None:
    """Print the adjusted Rand indices of all cases."""
    table = Table(
        f"{n:,} rows in batches of {batch:,}, adjusted Rand index, mean of {len(seeds)} seeds",
        {"d": "2d", "K": "2d", "apart": "5.1f", **dict.fromkeys(NAMES, "6.3f"), "gain": "6.3f", "time": "5.1f"},
    )
    rows: list[np.ndarray] = []
    for case in cases:
        found, seconds = np.empty((len(seeds), len(NAMES))), np.empty((len(seeds), len(NAMES)))
        for number, seed in enumerate(seeds):
            X, truth = case.rows(n, seed)
            labelling = ways(case, seed, X, batch)
            for column, name in enumerate(NAMES):
                began = time.thread_time()
                found[number, column] = adjusted_rand_score(truth, labelling[name]())
                seconds[number, column] = time.thread_time() - began
        means = found.mean(axis=0)
        rows.append(means)
        spent = seconds.sum(axis=0)
        table.row(case.d, case.k, case.apart, *means, means[1] - means[2:].max(), spent[1] / spent[2])
    gains = np.array([means[1] - means[2:].max() for means in rows])
    overall = zip(NAMES, np.mean(rows, axis=0), strict=True)
    print(
        f"\nmean over the cases: {', '.join(f'{name} {mean:.3f}' for name, mean in overall)}"
        f"\ngain over the best of the four in each case: mean {gains.mean():.3f}, least {gains.min():.3f}"
    )


def orders(cases: Sequence[Case], seeds: Sequence[int], n: int, batch: int) -> None:
    """Print what the order of the rows does."""
    table = Table(
        f"{n:,} rows in three orders, adjusted Rand index, mean of {len(seeds)} seeds",
        {"order": "<7s", "d": "2d", "K": "2d", "apart": "5.1f", **dict.fromkeys(NAMES, "6.3f")},
    )
    for case in cases:
        for order in ("random", "sorted", "late"):
            found = np.empty((len(seeds), len(NAMES)))
            for number, seed in enumerate(seeds):
                X, truth = case.rows(n, seed, order)
                labelling = ways(case, seed, X, batch)
                found[number] = [adjusted_rand_score(truth, labelling[name]()) for name in NAMES]
            table.row(order, case.d, case.k, case.apart, *found.mean(axis=0))


def main(argv: Sequence[str] | None = None) -> None:
    """Print how good clusters are, or what the order of the rows does."""
    options = arguments(
        __doc__,
        argv,
        ("--orders", "sorted rows, and clusters that come late"),
        values={
            "--seeds": (3, "seeds of each case"),
            "--rows": (100_000, "rows of a case"),
            "--batch": (20_000, "rows of a batch"),
        },
    )
    introduce(options)
    warnings.simplefilter("ignore")
    n, batch = (6_000, 2_000) if options.quick else (options.rows, options.batch)
    seeds = range(1 if options.quick else options.seeds)
    with one_thread():
        if options.orders:
            orders(QUICK_CASES[1:] if options.quick else ORDERED_CASES, seeds, n, batch)
        else:
            compare(QUICK_CASES if options.quick else CASES, seeds, n, batch)


if __name__ == "__main__":
    main()
