"""What do the three ways to compute a component lose on real data, and what does each cost?

dgmm serves a component by a dot product in float32, a dot product in float64, or centred in
float64 (``dgmm.mixture.compiled``), by an estimate of the loss. The rows are float32; the truth is
the same mixture evaluated in extended precision. Errors are in nats a row.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_sample_image, load_wine
from sklearn.preprocessing import StandardScaler

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, interleaved, introduce, one_thread
from dgmm import GaussianMixture
from dgmm.mixture.compiled import CompiledMixture, assign, compile_mixture, dot_product_loss
from dgmm.mixture.families import FAMILIES, CovarianceFamily
from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.parameters import Coordinates, MixtureParameters
from dgmm.passes.plan import ExecutionPlan

NEVER, ALWAYS = 0.0, np.inf
WAYS: dict[str, dict[str, float]] = {
    "float32": {"float32": ALWAYS, "float64": ALWAYS},
    "float64": {"float32": NEVER, "float64": ALWAYS},
    "centred": {"float32": NEVER, "float64": NEVER},
}
"""Tolerances that force a way on all components."""

COSTS = ((16, 32), (30, 5), (52, 10))
"""(d, K) whose iterations are timed, full covariances."""


def data_sets(*, quick: bool) -> dict[str, tuple[np.ndarray, tuple[int, ...], float]]:
    """Rows, the numbers of components and ``reg_covar`` of each data set."""
    cancer, digits = load_breast_cancer().data, load_digits().data
    sets = {
        "iris": (load_iris().data, (2, 5), 1e-6),
        "wine": (load_wine().data, (2, 5), 1e-6),
        "cancer raw": (cancer, (2, 5), 1e-6),
        "cancer std": (StandardScaler().fit_transform(cancer), (2, 5), 1e-6),
    }
    if not quick:
        sets["digits"] = (digits[:, digits.std(axis=0) > 0.5], (10,), 1e-3)
        sets["china"] = (load_sample_image("china.jpg").reshape(-1, 3)[::5].astype(float), (10,), 1e-6)
    return sets


@dataclass(frozen=True)
class Fitted:
    """A mixture fitted to float32 rows, in the coordinates of the fit."""

    family: CovarianceFamily
    X: np.ndarray
    inner: MixtureParameters
    coordinates: Coordinates

    @classmethod
    def to(cls, X: np.ndarray, name: str, k: int, reg_covar: float) -> Fitted:
        """Fit a mixture."""
        rows = X.astype(np.float32)
        exact = rows.astype(np.float64)
        model = GaussianMixture(k, covariance_type=name, reg_covar=reg_covar, random_state=0).fit(exact)
        family, d = FAMILIES[name], X.shape[1]
        own = family.parameters(model.weights_, model.means_, family.inner(model.covariances_, k, d))
        covariance = np.cov(exact.T, bias=True) + reg_covar * np.eye(d)
        coordinates = family.form.coordinates(exact.mean(axis=0), covariance)
        return cls(family, rows, family.to_inner(own, coordinates), coordinates)

    @property
    def plan(self) -> ExecutionPlan:
        return ExecutionPlan.choose(self.family, self.inner.n_components, self.inner.n_features)

    def compiled(self, tolerance: dict[str, float]) -> CompiledMixture:
        """Made ready for float32 rows with the given tolerances."""
        options = replace(self.plan.options, tolerance=tolerance)
        return compile_mixture(self.family, self.inner, self.coordinates, np.dtype(np.float32), options)

    def scores(self, tolerance: dict[str, float]) -> np.ndarray:
        """Log-densities of the rows, (n,)."""
        return BlockKernel(self.compiled(tolerance)).score_samples(self.X)

    def true_scores(self) -> np.ndarray:
        """The same in extended precision."""
        inner, k, d = self.inner, self.inner.n_components, self.inner.n_features
        wide = np.longdouble
        scale = self.coordinates.inverse_scale.astype(wide)
        centred = self.X.astype(wide) - self.coordinates.shift
        z = centred @ scale.T if scale.ndim == 2 else centred * scale
        constants = (self.family.log_constants(inner) - self.coordinates.log_det).astype(wide)
        factors = np.broadcast_to(inner.precisions_cholesky, (k, *self.family.form.shape(d))).astype(wide)
        logits = np.empty((len(z), k), dtype=wide)
        for i in range(k):
            offset = z - inner.means[i]
            projected = offset @ factors[i] if factors[i].ndim == 2 else offset * factors[i]
            logits[:, i] = constants[i] - (projected**2).sum(axis=1) / 2
        largest = logits.max(axis=1)
        return np.asarray(largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1)))


def print_errors(*, quick: bool) -> None:
    """Print the estimate beside the errors, for every data set and family."""
    tolerance = ExecutionPlan.choose(FAMILIES["full"], 1, 1).tolerance
    accepted = " and ".join(f"{loss:g} ({name})" for name, loss in tolerance.items())
    print(f"\nthe plan accepts estimates up to {accepted}")
    print("served: components in float32, in float64, centred")
    table = Table(
        "errors of one E-step on float32 rows, nats a row; largest, mean and of the mean log-likelihood",
        {
            "data": "<10s", "d": "2d", "K": "2d", "family": "<9s", "estimate": "8.0e",
            "f32 max": "5.0e", "mean": "5.0e", "logL": "5.0e", "f64 max": "5.0e", "cen max": "5.0e",
            "plan logL": "7.1e", "served": "<6s",
        },
    )  # fmt: skip
    for data, (X, sizes, reg_covar) in data_sets(quick=quick).items():
        # The other tied ones are computed as these are.
        for name in ("full", "tied", "diag", "spherical"):
            for k in sizes:
                fitted = Fitted.to(X, name, k, reg_covar)
                truth = fitted.true_scores()
                errors = {way: fitted.scores(WAYS[way]) - truth for way in WAYS}
                worst = {way: float(np.abs(error).max()) for way, error in errors.items()}
                statistics = BlockKernel(fitted.compiled(fitted.plan.tolerance)).statistics(fitted.X)
                planned = abs(statistics.mean_log_likelihood - float(truth.mean()))
                served = dict(assign(fitted.family, fitted.inner, np.dtype(np.float32), fitted.plan.options))
                shares = "/".join(str(len(served.get(way, ()))) for way in WAYS)
                estimate = float(dot_product_loss(fitted.family, fitted.inner).max() * np.finfo(np.float32).eps)
                single = errors["float32"]
                table.row(
                    data, X.shape[1], k, name, estimate, worst["float32"], float(np.abs(single).mean()),
                    abs(float(single.mean())), worst["float64"], worst["centred"], planned, shares,
                )  # fmt: skip


def print_whitening(*, quick: bool) -> None:
    """Print what whitening in float32 would move, beside what rounding to float32 afterwards moves."""
    table = Table(
        "largest error of z'z / 2 of float32 rows, nats: whitened in float32, and in float64 then rounded",
        {"data": "<10s", "d": "2d", "in float32": "10.0e", "rounded": "7.0e"},
    )
    for data, (X, _, reg_covar) in data_sets(quick=quick).items():
        rows = X.astype(np.float32)
        exact = rows.astype(np.float64)
        covariance = np.cov(exact.T, bias=True) + reg_covar * np.eye(X.shape[1])
        coordinates = FAMILIES["full"].form.coordinates(exact.mean(axis=0), covariance)
        inverse, shift = coordinates.inverse_scale, coordinates.shift
        truth = (exact.astype(np.longdouble) - shift) @ inverse.T.astype(np.longdouble)
        single = (rows - shift.astype(np.float32)) @ inverse.T.astype(np.float32)
        rounded = ((exact - shift) @ inverse.T).astype(np.float32)
        halves = [np.square(z.astype(np.longdouble)).sum(axis=1) / 2 for z in (truth, single, rounded)]
        table.row(data, X.shape[1], *(float(np.abs(half - halves[0]).max()) for half in halves[1:]))


def print_costs(*, quick: bool) -> None:
    """Print the time of an iteration on float32 rows, each way, over the float32 dot product's."""
    table = Table(
        "one iteration of float32 rows, full: ms in float32, and times as long in the other ways",
        {"d": "3d", "K": "3d", "rows": "7d", "f32 dot ms": "10.1f", "f64 dot": "7.2f", "centred f64": "11.2f"},
    )
    for d, k in COSTS:
        rng = np.random.default_rng(0)
        family = FAMILIES["full"]
        n = 2_000 if quick else int(2e9 / (4 * k * family.n_mapped(d)))
        X = rng.normal(size=(n, d)).astype(np.float32)
        parameters = family.parameters(
            np.full(k, 1.0 / k), rng.normal(size=(k, d)), np.tile(np.eye(d) + 0.1, (k, 1, 1))
        )
        fitted = Fitted(family, X, parameters, Coordinates(np.zeros(d), np.eye(d)))
        kernels = {way: BlockKernel(fitted.compiled(tolerance)) for way, tolerance in WAYS.items()}
        tasks = {way: partial(kernel.statistics, X) for way, kernel in kernels.items()}
        seconds = interleaved(tasks, 1 if quick else 7)
        base = seconds["float32"]
        table.row(d, k, n, 1e3 * base, *(seconds[way] / base for way in ("float64", "centred")))


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    options = arguments(__doc__, argv)
    introduce(options)
    warnings.simplefilter("ignore")
    print_errors(quick=options.quick)
    print_whitening(quick=options.quick)
    with one_thread():
        print_costs(quick=options.quick)


if __name__ == "__main__":
    main()
