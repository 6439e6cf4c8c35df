"""The block kernel compiled: a whole chunk goes through in one call, without the interpreter's lock.

The same steps as :mod:`dgmm.mixture.kernel` on blocks that stay in the cache, with the products and
the softmax of :mod:`dgmm.mixture.vectors`. A feature map that is longer than the cache allows is
made and used up in slabs. Arrays of a block have the features or components as rows, ``ld`` apart.

Importing this module imports numba; :mod:`dgmm.mixture.kernel` does so when a fit needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit, types

from dgmm.mixture.compiled import CentredGroup, DotGroup
from dgmm.mixture.forms import Diagonal, Full, Spherical
from dgmm.mixture.vectors import HEIGHT, HEIGHT_OF_SUMS, PADDING, WIDTH_OF_SUMS, add_sums, product, softmax

if TYPE_CHECKING:
    from dgmm.mixture.compiled import CompiledMixture
    from dgmm.typing import Array, FloatArray

BLOCK = 384
"""Rows of a block: 24 vectors of float32, 48 of float64, which tiles of every width divide."""

_SLAB = 192
"""Features that are made at a time, beside the linear ones."""

NO_PRODUCTS, SPHERICAL, DIAGONAL, FULL = range(4)
"""Kinds of quadratic features."""

_KINDS = {Spherical: SPHERICAL, Diagonal: DIAGONAL, Full: FULL}


def pack(matrix: Array) -> Array:
    """Cut a matrix (k, p) into strips and store each by columns, as :func:`multiply` takes it: (k p,)."""
    k = len(matrix)
    n = -(-k // HEIGHT)
    parts = [matrix[i * k // n : (i + 1) * k // n].T.ravel() for i in range(n)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=matrix.dtype)


@njit(nogil=True)
def multiply(
    a: Array, k: int, p: int, first: int, count: int, b: Array, row: int, n: int, c: Array, c_row: int, more: int,
    triangular: bool,
) -> None:  # fmt: skip
    """``C = A B`` or ``C += A B`` by columns first to first + count of a packed A (k, p) and as many rows of B."""
    ld = b.shape[1]
    strips = -(-k // HEIGHT)
    for i in range(strips):
        start = i * k // strips
        height = (i + 1) * k // strips - start
        steps = start + height if triangular else count
        product(a, start * p + first * height, height, b, row * ld, ld, steps, n, c, (c_row + start) * ld, more)


@njit(nogil=True)
def accumulate(r: Array, r_row: int, k: int, f: Array, row: int, count: int, n: int, t: FloatArray, column: int) -> None:
    """``T += R F'`` for k rows of R and ``count`` rows of F, to columns of T from ``column`` on."""
    ld, t_ld = r.shape[1], t.shape[1]
    for start in range(0, k, HEIGHT_OF_SUMS):
        height = min(HEIGHT_OF_SUMS, k - start)
        add_sums(r, (r_row + start) * ld, height, f, row * ld, count, ld, n, t, start * t_ld + column, t_ld)


@njit(nogil=True)
def centre(X: Array, start: int, n: int, shift: FloatArray, out: FloatArray) -> None:
    """Write rows minus shift into columns: out is (d, ld)."""
    d = X.shape[1]
    for b in range(n):
        for j in range(d):
            out[j, b] = X[start + b, j] - shift[j]


