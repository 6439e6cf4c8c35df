"""Features of the best ratio of signal to noise: the eigenproblem in the space of moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from dgmm.errors import DataError
from dgmm.signals.spaces import symmetric

if TYPE_CHECKING:
    from collections.abc import Callable

    from dgmm.typing import Array, FloatArray


# Of B with a unit diagonal: what has less noise than that is lost to rounding, and with it the digits of W.
_SINGULAR = 1e-10
# Numbers whose squares and inverses float64 can hold.
_SMALLEST, _LARGEST = 1e-150, 1e150


@dataclass(frozen=True)
class EigenFeatures:
    """Features ``q = W' M`` of moments M.

    Attributes
    ----------
    weights : (m, k)
        W, with ``W' B W = I`` and ``W' A W`` diagonal.
    eigenvalues : (k,)
        The diagonal of ``W' A W``, falling.
    information_loss : float
        Share of the ratio of signal to noise, ``trace(B^-1 A)``, that is not in the features: eta.
    """

    weights: FloatArray
    eigenvalues: FloatArray
    information_loss: float


def generalized(A: Array, B: Array, n_components: int | float) -> EigenFeatures:
    """Solve ``A w = lambda B w`` and keep the largest eigenvalues.

    Yap and Paramesran (2007): w maximises the ratio of signal to noise ``w' A w / w' B w``.

    Parameters
    ----------
    A, B : (m, m)
        Correlations of the moments: of the signals, and of their noise.
    n_components : int or float
        k; below 1 the share of the ratio that is to be kept.

    Raises
    ------
    DataError
        If B is singular or indefinite, or no signal is left.

    Examples
    --------
    >>> generalized(np.diag([2.0, 6.0]), np.diag([1.0, 2.0]), 1).eigenvalues
    array([3.])
    """
    check_signals(A)
    check_noise(B)
    factor = _factor(B)
    eigenvalues, vectors = np.linalg.eigh(symmetric(factor.T @ A @ factor))
    eigenvalues, vectors = _ratios(eigenvalues[::-1]), vectors[:, ::-1]
    losses = _losses(eigenvalues)
    k = _kept(losses, n_components)
    return EigenFeatures(factor @ vectors[:, :k], eigenvalues[:k], losses[k - 1])


def two_step(A: Array, B: Array, n_components: int | float) -> EigenFeatures:
    """Keep the directions of the least noise, make their noise white, and diagonalise the signals there.

    Yap and Paramesran (2007), by simultaneous diagonalization: ``P' B P = D``, ``W1`` the columns of
    ``P D^(-1/2)`` of the smallest D, ``W = W1 W2`` where ``W2`` diagonalises ``W1' A W1``. Which directions have little
    noise depends on the basis that the moments are taken in. Parameters and errors are those of :func:`generalized`.
    """
    check_signals(A)
    check_noise(B)
    noise, directions = np.linalg.eigh(symmetric(B))
    white = directions / np.sqrt(noise)
    # Small eigenvalues have fewer digits than their vectors; to first order this gives them back.
    white = white @ _factor(white.T @ B @ white)
    losses = _losses(np.maximum(np.einsum("ij,ik,kj->j", white, A, white), 0.0))
    k = _kept(losses, n_components)
    white = white[:, :k]
    eigenvalues, vectors = np.linalg.eigh(symmetric(white.T @ A @ white))
    return EigenFeatures(white @ vectors[:, ::-1], _ratios(eigenvalues[::-1]), losses[k - 1])


METHODS: dict[str, Callable[[Array, Array, int | float], EigenFeatures]] = {"gep": generalized, "two-step": two_step}


def _factor(B: Array) -> FloatArray:
    """F, upper triangular, with ``F' B F = I``."""
    scale = 1.0 / np.sqrt(np.diag(B))
    lower = np.linalg.cholesky(symmetric(B * np.multiply.outer(scale, scale)))
    inverse: FloatArray = scipy.linalg.solve_triangular(lower, np.diag(scale), lower=True)
    return np.ascontiguousarray(inverse.T)


