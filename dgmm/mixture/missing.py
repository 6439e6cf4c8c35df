"""Values that are missing: which rows they leave out, and what the first read finds of them.

A missing value is NaN. Rows that are left out have weight 0, and nothing that is computed of rows
looks at those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.mixture.defects import Defects
from dgmm.mixture.sizes import Sized

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk, R
    from dgmm.typing import Array, FloatArray, IntArray

RAISE, DROP, MARGINALIZE = POLICIES = ("raise", "drop", "marginalize")
"""What is done about rows with missing values: refused; left out; fitted by what is there of them."""


def any_missing(X: Array) -> bool:
    """Whether a value of X, (n, d), is NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        # One sum tells whether a closer look is needed.
        return X.dtype.kind == "f" and not np.isfinite(X.sum()) and bool(np.isnan(X).any())


def weights_without(X: Array, weights: FloatArray | None, policy: str) -> FloatArray | None:
    """Weights of rows, (n,) or None for 1 each, with 0 for those that a policy leaves out.

    ``"drop"``: rows with a missing value, unless they also have an infinite one, which is an error;
    ``"marginalize"``: rows of which nothing is there.

    Examples
    --------
    >>> X = np.array([[1.0, np.nan], [np.nan, np.nan], [1.0, 2.0]])
    >>> weights_without(X, None, "drop"), weights_without(X, None, "marginalize")
    (array([0., 0., 1.]), array([1., 0., 1.]))
    """
    if policy == RAISE or not any_missing(X):
        return weights
    nan = np.isnan(X)
    lost = nan.all(axis=1) if policy == MARGINALIZE else nan.any(axis=1) & ~np.isinf(X).any(axis=1)
    if not lost.any():
        return weights
    return np.where(lost, 0.0, 1.0 if weights is None else weights)


@dataclass(frozen=True)
class Missing(Sized):
    """Missing values, and what is there of the rows that have some; merges as a monoid.

    Attributes
    ----------
    counts : (d,) int64
        Missing values of each feature, in all rows.
    n_dropped : int
        Rows of weight 0 that have some.
    n_rows : int
        Rows of positive weight that have some: the incomplete ones.
    total_weight : float
        Of these, as what follows.
    weight : (d,) float64
        Of those that have a feature's value, as what follows.
    mean : (d,) float64
    scatter : (d,) float64
        Weighted sum of squares about the mean.
    minimum, maximum : (d,) float64
    defects : Defects
        The missing values of these rows, and where the first one is.
    """

    counts: IntArray
    n_dropped: int
    n_rows: int
    total_weight: float
    weight: FloatArray
    mean: FloatArray
    scatter: FloatArray
    minimum: FloatArray
    maximum: FloatArray
    defects: Defects

    @classmethod
    def of(cls, X: Array, nan: Array, weights: FloatArray, chunk: Chunk, exponent: int = 0) -> Missing:
        """Look at the rows of a chunk, (n, d); ``nan``, (n, d) bool, is where values are missing.

        Weights, (n,), are taken in units of ``2**exponent``.
        """
        some, positive = nan.any(axis=1), weights > 0.0
        rows = some & positive
        values, there, own = X[rows].astype(np.float64), ~nan[rows], np.ldexp(weights[rows], -exponent)
        shares = own[:, None] * there
        weight = shares.sum(axis=0)
        per = np.where(weight > 0.0, weight, 1.0)
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported with its feature
            mean = (shares * np.where(there, values, 0.0)).sum(axis=0) / per
            mean += (shares * np.where(there, values - mean, 0.0)).sum(axis=0) / per
            scatter = (shares * np.square(np.where(there, values - mean, 0.0))).sum(axis=0)
        return cls(
            np.count_nonzero(nan, axis=0).astype(np.int64),
            int(np.count_nonzero(some & ~positive)),
            len(own),
            float(own.sum()),
            weight,
            mean,
            scatter,
            np.where(there, values, np.inf).min(axis=0, initial=np.inf),
            np.where(there, values, -np.inf).max(axis=0, initial=-np.inf),
            Defects.find(nan & positive[:, None], X, chunk),
        )

    def merge(self, other: Missing) -> Missing:
        """Of both sets of rows, ``other``'s being the later ones."""
        mean, variance = self.joined(other.weight, other.mean, other.scatter)
        weight = self.weight + other.weight
        return Missing(
            self.counts + other.counts,
            self.n_dropped + other.n_dropped,
            self.n_rows + other.n_rows,
            self.total_weight + other.total_weight,
            weight,
            mean,
            variance * weight,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.defects.merge(other.defects),
        )

    def joined(self, weight: FloatArray | float, mean: FloatArray, scatter: Array) -> tuple[FloatArray, FloatArray]:
        """Means and variances, (d,), of these values and of others with a weight, mean and scatter.

        Notes
        -----
        Chan, Golub and LeVeque (1983), equation 1.5, feature by feature; both are 0 where nothing is there.
        """
        total = self.weight + weight
        per = np.where(total > 0.0, total, 1.0)
        delta = self.mean - mean
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported with its feature
            between = np.square(delta) * (weight * (self.weight / per))
            return mean + delta * (self.weight / per), (self.scatter + scatter + between) / per

    def rescaled(self, exponent: int) -> Missing:
        """The same with weights times ``2**exponent``."""
        return replace(
            self,
            total_weight=float(np.ldexp(self.total_weight, exponent)),
            weight=np.ldexp(self.weight, exponent),
            scatter=np.ldexp(self.scatter, exponent),
        )


def merged(first: R | None, second: R | None) -> R | None:
    """The record of both, where there is one of one."""
    return first.merge(second) if first is not None and second is not None else first or second
