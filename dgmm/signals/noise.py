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
    x, gain = S.reshape(len(S), *shape), 1
    for axis, n in enumerate(shape, 1):
        times = min(_DIFFERENCES, n - 1)
        x, gain = np.diff(x, times, axis), gain * math.comb(2 * times, times)
    x = x.reshape(len(S), -1)
    return np.asarray(np.einsum("ij,ij->i", x, x) / (x.shape[1] * gain))
