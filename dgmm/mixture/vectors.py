"""Vector instructions for the compiled kernel, as LLVM code.

Vectors are of 64 bytes along the rows of the data; LLVM cuts them to what the processor has. Arrays
are C-contiguous and addressed by offsets, counted in elements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTES = 64

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


class Vectors:
    """Emits instructions on vectors of 64 bytes of one type of element."""

    def __init__(self, context: Any, builder: Any, element: Any) -> None:
        self.builder = builder
        self.size = element.bitwidth // 8
        self.lanes = _BYTES // self.size
        self.element = context.get_data_type(element)
        self.type = ir.VectorType(self.element, self.lanes)
        self.integers = ir.VectorType(ir.IntType(8 * self.size), self.lanes)

    def constant(self, number: float) -> Any:
        """The number in all lanes."""
        return ir.Constant(self.type, [number] * self.lanes)

    def integer(self, number: int) -> Any:
        """The integer in all lanes, as wide as the elements."""
        return ir.Constant(self.integers, [number] * self.lanes)

    def load(self, pointer: Any, of: Any = None) -> Any:
        """A vector from memory that is aligned to 4 bytes only."""
        of = of or self.type
        value = self.builder.load(self.builder.bitcast(pointer, of.as_pointer()))
        value.align = 4
        return value

    def store(self, value: Any, pointer: Any) -> None:
        """Write a vector to memory that is aligned to 4 bytes only."""
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
        """A value in all lanes."""
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        return self.shuffle(first, undefined, [0] * self.lanes)

    def shuffle(self, a: Any, b: Any, lanes: list[int]) -> Any:
        """Some lanes of a and, after those, b."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
        return self.builder.shuffle_vector(a, b, mask)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """``a b + c``, rounded once where the processor can."""
        name = f"llvm.fmuladd.v{self.lanes}f{8 * self.size}"
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(self.type, [self.type] * 3), name
        )
        return self.builder.call(function, [a, b, c])

    def polynomial(self, coefficients: tuple[float, ...], x: Any) -> Any:
        """A polynomial in x, highest power first."""
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
        """``log(x)`` for finite normal x > 0; NaN stays NaN."""
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
        low_part = self.multiply_add(exponent, self.constant(low), series)
        value = self.multiply_add(exponent, self.constant(high), low_part)
        return b.select(b.fcmp_ordered("==", x, x), value, x)

    def larger(self, a: Any, b: Any) -> Any:
        """The larger one; b where one is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)


@intrinsic
def keep_apart(typing: Any) -> Any:
    """Have the calling function compiled once, instead of copied to each place where it is called."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


def pointer_to(context: Any, builder: Any, array: Any, value: Any, offset: Any) -> Any:
    """Address of an element of an array, given as numba does."""
    return builder.gep(context.make_array(array)(context, builder, value).data, [offset])


def at(builder: Any, pointer: Any, *terms: Any) -> Any:
    """Address of the element so many further; a term is a number, a value or a pair to multiply."""
    for term in terms:
        factors = term if isinstance(term, tuple) else (term,)
        values = [factor if isinstance(factor, ir.Value) else ir.Constant(ir.IntType(64), factor) for factor in factors]
        pointer = builder.gep(pointer, [values[0] if len(values) == 1 else builder.mul(*values)])
    return pointer


def _elementwise(emit: Callable[[Vectors, Any, Any, Any], Any], about: str) -> Any:
    """A function of two rows x and y and a number s of float64, for n vectors of ``out``."""

    @intrinsic
    def function(typing: Any, out: Any, o: Any, x: Any, x0: Any, y: Any, y0: Any, s: Any, n: Any) -> Any:
        integer = types.intp
        signature = types.void(out, integer, x, integer, y, integer, types.float64, integer)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            out, o, x, x0, y, y0, s, n = arguments
            v = Vectors(context, builder, signature.args[0].dtype)
            out = pointer_to(context, builder, signature.args[0], out, o)
            x = pointer_to(context, builder, signature.args[2], x, x0)
            y = pointer_to(context, builder, signature.args[4], y, y0)
            scalar = v.splat(s if v.size == 8 else builder.fptrunc(s, v.element))
            with cgutils.for_range(builder, n) as loop:
                place = builder.mul(loop.index, ir.Constant(n.type, v.lanes))
                value = emit(v, v.converted(at(builder, x, place)), v.converted(at(builder, y, place)), scalar)
                v.store(value, at(builder, out, place))
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
