"""The compiled read of signals as the others call it: arrays laid out, and machine code for a type of samples.

numba is imported with this module, by :class:`~dgmm.signals.spaces.MomentSpace` when signals are first read.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from dgmm.mixture import tiles, vectors
from dgmm.mixture.compiling import machine_code
from dgmm.mixture.tiles import HEIGHT_OF_SUMS, PADDING, pack
from dgmm.signals import native
from dgmm.signals.noise import Differences
from dgmm.signals.spaces import product

if TYPE_CHECKING:
    from dgmm.typing import Array, FloatArray

_AS_THEY_ARE = {"bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"}
_LANES = 8
# Numbers of the differences that are worked on at a time, in the L1 cache.
_PIECE = 1024


@cache
def _function(dtype: str) -> Any:
    """The compiled function for samples of a dtype: made, or fetched from numba's cache, at first use."""

    def given(element: Any, dimensions: int = 1) -> Any:
        return types.Array(element, dimensions, "C", readonly=True)

    def made(dimensions: int = 1) -> Any:
        return types.Array(types.float64, dimensions, "C")

    element = types.boolean if dtype == "bool" else getattr(types, dtype)
    signature = types.void(
        given(element, 2), types.UniTuple(types.intp, 5), given(types.float64), given(types.float64),
        given(types.intp, 2), given(types.boolean), made(2), made(), made(), made(2), made(2), made(),
    )  # fmt: skip
    return machine_code(native.project, signature, (vectors, tiles, native), f"the projection of {dtype} signals")


class Projection:
    """What takes signals to moments, and to the variance of their noise; any thread may use it.

    A signal is a matrix: its leading axes are the rows, the trailing ones the columns, whichever makes least work.

    Parameters
    ----------
    shape : tuple of int
        Samples along each axis of a signal.
    axes : tuple of (samples, degrees)
        What each axis is contracted with.
    """

    def __init__(self, shape: tuple[int, ...], axes: tuple[FloatArray, ...]) -> None:
        split = min(range(len(axes)), key=lambda at: _work(axes[:at], axes[at:]))
        leading, trailing = product(axes[:split]), product(axes[split:])
        (rows, p), (columns, q) = leading.shape, trailing.shape
        ld = _LANES * tiles.vectors_of(p, -(-columns // _LANES))
        self._shape = rows, columns, ld, p, q
        self._leading = pack(leading.T)
        self._trailing = np.zeros((q + PADDING, ld))
        self._trailing[:q, :columns] = trailing.T
        self._differences = Differences.of(shape, split, ld)

    def __call__(self, S: Array, *, noise: bool) -> tuple[FloatArray, FloatArray]:
        """Moments, (b, m) float64, of signals, (b, n), and variances of their noise, (b,), 0 if not wanted."""
        rows, _, ld, p, q = self._shape
        if S.dtype.name not in _AS_THEY_ARE or not S.dtype.isnative:
            S = S.astype(np.float64)
        found = self._differences
        moments, squares = np.empty((len(S), p * q)), np.zeros(len(S))
        x = np.zeros((1 if rows > 1 else HEIGHT_OF_SUMS, rows * ld))
        y = np.empty(p * ld) if rows > 1 else x.ravel()
        t = np.empty(len(x) * p * (q + PADDING) + PADDING)
        reach = int(found.steps[1:, 1].sum())
        room = np.empty((2, max(_PIECE, reach) + reach))
        _function(S.dtype.name)(
            np.require(S, requirements=["C", "A"]), self._shape, self._leading, self._trailing.ravel(),
            found.steps if noise else found.steps[:0], found.inside, x, y, t, room, moments, squares,
        )  # fmt: skip
        return moments, squares / found.expected


def _work(leading: tuple[FloatArray, ...], trailing: tuple[FloatArray, ...]) -> int:
    """Products that contracting a signal takes."""
    rows, columns = (math.prod(len(axis) for axis in axes) for axes in (leading, trailing))
    p, q = (math.prod(axis.shape[1] for axis in axes) for axes in (leading, trailing))
    return int(p * columns * (rows + q))
