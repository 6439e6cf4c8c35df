"""Missing values filled in, where rows must be points: for starts, not for EM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.mixture.missing import any_missing
from dgmm.mixture.patterns import Patterns
from dgmm.mixture.sizes import Sized

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk, ChunkMap
    from dgmm.typing import Array, FloatArray


@dataclass(frozen=True)
class Imputation(Sized):
    """Fills in conditional means under one Gaussian.

    Attributes
    ----------
    mean : (d,) float64
        In the user's units.
    covariance : (d, d) float64

    Examples
    --------
    >>> impute = Imputation(np.zeros(2), np.array([[1.0, 0.5], [0.5, 1.0]]))
    >>> impute(np.array([[2.0, np.nan], [np.nan, np.nan], [3.0, 4.0]]))
    array([[2., 1.],
           [0., 0.],
           [3., 4.]])
    """

    mean: FloatArray
    covariance: FloatArray

    def __call__(self, X: Array) -> Array:
        """Rows, (n, d), with all values; the same array where none is missing."""
        if not any_missing(X):
            return X
        filled = X.copy()
        spread = np.sqrt(np.diagonal(self.covariance))
        spread = np.where(spread > 0.0, spread, 1.0)
        correlation = self.covariance / spread / spread[:, None]
        for some in Patterns.of(X):
            for there, (own, where) in zip(some.observed, some.groups(), strict=True):
                # The least ridge that rounding asks for: features may depend on each other.
                square = correlation[np.ix_(there, there)] + 1e-10 * np.eye(some.n_observed)
                slope = np.linalg.solve(square, correlation[np.ix_(there, ~there)])
                expected = ((own - self.mean[there]) / spread[there]) @ slope
                filled[np.ix_(some.rows[where], ~there)] = self.mean[~there] + spread[~there] * expected
        return filled


@dataclass(frozen=True)
class ImputingMap(Sized):
    """A map of rows whose missing values are filled in.

    Attributes
    ----------
    imputation : Imputation
    chunk_map : ChunkMap
    """

    imputation: Imputation
    chunk_map: ChunkMap[Any]

    @property
    def name(self) -> str:
        """Name of the map."""
        return self.chunk_map.name

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> Any:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        return self.chunk_map(self.imputation(X), weights, chunk)
