"""The three forms of a covariance matrix: full, diagonal, a multiple of the identity.

A form knows how second moments are stored ("packed", q numbers: the part of the feature map
``phi(x) = [1, x, products(x)]`` that is quadratic), and how covariances of that form are
estimated, inverted, rescaled and drawn from. Whether components share one covariance is the
business of :mod:`dgmm.mixture.families`.

Arrays of covariances always have a leading axis of components, (K, ..), of length 1 if they
are shared, and the arithmetic broadcasts over it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import lapack

from dgmm.errors import IllDefinedCovarianceError
from dgmm.mixture.parameters import Coordinates

if TYPE_CHECKING:
    from dgmm.typing import Array, FloatArray, IntArray

_ADVICE = (
    "its rows are too few, or they coincide or are linearly dependent; "
    "increase reg_covar, decrease n_components, or scale the input data"
)


@cache
def _upper(d: int) -> tuple[IntArray, IntArray]:
    """Rows and columns of the packed entries of a (d, d) matrix."""
    return np.triu_indices(d)


def _ill_defined(component: int) -> IllDefinedCovarianceError:
    return IllDefinedCovarianceError(f"the covariance of component {component} is not positive definite: {_ADVICE}")


class CovarianceForm(ABC):
    """How one covariance matrix of d features is stored and computed with."""

    dimensions: tuple[str, ...]
    """Names of the dimensions of one covariance as it is made public."""

    @abstractmethod
    def shape(self, d: int) -> tuple[int, ...]:
        """Shape of one covariance inside the library."""

    def public_shape(self, d: int) -> tuple[int, ...]:
        """Shape of one covariance as scikit-learn gives it."""
        return self.shape(d)

    @abstractmethod
    def packed_size(self, d: int) -> int:
        """Number q of quadratic features."""

    @abstractmethod
    def n_parameters(self, d: int) -> int:
        """Free parameters of one covariance."""

    @abstractmethod
    def min_rows(self, d: int) -> int:
        """Rows below which one covariance of this form is singular."""

    @abstractmethod
    def products(self, z: Array, out: Array) -> None:
        """Write the quadratic features of z, (d, B), into out, (q, B)."""

    @abstractmethod
    def packed_outer(self, a: FloatArray) -> FloatArray:
        """Quadratic features of the rows of a, (K, d): (K, q)."""

    @abstractmethod
    def covariance(self, packed: FloatArray, d: int) -> FloatArray:
        """Covariances (K, ..) from packed central second moments (K, q)."""

    @abstractmethod
    def add_to_diagonal(self, covariances: FloatArray, coordinates: Coordinates, amount: float) -> FloatArray:
        """Add ``amount``, in the user's squared units, to the diagonal of inner covariances."""

    @abstractmethod
    def precision_cholesky(self, covariances: FloatArray) -> FloatArray:
        """Factors U of the precisions; raises IllDefinedCovarianceError naming the component."""

    @abstractmethod
    def precision(self, factors: FloatArray) -> FloatArray:
        """Precisions ``U @ U.T``, (K, ..)."""

    @abstractmethod
    def invert(self, precisions: FloatArray) -> FloatArray:
        """Covariances of given precisions; raises IllDefinedCovarianceError."""

    @abstractmethod
    def half_log_det(self, factors: FloatArray, d: int) -> FloatArray:
        """Half the logarithm of the determinants of the precisions, (K,)."""

    @abstractmethod
    def quadratic(self, factors: FloatArray, d: int) -> FloatArray:
        """Coefficients (K, q) with ``coefficients @ products(z) == -z' P z / 2``."""

    @abstractmethod
    def linear(self, factors: FloatArray, means: FloatArray) -> FloatArray:
        """``P mu`` for each component, (K, d)."""

    @abstractmethod
    def squared_distance(self, factor: FloatArray, centred: FloatArray) -> FloatArray:
        """``c' P c`` for the columns of centred, (d, B): (B,). ``factor`` is of one component."""

    @abstractmethod
    def packed_scatter(self, centred: FloatArray, weighted: FloatArray) -> FloatArray:
        """Packed ``sum_b weighted_b centred_b'`` of columns, (q,)."""

    @abstractmethod
    def packed_matrix(self, matrix: FloatArray) -> FloatArray:
        """Pack a scatter matrix (d, d): (q,)."""

    @abstractmethod
    def largest_precision(self, factors: FloatArray) -> FloatArray:
        """Upper bound of the largest eigenvalue of each precision, (K,)."""

    @abstractmethod
    def trace(self, covariances: FloatArray, d: int) -> FloatArray:
        """Traces of the covariances, (K,)."""

    @abstractmethod
    def full(self, covariances: FloatArray, d: int) -> FloatArray:
        """The covariances as matrices, (K, d, d)."""

    @abstractmethod
    def coordinates(self, mean: FloatArray, covariance: FloatArray) -> Coordinates:
        """Coordinates in which data of this mean (d,) and covariance (d, d) have unit scale."""

    def dependent_feature(self, covariance: FloatArray) -> int | None:
        """First feature without variance of its own given those before it; None if all have some."""
        return None

    @abstractmethod
    def rescale(self, covariances: FloatArray, scale: FloatArray) -> FloatArray:
        """Covariances after the points were multiplied by ``scale`` (see :class:`Coordinates`)."""

    @abstractmethod
    def rescale_factors(self, factors: FloatArray, inverse_scale: FloatArray) -> FloatArray:
        """Precision factors after the points were divided by ``inverse_scale``'s inverse."""

    @abstractmethod
    def colour(self, factors: FloatArray, noise: FloatArray) -> FloatArray:
        """Turn standard normal rows (n, d) into rows of covariance ``P^-1``; one component."""


