"""Vector instructions for the compiled kernel: products of matrices and the softmax, as LLVM code.

numba compiles loops well, but leaves to chance which numbers stay in registers. The four functions
here write their instructions out: vectors of 64 bytes along the rows of the data, and tiles of
products that fill the registers and no more. LLVM cuts the vectors to what the processor has.
Every element is summed in the same order whatever the tile's shape, so that processors with other
registers give the same numbers.

All arrays are C-contiguous; they are addressed by offsets, counted in elements, and by the distance
``ld`` between rows that hold one feature or component for all the rows of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTES = 64

# Vectors that may be summed at a time: with AVX-512 32 registers hold one each, else 16 a half.
_SUMS = 24 if binding.get_host_cpu_features().get("avx512f") else 6

#: Vectors of rows that a strip of `product` is wide, by its height in components.
_WIDTHS = {h: min(_SUMS // h, 8) for h in range(1, 9) if h <= _SUMS}
if _SUMS == 24:  # widths that divide the vectors of a block
    _WIDTHS |= {7: 3, 5: 4}
HEIGHT = max(_WIDTHS)
"""Components in the highest strip of :func:`product`."""

HEIGHT_OF_SUMS, WIDTH_OF_SUMS = (4, 6) if _SUMS == 24 else (2, 3)
PADDING = 8
"""Elements behind a matrix of :func:`add_sums` that it may add zeros to."""

# exp(r) = 1 + r + r^2 q(r) for |r| <= log(2) / 2: q by Chebyshev interpolation, highest power first;
# relative errors 2e-17 and 1.2e-8.
_EXPONENTIAL = {
    8: (
        2.51003854955103191e-8, 2.76200884454097482e-7, 2.75572684599970648e-6, 2.48015212959543751e-5,
        1.98412698630536169e-4, 1.38888889172137169e-3, 8.33333333333006183e-3, 4.16666666666241279e-2,
        1.66666666666666675e-1, 0.5,
    ),
    4: (0.00139261835877134945, 0.00836317905272257737, 0.0416665546172045742, 0.166665769896987757, 0.5),
}  # fmt: skip
# log(2) in two parts, the first with trailing zeros; below the limit exp is taken as 0.
_LOG_2 = {8: (6.93147180369123816490e-01, 1.90821492927058770002e-10), 4: (0.693359375, -2.12194440e-4)}
_LOWEST = {8: -708.0, 4: -87.0}
# Terms of atanh(s) / s in powers of s^2, s^2 < 0.0295, to the rounding.
_ATANH_TERMS = {8: 11, 4: 5}
_MANTISSA, _BIAS, _ROOT_HALF = {8: 52, 4: 23}, {8: 1023, 4: 127}, {8: 0x3FE6A09E667F3BCD, 4: 0x3F3504F3}


class _Vectors:
    """Emits instructions on vectors of 64 bytes of one type of element."""

    def __init__(self, context: Any, builder: Any, element: Any) -> None:
        self.builder = builder
        self.size = element.bitwidth // 8
        self.lanes = _BYTES // self.size
        self.element = context.get_data_type(element)
        self.type = ir.VectorType(self.element, self.lanes)
        self.integers = ir.VectorType(ir.IntType(8 * self.size), self.lanes)

    def constant(self, number: float) -> Any:
        return ir.Constant(self.type, [number] * self.lanes)

    def integer(self, number: int) -> Any:
        return ir.Constant(self.integers, [number] * self.lanes)

    def load(self, pointer: Any, of: Any = None) -> Any:
        of = of or self.type
        value = self.builder.load(self.builder.bitcast(pointer, of.as_pointer()))
        value.align = 4
        return value

    def store(self, value: Any, pointer: Any) -> None:
        stored = self.builder.store(value, self.builder.bitcast(pointer, value.type.as_pointer()))
        stored.align = 4

    def converted(self, pointer: Any) -> Any:
        """A vector of this type from as many elements of any."""
        element = pointer.type.pointee
        value = self.load(pointer, ir.VectorType(element, self.lanes))
        if element == self.element:
            return value
        return (self.builder.fptrunc if self.size == 4 else self.builder.fpext)(value, self.type)

    def splat(self, scalar: Any) -> Any:
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        return self.shuffle(first, undefined, [0] * self.lanes)

    def shuffle(self, a: Any, b: Any, lanes: list[int]) -> Any:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
        return self.builder.shuffle_vector(a, b, mask)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        name = f"llvm.fmuladd.v{self.lanes}f{8 * self.size}"
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(self.type, [self.type] * 3), name
        )
        return self.builder.call(function, [a, b, c])

    def polynomial(self, coefficients: tuple[float, ...], x: Any) -> Any:
        value = self.constant(coefficients[0])
        for coefficient in coefficients[1:]:
            value = self.multiply_add(value, x, self.constant(coefficient))
        return value

    def exponential(self, x: Any) -> Any:
        """``exp(x)`` for x <= 0 and NaN; 0 where it would be below the least normal number."""
        b, size = self.builder, self.size
        # Adding 1.5 * 2^52 rounds to an integer, which the low bits of the sum then hold.
        magic = self.constant(1.5 * 2.0 ** _MANTISSA[size])
        shifted = self.multiply_add(x, self.constant(1.4426950408889634), magic)
        n = b.fsub(shifted, magic)
        high, low = _LOG_2[size]
        r = self.multiply_add(n, self.constant(-low), self.multiply_add(n, self.constant(-high), x))
        q = self.polynomial(_EXPONENTIAL[size], r)
        mantissa = b.fadd(self.multiply_add(b.fmul(r, r), q, r), self.constant(1.0))
        bits = b.shl(b.add(b.bitcast(shifted, self.integers), self.integer(_BIAS[size])), self.integer(_MANTISSA[size]))
        value = b.fmul(mantissa, b.bitcast(bits, self.type))
        return b.select(b.fcmp_ordered("<", x, self.constant(_LOWEST[size])), self.constant(0.0), value)

    def logarithm(self, x: Any) -> Any:
        """``log(x)`` for finite normal x >= 1; NaN stays NaN."""
        b, size = self.builder, self.size
        bits = b.bitcast(x, self.integers)
        shift = self.integer(_MANTISSA[size])
        n = b.ashr(b.sub(bits, self.integer(_ROOT_HALF[size])), shift)
        f = b.fsub(b.bitcast(b.sub(bits, b.shl(n, shift)), self.type), self.constant(1.0))
        s = b.fdiv(f, b.fadd(f, self.constant(2.0)))
        terms = tuple(2.0 / (2 * i + 1) for i in reversed(range(_ATANH_TERMS[size])))
        series = b.fmul(s, self.polynomial(terms, b.fmul(s, s)))
        high, low = _LOG_2[size]
        exponent = b.sitofp(n, self.type)
        return self.multiply_add(exponent, self.constant(high), self.multiply_add(exponent, self.constant(low), series))

    def larger(self, a: Any, b: Any) -> Any:
        """The larger one; b where one is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)


