"""The table of covariance families.

A family is a form of matrix (:mod:`dgmm.mixture.forms`) and whether the components share one.
Nothing else in the library asks which family it has: to add one is to add a row to ``FAMILIES``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import ParameterError
from dgmm.mixture.forms import DIAGONAL, FULL, SPHERICAL, CovarianceForm
from dgmm.mixture.parameters import Coordinates, MixtureParameters

if TYPE_CHECKING:
    from dgmm.mixture.statistics import SufficientStatistics
    from dgmm.typing import Array, FloatArray


@dataclass(frozen=True)
class CovarianceFamily:
    """A covariance family.

    Attributes
    ----------
    name : str
        ``covariance_type`` of the estimators.
    form : CovarianceForm
        The form of one covariance matrix.
    tied : bool
        True if all components share one covariance.
    public_shape : str
        Shape of the public ``covariances_`` in terms of K and d, for messages.
    """

    name: str
    form: CovarianceForm
    tied: bool
    public_shape: str

    def n_covariances(self, n_components: int) -> int:
        """Covariances that are stored: 1 if tied, else K."""
        return 1 if self.tied else n_components

    def n_parameters(self, n_components: int, d: int) -> int:
        """Free parameters of a mixture of K components: covariances, means, weights."""
        covariances = self.n_covariances(n_components) * self.form.n_parameters(d)
        return covariances + n_components * d + n_components - 1

    def n_mapped(self, d: int) -> int:
        """Length p of the feature map ``[1, x, products(x)]``."""
        return 1 + d + self.form.packed_size(d)

    def min_rows(self, d: int) -> int:
        """Effective rows below which a component cannot be estimated."""
        return 1 if self.tied else self.form.min_rows(d)

    # -- shapes ---------------------------------------------------------------------------------

    def inner_shape(self, n_components: int, d: int) -> tuple[int, ...]:
        """Shape of covariances inside the library: components always lead."""
        return (self.n_covariances(n_components), *self.form.shape(d))

    def shape(self, n_components: int, d: int) -> tuple[int, ...]:
        """Shape of ``covariances_``, as in scikit-learn."""
        own = self.form.public_shape(d)
        return own if self.tied else (n_components, *own)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the dimensions of ``covariances_``."""
        return self.form.dimensions if self.tied else ("component", *self.form.dimensions)

    def public(self, inner: FloatArray, d: int) -> FloatArray:
        """Bring an inner array of covariances or precisions to its public shape."""
        return inner.reshape(self.shape(len(inner), d))

    def inner(self, public: Array, n_components: int, d: int) -> FloatArray:
        """Bring a public array to its inner shape."""
        return np.asarray(public, dtype=np.float64).reshape(self.inner_shape(n_components, d))

    # -- parameters -----------------------------------------------------------------------------

    def parameters(self, weights: FloatArray, means: FloatArray, covariances: FloatArray) -> MixtureParameters:
        """Make parameters from inner arrays; raises IllDefinedCovarianceError."""
        return MixtureParameters(weights, means, covariances, self.form.precision_cholesky(covariances))

    def estimate(
        self,
        statistics: SufficientStatistics,
        coordinates: Coordinates,
        reg_covar: float,
        *,
        pooled: Array | None = None,
        kept: Array | None = None,
        previous: MixtureParameters | None = None,
    ) -> MixtureParameters:
        """The M-step: maximum likelihood parameters of given statistics.

        Parameters
        ----------
        statistics : SufficientStatistics
            In inner coordinates.
        coordinates : Coordinates
            Of the statistics and of the result.
        reg_covar : float
            Added to the diagonal of each covariance, in the user's squared units.
        pooled : (K,) bool, optional
            Components with too few rows for a covariance of their own: they get the mean of all
            components' covariances, weighted.
        kept : (K,) bool, optional
            Components that get weight 0 and keep their mean and covariance of ``previous``.
        previous : MixtureParameters, optional

        Raises
        ------
        IllDefinedCovarianceError
            If a covariance is not positive definite.

        Notes
        -----
        McLachlan and Peel, Finite Mixture Models (2000), equations 3.6 to 3.8; for tied
        covariances the sums over rows are also taken over components.
        """
        d = statistics.reference.shape[1]
        weight = statistics.weight if kept is None else np.where(kept, 0.0, statistics.weight)
        divisor = np.where(statistics.weight > 0.0, statistics.weight, 1.0)
        offset = statistics.first / divisor[:, None]
        spread = self.form.packed_outer(offset)
        means = statistics.reference + offset
        if self.tied:
            central = (statistics.second - statistics.weight @ spread) / statistics.weight.sum()
        else:
            central = statistics.second / divisor[:, None] - spread
            if pooled is not None and pooled.any():
                central[pooled] = weight @ central / weight.sum()
        covariances = self.form.add_to_diagonal(self.form.covariance(central, d), coordinates, reg_covar)
        if kept is not None and previous is not None and kept.any():
            means[kept] = previous.means[kept]
            if not self.tied:
                covariances[kept] = previous.covariances[kept]
        return self.parameters(weight / weight.sum(), means, covariances)

    def natural(self, parameters: MixtureParameters, *, quadratic: bool = True) -> FloatArray:
        """Natural parameters A with ``A[k] @ phi(z) = log(pi_k N(z | mu_k, Sigma_k))``.

        Parameters
        ----------
        parameters : MixtureParameters
        quadratic : bool
            False leaves the quadratic columns out, which a tied family's responsibilities do
            not need: they are the same in all components.

        Returns
        -------
        (K, p) or (K, 1 + d) float64
        """
        means, factors = parameters.means, parameters.precisions_cholesky
        linear = self.form.linear(factors, means)
        constant = self.log_constants(parameters) - 0.5 * np.einsum("ki,ki->k", linear, means)
        columns = [constant[:, None], linear]
        if quadratic:
            own = self.form.quadratic(factors, parameters.n_features)
            columns.append(np.broadcast_to(own, (parameters.n_components, own.shape[1])))
        return np.concatenate(columns, axis=1)

    def log_constants(self, parameters: MixtureParameters) -> FloatArray:
        """``log pi_k + log det(P_k) / 2 - d log(2 pi) / 2``, (K,); -inf at weight 0."""
        d = parameters.n_features
        with np.errstate(divide="ignore"):
            log_weights = np.log(parameters.weights)
        half_log_det = self.form.half_log_det(parameters.precisions_cholesky, d)
        return np.asarray(log_weights + half_log_det - 0.5 * d * np.log(2.0 * np.pi))

    # -- coordinates ----------------------------------------------------------------------------

    def to_inner(self, parameters: MixtureParameters, coordinates: Coordinates) -> MixtureParameters:
        """Bring parameters from the user's units into inner coordinates."""
        return MixtureParameters(
            parameters.weights,
            coordinates.standardize(parameters.means),
            self.form.rescale(parameters.covariances, coordinates.inverse_scale),
            self.form.rescale_factors(parameters.precisions_cholesky, coordinates.scale),
        )

    def to_user(self, parameters: MixtureParameters, coordinates: Coordinates) -> MixtureParameters:
        """Bring parameters from inner coordinates into the user's units."""
        return MixtureParameters(
            parameters.weights,
            coordinates.restore(parameters.means),
            self.form.rescale(parameters.covariances, coordinates.scale),
            self.form.rescale_factors(parameters.precisions_cholesky, coordinates.inverse_scale),
        )

    def total_covariance(self, parameters: MixtureParameters) -> tuple[FloatArray, FloatArray]:
        """Mean (d,) and covariance (d, d) of the whole mixture."""
        d = parameters.n_features
        mean = parameters.weights @ parameters.means
        offset = parameters.means - mean
        within = self.form.full(parameters.covariances, d)
        shares = np.ones(1) if self.tied else parameters.weights
        covariance = np.einsum("k,kij->ij", shares, within) + (parameters.weights[:, None] * offset).T @ offset
        return mean, covariance

    def own_coordinates(self, parameters: MixtureParameters) -> Coordinates:
        """Coordinates in which the mixture as a whole has mean 0 and unit scale."""
        return self.form.coordinates(*self.total_covariance(parameters))


FAMILIES: dict[str, CovarianceFamily] = {
    family.name: family
    for family in (
        CovarianceFamily("full", FULL, tied=False, public_shape="(n_components, n_features, n_features)"),
        CovarianceFamily("tied", FULL, tied=True, public_shape="(n_features, n_features)"),
        CovarianceFamily("diag", DIAGONAL, tied=False, public_shape="(n_components, n_features)"),
        CovarianceFamily("spherical", SPHERICAL, tied=False, public_shape="(n_components,)"),
        CovarianceFamily("tied-diag", DIAGONAL, tied=True, public_shape="(n_features,)"),
        CovarianceFamily("tied-spherical", SPHERICAL, tied=True, public_shape="()"),
    )
}


def get_family(name: object) -> CovarianceFamily:
    """Look a family up by its name; raises ParameterError naming the known ones."""
    if not isinstance(name, str) or name not in FAMILIES:
        raise ParameterError(f"covariance_type is {name!r}; it must be one of {', '.join(map(repr, FAMILIES))}")
    return FAMILIES[name]
