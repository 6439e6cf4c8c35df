"""How good is one scan, beside EM that goes on from it and EM from where the scan started?

Likelihoods are means per held-out row, in nats. ``left``: what EM to convergence, continued from the scan on
all rows, adds; ``gain``: the scan less EM to convergence from the same start. EM is extrapolated, and ends when
20 passes raise the likelihood by less than a thousandth of p_free / (2 n), or after 1,000 passes.

``sweep``: how often EM's maps went over a row, in the mean, and ``time``: CPU seconds in units of an
EM pass, both without the start.
"""

from __future__ import annotations

import itertools
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.competitors import on_sample, problem_of_rows
from benchmarks.machine import Table, arguments, introduce, one_thread
from dgmm.estimators._fitting import default_batch_rows, default_start_rows
from dgmm.fitting.bfr import bfr_round, start_scan
from dgmm.fitting.climb import Part, converge
from dgmm.fitting.driving import run
from dgmm.fitting.em import FitState, em
from dgmm.fitting.problem import Control, FitProblem
from dgmm.fitting.renewing import renewed
from dgmm.fitting.scanning import BFRControl, BFRSetup, BFRState, problem_of
from dgmm.fitting.start import ArrayPass, Start
from dgmm.fitting.surrogate import Surrogate
from dgmm.mixture.families import get_family
from dgmm.mixture.kernel import BlockKernel, StatisticsMap
from dgmm.mixture.parameters import MixtureParameters
from dgmm.mixture.sampling import RowSample
from dgmm.passes.plan import ExecutionPlan

HELD_OUT = 50_000
REG_COVAR = 1e-6
PRIMARIES = ("certain", "mahalanobis")
# Rounds of a case whose rounds are as large as a fit starts from.
ROUNDS = 8
TIGHTNESS = (0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0)
# How far centres move, in standard deviations.
_DRIFT = 4.0


