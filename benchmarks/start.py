"""How good are dgmm's default start and the fit from it beside scikit-learn's from its own default?

Both get the same ``tol`` and ``n_init=1``, several seeds, and one thread. Likelihoods are means per
row, in nats; iterations are reads of the data after the start (dgmm reads them once more for the
start); seconds are CPU seconds of the whole fit.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Sequence
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


def fit(model: Any, case: Case) -> tuple[float, int, float]:
    """Mean log-likelihood, iterations and seconds of a fit."""
    began = time.process_time()
    with one_thread(), dask.config.set(scheduler="synchronous"):
        model.fit(case.X)
    seconds = time.process_time() - began
    return float(model.score(case.X)), int(model.n_iter_), seconds


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = arguments(__doc__, argv)
    introduce(options)
    warnings.simplefilter("ignore")
    seeds = range(2 if options.quick else 3)
    table = Table(
        f"mean log-likelihood from the default start, tol={TOL:g}, {len(seeds)} seeds; sk: scikit-learn",
        {
            "data": "<12s", "rows": "6d", "d": "2d", "K": "2d", "family": "<6s", "mean": "8.3f",
            "sk mean": "8.3f", "worst": "8.3f", "sk worst": "8.3f", "iter": "4.0f", "sk": "3.0f",
            "s": "4.1f", "sk s": "4.1f",
        },
    )  # fmt: skip
    ratios = []
    for case in cases(quick=options.quick):
        common = {"covariance_type": case.family, "tol": TOL, "max_iter": MAX_ITER, "reg_covar": case.reg_covar}
        ours, theirs = [], []
        for seed in seeds:
            ours.append(fit(GaussianMixture(case.k, random_state=seed, **common), case))
            theirs.append(fit(Peer(case.k, random_state=seed, **common), case))
        (a, iterations, seconds), (b, peer_iterations, peer_seconds) = np.mean(ours, axis=0), np.mean(theirs, axis=0)
        ratios.append(peer_seconds / seconds)
        table.row(
            case.name, *case.X.shape, case.k, case.family, a, b, min(ours)[0], min(theirs)[0],
            iterations, peer_iterations, seconds, peer_seconds,
        )  # fmt: skip
    print(f"geometric mean of scikit-learn's seconds over dgmm's: {geometric_mean(ratios):.2f}")


if __name__ == "__main__":
    main()
