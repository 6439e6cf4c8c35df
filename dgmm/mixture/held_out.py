"""Rows set aside from a fit, and the mean log-densities of several mixtures compared on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import entr

from dgmm.mixture.patterns import compute_rows
from dgmm.mixture.sampling import row_keys
from dgmm.mixture.sizes import Sized
from dgmm.mixture.statistics import weighty_rows

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk, ChunkMap, R
    from dgmm.mixture.compiled import CompiledMixture
    from dgmm.mixture.kernel import BlockKernel
    from dgmm.typing import Array, FloatArray, IntArray

# Rows whose log-densities by all mixtures are held at once.
_BLOCK_ROWS = 4096
_FLOAT = np.dtype(np.float64)


@dataclass(frozen=True)
class HeldOut:
    """Rows that are set aside, by a hash of their numbers: neither chunks nor workers change which.

    Attributes
    ----------
    seed : int
        From 0 to 2**64 - 1.
    share : float
        Of the rows, above 0 and below 1.

    Examples
    --------
    >>> from dgmm.mixture.chunks import Chunk
    >>> held_out = HeldOut(seed=0, share=0.25)
    >>> whole = held_out.rows(Chunk(0, 0, 1000))
    >>> int(whole.sum()), bool((held_out.rows(Chunk(3, 400, 100)) == whole[400:500]).all())
    (234, True)
    """

    seed: int
    share: float

    def rows(self, chunk: Chunk) -> Array:
        """Which rows of a chunk are set aside, (n,) bool; the number of its first row must be known."""
        if chunk.first_row is None:
            raise AssertionError("the rows must be counted before some can be set aside")
        keys = row_keys(self.seed, chunk.first_row, chunk.n_rows)
        return np.asarray(keys < np.uint64(int(self.share * 2**64)))

    def train(self, chunk_map: ChunkMap[R]) -> PartMap:
        """The same map over the rows that are left."""
        return PartMap(chunk_map, self, held=False)

    def test(self, chunk_map: ChunkMap[R]) -> PartMap:
        """The same map over the rows that are set aside."""
        return PartMap(chunk_map, self, held=True)


@dataclass(frozen=True)
class PartMap(Sized):
    """A map over those rows alone that are set aside, or that are not: the others get weight 0.

    Attributes
    ----------
    inner : ChunkMap
    held_out : HeldOut
    held : bool
        Whether the rows that are set aside are wanted.
    """

    inner: ChunkMap[Any]
    held_out: HeldOut
    held: bool

    @property
    def name(self) -> str:
        """The inner map's."""
        return self.inner.name

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> Any:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        wanted = self.held_out.rows(chunk) == self.held
        if weights is None:
            return self.inner(X, wanted.astype(np.float64), chunk)
        # A bad weight is to be found, whichever part its row is in.
        return self.inner(X, np.where(wanted | ~(weights >= 0.0), weights, 0.0), chunk)


@dataclass(frozen=True)
class Lengths:
    """Rows of each chunk, in order, (c,) int64."""

    lengths: IntArray

    def merge(self, other: Lengths) -> Lengths:
        """The lengths of both; ``other``'s chunks are the later ones."""
        return Lengths(np.concatenate([self.lengths, other.lengths]))


@dataclass(frozen=True)
class CountMap:
    """Counts the rows of each chunk."""

    name = "count"

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> Lengths:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        return Lengths(np.array(chunk.lengths, dtype=np.int64))


@dataclass(frozen=True)
class Comparison(Sized):
    """Means of M values of the same rows, and how far these means and their differences are known.

    Attributes
    ----------
    weight : float
        Sum of the rows' weights.
    n_rows : int
        Rows of positive weight.
    mean : (M,) float64
    scatter : (M, M) float64
        Weighted sums of products of the deviations from the means.
    """

    weight: float
    n_rows: int
    mean: FloatArray
    scatter: FloatArray

    def merge(self, other: Comparison) -> Comparison:
        """The comparison on both sets of rows.

        Notes
        -----
        Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", American
        Statistician 37, equation 1.5.
        """
        if other.n_rows == 0:
            return self
        if self.n_rows == 0:
            return other
        weight = self.weight + other.weight
        share, delta = other.weight / weight, other.mean - self.mean
        return Comparison(
            weight,
            self.n_rows + other.n_rows,
            self.mean + share * delta,
            self.scatter + other.scatter + np.outer(delta, delta) * (self.weight * share),
        )

    def standard_errors(self) -> FloatArray:
        """Of the means, (M,); NaN for fewer than two rows."""
        return self._errors(np.diagonal(self.scatter))

    def difference_errors(self, reference: int) -> FloatArray:
        """Standard errors of the means' differences from that of a reference, (M,): paired, row by row."""
        own = np.diagonal(self.scatter)
        return self._errors(own + own[reference] - 2.0 * self.scatter[reference])

    def _errors(self, scatter: FloatArray) -> FloatArray:
        # Weights are frequencies; normalised ones stand for at least their number of rows.
        n = max(self.weight, float(self.n_rows))
        if n <= 1.0:
            return np.full(len(scatter), np.nan)
        return np.sqrt(np.maximum(scatter, 0.0) / (self.weight * (n - 1.0)))


@dataclass(frozen=True)
class ComparisonMap(Sized):
    """Maps rows to the :class:`Comparison` of the log-densities, in nats, that mixtures give them.

    Attributes
    ----------
    mixtures : tuple of CompiledMixture
        With whole densities.
    less_entropy : bool
        Whether the entropy of each row's responsibilities is taken from its log-density.
    """

    mixtures: tuple[CompiledMixture, ...]
    less_entropy: bool = False

    name = "comparison"

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> Comparison:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        m = len(self.mixtures)
        found = Comparison(0.0, 0, np.zeros(m), np.zeros((m, m)))
        for start in range(0, len(X), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            rows, kept = weighty_rows(X[block], None if weights is None else weights[block])
            if len(rows):
                values = np.stack([compute_rows(self._values, mixture, rows, _FLOAT) for mixture in self.mixtures])
                found = found.merge(_compared(values, np.ones(len(rows)) if kept is None else kept))
        return found

    def _values(self, kernel: BlockKernel, X: Array) -> FloatArray:
        values = kernel.score_samples(X)
        return values - entr(kernel.responsibilities(X)).sum(axis=1) if self.less_entropy else values


def _compared(values: FloatArray, w: FloatArray) -> Comparison:
    """The comparison of M values, (M, n), of rows with weights (n,)."""
    weight = float(w.sum())
    mean = values @ w / weight
    deviations = values - mean[:, None]
    return Comparison(weight, values.shape[1], mean, (deviations * w) @ deviations.T)