def _keep_apart(builder: Any) -> None:
    """Have the calling function compiled once, instead of copied to each place where it is called."""
    builder.function.attributes.add("noinline")


def _pointer(context: Any, builder: Any, array: Any, value: Any, offset: Any) -> Any:
    return builder.gep(context.make_array(array)(context, builder, value).data, [offset])


def _at(builder: Any, pointer: Any, *terms: Any) -> Any:
    """Address of the element so many further; a term is a number, a value or a pair to multiply."""
    for term in terms:
        factors = term if isinstance(term, tuple) else (term,)
        values = [factor if isinstance(factor, ir.Value) else ir.Constant(ir.IntType(64), factor) for factor in factors]
        pointer = builder.gep(pointer, [values[0] if len(values) == 1 else builder.mul(*values)])
    return pointer


def _sums(builder: Any, zero: Any, rows: int, columns: int) -> list[list[Any]]:
    return [[cgutils.alloca_once_value(builder, zero) for _ in range(columns)] for _ in range(rows)]


def _elementwise(emit: Callable[[_Vectors, Any, Any, Any], Any], about: str) -> Any:
    """A function of two rows x and y and a number s of float64, for n vectors of ``out``."""

    @intrinsic
    def function(typing: Any, out: Any, o: Any, x: Any, x0: Any, y: Any, y0: Any, s: Any, n: Any) -> Any:
        integer = types.intp
        signature = types.void(out, integer, x, integer, y, integer, types.float64, integer)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            out, o, x, x0, y, y0, s, n = arguments
            v = _Vectors(context, builder, signature.args[0].dtype)
            out = _pointer(context, builder, signature.args[0], out, o)
            x = _pointer(context, builder, signature.args[2], x, x0)
            y = _pointer(context, builder, signature.args[4], y, y0)
            scalar = v.splat(s if v.size == 8 else builder.fptrunc(s, v.element))
            with cgutils.for_range(builder, n) as loop:
                place = builder.mul(loop.index, ir.Constant(n.type, v.lanes))
                values = [v.converted(_at(builder, row, place)) for row in (x, y)]
                v.store(emit(v, *values, scalar), _at(builder, out, place))
            return context.get_dummy_value()

        return signature, generate

    function.__doc__ = about
    return function


