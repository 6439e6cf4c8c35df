"""What stays fixed while a mixture is fitted, and the options that the user gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dgmm.mixture.compiled import CompiledMixture, DotGroup, KernelOptions, compile_mixture, dot_product_loss
from dgmm.mixture.imputing import Imputation, ImputingMap
from dgmm.mixture.kernel import complete
from dgmm.mixture.marginal import MarginalMixture
from dgmm.mixture.moments import summarize
from dgmm.mixture.statistics import SufficientStatistics

if TYPE_CHECKING:
    from dgmm.mixture.chunks import ChunkMap, R
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.mixture.known import KnownRows
    from dgmm.mixture.moments import Moments
    from dgmm.mixture.parameters import Coordinates, MixtureParameters
    from dgmm.mixture.sampling import RowSample
    from dgmm.typing import Array, FloatArray


_NONE_ACCEPTED = {"float32": -1.0, "float64": -1.0}

# Relative error of a variance that its sums may leave, as the loss of the dot product bounds it.
_COARSE = 0.05


@dataclass(frozen=True)
class Control:
    """When to stop, and how to get there.

    Attributes
    ----------
    tol : float or "auto"
        Stop when the mean log-likelihood rises by less, in nats per row; ``"auto"``: when the
        rise that remains is estimated to be below the sampling error of the optimum.
    max_iter : int
        Reads at most.
    accelerate : "auto" or None
        Whether the sample, in memory, is asked where to read next.
    """

    tol: float | Literal["auto"]
    max_iter: int
    accelerate: Literal["auto"] | None = None


@dataclass(frozen=True)
class FitProblem:
    """A mixture to be fitted to some rows: everything but the parameters.

    Attributes
    ----------
    family : CovarianceFamily
    n_components : int
    coordinates : Coordinates
    reg_covar : float
        In the user's squared units.
    dtype : dtype
        Of the rows: float32 or float64.
    options : KernelOptions
    exponent : int
        Row weights are taken in units of ``2**exponent``.
    n_effective : float
        Number of rows that the weights stand for: their sum, or the number of rows of positive
        weight if that is more (weights may be normalised).
    total_weight : float
        In units of ``2**exponent``.
    total_scatter : (1, q) float64
        Packed scatter of the rows that passes sum up about 0, in inner coordinates and units of ``2**exponent``.
    sample : RowSample
        In the user's units.
    imputation : Imputation or None
        Of missing values, where rows of positive weight have some: these are marginalized.
    known : KnownRows or None
        Sums of the labelled rows, in inner coordinates and units of ``2**exponent``, which passes leave
        out; None if there are none.
    """

    family: CovarianceFamily
    n_components: int
    coordinates: Coordinates
    reg_covar: float
    dtype: np.dtype[Any]
    options: KernelOptions
    exponent: int
    n_effective: float
    total_weight: float
    total_scatter: FloatArray
    sample: RowSample
    imputation: Imputation | None = None
    known: KnownRows | None = None

    @classmethod
    def of(
        cls,
        family: CovarianceFamily,
        n_components: int,
        moments: Moments,
        reg_covar: float,
        dtype: np.dtype[Any],
        options: KernelOptions,
    ) -> FitProblem:
        """State the problem for data whose moments are known.

        The scale of the coordinates is that of the covariance plus ``reg_covar``: the narrowest
        that a component can be.
        """
        incomplete = moments.missing is not None and moments.missing.n_rows > 0
        moments, d = moments.whole(), len(moments.mean)
        coordinates = family.form.coordinates(moments.mean, moments.covariance + reg_covar * np.eye(d))
        scatter = _inner_scatter(family, coordinates, moments.mean, moments.scatter, moments.weight)
        known = None
        if moments.known is not None and moments.known.n_rows:
            known = moments.known.to_inner(coordinates)
            scatter -= known.total_scatter()
        return cls(
            family,
            n_components,
            coordinates,
            reg_covar,
            dtype,
            options,
            moments.exponent,
            max(moments.total_weight, float(moments.n_positive)),
            moments.weight,
            scatter,
            moments.sample,
            Imputation(moments.mean, moments.covariance + reg_covar * np.eye(d)) if incomplete else None,
            known,
        )

    def on_rows(self, sample: RowSample) -> FitProblem:
        """The same problem for sampled rows alone, whose weights are in units of ``2**exponent`` already."""
        weight, n_effective = float(sample.weights.sum()), float(len(sample.rows))
        total_scatter = self.total_scatter
        if self.imputation is None:  # else densities are whole, and need none
            mean, scatter, *_ = summarize(sample.rows, sample.weights)
            total_scatter = _inner_scatter(self.family, self.coordinates, mean, scatter, weight)
        known, known_weight = self.known_beside(weight), 0.0
        if known is not None:
            known_weight = known.total_weight
            n_effective *= 1.0 + known_weight / weight
        return replace(
            self,
            exponent=0,
            sample=sample,
            known=known,
            total_weight=weight + known_weight,
            n_effective=n_effective,
            total_scatter=total_scatter,
        )

    def known_beside(self, weight: float) -> KnownRows | None:
        """The labelled rows' sums as so much weight of the other rows has them on its side."""
        if self.known is None:
            return None
        # The others' weight may be lost in the sum of both.
        return self.known.scaled(weight / max(self.total_weight - self.known.total_weight, weight))

    def complete(
        self, compiled: CompiledMixture, statistics: SufficientStatistics, parameters: MixtureParameters | None = None
    ) -> SufficientStatistics:
        """Add to the merged statistics of a pass what is the same in every pass.

        Parameters
        ----------
        compiled : CompiledMixture
            What the statistics were made with.
        statistics : SufficientStatistics
        parameters : MixtureParameters, optional
            What was compiled, if a log-likelihood is wanted.
        """
        whole = complete(compiled, statistics, self.total_scatter)
        return whole if self.known is None else self.known.added_to(whole, parameters, self.coordinates)

    def closed_form(self) -> tuple[MixtureParameters, float] | None:
        """Maximum likelihood where all rows are labelled: parameters and their mean log-likelihood, in nats per row.

        None where rows are not, and their weight is not nothing beside that of the others.

        Raises
        ------
        IllDefinedCovarianceError
            If a covariance is not positive definite.
        """
        if self.known is None or self.sample.weights.any():
            return None
        nothing = SufficientStatistics.zero(self.known.mean, self.known.scatter.shape)
        parameters = self.family.estimate(self.known.added_to(nothing), self.coordinates, self.reg_covar)
        return parameters, self.known.log_likelihood(parameters, self.coordinates) / self.total_weight

    def starved(self, weight: FloatArray) -> Array:
        """Components that such weights, (K,), are too few rows for; never those that have labelled rows."""
        starved: Array = weight * self.rows_per_weight < self.min_rows
        return starved if self.known is None else starved & ~self.known.components

    @property
    def n_features(self) -> int:
        """Number of features, d."""
        return len(self.coordinates.shift)

    @property
    def rows_per_weight(self) -> float:
        """Effective rows per unit of weight."""
        return self.n_effective / self.total_weight

    @property
    def min_rows(self) -> float:
        """Effective rows below which a component is starved.

        Without ``reg_covar`` what its covariance needs; with it any covariance exists, and a
        component may sit on a single row. Never more than half a component's fair share of the
        rows: as many components as rows is legal.
        """
        needed = self.family.min_rows(self.n_features) if self.reg_covar == 0.0 else 0.5
        return min(needed, 0.5 * self.n_effective / self.n_components)

    @property
    def sampling_error(self) -> float:
        """How well n rows determine the optimum: p_free / (2 n) nats per row."""
        n_parameters = self.family.n_parameters(self.n_components, self.n_features)
        return n_parameters / (2.0 * self.n_effective)

    def compile(
        self, parameters: MixtureParameters, *, whole_density: bool = False, centred: bool = False
    ) -> CompiledMixture:
        """Make parameters in inner coordinates ready for the kernel; ``centred`` serves all components so."""
        options = replace(self.options, tolerance=_NONE_ACCEPTED) if centred else self.options
        marginalized = self.imputation is not None
        compiled = compile_mixture(
            self.family, parameters, self.coordinates, self.dtype, options, whole_density=whole_density or marginalized
        )
        return MarginalMixture.of(compiled, parameters, self.dtype, options) if marginalized else compiled

    def imputed(self, rows: Array) -> Array:
        """Rows, (n, d) in the user's units, with conditional means in the place of missing values."""
        return rows if self.imputation is None else self.imputation(rows)

    def imputing(self, chunk_map: ChunkMap[R]) -> ChunkMap[R]:
        """A map of such rows."""
        return chunk_map if self.imputation is None else ImputingMap(self.imputation, chunk_map)

    def outgrown(self, compiled: CompiledMixture, parameters: MixtureParameters) -> bool:
        """Whether new parameters are too narrow for the precision of the sums that they came from."""
        loss = np.where(parameters.weights > 0.0, dot_product_loss(self.family, parameters), 0.0)
        return any(
            isinstance(group, DotGroup) and bool((loss[group.components] * np.finfo(group.dtype).eps > _COARSE).any())
            for group in compiled.groups
        )


def _inner_scatter(
    family: CovarianceFamily, coordinates: Coordinates, mean: FloatArray, scatter: FloatArray, weight: float
) -> FloatArray:
    """Packed scatter about 0 in inner coordinates, (1, q), of rows with a scatter (d, d) about their mean."""
    inverse = coordinates.inverse_scale if coordinates.is_triangular else np.diag(coordinates.inverse_scale)
    (centre,) = coordinates.standardize(mean[None])
    return family.form.packed_matrix(inverse @ scatter @ inverse.T + weight * np.outer(centre, centre))[None]
