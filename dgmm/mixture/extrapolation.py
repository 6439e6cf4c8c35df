"""Mixtures as points of a vector space, in which every point is a mixture, and steps there."""

from __future__ import annotations

import numpy as np

from dgmm.mixture.parameters import MixtureParameters
from dgmm.typing import FloatArray


def to_vector(parameters: MixtureParameters) -> FloatArray:
    """Logarithms of the weights, means, precision factors with logarithms on their diagonals, in a row.

    Dead components' weights are left out.
    """
    factors, alive = parameters.precisions_cholesky, parameters.weights > 0.0
    if factors.ndim == 3:
        rows, columns = np.triu_indices(factors.shape[1])
        entries = factors[:, rows, columns]
        diagonal = rows == columns
        entries[:, diagonal] = np.log(entries[:, diagonal])
    else:
        entries = np.log(factors)
    return np.concatenate([np.log(parameters.weights[alive]), parameters.means.ravel(), entries.ravel()])


def from_vector(vector: FloatArray, like: MixtureParameters) -> MixtureParameters:
    """The mixture of a vector; ``like`` has its shapes and its dead components.

    Weights are scaled to a sum of 1, so that a vector's first part has a degree of freedom too many.
    """
    alive = like.weights > 0.0
    n_alive = int(alive.sum())
    logarithms, means, entries = np.split(vector, (n_alive, n_alive + like.means.size))
    weights = np.zeros_like(like.weights)
    weights[alive] = np.exp(logarithms - logarithms.max())
    factors = np.zeros_like(like.precisions_cholesky)
    if factors.ndim == 3:
        rows, columns = np.triu_indices(factors.shape[1])
        packed = entries.reshape(len(factors), -1).copy()
        diagonal = rows == columns
        packed[:, diagonal] = np.exp(packed[:, diagonal])
        factors[:, rows, columns] = packed
        inverse = np.triu(np.linalg.inv(factors))
        covariances = np.swapaxes(inverse, 1, 2) @ inverse
    else:
        factors = np.exp(entries.reshape(factors.shape))
        covariances = 1.0 / np.square(factors)
    return MixtureParameters(weights / weights.sum(), means.reshape(like.means.shape), covariances, factors)


class Anderson:
    """Extrapolates the steps of a fixed-point iteration.

    Parameters
    ----------
    memory : int
        Steps that are looked back on.

    Notes
    -----
    Anderson mixing, type II, as in Henderson and Varadhan (2019), "Damped Anderson acceleration with
    restarts and monotonicity control for accelerating EM and EM-like algorithms", J. Computational
    and Graphical Statistics 28, section 2.2, without damping: whoever uses it keeps what rises.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._points: list[FloatArray] = []
        self._images: list[FloatArray] = []

    def next(self, point: FloatArray, image: FloatArray) -> FloatArray:
        """Where the iteration heads for, after a point, (v,), and what it maps it to, (v,)."""
        self._points = [*self._points[-self._memory :], point]
        self._images = [*self._images[-self._memory :], image]
        if len(self._points) == 1:
            return image
        images = np.array(self._images)
        residuals = images - np.array(self._points)
        shares = np.linalg.lstsq(np.diff(residuals, axis=0).T, residuals[-1], rcond=1e-8)[0]
        return np.asarray(image - shares @ np.diff(images, axis=0))

    def forget(self) -> None:
        """Begin anew."""
        self._points, self._images = [], []
