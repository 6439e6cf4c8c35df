"""Components move to where rows are that no component explains.

A component that is spared, because two others explain its rows as well as three did, is placed
among strange rows where this raises the likelihood by more than it costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import IllDefinedCovarianceError
from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.parameters import MixtureParameters
from dgmm.mixture.seeding import kmeans, nearest_centres
from dgmm.mixture.summaries import Summaries

if TYPE_CHECKING:
    from dgmm.fitting.problem import FitProblem
    from dgmm.mixture.compiled import CompiledMixture
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.mixture.retaining import RetainedRows
    from dgmm.typing import FloatArray, IntArray

# Groups that strange rows are divided into, at most, and rows that are looked at.
_MOST_GROUPS, _MOST_ROWS = 8, 2000
# The estimates of gain and cost are rough: by how much the one must exceed the other.
_MARGIN = 2.0


@dataclass(frozen=True)
class Move:
    """A component that moves.

    Attributes
    ----------
    kept, moved : int
        Components that become one, which takes the place of ``kept``; ``moved`` is free. They are
        equal where it died out.
    gain, cost : float
        Estimated change of the log-likelihood, in nats.
    """

    kept: int
    moved: int
    gain: float
    cost: float


@dataclass(frozen=True)
class _Gaussians:
    """Weight, mean and packed covariance of Gaussians, and the log-likelihood that rows so distributed have."""

    weight: FloatArray
    means: FloatArray
    central: FloatArray

    def merged(self, i: int, others: IntArray, family: CovarianceFamily) -> _Gaussians:
        """Each pair of the i-th and another, as one."""
        weight = self.weight[i] + self.weight[others]
        share = (self.weight[others] / weight)[:, None]
        offset = self.means[others] - self.means[i]
        between = family.form.packed_outer(offset) * share * (1.0 - share)
        central = self.central[i] + share * (self.central[others] - self.central[i]) + between
        return _Gaussians(weight, self.means[i] + share * offset, central)

    def values(self, problem: FitProblem, shared: FloatArray) -> FloatArray:
        """``-w (log det Sigma + tr(P S)) / 2`` of each at its own optimum, in nats.

        ``shared`` are the factors of the precision that tied components share.
        """
        family, d = problem.family, self.means.shape[1]
        if family.tied:
            return np.asarray(self.weight * (self.central @ family.form.quadratic(shared, d)[0]))
        covariances = family.form.add_to_diagonal(
            family.form.covariance(self.central, d), problem.coordinates, problem.reg_covar
        )
        half_log_det = family.form.half_log_det(family.form.precision_cholesky(covariances), d)
        return np.asarray(self.weight * (half_log_det - 0.5 * d))


def _cheapest(problem: FitProblem, parameters: MixtureParameters, total: float, fixed: set[int]) -> Move | None:
    """The component that is missed least, of those that are not ``fixed``.

    Notes
    -----
    Runnalls (2007), "Kullback-Leibler approach to Gaussian mixture reduction", IEEE Transactions on
    Aerospace and Electronic Systems 43, equation 21: an upper bound of what two components lose
    that become one with their common moments.
    """
    family = problem.family
    for k in np.flatnonzero(parameters.weights <= 0.0):
        if int(k) not in fixed:
            return Move(int(k), int(k), 0.0, 0.0)
    free = np.array([k for k in range(parameters.n_components) if k not in fixed], dtype=np.int64)
    if len(free) < 2:
        return None
    own = np.broadcast_to(parameters.covariances, (parameters.n_components, *parameters.covariances.shape[1:]))
    matrices = family.form.full(own, parameters.n_features)
    central = np.stack([family.form.packed_matrix(matrix) for matrix in matrices])
    gaussians = _Gaussians(total * parameters.weights, parameters.means, central)
    values = gaussians.values(problem, parameters.precisions_cholesky)
    best: Move | None = None
    for number, i in enumerate(free[:-1]):
        others = free[number + 1 :]
        after = gaussians.merged(int(i), others, family).values(problem, parameters.precisions_cholesky)
        costs = values[i] + values[others] - after
        j = int(costs.argmin())
        if best is None or costs[j] < best.cost:
            best = Move(int(i), int(others[j]), 0.0, float(costs[j]))
    return best


def place_components(
    problem: FitProblem,
    compiled: CompiledMixture,
    parameters: MixtureParameters,
    strange: RetainedRows,
    total: float,
    rng: np.random.RandomState,
) -> tuple[MixtureParameters, list[Move]]:
    """Move components to strange rows where that pays.

    Parameters
    ----------
    problem : FitProblem
    compiled : CompiledMixture
    parameters : MixtureParameters
        In inner coordinates.
    strange : RetainedRows
        Rows that no component explains; weights are those of all the rows that they stand for.
    total : float
        Weight of all rows.
    rng : RandomState

    Returns
    -------
    parameters : MixtureParameters
    moves : list of Move
        In the order in which they were made.
    """
    family, d = problem.family, problem.n_features
    least = max(2 * family.form.min_rows(d), 10)
    if len(strange) < least:
        return parameters, []
    if len(strange) > _MOST_ROWS:
        chosen = np.sort(rng.choice(len(strange), _MOST_ROWS, replace=False))
        factor = strange.weights.sum() / strange.weights[chosen].sum()
        strange = strange.take(chosen)
        weights = strange.weights * factor
    else:
        weights = strange.weights
    z = problem.coordinates.standardize(strange.rows)
    scores = BlockKernel(compiled).score_samples(strange.rows) + problem.coordinates.log_det
    found = _groups(problem, z, weights, least, parameters.precisions_cholesky, rng)
    if found is None:
        return parameters, []
    groups, gaussians = found
    constant = -0.5 * d * np.log(2.0 * np.pi)
    count = len(gaussians.weight)
    before = np.bincount(groups, weights=weights * scores, minlength=count)
    after = gaussians.values(problem, parameters.precisions_cholesky) + gaussians.weight * (
        np.log(gaussians.weight / total) + constant
    )
    gains = after - before
    rows = np.bincount(groups, minlength=count)
    noise = family.form.n_parameters(d) * gaussians.weight / np.maximum(rows, 1)
    moves: list[Move] = []
    placed: set[int] = set()
    for group in np.argsort(-gains, kind="stable"):
        cheapest = _cheapest(problem, parameters, total, placed)
        if rows[group] < least or cheapest is None or gains[group] - noise[group] <= _MARGIN * cheapest.cost:
            continue
        move = Move(cheapest.kept, cheapest.moved, float(gains[group]), cheapest.cost)
        parameters = _moved(problem, parameters, move, gaussians, int(group), total)
        placed.add(move.moved)
        moves.append(move)
    return parameters, moves


def _moved(
    problem: FitProblem, parameters: MixtureParameters, move: Move, gaussians: _Gaussians, group: int, total: float
) -> MixtureParameters:
    """Make one of two components, and place the other at a group of rows."""
    family, d = problem.family, problem.n_features
    weights, means = parameters.weights.copy(), parameters.means.copy()
    covariances = parameters.covariances.copy()
    i, j = move.kept, move.moved
    if i != j and weights[i] + weights[j] > 0.0:
        share = weights[j] / (weights[i] + weights[j])
        offset = means[j] - means[i]
        if not family.tied:
            outer = family.form.covariance(family.form.packed_outer(offset[None]), d)[0]
            covariances[i] = (1.0 - share) * covariances[i] + share * covariances[j] + share * (1.0 - share) * outer
        means[i] = means[i] + share * offset
        weights[i] += weights[j]
    weights[j] = gaussians.weight[group] / total
    means[j] = gaussians.means[group]
    if not family.tied:
        own = family.form.covariance(gaussians.central[group : group + 1], d)
        covariances[j] = family.form.add_to_diagonal(own, problem.coordinates, problem.reg_covar)[0]
    return family.parameters(weights / weights.sum(), means, covariances)


def _groups(
    problem: FitProblem,
    z: FloatArray,
    weights: FloatArray,
    least: int,
    shared: FloatArray,
    rng: np.random.RandomState,
) -> tuple[IntArray, _Gaussians] | None:
    """Divide strange rows into as many groups as BIC says, each with its Gaussian; None without any."""
    family, d = problem.family, problem.n_features
    best: tuple[float, IntArray, _Gaussians] | None = None
    scale = len(z) / weights.sum()
    most = min(_MOST_GROUPS, problem.n_components, len(z) // least)
    for count in range(1, most + 1):
        centres = kmeans(z, weights, count, rng)
        groups = nearest_centres(z, centres)
        rows = np.bincount(groups, minlength=count)
        if rows.min() < least:
            continue
        summaries = Summaries.of_groups(family, z, weights, groups, count)
        gaussians = _Gaussians(summaries.weight, summaries.means, summaries.central(family.form))
        shares = gaussians.weight / weights.sum()
        try:
            values = gaussians.values(problem, shared)
        except IllDefinedCovarianceError:  # rows that coincide
            continue
        value = scale * float(np.sum(values + gaussians.weight * np.log(shares)))
        value -= 0.5 * count * (family.form.n_parameters(d) + d + 1) * np.log(len(z))
        if best is None or value > best[0]:
            best = value, groups, gaussians
    return None if best is None else best[1:]
