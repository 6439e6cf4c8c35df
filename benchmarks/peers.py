"""How long does one EM iteration take on two threads, beside implementations that others use?

All do one iteration on the same rows, in memory, from the same parameters: wall seconds, the least
of several runs taken in turns. dgmm's are those of an iteration of ``GaussianMixture.fit``, a peer's
those of a call for one iteration. "par" is the largest difference of a peer's next parameters from
dgmm's (means in units of the data's spread, covariances in those of its square). oneDAL is
``daal4py.em_gmm`` of scikit-learn-intelex. Peers that are not installed are left out. About two
minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import memory
from benchmarks.fits import Fit, least, threads, wall
from benchmarks.kernel import Case, peer_iteration
from benchmarks.machine import Table, arguments, geometric_mean, introduce

try:
    import daal4py
except ImportError:
    daal4py = None

SHAPES = (
    ("full", 2, 3, 1_000_000),
    ("full", 8, 16, 500_000),
    ("full", 16, 32, 200_000),
    ("full", 32, 64, 100_000),
    ("full", 64, 32, 50_000),
    ("full", 128, 16, 20_000),
    ("diag", 16, 32, 500_000),
)
"""(family, d, K, n)."""

THREADS = 2
REG_COVAR = 1e-6  # of benchmarks/kernel.py

Estimate: TypeAlias = tuple[Any, Any, Any]
"""Weights (K,), means (K, d) and covariances, (K, d, d) or (K, d)."""

Iteration: TypeAlias = Callable[[], tuple[float, Estimate]]
"""Makes one iteration; returns its wall seconds and the next parameters."""


def of_dgmm(case: Case) -> Iteration:
    """An iteration of a fit; the read for the moments, which a fit makes first, is not counted."""
    fit = Fit(case, case.X)

    def step() -> tuple[float, Estimate]:
        with threads(THREADS):
            model, seconds = fit.run()
        return seconds, (model.weights_, model.means_, model.covariances_)

    return step


def of_onedal(case: Case) -> Iteration:
    """An iteration of oneDAL, which adds nothing to the covariances: this does it afterwards."""
    start, dtype = case.parameters, case.X.dtype
    full, (k, d) = case.family_name == "full", start.means.shape
    algorithm = daal4py.em_gmm(
        nComponents=k,
        fptype="double" if dtype == np.float64 else "float",
        maxIterations=1,
        accuracyThreshold=0.0,
        covarianceStorage="full" if full else "diagonal",
    )
    weights, means = start.weights.astype(dtype)[None], start.means.astype(dtype)
    covariances = [covariance.astype(dtype).reshape(-1, d) for covariance in start.covariances]
    added = REG_COVAR * (np.eye(d) if full else np.ones(d))

    def step() -> tuple[float, Estimate]:
        results = []
        seconds = wall(lambda: results.append(algorithm.compute(case.X, weights, means, covariances)))()
        result = results[0]
        next_covariances = np.array([np.asarray(c) for c in result.covariances]).reshape(start.covariances.shape)
        return seconds, (np.ravel(result.weights), result.means, next_covariances + added)

    return step


def of_sklearn(case: Case) -> Iteration:
    """An iteration of scikit-learn."""
    run = peer_iteration(case)

    def step() -> tuple[float, Estimate]:
        models = []
        with threadpool_limits(THREADS):
            seconds = wall(lambda: models.append(run()[1]))()
        return seconds, (models[0].weights_, models[0].means_, models[0].covariances_)

    return step


PEERS: dict[str, Callable[[Case], Iteration]] = {"dgmm": of_dgmm, "oneDAL": of_onedal, "sklearn": of_sklearn}
"""What makes an iteration, by name; dgmm first."""


def installed() -> list[str]:
    """Names of the peers that can be run here; says which cannot."""
    if daal4py is None:
        print("oneDAL is left out: scikit-learn-intelex is not installed")
        return [name for name in PEERS if name != "oneDAL"]
    daal4py.daalinit(THREADS)
    return list(PEERS)


def make_case(family_name: str, d: int, k: int, n: int, dtype: Any, *, quick: bool) -> Case:
    """A case of benchmarks/kernel.py, its rows repeated to n."""
    case = Case.make(family_name, d, k, dtype, quick=quick)
    return case if quick else replace(case, X=np.resize(case.X, (n, d)))


def difference(case: Case, ours: Estimate, theirs: Estimate) -> float:
    """Largest difference of weights, means and covariances, in units of the data's spread."""
    spread = float(case.X.std(dtype=np.float64))
    units = (1.0, spread, spread**2)
    return max(float(np.abs(a - b).max() / unit) for a, b, unit in zip(ours, theirs, units, strict=True))


def compare(dtype: Any, names: Sequence[str], *, quick: bool) -> None:
    """Print the seconds and the differences of all cases."""
    peers = names[1:]
    columns = {"family": "<6s", "d": "3d", "K": "2d", "rows": "7d", "dgmm": "7.1f"}
    for name in peers:
        columns |= {name: "7.1f", f"{name} x": "6.2f", f"{name} par": "7.0e"}
    table = Table(f"one EM iteration on {THREADS} threads, {np.dtype(dtype).name}: ms, and times dgmm's", columns)
    ratios: dict[str, list[float]] = {name: [] for name in peers}
    for family_name, d, k, n in (SHAPES[0], SHAPES[1], SHAPES[-1]) if quick else SHAPES:
        case = make_case(family_name, d, k, n, dtype, quick=quick)
        steps = {name: PEERS[name](case) for name in names}
        estimates = {name: step()[1] for name, step in steps.items()}
        seconds = least({name: (lambda step=step: step()[0]) for name, step in steps.items()}, 1 if quick else 7)
        cells: list[Any] = []
        for name in peers:
            ratios[name].append(seconds[name] / seconds["dgmm"])
            error = difference(case, estimates["dgmm"], estimates[name])
            cells += [1e3 * seconds[name], ratios[name][-1], error]
        table.row(family_name, d, k, len(case.X), 1e3 * seconds["dgmm"], *cells)
    for name in peers:
        print(f"geometric mean of {name} over dgmm: {geometric_mean(ratios[name]):.2f}; least: {min(ratios[name]):.2f}")


def peak_above_data(name: str, shape: tuple[str, int, int, int], *, quick: bool) -> float:
    """Bytes that an iteration takes beside its rows at its peak; meant for a process of its own."""
    if name == "oneDAL":
        daal4py.daalinit(THREADS)
    case = make_case(*shape, np.float64, quick=quick)
    PEERS[name](replace(case, X=case.X[:2000]))()  # what is loaded or compiled at the first use
    step = PEERS[name](case)
    memory.reset_peak()
    before = memory.resident()
    step()
    return memory.peak() - before


def compare_memory(names: Sequence[str], *, quick: bool) -> None:
    """Print the peak of the memory of each."""
    family_name, d, k, n = shape = SHAPES[1]
    title = f"peak memory of an iteration beside the rows, float64, {family_name}, d = {d}, K = {k}"
    table = Table(f"{title}, rows of {8 * n * d / 1e6:.0f} MB", {"by": "<8s", "MB": "6.0f"})
    for name in names:
        peak = memory.in_fresh_process("benchmarks.peers", "peak_above_data", name=name, shape=shape, quick=quick)
        table.row(name, peak / 1e6)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the comparisons."""
    options = arguments(__doc__, argv)
    introduce(options)
    names = installed()
    for dtype in (np.float64, np.float32):
        compare(dtype, names, quick=options.quick)
    compare_memory(names, quick=options.quick)


if __name__ == "__main__":
    main()