def _ratios(eigenvalues: Array) -> FloatArray:
    """Falling eigenvalues of signals to noise, of which none is below 0 but for rounding."""
    if eigenvalues[-1] < -1e-8 * abs(eigenvalues[0]):
        raise DataError(
            f"correlation is none: in some combination of moments signals have the ratio {eigenvalues[-1]:.3g} to the "
            "noise, and no mean of squares is below 0"
        )
    return np.maximum(eigenvalues, 0.0)


def _losses(ratios: FloatArray) -> FloatArray:
    """Eta after each number of directions of these ratios of signal to noise."""
    total = ratios.sum()
    if not total > 0.0:
        raise DataError(
            "the signals have no moments that differ from 0 (with center=True: from their mean), so there is nothing "
            "to tell from noise: look whether all signals are the same"
        )
    losses: FloatArray = 1.0 - np.cumsum(ratios) / total
    losses[-1] = 0.0
    return np.maximum(losses, 0.0, out=losses)


def _kept(losses: FloatArray, n_components: int | float) -> int:
    if isinstance(n_components, float):
        return int(np.argmax(losses <= 1.0 - n_components)) + 1
    return n_components


def check_signals(A: Array) -> None:
    """Refuse signals whose squares float64 cannot hold; raises DataError."""
    if not _can_be_held(A):
        raise DataError(
            "the squares of the signals' moments are out of the range of float64; scale the signals, so that samples "
            "are of the order of 1"
        )


def _can_be_held(matrix: Array) -> bool:
    largest = float(np.abs(matrix).max())
    return bool(np.isfinite(largest)) and (largest == 0.0 or _SMALLEST < largest < _LARGEST)


def check_noise(B: Array) -> None:
    """Refuse noise in which some combination of moments has none, or less.

    Raises
    ------
    DataError
        If B, (m, m), is numerically singular or indefinite.
    """
    diagonal = np.diag(B)
    if not _can_be_held(B):
        raise DataError(
            "the noise of the moments is out of the range of float64; scale the signals, and with them the noise, so "
            "that samples are of the order of 1"
        )
    if (diagonal < 0.0).any():
        at = int(np.argmax(diagonal < 0.0))
        raise DataError(f"noise is no covariance: the variance of moment {at} is {diagonal[at]:.3g}")
    if not diagonal.any():
        raise DataError(
            "noise is 0: all features would have an infinite ratio of signal to noise; give the variance of a sample's "
            "noise, noise=..., or noise_floor (differences of neighbours give 0 where signals are constant or linear)"
        )
    singular: FloatArray = np.zeros(0)
    least = 0.0
    if diagonal.all():
        # Moments of high degree are small, and so is their noise: what counts is how alike they are.
        scale = 1.0 / np.sqrt(diagonal)
        singular = np.asarray(np.linalg.eigvalsh(symmetric(B * np.multiply.outer(scale, scale))))
        least = float(singular[0])
    if len(singular) and least < -_SINGULAR:
        raise DataError(f"noise is no covariance: it has the negative eigenvalue {least:.3g} (of noise of variance 1)")
    if not len(singular) or least <= _SINGULAR:
        raise DataError(
            f"the noise of the {len(B)} moments is singular: some of their combinations have none to "
            f"rounding (least eigenvalue {least:.1g} for noise of variance 1 in each); give a lower order, or "
            "basis='gram' (white noise is singular in no order there), or noise_floor above 0, or, if it was estimated "
            "from signals of noise, more of these than there are moments"
        )


def signs(filters: Array) -> FloatArray:
    """The sign, 1 or -1, that makes the last of the largest samples of each filter, (k, n), positive.

    By the filters, not W, so that features are the same in any basis.
    """
    size = np.abs(filters)
    at = filters.shape[1] - 1 - np.argmax((size >= (1.0 - 1e-6) * size.max(axis=1, keepdims=True))[:, ::-1], axis=1)
    return np.where(filters[np.arange(len(filters)), at] < 0.0, -1.0, 1.0)
