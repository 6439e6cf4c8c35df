"""How long does one EM iteration take beside scikit-learn's own, and where does the time go?

Both do one E-step and one M-step on the same rows from the same parameters, in memory, with one
thread. GFLOP/s count the useful work, ``2 n K * 2 p``; "pair" is what BLAS reaches in the two bare
products of the same shapes, "share" dgmm's GFLOP/s over that. "logL" and "par" are the differences
of the mean log-likelihood and of the next parameters from scikit-learn's in float64.
"""

from __future__ import annotations

import copy
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture as Peer

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, best, geometric_mean, interleaved, introduce, one_thread
from dgmm.mixture.compiled import CompiledMixture, compile_mixture
from dgmm.mixture.families import get_family
from dgmm.mixture.kernel import BlockKernel, complete
from dgmm.mixture.parameters import Coordinates, MixtureParameters
from dgmm.mixture.statistics import SufficientStatistics
from dgmm.passes.plan import ExecutionPlan

SHAPES = (
    ("full", 2, 3),
    ("full", 8, 16),
    ("full", 16, 32),
    ("full", 32, 64),
    ("full", 64, 32),
    ("full", 128, 16),
    ("diag", 16, 32),
    ("spherical", 16, 32),
    ("tied", 16, 32),
)
"""(family, d, K) of the comparison with scikit-learn."""

SCANNED = (
    ("full", 1, 8),
    ("full", 2, 3),
    ("full", 3, 10),
    ("full", 4, 8),
    ("full", 8, 4),
    ("full", 8, 16),
    ("full", 16, 32),
    ("full", 16, 256),
    ("full", 32, 64),
    ("full", 64, 32),
    ("full", 128, 16),
    ("diag", 16, 32),
    ("spherical", 16, 32),
    ("tied", 64, 32),
)
"""(family, d, K) of the scan of block sizes."""

BLOCKS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)


def n_rows(d: int, k: int, p: int, *, quick: bool) -> int:
    """Rows for an iteration of about a quarter of a second."""
    return 6_000 if quick else int(np.clip(4e9 / (4 * k * p + 100 * (k + d)), 16_000, 1_000_000))


@dataclass(frozen=True)
class Case:
    """Rows from an overlapping mixture, and parameters that EM has not finished with."""

    family_name: str
    X: np.ndarray
    parameters: MixtureParameters
    coordinates: Coordinates

    @classmethod
    def make(cls, family_name: str, d: int, k: int, dtype: Any, *, quick: bool) -> Case:
        """Draw a case; the same one in every run."""
        rng = np.random.default_rng(d * 1000 + k)
        family = get_family(family_name)
        n = n_rows(d, k, family.n_mapped(d), quick=quick)
        centres = 2.0 * rng.normal(size=(k, d)) + 10.0
        mixing = np.eye(d) + 0.3 * rng.normal(size=(d, d)) / np.sqrt(d)
        X = (centres[rng.integers(0, k, n)] + rng.normal(size=(n, d)) @ mixing).astype(dtype)
        start = centres + 0.3 * rng.normal(size=(k, d))
        own = mixing.T @ mixing * 1.2
        covariance = {"full": own, "diag": np.diagonal(own), "spherical": np.trace(own) / d}[
            family_name if family_name != "tied" else "full"
        ]
        covariances = np.broadcast_to(covariance, family.shape(k, d))
        parameters = family.parameters(np.full(k, 1.0 / k), start, family.inner(covariances, k, d))
        Y = X.astype(np.float64)
        coordinates = family.form.coordinates(Y.mean(axis=0), np.atleast_2d(np.cov(Y.T)))
        return cls(family_name, X, parameters, coordinates)

    @cached_property
    def inner(self) -> MixtureParameters:
        """The parameters in inner coordinates, where EM goes from one iteration to the next."""
        return get_family(self.family_name).to_inner(self.parameters, self.coordinates)

    @cached_property
    def p(self) -> int:
        """Length of the feature map."""
        return int(self.compiled().groups[0].natural.shape[1])  # type: ignore[union-attr]

    @property
    def flops(self) -> float:
        """Useful work of an iteration, in 1e9."""
        return 4e-9 * len(self.X) * self.parameters.n_components * self.p

    @property
    def pair_flops(self) -> float:
        """The same for the rows that :func:`bare_pair` takes, in 1e9."""
        block = self.compiled().block_rows
        return self.flops / len(self.X) * max(1, round(len(self.X) / block)) * block

    def compiled(self, block_rows: int | None = None) -> CompiledMixture:
        """The case made ready for the kernel, as in an EM pass; for the numpy kernel if its blocks are given."""
        family = get_family(self.family_name)
        options = ExecutionPlan.choose(family, self.parameters.n_components, self.parameters.n_features).options
        if block_rows is not None:
            options = replace(options, block_rows=block_rows, backend="numpy")
        return compile_mixture(family, self.inner, self.coordinates, self.X.dtype, options, whole_density=False)