class Full(CovarianceForm):
    """Any symmetric positive definite matrix."""

    dimensions: tuple[str, ...] = ("feature", "feature_2")

    def shape(self, d: int) -> tuple[int, ...]:
        return (d, d)

    def packed_size(self, d: int) -> int:
        return d * (d + 1) // 2

    def n_parameters(self, d: int) -> int:
        return d * (d + 1) // 2

    def min_rows(self, d: int) -> int:
        return d + 1

    def products(self, z: Array, out: Array) -> None:
        d = z.shape[0]
        start = 0
        for i in range(d):
            np.multiply(z[i:], z[i], out=out[start : start + d - i])
            start += d - i

    def packed_outer(self, a: FloatArray) -> FloatArray:
        rows, columns = _upper(a.shape[1])
        return a[:, rows] * a[:, columns]

    def _unpack(self, packed: FloatArray) -> FloatArray:
        d = int((np.sqrt(8 * packed.shape[-1] + 1) - 1) / 2 + 0.5)
        rows, columns = _upper(d)
        matrices = np.empty((*packed.shape[:-1], d, d))
        matrices[..., rows, columns] = packed
        matrices[..., columns, rows] = packed
        return matrices

    def covariance(self, packed: FloatArray, d: int) -> FloatArray:
        return self._unpack(packed)

    def add_to_diagonal(self, covariances: FloatArray, coordinates: Coordinates, amount: float) -> FloatArray:
        inverse = coordinates.inverse_scale
        return covariances + amount * (inverse @ inverse.T)

    def precision_cholesky(self, covariances: FloatArray) -> FloatArray:
        factors = np.empty_like(covariances)
        for k, covariance in enumerate(covariances):
            lower, info = lapack.dpotrf(covariance, lower=1, clean=1)
            if info != 0 or not np.isfinite(lower).all():
                raise _ill_defined(k)
            inverse, info = lapack.dtrtri(lower, lower=1)
            if info != 0 or not np.isfinite(inverse).all():
                raise _ill_defined(k)
            factors[k] = inverse.T
        return factors

    def precision(self, factors: FloatArray) -> FloatArray:
        return factors @ np.swapaxes(factors, -1, -2)

    def invert(self, precisions: FloatArray) -> FloatArray:
        inverse = self.precision_cholesky(precisions)
        return self.precision(inverse)

    def half_log_det(self, factors: FloatArray, d: int) -> FloatArray:
        return np.asarray(np.log(np.diagonal(factors, axis1=-2, axis2=-1)).sum(axis=-1))

    def quadratic(self, factors: FloatArray, d: int) -> FloatArray:
        rows, columns = _upper(d)
        coefficients = -self.precision(factors)[..., rows, columns]
        coefficients[..., rows == columns] *= 0.5
        return coefficients

    def linear(self, factors: FloatArray, means: FloatArray) -> FloatArray:
        return np.asarray(np.einsum("kij,kj->ki", self.precision(factors), means))

    def squared_distance(self, factor: FloatArray, centred: FloatArray) -> FloatArray:
        projected = factor.T @ centred
        return np.asarray(np.einsum("ib,ib->b", projected, projected))

    def packed_scatter(self, centred: FloatArray, weighted: FloatArray) -> FloatArray:
        scatter = weighted @ centred.T
        return np.asarray(scatter[_upper(centred.shape[0])])

    def packed_matrix(self, matrix: FloatArray) -> FloatArray:
        return np.asarray(matrix[_upper(len(matrix))])

    def largest_precision(self, factors: FloatArray) -> FloatArray:
        # (sum of the fourth powers of the eigenvalues) ** 1/4.
        precisions = self.precision(factors)
        return np.asarray(np.sqrt(np.linalg.norm(precisions @ precisions, axis=(-2, -1))))

    def trace(self, covariances: FloatArray, d: int) -> FloatArray:
        return np.asarray(np.trace(covariances, axis1=-2, axis2=-1))

    def full(self, covariances: FloatArray, d: int) -> FloatArray:
        return covariances

    def coordinates(self, mean: FloatArray, covariance: FloatArray) -> Coordinates:
        spread = np.sqrt(np.diagonal(covariance))
        spread = np.where(spread > 0.0, spread, 1.0)
        correlation = covariance / spread / spread[:, None]
        # Dependent features leave a pivot of rounding noise: the smallest ridge that hides it
        # makes the map invertible, and any invertible map will do.
        for ridge in (0.0, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-8, 1e-6):
            lower, info = lapack.dpotrf(correlation + ridge * np.eye(len(mean)), lower=1, clean=1)
            if info == 0 and np.diagonal(lower).min() > 1e-8:
                return Coordinates(mean, np.ascontiguousarray(lower * spread[:, None]))
        return Coordinates(mean, np.diag(spread))

    def dependent_feature(self, covariance: FloatArray) -> int | None:
        spread = np.sqrt(np.diagonal(covariance))
        lower, info = lapack.dpotrf(covariance / spread / spread[:, None], lower=1, clean=1)
        if info > 0:
            return int(info) - 1
        small = np.square(np.diagonal(lower)) < 4.0 * len(spread) * np.finfo(float).eps  # rounding
        return int(small.argmax()) if small.any() else None

    def rescale(self, covariances: FloatArray, scale: FloatArray) -> FloatArray:
        scaled = scale @ covariances @ scale.T
        return 0.5 * (scaled + np.swapaxes(scaled, -1, -2))

    def rescale_factors(self, factors: FloatArray, inverse_scale: FloatArray) -> FloatArray:
        return np.triu(inverse_scale.T @ factors)

    def colour(self, factors: FloatArray, noise: FloatArray) -> FloatArray:
        return np.asarray(np.linalg.solve(factors.T, noise.T).T, dtype=np.float64)


