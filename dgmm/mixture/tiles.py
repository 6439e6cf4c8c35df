"""Products of matrices and the softmax for the compiled kernel, as LLVM code.

numba compiles loops well, but leaves to chance which numbers stay in registers. The functions here
write their instructions out: vectors along the rows of the data, and tiles of products that fill the
registers and no more. Every element is summed in the same order whatever the tile's shape, so that
processors with other registers give the same numbers.

``ld`` is the distance between rows that hold one feature or component for all the rows of a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from dgmm.mixture.vectors import Vectors, at, pointer_to

if TYPE_CHECKING:
    from dgmm.typing import Array

# Vectors that may be summed at a time: with AVX-512 32 registers hold one each, else 16 a half.
# That is asked of the processor that numba compiles for, which NUMBA_CPU_FEATURES may set.
_SUMS = 24 if "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2].split(",") else 6

#: Vectors of rows that a strip of `product` is wide, by its height in components; all divide 12.
_WIDTHS = {h: max(width for width in (1, 2, 3, 4, 6) if h * width <= _SUMS) for h in range(1, min(8, _SUMS) + 1)}
HEIGHT = max(_WIDTHS)
"""Components in the highest strip of :func:`product`."""

HEIGHT_OF_SUMS, WIDTH_OF_SUMS = (4, 6) if _SUMS == 24 else (2, 3)
PADDING = 8
"""Elements behind a matrix of :func:`add_sums` that it may add zeros to."""


def pack(matrix: Array) -> Array:
    """Cut a matrix (k, p) into strips and store each by columns, as :func:`product` takes them: (k p,)."""
    k = len(matrix)
    n = -(-k // HEIGHT)
    parts = [matrix[i * k // n : (i + 1) * k // n].T.ravel() for i in range(n)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=matrix.dtype)


def vectors_of(k: int, n: int) -> int:
    """Vectors of a row that :func:`product` touches to make n of each of k rows."""
    strips = -(-k // HEIGHT)
    widths = {_WIDTHS[(i + 1) * k // strips - i * k // strips] for i in range(strips)}
    return max(-(-n // width) * width for width in widths)


def _sums(builder: Any, zero: Any, rows: int, columns: int) -> list[list[Any]]:
    return [[cgutils.alloca_once_value(builder, zero) for _ in range(columns)] for _ in range(rows)]


def _strip(
    v: Vectors, h: int, width: int, matrices: tuple[Any, Any, Any], ld: Any, steps: Any, n: Any, more: Any
) -> None:
    """Emit the tiles of :func:`product` for one height."""
    builder, (a, b, c) = v.builder, matrices
    nothing = ir.Constant(ir.IntType(64), 0)
    sums = _sums(builder, v.constant(0.0), h, width)
    tile = [(i, j) for i in range(h) for j in range(width)]
    with cgutils.for_range_slice(builder, nothing, n, ir.Constant(n.type, width)) as (vector, _):
        first = builder.mul(vector, ir.Constant(n.type, v.lanes))
        targets = {(i, j): at(builder, c, (ld, i), first, j * v.lanes) for i, j in tile}
        with builder.if_else(builder.icmp_signed("==", more, nothing)) as (fresh, further):
            with fresh:
                for i, j in tile:
                    builder.store(v.constant(0.0), sums[i][j])
            with further:
                for i, j in tile:
                    builder.store(v.load(targets[i, j]), sums[i][j])
        with cgutils.for_range(builder, steps) as loop:
            row = at(builder, b, (loop.index, ld), first)
            values = [v.load(at(builder, row, j * v.lanes)) for j in range(width)]
            column = at(builder, a, (loop.index, h))
            factors = [v.splat(builder.load(at(builder, column, i))) for i in range(h)]
            for i, j in tile:
                builder.store(v.multiply_add(factors[i], values[j], builder.load(sums[i][j])), sums[i][j])
        for i, j in tile:
            v.store(builder.load(sums[i][j]), targets[i, j])


@intrinsic
def product(
    typing: Any, a: Any, a0: Any, height: Any, b: Any, b0: Any, ld: Any, steps: Any, n: Any, c: Any, c0: Any, more: Any
) -> Any:
    """``C = A B``, or ``C += A B``, for a strip of ``height`` rows of C.

    ``a`` holds the strip of A by columns: (steps, height). ``b`` is (steps, ld), ``c`` (height, ld).
    The first n vectors of rows are computed, and others up to the width of the tile. ``more`` is
    0 or 1: whether to add to what C holds.
    """
    integer = types.intp
    signature = types.void(a, integer, integer, b, integer, integer, integer, integer, c, integer, integer)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, a0, height, b, b0, ld, steps, n, c, c0, more = arguments
        a_type, b_type, c_type = (signature.args[i] for i in (0, 3, 8))
        v = Vectors(context, builder, c_type.dtype)
        a = pointer_to(context, builder, a_type, a, a0)
        b = pointer_to(context, builder, b_type, b, b0)
        c = pointer_to(context, builder, c_type, c, c0)
        for h, width in _WIDTHS.items():
            with builder.if_then(builder.icmp_signed("==", height, ir.Constant(height.type, h))):
                _strip(v, h, width, (a, b, c), ld, steps, n, more)
        return context.get_dummy_value()

    return signature, generate


def _transposed(v: Vectors, rows: list[Any]) -> list[Any]:
    """Eight vectors of eight as columns."""
    for distance in (1, 2, 4):
        low = [i if not i & distance else (i ^ distance) + 8 for i in range(8)]
        high = [i | distance if not i & distance else i + 8 for i in range(8)]
        mixed = list(rows)
        for i in range(8):
            if not i & distance:
                pair = rows[i], rows[i | distance]
                mixed[i], mixed[i | distance] = v.shuffle(*pair, low), v.shuffle(*pair, high)
        rows = mixed
    return rows


@intrinsic
def subtract_transposed(typing: Any, x: Any, first: Any, groups: Any, shift: Any, d: Any, out: Any, ld: Any) -> Any:
    """Write rows minus shift as columns, ``out`` (d, ld), for groups of eight rows from ``first`` on.

    The features of a row lie side by side; fewer than eight only if the rows do so as well.
    """
    integer = types.intp
    signature = types.void(x, integer, integer, shift, integer, out, integer)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, first, groups, shift, d, out, ld = arguments
        v = Vectors(context, builder, types.float64)
        array = context.make_array(signature.args[0])(context, builder, x)
        element = context.get_data_type(signature.args[0].dtype)
        number = ir.IntType(64)
        distance = builder.sdiv(
            builder.extract_value(array.strides, 0), ir.Constant(number, signature.args[0].dtype.bitwidth // 8)
        )
        x = at(builder, array.data, (first, distance))
        shift = pointer_to(context, builder, signature.args[3], shift, ir.Constant(number, 0))
        out = pointer_to(context, builder, signature.args[5], out, ir.Constant(number, 0))

        def load(pointer: Any, count: int) -> Any:
            return v.load(pointer, ir.VectorType(element, count))

        def write(values: list[Any], start: Any, column: Any) -> None:
            for j, value in enumerate(values):
                wide = value if element == v.element else builder.fpext(value, v.type)
                own = v.splat(builder.load(at(builder, shift, start, j)))
                v.store(
                    builder.fsub(wide, own), at(builder, out, (builder.add(start, ir.Constant(number, j)), ld), column)
                )

        zero, eight = ir.Constant(number, 0), ir.Constant(number, 8)
        with cgutils.for_range(builder, groups) as loop:
            column = builder.mul(loop.index, eight)
            rows = at(builder, x, (column, distance))
            for few in range(1, 8):
                with builder.if_then(builder.icmp_signed("==", d, ir.Constant(number, few))):
                    all_eight = load(rows, 8 * few)
                    own = [v.shuffle(all_eight, all_eight, list(range(j, 8 * few, few))) for j in range(few)]
                    write(own, zero, column)
            with builder.if_then(builder.icmp_signed(">=", d, eight)):
                last = builder.sub(d, eight)
                with cgutils.for_range_slice(builder, zero, d, eight) as (start, _):
                    # The last eight features may overlap those before them.
                    start = builder.select(builder.icmp_signed("<", start, last), start, last)
                    block = [load(at(builder, rows, (distance, i), start), 8) for i in range(8)]
                    write(_transposed(v, block), start, column)
        return context.get_dummy_value()

    return signature, generate


def _lane_sums(v: Vectors, vectors: list[Any]) -> Any:
    """Sums over the lanes of up to eight vectors: eight float64, the missing ones 0."""
    double = ir.VectorType(ir.DoubleType(), 8)
    if v.size == 4:
        lower, upper = list(range(8)), list(range(8, 16))
        halves = [(v.shuffle(x, x, lower), v.shuffle(x, x, upper)) for x in vectors]
        vectors = [v.builder.fadd(v.builder.fpext(low, double), v.builder.fpext(high, double)) for low, high in halves]
    vectors = vectors + [ir.Constant(double, [0.0] * 8)] * (8 - len(vectors))
    distance = 1
    while len(vectors) > 1:
        # Of each pair the lanes at this distance are added; a's sums keep the lower places.
        left = [i if not i & distance else (i ^ distance) + 8 for i in range(8)]
        right = [i | distance if not i & distance else i + 8 for i in range(8)]
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [v.builder.fadd(v.shuffle(x, y, left), v.shuffle(x, y, right)) for x, y in pairs]
        distance *= 2
    return vectors[0]


@intrinsic
def add_sums(
    typing: Any,
    r: Any,
    r0: Any,
    height: Any,
    f: Any,
    f0: Any,
    features: Any,
    ld: Any,
    n: Any,
    t: Any,
    t0: Any,
    t_ld: Any,
) -> Any:
    """``T += R F'`` for ``height`` rows of R, (height, ld), and all of F, (count, ld), over n vectors.

    T, (height, t_ld), is float64 and so are the sums over blocks. F may be read, and T added zeros
    to or garbage, up to :data:`PADDING` rows or columns further.
    """
    integer = types.intp
    signature = types.void(r, integer, integer, f, integer, integer, integer, integer, t, integer, integer)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        r, r0, height, f, f0, count, ld, n, t, t0, t_ld = arguments
        r_type, f_type, t_type = (signature.args[i] for i in (0, 3, 8))
        v = Vectors(context, builder, r_type.dtype)
        r = pointer_to(context, builder, r_type, r, r0)
        f = pointer_to(context, builder, f_type, f, f0)
        t = pointer_to(context, builder, t_type, t, t0)
        zero, nothing = v.constant(0.0), ir.Constant(ir.IntType(64), 0)
        width = WIDTH_OF_SUMS
        for h in range(1, HEIGHT_OF_SUMS + 1):
            with builder.if_then(builder.icmp_signed("==", height, ir.Constant(height.type, h))):
                sums = _sums(builder, zero, h, width)
                with cgutils.for_range_slice(builder, nothing, count, ir.Constant(n.type, width)) as (column, _):
                    for i in range(h):
                        for j in range(width):
                            builder.store(zero, sums[i][j])
                    start = at(builder, f, (column, ld))
                    with cgutils.for_range(builder, n) as loop:
                        place = builder.mul(loop.index, ir.Constant(n.type, v.lanes))
                        weights = [v.load(at(builder, r, (ld, i), place)) for i in range(h)]
                        for j in range(width):
                            feature = v.load(at(builder, start, (ld, j), place))
                            for i in range(h):
                                total = builder.load(sums[i][j])
                                builder.store(v.multiply_add(weights[i], feature, total), sums[i][j])
                    for i in range(h):
                        target = at(builder, t, (t_ld, i), column)
                        added = _lane_sums(v, [builder.load(total) for total in sums[i]])
                        v.store(builder.fadd(v.load(target, added.type), added), target)
        return context.get_dummy_value()

    return signature, generate


_GROUP = 2


@intrinsic
def softmax(typing: Any, x: Any, x0: Any, k: Any, ld: Any, n: Any, w: Any, total: Any) -> Any:
    """Turn log-densities (k, ld) into responsibilities times weights, for n vectors of rows.

    ``w``, (ld,) float64, are the rows' weights; to ``total``, 8 numbers in float64, the weighted
    logarithms of the rows' sums are added.
    """
    integer = types.intp
    signature = types.void(x, integer, integer, integer, integer, w, total)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, x0, k, ld, n, w, total = arguments
        b, double = builder, Vectors(context, builder, types.float64)
        v = Vectors(context, builder, signature.args[0].dtype)
        nothing = ir.Constant(ir.IntType(64), 0)
        x = pointer_to(context, b, signature.args[0], x, x0)
        w = pointer_to(context, b, signature.args[5], w, nothing)
        total = pointer_to(context, b, signature.args[6], total, nothing)
        group = range(_GROUP)
        parts = range(v.lanes // 8)
        largest, sums = _sums(b, v.constant(0.0), 2, _GROUP)
        with cgutils.for_range_slice(b, nothing, n, ir.Constant(n.type, _GROUP)) as (index, _):
            start = b.mul(index, ir.Constant(n.type, v.lanes))
            top = at(b, x, start)
            for j in group:
                b.store(v.load(at(b, top, j * v.lanes)), largest[j])
                b.store(v.constant(0.0), sums[j])
            with cgutils.for_range(b, k) as loop:
                row = at(b, top, (loop.index, ld))
                for j in group:
                    b.store(v.larger(v.load(at(b, row, j * v.lanes)), b.load(largest[j])), largest[j])
            with cgutils.for_range(b, k) as loop:
                row = at(b, top, (loop.index, ld))
                for j in group:
                    place = at(b, row, j * v.lanes)
                    value = v.exponential(b.fsub(v.load(place), b.load(largest[j])))
                    v.store(value, place)
                    b.store(b.fadd(b.load(sums[j]), value), sums[j])
            factors = []
            for j in group:
                log_sum = b.fadd(b.load(largest[j]), v.logarithm(b.load(sums[j])))
                own = [double.load(at(b, w, start, j * v.lanes, 8 * i)) for i in parts]
                for i in parts:
                    part = (
                        log_sum
                        if v.size == 8
                        else b.fpext(v.shuffle(log_sum, log_sum, list(range(8 * i, 8 * i + 8))), double.type)
                    )
                    double.store(double.multiply_add(own[i], part, double.load(total)), total)
                if v.size == 8:
                    factors.append(b.fdiv(own[0], b.load(sums[j])))
                else:
                    halves = [b.fptrunc(half, ir.VectorType(v.element, 8)) for half in own]
                    factors.append(b.fdiv(v.shuffle(halves[0], halves[1], list(range(16))), b.load(sums[j])))
            with cgutils.for_range(b, k) as loop:
                row = at(b, top, (loop.index, ld))
                for j in group:
                    place = at(b, row, j * v.lanes)
                    v.store(b.fmul(v.load(place), factors[j]), place)
        return context.get_dummy_value()

    return signature, generate