def iteration(case: Case) -> Callable[[], tuple[SufficientStatistics, MixtureParameters]]:
    """One iteration of dgmm: to the statistics and the next parameters, in inner coordinates."""
    family = get_family(case.family_name)
    scatter = None
    if family.tied:  # of all rows, known from the first read of a fit
        z = case.coordinates.standardize(case.X)
        scatter = family.form.packed_matrix(z.T @ z)[None]
    d, k = case.parameters.n_features, case.parameters.n_components
    chunk = ExecutionPlan.choose(family, k, d).chunk_rows

    def step() -> tuple[SufficientStatistics, MixtureParameters]:
        compiled = case.compiled()
        kernel = BlockKernel(compiled)
        statistics = kernel.statistics(case.X[:chunk])
        for start in range(chunk, len(case.X), chunk):
            statistics = statistics.merge(kernel.statistics(case.X[start : start + chunk]))
        if scatter is not None:
            statistics = complete(compiled, statistics, scatter)
        return statistics, family.estimate(statistics, case.coordinates, 1e-6)

    return step


def peer_iteration(case: Case) -> Callable[[], tuple[float, Peer]]:
    """One iteration of scikit-learn: to the mean log-likelihood and the model."""
    family, d = get_family(case.family_name), case.parameters.n_features
    start = Peer(case.parameters.n_components, covariance_type=case.family_name, reg_covar=1e-6)
    start.weights_ = case.parameters.weights.astype(case.X.dtype)
    start.means_ = case.parameters.means.astype(case.X.dtype)
    start.precisions_cholesky_ = family.public(case.parameters.precisions_cholesky, d).astype(case.X.dtype)

    def step() -> tuple[float, Peer]:
        model = copy.copy(start)
        log_likelihood, responsibilities = model._e_step(case.X)
        try:
            model._m_step(case.X, responsibilities)
        except TypeError:  # of a version whose M-step takes the array namespace
            model._m_step(case.X, responsibilities, xp=np)
        return float(log_likelihood), model

    return step


def bare_pair(case: Case) -> Callable[[], None]:
    """The two products of an iteration alone, block by block."""
    compiled = case.compiled()
    block, natural = compiled.block_rows, compiled.groups[0].natural  # type: ignore[union-attr]
    phi = np.ones((natural.shape[1], block), dtype=natural.dtype)
    logits = np.empty((len(natural), block), dtype=natural.dtype)
    sums = np.empty_like(natural)

    def run() -> None:
        for _ in range(max(1, round(len(case.X) / block))):
            np.matmul(natural, phi, out=logits)
            np.matmul(logits, phi.T, out=sums)

    return run


def difference(case: Case, ours: MixtureParameters, peer: Peer) -> float:
    """Largest difference of weights, means and covariances, in units of the data's spread."""
    family, d, k = get_family(case.family_name), ours.n_features, ours.n_components
    ours = family.to_user(ours, case.coordinates)
    spread = case.X.astype(np.float64).std()
    covariances = family.inner(peer.covariances_, k, d)
    parts = (
        ours.weights - peer.weights_,
        (ours.means - peer.means_) / spread,
        (ours.covariances - covariances) / spread**2,
    )
    return max(float(np.abs(part).max()) for part in parts)


