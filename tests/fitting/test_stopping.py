"""Aitken's gap against series whose limit is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgmm.fitting.stopping import StopReason, aitken_gap


@given(st.floats(0.01, 0.95), st.floats(1e-6, 10.0), st.integers(4, 30))
def test_the_gap_of_a_geometric_series_is_exact(ratio, step, n) -> None:
    bounds = tuple(float(b) for b in -step * ratio ** np.arange(n))
    gap = aitken_gap(bounds)
    assert gap is not None
    assert gap == pytest.approx(-bounds[-1], rel=1e-3, abs=1e-9)


def test_a_gap_needs_shrinking_steps() -> None:
    assert aitken_gap((0.0, 1.0, 1.5)) is None
    assert aitken_gap((0.0, 1.0, 3.0, 7.0)) is None
    assert aitken_gap((0.0, 1.0, 1.0, 2.0)) is None
    assert aitken_gap((0.0, 1.0, 2.0, 2.0)) == 0.0


def test_steps_that_slow_down_are_not_taken_for_the_end() -> None:
    # A plateau: the steps shrink fast, then more slowly; the larger ratio counts.
    gap = aitken_gap((0.0, 1.0, 1.1, 1.19))
    assert gap is not None
    assert gap >= 0.09 * 0.9 / 0.1 * 0.99


def test_every_reason_is_a_sentence() -> None:
    assert {reason for reason in StopReason if reason.converged} == {
        StopReason.TOLERANCE, StopReason.GAP, StopReason.CLOSED_FORM,
    }  # fmt: skip
    assert all(len(reason.value.split()) > 4 for reason in StopReason)
