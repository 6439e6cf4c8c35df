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

from dgmm.mixture.compiled import CompiledMixture, KernelOptions, compile_many
from dgmm.mixture.forms import CovarianceForm, Diagonal, Full, Spherical
from dgmm.mixture.kernel import BlockKernel, StatisticsMap
from dgmm.mixture.missing import any_missing
from dgmm.mixture.parameters import Coordinates, MixtureParameters
from dgmm.mixture.patterns import Patterns
from dgmm.mixture.statistics import SufficientStatistics, weighty_rows

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk
    from dgmm.typing import Array, FloatArray, IntArray

# Numbers in the matrices of the patterns that are worked on together, and in those that are kept for later rows.
_TOGETHER, _KEPT = 2**20, 2**24


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
        """Those that were asked for, as far as they are kept; each process makes its own."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_marginals"}

    def marginals(self, observed: Array) -> list[CompiledMixture | None]:
        """The mixtures of some of the features, (g, d) bool with as many True in each row; None for no feature."""
        if observed.all():
            return [self]
        return [own.compiled for own in self._made(observed)] if observed.any() else [None]

    def _made(self, observed: Array) -> list[Marginal]:
        keys = [own.tobytes() for own in observed]
        new = [number for number, key in enumerate(keys) if key not in self._marginals]
        made = dict(zip(new, self._make(observed[new]), strict=True)) if new else {}
        if len(self._marginals) < _KEPT // self._size:
            self._marginals.update((keys[number], own) for number, own in made.items())
        return [made.get(number) or self._marginals[key] for number, key in enumerate(keys)]

    def _make(self, observed: Array) -> list[Marginal]:
        made = _MARGINALS[type(self.family.form)].make(self, observed)
        for own in made:
            vars(own.compiled)["room"] = self.room
        return made

    @property
    def _size(self) -> int:
        """Numbers in the matrices of a marginal, about."""
        return 4 * self.reference.size * int(self.parameters.covariances.shape[-1])

    def statistics(self, X: Array, weights: FloatArray | None) -> SufficientStatistics:
        """The E-step over rows, (n, d), with NaN where values are missing, and their weights, (n,).

        Rows of which nothing is there are left out.
        """
        if not any_missing(X):
            return BlockKernel(self).statistics(X, weights)
        shape = (len(self.parameters.covariances), self.family.form.packed_size(X.shape[1]))
        total = SufficientStatistics.zero(self.reference, shape)
        for some in Patterns.of(X, max(_TOGETHER // self._size, 1)):
            w = None if weights is None else weights[some.rows]
            if some.n_observed == X.shape[1]:
                total = total.merge(BlockKernel(self).statistics(some.X, w))
            elif some.n_observed:
                marginals = self._made(some.observed)
                found = [
                    BlockKernel(own.compiled).statistics(there, None if w is None else w[where])
                    for own, (there, where) in zip(marginals, some.groups(), strict=True)
                ]
                total = total.merge(marginals[0].complete(self, marginals, found))
        return total


@dataclass(frozen=True)
class MarginalStatisticsMap(StatisticsMap):
    """One EM iteration's map from rows with missing values to statistics of all features."""

    compiled: MarginalMixture

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> SufficientStatistics:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        return self.compiled.statistics(*weighty_rows(X, weights, self.exponent, chunk.labels))


def e_step(compiled: CompiledMixture, exponent: int = 0) -> StatisticsMap:
    """One EM iteration's map, whether values are missing or not; see :class:`~dgmm.mixture.kernel.StatisticsMap`."""
    if isinstance(compiled, MarginalMixture):
        return MarginalStatisticsMap(compiled, exponent)
    return StatisticsMap(compiled, exponent)


