"""Rows whose component is known: what is summed of them, once, and added to the sums of the others.

Their responsibilities are given, so that their sums do not depend on the parameters. The first read
takes them; the passes of EM leave these rows out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import DataError, ParameterError
from dgmm.mixture.defects import Defects
from dgmm.mixture.families import get_family
from dgmm.mixture.sizes import Sized

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.mixture.parameters import Coordinates, MixtureParameters
    from dgmm.mixture.statistics import SufficientStatistics
    from dgmm.typing import Array, FloatArray

# Values of a block of rows that is sorted by component.
_BLOCK_VALUES, _SHORTEST = 2**20, 256


@dataclass(frozen=True)
class KnownRows(Sized):
    """Weight, mean and scatter of the rows of each component; merges as a monoid.

    Attributes
    ----------
    family : str
        Name of the covariance family.
    n_rows : int
        Rows of positive weight, of all components.
    weight : (K,) float64
    mean : (K, d) float64
        0 where there are no rows.
    scatter : (K, q) float64
        Packed ``sum w products(x - mean)``; (1, q), summed over the components, where they share a covariance.
    """

    family: str
    n_rows: int
    weight: FloatArray
    mean: FloatArray
    scatter: FloatArray

    @classmethod
    def none(cls, family: CovarianceFamily, n_components: int, d: int) -> KnownRows:
        """No rows."""
        scatter = np.zeros((family.n_covariances(n_components), family.form.packed_size(d)))
        return cls(family.name, 0, np.zeros(n_components), np.zeros((n_components, d)), scatter)

    @property
    def components(self) -> Array:
        """Components that have rows here, (K,) bool."""
        return self.weight > 0.0

    @property
    def total_weight(self) -> float:
        """Weight of all the rows."""
        return float(self.weight.sum())

    def merge(self, other: KnownRows) -> KnownRows:
        """The record of both sets of rows.

        Notes
        -----
        Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", American
        Statistician 37, equation 1.5, for each component.
        """
        if not other.n_rows:
            return self
        if not self.n_rows:
            return other
        family = get_family(self.family)
        weight = self.weight + other.weight
        share = other.weight / np.where(weight > 0.0, weight, 1.0)
        both = (self.components & other.components)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported with its feature
            delta = other.mean - self.mean
            between = (self.weight * share)[:, None] * family.form.packed_outer(np.where(both, delta, 0.0))
            return KnownRows(
                self.family,
                self.n_rows + other.n_rows,
                weight,
                self.mean + delta * share[:, None],
                self.scatter + other.scatter + (between.sum(axis=0, keepdims=True) if family.tied else between),
            )

    def scaled(self, factor: float) -> KnownRows:
        """The same rows with all weights multiplied."""
        return replace(self, weight=factor * self.weight, scatter=factor * self.scatter)

    def rescaled(self, exponent: int) -> KnownRows:
        """The same rows with weights times ``2**exponent``."""
        if exponent == 0:
            return self
        return replace(self, weight=np.ldexp(self.weight, exponent), scatter=np.ldexp(self.scatter, exponent))

    def to_inner(self, coordinates: Coordinates) -> KnownRows:
        """The same rows in inner coordinates."""
        form, d = get_family(self.family).form, self.mean.shape[1]
        matrices = form.full(form.rescale(form.covariance(self.scatter, d), coordinates.inverse_scale), d)
        mean = np.where(self.components[:, None], coordinates.standardize(self.mean), 0.0)
        return replace(self, mean=mean, scatter=np.stack([form.packed_matrix(matrix) for matrix in matrices]))

    def second_about(self, points: FloatArray) -> FloatArray:
        """Packed ``sum w products(x - point)``, of the shape of ``scatter``; points are (K, d)."""
        family = get_family(self.family)
        between = self.weight[:, None] * family.form.packed_outer(self.mean - points)
        return self.scatter + (between.sum(axis=0, keepdims=True) if family.tied else between)

    def total_scatter(self) -> FloatArray:
        """Packed ``sum w products(x)`` of all the rows, (1, q)."""
        return np.asarray(self.second_about(np.zeros_like(self.mean)).sum(axis=0, keepdims=True))

    def log_likelihood(self, parameters: MixtureParameters, coordinates: Coordinates) -> float:
        """``sum w log(pi_y N(x | mu_y, Sigma_y))`` over the rows with their components y, in the user's units.

        Parameters
        ----------
        parameters : MixtureParameters
            In inner coordinates, as these rows are.
        coordinates : Coordinates
        """
        family, own = get_family(self.family), self.components
        constants = family.log_constants(parameters) - coordinates.log_det
        quadratic = family.form.quadratic(parameters.precisions_cholesky, parameters.n_features)
        return float(self.weight[own] @ constants[own] + np.sum(quadratic * self.second_about(parameters.means)))

    def added_to(
        self,
        statistics: SufficientStatistics,
        parameters: MixtureParameters | None = None,
        coordinates: Coordinates | None = None,
    ) -> SufficientStatistics:
        """The statistics of these rows and others, in the same inner coordinates.

        Parameters
        ----------
        statistics : SufficientStatistics
            Of the other rows, complete.
        parameters : MixtureParameters, optional
            What the statistics were made with, and ``coordinates``; without them these rows add nothing to
            the log-likelihood.

        Notes
        -----
        The joint log-likelihood of a labelled row and its label takes the place of the row's log-density: McLachlan
        and Peel, Finite Mixture Models (2000), section 2.19; Nigam, McCallum, Thrun and Mitchell (2000), "Text
        classification from labeled and unlabeled documents using EM", Machine Learning 39, equation 8.
        """
        gained = 0.0
        if parameters is not None and coordinates is not None:
            gained = self.log_likelihood(parameters, coordinates)
        reference = statistics.reference
        offset = np.where(self.components[:, None], self.mean - reference, 0.0)
        return replace(
            statistics,
            weight=statistics.weight + self.weight,
            first=statistics.first + self.weight[:, None] * offset,
            second=statistics.second + self.second_about(reference),
            log_likelihood=statistics.log_likelihood + gained,
            total_weight=statistics.total_weight + self.total_weight,
            n_rows=statistics.n_rows + self.n_rows,
        )

    def blended(self, family: CovarianceFamily, found: MixtureParameters, row: float) -> MixtureParameters:
        """Parameters in which the components known here have their own rows' means and covariances.

        A covariance of few rows is blended with the one that was found, which counts as many rows as
        a covariance needs at least. Weights, and a covariance that components share, stay as found.

        Parameters
        ----------
        family : CovarianceFamily
        found : MixtureParameters
            In inner coordinates, as these rows are.
        row : float
            Weight of a row.
        """
        own, d = self.components, self.mean.shape[1]
        means = np.where(own[:, None], self.mean, found.means)
        if family.tied:
            return family.parameters(found.weights, means, found.covariances)
        prior = family.min_rows(d) * row
        whole = np.expand_dims(prior + self.weight, tuple(range(1, found.covariances.ndim)))
        covariances = (prior * found.covariances + family.form.covariance(self.scatter, d)) / whole
        return family.parameters(found.weights, means, covariances)


@dataclass(frozen=True)
class KnownMap:
    """Takes the sums of the labelled rows of a chunk.

    Attributes
    ----------
    family : str
        Name of the covariance family.
    n_components : int
    """

    family: str
    n_components: int

    def bad(self, labels: Array) -> Array:
        """Labels that are none: (n,) bool, True where one is neither -1 nor the number of a component."""
        return np.asarray(~((labels >= -1) & (labels < self.n_components)) | (labels != np.floor(labels)))

    def defects(self, X: Array, labels: Array, positive: Array, nan: Array | None, chunk: Chunk) -> Defects:
        """Labels that are none; else missing values of labelled rows of positive weight, with their feature.

        ``nan``, (n, d) bool, is where values are missing, if any are.
        """
        found = Defects.find(self.bad(labels), labels, chunk)
        if found.count or nan is None:
            return found
        return Defects.find(nan & (positive & (labels >= 0))[:, None], X, chunk)

    def __call__(self, X: Array, w: FloatArray, labels: Array) -> KnownRows:
        """Map rows (n, d), their weights, (n,), all positive, and their labels, (n,)."""
        family, d = get_family(self.family), X.shape[1]
        found = KnownRows.none(family, self.n_components, d)
        known = np.flatnonzero(labels >= 0)
        step = max(_SHORTEST, _BLOCK_VALUES // d)
        for start in range(0, len(known), step):
            rows = known[start : start + step]
            found = found.merge(self._block(family, X, w, labels, rows))
        return found

    def _block(self, family: CovarianceFamily, X: Array, w: FloatArray, labels: Array, rows: Array) -> KnownRows:
        components = labels[rows].astype(np.int64)
        order = np.argsort(components, kind="stable")
        present, starts = np.unique(components[order], return_index=True)
        record = KnownRows.none(family, self.n_components, X.shape[1])
        for k, own in zip(present.tolist(), np.split(rows[order], starts[1:]), strict=True):
            weights, origin = w[own], X[own[0]].astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                # About the first row: an offset of 1e8 would cost digits of the mean otherwise.
                z = np.subtract(X[own].T, origin[:, None], dtype=np.float64)
                record.weight[k] = total = float(weights.sum())
                if total == 0.0:  # weights below the smallest number in units of the largest
                    continue
                mean = z @ weights / total
                z -= mean[:, None]
                residual = z @ weights / total
                z -= residual[:, None]
                record.mean[k] = origin + (mean + residual)
                record.scatter[0 if family.tied else k] += family.form.packed_scatter(z, z * weights)
        return replace(record, n_rows=len(rows))


def check_labelled(known: KnownRows, n_rows: int, weights: FloatArray | None) -> None:
    """Refuse labels that no mixture can be fitted to.

    Parameters
    ----------
    known : KnownRows
    n_rows : int
        Rows of positive weight, labelled or not.
    weights : (K,) float64 or None
        That the fit is to start from.

    Raises
    ------
    DataError
        If all rows are labelled, and a component has none.
    ParameterError
        If a component that has labelled rows would start with weight 0.
    """
    missing = np.flatnonzero(~known.components)
    if known.n_rows == n_rows and len(missing):
        others = f" (nor {missing[1:].tolist()})" if len(missing) > 1 else ""
        raise DataError(
            f"labels: no row of weight has the label {missing[0]}{others}, and all are labelled, so that component "
            f"{missing[0]} of n_components={len(known.weight)} has no rows; decrease n_components, or give -1 for "
            "rows whose component is not known"
        )
    if weights is not None and (known.components & (weights == 0.0)).any():
        k = int(np.argmax(known.components & (weights == 0.0)))
        raise ParameterError(f"weights_init[{k}] is 0, but rows have the label {k}; give it a weight above 0")
