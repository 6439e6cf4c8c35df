"""Moments of images that do not change where the image is moved, scaled or turned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.errors import DataError, ParameterError
from dgmm.signals.spaces import Measured, MomentSpace, order_of, product, symmetric

if TYPE_CHECKING:
    from dgmm.mixture.sampling import RowSample
    from dgmm.typing import Array, FloatArray, IntArray

_CONSTANT = {"translation": {(1, 0), (0, 1)}, "scale": {(0, 0)}, "rotation": {(1, 1)}}
INVARIANCES = tuple(_CONSTANT)
"""What images may differ in, in words; each makes some moments constant."""

# Samples whose squares are summed at a time, in the cache.
_BLOCK_NUMBERS = 2**17
# The sum of an image without negative values is at least the root of its sum of squares.
_LEAST_SUM = 0.5
# An image whose second moments differ by less of their sum has no principal axis.
_ROUND = 1e-10
# Smaller odd moments, of mass 1 and radius 1, do not say which end of the axis is which: pixels move them as much.
_EVEN = 1e-2
# The sum of an image in standard deviations of its noise: powers of less have no variance that draws could show.
_CLEAR = 10.0
_DRAWS, _DRAWS_AT_A_TIME = 50_000, 2_000


@dataclass(frozen=True)
class NormalizedMoments:
    """Geometric moments of images about their centroid, in units of their size, turned to their principal axis.

    Each only where it is asked for: without ``"translation"`` moments are about the middle of the grid. Moments that
    become constant are left out.

    Attributes
    ----------
    shape : (int, int)
        Samples of an image along both axes.
    order : (int, int)
        The highest degree in all, i + j, twice.
    invariant : tuple of str
        Some of :data:`INVARIANCES`, in their order.

    Notes
    -----
    ``m_ij`` is the sum over the pixels of ``x^i y^j s`` times the area of one. Pixels are squares, and the unit of
    both axes is half the longer side.

    - Translation: ``mu_ij``, the same about the centroid, ``(m10, m01) / m00``.
    - Rotation: the axes are turned by ``theta = atan2(2 mu11, mu20 - mu02) / 2``, so that ``mu11 = 0`` and
      ``mu20 >= mu02``, and by half a turn if that makes ``mu30 > 0``: Prokop and Reeves (1992), "A survey of
      moment-based techniques for unoccluded object representation and recognition", CVGIP: Graphical Models and Image
      Processing 54(5). Of an image that is its own mirror image across the axis ``mu30 = 0``, but for its pixels: it
      does not count below 1% of ``m00 r^3``, ``r^2 = (mu20 + mu02) / m00``. The next odd moment decides then, of
      degree 3 those along the axis first, then of degree 5, and so on.
    - Scale: ``eta_ij = mu_ij / m00^(1 + (i + j) / 2)``: Hu (1962), "Visual pattern recognition by moment invariants",
      IRE Transactions on Information Theory 8(2). An image c times as bright has ``c^(-(i + j) / 2)`` of it.

    A round image (``mu20 = mu02`` and ``mu11 = 0``: a disc, but also a square or a plus sign) has no principal axis,
    and is not turned. Of a nearly round one pixels and noise choose the axis: all moments but those of a disc change
    with it. What is nearly itself after half a turn has odd moments near 0, of which noise chooses the sign. Noise that
    is found by simulation has both in it, so that features rely less on what changes with them.

    Examples
    --------
    >>> image = np.zeros((32, 32))
    >>> image[3:13, 4:9] = 1.0
    >>> space = NormalizedMoments.of(image.shape, 3, INVARIANCES, default=6)
    >>> space.degrees
    [(2, 0), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3)]
    >>> turned = np.roll(np.rot90(image), (-5, 7), (0, 1))
    >>> np.abs(space.project(np.stack([image, turned]).reshape(2, -1))[:, :3]).round(3)
    array([[0.165, 0.04 , 0.   ],
           [0.165, 0.04 , 0.   ]])
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    invariant: tuple[str, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], order: Any, invariant: tuple[str, ...], default: int) -> NormalizedMoments:
        """Choose the moments.

        Parameters
        ----------
        shape : tuple of int
        order : int or None
            The highest degree in all; None for ``default``, or less where a side has no more samples.
        invariant : tuple of str

        Raises
        ------
        ParameterError
            If there are no such moments of such images.
        """
        if len(shape) != 2:
            raise ParameterError(
                f"invariant is {invariant!r}, but signals have {len(shape)} axes, {shape}; only images, which have 2, "
                "can be normalised: give the signal_shape of an image, or leave invariant out"
            )
        if np.ndim(order):
            raise ParameterError(
                f"order is {order!r}, but with invariant it is the highest degree in all, since turns mix the axes; "
                "give one int"
            )
        highest = min(order_of(order, shape, default))
        if highest < 2:
            raise ParameterError(
                f"order is {highest}, of images of shape {shape}, but with invariant moments of degree 2 are needed; "
                "give an order of at least 2, and images of at least 3 samples a side"
            )
        return cls(shape, (highest, highest), tuple(each for each in INVARIANCES if each in invariant))

    @property
    def n_moments(self) -> int:
        """Moments of an image that are not constant, m."""
        return len(self._kept)

    @property
    def degrees(self) -> list[tuple[int, int]]:
        """Degree along each axis, of each moment in their order; the axes are those of the turned image."""
        return [self._all[at] for at in self._kept]

    @property
    def undefined(self) -> str:
        """What images lack whose moments are NaN, and what to do."""
        return (
            "centre and size of an image are those of its sum, which must be clearly above 0 (half the root of its "
            "sum of squares, or more): drop such images, bring their background to 0, or leave 'translation' and "
            "'scale' out of invariant"
        )

    # -- moments --------------------------------------------------------------------------------

    @property
    def n_kept(self) -> int:
        """Numbers of an image that :meth:`of_noise` needs, p, however large the image is."""
        return self._grid.n_moments

    def project(self, S: Array) -> FloatArray:
        """Moments, (b, m) float64, of images, (b, n), in C order; NaN for those that cannot be normalised."""
        return self.measure(S)[0]

    def measure(self, S: Array, *, noise: bool = False) -> Measured:
        """Measure images, (b, n), in C order; of each are kept the moments of the grid."""
        found = self._grid.measure(S, noise=noise)
        raw = found.moments
        if self._needs_sum:
            for first in range(0, len(S), step := max(1, _BLOCK_NUMBERS // S.shape[1])):
                some = slice(first, first + step)
                x = S[some].astype(np.float64, copy=False)
                least = _LEAST_SUM * np.sqrt(np.einsum("ij,ij->i", x, x))
                raw[some][raw[some, 0] * x.shape[1] <= least] = np.nan
        return Measured(self._normalized(raw), raw, found.noise)

    @property
    def _needs_sum(self) -> bool:
        return "translation" in self.invariant or "scale" in self.invariant

    @cached_property
    def _grid(self) -> MomentSpace:
        # Monomials: of small images in the middle they lose nothing, where combinations of larger numbers would.
        return MomentSpace(self.shape, self.order, "monomial")

    @cached_property
    def _all(self) -> list[tuple[int, int]]:
        """Degrees of all moments up to the order, by rising degree."""
        return [(degree - j, j) for degree in range(self.order[0] + 1) for j in range(degree + 1)]

    @cached_property
    def _kept(self) -> IntArray:
        constant = {pair for each in self.invariant for pair in _CONSTANT[each]}
        return np.flatnonzero([pair not in constant for pair in self._all])

    @cached_property
    def _degree(self) -> IntArray:
        return np.array([i + j for i, j in self._all])

    @cached_property
    def _units(self) -> FloatArray:
        """What takes means over the grid on [-1, 1] to integrals in units of half the longer side."""
        halves = np.array(self.shape) / max(self.shape)
        powers = product(half ** np.arange(self.order[0] + 1.0)[None] for half in halves)
        return np.asarray(4.0 * halves.prod() * powers[0])

    def _normalized(self, raw: FloatArray) -> FloatArray:
        """Normalised moments, (b, m), of those of the grid."""
        n = self.order[0] + 1
        M = (raw * self._units).reshape(-1, n, n)
        if "translation" in self.invariant:
            M = _about_centroid(M)
        V = M[:, *np.array(self._all).T]
        if "rotation" in self.invariant:
            V = self._turned(V)
        if "scale" in self.invariant:
            V = V / V[:, :1] ** (1.0 + self._degree / 2.0)
        return np.asarray(V[:, self._kept])

    # -- turns ----------------------------------------------------------------------------------

    def _turned(self, V: FloatArray) -> FloatArray:
        """The moments, (b, m), along the principal axis and across it."""
        mu20, mu11, mu02 = V[:, 3:6].T
        size = np.abs(mu20) + np.abs(mu02)
        apart = np.hypot(2.0 * mu11, mu20 - mu02)
        theta = np.where(apart > _ROUND * size, np.arctan2(2.0 * mu11, mu20 - mu02) / 2.0, 0.0)
        # A turn only multiplies complex moments, of (x + iy)^p (x - iy)^q, by a phase.
        to_complex, to_real = self._complex
        phases = np.exp(-1j * np.multiply.outer(theta, [i - j for i, j in self._all]))
        V = (((V @ to_complex) * phases) @ to_real).real
        odd = np.where(self._degree % 2, -1.0, 1.0)
        return np.where(self._is_backwards(V, size)[:, None], odd * V, V)

    def _is_backwards(self, V: FloatArray, size: FloatArray) -> Array:
        """Whether moments, (b, m), are to be turned by half a turn, (b,)."""
        mass = np.maximum(np.abs(V[:, 0]), size)  # also where an image has a sum of 0
        radius = np.sqrt(size / np.where(mass > 0.0, mass, 1.0))
        odd = V[:, self._ends]
        clear = np.abs(odd) > _EVEN * mass[:, None] * radius[:, None] ** self._degree[self._ends]
        first = clear & (np.cumsum(clear, axis=1) == 1)
        return np.asarray((first & (odd < 0.0)).any(axis=1))

    @cached_property
    def _ends(self) -> IntArray:
        """Odd moments, in the order in which they say which end of the axis is which."""
        # Low degrees first, which pixels change least; but 1, of which nearly centred images have only noise, last.
        odd = [at for at, degree in enumerate(self._degree) if degree % 2 and degree > 1]
        return np.array(odd + ([] if "translation" in self.invariant else [1, 2]), dtype=np.intp)

    @cached_property
    def _complex(self) -> tuple[Array, Array]:
        """Matrices that take moments to complex ones, and back."""
        m = len(self._all)
        to_complex, to_real = np.zeros((2, m, m), dtype=np.complex128)
        for at, (p, q) in enumerate(self._all):
            some = slice(at - q, at + p + 1)  # all of this degree
            to_complex[some, at] = _coefficients((1.0, 1.0j), p, (1.0, -1.0j), q)
            to_real[some, at] = _coefficients((0.5, 0.5), p, (-0.5j, 0.5j), q)
        return to_complex, to_real

    # -- noise ----------------------------------------------------------------------------------

    def of_noise(self, noise: float | Array, sample: RowSample | None = None, seed: int = 0) -> FloatArray:
        """Correlation of what noise changes of the moments, (m, m), by simulation.

        Parameters
        ----------
        noise : float or array
            The variance of each sample, of all, (n,), or the covariance, (n, n).
        sample : RowSample of (b, p)
            The moments about the grid of images that noise is added to, b >= 1, in proportion to their weights; those
            whose sum is less than 10 times its noise are left out, since what is divided by it has no variance then.
        seed : int
            Of the draws.

        Raises
        ------
        DataError
            If the noise is no covariance, or images of more than half the weight are left out.

        Notes
        -----
        50,000 draws of normal noise. The noise of the grid's moments is normal too, of a covariance that is known, so
        it is drawn there: of an image no more than its moments about the grid is needed.

        A fit samples images by a hash of the seed and of their index, whatever the chunks and workers. While chunk
        lengths are unknown the hash is of the chunk and the index within it: another sample, and a slightly other
        correlation.
        """
        if sample is None:
            raise AssertionError("images that noise is added to are sampled")
        raw, weights, factor = sample.rows, sample.weights, self._factor(noise)
        if self._needs_sum:
            clear = self._clear_of(raw, weights, float(np.linalg.norm(factor[:, 0])))
            raw, weights = raw[clear], weights[clear]
        drawn = _in_proportion(weights, _DRAWS)
        before, total = self._normalized(raw), np.zeros((self.n_moments, self.n_moments))
        rng = np.random.default_rng(seed)
        for first in range(0, _DRAWS, _DRAWS_AT_A_TIME):
            at = drawn[first : first + _DRAWS_AT_A_TIME]
            change = self._normalized(raw[at] + rng.standard_normal((len(at), len(factor))) @ factor) - before[at]
            total += change.T @ change
        return symmetric(total / _DRAWS)

    def _clear_of(self, raw: FloatArray, weights: FloatArray, noise: float) -> Array:
        """Which images have a mean that is clear of its noise, (b,) bool, if they are not few."""
        clear = raw[:, 0] >= _CLEAR * noise
        unclear = float(weights[~clear].sum() / weights.sum())
        if unclear > 0.5:
            n, means = self._grid.n_samples, raw[_in_proportion(weights, _DRAWS), 0]
            raise DataError(
                f"the noise is too large to normalise images by their sum: of {len(raw)} images "
                f"{np.count_nonzero(~clear)} ({unclear:.0%} by weight) have a sum of less than {_CLEAR:g} times its "
                f"noise, whose standard deviation is {noise * n:.3g} (the median sum is {np.median(means) * n:.3g}); "
                "crop images to what they show, give a smaller noise, or leave 'translation' and 'scale' out of "
                "invariant"
            )
        return clear

    def _factor(self, noise: float | Array) -> FloatArray:
        """F, with ``F' F`` the covariance of the noise of the grid's moments."""
        legendre = MomentSpace(self.shape, self.order, "legendre")  # of which noise says much the same of all degrees
        values, vectors = np.linalg.eigh(legendre.of_noise(noise))
        if values[0] < -1e-10 * np.abs(values).max():
            raise DataError(f"noise is no covariance: that of the moments has the negative eigenvalue {values[0]:.3g}")
        one = np.zeros((self.order[0] + 1,) * 2)
        for degree in range(len(one)):
            one[degree, : degree + 1] = np.polynomial.legendre.poly2leg(np.eye(degree + 1)[-1])
        # The root that is symmetric: there is one, so that the same draws are made of the same noise.
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        return np.asarray(root @ product((one, one)).T)


def _in_proportion(weights: FloatArray, count: int) -> IntArray:
    """Indices, (count,) and rising, each as often as its weight says."""
    ends = np.cumsum(weights)
    return np.asarray(np.searchsorted(ends, (np.arange(count) + 0.5) * (ends[-1] / count), side="right"))


def _coefficients(a: tuple[complex, complex], i: int, b: tuple[complex, complex], j: int) -> Array:
    """Of the product of the powers i and j of two polynomials."""
    found: Array = np.ones(1)
    for factor in (a,) * i + (b,) * j:
        found = np.convolve(found, factor)
    return found


def _about_centroid(M: FloatArray) -> FloatArray:
    """Moments, (b, i, j), about the centroid; right where i + j is at most the order."""
    centroid = np.stack([M[:, 1, 0], M[:, 0, 1]]) / M[:, 0, 0]
    n = M.shape[1]
    powers = (-centroid[:, :, None]) ** np.arange(n)
    binomials = np.array([[math.comb(i, k) for k in range(n)] for i in range(n)], dtype=np.float64)
    along, across = binomials * powers[:, :, np.abs(np.subtract.outer(np.arange(n), np.arange(n)))]
    return np.asarray(along @ M @ across.transpose(0, 2, 1))