@dataclass(frozen=True)
class Marginal(ABC):
    """The mixture of the features that are there in some rows, and what these say of the others.

    With ``y`` a row's inner coordinates of these features, about the reference of their statistics,
    component k expects the row of all features, about the reference of its statistics, at
    ``offset[k] + slope[k] y``, and spread by ``covariance[k]``.

    Marginals of as many features each are made, and used, together: numpy's calls cost more than the
    work of one.

    Attributes
    ----------
    compiled : CompiledMixture
        Of the features that are there.
    features : (n,) int64
        Which ones these are.
    offset : (K, d) float64
    slope : (K, d, n) or (1, d, n) float64
        Of full matrices; without them features say nothing of each other.
    covariance : (K, d, d), (1, d, d), (K, d) or (1, d) float64
    """

    compiled: CompiledMixture
    features: IntArray
    offset: FloatArray
    slope: FloatArray
    covariance: FloatArray

    @classmethod
    @abstractmethod
    def make(cls, mixture: MarginalMixture, observed: Array) -> list[Marginal]:
        """The marginals of patterns of as many features each, (g, d) bool: of some features, but not all."""

    @classmethod
    def complete(
        cls, mixture: MarginalMixture, marginals: list[Marginal], statistics: list[SufficientStatistics]
    ) -> SufficientStatistics:
        """The expected statistics of all features, summed over patterns of as many features each."""
        weight = np.stack([own.weight for own in statistics])[:, :, None]
        first = np.stack([own.first for own in statistics])
        second = np.stack([own.second for own in statistics])
        moments = cls.moments(mixture, marginals, weight, first, second)
        return SufficientStatistics(
            mixture.reference,
            weight.sum(axis=(0, 2)),
            *moments,
            sum(own.log_likelihood for own in statistics),
            sum(own.total_weight for own in statistics),
            sum(own.n_rows for own in statistics),
        )

    @classmethod
    @abstractmethod
    def moments(
        cls, mixture: MarginalMixture, marginals: list[Marginal], weight: FloatArray, first: FloatArray, second: Array
    ) -> tuple[FloatArray, FloatArray]:
        """First moments, (K, d), and packed second ones of all features, (K, q) or (1, q), from those of some.

        ``weight`` is (g, K, 1), ``first`` (g, K, n) and ``second`` (g, K, q_n) or (g, 1, q_n).
        """


class FullMarginal(Marginal):
    """Of full matrices.

    The inner coordinates of the features that are there are an orthogonal projection ``A z`` of those of
    all features: with S the scale, S_o its rows for these features and ``S_o = L A``, L triangular, they are
    ``L^-1 (S z)_o``. With B the rest of the basis and P a precision, ``C = B' (B P B')^-1 B`` is the conditional
    covariance, positive semidefinite by construction, and ``A' - C P A'`` the slope.
    """

    @classmethod
    def make(cls, mixture: MarginalMixture, observed: Array) -> list[Marginal]:
        """See :meth:`Marginal.make`."""
        whole, coordinates, n = mixture.parameters, mixture.coordinates, int(np.count_nonzero(observed[0]))
        features = np.nonzero(observed)[1].reshape(-1, n)
        basis, triangle = np.linalg.qr(_transposed(coordinates.scale[features]), mode="complete")
        signs = np.where(np.diagonal(triangle, axis1=1, axis2=2) < 0.0, -1.0, 1.0)
        triangle = triangle[:, :n] * signs[:, :, None]
        places = [Coordinates(*own) for own in zip(coordinates.shift[features], _transposed(triangle), strict=True)]
        for place, inverse in zip(places, _transposed(np.linalg.inv(triangle)), strict=True):
            vars(place)["inverse_scale"] = np.ascontiguousarray(inverse)  # all at once
        there = _transposed(basis[:, :, :n] * signs[:, None, :])[:, None]  # A, of all components
        rest = _transposed(basis[:, :, n:])[:, None]
        covariances = there @ whole.covariances @ _transposed(there)
        covariances = 0.5 * (covariances + _transposed(covariances))
        factors = np.triu(_transposed(np.linalg.inv(np.linalg.cholesky(covariances))))
        means = whole.means @ _transposed(there[:, 0])
        compiled = compile_many(
            mixture.family,
            [MixtureParameters(whole.weights, *own) for own in zip(means, covariances, factors, strict=True)],
            places,
            mixture.rows_dtype,
            mixture.options,
        )
        precision = mixture.family.form.precision(whole.precisions_cholesky)
        lower = np.linalg.cholesky(rest @ precision @ _transposed(rest))
        half = np.linalg.solve(lower, np.broadcast_to(rest, (*lower.shape[:2], *rest.shape[2:])))
        spread = _transposed(half) @ half
        slopes = _transposed(there) - spread @ (precision @ _transposed(there))
        about = np.stack([own.reference for own in compiled])
        offsets = whole.means - mixture.reference - (slopes @ (means - about)[..., None])[..., 0]
        return [cls(*own) for own in zip(compiled, features, offsets, slopes, spread, strict=True)]

    @classmethod
    def moments(
        cls, mixture: MarginalMixture, marginals: list[Marginal], weight: FloatArray, first: FloatArray, second: Array
    ) -> tuple[FloatArray, FloatArray]:
        """See :meth:`Marginal.moments`."""
        offset, slope = np.stack([own.offset for own in marginals]), np.stack([own.slope for own in marginals])
        sloped = (slope @ first[..., None])[..., 0]
        firsts = weight * offset + sloped
        products = np.einsum("gki,gkj->kij", offset, firsts) + np.einsum("gki,gkj->kij", sloped, offset)
        inner = np.stack([mixture.family.form.covariance(own, first.shape[2]) for own in second])
        inside = slope @ inner @ _transposed(slope)
        if mixture.family.tied:
            products, weight = products.sum(axis=0, keepdims=True), weight.sum(axis=1, keepdims=True)
        for number, own in enumerate(marginals):
            products += inside[number] + weight[number][:, :, None] * own.covariance
        rows, columns = np.triu_indices(offset.shape[2])
        return firsts.sum(axis=0), products[:, rows, columns]


