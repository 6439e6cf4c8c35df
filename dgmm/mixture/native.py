"""The block kernel compiled: a whole chunk goes through in one call, without the interpreter's lock.

The same steps as :mod:`dgmm.mixture.kernel` on blocks of 384 rows that stay in the cache, with the
products and the softmax of :mod:`dgmm.mixture.tiles`. A feature map that is longer than the cache
allows is made and used up in slabs. Arrays of a block have features or components as rows, ``LD``
numbers apart, all in one piece: loops over them are in :mod:`dgmm.mixture.vectors`.

:mod:`dgmm.mixture.program` calls :func:`add_statistics`, which calls the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from dgmm.mixture.tiles import (
    HEIGHT,
    HEIGHT_OF_SUMS,
    PADDING,
    WIDTH_OF_SUMS,
    add_sums,
    product,
    softmax,
    subtract_transposed,
)
from dgmm.mixture.vectors import add_squares, convert, fill, keep_apart, multiply_rows, scale, subtract

if TYPE_CHECKING:
    from dgmm.typing import Array, FloatArray

BLOCK = 384
"""Rows of a block: 24 vectors of float32, 48 of float64, which tiles of every width divide."""

LD = BLOCK + 16
"""Numbers from row to row: 25 or 50 cache lines, which do not crowd the same sets as 24 or 48 would."""

LONGEST = 200
"""Features of the longest map that is kept for both products; of longer ones slabs are made for each."""

SLAB, STRIP = 64, 12
"""Features and vectors of rows of a slab for the log-densities; tiles of every width divide the vectors."""

MANY, FURTHER = 128, 8
"""Beyond so many components A and R leave the L2 cache; slabs so many times larger spare reading them again."""

NO_PRODUCTS, SPHERICAL, DIAGONAL, FULL = range(4)
"""Kinds of quadratic features."""

_compiled = njit(nogil=True, error_model="numpy")

# Arguments that are written as literals would have numba compile a function for each of them.
ZERO, YES, NO = np.intp(0), np.bool_(True), np.bool_(False)


@_compiled
def multiply(
    a: Array, k: int, p: int, first: int, count: int, triangular: bool, b: Array, b0: int, n: int, c: Array, c0: int
) -> None:
    """``C = A B`` by columns first to first + count of a packed A (k, p); from first > 0 on, ``C += A B``.

    ``triangular`` says that A is square and 0 above the diagonal.
    """
    keep_apart()
    strips = (k + HEIGHT - 1) // HEIGHT
    for i in range(strips):
        start = i * k // strips
        height = (i + 1) * k // strips - start
        steps = start + height if triangular else count
        product(a, start * p + first * height, height, b, b0, LD, steps, n, c, c0 + start * LD, first)


@_compiled
def accumulate(
    r: Array, r0: int, k: int, f: Array, f0: int, count: int, n: int, t: FloatArray, t0: int, t_ld: int
) -> None:
    """``T += R F'`` for k rows of R and ``count`` rows of F."""
    keep_apart()
    for start in range(0, k, HEIGHT_OF_SUMS):
        height = min(HEIGHT_OF_SUMS, k - start)
        add_sums(r, r0 + start * LD, height, f, f0, count, LD, n, t, t0 + start * t_ld, t_ld)


