"""Marginals of a mixture, and what they say of the features that are missing.

Over some of the features a mixture of Gaussians is one again, of the same family. So rows of which
the same features are there go through the ordinary kernel of that marginal mixture, and what comes
out, their statistics in fewer dimensions, becomes statistics in all of them by one affine map for
each component: given the features that are there, the others have a conditional mean that is linear
in these, and a conditional covariance that is the same for all such rows.

Ghahramani and Jordan (1994), "Supervised learning from incomplete data via an EM approach", NIPS 6;
Little and Rubin, Statistical Analysis with Missing Data (3rd edition, 2019), section 11.2; Hunt and
Jorgensen (2003), "Mixture model clustering for mixed data with missing information", Computational
Statistics and Data Analysis 41.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.mixture.compiled import CompiledMixture, KernelOptions, compile_mixture
from dgmm.mixture.forms import CovarianceForm, Diagonal, Full, Spherical
from dgmm.mixture.kernel import BlockKernel, StatisticsMap
from dgmm.mixture.missing import any_missing
from dgmm.mixture.parameters import Coordinates, MixtureParameters
from dgmm.mixture.patterns import group_rows
from dgmm.mixture.statistics import SufficientStatistics, weighty_rows

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk
    from dgmm.typing import Array, FloatArray


@dataclass(frozen=True)
class MarginalMixture(CompiledMixture):
    """A compiled mixture, of whole densities, that also knows its marginals.

    Attributes
    ----------
    parameters : MixtureParameters
        In inner coordinates.
    rows_dtype : dtype
        Of the rows: float32 or float64.
    options : KernelOptions
    """

    parameters: MixtureParameters = field(kw_only=True)
    rows_dtype: np.dtype[Any] = field(kw_only=True)
    options: KernelOptions = field(kw_only=True)

    @classmethod
    def of(
        cls, compiled: CompiledMixture, parameters: MixtureParameters, rows_dtype: np.dtype[Any], options: KernelOptions
    ) -> MarginalMixture:
        """Add what marginals are made of to a mixture that was compiled from it."""
        own = {item.name: getattr(compiled, item.name) for item in fields(CompiledMixture)}
        return cls(**own, parameters=parameters, rows_dtype=rows_dtype, options=options)

    @cached_property
    def _marginals(self) -> dict[bytes, Marginal]:
        """Those that were asked for; each process makes its own."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_marginals"}

    def marginal(self, observed: Array) -> CompiledMixture | None:
        """The mixture of some of the features, (d,) bool; None for no feature."""
        if observed.all():
            return self
        return self._of(observed).compiled if observed.any() else None

    def _of(self, observed: Array) -> Marginal:
        """The marginal of some features, but not all; made at first use."""
        key = observed.tobytes()
        if key not in self._marginals:
            self._marginals[key] = _MARGINALS[type(self.family.form)](self, observed)
        return self._marginals[key]

    def statistics(self, X: Array, weights: FloatArray | None) -> SufficientStatistics:
        """The E-step over rows, (n, d), with NaN where values are missing, and their weights, (n,).

        Rows of which nothing is there are left out.
        """
        if not any_missing(X):
            return BlockKernel(self).statistics(X, weights)
        k, d = self.reference.shape
        total = SufficientStatistics.zero(
            self.reference, (self.family.n_covariances(k), self.family.form.packed_size(d))
        )
        for observed, rows in group_rows(X):
            w = None if weights is None else weights[rows]
            if observed.all():
                total = total.merge(BlockKernel(self).statistics(X[rows], w))
            elif observed.any():
                own = self._of(observed)
                found = BlockKernel(own.compiled).statistics(X[np.ix_(rows, np.flatnonzero(observed))], w)
                total = total.merge(own.complete(found))
        return total


@dataclass(frozen=True)
class MarginalStatisticsMap(StatisticsMap):
    """One EM iteration's map from rows with missing values to statistics of all features."""

    compiled: MarginalMixture

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> SufficientStatistics:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        return self.compiled.statistics(*weighty_rows(X, weights, self.exponent))


def e_step(compiled: CompiledMixture, exponent: int = 0) -> StatisticsMap:
    """One EM iteration's map, whether values are missing or not; see :class:`~dgmm.mixture.kernel.StatisticsMap`."""
    if isinstance(compiled, MarginalMixture):
        return MarginalStatisticsMap(compiled, exponent)
    return StatisticsMap(compiled, exponent)


class Marginal(ABC):
    """The mixture of the features that some rows have, and what these say of the others.

    With ``y`` a row's inner coordinates of these features, about the reference of their statistics,
    component k expects the row of all features, about the reference of its statistics, at
    ``offset[k] + slope[k] y``.

    Attributes
    ----------
    compiled : CompiledMixture
        Of the features that are there.

    Parameters
    ----------
    mixture : MarginalMixture
        Of all features.
    observed : (d,) bool
        Which features are there: some, but not all.
    """

    compiled: CompiledMixture

    def __init__(self, mixture: MarginalMixture, observed: Array) -> None:
        self._mixture, self._observed = mixture, observed
        self._tied, self._reference = mixture.family.tied, mixture.reference

    def _compile(self, parameters: MixtureParameters, coordinates: Coordinates) -> None:
        mixture = self._mixture
        self._parameters = parameters
        self.compiled = compile_mixture(mixture.family, parameters, coordinates, mixture.rows_dtype, mixture.options)

    def complete(self, statistics: SufficientStatistics) -> SufficientStatistics:
        """The expected statistics of all features, given those of the features that are there."""
        first, second = self._moments(statistics)
        return SufficientStatistics(
            self._reference,
            statistics.weight,
            first,
            second,
            statistics.log_likelihood,
            statistics.total_weight,
            statistics.n_rows,
        )

    @abstractmethod
    def _moments(self, statistics: SufficientStatistics) -> tuple[FloatArray, FloatArray]:
        """First moments, (K, d), and packed second ones, (K, q) or (1, q), about the references of all features."""


