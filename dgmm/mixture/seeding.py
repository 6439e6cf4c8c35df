"""First guesses: where the components are put before EM moves them.

Everything here works on rows in inner coordinates (see :class:`~dgmm.mixture.parameters.Coordinates`),
where no feature's unit outweighs another's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

from dgmm.mixture.compiled import CompiledMixture, KernelOptions, compile_about, compile_mixture
from dgmm.mixture.families import FAMILIES
from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.sampling import Candidates, row_keys, uniforms
from dgmm.mixture.sizes import Sized
from dgmm.mixture.statistics import free_rows, weighty_rows

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.mixture.parameters import Coordinates
    from dgmm.mixture.statistics import SufficientStatistics
    from dgmm.typing import Array, FloatArray, IntArray

_LLOYD_ITERATIONS = 10
# Rows whose distances to all centres are held at a time.
_BLOCK = 2048


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def _kmeans_plusplus(rows: FloatArray, weights: FloatArray, k: int, rng: np.random.RandomState) -> FloatArray:
    return np.asarray(kmeans_plusplus(rows, k, sample_weight=weights, random_state=rng)[0])


def kmeans(rows: FloatArray, weights: FloatArray, k: int, rng: np.random.RandomState, n_init: int = 1) -> FloatArray:
    """Centres of k-means from a k-means++ start.

    Parameters
    ----------
    rows : (m, d) float64
    weights : (m,) float64
    k : int
    rng : RandomState
    n_init : int
        Starts, of which the one of lowest cost is taken.

    Returns
    -------
    (k, d) float64
    """
    model = KMeans(k, init="k-means++", n_init=n_init, max_iter=_LLOYD_ITERATIONS, random_state=rng, algorithm="lloyd")
    # The order in which OpenMP's threads add depends on their number: one thread, one result.
    with warnings.catch_warnings(), _controller().limit(limits=1, user_api="openmp"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows, sample_weight=weights)
    return np.asarray(model.cluster_centers_)


def nearest_centres(z: FloatArray, centres: FloatArray) -> IntArray:
    """The nearest centre, (k, d), of each row (n, d), by Euclidean distance; (n,)."""
    groups, norms = np.empty(len(z), dtype=np.int64), np.square(centres).sum(axis=1)
    for start in range(0, len(z), _BLOCK):
        rows = slice(start, start + _BLOCK)
        groups[rows] = (norms - 2.0 * z[rows] @ centres.T).argmin(axis=1)
    return groups


def _random_rows(rows: FloatArray, weights: FloatArray, k: int, rng: np.random.RandomState) -> FloatArray:
    return rows[rng.choice(len(rows), k, replace=False, p=weights / weights.sum())]


CENTRES: dict[str, Callable[[FloatArray, FloatArray, int, np.random.RandomState], FloatArray]] = {
    "kmeans": kmeans,
    "k-means++": _kmeans_plusplus,
    "random_from_data": _random_rows,
}
"""``init_params`` that place centres; each row then goes to its nearest one."""


def further_centres(
    name: str, given: FloatArray, rows: FloatArray, weights: FloatArray, k: int, rng: np.random.RandomState
) -> FloatArray:
    """More centres beside some that are given and stay where they are.

    Parameters
    ----------
    name : str
        Of ``CENTRES``.
    given : (g, d) float64
    rows : (m, d) float64
    weights : (m,) float64
    k : int
        Centres that are wanted.
    rng : RandomState

    Returns
    -------
    (k, d) float64

    Notes
    -----
    Arthur and Vassilvitskii (2007), "k-means++: the advantages of careful seeding", section 2.2, begun with the
    given centres.
    """
    shares = weights / weights.sum()
    if name == "random_from_data":
        return rows[rng.choice(len(rows), k, replace=len(rows) < k, p=shares)]
    centres, squared = given, np.full(len(rows), np.inf)
    new = given
    for _ in range(k):
        for centre in new:
            np.minimum(squared, np.square(rows - centre).sum(axis=1), out=squared)
        mass = weights * squared
        total = mass.sum()
        new = rows[rng.choice(len(rows), 1, p=mass / total if total > 0.0 else shares)]
        centres = np.concatenate([centres, new])
    for _ in range(_LLOYD_ITERATIONS if name == "kmeans" and k else 0):
        groups = nearest_centres(rows, centres)
        for j in range(len(given), len(centres)):
            own = groups == j
            if own.any():
                centres[j] = np.average(rows[own], axis=0, weights=weights[own])
    return centres[len(given) :]


def nearest_mixture(centres: FloatArray, coordinates: Coordinates, options: KernelOptions) -> CompiledMixture:
    """A mixture whose most probable component is the nearest of the centres, (m, d), in inner coordinates."""
    m = len(centres)
    spherical = FAMILIES["spherical"]
    parameters = spherical.parameters(np.full(m, 1.0 / m), centres, np.ones((m, 1)))
    return compile_mixture(spherical, parameters, coordinates, np.dtype(np.float64), options)


@dataclass(frozen=True)
class NearestStatisticsMap:
    """Maps rows to statistics in which each belongs to its nearest centre.

    Attributes
    ----------
    nearest : CompiledMixture
        See :func:`nearest_mixture`.
    target : CompiledMixture
        Gathers the statistics about the same centres, see
        :func:`~dgmm.mixture.compiled.compile_about`.
    exponent : int
        Weights are taken in units of ``2**exponent``.
    """

    nearest: CompiledMixture
    target: CompiledMixture
    exponent: int = 0

    name = "nearest centres"

    @classmethod
    def about(
        cls,
        family: CovarianceFamily,
        centres: FloatArray,
        coordinates: Coordinates,
        options: KernelOptions,
        exponent: int = 0,
        metric: Coordinates | None = None,
    ) -> NearestStatisticsMap:
        """Make the map for centres, (K, d), in inner coordinates.

        Distances are taken in the coordinates ``metric``, the inner ones if left out.
        """
        there = centres if metric is None else metric.standardize(coordinates.restore(centres))
        return cls(
            nearest_mixture(there, metric or coordinates, options),
            compile_about(family, centres, coordinates, options),
            exponent,
        )

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> SufficientStatistics:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        X, w = weighty_rows(X, weights, self.exponent, chunk.labels)
        labels = BlockKernel(self.nearest).labels(X)
        every = np.arange(self.nearest.n_components)[:, None]

        def give(rows: slice) -> FloatArray:
            return np.asarray(labels[rows] == every, dtype=np.float64)

        return BlockKernel(self.target).given_statistics(X, give, w)


@dataclass(frozen=True)
class RandomResponsibilities:
    """Maps rows to statistics with random responsibilities (``init_params="random"``).

    Attributes
    ----------
    compiled : CompiledMixture
        Only its coordinates, family and shapes matter.
    seed : int
    """

    compiled: CompiledMixture
    seed: int

    name = "random responsibilities"

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> SufficientStatistics:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        k = self.compiled.n_components
        first = 0 if chunk.first_row is None else chunk.first_row

        def give(rows: slice) -> FloatArray:
            keys = row_keys(self.seed, (first + rows.start) * k, (rows.stop - rows.start) * k)
            given = np.ascontiguousarray(uniforms(keys).reshape(-1, k).T)
            return np.asarray(given / given.sum(axis=0))

        return BlockKernel(self.compiled).given_statistics(X, give, weights)


@dataclass(frozen=True)
class Distances(Sized):
    """Squared distances of rows to the nearest of some centres, and rows drawn by them.

    Attributes
    ----------
    cost : float
        Weighted sum of the squared distances.
    counts : (m,) float64
        Weight of the rows nearest to each centre.
    drawn : Candidates
        Rows drawn with probability proportional to weight times squared distance.
    """

    cost: float
    counts: FloatArray
    drawn: Candidates

    def merge(self, other: Distances) -> Distances:
        """The record of both sets of rows."""
        return Distances(self.cost + other.cost, self.counts + other.counts, self.drawn.merge(other.drawn))


@dataclass(frozen=True)
class DistancesMap:
    """One round of k-means||: maps rows to :class:`Distances`.

    Attributes
    ----------
    nearest : CompiledMixture
        A spherical mixture with equal weights and unit variances at the centres, so that the most
        probable component is the nearest centre.
    centres : (m, d) float64
        In inner coordinates.
    seed : int
    round : int
        Each round draws by other random numbers.
    n_drawn : int
        Rows that are drawn, ``l`` in the paper.
    exponent : int
        Weights are taken in units of ``2**exponent``.

    Notes
    -----
    Bahmani, Moseley, Vattani, Kumar and Vassilvitskii, "Scalable k-means++", VLDB 2012,
    algorithm 2. The paper draws each row independently, which needs the cost before the read;
    here exactly ``l`` rows are drawn in the same read, by the smallest of the exponential keys
    ``-log(u) / (w d^2)`` (Efraimidis and Spirakis, "Weighted random sampling with a reservoir",
    Information Processing Letters 97, 2006).
    """

    nearest: CompiledMixture
    centres: FloatArray
    seed: int
    round: int
    n_drawn: int
    exponent: int = 0

    name = "distances"

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> Distances:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        first, stream = (chunk.first_row, 0) if chunk.first_row is not None else (0, chunk.index + 1)
        u = uniforms(row_keys(self.seed + self.round, first, len(X), stream))
        free = free_rows(weights, chunk.labels)
        if free is not None:
            u = u[free]
        X, kept = weighty_rows(X, weights, self.exponent, chunk.labels)
        w = np.ones(len(X)) if kept is None else kept
        labels, squared = BlockKernel(self.nearest).nearest(X, self.centres)
        mass = w * squared
        counts = np.bincount(labels, weights=w, minlength=self.nearest.n_components).astype(np.float64)
        candidates = np.flatnonzero(mass > 0.0)
        keys = -np.log(u[candidates]) / mass[candidates]
        drawn = Candidates.of(self.n_drawn, keys, X[candidates], w[candidates])
        return Distances(float(mass.sum()), counts, drawn)
