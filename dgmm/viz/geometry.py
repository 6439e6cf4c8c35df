"""Where components lie: parts of covariances, ellipses, the features that tell components apart."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import ParameterError
from dgmm.mixture.families import get_family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dgmm.typing import Array, FloatArray


@dataclass(frozen=True)
class Ellipse:
    """A region of two features that holds a given share of a Gaussian.

    Attributes
    ----------
    centre : (float, float)
    width, height : float
        Lengths of the whole axes.
    angle : float
        Of the first axis to the first feature's, in degrees, counterclockwise.
    """

    centre: tuple[float, float]
    width: float
    height: float
    angle: float


def ellipse_of(mean: Array, covariance: Array, mass: float) -> Ellipse:
    """The ellipse of constant density that holds a share of a Gaussian of two features.

    Parameters
    ----------
    mean : (2,)
    covariance : (2, 2)
    mass : float
        Above 0 and below 1.

    Notes
    -----
    The squared Mahalanobis distance of two features has a chi-squared distribution of two degrees of
    freedom, so ``1 - exp(-r**2 / 2)`` of the mass lies within the distance r.

    Examples
    --------
    >>> import numpy as np
    >>> found = ellipse_of(np.zeros(2), np.diag([4.0, 1.0]), mass=1 - np.exp(-0.5))
    >>> round(found.width, 6), round(found.height, 6), abs(found.angle) % 180
    (4.0, 2.0, 0.0)
    """
    radius = np.sqrt(-2.0 * np.log1p(-mass))
    variances, axes = np.linalg.eigh(np.asarray(covariance, dtype=np.float64))
    # Rounding may leave a group of equal rows a variance below 0.
    height, width = 2.0 * radius * np.sqrt(np.maximum(variances, 0.0))
    angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
    return Ellipse((float(mean[0]), float(mean[1])), float(width), float(height), float(angle))


def blocks(covariances: Array, covariance_type: str, shape: tuple[int, int], features: Sequence[int]) -> FloatArray:
    """Covariances of some features, one matrix for each component.

    Parameters
    ----------
    covariances : array
        As a fitted mixture has them, of the shape of its family.
    covariance_type : str
    shape : (int, int)
        Numbers of components and features, (K, d).
    features : sequence of int, (m,)

    Returns
    -------
    (K, m, m) float64
    """
    k, d = shape
    own = get_family(covariance_type).inner(covariances, k, d)
    chosen = list(features)
    if own.ndim == 3:
        return np.broadcast_to(own[:, chosen][:, :, chosen], (k, len(chosen), len(chosen)))
    variances = np.broadcast_to(own, (k, d))[:, chosen]
    return np.asarray(variances[:, :, None] * np.eye(len(chosen)))


def variances(covariances: Array, covariance_type: str, shape: tuple[int, int]) -> FloatArray:
    """Variances of the features in each component, (K, d); parameters are those of :func:`blocks`."""
    k, d = shape
    own = get_family(covariance_type).inner(covariances, k, d)
    own = np.diagonal(own, axis1=1, axis2=2) if own.ndim == 3 else own
    return np.asarray(np.broadcast_to(own, (k, d)))


@dataclass(frozen=True)
class Spread:
    """Where a mixture lies as a whole.

    Attributes
    ----------
    mean : (d,)
    deviation : (d,)
        Standard deviation of each feature, over all components.
    offsets : (K, d)
        Means of the components about that of all, in units of the standard deviations, each times the root of
        its weight: the sum of the squares of a column is the share of a feature's variance that lies between
        components.
    """

    mean: FloatArray
    deviation: FloatArray
    offsets: FloatArray

    @classmethod
    def of(cls, weights: Array, means: Array, within: Array) -> Spread:
        """The spread of a mixture of weights (K,), means (K, d) and variances (K, d)."""
        weights = np.asarray(weights, dtype=np.float64)
        mean = weights @ means
        apart = means - mean
        deviation = np.sqrt(weights @ (np.square(apart) + within))
        scale = np.where(deviation > 0.0, deviation, 1.0)
        return cls(mean, deviation, np.sqrt(weights)[:, None] * apart / scale)

    def leading(self, count: int) -> list[int]:
        """The features that tell components apart best, each for itself; at most ``count``, in their own order."""
        return sorted(np.argsort(-np.square(self.offsets).sum(axis=0), kind="stable")[:count].tolist())

    def telling(self, count: int) -> list[int]:
        """The features that tell components apart best together, at most ``count``, in their own order.

        Each is the one whose means differ most in what those before do not say: the pivots of a QR
        decomposition. Of features that say the same one is taken, as long as others say more.
        """
        left, chosen = self.offsets.copy(), list[int]()
        for _ in range(min(count, left.shape[1])):
            size = np.square(left).sum(axis=0)
            size[chosen] = -1.0
            chosen.append(int(np.argmax(size)))
            if size[chosen[-1]] > 0.0:
                axis = left[:, chosen[-1]] / np.sqrt(size[chosen[-1]])
                left -= axis[:, None] * (axis @ left)
        return sorted(chosen)


def telling_pairs(spread: Spread, most_features: int) -> list[tuple[int, int]]:
    """Pairs of the features that tell components apart best together.

    Examples
    --------
    >>> import numpy as np
    >>> offsets = np.array([[0.5, 0.9, 0.8, 0.0], [0.6, 0.1, 0.1, 0.2]])  # the third says what the second says
    >>> telling_pairs(Spread(np.zeros(4), np.ones(4), offsets), most_features=2)
    [(0, 1)]
    """
    return list(itertools.combinations(spread.telling(most_features), 2))


def check_features(features: Sequence[int], d: int, counts: tuple[int, ...]) -> tuple[int, ...]:
    """Check the features that a picture is asked for; raises ParameterError."""
    try:
        chosen = tuple(int(j) for j in features)
    except (TypeError, ValueError):
        chosen = ()
    if len(chosen) not in counts or len(set(chosen)) < len(chosen) or not all(0 <= j < d for j in chosen):
        wanted = " or ".join(map(str, counts))
        raise ParameterError(f"features is {features!r}; it must be {wanted} different columns from 0 to {d - 1}")
    return chosen


def check_mass(mass: object) -> float:
    """Check the share of a component within its ellipse; raises ParameterError."""
    if not isinstance(mass, (int, float)) or not 0.0 < mass < 1.0:
        raise ParameterError(f"mass is {mass!r}; it must be a number above 0 and below 1")
    return float(mass)