def compare(dtype: Any, *, quick: bool) -> None:
    """Print the comparison with scikit-learn."""
    table = Table(
        f"one EM iteration, {np.dtype(dtype).name}: scikit-learn's seconds over dgmm's",
        {
            "family": "<9s", "d": "3d", "K": "2d", "p": "4d", "rows": "7d", "peer ms": "7.1f",
            "dgmm ms": "7.1f", "ratio": "5.1f", "GFLOP/s": "7.1f", "pair": "5.1f", "share": "5.0%",
            "logL": "5.0e", "par": "5.0e",
        },
    )  # fmt: skip
    ratios = []
    for name, d, k in SHAPES:
        case = Case.make(name, d, k, dtype, quick=quick)
        step, peer_step, pair = iteration(case), peer_iteration(case), bare_pair(case)
        statistics, parameters = step()
        # The truth: scikit-learn on the same rows as float64.
        log_likelihood, peer = peer_iteration(replace(case, X=case.X.astype(np.float64)))()
        seconds = interleaved({"dgmm": step, "peer": peer_step, "pair": pair}, 2 if quick else 5)
        ratios.append(seconds["peer"] / seconds["dgmm"])
        useful, pair_flops = case.flops, case.pair_flops
        table.row(
            name, d, k, case.p, len(case.X), 1e3 * seconds["peer"], 1e3 * seconds["dgmm"], ratios[-1],
            useful / seconds["dgmm"], pair_flops / seconds["pair"],
            useful / seconds["dgmm"] * seconds["pair"] / pair_flops,
            abs(statistics.mean_log_likelihood - log_likelihood), difference(case, parameters, peer),
        )  # fmt: skip
    print(f"geometric mean of the ratios: {geometric_mean(ratios):.2f}")
    if dtype == np.float32:
        compare_precisions(quick=quick)


def compare_precisions(*, quick: bool) -> None:
    """Print what float32 rows gain over float64 ones, beside what the bare products gain."""
    table = Table(
        "one EM iteration in float32 and float64, and the two bare products alone",
        {
            "family": "<9s", "d": "3d", "K": "2d", "float64 ms": "10.1f", "float32 ms": "10.1f", "ratio": "5.2f",
            "pairs' ratio": "12.2f", "share": "5.0%",
        },
    )  # fmt: skip
    for name, d, k in SHAPES:
        cases = {dtype: Case.make(name, d, k, dtype, quick=quick) for dtype in (np.float64, np.float32)}
        tasks: dict[str, Callable[[], object]] = {}
        for dtype, case in cases.items():
            tasks |= {dtype.__name__: iteration(case), f"{dtype.__name__} pair": bare_pair(case)}
            tasks[dtype.__name__]()  # compiled or fetched before it is timed
        seconds = interleaved(tasks, 1 if quick else 5)
        ratio = seconds["float64"] / seconds["float32"]
        pairs = seconds["float64 pair"] / seconds["float32 pair"]
        table.row(name, d, k, 1e3 * seconds["float64"], 1e3 * seconds["float32"], ratio, pairs, ratio / pairs)


