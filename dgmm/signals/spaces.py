"""The moment space of signals: products of polynomials, one for each axis, over the grid of their samples."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dgmm.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dgmm.mixture.sampling import RowSample
    from dgmm.typing import Array, FloatArray


def _monomials(x: FloatArray, order: int, n: int) -> FloatArray:
    return np.vander(x, order + 1, increasing=True)


def _legendre(x: FloatArray, order: int, n: int) -> FloatArray:
    return np.asarray(np.polynomial.legendre.legvander(x, order), dtype=np.float64)


def _gram(x: FloatArray, order: int, n: int) -> FloatArray:
    """Polynomials of mean square 1, and orthogonal, over a grid of n samples: Gram's, or discrete Chebyshev's.

    By the recurrence of Stieltjes, with all that came before taken out again, twice, where rounding has left some.
    """
    points = np.concatenate([grid(n), x])
    found = np.ones((len(points), order + 1))
    for degree in range(1, order + 1):
        before, new = found[:, :degree], points * found[:, degree - 1]
        for _ in range(2):
            new = new - before @ (before[:n].T @ new[:n] / n)
        found[:, degree] = new / np.sqrt(np.mean(new[:n] ** 2))
    return found[n:]


def product(factors: Iterable[FloatArray]) -> FloatArray:
    """The Kronecker product of some matrices."""
    found = np.eye(1)
    for factor in factors:
        found = np.asarray(np.kron(found, factor))
    return found


BASES: dict[str, Callable[[FloatArray, int, int], FloatArray]] = {
    "legendre": _legendre,
    "gram": _gram,
    "monomial": _monomials,
}
"""Polynomials of degrees 0 to ``order`` at points x, (len(x), order + 1), of an axis of n samples, by name."""


def grid(n: int) -> FloatArray:
    """Where the n samples of an axis lie: in the middles of n equal cells of [-1, 1].

    Examples
    --------
    >>> grid(4)
    array([-0.75, -0.25,  0.25,  0.75])
    """
    return (2.0 * np.arange(n) + 1.0) / n - 1.0


class Measured(NamedTuple):
    """What a space finds of signals.

    Attributes
    ----------
    moments : (b, m) float64
        Not finite where a signal has none.
    kept : (b, p) float64
        What ``of_noise`` of the space needs of the signals.
    noise : (b,) float64
        Variances of their noise, in squared units of the samples.
    """

    moments: FloatArray
    kept: FloatArray
    noise: FloatArray


@dataclass(frozen=True)
class MomentSpace:
    """Moments ``M = X' s`` of signals ``s``: means over the samples of the signal times a polynomial.

    Yap and Paramesran (2007), "Eigenmoments", Pattern Recognition 40(4), where the columns of X are monomials. Of a
    signal of several axes a column is a product of polynomials, one in each coordinate, so that X is never made:
    axes are contracted one after the other.

    Attributes
    ----------
    shape : tuple of int
        Samples along each axis of a signal; their product is n.
    order : tuple of int
        Highest degree along each axis, below the number of its samples.
    basis : str
        One of :data:`BASES`.

    Examples
    --------
    >>> space = MomentSpace((4,), (1,), "monomial")
    >>> space.project(np.array([[1.0, 1.0, 1.0, 1.0], [-3.0, -1.0, 1.0, 3.0]]))
    array([[1.  , 0.  ],
           [0.  , 1.25]])
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    basis: str = "legendre"

    @cached_property
    def axes(self) -> tuple[FloatArray, ...]:
        """The factors of X, (samples, degrees) of each axis, divided by the number of samples."""
        make = BASES[self.basis]
        return tuple(make(grid(n), order, n) / n for n, order in zip(self.shape, self.order, strict=True))

    @cached_property
    def projection(self) -> Any:
        """A :class:`~dgmm.signals.projection.Projection`; each process makes its own."""
        # Not before signals are read: numba takes long to import.
        return import_module("dgmm.signals.projection").Projection(self.shape, self.axes)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "projection"}

    @property
    def n_samples(self) -> int:
        """Samples of a signal, n."""
        return math.prod(self.shape)

    @property
    def n_moments(self) -> int:
        """Moments of a signal, m."""
        return math.prod(order + 1 for order in self.order)

    @property
    def degrees(self) -> list[tuple[int, ...]]:
        """Degree along each axis, of each moment in their order."""
        return list(itertools.product(*(range(order + 1) for order in self.order)))

    @property
    def undefined(self) -> str:
        """What signals lack whose moments are not finite, and what to do."""
        return "its moments leave the range of float64; scale the signals"

    def project(self, S: Array) -> FloatArray:
        """Moments, (b, m) float64, of signals, (b, n), whose samples are in C order."""
        return self.measure(S)[0]

    def synthesize(self, M: Array) -> FloatArray:
        """Signals, (b, n), whose samples are polynomials, ``X M``, of these coefficients, (b, m)."""
        return self._expanded(M, self.axes)

    def reconstruct(self, M: Array) -> FloatArray:
        """The polynomials of the space, (b, n), that have these moments, (b, m)."""
        return self._expanded(M, self._duals)

    @cached_property
    def _duals(self) -> tuple[FloatArray, ...]:
        return tuple(np.asarray(np.linalg.pinv(axis).T) for axis in self.axes)

    @staticmethod
    def _expanded(M: Array, axes: tuple[FloatArray, ...]) -> FloatArray:
        x = np.asarray(M, dtype=np.float64).reshape(len(M), *(axis.shape[1] for axis in axes))
        for i, axis in enumerate(axes, 1):
            x = np.moveaxis(np.tensordot(x, axis, axes=(i, 1)), -1, i)
        return x.reshape(len(x), math.prod(len(axis) for axis in axes))

    def white(self, variance: float) -> FloatArray:
        """Correlation of the moments, (m, m), of white noise of this variance a sample."""
        return variance * product(axis.T @ axis for axis in self.axes)

    @property
    def n_kept(self) -> int:
        """Numbers of a signal that :meth:`of_noise` needs, p: none."""
        return 0

    def measure(self, S: Array, *, noise: bool = False) -> Measured:
        """Measure signals, (b, n), whose samples are in C order; without noise its variances are 0."""
        moments, variances = self.projection(S, noise=noise)
        return Measured(moments, np.empty((len(S), 0)), variances)

    def of_noise(self, noise: float | Array, sample: RowSample | None = None, seed: int = 0) -> FloatArray:
        """Correlation of the moments of noise, (m, m), which are those of signals with it less those without it.

        Parameters
        ----------
        noise : float or array
            The variance of each sample, of all, (n,), or the covariance, (n, n).
        sample : RowSample of (b, p), optional
            What is kept of some signals: moments that are no linear functions of them have a noise that depends on
            them.
        seed : int
            Where that is found by simulation.
        """
        return self.white(noise) if isinstance(noise, float) else self.correlation(noise)

    def correlation(self, C: Array) -> FloatArray:
        """Correlation of the moments, ``X' C X``, (m, m), of signals of this one: (n, n), or its diagonal (n,)."""
        X = self.synthesize(np.eye(self.n_moments))
        return symmetric((X * C if C.ndim == 1 else X @ C) @ X.T)


def symmetric(matrix: Array) -> FloatArray:
    """A matrix without what rounding has made of it."""
    return np.asarray((matrix + matrix.T) / 2.0)


def order_of(order: Any, shape: tuple[int, ...], default: int) -> tuple[int, ...]:
    """The highest degree along each axis.

    Parameters
    ----------
    order : int, sequence of int, or None
        None for ``default``, or less where an axis has no more samples.

    Raises
    ------
    ParameterError
        If it does not fit the shape.
    """
    if order is None:
        return tuple(min(default, n - 1) for n in shape)
    orders = tuple(map(int, order)) if np.ndim(order) else (int(order),) * len(shape)
    if len(orders) != len(shape):
        raise ParameterError(
            f"order is {order!r}, but signals have {len(shape)} axes, {shape}; give one degree for each"
        )
    for axis, (n, degree) in enumerate(zip(shape, orders, strict=True)):
        if degree >= n:
            raise ParameterError(
                f"order is {degree} along axis {axis}, but signals have {n} samples there, on which polynomials of "
                f"degree {n} and more cannot be told from lower ones; give an order of at most {n - 1}"
            )
    return orders
