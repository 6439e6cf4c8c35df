"""Summaries: many rows as one, kept as the sums that a mixture needs of them.

The log-density of a component is linear in the feature map, so a summary of rows is a row whose
feature map is the mean over its rows, with their number as its weight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.mixture.sizes import Sized
from dgmm.mixture.statistics import SufficientStatistics

if TYPE_CHECKING:
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.mixture.forms import CovarianceForm
    from dgmm.mixture.parameters import Coordinates, MixtureParameters
    from dgmm.typing import Array, FloatArray, IntArray


@dataclass(frozen=True)
class Summaries(Sized):
    """A set of summaries of rows, in inner coordinates.

    Attributes
    ----------
    weight : (s,) float64
        Sums of the rows' weights. A summary of weight 0 stands for no rows.
    first : (s, d) float64
        ``sum w z``.
    second : (s, q) float64
        ``sum w products(z)``, packed as the family's feature map packs it. Where the components
        share a covariance, (1, q) is enough: the sum over the summaries.
    """

    weight: FloatArray
    first: FloatArray
    second: FloatArray

    @classmethod
    def none(cls, family: CovarianceFamily, d: int) -> Summaries:
        """No summaries."""
        return cls(np.zeros(0), np.zeros((0, d)), np.zeros((0, family.form.packed_size(d))))

    @classmethod
    def of_components(cls, family: CovarianceFamily, k: int, d: int) -> Summaries:
        """A summary of no rows for each of k components."""
        return cls(np.zeros(k), np.zeros((k, d)), np.zeros((family.n_covariances(k), family.form.packed_size(d))))

    @classmethod
    def of_statistics(cls, statistics: SufficientStatistics, family: CovarianceFamily) -> Summaries:
        """One summary for each component of the statistics of some rows."""
        moved = about_origin(statistics, family.form)
        return cls(moved.weight, moved.first, moved.second)

    @classmethod
    def of_groups(
        cls, family: CovarianceFamily, z: FloatArray, weights: FloatArray, groups: IntArray, count: int
    ) -> Summaries:
        """One summary for each group of rows.

        Parameters
        ----------
        family : CovarianceFamily
        z : (n, d) float64
            In inner coordinates.
        weights : (n,) float64
        groups : (n,) int64
            From 0 to ``count - 1``.
        count : int
        """
        second = np.empty((count, family.form.packed_size(z.shape[1])))
        first, weight = np.empty((count, z.shape[1])), np.empty(count)
        for group in range(count):
            own = groups == group
            columns, w = z[own].T, weights[own]
            weighted = columns * w
            weight[group], first[group] = w.sum(), weighted.sum(axis=1)
            second[group] = family.form.packed_scatter(columns, weighted)
        return cls(weight, first, second)

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def total_weight(self) -> float:
        """Weight of all the rows."""
        return float(self.weight.sum())

    def scaled(self, factor: float) -> Summaries:
        """The same summaries with all weights multiplied."""
        return Summaries(factor * self.weight, factor * self.first, factor * self.second)

    def plus(self, other: Summaries, factor: float = 1.0) -> Summaries:
        """Each summary with ``factor`` times the one of the same place added; weights below 0 are rounding."""
        return Summaries(
            np.maximum(self.weight + factor * other.weight, 0.0),
            self.first + factor * other.first,
            self.second + factor * other.second,
        )

    def joined(self, other: Summaries) -> Summaries:
        """The summaries of both sets; each must have second moments of its own."""
        return Summaries(
            np.concatenate([self.weight, other.weight]),
            np.concatenate([self.first, other.first]),
            np.concatenate([self.second, other.second]),
        )

    def take(self, kept: Array) -> Summaries:
        """Some of the summaries; each must have second moments of its own."""
        return Summaries(self.weight[kept], self.first[kept], self.second[kept])

    def gathered(self, groups: IntArray, count: int) -> Summaries:
        """The sums of ``count`` groups of summaries, (s,) numbers of groups."""
        member = np.asarray(groups == np.arange(count)[:, None], dtype=np.float64)
        second = member @ self.second if len(self.second) == len(self) else self.second
        return Summaries(member @ self.weight, member @ self.first, second)

    @property
    def _divisor(self) -> FloatArray:
        return np.where(self.weight > 0.0, self.weight, 1.0)[:, None]

    @property
    def means(self) -> FloatArray:
        """Mean of the rows of each summary, (s, d); 0 where there are none."""
        return np.asarray(self.first / self._divisor)

    def central(self, form: CovarianceForm) -> FloatArray:
        """Packed covariance of the rows of each summary, (s, q); each must have second moments of its own."""
        return np.asarray(self.second / self._divisor - form.packed_outer(self.means))

    def _features(self, family: CovarianceFamily) -> FloatArray:
        """Sums of the feature map, (s, p); without the quadratic part where components share it."""
        columns = [self.weight[:, None], self.first, *(() if family.tied else (self.second,))]
        return np.concatenate(columns, axis=1)

    def _shared(self, family: CovarianceFamily, parameters: MixtureParameters, coordinates: Coordinates) -> float:
        """What all components have in common of the summaries' log-densities."""
        common = -self.total_weight * coordinates.log_det
        if family.tied:
            quadratic = family.form.quadratic(parameters.precisions_cholesky, parameters.n_features)
            common += float(np.sum(quadratic @ self.second.T))
        return common

    def statistics(
        self, family: CovarianceFamily, parameters: MixtureParameters, coordinates: Coordinates
    ) -> SufficientStatistics:
        """Statistics of the summaries, each weighed over the components as a whole.

        Parameters
        ----------
        family : CovarianceFamily
        parameters : MixtureParameters
            In inner coordinates.
        coordinates : Coordinates

        Returns
        -------
        SufficientStatistics
            About 0. Its log-likelihood is a lower bound of that of the rows, in the user's units.

        Notes
        -----
        Verbeek, Nunnink and Vlassis (2006), "Accelerated EM-based clustering of large data sets",
        Data Mining and Knowledge Discovery 13, section 3: all rows of a summary share one
        posterior, which is best proportional to ``exp`` of the mean log-density over them,
        ``log pi_k + log N(mean | mu_k, Sigma_k) - tr(P_k S) / 2`` with their covariance S.
        ``log sum exp`` is convex, so that its value at the mean is no more than its mean.
        """
        k, d = parameters.means.shape
        shares, log_sums = self.posterior(family, parameters)
        second = self.second.sum(axis=0, keepdims=True) if family.tied else shares.T @ self.second
        return SufficientStatistics(
            np.zeros((k, d)),
            shares.T @ self.weight,
            shares.T @ self.first,
            second,
            float(self.weight @ log_sums) + self._shared(family, parameters, coordinates),
            self.total_weight,
        )

    def posterior(self, family: CovarianceFamily, parameters: MixtureParameters) -> tuple[FloatArray, FloatArray]:
        """Posterior over the components, (s, K), and what it is normalised by, (s,) logarithms."""
        natural = family.natural(parameters, quadratic=not family.tied)
        alive = parameters.weights > 0.0
        logits = np.full((len(self), parameters.n_components), -np.inf)
        logits[:, alive] = (self._features(family) / self._divisor) @ natural[alive].T
        largest = logits.max(axis=1, initial=-np.inf)
        shares = np.exp(logits - largest[:, None])
        total = shares.sum(axis=1)
        return shares / total[:, None], largest + np.log(total)

    def expected(self, family: CovarianceFamily, parameters: MixtureParameters, coordinates: Coordinates) -> float:
        """``sum_k sum w r_k log(pi_k N_k)`` where the k-th summary is of component k, in the user's units."""
        natural = family.natural(parameters, quadratic=not family.tied)
        alive = parameters.weights > 0.0
        own = float(np.sum(self._features(family)[alive] * natural[alive]))
        return own + self._shared(family, parameters, coordinates)

    def as_statistics(self) -> SufficientStatistics:
        """Statistics in which the k-th summary is of component k; without a log-likelihood."""
        return SufficientStatistics(
            np.zeros_like(self.first), self.weight, self.first, self.second, total_weight=self.total_weight
        )


def about_origin(statistics: SufficientStatistics, form: CovarianceForm) -> SufficientStatistics:
    """The same statistics about 0 instead of their references."""
    reference = statistics.reference
    if not reference.any():
        return statistics
    weight = statistics.weight
    offset = statistics.first / np.where(weight > 0.0, weight, 1.0)[:, None]
    change = weight[:, None] * (form.packed_outer(offset + reference) - form.packed_outer(offset))
    if len(statistics.second) != len(weight):
        change = change.sum(axis=0, keepdims=True)
    return replace(
        statistics,
        reference=np.zeros_like(reference),
        first=statistics.first + weight[:, None] * reference,
        second=statistics.second + change,
    )
