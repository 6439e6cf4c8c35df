"""Hard clusters: each row belongs to one of them altogether, and a cluster is the sums of its rows.

Clusters are axis-aligned: count, sum and sum of squares of each feature, the sums of the ``diag``
family. As parameters they are a mixture of equal weights, so that the kernel's most probable
component is the nearest cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dgmm.mixture.checks import check_finite
from dgmm.mixture.compiled import compile_mixture
from dgmm.mixture.families import FAMILIES
from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.parameters import MixtureParameters
from dgmm.mixture.retaining import RetainedRows
from dgmm.mixture.scores import check_weights
from dgmm.mixture.seeding import kmeans, nearest_centres
from dgmm.mixture.sizes import Sized
from dgmm.mixture.statistics import SufficientStatistics, weighty_rows
from dgmm.mixture.summaries import Summaries

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk
    from dgmm.mixture.compiled import CompiledMixture, KernelOptions
    from dgmm.mixture.parameters import Coordinates
    from dgmm.typing import Array, FloatArray, IntArray

FAMILY = FAMILIES["diag"]
"""Whose sums and shapes clusters have."""

# Least variance, in units of the data's: of rows that are all the same.
_LEAST = 1e-12
# Clusters that are found for each one that is wanted, and then merged.
_SURPLUS, _MOST_SURPLUS = 4, 1000


def scatter(sums: Summaries) -> FloatArray:
    """Sums of squares about the means, (s, d); not below 0, where rounding may bring them."""
    return np.asarray(np.maximum(sums.second - sums.first * sums.means, 0.0))


def shapes(sums: Summaries, row: float, previous: MixtureParameters | None = None) -> MixtureParameters:
    """Means and variances of clusters, as a mixture of equal weights.

    Parameters
    ----------
    sums : Summaries
        (K,), in inner coordinates.
    row : float
        Weight of one row. Each cluster has one row more than it has, whose squared offset is the mean
        over all rows: a cluster of few rows, or of rows that are all the same, has a width too.
    previous : MixtureParameters, optional
        Whose means clusters without rows keep.

    Notes
    -----
    The prior is that of Fraley and Raftery (2007), "Bayesian regularization for normal mixture
    estimation and model-based clustering", Journal of Classification 24, with a weight of one row.
    """
    own, k = scatter(sums), len(sums)
    pooled = own.sum(axis=0) / sums.total_weight + _LEAST
    variances = (own + row * pooled) / (sums.weight + row)[:, None]
    means = sums.means
    if previous is not None:
        means = np.where((sums.weight > 0.0)[:, None], means, previous.means)
    return FAMILY.parameters(np.full(k, 1.0 / k), means, variances)


def energy(weight: FloatArray, own_scatter: FloatArray, pooled: FloatArray, row: float) -> FloatArray:
    """``w log det(S) / 2 - w log w`` of clusters of weights (s,) and scatters (s, d), in nats.

    Summed over the clusters, and up to what all partitions of the same rows have in common, it is the negative
    log-likelihood of rows and clusters: of two partitions the one of less energy is better.

    Notes
    -----
    Banfield and Raftery (1993), "Model-based Gaussian and non-Gaussian clustering", Biometrics 49, with
    the clusters' shares as in Celeux and Govaert (1995), "Gaussian parsimonious clustering models",
    Pattern Recognition 28; here for diagonal matrices, which have the prior of :func:`shapes`.
    """
    variances = (own_scatter + row * pooled) / (weight + row)[..., None]
    shares = weight * np.log(np.where(weight > 0.0, weight, 1.0))
    return np.asarray(0.5 * weight * np.log(variances).sum(axis=-1) - shares)


def total_energy(sums: Summaries, row: float) -> float:
    """The :func:`energy` of all clusters of a partition, (K,)."""
    own = scatter(sums)
    return float(energy(sums.weight, own, own.sum(axis=0) / sums.total_weight + _LEAST, row).sum())


class Merging:
    """Clusters that are to be merged, and what that costs.

    Attributes
    ----------
    sums : Summaries
        (s,) clusters, some of which may be empty.

    Parameters
    ----------
    sums : Summaries
    row : float
        Weight of one row, see :func:`shapes`.
    """

    def __init__(self, sums: Summaries, row: float) -> None:
        self.sums = Summaries(sums.weight.copy(), sums.first.copy(), sums.second.copy())
        self._row = row
        self._scatter = scatter(sums)
        total = sums.total_weight
        self._pooled = self._scatter.sum(axis=0) / (total if total > 0.0 else 1.0) + _LEAST
        self._energy = energy(sums.weight, self._scatter, self._pooled, row)

    def cost(self, i: int, others: IntArray) -> FloatArray:
        """The rise of the energy when cluster i and each of some others, (m,), become one; (m,)."""
        weight, means = self.sums.weight, self.sums.means
        total = weight[i] + weight[others]
        share = weight[i] * weight[others] / np.where(total > 0.0, total, 1.0)
        between = share[:, None] * np.square(means[others] - means[i])
        joint = energy(total, self._scatter[i] + self._scatter[others] + between, self._pooled, self._row)
        return np.asarray(joint - self._energy[i] - self._energy[others])

    def costs(self, count: int) -> FloatArray:
        """The same for all pairs of the first ``count`` clusters, (count, count); infinite on the diagonal."""
        every = np.arange(count)
        costs = np.stack([self.cost(i, every) for i in range(count)])
        np.fill_diagonal(costs, np.inf)
        return costs

    def join(self, i: int, j: int) -> None:
        """Add cluster j to cluster i; it is empty then."""
        for part in (self.sums.weight, self.sums.first, self.sums.second):
            part[i] += part[j]
            part[j] = 0.0
        self._scatter[[i, j]] = scatter(self.sums.take(np.array([i, j])))
        self._energy[[i, j]] = energy(self.sums.weight[[i, j]], self._scatter[[i, j]], self._pooled, self._row)


def merge_groups(sums: Summaries, row: float, count: int = 0) -> IntArray:
    """Merge clusters, the pair that costs least first.

    Parameters
    ----------
    sums : Summaries
        (s,), each with rows.
    row : float
        Weight of one row, see :func:`shapes`.
    count : int
        Clusters to end with; 0: until no merger lowers the energy.

    Returns
    -------
    (s,) int64
        Number of the cluster that each has become part of.
    """
    merging, every = Merging(sums, row), np.arange(len(sums))
    groups, costs = every.copy(), merging.costs(len(sums))
    for _ in range(len(sums) - max(count, 1)):
        i, j = sorted(divmod(int(costs.argmin()), len(sums)))
        if not count and costs[i, j] >= 0.0:
            break
        merging.join(i, j)
        groups[groups == j] = i
        alive = merging.sums.weight > 0.0
        own = np.where(alive & (every != i), merging.cost(i, every), np.inf)
        costs[i], costs[:, i] = own, own
        costs[j], costs[:, j] = np.inf, np.inf
    return np.asarray(np.unique(groups, return_inverse=True)[1])


def surplus_clusters(z: FloatArray, weights: FloatArray, k: int, row: float, rng: np.random.RandomState) -> Summaries:
    """Find k clusters of rows by finding more, with k-means, and merging them.

    k-means makes clusters of one width: it splits the wide ones and joins narrow ones to their
    neighbours. Of more clusters than are wanted none holds two, and the merging knows widths.

    Parameters
    ----------
    z : (n, d) float64
        In inner coordinates.
    weights : (n,) float64
    k : int
    row : float
        Weight of one row, see :func:`shapes`.
    rng : RandomState

    Returns
    -------
    Summaries
        At most k.
    """
    count = min(_SURPLUS * k, k + _MOST_SURPLUS, len(z))
    centres = kmeans(z, weights, count, rng)
    sums = Summaries.of_groups(FAMILY, z, weights, nearest_centres(z, centres), count)
    sums = sums.take(sums.weight > 0.0)
    groups = merge_groups(sums, row, k)
    return sums.gathered(groups, int(groups.max()) + 1)


def closest(sums: Summaries, parameters: MixtureParameters) -> tuple[IntArray, FloatArray]:
    """The nearest cluster of each summary, (s,), and the mean over its rows of their squared distance, (s,).

    Distances are Mahalanobis distances; nearest is where ``log det(Sigma)`` and their squares add up to
    least.
    """
    means, spread = sums.means, scatter(sums) / np.where(sums.weight > 0.0, sums.weight, 1.0)[:, None]
    precisions = np.square(parameters.precisions_cholesky)
    squared = np.stack(
        [(np.square(means - mean) + spread) @ own for mean, own in zip(parameters.means, precisions, strict=True)],
        axis=1,
    ).reshape(len(sums), len(precisions))
    labels = (squared - np.log(precisions).sum(axis=1)).argmin(axis=1)
    return labels.astype(np.int64), squared[np.arange(len(sums)), labels]


@dataclass(frozen=True)
class Assigned(Sized):
    """Rows that joined clusters, as sums, and those that did not.

    Attributes
    ----------
    inside : SufficientStatistics
    outside : RetainedRows
    """

    inside: SufficientStatistics
    outside: RetainedRows

    @property
    def n_rows(self) -> int:
        """Rows of positive weight."""
        return self.inside.n_rows + len(self.outside)

    @property
    def weight(self) -> float:
        """Their weight."""
        return self.inside.total_weight + float(self.outside.weights.sum())

    def merge(self, other: Assigned) -> Assigned:
        """The record of both sets of rows."""
        return Assigned(self.inside.merge(other.inside), self.outside.merge(other.outside))


@dataclass(frozen=True)
class AssignMap(Sized):
    """Gives each row to its nearest cluster, if it lies within a radius of that.

    Attributes
    ----------
    compiled : CompiledMixture
    log_peaks : (K,) float64
        Log-density of each cluster at its mean, in the user's units.
    radius_squared : float
        Of the squared Mahalanobis distance; infinite for all rows.
    exponent : int
        Weights are taken in units of ``2**exponent``.

    Notes
    -----
    Leskovec, Rajaraman and Ullman, Mining of Massive Datasets (2nd edition, 2014), section 7.3.
    There the nearest cluster has the least Mahalanobis distance, which favours wide clusters: nearest here
    is where the squared distance and ``log det(Sigma)`` add up to least, as of a normal density.
    """

    compiled: CompiledMixture
    log_peaks: FloatArray
    radius_squared: float = np.inf
    exponent: int = 0

    name = "assign"

    @classmethod
    def of(
        cls,
        parameters: MixtureParameters,
        coordinates: Coordinates,
        options: KernelOptions,
        radius_squared: float = np.inf,
        exponent: int = 0,
    ) -> AssignMap:
        """Make the map for clusters, see :func:`shapes`."""
        compiled = compile_clusters(parameters, coordinates, options)
        peaks = FAMILY.log_constants(parameters) - coordinates.log_det
        return cls(compiled, peaks, radius_squared, exponent)

    def judge(self, X: Array) -> tuple[IntArray, FloatArray]:
        """Nearest cluster of each row, (n,), and the squared Mahalanobis distance to it, (n,)."""
        labels, _, logits = BlockKernel(self.compiled).most_probable(X)
        return labels, 2.0 * (self.log_peaks[labels] - logits)

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> Assigned:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        X, kept = weighty_rows(X, weights, self.exponent)
        w = np.ones(len(X)) if kept is None else kept
        labels, squared = self.judge(X)
        inside = ~(squared >= self.radius_squared)
        own, every = labels[inside], np.arange(self.compiled.n_components)[:, None]

        def give(rows: slice) -> FloatArray:
            return np.asarray(own[rows] == every, dtype=np.float64)

        sums = BlockKernel(self.compiled).given_statistics(X[inside], give, w[inside])
        return Assigned(sums, RetainedRows(X[~inside], w[~inside]))


def compile_clusters(
    parameters: MixtureParameters, coordinates: Coordinates, options: KernelOptions
) -> CompiledMixture:
    """Make clusters ready for rows; sums are always taken in float64."""
    return compile_mixture(FAMILY, parameters, coordinates, np.dtype(np.float64), options)


def distances(X: Array, parameters: MixtureParameters, coordinates: Coordinates) -> FloatArray:
    """Mahalanobis distance of each row (n, d), in the user's units, to each cluster, (n, K)."""
    z = coordinates.standardize(X)
    found = np.empty((len(X), parameters.n_components))
    for k, (mean, factor) in enumerate(zip(parameters.means, parameters.precisions_cholesky, strict=True)):
        found[:, k] = np.linalg.norm((z - mean) * factor, axis=1)
    return found


