"""The parameters of a Gaussian mixture, and the coordinates that they are computed in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve_triangular

if TYPE_CHECKING:
    from dgmm.typing import Array, FloatArray


@dataclass(frozen=True)
class MixtureParameters:
    """Weights, means and covariances of a mixture, in one system of coordinates.

    Attributes
    ----------
    weights : (K,) float64
        Mixing proportions; they sum to 1. A component of weight 0 has died out.
    means : (K, d) float64
    covariances : float64
        (K, d, d) for ``full``, (K, d) for ``diag``, (K, 1) for ``spherical``; the leading axis is of
        length 1 where components share a covariance (``tied``, ``tied-diag``, ``tied-spherical``).
        (:meth:`CovarianceFamily.public` gives scikit-learn's shapes.)
    precisions_cholesky : float64
        Factors ``U`` with ``precision = U @ U.T``, of the shape of ``covariances``: upper
        triangular for ``full`` and ``tied``, ``1 / sqrt(variance)`` for the others.
    """

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray
    precisions_cholesky: FloatArray

    @property
    def n_components(self) -> int:
        """Number of components, K."""
        return int(self.means.shape[0])

    @property
    def n_features(self) -> int:
        """Number of features, d."""
        return int(self.means.shape[1])

    def take(self, order: Array) -> MixtureParameters:
        """The same components in another order; ``order[i]`` is the one that comes to place i."""
        shared = len(self.covariances) == 1
        return MixtureParameters(
            self.weights[order],
            self.means[order],
            self.covariances if shared else self.covariances[order],
            self.precisions_cholesky if shared else self.precisions_cholesky[order],
        )

    def reweighted(self, weights: FloatArray) -> MixtureParameters:
        """The same components with other weights, (K,)."""
        return replace(self, weights=weights)


@dataclass(frozen=True)
class Coordinates:
    """The affine map ``x = shift + scale z`` between the user's units (x) and inner ones (z).

    In inner coordinates the data have mean 0 and unit scale, so that sums of products keep their
    digits whatever the user's offset, units and correlations are.

    Attributes
    ----------
    shift : (d,) float64
    scale : float64
        (d, d) lower triangular (``full`` and ``tied``: whitening), or (d,) (``diag``: a scale for
        each feature; ``spherical``: the same one for all).
    """

    shift: FloatArray
    scale: FloatArray

    @property
    def is_triangular(self) -> bool:
        """True if ``scale`` is a matrix."""
        return self.scale.ndim == 2

    @property
    def log_det(self) -> float:
        """Logarithm of the volume of a unit cube of z in the units of x."""
        diagonal = np.diagonal(self.scale) if self.is_triangular else self.scale
        return float(np.log(diagonal).sum())

    @cached_property
    def inverse_scale(self) -> FloatArray:
        """Inverse of ``scale``, of the same shape."""
        if self.is_triangular:
            inverse: FloatArray = solve_triangular(self.scale, np.eye(len(self.shift)), lower=True)
            return np.ascontiguousarray(inverse)
        return np.asarray(1.0 / self.scale)

    def standardize(self, points: Array) -> FloatArray:
        """Bring points (n, d) from the user's units into inner coordinates, (n, d)."""
        centred = np.asarray(points, dtype=np.float64) - self.shift
        return centred @ self.inverse_scale.T if self.is_triangular else centred / self.scale

    def restore(self, points: Array) -> FloatArray:
        """Bring points (n, d) from inner coordinates back into the user's units, (n, d)."""
        scaled: FloatArray = points @ self.scale.T if self.is_triangular else points * self.scale
        return self.shift + scaled
