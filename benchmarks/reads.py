"""How many reads of the data does a fit take until it is as near the optimum as its rows can tell?

Each case is fitted by each way of ``accelerate``, with ``tol="auto"`` and a sample that is a part of
the rows. Reads count the first one, which draws the sample. "within": the read that finds the mean
log-likelihood within p_free / (2 n) of the optimum (plain EM from the accelerated result on, until it
rises by less than 1e-8 nats a row or a ten-thousandth of p_free / (2 n), 150 iterations at most; or
the other result, if that is higher); "plain" and "auto" are the reads until then, ">" where none
found it so. "stop", "end": reads when the fit stopped; "gap", "left": how far below that optimum its
result is, in units of p_free / (2 n); "est": what the accelerated one estimated then. "sep" is the
distance of the centres, "least" the smallest weight, "part" the sample's part of the rows; rows are
normal, heavy-tailed (t) or skew in each cluster, and covariances full where no family is named.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dask
import numpy as np

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, introduce, one_thread
from dgmm import GaussianMixture
from dgmm.fitting.events import IterationFinished

MOST_READS = 150
OPTIONS = (None, "auto")
FEW = 4


@dataclass(frozen=True)
class Case:
    """Rows from clusters, and how they are fitted.

    Attributes
    ----------
    n, d, k : int
        Rows, features, components.
    sample : float
        Share of the rows that the sample is.
    spread : float
        Distance of the centres, roughly, in standard deviations.
    lightest : float
        Weight of the lightest cluster; the others' rise from there in equal ratios. 1 makes all equal.
    noise : str
        ``normal``, ``t`` (four degrees of freedom) or ``skew`` (log-normal); the latter two are no mixture of
        so many Gaussians.
    family : str
    """

    n: int
    d: int
    k: int
    sample: float
    spread: float
    lightest: float = 1.0
    noise: str = "normal"
    family: str = "full"

    def rows(self) -> np.ndarray:
        """Draw the rows, (n, d)."""
        rng = np.random.default_rng([self.n, self.d, self.k])
        centres = self.spread * rng.normal(size=(self.k, self.d)) / np.sqrt(2.0 * self.d)
        weights = np.full(self.k, 1.0 / self.k) if self.lightest == 1.0 else rising(self.lightest, self.k)
        labels = rng.choice(self.k, self.n, p=weights)
        X = np.empty((self.n, self.d))
        for i in range(self.k):
            own = labels == i
            noise = rng.normal(size=(int(own.sum()), self.d))
            if self.noise == "t":
                noise /= np.sqrt(rng.chisquare(4.0, size=(len(noise), 1)) / 4.0)
            elif self.noise == "skew":
                noise = np.exp(0.6 * noise) - np.exp(0.18)
            X[own] = centres[i] + noise @ (np.eye(self.d) + 0.5 * rng.normal(size=(self.d, self.d)) / np.sqrt(self.d))
        return X


def rising(lightest: float, k: int) -> np.ndarray:
    """Weights in equal ratios from the lightest one on, that sum to 1."""
    low, high = 1.0, 1e6
    for _ in range(100):
        ratio = np.sqrt(low * high)
        weights = lightest * ratio ** np.arange(k)
        low, high = (ratio, high) if weights.sum() < 1.0 else (low, ratio)
    return weights / weights.sum()


CASES = (
    Case(400_000, 2, 3, 0.05, 3.0),
    Case(400_000, 2, 8, 0.1, 4.0, 0.005),
    Case(400_000, 2, 5, 0.1, 4.0, 1.0, "skew"),
    Case(200_000, 2, 16, 0.2, 6.0, 0.005, "t"),
    Case(400_000, 2, 3, 0.05, 1.5, 1.0, "skew"),
    Case(400_000, 3, 4, 0.05, 1.0),
    Case(200_000, 3, 12, 0.2, 4.0, 0.01, "skew"),
    Case(200_000, 4, 8, 0.1, 3.0),
    Case(200_000, 4, 64, 0.2, 8.0, 0.005),
    Case(400_000, 6, 5, 0.05, 2.0, 0.02, "t"),
    Case(200_000, 8, 4, 0.1, 2.0, 1.0, "t"),
    Case(200_000, 8, 16, 0.2, 3.0, 0.01),
    Case(200_000, 8, 16, 0.2, 5.0, 0.005, "t"),
    Case(200_000, 8, 32, 0.2, 6.0),
    Case(200_000, 8, 8, 0.2, 1.5),
    Case(200_000, 16, 8, 0.2, 3.0, 0.05, "t"),
    Case(200_000, 16, 16, 0.2, 5.0),
    Case(150_000, 16, 64, 0.2, 8.0),
    Case(150_000, 32, 5, 0.2, 3.0, 0.02),
    Case(150_000, 32, 16, 0.2, 5.0, 1.0, "t"),
    Case(150_000, 64, 3, 0.2, 4.0, 0.1),
    Case(100_000, 64, 8, 0.2, 6.0, 1.0, "skew"),
    Case(200_000, 16, 16, 0.2, 3.0, 0.02, "normal", "diag"),
    Case(200_000, 16, 16, 0.1, 3.0, 0.02, "normal", "tied"),
    Case(200_000, 8, 16, 0.1, 3.0, 1.0, "t", "spherical"),
)
QUICK = (Case(40_000, 2, 3, 0.1, 3.0), Case(30_000, 4, 4, 0.1, 4.0, 0.05, "t"))


@dataclass(frozen=True)
class Outcome:
    """How a fit went; gaps are in units of p_free / (2 n).

    Attributes
    ----------
    within : int or None
        Reads until a read found the likelihood within a unit of the optimum.
    stop : int
    gap : float
    estimated : float or None
    """

    within: int | None
    stop: int
    gap: float
    estimated: float | None


def fit(case: Case, X: np.ndarray, accelerate: str | None) -> tuple[GaussianMixture, list[IterationFinished]]:
    """Fit one way; also return what its iterations told."""
    told: list[IterationFinished] = []

    def listen(event: object) -> None:
        if isinstance(event, IterationFinished):
            told.append(event)

    model = GaussianMixture(
        case.k,
        covariance_type=case.family,
        tol="auto",
        max_iter=MOST_READS,
        sample_rows=int(case.sample * case.n),
        random_state=0,
        accelerate=accelerate,
    )
    return model.fit(X, callbacks=[listen]), told


def converged(model: GaussianMixture, X: np.ndarray) -> list[float]:
    """Mean log-likelihoods of plain EM from a model on, until it has converged; the first is the model's."""
    start = {f"{part}_init": getattr(model, f"{part}_") for part in ("weights", "means", "precisions")}
    plain = {"accelerate": None, "tol": max(1e-8, 1e-4 * model.sampling_error_), "max_iter": MOST_READS}
    return (
        GaussianMixture(model.n_components, covariance_type=model.covariance_type, **plain, **start)
        .fit(X)
        .lower_bounds_
    )