class Diagonal(CovarianceForm):
    """A diagonal matrix: uncorrelated features."""

    dimensions: tuple[str, ...] = ("feature",)

    def shape(self, d: int) -> tuple[int, ...]:
        return (d,)

    def packed_size(self, d: int) -> int:
        return d

    def n_parameters(self, d: int) -> int:
        return d

    def min_rows(self, d: int) -> int:
        return 2

    def products(self, z: Array, out: Array) -> None:
        np.multiply(z, z, out=out)

    def packed_outer(self, a: FloatArray) -> FloatArray:
        return np.square(a)

    def covariance(self, packed: FloatArray, d: int) -> FloatArray:
        return packed

    def add_to_diagonal(self, covariances: FloatArray, coordinates: Coordinates, amount: float) -> FloatArray:
        return covariances + amount / np.square(coordinates.scale[: covariances.shape[-1]])

    def precision_cholesky(self, covariances: FloatArray) -> FloatArray:
        wrong = ~((covariances > 0.0) & np.isfinite(covariances))
        if wrong.any():
            raise _ill_defined(int(np.argwhere(wrong)[0, 0]))
        return 1.0 / np.sqrt(covariances)

    def precision(self, factors: FloatArray) -> FloatArray:
        return np.square(factors)

    def invert(self, precisions: FloatArray) -> FloatArray:
        return np.square(self.precision_cholesky(precisions))

    def half_log_det(self, factors: FloatArray, d: int) -> FloatArray:
        return np.asarray(np.log(factors).sum(axis=-1) * (d / factors.shape[-1]))

    def quadratic(self, factors: FloatArray, d: int) -> FloatArray:
        return -0.5 * np.square(factors)

    def linear(self, factors: FloatArray, means: FloatArray) -> FloatArray:
        return np.square(factors) * means

    def squared_distance(self, factor: FloatArray, centred: FloatArray) -> FloatArray:
        projected = factor[:, None] * centred
        return np.asarray(np.einsum("ib,ib->b", projected, projected))

    def packed_scatter(self, centred: FloatArray, weighted: FloatArray) -> FloatArray:
        return np.asarray(np.einsum("ib,ib->i", centred, weighted))

    def packed_matrix(self, matrix: FloatArray) -> FloatArray:
        return np.diagonal(matrix).copy()

    def largest_precision(self, factors: FloatArray) -> FloatArray:
        return np.asarray(np.square(factors).max(axis=-1))

    def trace(self, covariances: FloatArray, d: int) -> FloatArray:
        return np.asarray(covariances.sum(axis=-1) * (d / covariances.shape[-1]))

    def full(self, covariances: FloatArray, d: int) -> FloatArray:
        return covariances[..., None] * np.eye(d)

    def coordinates(self, mean: FloatArray, covariance: FloatArray) -> Coordinates:
        spread = np.sqrt(np.diagonal(covariance))
        return Coordinates(mean, np.where(spread > 0.0, spread, 1.0))

    def rescale(self, covariances: FloatArray, scale: FloatArray) -> FloatArray:
        return covariances * np.square(scale[: covariances.shape[-1]])

    def rescale_factors(self, factors: FloatArray, inverse_scale: FloatArray) -> FloatArray:
        return factors * inverse_scale[: factors.shape[-1]]

    def colour(self, factors: FloatArray, noise: FloatArray) -> FloatArray:
        return noise / factors


