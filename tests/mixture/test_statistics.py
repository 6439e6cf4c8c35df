"""Statistics are a commutative monoid about each reference."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgmm.errors import ParameterError
from dgmm.mixture.statistics import SufficientStatistics, scaled

REFERENCE = np.zeros((2, 3))
FIELDS = ("weight", "first", "second", "log_likelihood", "total_weight", "n_rows")

# Whole numbers add without rounding, so that the laws hold to the bit.
whole = st.integers(-(2**40), 2**40).map(float)


@st.composite
def statistics(draw) -> SufficientStatistics:
    def array(*shape: int) -> np.ndarray:
        size = int(np.prod(shape))
        return np.array(draw(st.lists(whole, min_size=size, max_size=size))).reshape(shape)

    return SufficientStatistics(
        REFERENCE, array(2), array(2, 3), array(2, 6), draw(whole), draw(whole), draw(st.integers(0, 10**9))
    )


def same(a: SufficientStatistics, b: SufficientStatistics) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


@given(statistics(), statistics(), statistics())
def test_merging_is_associative_and_commutative(a, b, c) -> None:
    assert same(a.merge(b).merge(c), a.merge(b.merge(c)))
    assert same(a.merge(b), b.merge(a))


@given(statistics())
def test_zero_is_the_identity(a) -> None:
    zero = SufficientStatistics.zero(REFERENCE, (2, 6))
    assert same(a.merge(zero), a)
    assert same(zero.merge(a), a)


@given(statistics())
def test_merging_leaves_the_parts_alone(a) -> None:
    before = a.first.copy()
    a.merge(a)
    assert np.array_equal(a.first, before)


def test_other_references_are_refused() -> None:
    a = SufficientStatistics.zero(REFERENCE, (2, 6))
    b = SufficientStatistics.zero(REFERENCE + 1.0, (2, 6))
    with pytest.raises(ParameterError, match="different references"):
        a.merge(b)


@given(st.floats(1e-150, 1e150), st.integers(-400, 400))
def test_weights_are_scaled_by_powers_of_two_exactly(weight, exponent) -> None:
    there = scaled(np.array([weight]), exponent)
    assert there is not None
    assert Fraction(float(there[0])) == Fraction(weight) / Fraction(2) ** exponent


def test_no_weights_stay_none() -> None:
    assert scaled(None, 5) is None