def compare(case: Case, X: np.ndarray) -> tuple[dict[str | None, Outcome], float]:
    """Fit each way; also return p_free / (2 n)."""
    fits = {accelerate: fit(case, X, accelerate) for accelerate in OPTIONS}
    model = fits["auto"][0]
    unit = model.sampling_error_
    ends = {accelerate: float(fitted.score(X)) for accelerate, (fitted, _) in fits.items()}
    best = max(*converged(model, X), *ends.values())
    outcomes = {}
    for accelerate, (fitted, told) in fits.items():
        first = fitted.n_reads_ - told[-1].iteration
        within = next((first + event.iteration for event in told if best - event.lower_bound < unit), None)
        estimated = None if fitted.remaining_gap_ is None else fitted.remaining_gap_ / unit
        outcomes[accelerate] = Outcome(within, fitted.n_reads_, (best - ends[accelerate]) / unit, estimated)
    return outcomes, unit


def main(argv: Sequence[str] | None = None) -> None:
    """Print the reads of each case, and how many cases took few."""
    options = arguments(__doc__, argv)
    introduce(options)
    warnings.simplefilter("ignore")
    columns = {
        "kind": "<11s", "rows": "<5s", "d": "2d", "K": "2d", "sep": "3.1f", "least": "5.3f", "part": "4.2f",
        "unit": "5.0e", "plain": "<5s", "stop": "4d", "gap": "5.2f", "auto": "<4s", "end": "3d", "left": "5.2f",
        "est": "4.2f",
    }  # fmt: skip
    table = Table("reads until within p_free / (2 n), the unit, of the optimum, and when the fit stopped", columns)
    found: list[dict[str | None, Outcome]] = []
    for case in QUICK if options.quick else CASES:
        with one_thread(), dask.config.set(scheduler="synchronous"):
            outcomes, unit = compare(case, case.rows())
        found.append(outcomes)
        plain, auto = outcomes[None], outcomes["auto"]
        kind = case.noise if case.family == "full" else f"{case.family} {case.noise}"
        table.row(
            kind, f"{case.n // 1000}k", case.d, case.k, case.spread, case.lightest, case.sample, unit,
            words(plain), plain.stop, plain.gap, words(auto), auto.stop, auto.gap, auto.estimated,
        )  # fmt: skip
    for accelerate in OPTIONS:
        reads = [reads_of(outcomes[accelerate]) for outcomes in found]
        stops = [outcomes[accelerate].stop for outcomes in found]
        print(
            f"accelerate={accelerate}: within in at most {FEW} reads in {np.mean(np.array(reads) <= FEW):.0%} of "
            f"{len(found)} cases; stopped after {np.median(stops):.0f}, the median"
        )
    excess = max(reads_of(outcomes["auto"]) - reads_of(outcomes[None]) for outcomes in found)
    print(f"most reads of auto beyond those of plain EM: {excess}")


def reads_of(outcome: Outcome) -> int:
    """Reads until within; where no read found it so, one more than there were, if the result is."""
    if outcome.within is not None:
        return outcome.within
    return outcome.stop + 1 if outcome.gap < 1.0 else MOST_READS + outcome.stop


def words(outcome: Outcome) -> str:
    """Reads until within, as text."""
    return f">{outcome.stop}" if outcome.within is None else str(outcome.within)


if __name__ == "__main__":
    main()
