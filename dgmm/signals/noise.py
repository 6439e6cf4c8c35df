"""The variance of white noise, from differences of neighbouring samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dgmm.typing import Array

_DIFFERENCES = 2


def can_be_estimated(shape: tuple[int, ...]) -> bool:
    """Whether signals of this shape have neighbours."""
    return max(shape) > 1


@dataclass(frozen=True, eq=False)
class Differences:
    """Which samples of a signal are subtracted from which, to estimate the variance of its white noise.

    Second differences are taken along all axes, first ones where there are two samples only. Of each, white noise is
    multiplied by 6, or 2: Immerkaer (1996), "Fast noise variance estimation", Computer Vision and Image Understanding
    64(2), whose mask is the product of two second differences. What is linear along any axis does not count; edges do,
    so that the estimate is one from above.

    Attributes
    ----------
    steps : (axes, 2) intp
        How far the next two samples of a difference along each axis lie from its first one: one step and two, or 0 and
        one for a first difference.
    inside : (size,) bool
        Which differences lie within the signal, and not across the end of an axis.
    expected : int
        Of the squares' sum, in variances of the noise.
    """

    steps: Array
    inside: Array
    expected: int

    @classmethod
    def of(cls, shape: tuple[int, ...], split: int, ld: int) -> Differences:
        """Those of signals whose leading axes, ``split`` of them, are rows ``ld`` samples apart."""
        columns = math.prod(shape[split:])
        inside = np.zeros((math.prod(shape[:split]), ld), dtype=bool)
        within = np.ones(shape, dtype=bool)
        steps: list[tuple[int, int]] = []
        expected = 1
        for axis, n in enumerate(shape):
            times = min(_DIFFERENCES, n - 1)
            step = math.prod(shape[axis + 1 : split]) * ld if axis < split else math.prod(shape[axis + 1 :])
            if times:
                steps.append(((times - 1) * step, times * step))
            within[(slice(None),) * axis + (slice(n - times, None),)] = False
            expected *= (n - times) * math.comb(2 * times, times)
        inside[:, :columns] = within.reshape(len(inside), columns)
        return cls(np.array(steps, dtype=np.intp).reshape(-1, 2), inside.ravel(), expected)
