"""Correlations of signals that are given as formulas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import ParameterError
from dgmm.rules import is_number
from dgmm.signals.spaces import BASES, product

if TYPE_CHECKING:
    from dgmm.signals.spaces import MomentSpace
    from dgmm.typing import FloatArray

# Signals of this decay are alike over a hundredth of half an axis: no polynomial follows them.
_LARGEST = 1e4


@dataclass(frozen=True)
class StationaryCorrelation:
    """Signals on [-1, 1] of the correlation ``variance * exp(-c (x1 - x2)^2)``, in white noise.

    The model of Yap and Paramesran (2007), "Eigenmoments", Pattern Recognition 40(4), for signals of one axis; of
    several, the product over the axes. Integrals are exact to rounding: no samples are needed.

    Parameters
    ----------
    c : float or tuple of float
        Decay along all axes, or each; above 0 and at most 1e4. Axes are 2 long, so ``1 / sqrt(c)`` is the length, in
        halves of an axis, over which signals are alike.
    variance : float, default 1.0
        Of the signals at each point; above 0.

    Raises
    ------
    ParameterError
        If one is no such number.

    Examples
    --------
    >>> from dgmm import EigenMoments, StationaryCorrelation
    >>> found = EigenMoments(2, order=4, signal_shape=64, correlation=StationaryCorrelation(0.5), noise=0.1).fit(None)
    >>> found.eigenvalues_.round(1)
    array([494.3, 127.1])
    """

    c: float | tuple[float, ...]
    variance: float = 1.0

    def __post_init__(self) -> None:
        each = self.c if isinstance(self.c, tuple) else (self.c,)
        if not each or not all(is_number(c) and 0.0 < c <= _LARGEST for c in each):
            raise ParameterError(f"c is {self.c!r}; it must be a number above 0 and at most 1e4, or one for each axis")
        if not (is_number(self.variance) and self.variance > 0.0):
            raise ParameterError(f"variance is {self.variance!r}; it must be a finite number above 0")

    def signals(self, space: MomentSpace) -> FloatArray:
        """``E[M M']``, (m, m), of the moments; means over [-1, 1] in the place of means over samples."""
        each = self.c if isinstance(self.c, tuple) else (self.c,) * len(space.shape)
        if len(each) != len(space.shape):
            raise ParameterError(f"c is {self.c!r}, but signals have {len(space.shape)} axes; give one for each")
        axes = (
            _correlation(space.basis, order, n, c) for order, n, c in zip(space.order, space.shape, each, strict=True)
        )
        return self.variance * product(axes)

    def white(self, space: MomentSpace, variance: float) -> FloatArray:
        """The same of white noise whose variance is this one in each cell of the grid of samples."""
        axes = (_white(space.basis, order, n) / n for order, n in zip(space.order, space.shape, strict=True))
        return variance * product(axes)


def _nodes(n: int) -> tuple[FloatArray, FloatArray]:
    """Points of [-1, 1] and weights of their mean, by Gauss and Legendre."""
    x, w = np.polynomial.legendre.leggauss(n)
    return x, w / 2.0


def _correlation(basis: str, order: int, n: int, c: float) -> FloatArray:
    """Means over x1 and x2 of ``P_i(x1) exp(-c (x1 - x2)^2) P_j(x2)``, (order + 1, order + 1)."""
    # Chebyshev coefficients of the kernel fall as exp(-k^2 / 4 c), and n nodes are exact up to degree 2 n - 1.
    x, w = _nodes(order + 32 + 8 * math.ceil(math.sqrt(c)))
    P = BASES[basis](x, order, n) * w[:, None]
    return np.asarray(P.T @ np.exp(-c * np.subtract.outer(x, x) ** 2) @ P)


def _white(basis: str, order: int, n: int) -> FloatArray:
    """Means of ``P_i(x) P_j(x)``."""
    x, w = _nodes(order + 1)
    P = BASES[basis](x, order, n)
    return np.asarray((P.T * w) @ P)