@dataclass(frozen=True)
class Inertia(Sized):
    """A sum over rows.

    Attributes
    ----------
    total : float
        Weighted sum of squared Euclidean distances to the clusters' means, in the user's units.
    weight : float
    n_rows : int
    """

    total: float
    weight: float
    n_rows: int

    def merge(self, other: Inertia) -> Inertia:
        """The sum over both sets of rows."""
        return Inertia(self.total + other.total, self.weight + other.weight, self.n_rows + other.n_rows)


@dataclass(frozen=True)
class InertiaMap(Sized):
    """Maps rows to the :class:`Inertia` about their nearest clusters.

    Attributes
    ----------
    compiled : CompiledMixture
    centres : (K, d) float64
        In inner coordinates.
    missing : bool
        Whether values may be missing in rows of which it is known that they have weight 0.
    """

    compiled: CompiledMixture
    centres: FloatArray
    missing: bool = False

    name = "inertia"

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> Inertia:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        check_finite(X, chunk, weights, missing=self.missing)
        if weights is not None:
            check_weights(weights, chunk)
        X, w = weighty_rows(X, weights)
        coordinates = self.compiled.coordinates
        labels = BlockKernel(self.compiled).labels(X)
        with np.errstate(over="ignore"):
            offsets = (coordinates.standardize(X) - self.centres[labels]) * coordinates.scale
            squares = np.square(offsets).sum(axis=1)
        total, weight = (squares.sum(), len(X)) if w is None else (squares @ w, w.sum())
        return Inertia(float(total), float(weight), chunk.n_rows)
