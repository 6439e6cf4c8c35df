"""Sufficient statistics of one E-step: what the chunks send and the driver adds up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import ParameterError
from dgmm.mixture.sizes import Sized

if TYPE_CHECKING:
    from dgmm.typing import Array, FloatArray


@dataclass(frozen=True)
class SufficientStatistics(Sized):
    """Responsibility-weighted moments about stated reference points.

    With responsibilities ``r`` and row weights ``w``, for every component k,
    ``weight = sum w r``, ``first = sum w r (z - reference)`` and
    ``second = sum w r products(z - reference)``. Records about the same references form a
    commutative monoid: :meth:`zero` is the identity and :meth:`merge` the sum (up to rounding;
    a fixed tree of merges fixes the rounding too).

    Attributes
    ----------
    reference : (K, d) float64
        Points that the moments are taken about: 0 for components served by the dot-product
        kernel, the component's mean for those served by the centred one.
    weight : (K,) float64
    first : (K, d) float64
    second : (K, q) float64
        Packed as the family's feature map packs it; (1, q), summed over the components, where
        they share a covariance.
    log_likelihood : float
        Weighted sum of the rows' log-densities, in nats.
    total_weight : float
        Sum of the rows' weights.
    n_rows : int
        Number of rows of positive weight.
    """

    reference: FloatArray
    weight: FloatArray
    first: FloatArray
    second: FloatArray
    log_likelihood: float = 0.0
    total_weight: float = 0.0
    n_rows: int = 0

    @classmethod
    def zero(cls, reference: FloatArray, second_shape: tuple[int, int]) -> SufficientStatistics:
        """The statistics of no rows, about ``reference`` (K, d)."""
        return cls(reference, np.zeros(len(reference)), np.zeros(reference.shape), np.zeros(second_shape))

    def merge(self, other: SufficientStatistics) -> SufficientStatistics:
        """The statistics of both sets of rows.

        Raises
        ------
        ParameterError
            If the two are about different references.
        """
        if self.reference is not other.reference and not np.array_equal(self.reference, other.reference):
            raise ParameterError("statistics about different references cannot be merged; take both in one pass")
        return SufficientStatistics(
            self.reference,
            self.weight + other.weight,
            self.first + other.first,
            self.second + other.second,
            self.log_likelihood + other.log_likelihood,
            self.total_weight + other.total_weight,
            self.n_rows + other.n_rows,
        )

    @property
    def mean_log_likelihood(self) -> float:
        """Mean log-likelihood per unit of weight, in nats."""
        return self.log_likelihood / self.total_weight


def weighty_rows(
    X: Array, weights: FloatArray | None, exponent: int = 0, labels: Array | None = None
) -> tuple[Array, FloatArray | None]:
    """Leave out rows of weight 0, whose values may be anything, and labelled ones, and scale the weights.

    Weights of 1 alone are as good as none, and computed with faster.

    Parameters
    ----------
    X : (n, d)
    weights : (n,) float64 or None
    exponent : int
        Weights are returned in units of ``2**exponent``.
    labels : (n,), optional
        Rows with a label of 0 or more are left out: their sums are known (:mod:`dgmm.mixture.known`).
    """
    kept = free_rows(weights, labels)
    if kept is not None and not kept.all():
        X, weights = X[kept], None if weights is None else weights[kept]
    if weights is not None and exponent == 0 and (weights == 1.0).all():
        return X, None
    return X, scaled(weights, exponent)


def free_rows(weights: FloatArray | None, labels: Array | None) -> Array | None:
    """Which rows have weight and no label, (n,) bool; None for all."""
    if labels is None:
        return None if weights is None else weights > 0.0
    free: Array = labels < 0
    return free if weights is None else free & (weights > 0.0)


def scaled(weights: FloatArray | None, exponent: int) -> FloatArray | None:
    """Row weights in units of ``2**exponent``, which is exact; None stays None."""
    return np.ldexp(weights, -exponent) if weights is not None and exponent else weights