fill = _elementwise(lambda v, x, y, s: s, "``out = s``")
convert = _elementwise(lambda v, x, y, s: x, "``out = x``, whatever their precisions")
subtract = _elementwise(lambda v, x, y, s: v.builder.fsub(x, s), "``out = x - s``")
scale = _elementwise(lambda v, x, y, s: v.builder.fmul(x, s), "``out = s x``")
multiply_rows = _elementwise(lambda v, x, y, s: v.builder.fmul(x, y), "``out = x y``")
add_squares = _elementwise(lambda v, x, y, s: v.multiply_add(v.builder.fmul(x, s), x, y), "``out = y + s x^2``")


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
        _keep_apart(builder)
        v = _Vectors(context, builder, c_type.dtype)
        a = _pointer(context, builder, a_type, a, a0)
        b = _pointer(context, builder, b_type, b, b0)
        c = _pointer(context, builder, c_type, c, c0)
        zero, nothing = v.constant(0.0), ir.Constant(ir.IntType(64), 0)
        for h, width in _WIDTHS.items():
            with builder.if_then(builder.icmp_signed("==", height, ir.Constant(height.type, h))):
                sums = _sums(builder, zero, h, width)
                with cgutils.for_range_slice(builder, nothing, n, ir.Constant(n.type, width)) as (strip, _):
                    first = builder.mul(strip, ir.Constant(n.type, v.lanes))
                    targets = [[_at(builder, c, (ld, i), first, j * v.lanes) for j in range(width)] for i in range(h)]
                    fresh = builder.icmp_signed("==", more, nothing)
                    with builder.if_else(fresh) as (then, otherwise):
                        with then:
                            for i in range(h):
                                for j in range(width):
                                    builder.store(zero, sums[i][j])
                        with otherwise:
                            for i in range(h):
                                for j in range(width):
                                    builder.store(v.load(targets[i][j]), sums[i][j])
                    with cgutils.for_range(builder, steps) as loop:
                        row = _at(builder, b, (loop.index, ld), first)
                        column = _at(builder, a, (loop.index, h))
                        values = [v.load(_at(builder, row, j * v.lanes)) for j in range(width)]
                        for i in range(h):
                            factor = v.splat(builder.load(_at(builder, column, i)))
                            for j in range(width):
                                total = builder.load(sums[i][j])
                                builder.store(v.multiply_add(factor, values[j], total), sums[i][j])
                    for i in range(h):
                        for j in range(width):
                            v.store(builder.load(sums[i][j]), targets[i][j])
        return context.get_dummy_value()

    return signature, generate


