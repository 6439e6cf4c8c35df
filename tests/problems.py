"""Fit problems over rows in memory, as the control flow sees them."""

import numpy as np

from dgmm.fitting.problem import FitProblem
from dgmm.fitting.start import ArrayPass
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.compiled import KernelOptions
from dgmm.mixture.families import CovarianceFamily
from dgmm.mixture.moments import MomentsMap
from dgmm.mixture.parameters import MixtureParameters

OPTIONS = KernelOptions(64, {"float32": 1e-3, "float64": 1e-9})


def make_problem(
    family: CovarianceFamily, k: int, X: np.ndarray, reg_covar: float = 0.0, options: KernelOptions = OPTIONS
) -> tuple[FitProblem, ArrayPass]:
    moments = MomentsMap(0, len(X))(X, None, Chunk(0, 0, len(X)))
    problem = FitProblem.of(family, k, moments, reg_covar, np.dtype(np.float64), options)
    return problem, ArrayPass(X, np.ones(len(X)))


def at_rows(problem: FitProblem, X: np.ndarray, rows: list[int], variance: float = 1.0) -> MixtureParameters:
    """Equal components at some rows, with one variance in inner coordinates."""
    family, d = problem.family, problem.n_features
    shape = family.inner_shape(len(rows), d)
    unit = np.eye(d) if len(family.form.shape(d)) == 2 else 1.0
    means = problem.coordinates.standardize(X[rows])
    return family.parameters(np.full(len(rows), 1.0 / len(rows)), means, np.ones(shape) * unit * variance)


def blobs(n: int, d: int, k: int, seed: int, spread: float = 4.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, d)) * spread
    return centres[np.arange(n) % k] + rng.normal(size=(n, d)) * rng.uniform(0.3, 1.5, size=(n, 1))