class Spherical(Diagonal):
    """A multiple of the identity: one variance for all features.

    Stored as a diagonal with one entry, which numpy broadcasts over the features.
    """

    dimensions = ()

    def shape(self, d: int) -> tuple[int, ...]:
        return (1,)

    def public_shape(self, d: int) -> tuple[int, ...]:
        return ()

    def packed_size(self, d: int) -> int:
        return 1

    def n_parameters(self, d: int) -> int:
        return 1

    def products(self, z: Array, out: Array) -> None:
        np.einsum("ib,ib->b", z, z, out=out[0])

    def packed_outer(self, a: FloatArray) -> FloatArray:
        return np.asarray(np.square(a).sum(axis=1, keepdims=True))

    def covariance(self, packed: FloatArray, d: int) -> FloatArray:
        return packed / d

    def packed_scatter(self, centred: FloatArray, weighted: FloatArray) -> FloatArray:
        return np.asarray(np.einsum("ib,ib->", centred, weighted)).reshape(1)

    def packed_matrix(self, matrix: FloatArray) -> FloatArray:
        return np.asarray(np.trace(matrix)).reshape(1)

    def coordinates(self, mean: FloatArray, covariance: FloatArray) -> Coordinates:
        variance = np.trace(covariance) / len(mean)
        return Coordinates(mean, np.full(len(mean), np.sqrt(variance) if variance > 0.0 else 1.0))


FULL = Full()
DIAGONAL = Diagonal()
SPHERICAL = Spherical()