@_compiled
def centre(X: Array, start: int, rows: int, width: int, shift: FloatArray, out: FloatArray) -> None:
    """Write rows minus shift as columns, (d, LD); and the first again where there are no more rows."""
    keep_apart()
    d = len(shift)
    whole = 0
    if X.strides[1] == X.itemsize and (d >= 8 or X.strides[0] == d * X.itemsize) and X.strides[0] % X.itemsize == 0:
        whole = rows // 8 * 8
        subtract_transposed(X, start, rows // 8, shift, d, out, LD)
    for column in range(whole, rows):
        for j in range(d):
            out[j * LD + column] = X[start + column, j] - shift[j]
    for column in range(rows, width):
        for j in range(d):
            out[j * LD + column] = out[j * LD]


@_compiled
def quadratic(kind: int, d: int, first: int, count: int, column: int, n: int, phi: Array) -> None:
    """Make quadratic features first to first + count of phi's rows 1 to d; they follow the linear ones.

    In n vectors of rows from ``column`` on.
    """
    keep_apart()
    one, out = LD + column, (1 + d) * LD + column
    if kind == SPHERICAL:
        fill(phi, out, phi, out, phi, out, 0.0, n)
        for i in range(d):
            add_squares(phi, out, phi, one + i * LD, phi, out, 1.0, n)
        return
    i, j = first, first
    if kind == FULL:  # the entries (i, i) to (i, d - 1) come together
        i = 0
        while j >= d:
            i += 1
            j -= d - i
    for q in range(count):
        multiply_rows(phi, out + q * LD, phi, one + i * LD, phi, one + j * LD, 0.0, n)
        j += 1
        if kind == DIAGONAL or j == d:
            i += 1
            j = i


@_compiled
def log_densities(
    kind: int, d: int, p: int, head: int, a: Array, k: int, z: FloatArray, phi: Array, n: int, logits: Array, row: int
) -> None:  # fmt: skip
    """``A phi`` for the components of one dot group.

    ``head`` features of phi come before the first slab: all p where the map is kept whole, else the
    constant and the linear ones and a few more.
    """
    keep_apart()
    for i in range(d):
        convert(phi, (1 + i) * LD, z, i * LD, z, i * LD, 0.0, n)
    strip = n if p <= LONGEST else STRIP if k <= MANY else STRIP * FURTHER
    for vector in range(0, n, strip):
        column, vectors = vector * (64 // phi.itemsize), min(strip, n - vector)
        if head > 1 + d:
            quadratic(kind, d, ZERO, head - 1 - d, column, vectors, phi)
        multiply(a, k, p, ZERO, head, NO, phi, column, vectors, logits, row * LD + column)
        for start in range(head, p, SLAB):
            count = min(SLAB, p - start)
            quadratic(kind, d, start - 1 - d, count, column, vectors, phi)
            multiply(a, k, p, start, count, NO, phi, (1 + d) * LD + column, vectors, logits, row * LD + column)


@_compiled
def add_moments(
    kind: int, d: int, p: int, head: int, r: Array, row: int, k: int, phi: Array, n: int, t: FloatArray
) -> None:
    """``T += R phi'`` for one dot group, after :func:`log_densities`."""
    keep_apart()
    t_ld = p + PADDING
    if 1 + d < head < p:
        quadratic(kind, d, ZERO, head - 1 - d, ZERO, n, phi)
    accumulate(r, row * LD, k, phi, ZERO, head, n, t, ZERO, t_ld)
    slab = WIDTH_OF_SUMS if k <= MANY else WIDTH_OF_SUMS * FURTHER
    for start in range(head, p, slab):
        count = min(slab, p - start)
        quadratic(kind, d, start - 1 - d, count, ZERO, n, phi)
        accumulate(r, row * LD, k, phi, (1 + d) * LD, count, n, t, start, t_ld)


@_compiled
def centre_features(kind: int, z: FloatArray, means: FloatArray, k: int, n: int, phi: FloatArray) -> None:
    """Write z minus the mean of component k into phi and, but for full matrices, its products."""
    keep_apart()
    d = means.shape[1]
    for i in range(d):
        subtract(phi, (1 + i) * LD, z, i * LD, z, i * LD, means[k, i], n)
    if kind != FULL:
        quadratic(kind, d, ZERO, 1 if kind == SPHERICAL else d, ZERO, n, phi)


@_compiled
def centred_log_densities(
    kind: int, z: FloatArray, means: FloatArray, factors: FloatArray, constants: FloatArray, phi: FloatArray,
    work: FloatArray, n: int, logits: FloatArray, row: int,
) -> None:  # fmt: skip
    """Log-densities of components that are served centred."""
    keep_apart()
    d = means.shape[1]
    for k in range(len(constants)):
        out = (row + k) * LD
        fill(logits, out, z, 0, z, 0, constants[k], n)
        centre_features(kind, z, means, k, n, phi)
        if kind == FULL:
            multiply(factors[k], d, d, ZERO, d, YES, phi, ZERO + LD, n, work, ZERO)
            for i in range(d):
                add_squares(logits, out, work, i * LD, logits, out, -0.5, n)
        else:
            for i in range(d):
                factor = factors[k, i % factors.shape[1]]
                add_squares(logits, out, phi, (1 + i) * LD, logits, out, -0.5 * factor * factor, n)


@_compiled
def add_centred_moments(
    kind: int, z: FloatArray, means: FloatArray, r: FloatArray, row: int, phi: FloatArray, work: FloatArray, n: int,
    t: FloatArray, t_rows: int, t_ld: int,
) -> None:  # fmt: skip
    """Moments about the means; of full matrices those of ``[1, c]`` with itself, above the diagonal."""
    keep_apart()
    d = means.shape[1]
    for k in range(len(means)):
        centre_features(kind, z, means, k, n, phi)
        own, target = (row + k) * LD, k * t_rows * t_ld
        if kind != FULL:
            accumulate(r, own, ZERO + 1, phi, ZERO, t_ld - PADDING, n, t, target, t_ld)
            continue
        for i in range(1 + d):
            multiply_rows(work, i * LD, r, own, phi, i * LD, 0.0, n)
        for start in range(0, 1 + d, HEIGHT_OF_SUMS):
            height = min(HEIGHT_OF_SUMS, 1 + d - start)
            skip = start // WIDTH_OF_SUMS * WIDTH_OF_SUMS
            accumulate(work, start * LD, height, phi, skip * LD, 1 + d - skip, n, t, target + start * t_ld + skip, t_ld)


@_compiled
def divide_up(logits: Array, k: int, n: int, w: FloatArray, total: FloatArray) -> None:
    """Turn log-densities into responsibilities times weights; add up the log-likelihood."""
    keep_apart()
    softmax(logits, 0, k, LD, n, w, total)


def add_statistics(  # noqa: C901 (one loop over blocks)
    X: Array, weights: FloatArray, shift: FloatArray, inverse: FloatArray, shape: tuple[int, ...],
    a: Array, t: FloatArray, wide: FloatArray, wide_t: FloatArray,
    means: FloatArray, factors: FloatArray, constants: FloatArray, centred_t: FloatArray,
    phi: Array, logits: Array, wide_phi: FloatArray, all_logits: FloatArray, centred_phi: FloatArray,
    z: FloatArray, work: FloatArray, w: FloatArray, total: FloatArray,
) -> None:  # fmt: skip
    """Add the moments of rows to ``t`` and the log-likelihood to ``total``; see :mod:`dgmm.mixture.program`."""
    kind, centred_kind, d, p, head, k, k_wide, k_centred, t_rows, t_ld = shape
    pair = 128 // X.itemsize  # rows in two vectors of the products' type
    several = k_wide + k_centred > 0
    for start in range(0, len(X), BLOCK):
        rows = min(BLOCK, len(X) - start)
        n = (rows + pair - 1) // pair * 2  # an even number of vectors, as the softmax takes them
        width = n * pair // 2
        doubles = width // 8
        fill(w, 0, w, 0, w, 0, 1.0, doubles)
        if len(weights):
            for row in range(rows):
                w[row] = weights[start + row]
        for row in range(rows, width):
            w[row] = 0.0
        if len(inverse) == d:
            centre(X, start, rows, width, shift, z)
            for i in range(d):
                scale(z, i * LD, z, i * LD, z, i * LD, inverse[i], doubles)
        else:
            centre(X, start, rows, width, shift, work)
            multiply(inverse, d, d, ZERO, d, YES, work, ZERO, doubles, z, ZERO)
        if k:
            log_densities(kind, d, p, head, a, k, z, phi, n, logits, ZERO)
        if several:
            for i in range(k):
                convert(all_logits, i * LD, logits, i * LD, z, 0, 0.0, doubles)
            if k_wide:
                log_densities(kind, d, p, head, wide, k_wide, z, wide_phi, doubles, all_logits, k)
            centred_log_densities(
                centred_kind, z, means, factors, constants, centred_phi, work, doubles, all_logits, k + k_wide
            )
            divide_up(all_logits, k + k_wide + k_centred, doubles, w, total)
            for i in range(k):
                convert(logits, i * LD, all_logits, i * LD, z, 0, 0.0, n)
            if k_wide:
                add_moments(kind, d, p, head, all_logits, k, k_wide, wide_phi, doubles, wide_t)
            add_centred_moments(
                centred_kind, z, means, all_logits, k + k_wide, centred_phi, work, doubles, centred_t, t_rows, t_ld
            )
        else:
            divide_up(logits, k, n, w, total)
        if k:
            add_moments(kind, d, p, head, logits, ZERO, k, phi, n, t)