def _transposed(v: _Vectors, rows: list[Any]) -> list[Any]:
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
        _keep_apart(builder)
        v = _Vectors(context, builder, types.float64)
        array = context.make_array(signature.args[0])(context, builder, x)
        element = context.get_data_type(signature.args[0].dtype)
        number = ir.IntType(64)
        distance = builder.sdiv(builder.extract_value(array.strides, 0), ir.Constant(number, signature.args[0].dtype.bitwidth // 8))
        x = _at(builder, array.data, (first, distance))
        shift = _pointer(context, builder, signature.args[3], shift, ir.Constant(number, 0))
        out = _pointer(context, builder, signature.args[5], out, ir.Constant(number, 0))

        def load(pointer: Any, count: int) -> Any:
            return v.load(pointer, ir.VectorType(element, count))

        def write(values: list[Any], start: Any, column: Any) -> None:
            for j, value in enumerate(values):
                wide = value if element == v.element else builder.fpext(value, v.type)
                own = v.splat(builder.load(_at(builder, shift, start, j)))
                v.store(builder.fsub(wide, own), _at(builder, out, (builder.add(start, ir.Constant(number, j)), ld), column))

        zero, eight = ir.Constant(number, 0), ir.Constant(number, 8)
        with cgutils.for_range(builder, groups) as loop:
            column = builder.mul(loop.index, eight)
            rows = _at(builder, x, (column, distance))
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
                    block = [load(_at(builder, rows, (distance, i), start), 8) for i in range(8)]
                    write(_transposed(v, block), start, column)
        return context.get_dummy_value()

    return signature, generate


def _lane_sums(v: _Vectors, vectors: list[Any]) -> Any:
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
    """``T += R F'`` for ``height`` rows of R, (height, ld), and all of F, (features, ld), over n vectors.

    T, (height, t_ld), is float64 and so are the sums over blocks. F may be read, and T added zeros
    to or garbage, up to :data:`PADDING` rows or columns further.
    """
    integer = types.intp
    signature = types.void(r, integer, integer, f, integer, integer, integer, integer, t, integer, integer)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        r, r0, height, f, f0, features, ld, n, t, t0, t_ld = arguments
        r_type, f_type, t_type = (signature.args[i] for i in (0, 3, 8))
        _keep_apart(builder)
        v = _Vectors(context, builder, r_type.dtype)
        r = _pointer(context, builder, r_type, r, r0)
        f = _pointer(context, builder, f_type, f, f0)
        t = _pointer(context, builder, t_type, t, t0)
        zero, nothing = v.constant(0.0), ir.Constant(ir.IntType(64), 0)
        width = WIDTH_OF_SUMS
        for h in range(1, HEIGHT_OF_SUMS + 1):
            with builder.if_then(builder.icmp_signed("==", height, ir.Constant(height.type, h))):
                sums = _sums(builder, zero, h, width)
                with cgutils.for_range_slice(builder, nothing, features, ir.Constant(n.type, width)) as (column, _):
                    for i in range(h):
                        for j in range(width):
                            builder.store(zero, sums[i][j])
                    start = _at(builder, f, (column, ld))
                    with cgutils.for_range(builder, n) as loop:
                        place = builder.mul(loop.index, ir.Constant(n.type, v.lanes))
                        weights = [v.load(_at(builder, r, (ld, i), place)) for i in range(h)]
                        for j in range(width):
                            feature = v.load(_at(builder, start, (ld, j), place))
                            for i in range(h):
                                total = builder.load(sums[i][j])
                                builder.store(v.multiply_add(weights[i], feature, total), sums[i][j])
                    for i in range(h):
                        target = _at(builder, t, (t_ld, i), column)
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
        b, double = builder, _Vectors(context, builder, types.float64)
        v = _Vectors(context, builder, signature.args[0].dtype)
        nothing = ir.Constant(ir.IntType(64), 0)
        x = _pointer(context, b, signature.args[0], x, x0)
        w = _pointer(context, b, signature.args[5], w, nothing)
        total = _pointer(context, b, signature.args[6], total, nothing)
        group = range(_GROUP)
        parts = range(v.lanes // 8)
        largest, sums = _sums(b, v.constant(0.0), 2, _GROUP)
        with cgutils.for_range_slice(b, nothing, n, ir.Constant(n.type, _GROUP)) as (index, _):
            start = b.mul(index, ir.Constant(n.type, v.lanes))
            top = _at(b, x, start)
            for j in group:
                b.store(v.load(_at(b, top, j * v.lanes)), largest[j])
                b.store(v.constant(0.0), sums[j])
            with cgutils.for_range(b, k) as loop:
                row = _at(b, top, (loop.index, ld))
                for j in group:
                    b.store(v.larger(v.load(_at(b, row, j * v.lanes)), b.load(largest[j])), largest[j])
            with cgutils.for_range(b, k) as loop:
                row = _at(b, top, (loop.index, ld))
                for j in group:
                    place = _at(b, row, j * v.lanes)
                    value = v.exponential(b.fsub(v.load(place), b.load(largest[j])))
                    v.store(value, place)
                    b.store(b.fadd(b.load(sums[j]), value), sums[j])
            factors = []
            for j in group:
                log_sum = b.fadd(b.load(largest[j]), v.logarithm(b.load(sums[j])))
                own = [double.load(_at(b, w, start, j * v.lanes, 8 * i)) for i in parts]
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
                    factors.append(b.fdiv(v.shuffle(*halves, list(range(16))), b.load(sums[j])))
            with cgutils.for_range(b, k) as loop:
                row = _at(b, top, (loop.index, ld))
                for j in group:
                    place = _at(b, row, j * v.lanes)
                    v.store(b.fmul(v.load(place), factors[j]), place)
        return context.get_dummy_value()

    return signature, generate