@njit(nogil=True)
def n_quadratic(form: int, d: int) -> int:
    """Number of quadratic features."""
    return (0, 1, d, d * (d + 1) // 2)[form]


@njit(nogil=True)
def quadratic(form: int, d: int, first: int, count: int, n: int, phi: Array) -> None:
    """Make quadratic features first to first + count of phi's rows 1 to d; they follow the linear ones."""
    if form == FULL:
        i, j = 0, first
        while j >= d:  # the entries (i, i) to (i, d - 1) come together
            j = j - d + i + 1
            i += 1
        for q in range(1 + d, 1 + d + count):
            out, a, b = phi[q], phi[1 + i], phi[1 + j]
            for column in range(n):
                out[column] = a[column] * b[column]
            j += 1
            if j == d:
                i += 1
                j = i
    elif form == DIAGONAL:
        for q in range(count):
            out, a = phi[1 + d + q], phi[1 + first + q]
            for column in range(n):
                out[column] = a[column] * a[column]
    elif form == SPHERICAL:
        out = phi[1 + d]
        out[:n] = 0.0
        for i in range(d):
            a = phi[1 + i]
            for column in range(n):
                out[column] += a[column] * a[column]


@njit(nogil=True)
def slabs(p: int, d: int) -> tuple[int, int]:
    """Features of the first slab, the linear ones included, and of each further one."""
    most = -(-(1 + d + _SLAB) // WIDTH_OF_SUMS) * WIDTH_OF_SUMS
    return min(p, most), _SLAB // WIDTH_OF_SUMS * WIDTH_OF_SUMS


@njit(nogil=True)
def log_densities(form: int, d: int, p: int, a: Array, k: int, phi: Array, n: int, width: int, logits: Array, row: int) -> None:
    """``A phi`` for the components of one group; phi holds the linear features, and at the end the last slab."""
    first, further = slabs(p, d)
    quadratic(form, d, 0, first - 1 - d, width, phi)
    multiply(a, k, p, 0, first, phi, 0, n, logits, row, 0, False)
    for start in range(first, p, further):
        count = min(further, p - start)
        quadratic(form, d, start - 1 - d, count, width, phi)
        multiply(a, k, p, start, count, phi, 1 + d, n, logits, row, 1, False)


@njit(nogil=True)
def add_moments(form: int, d: int, p: int, r: Array, row: int, k: int, phi: Array, n: int, width: int, t: FloatArray) -> None:
    """``T += R phi'`` for one group, from the slab that :func:`log_densities` left backwards."""
    first, further = slabs(p, d)
    if p > first:
        last = first + (p - first - 1) // further * further
        for start in range(last, first - 1, -further):
            count = min(further, p - start)
            if start != last:
                quadratic(form, d, start - 1 - d, count, width, phi)
            accumulate(r, row, k, phi, 1 + d, count, n, t, start)
        quadratic(form, d, 0, first - 1 - d, width, phi)
    accumulate(r, row, k, phi, 0, first, n, t, 0)


@njit(nogil=True)
def centred_features(form: int, z: FloatArray, mean: FloatArray, width: int, phi: FloatArray) -> None:
    """Write z - mean and, but for full matrices, its products into phi."""
    d = len(mean)
    for i in range(d):
        out, a, m = phi[1 + i], z[i], mean[i]
        for column in range(width):
            out[column] = a[column] - m
    if form != FULL:
        quadratic(form, d, 0, n_quadratic(form, d), width, phi)


@njit(nogil=True)
def centred_log_densities(
    form: int, z: FloatArray, means: FloatArray, factors: FloatArray, constants: FloatArray, phi: FloatArray,
    work: FloatArray, n: int, width: int, logits: FloatArray, row: int,
) -> None:  # fmt: skip
    """Log-densities of components that are served centred."""
    d = z.shape[0]
    for k in range(len(means)):
        out = logits[row + k]
        if form == FULL:
            centred_features(form, z, means[k], width, phi)
            multiply(factors[k], d, d, 0, d, phi, 1, n, work, 0, 0, True)
        else:
            for i in range(d):
                a, y, m, factor = z[i], work[i], means[k, i], factors[k, i % factors.shape[1]]
                for column in range(width):
                    y[column] = (a[column] - m) * factor
        out[:width] = constants[k]
        for i in range(d):
            y = work[i]
            for column in range(width):
                out[column] -= 0.5 * y[column] * y[column]


@njit(nogil=True)
def add_centred_moments(
    form: int, z: FloatArray, means: FloatArray, r: FloatArray, row: int, phi: FloatArray, work: FloatArray, n: int,
    width: int, t: FloatArray,
) -> None:  # fmt: skip
    """Moments about the means: of full matrices those of ``[1, c]`` with itself, above the diagonal."""
    d = z.shape[0]
    for k in range(len(means)):
        centred_features(form, z, means[k], width, phi)
        own = r[row + k]
        if form != FULL:
            accumulate(r, row + k, 1, phi, 0, 1 + d + n_quadratic(form, d), n, t[k], 0)
            continue
        work[0, :width] = own[:width]
        for i in range(1, d + 1):
            weighted, a = work[i], phi[i]
            for column in range(width):
                weighted[column] = own[column] * a[column]
        for start in range(0, d + 1, HEIGHT_OF_SUMS):
            height = min(HEIGHT_OF_SUMS, d + 1 - start)
            column = start // WIDTH_OF_SUMS * WIDTH_OF_SUMS
            accumulate(work, start, height, phi, column, d + 1 - column, n, t[k][start:], column)


def _statistics(
    X: Array, weights: FloatArray, shift: FloatArray, inverse: FloatArray, form: int,
    a: Array, t: FloatArray, wide: FloatArray, wide_t: FloatArray, centred_form: int,
    means: FloatArray, factors: FloatArray, constants: FloatArray, centred_t: FloatArray,
) -> float:  # fmt: skip
    """Add the moments of rows to ``t`` and return the log-likelihood; see :class:`NativeKernel`."""
    n_rows, d = X.shape
    k, k_wide, k_centred = t.shape[0], wide_t.shape[0], len(means)
    p = 1 + d + n_quadratic(form, d)
    lanes = 64 // a.itemsize
    columns = min(BLOCK, -(-n_rows // (24 * lanes)) * 24 * lanes)
    ld = columns + lanes  # an odd number of cache lines, which then do not crowd the same sets
    triangular = len(inverse) > d or d == 1

    z, work = np.zeros((d, ld)), np.zeros((1 + d + PADDING, ld))
    features = max(slabs(p, d)[0], 1 + d + slabs(p, d)[1] if p > slabs(p, d)[0] else 0) + PADDING
    phi = np.zeros((features if k else 0, ld), dtype=a.dtype)
    wide_phi = np.zeros((features if k_wide else 0, ld))
    centred_phi = np.zeros((1 + d + (d if centred_form != FULL else 0) + PADDING if k_centred else 0, ld))
    logits = np.zeros((k, ld), dtype=a.dtype)
    several = k_wide + k_centred > 0
    all_logits = np.zeros((k + k_wide + k_centred if several else 0, ld))
    w, total = np.zeros(ld), np.zeros(8)
    phi[:1] = 1.0
    wide_phi[:1] = 1.0
    centred_phi[:1] = 1.0

    for start in range(0, n_rows, columns):
        rows = min(columns, n_rows - start)
        n = -(-rows // lanes)  # vectors of the products' type
        width = n * lanes
        w[:rows] = 1.0
        if len(weights):
            w[:rows] = weights[start : start + rows]
        w[rows:] = 0.0
        if triangular:
            centre(X, start, rows, shift, work)
            multiply(inverse, d, d, 0, d, work, 0, width // 8, z, 0, 0, True)
        else:
            centre(X, start, rows, shift, z)
            for i in range(d):
                z[i, :width] *= inverse[i]
        if k:
            phi[1 : 1 + d, :width] = z[:, :width]
            log_densities(form, d, p, a, k, phi, n, width, logits, 0)
        if not several:
            softmax(logits, 0, k, ld, n, w, total)
        else:
            all_logits[:k] = logits
            if k_wide:
                wide_phi[1 : 1 + d, :width] = z[:, :width]
                log_densities(form, d, p, wide, k_wide, wide_phi, width // 8, width, all_logits, k)
            centred_log_densities(
                centred_form, z, means, factors, constants, centred_phi, work, width // 8, width, all_logits, k + k_wide
            )
            softmax(all_logits, 0, len(all_logits), ld, width // 8, w, total)
            logits[:] = all_logits[:k]
            if k_wide:
                add_moments(form, d, p, all_logits, k, k_wide, wide_phi, width // 8, width, wide_t)
            add_centred_moments(
                centred_form, z, means, all_logits, k + k_wide, centred_phi, work, width // 8, width, centred_t
            )
        if k:
            add_moments(form, d, p, logits, 0, k, phi, n, width, t)
    return total.sum()


@cache
def _function(dtype: str) -> Any:
    """The compiled function for rows of a dtype: made, or fetched from numba's cache, at first use."""
    element, double = getattr(types, dtype), types.float64

    def given(element: Any, dimensions: int, layout: str = "C") -> Any:
        return types.Array(element, dimensions, layout, readonly=True)

    def made(dimensions: int) -> Any:
        return types.Array(double, dimensions, "C")

    signature = double(
        given(element, 2, "A"), given(double, 1, "A"), given(double, 1), given(double, 1), types.intp,
        given(element, 1), made(2), given(double, 1), made(2), types.intp,
        given(double, 2), given(double, 2), given(double, 1), made(3),
    )  # fmt: skip
    return njit(signature, nogil=True, cache=True)(_statistics)


@dataclass(frozen=True)
class Sums:
    """What the compiled function sums over rows.

    Attributes
    ----------
    log_likelihood : float
        In nats, without what rounding A took away.
    dots : dict of str to (k, p) float64
        Sums of the features for the components of each dot group, by its precision.
    centred : (k, 1 + d, 1 + d) or (k, 1, p) float64
        For centred components of full matrices the products of ``[1, c]`` with itself, above the
        diagonal; of others the sums of the features.
    """

    log_likelihood: float
    dots: dict[str, FloatArray]
    centred: FloatArray


class Program:
    """A compiled mixture in the form that the compiled function takes; any thread may use it.

    Parameters
    ----------
    compiled : CompiledMixture
    """

    def __init__(self, compiled: CompiledMixture) -> None:
        form, d = compiled.family.form, compiled.n_features
        kind = _KINDS[type(form)]
        inverse = compiled.coordinates.inverse_scale
        self._coordinates = compiled.coordinates.shift, pack(inverse) if inverse.ndim == 2 else inverse
        self._dots = {group.dtype.name: group.natural for group in compiled.groups if isinstance(group, DotGroup)}
        self._p = max((natural.shape[1] for natural in self._dots.values()), default=1 + d)
        self._form = NO_PRODUCTS if self._p == 1 + d else kind
        means, factors, constants = np.empty((0, d)), np.empty((0, 1)), np.empty(0)
        for group in compiled.groups:
            if isinstance(group, CentredGroup):
                means, factors, constants = group.means, group.factors, group.constants
                if kind == FULL:  # U' is lower triangular, as the inverse scale is
                    factors = np.stack([pack(factor.T) for factor in factors])
        self._centred = kind, np.ascontiguousarray(means), np.ascontiguousarray(factors), constants
        own = (1 + d, 1 + d) if kind == FULL else (1, 1 + d + form.packed_size(d))
        self._centred_shape = (len(means), *own)
        self._packed: dict[str, list[tuple[str, Array]]] = {}

    def _arguments(self, dtype: str) -> list[tuple[str, Array]]:
        """Name and packed A of the groups whose products are in the rows' precision, and in float64 besides."""
        if dtype not in self._packed:
            names = ["float32", "float64"]
            if dtype == "float64" and "float32" not in self._dots:
                names.reverse()
            nothing = np.empty((0, self._p))
            matrices = [self._dots.get(name, nothing).astype(own) for name, own in zip(names, (dtype, "float64"))]
            self._packed[dtype] = [(name, pack(matrix)) for name, matrix in zip(names, matrices)]
        return self._packed[dtype]

    def run(self, X: Array, weights: FloatArray | None) -> Sums:
        """Sum over rows X, (n, d) float32 or float64, with weights (n,) or none."""
        X = np.require(X, requirements="A")
        (first, a), (second, wide) = self._arguments(X.dtype.name)
        sums = {name: np.zeros((len(packed) // self._p, self._p + PADDING)) for name, packed in ((first, a), (second, wide))}
        centred = np.zeros((*self._centred_shape[:-1], self._centred_shape[-1] + PADDING))
        log_likelihood = _function(X.dtype.name)(
            X, _NO_WEIGHTS if weights is None else weights, *self._coordinates,
            self._form, a, sums[first], wide, sums[second], *self._centred, centred,
        )  # fmt: skip
        dots = {name: t[:, : self._p] for name, t in sums.items()}
        return Sums(log_likelihood, dots, centred[..., : self._centred_shape[-1]])


_NO_WEIGHTS = np.empty(0)