class DiagonalMarginal(Marginal):
    """Of diagonal matrices: features say nothing of each other within a component."""

    @classmethod
    def make(cls, mixture: MarginalMixture, observed: Array) -> list[Marginal]:
        """See :meth:`Marginal.make`."""
        whole, coordinates, n = mixture.parameters, mixture.coordinates, int(np.count_nonzero(observed[0]))
        features = np.nonzero(observed)[1].reshape(-1, n)
        # One variance may be that of all features.
        own = features if whole.covariances.shape[1] > 1 else np.zeros((len(features), 1), dtype=np.int64)
        compiled = compile_many(
            mixture.family,
            [
                MixtureParameters(
                    whole.weights, whole.means[:, some], whole.covariances[:, kept], whole.precisions_cholesky[:, kept]
                )
                for some, kept in zip(features, own, strict=True)
            ],
            [Coordinates(coordinates.shift[some], coordinates.scale[some]) for some in features],
            mixture.rows_dtype,
            mixture.options,
        )
        about = np.repeat(whole.means[None], len(features), axis=0)
        for number, some in enumerate(features):
            about[number][:, some] = compiled[number].reference
        spread = np.where(observed[:, None], 0.0, whole.covariances)
        slopes = np.empty((len(features), 0, 0, 0))
        return [cls(*own) for own in zip(compiled, features, about - mixture.reference, slopes, spread, strict=True)]

    @classmethod
    def moments(
        cls, mixture: MarginalMixture, marginals: list[Marginal], weight: FloatArray, first: FloatArray, second: Array
    ) -> tuple[FloatArray, FloatArray]:
        """See :meth:`Marginal.moments`."""
        offset, spread = np.stack([own.offset for own in marginals]), np.stack([own.covariance for own in marginals])
        sloped = np.zeros_like(offset)
        for number, own in enumerate(marginals):
            sloped[number][:, own.features] = first[number]
        firsts = weight * offset + sloped
        products = ((firsts + sloped) * offset + weight * spread).sum(axis=0)
        if mixture.family.tied:
            products = products.sum(axis=0, keepdims=True)
        return firsts.sum(axis=0), cls.packed(products, second, marginals)

    @classmethod
    def packed(cls, products: FloatArray, second: FloatArray, marginals: list[Marginal]) -> FloatArray:
        """Squares of all features, (K, d) or (1, d), and those of the features that are there, packed."""
        for own, squares in zip(marginals, second, strict=True):
            products[:, own.features] += squares
        return products


class SphericalMarginal(DiagonalMarginal):
    """Of multiples of the identity."""

    @classmethod
    def packed(cls, products: FloatArray, second: FloatArray, marginals: list[Marginal]) -> FloatArray:
        """See :meth:`DiagonalMarginal.packed`."""
        packed: FloatArray = products.sum(axis=1, keepdims=True) + second.sum(axis=0)
        return packed


def _transposed(matrices: FloatArray) -> FloatArray:
    return np.swapaxes(matrices, -1, -2)


_MARGINALS: dict[type[CovarianceForm], type[Marginal]] = {
    Full: FullMarginal,
    Diagonal: DiagonalMarginal,
    Spherical: SphericalMarginal,
}
