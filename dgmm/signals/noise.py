"""The variance of white noise, from differences of neighbouring samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dgmm.typing import Array, FloatArray

_DIFFERENCES = 2


def can_be_estimated(shape: tuple[int, ...]) -> bool:
    """Whether signals of this shape have neighbours."""
    return max(shape) > 1


def noise_variances(S: Array, shape: tuple[int, ...]) -> FloatArray:
    """Estimate the variance of the white noise in each signal.

    Parameters
    ----------
    S : (b, n) float64
    shape : tuple of int
        Of a signal.

    Returns
    -------
    (b,) float64
        In squared units of the samples.

    Notes
    -----
    The mean square of second differences along all axes, which white noise multiplies by 6 for each: Immerkaer (1996),
    "Fast noise variance estimation", Computer Vision and Image Understanding 64(2), whose mask is the product of two
    second differences. What is linear along any axis does not count; edges do, so that the estimate is one from above.

    Examples
    --------
    >>> noise_variances(np.random.default_rng(0).normal(0.0, 2.0, (1, 100_000)), (100_000,)).round(1)
    array([4.])
    """
    # All signals as one row, which is fast; differences across the ends of axes are put to 0 after that.
    size, stride, gain = S.size, S.shape[1], 1
    x, y, other = S.reshape(-1), np.empty(size), np.empty(size)
    kept = []
    for n in shape:
        times, stride = min(_DIFFERENCES, n - 1), stride // n
        for _ in range(times):
            size -= stride
            np.subtract(x[stride : stride + size], x[:size], out=y[:size])
            x, y, other = y, other, y
        kept.append(n - times)
        gain *= math.comb(2 * times, times)
    axes = x.reshape(len(S), *shape)
    for axis, count in enumerate(kept, 1):
        axes[(slice(None),) * axis + (slice(count, None),)] = 0.0
    differences = x.reshape(S.shape)
    return np.asarray(np.vecdot(differences, differences) / (math.prod(kept) * gain))
