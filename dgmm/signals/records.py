"""One read of signals: the mean and the correlation of their moments, and the variance of their noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dgmm.errors import DataError
from dgmm.mixture.checks import check_finite, describe_defects
from dgmm.mixture.defects import Defects
from dgmm.mixture.sampling import Candidates, row_keys
from dgmm.mixture.scores import check_weights
from dgmm.mixture.sizes import Sized
from dgmm.mixture.statistics import weighty_rows
from dgmm.signals.spaces import symmetric

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk
    from dgmm.mixture.sampling import RowSample
    from dgmm.signals.spaces import Measured, MomentSpace
    from dgmm.typing import Array, FloatArray


# Of sums of samples in float64, relative.
_ROUNDING = 1e-14

WHOLE = "the moments of a signal need all its samples: drop such signals, or fill the samples in"
"""Why signals with a sample that is missing are refused."""


class Space(Protocol):
    """What moments are taken in."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a signal; the product is n."""
        ...

    @property
    def order(self) -> tuple[int, ...]:
        """Highest degree along each axis."""
        ...

    @property
    def n_moments(self) -> int:
        """Moments of a signal, m."""
        ...

    @property
    def n_kept(self) -> int:
        """Numbers of a signal that :meth:`of_noise` needs, p."""
        ...

    @property
    def undefined(self) -> str:
        """What signals lack whose moments are not finite, and what to do."""
        ...

    def project(self, S: Array) -> FloatArray:
        """Moments, (b, m), of signals, (b, n); not finite where a signal has none."""
        ...

    def measure(self, S: Array, *, noise: bool = False) -> Measured:
        """The same, what :meth:`of_noise` needs of the signals, and the variances of their noise, if wanted."""
        ...

    def of_noise(self, noise: float | Array, sample: RowSample | None = None, seed: int = 0) -> FloatArray:
        """Correlation of the moments of noise, (m, m); see :meth:`~dgmm.signals.spaces.MomentSpace.of_noise`."""
        ...


def check_moments(space: Space, moments: Array, X: Array, chunk: Chunk, weights: FloatArray | None = None) -> None:
    """Refuse signals, (b, n), without moments, (b, m); with weights, (b,), only those above 0 have any.

    Raises
    ------
    DataError
        With the place of the first.
    """
    lost = ~np.isfinite(moments).all(axis=1)
    if not lost.any():
        return
    check_finite(X, chunk, weights, because=WHOLE)  # a signal with NaN or infinity has no moments either
    first = int(lost.argmax())
    row = first if weights is None else int(np.flatnonzero(weights > 0.0)[first])
    found = Defects(int(np.count_nonzero(lost)), *chunk.place(row), -1, float(X[row].sum(dtype=np.float64)))
    raise DataError(f"X contains a signal whose samples sum to {describe_defects(found, chunk)}; {space.undefined}")


@dataclass(frozen=True)
class SignalRecord(Sized):
    """What a read of signals gives.

    Attributes
    ----------
    n_rows : int
        Signals of positive weight.
    weight : float
        Sum of their weights.
    mean : (m,) float64
        Of the moments.
    scatter : (m, m) float64
        Weighted sum of products of the moments about the mean.
    noise : float
        Weighted sum of the variances of the noise.
    sample : Candidates
        Of the signals, what the space keeps of each, (p,), to find the noise of the moments with.
    """

    n_rows: int
    weight: float
    mean: FloatArray
    scatter: FloatArray
    noise: float
    sample: Candidates

    @np.errstate(over="ignore", invalid="ignore")
    def merge(self, other: SignalRecord) -> SignalRecord:
        """The record of both sets of signals.

        Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", The American Statistician 37(3).
        """
        weight = self.weight + other.weight
        share = other.weight / weight if weight else 0.0
        apart = other.mean - self.mean
        return SignalRecord(
            self.n_rows + other.n_rows,
            weight,
            self.mean + share * apart,
            self.scatter + other.scatter + self.weight * share * np.multiply.outer(apart, apart),
            self.noise + other.noise,
            self.sample.merge(other.sample),
        )

    @np.errstate(over="ignore", invalid="ignore")
    def correlation(self, *, center: bool) -> FloatArray:
        """``E[M M']``, (m, m), or the covariance, which is 0 where there is nothing but rounding."""
        about_mean, about_zero = symmetric(self.scatter) / self.weight, np.multiply.outer(self.mean, self.mean)
        if not center:
            return about_mean + about_zero
        is_rounding = np.trace(about_mean) <= _ROUNDING**2 * np.trace(about_zero)
        return np.zeros_like(about_mean) if is_rounding else about_mean

    @property
    def noise_variance(self) -> float:
        """The variance of white noise, a sample; 0 where it is not above rounding."""
        found = self.noise / self.weight
        is_rounding = found <= _ROUNDING**2 * float(np.trace(self.correlation(center=False)))
        return 0.0 if is_rounding else found


