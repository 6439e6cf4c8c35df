"""How good are dgmm's default start and the fit from it beside scikit-learn's from its own default?

Both get the same ``tol`` and ``n_init=1``, several seeds, and one thread. Likelihoods are means per
row, in nats; iterations are reads of the data after the start (dgmm reads them once more for the
start); seconds are CPU seconds of the whole fit.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_sample_image, load_wine
from sklearn.mixture import GaussianMixture as Peer

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, geometric_mean, introduce, one_thread
from dgmm import GaussianMixture
from dgmm.fitting import start as starts

TOL = 1e-4
MAX_ITER = 500


@dataclass(frozen=True)
class Case:
    """Rows, and how they are to be fitted."""

    name: str
    X: np.ndarray
    k: int
    family: str = "full"
    reg_covar: float = 1e-6


def synthetic(n: int, d: int, k: int, spread: float) -> np.ndarray:
    """Rows from k components whose centres lie ``spread`` standard deviations apart, roughly.

    Features have units from 0.1 to 1,000, weights fall to a tenth.
    """
    rng = np.random.default_rng(1000 * d + k)
    centres = spread * rng.normal(size=(k, d)) / np.sqrt(2.0 * d)
    weights = np.linspace(1.0, 0.1, k)
    labels = rng.choice(k, n, p=weights / weights.sum())
    X = np.empty((n, d))
    for i in range(k):
        own = labels == i
        X[own] = centres[i] + rng.normal(size=(int(own.sum()), d)) @ (
            np.eye(d) + 0.5 * rng.normal(size=(d, d)) / np.sqrt(d)
        )
    return X * np.logspace(-1, 3, d)


def cases(*, quick: bool) -> list[Case]:
    """The data sets."""
    digits = load_digits().data
    small = [
        Case("iris", load_iris().data, 3),
        Case("wine", load_wine().data, 3, "diag"),
    ]
    if quick:
        return [*small, Case("d 2, apart", synthetic(2_000, 2, 4, 6.0), 4)]
    return [
        *small,
        Case("cancer", load_breast_cancer().data, 4, "diag"),
        Case("digits", digits[:, digits.std(axis=0) > 0.5], 10, "full", 1e-2),
        Case("digits", digits[:, digits.std(axis=0) > 0.5], 10, "tied", 1e-2),
        Case("china", load_sample_image("china.jpg").reshape(-1, 3).astype(float), 8),
        Case("d 2, apart", synthetic(200_000, 2, 8, 8.0), 8),
        Case("d 2, overlap", synthetic(200_000, 2, 8, 3.0), 8),
        Case("d 8, apart", synthetic(200_000, 8, 16, 8.0), 16),
        Case("d 8, overlap", synthetic(200_000, 8, 16, 3.0), 16),
        Case("d 16, mixed", synthetic(600_000, 16, 8, 5.0), 8),
    ]


def correlated(n: int) -> np.ndarray:
    """Rows from four clusters that lie across the direction in which all four features spread most."""
    rng = np.random.default_rng(4)
    centres = np.zeros((4, 4))
    centres[:, 1:3] = 8.0 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    rotation = np.linalg.qr(np.column_stack([np.ones(4), rng.normal(size=(4, 3))]))[0]
    return (centres[rng.integers(0, 4, n)] + rng.normal(size=(n, 4)) * [50.0, 1.0, 1.0, 1.0]) @ rotation.T


def metric_cases(*, quick: bool) -> list[Case]:
    """The data sets on which metrics of the starts are compared; only full covariances have two."""
    small = [Case("iris", load_iris().data, 3), Case("wine", load_wine().data, 3)]
    if quick:
        return [*small, Case("correlated", correlated(2_000), 4)]
    full = [case for case in cases(quick=False) if case.family == "full" and case.name != "iris"]
    return [*small, Case("correlated", correlated(200_000), 4), *full]


def fit(model: Any, case: Case) -> tuple[float, int, float]:
    """Mean log-likelihood, iterations and seconds of a fit."""
    began = time.process_time()
    with one_thread(), dask.config.set(scheduler="synchronous"):
        model.fit(case.X)
    seconds = time.process_time() - began
    return float(model.score(case.X)), int(model.n_iter_), seconds


METRICS = {"whitened": 0, "scaled": 1, "alternating": None}
"""Which of the starts on a sample are kept: those of even or odd number, or all."""


@contextmanager
def metric(parity: int | None) -> Iterator[None]:
    """Let all starts of a fit take one metric: as many as otherwise, drawn as dgmm draws them."""
    own = starts._sample_starts
    if parity is not None:
        starts._sample_starts = lambda problem, name, count, rng: own(problem, name, 2 * count, rng)[parity::2]
    try:
        yield
    finally:
        starts._sample_starts = own


def compare_metrics(seeds: Sequence[int], *, quick: bool) -> None:
    """Print the likelihoods by the metric in which k-means makes its starts."""
    table = Table(
        f"mean log-likelihood by the metric of the starts, tol={TOL:g}, mean of {len(seeds)} seeds",
        {"data": "<12s", "rows": "6d", "d": "2d", "K": "2d", **dict.fromkeys(METRICS, "8.3f")},
    )
    for case in metric_cases(quick=quick):
        means = []
        for parity in METRICS.values():
            with metric(parity):
                means.append(np.mean([fit(ours(case, seed), case)[0] for seed in seeds]))
        table.row(case.name, *case.X.shape, case.k, *means)


def ours(case: Case, seed: int) -> GaussianMixture:
    """An estimator with dgmm's default start."""
    return GaussianMixture(case.k, random_state=seed, **common(case))


def common(case: Case) -> dict[str, Any]:
    """What both estimators are told."""
    return {"covariance_type": case.family, "tol": TOL, "max_iter": MAX_ITER, "reg_covar": case.reg_covar}


def compare(seeds: Sequence[int], *, quick: bool) -> None:
    """Print the comparison with scikit-learn."""
    table = Table(
        f"mean log-likelihood from the default start, tol={TOL:g}, {len(seeds)} seeds; sk: scikit-learn",
        {
            "data": "<12s", "rows": "6d", "d": "2d", "K": "2d", "family": "<6s", "mean": "8.3f",
            "sk mean": "8.3f", "worst": "8.3f", "sk worst": "8.3f", "iter": "4.0f", "sk": "3.0f",
            "s": "4.1f", "sk s": "4.1f",
        },
    )  # fmt: skip
    ratios = []
    for case in cases(quick=quick):
        fits = [fit(ours(case, seed), case) for seed in seeds]
        peers = [fit(Peer(case.k, random_state=seed, **common(case)), case) for seed in seeds]
        (a, iterations, seconds), (b, peer_iterations, peer_seconds) = np.mean(fits, axis=0), np.mean(peers, axis=0)
        ratios.append(peer_seconds / seconds)
        table.row(
            case.name, *case.X.shape, case.k, case.family, a, b, min(fits)[0], min(peers)[0],
            iterations, peer_iterations, seconds, peer_seconds,
        )  # fmt: skip
    print(f"geometric mean of scikit-learn's seconds over dgmm's: {geometric_mean(ratios):.2f}")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the comparison with scikit-learn, or that of the metrics."""
    options = arguments(__doc__, argv, ("--metrics", "compare the metrics of the starts instead"))
    introduce(options)
    warnings.simplefilter("ignore")
    seeds = range(2 if options.quick else 3)
    run = compare_metrics if options.metrics else compare
    run(seeds, quick=options.quick)


if __name__ == "__main__":
    main()