@dataclass(frozen=True)
class Case:
    """Rows of K normal clusters whose centres lie ``spread`` standard deviations apart, roughly."""

    d: int
    k: int
    spread: float
    elongation: float = 0.5
    least_share: float = 0.02

    def parts(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shares (K,), centres (K, d) and factors (K, d, d) of the clusters."""
        rng = np.random.default_rng([self.d, self.k, seed])
        shares = np.geomspace(1.0, 0.1, self.k)
        shares = np.maximum(shares / shares.sum(), self.least_share / 4.0)
        shares[-1] = min(shares[-1], self.least_share)
        centres = self.spread * rng.normal(size=(self.k, self.d)) / np.sqrt(2.0 * self.d)
        noise = rng.normal(size=(self.k, self.d, self.d)) / np.sqrt(self.d)
        return shares / shares.sum(), centres, np.eye(self.d) + self.elongation * noise

    def rows(self, n: int, seed: int, order: str = "random") -> np.ndarray:
        """Rows in an order.

        At random; sorted by cluster; late: with three clusters in the last fifth only; drifting: the
        centres move by four standard deviations from the first row to the last.
        """
        shares, centres, factors = self.parts(seed)
        rng = np.random.default_rng([n, seed])
        labels = rng.choice(self.k, n, p=shares)
        if order == "sorted":
            labels = np.sort(labels)
        elif order == "late":
            late = labels >= self.k - 3
            first = np.arange(n) < 0.8 * n
            labels[late & first] = rng.choice(self.k - 3, int((late & first).sum()))
            hidden = ~first & (rng.random(n) < 0.5)
            labels[hidden] = rng.choice(np.arange(self.k - 3, self.k), int(hidden.sum()))
        X = rng.normal(size=(n, self.d))
        for i in range(self.k):
            own = labels == i
            X[own] = centres[i] + X[own] @ factors[i]
        if order == "drifting":
            ways = rng.normal(size=(self.k, self.d))
            ways *= _DRIFT / np.linalg.norm(ways, axis=1, keepdims=True)
            X += np.linspace(-0.5, 0.5, n)[:, None] * ways[labels]
        return X


CASES = (
    Case(2, 3, 6.0), Case(2, 5, 3.0), Case(2, 16, 5.0, 0.5, 0.005), Case(2, 64, 16.0, 0.5, 0.005),
    Case(4, 8, 4.0, 1.0), Case(4, 8, 4.0, 3.0), Case(4, 32, 4.0, 0.5, 0.005), Case(4, 16, 8.0),
    Case(8, 3, 2.0), Case(8, 16, 3.0), Case(8, 16, 8.0), Case(8, 8, 4.0, 3.0), Case(8, 32, 4.0, 0.5, 0.005),
    Case(16, 4, 2.0), Case(16, 8, 3.0), Case(16, 8, 6.0, 2.0), Case(16, 16, 8.0),
    Case(32, 4, 3.0), Case(32, 8, 6.0), Case(64, 3, 4.0),
)  # fmt: skip
QUICK_CASES = (Case(2, 3, 6.0), Case(4, 8, 6.0))


def setup_of(case: Case, control: BFRControl) -> BFRSetup:
    """What is fitted to a case."""
    family = get_family("full")
    options = ExecutionPlan.choose(family, case.k, case.d).options
    return BFRSetup(family, case.k, REG_COVAR, np.dtype(np.float64), options, Start("kmeans", 1), control)


def scan(setup: BFRSetup, X: np.ndarray, *, alone: bool = False) -> tuple[BFRState, BFRState, float]:
    """The state after the start and after all rows, and CPU seconds after the start; alone: without its sample."""
    began, state = time.thread_time(), BFRState.empty(X.shape[1], X.dtype)
    started = None
    rounds = setup.control.sample_rows
    for first in range(0, len(X), rounds):
        rows = X[first : first + rounds]
        state = run(bfr_round(setup, state), ArrayPass(rows, np.ones(len(rows))))
        if alone:
            state = replace(state, sample=None)
        if started is None and state.parameters is not None:
            started, began = state, time.thread_time()
    if started is None:
        started = state = start_scan(setup, state)
    return started, renewed(setup, state), time.thread_time() - began


def parameters_of(state: BFRState) -> MixtureParameters:
    """Those of a scan that has begun."""
    if state.parameters is None:
        raise AssertionError("the scan has not begun")
    return state.parameters


@dataclass(frozen=True)
class Data:
    """Rows, held-out rows, and EM on the rows."""

    setup: BFRSetup
    X: np.ndarray
    held_out: np.ndarray

    def score(self, state: BFRState, rows: np.ndarray | None = None) -> float:
        """Mean log-likelihood of the held-out rows, or of others."""
        problem = problem_of(self.setup, state, 1.0, 1.0)
        kernel = BlockKernel(problem.compile(parameters_of(state), whole_density=True))
        return float(kernel.score_samples(self.held_out if rows is None else rows).mean())

    def begun(self, state: BFRState, sample_rows: int = 1) -> tuple[FitProblem, MixtureParameters]:
        """The problem of all rows, and the parameters of a scan in its coordinates."""
        problem, family = problem_of_rows(self.setup, self.X, sample_rows), self.setup.family
        if state.coordinates is None:
            raise AssertionError("the scan has not begun")
        return problem, family.to_inner(family.to_user(parameters_of(state), state.coordinates), problem.coordinates)

    def ended(self, state: BFRState, problem: FitProblem, parameters: MixtureParameters) -> BFRState:
        """A scan's state with other parameters, of a problem of all rows."""
        family = self.setup.family
        if state.coordinates is None:
            raise AssertionError("the scan has not begun")
        return replace(
            state, parameters=family.to_inner(family.to_user(parameters, problem.coordinates), state.coordinates)
        )

    def converged(self, state: BFRState, most: int = 1000) -> BFRState:
        """The state with the parameters that EM on all rows goes to from there."""
        problem, at = self.begun(state)
        n = len(self.X)
        part = Part.of(problem, RowSample(n, np.zeros(n, dtype=np.uint64), self.X, np.ones(n)), on_sample)
        return self.ended(state, problem, converge(part, at, np.zeros(len(at.weights), dtype=bool), most)[0])

    def after_passes(self, state: BFRState, count: int, accelerate: Literal["auto"] | None) -> BFRState:
        """The state after so many EM passes over all rows.

        ``"auto"``: as a fit accelerates them, with a sample of as many rows as the scan holds at a time.
        """
        problem, at = self.begun(state, self.setup.control.sample_rows + self.setup.control.buffer_rows)
        surrogate = Surrogate.of(problem, len(self.X), on_sample) if accelerate else None
        passes = em(problem, Control(0.0, count, accelerate), FitState.start(at), surrogate=surrogate)
        return self.ended(state, problem, run(passes, ArrayPass(self.X, np.ones(len(self.X)))).parameters)

    def pass_seconds(self, state: BFRState) -> float:
        """CPU seconds of one EM pass."""
        problem = problem_of(self.setup, state, 1.0, 1.0)
        began = time.thread_time()
        ArrayPass(self.X, np.ones(len(self.X)))(StatisticsMap(problem.compile(parameters_of(state))))
        return time.thread_time() - began


def compare(
    cases: Sequence[Case], seeds: Sequence[int], n: int, control: BFRControl, primaries: Sequence[str] = PRIMARIES
) -> None:
    """Print where scans land, by the primary rule; without ``sample_rows`` in rounds as large as a fit starts from."""
    both = [f"{column} {primary[0]}" for primary in primaries for column in ("left", "gain", "sweep", "time")]
    sizes = f"{n:,} rows, rounds of {control.sample_rows:,}" if control.sample_rows else f"{ROUNDS} rounds"
    table = Table(
        f"{sizes}, buffer {control.buffer_rows:,}; c, m: primary rule",
        {"d": "2d", "K": "2d", "apart": "5.1f", "seed": "d",
         **({} if control.sample_rows else {"round": "7,d"}), "scan": "9.4f",
         **{name: "7.4f" if name[0] in "lg" else "4.1f" for name in both}},
    )  # fmt: skip
    left: dict[str, list[float]] = {primary: [] for primary in primaries}
    gain: dict[str, list[float]] = {primary: [] for primary in primaries}
    given = control
    for case in cases:
        if not given.sample_rows:
            n_parameters = setup_of(case, given).family.n_parameters(case.k, case.d)
            control = replace(given, sample_rows=default_start_rows(n_parameters, default_batch_rows(case.d)))
            n = ROUNDS * control.sample_rows
        for seed in seeds:
            X = case.rows(n + HELD_OUT, seed)
            cells: list[float] = []
            same_start = first = None
            for primary in primaries:
                data = Data(setup_of(case, replace(control, primary=primary, seed=seed)), X[:n], X[n:])
                started, state, seconds = scan(data.setup, data.X)
                score = data.score(state)
                if same_start is None:
                    same_start, first = data.score(data.converged(started)), score
                left[primary].append(data.score(data.converged(state)) - score)
                gain[primary].append(score - same_start)
                cells += [left[primary][-1], gain[primary][-1], state.n_sweeps / n, seconds / data.pass_seconds(state)]
            rounds = () if given.sample_rows else (control.sample_rows,)
            table.row(case.d, case.k, case.spread, seed, *rounds, first, *cells)
    for primary in primaries:
        print(f"\n{primary}: {describe(np.array(left[primary]), np.array(gain[primary]))}")


def describe(left: np.ndarray, gain: np.ndarray) -> str:
    """The distribution of what EM adds, and of the difference from EM from the same start."""
    trim = int(0.05 * len(gain))
    trimmed = np.sort(gain)[trim : len(gain) - trim].mean()
    return (
        f"left: within 0.005 in {np.mean(left <= 0.005):.0%} of {len(left)} runs, 90th percentile "
        f"{np.quantile(left, 0.9):.4f}, 98th {np.quantile(left, 0.98):.4f}\n"
        f"  gain: median {np.median(gain):.4f}, trimmed mean {trimmed:.4f}, "
        f"least {gain.min():.4f}, most {gain.max():.4f}"
    )


def orders(spreads: Sequence[float], seeds: Sequence[int], n: int, control: BFRControl) -> None:
    """Print what the order of the rows does."""
    table = Table(
        f"{n:,} rows of 10 clusters in three orders; EM: to convergence, from the same start",
        {"order": "<7s", "seed": "d", "d": "2d", "apart": "5.1f", "scan": "9.4f", "then EM": "9.4f",
         "EM": "9.4f", "moved": "d", "sweep": "4.1f"},
    )  # fmt: skip
    for spread in spreads:
        case = Case(4, 10, spread)
        for order in ("random", "sorted", "late"):
            for seed in seeds:
                X = case.rows(n, seed, order)
                held_out = np.random.default_rng(seed).permutation(n) < min(HELD_OUT, n // 5)
                data = Data(setup_of(case, replace(control, seed=seed)), X[~held_out], X[held_out])
                started, state, _ = scan(data.setup, data.X)
                table.row(
                    order, seed, case.d, spread, data.score(state), data.score(data.converged(state)),
                    data.score(data.converged(started)), state.n_moved, state.n_sweeps / len(data.X),
                )  # fmt: skip


def refine(cases: Sequence[Case], seeds: Sequence[int], n: int, control: BFRControl) -> None:
    """Print what is left after some EM passes over all rows that follow the scan."""
    most = 3
    names = {
        f"{kind}{count}": (kind, count) for kind in ("em", "auto") for count in range(most + 1) if count or kind == "em"
    }
    table = Table(
        f"{n:,} rows: what EM to convergence adds on them to the scan followed by passes, in p_free / (2 n)",
        {"d": "2d", "K": "2d", "apart": "5.1f", "seed": "d", **dict.fromkeys(names, "9.3f")},
    )  # fmt: skip
    left: dict[str, list[float]] = {name: [] for name in names}
    for case in cases:
        for seed in seeds:
            X = case.rows(n, seed)
            data = Data(setup_of(case, replace(control, seed=seed)), X, X)
            state = scan(data.setup, X)[1]
            unit = data.begun(state)[0].sampling_error
            top = data.score(data.converged(state))
            for name, (kind, count) in names.items():
                after = data.after_passes(state, count, "auto" if kind == "auto" else None) if count else state
                left[name].append((top - data.score(after)) / unit)
            table.row(case.d, case.k, case.spread, seed, *(left[name][-1] for name in names))
    print("\nwithin 1: " + ", ".join(f"{name} {np.mean(np.array(values) <= 1.0):.0%}" for name, values in left.items()))


def tightness(n: int, rounds: int, *, quick: bool) -> None:
    """Print what the tightness of subclusters does, by the textbook's rule, which makes most of them."""
    table = Table(
        f"{n:,} rows, rounds of {rounds:,}, mahalanobis, without the sample: by how much less than the best",
        {"order": "<7s", "buffer": "6,d", "d": "2d", "K": "2d", "best": "9.4f",
         **{f"{value:g}": "7.4f" for value in TIGHTNESS}},
    )  # fmt: skip
    buffers, cases = (rounds // 10, rounds // 2), (Case(2, 10, 12.0), Case(4, 10, 6.0))
    for order, buffer, case in itertools.product(
        ("random", "late", "sorted"), buffers[1:] if quick else buffers, cases[:1] if quick else cases
    ):
        X = case.rows(n, 0, order)
        held_out = np.random.default_rng(0).permutation(n) < n // 5
        scores = []
        for value in TIGHTNESS:
            control = BFRControl(rounds, buffer, "mahalanobis", secondary_tightness=value)
            data = Data(setup_of(case, control), X[~held_out], X[held_out])
            scores.append(data.score(scan(data.setup, data.X, alone=True)[1]))
        best = max(scores)
        table.row(order, buffer, case.d, case.k, best, *(score - best for score in scores))


def main(argv: Sequence[str] | None = None) -> None:
    """Print where scans land, what passes after them add, or what the order of the rows does."""
    options = arguments(
        __doc__,
        argv,
        ("--orders", "sorted rows, and clusters that come late"),
        ("--passes", "EM passes that follow the scan"),
        ("--tightness", "tightness of compressed subclusters"),
        values={
            "--seeds": (1, "seeds of each case"),
            "--rows": (400_000, "rows of a case"),
            "--batch": (50_000, "rows of a round; 0: as many as a fit starts from, in 8 rounds"),
            "--primary": (",".join(PRIMARIES), "primary rules"),
            "--first": (0, "number of the first case"),
            "--most": (len(CASES), "number of cases"),
        },
    )  # fmt: skip
    introduce(options)
    warnings.simplefilter("ignore")
    n = 8_000 if options.quick else options.rows
    batch, buffer = (2_000, 1_000) if options.quick else (options.batch, 10_000)
    control = BFRControl(sample_rows=batch, buffer_rows=buffer)
    with one_thread():
        if options.tightness:
            tightness(n, batch, quick=options.quick)
        elif options.orders:
            orders((12.0,) if options.quick else (6.0, 12.0), range(options.seeds), n, control)
        else:
            cases = QUICK_CASES if options.quick else CASES[options.first : options.first + options.most]
            if options.passes:
                refine(cases, range(options.seeds), n, control)
            else:
                compare(cases, range(options.seeds), n, control, options.primary.split(","))


if __name__ == "__main__":
    main()