def compare_large_k(dtype: Any, *, quick: bool) -> None:
    """Print the throughput with many components beside that with 64, and the memory taken."""
    table = Table(
        f"many components, {np.dtype(dtype).name}: useful GFLOP/s, over that at K = 64, and MB beside the rows",
        {
            "family": "<9s", "d": "3d", "K": "4d", "p": "4d", "rows": "6d", "ms": "7.1f", "GFLOP/s": "7.1f",
            "over K = 64": "11.2f", "A and T MB": "10.1f", "peak MB": "7.1f",
        },
    )  # fmt: skip
    for name, d in (("full", 16), ("full", 64), ("spherical", 128)):
        base = 0.0
        for k in (64, 128 if quick else 1024):
            case = Case.make(name, d, k, dtype, quick=quick)
            compiled = case.compiled()
            run = partial(BlockKernel(compiled).statistics, case.X)
            run()
            rate = case.flops / best(run, 1 if quick else 3)
            base = base or rate
            tracemalloc.start()
            compiled.__dict__.pop("program")
            run()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            held = k * case.p * (case.X.itemsize + 8)
            table.row(
                name, d, k, case.p, len(case.X), 1e3 * case.flops / rate, rate, rate / base, held / 1e6, peak / 1e6
            )


def compare_threads(dtype: Any, *, quick: bool) -> None:
    """Print the time of two threads, each with half of the rows, over that of one with all."""
    table = Table(
        f"one iteration on one thread and on two, {np.dtype(dtype).name}: ms by the clock",
        {"family": "<9s", "d": "3d", "K": "2d", "rows": "8d", "one": "7.1f", "two": "7.1f", "ratio": "5.2f"},
    )
    for name, d, k in (*SHAPES, ("full", 4, 8)):
        case = Case.make(name, d, k, dtype, quick=quick)
        times = 1 if quick else max(1, round(2 * n_rows(d, k, case.p, quick=False) / len(case.X)))
        X = np.tile(case.X, (times, 1))
        kernel = BlockKernel(case.compiled())
        halves = X[: len(X) // 2], X[len(X) // 2 :]
        with ThreadPoolExecutor(2) as pool:

            def two(halves: Any = halves, kernel: BlockKernel = kernel, pool: ThreadPoolExecutor = pool) -> None:
                list(pool.map(lambda half: BlockKernel(kernel.compiled).statistics(half), halves))

            tasks = {"one": partial(kernel.statistics, X), "two": two}
            two()  # compiled or fetched before it is timed
            seconds = interleaved(tasks, 1 if quick else 7, time.perf_counter)
        table.row(name, d, k, len(X), 1e3 * seconds["one"], 1e3 * seconds["two"], seconds["one"] / seconds["two"])


def scan_blocks(dtype: Any, *, quick: bool) -> None:
    """Print the time of the kernel by block size, over that of the fastest."""
    blocks = BLOCKS[:3] if quick else BLOCKS
    table = Table(
        f"numpy kernel: time by rows of a block, {np.dtype(dtype).name}, over the fastest",
        {"family": "<9s", "d": "4d", "K": "4d", "p": "5d", **{str(b): "5.2f" for b in blocks}, "fastest": "7d"},
    )
    for name, d, k in SCANNED[:2] if quick else SCANNED:
        case = Case.make(name, d, k, dtype, quick=quick)
        X = case.X[: 4 * max(blocks)] if quick else case.X
        kernels = {str(b): BlockKernel(case.compiled(b)) for b in blocks}
        tasks = {b: partial(kernel.statistics, X) for b, kernel in kernels.items()}
        seconds = interleaved(tasks, 1 if quick else 5)
        fastest = min(seconds, key=lambda block: seconds[block])
        table.row(name, d, k, case.p, *(seconds[b] / seconds[fastest] for b in seconds), int(fastest))


def main(argv: Sequence[str] | None = None) -> None:
    """Print the comparison with scikit-learn, or another one."""
    options = arguments(
        __doc__,
        argv,
        ("--float32", "float32 rows instead of float64"),
        ("--large-k", "compare 1024 components with 64"),
        ("--threads", "compare two threads with one"),
        ("--blocks", "scan the block sizes of the numpy kernel"),
    )
    introduce(options)
    warnings.simplefilter("ignore")
    chosen = {"large_k": compare_large_k, "threads": compare_threads, "blocks": scan_blocks}
    run = next((run for name, run in chosen.items() if getattr(options, name)), compare)
    with one_thread():
        run(np.float32 if options.float32 else np.float64, quick=options.quick)


if __name__ == "__main__":
    main()