class FullMarginal(Marginal):
    """Of full matrices.

    The inner coordinates of the features that are there are an orthogonal projection ``A z`` of those of
    all features: with S the scale, S_o its rows for these features and ``S_o = L A``, L triangular, they are
    ``L^-1 (S z)_o``. With B the rest of the basis and P a precision, ``C = B' (B P B')^-1 B`` is the conditional
    covariance, positive semidefinite by construction, and ``A' - C P A'`` the slope.
    """

    def __init__(self, mixture: MarginalMixture, observed: Array) -> None:
        super().__init__(mixture, observed)
        whole, coordinates = mixture.parameters, mixture.coordinates
        n = int(np.count_nonzero(observed))
        basis, triangle = np.linalg.qr(coordinates.scale[observed].T, mode="complete")
        signs = np.where(np.diagonal(triangle) < 0.0, -1.0, 1.0)
        self._there = np.ascontiguousarray((basis[:, :n] * signs).T)
        self._rest = np.ascontiguousarray(basis[:, n:].T)
        covariances = self._there @ whole.covariances @ self._there.T
        covariances = 0.5 * (covariances + np.swapaxes(covariances, 1, 2))
        factors = np.triu(np.swapaxes(np.linalg.inv(np.linalg.cholesky(covariances)), 1, 2))
        self._compile(
            MixtureParameters(whole.weights, whole.means @ self._there.T, covariances, factors),
            Coordinates(coordinates.shift[observed], np.tril((triangle[:n] * signs[:, None]).T)),
        )

    @cached_property
    def _conditional(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Offsets (K, d), slopes and covariances; these are common to all components where precisions are."""
        whole, rest = self._mixture.parameters, self._rest
        precision = self._mixture.family.form.precision(whole.precisions_cholesky)
        lower = np.linalg.cholesky(rest @ precision @ rest.T)
        half = np.linalg.solve(lower, np.broadcast_to(rest, (len(lower), *rest.shape)))
        covariance = np.swapaxes(half, 1, 2) @ half
        slope = self._there.T - covariance @ (precision @ self._there.T)
        reached = slope @ (self._parameters.means - self.compiled.reference)[:, :, None]
        return whole.means - self._reference - reached[:, :, 0], slope, covariance

    def _moments(self, statistics: SufficientStatistics) -> tuple[FloatArray, FloatArray]:
        offset, slope, covariance = self._conditional
        weight = statistics.weight[:, None]
        sloped = (slope @ statistics.first[:, :, None])[:, :, 0]
        first = weight * offset + sloped
        products = offset[:, :, None] * first[:, None, :] + sloped[:, :, None] * offset[:, None, :]
        inner = self._mixture.family.form.covariance(statistics.second, statistics.first.shape[1])
        if self._tied:
            products, weight = products.sum(axis=0, keepdims=True), weight.sum(axis=0, keepdims=True)
        second: FloatArray = products + slope @ inner @ np.swapaxes(slope, 1, 2) + weight[:, :, None] * covariance
        rows, columns = np.triu_indices(first.shape[1])
        return first, second[:, rows, columns]


class DiagonalMarginal(Marginal):
    """Of diagonal matrices: features say nothing of each other within a component."""

    def __init__(self, mixture: MarginalMixture, observed: Array) -> None:
        super().__init__(mixture, observed)
        whole, coordinates = mixture.parameters, mixture.coordinates
        own = observed if whole.covariances.shape[1] > 1 else slice(None)
        self._compile(
            MixtureParameters(
                whole.weights, whole.means[:, observed], whole.covariances[:, own], whole.precisions_cholesky[:, own]
            ),
            Coordinates(coordinates.shift[observed], coordinates.scale[observed]),
        )
        self._offset = whole.means - self._reference
        self._offset[:, observed] = self.compiled.reference - self._reference[:, observed]
        self._variance = np.where(observed, 0.0, whole.covariances)

    def _moments(self, statistics: SufficientStatistics) -> tuple[FloatArray, FloatArray]:
        weight = statistics.weight[:, None]
        first = np.zeros_like(self._offset)
        first[:, self._observed] = statistics.first
        products = first * self._offset
        first += weight * self._offset
        products += first * self._offset + weight * self._variance
        return first, self._packed(products, statistics.second)

    def _packed(self, products: FloatArray, inner: FloatArray) -> FloatArray:
        """Squares of all features, (K, d), and those of the features that are there about their own reference."""
        second = products.sum(axis=0, keepdims=True) if self._tied else products
        second[:, self._observed] += inner
        return second


class SphericalMarginal(DiagonalMarginal):
    """Of multiples of the identity."""

    def _packed(self, products: FloatArray, inner: FloatArray) -> FloatArray:
        second: FloatArray = products.sum(axis=1, keepdims=True)
        return (second.sum(axis=0, keepdims=True) if self._tied else second) + inner


_MARGINALS: dict[type[CovarianceForm], type[Marginal]] = {
    Full: FullMarginal,
    Diagonal: DiagonalMarginal,
    Spherical: SphericalMarginal,
}