@dataclass(frozen=True)
class SignalMap:
    """Maps signals to their :class:`SignalRecord`.

    Attributes
    ----------
    space : Space
    noise : bool
        Whether the variance of the noise is wanted.
    sample_rows : int
        Signals of the sample, at most.
    seed : int
        Of the sample.
    name : str
        Of the pass.
    """

    space: Space
    noise: bool
    sample_rows: int = 0
    seed: int = 0
    name: str = "signals"

    takes_any_dtype = True

    @np.errstate(over="ignore", invalid="ignore")  # what is out of range is looked for in the sum
    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> SignalRecord:
        """Map the signals of a chunk, (b, n), and their weights, (b,)."""
        if weights is not None:
            check_weights(weights, chunk)
        used, given = weighty_rows(X, weights)
        w = np.ones(len(used)) if given is None else given
        moments, kept, variances = self.space.measure(used, noise=self.noise)
        check_moments(self.space, moments, X, chunk, weights)
        weight = float(w.sum())
        mean = w @ moments / weight if weight else np.zeros(self.space.n_moments)
        moments -= mean
        scatter = moments.T @ (moments * w[:, None])
        sample = self._sample(chunk, weights, kept, w)
        return SignalRecord(len(used), weight, mean, scatter, float(w @ variances), sample)

    def _sample(self, chunk: Chunk, weights: FloatArray | None, kept: FloatArray, w: FloatArray) -> Candidates:
        if not self.sample_rows:
            return Candidates.of(0, np.empty(0, dtype=np.uint64), kept[:0], w[:0])
        first, stream = (0, 1 + chunk.index) if chunk.first_row is None else (chunk.first_row, 0)
        keys = row_keys(self.seed, first, len(w if weights is None else weights), stream)
        return Candidates.of(self.sample_rows, keys if weights is None else keys[weights > 0.0], kept, w)


@dataclass(frozen=True)
class FeatureMap:
    """Maps signals to features, ``W' (M - mean)``, (b, k).

    Attributes
    ----------
    space : Space
    weights : (m, k)
    mean : (m,)
        Of the moments; 0 where it is not taken out.
    dtype : dtype
    """

    space: Space
    weights: FloatArray
    mean: FloatArray
    dtype: np.dtype[Any]

    takes_any_dtype = True

    @property
    def n_features(self) -> int:
        """Samples of a signal, n."""
        return math.prod(self.space.shape)

    @property
    def columns(self) -> int:
        """Features, k."""
        return int(self.weights.shape[1])

    def __call__(self, X: Array, chunk: Chunk) -> Array:
        """Map the signals of a chunk, (b, n)."""
        with np.errstate(over="ignore", invalid="ignore"):  # what leaves the range of numbers is reported
            moments = self.space.project(X)
            check_moments(self.space, moments, X, chunk)
            features = ((moments - self.mean) @ self.weights).astype(self.dtype, copy=False)
        lost = Defects.find(~np.isfinite(features), features, chunk)
        if lost.count:
            raise DataError(
                f"features of X leave the range of {self.dtype}: {describe_defects(lost, chunk)}; scale the signals"
            )
        return features


@dataclass(frozen=True)
class SignalsOfFeatures:
    """Maps features, (b, k), to signals of the polynomials of the space that have them, (b, n).

    Attributes
    ----------
    space : MomentSpace
    weights : (m, k)
        V, with ``W' V = I``.
    mean : (m,)
    dtype : dtype
    """

    space: MomentSpace
    weights: FloatArray
    mean: FloatArray
    dtype: np.dtype[Any]

    @property
    def n_features(self) -> int:
        """Features, k."""
        return int(self.weights.shape[1])

    @property
    def columns(self) -> int:
        """Samples of a signal, n."""
        return self.space.n_samples

    def __call__(self, X: Array, chunk: Chunk) -> Array:
        """Map the features of a chunk, (b, k)."""
        check_finite(X, chunk, because="no signal has such features")
        return self.space.reconstruct(X @ self.weights.T + self.mean).astype(self.dtype, copy=False)
