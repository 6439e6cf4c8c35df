"""How long does one EM iteration take beside scikit-learn's own, and which block size is fastest?

Both do one E-step and one M-step on the same rows from the same parameters, in memory, with one
BLAS thread. GFLOP/s count the useful work, ``2 n K * 2 p``; "pair" is what the two bare products of
the same shapes reach. "logL" and "par" are the differences of the mean log-likelihood and of the
next parameters from scikit-learn's in float64.
"""

from __future__ import annotations

import copy
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture as Peer

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, best, geometric_mean, interleaved, introduce, one_thread
from dgmm.mixture.compiled import CompiledMixture, KernelOptions, compile_mixture
from dgmm.mixture.families import get_family
from dgmm.mixture.kernel import BlockKernel, _exponentiate, complete
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

    def compiled(self, block_rows: int | None = None) -> CompiledMixture:
        """The case made ready for the kernel, as in an EM pass; by default in the plan's blocks."""
        family = get_family(self.family_name)
        plan = ExecutionPlan.choose(family, self.parameters.n_components, self.parameters.n_features)
        options = KernelOptions(block_rows or plan.block_rows, plan.tolerance)
        inner = family.to_inner(self.parameters, self.coordinates)
        return compile_mixture(family, inner, self.coordinates, self.X.dtype, options, whole_density=False)


def iteration(case: Case) -> Callable[[], tuple[SufficientStatistics, MixtureParameters]]:
    """One iteration of dgmm: to the statistics and the next parameters."""
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
        estimate = family.estimate(statistics, case.coordinates, 1e-6)
        return statistics, family.to_user(estimate, case.coordinates)

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
            "family": "<9s", "d": "3d", "K": "2d", "p": "4d", "rows": "7d", "block": "5d", "peer ms": "7.1f",
            "dgmm ms": "7.1f", "ratio": "5.1f", "GFLOP/s": "7.1f", "pair": "4.1f", "logL": "5.0e", "par": "5.0e",
        },
    )  # fmt: skip
    ratios = []
    for name, d, k in SHAPES:
        case = Case.make(name, d, k, dtype, quick=quick)
        step, peer_step, pair = iteration(case), peer_iteration(case), bare_pair(case)
        statistics, parameters = step()
        # The truth: scikit-learn on the same rows as float64.
        log_likelihood, peer = peer_iteration(replace(case, X=case.X.astype(np.float64)))()
        tasks = {"dgmm": step, "peer": peer_step, "pair": pair}
        seconds = interleaved(tasks, 2 if quick else 5)
        natural = case.compiled().groups[0].natural  # type: ignore[union-attr]
        n, p = len(case.X), natural.shape[1]
        block = case.compiled().block_rows
        ratios.append(seconds["peer"] / seconds["dgmm"])
        useful = 4e-9 * n * k * p
        pair_flops = 4e-9 * max(1, round(n / block)) * block * k * p / seconds["pair"]
        table.row(
            name, d, k, p, n, block, 1e3 * seconds["peer"], 1e3 * seconds["dgmm"], ratios[-1],
            useful / seconds["dgmm"], pair_flops,
            abs(statistics.mean_log_likelihood - log_likelihood), difference(case, parameters, peer),
        )  # fmt: skip
    print(f"geometric mean of the ratios: {geometric_mean(ratios):.2f}")


def scan_blocks(dtype: Any, *, quick: bool) -> None:
    """Print the time of the kernel by block size, over that of the fastest."""
    blocks = BLOCKS[:3] if quick else BLOCKS
    table = Table(
        f"time by rows of a block, {np.dtype(dtype).name}, over the fastest",
        {"family": "<9s", "d": "4d", "K": "4d", "p": "5d", **{str(b): "5.2f" for b in blocks}, "fastest": "7d"},
    )
    for name, d, k in SCANNED[:2] if quick else SCANNED:
        case = Case.make(name, d, k, dtype, quick=quick)
        X = case.X[: 4 * max(blocks)] if quick else case.X
        kernels = {str(b): BlockKernel(case.compiled(b)) for b in blocks}
        tasks = {b: partial(kernel.statistics, X) for b, kernel in kernels.items()}
        seconds = interleaved(tasks, 1 if quick else 5)
        fastest = min(seconds, key=lambda block: seconds[block])
        p = case.compiled().groups[0].natural.shape[1]  # type: ignore[union-attr]
        table.row(name, d, k, p, *(seconds[b] / seconds[fastest] for b in seconds), int(fastest))


PARTS = ("whiten", "phi", "logits", "softmax", "sums")


def time_parts(case: Case) -> dict[str, float]:
    """Seconds of the parts of the kernel's loop over blocks, written out here with a clock between them."""
    kernel = BlockKernel(case.compiled())
    server: Any = kernel._servers[0]
    d, natural = case.X.shape[1], server.group.natural
    seconds = dict.fromkeys(PARTS, 0.0)
    marks = [time.thread_time()]
    for _, z in kernel._blocks(case.X):
        marks.append(time.thread_time())
        phi = server._fit(server.phi, z.shape[1])
        phi[1 : 1 + d] = z
        if len(phi) > 1 + d:
            server.form.products(phi[1 : 1 + d], phi[1 + d :])
        marks.append(time.thread_time())
        logits = np.matmul(natural, phi, out=server._fit(server.logits, z.shape[1]))
        marks.append(time.thread_time())
        log_sum, total = _exponentiate(logits)
        logits /= total
        log_sum.sum(dtype=np.float64)
        marks.append(time.thread_time())
        np.matmul(logits, phi.T, out=server.product)
        server.sums += server.product
        marks.append(time.thread_time())
        for i, name in enumerate(PARTS):
            seconds[name] += marks[i + 1] - marks[i]
        marks = marks[-1:]
    return seconds


def profile(dtype: Any, *, quick: bool) -> None:
    """Print where the time of an iteration goes."""
    table = Table(
        f"where the time of the kernel goes, {np.dtype(dtype).name}: ms, and the bare pair of products",
        {"family": "<9s", "d": "3d", "K": "2d", "rows": "7d", **dict.fromkeys(PARTS, "7.1f"), "all": "6.1f",
         "pair": "6.1f", "pair/all": "8.0%"},
    )  # fmt: skip
    for name, d, k in SHAPES:
        case = Case.make(name, d, k, dtype, quick=quick)
        runs = [time_parts(case) for _ in range(1 if quick else 5)]
        seconds = min(runs, key=lambda run: sum(run.values()))
        pair = best(bare_pair(case), 1 if quick else 5)
        total = sum(seconds.values())
        parts = (1e3 * seconds[part] for part in PARTS)
        table.row(name, d, k, len(case.X), *parts, 1e3 * total, 1e3 * pair, pair / total)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the comparison, the scan of block sizes, or the profile."""
    options = arguments(
        __doc__,
        argv,
        ("--float32", "float32 rows instead of float64"),
        ("--blocks", "scan the block sizes instead of comparing"),
        ("--parts", "time the parts of the kernel instead of comparing"),
    )
    introduce(options)
    warnings.simplefilter("ignore")
    run = scan_blocks if options.blocks else profile if options.parts else compare
    with one_thread():
        run(np.float32 if options.float32 else np.float64, quick=options.quick)


if __name__ == "__main__":
    main()
