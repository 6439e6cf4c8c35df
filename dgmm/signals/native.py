"""The read of signals compiled: a whole chunk goes through in one call, without the interpreter's lock.

A signal at a time, or a few, are brought to float64 in the cache, and are there contracted and differenced. Rows of
what is made of a signal lie ``ld`` numbers apart, 0 after the last sample, so that they fill whole vectors and tiles.

:mod:`dgmm.signals.projection` lays the arrays out and calls :func:`project`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import njit

from dgmm.mixture.tiles import HEIGHT, HEIGHT_OF_SUMS, PADDING, add_sums, product
from dgmm.mixture.vectors import keep_apart

if TYPE_CHECKING:
    from dgmm.typing import Array, FloatArray

_compiled = njit(nogil=True, error_model="numpy")
_in_any_order = njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
"""For sums, which then fill vectors."""


@_compiled
def _contract_leading(a: FloatArray, p: int, n: int, x: FloatArray, ld: int, vectors: int, y: FloatArray) -> None:
    """``Y = A X`` for a packed A, (p, n), and X, (n, ld)."""
    keep_apart()
    strips = (p + HEIGHT - 1) // HEIGHT
    for i in range(strips):
        start = i * p // strips
        height = (i + 1) * p // strips - start
        product(a, start * n, height, x, 0, ld, n, vectors, y, start * ld, 0)


@_compiled
def _contract_trailing(y: FloatArray, p: int, f: FloatArray, q: int, ld: int, vectors: int, t: FloatArray) -> None:
    """``T = Y F'`` for Y, (p, ld), and F, (q, ld)."""
    keep_apart()
    t[:] = 0.0
    t_ld = q + PADDING
    for start in range(0, p, HEIGHT_OF_SUMS):
        height = min(HEIGHT_OF_SUMS, p - start)
        add_sums(y, start * ld, height, f, 0, q, ld, vectors, t, start * t_ld, t_ld)


@_compiled
def _difference(x: FloatArray, here: int, after: int, out: FloatArray) -> None:
    keep_apart()
    n = len(out)
    first, middle, last = x[:n], x[here : here + n], x[after : after + n]
    for i in range(n):
        out[i] = (last[i] - middle[i]) - (middle[i] - first[i])


@_in_any_order
def _sum_of_squares(x: FloatArray, here: int, after: int, inside: Array) -> Any:
    """Sum of the squares of the differences that lie inside."""
    keep_apart()
    n, total = len(inside), 0.0
    first, middle, last = x[:n], x[here : here + n], x[after : after + n]
    for i in range(n):
        d = (last[i] - middle[i]) - (middle[i] - first[i])
        total += d * d if inside[i] else 0.0
    return total


@_compiled
def _squared_differences(x: FloatArray, steps: Array, inside: Array, room: FloatArray) -> Any:
    """Sum of the squares of the differences along all axes, of pieces of a signal that stay in the cache."""
    keep_apart()
    reach, total, last = steps[:, 1].sum(), 0.0, len(steps) - 1
    size, piece = len(x) - reach, room.shape[1] - (reach - steps[0, 1])
    for start in range(0, size, piece):
        n = min(piece, size - start)
        source, more = x[start : start + n + reach], reach
        for k in range(last):
            more -= steps[k, 1]
            out = room[k % 2, : n + more]
            _difference(source, steps[k, 0], steps[k, 1], out)
            source = out
        total += _sum_of_squares(source, steps[last, 0], steps[last, 1], inside[start : start + n])
    return total


def project(
    S: Array, shape: tuple[int, ...], a: FloatArray, f: FloatArray, steps: Array, inside: Array,
    x: FloatArray, y: FloatArray, t: FloatArray, room: FloatArray, moments: FloatArray, squares: FloatArray,
) -> None:  # fmt: skip
    """Contract signals, and sum the squares of the differences of their samples.

    Parameters
    ----------
    S : (b, n) of any type
    shape : (rows, columns, ld, p, q)
        Of a signal as a matrix, the distance between its rows, and of its moments.
    a : (p rows,) float64
        What rows are contracted with, packed.
    f : (q + PADDING, ld) float64, flat
        What columns are contracted with.
    steps : (axes, 2) intp
        How far the next two samples of a difference along each axis lie from its first one; if they are 0 and a step,
        it is a first difference. No axes: the squares are not wanted.
    inside : (rows ld,) bool
        Which differences are not taken across the end of an axis.
    x : (group, rows ld) float64
        Room for some signals at a time, 0.
    y : (group p, ld) float64, flat
        Room; x where a signal is one row, whose contraction is itself.
    t, room : (group p (q + PADDING) + PADDING,), (2, piece + what all steps but the first reach) float64
        Room.
    moments : (b, p q) float64
    squares : (b,) float64
    """
    rows, columns, ld, p, q = shape
    group, vectors = len(x), (columns + 7) // 8
    for start in range(0, len(S), group):
        count = min(group, len(S) - start)
        for g in range(count):
            for i in range(rows):
                own, out = S[start + g, i * columns : (i + 1) * columns], x[g, i * ld : i * ld + columns]
                for j in range(columns):
                    out[j] = own[j]
            if rows > 1:
                _contract_leading(a, p, rows, x[g], ld, vectors, y[g * p * ld : (g + 1) * p * ld])
            if len(steps):
                squares[start + g] = _squared_differences(x[g], steps, inside, room)
        _contract_trailing(y, count * p, f, q, ld, vectors, t)
        for g in range(count):
            for i in range(p):
                for j in range(q):
                    moments[start + g, i * q + j] = t[(g * p + i) * (q + PADDING) + j]
