"""The compiled kernel as the others call it: arrays laid out, and room for a block.

numba is imported with this module, by ``CompiledMixture.program`` when a fit first needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from dgmm.mixture import native, tiles, vectors
from dgmm.mixture.compiled import CentredGroup, DotGroup
from dgmm.mixture.compiling import machine_code
from dgmm.mixture.forms import Diagonal, Full, Spherical
from dgmm.mixture.native import DIAGONAL, FULL, LD, LONGEST, NO_PRODUCTS, SLAB, SPHERICAL
from dgmm.mixture.tiles import PADDING, WIDTH_OF_SUMS, pack

if TYPE_CHECKING:
    from dgmm.mixture.compiled import CompiledMixture
    from dgmm.typing import Array, FloatArray

KINDS = {Spherical: SPHERICAL, Diagonal: DIAGONAL, Full: FULL}
"""How the compiled functions call the forms of matrices."""

_NO_WEIGHTS = np.empty(0)


@cache
def _function(dtype: str) -> Any:
    """The compiled function for rows of a dtype: made, or fetched from numba's cache, at first use."""
    element, double = getattr(types, dtype), types.float64

    def given(element: Any, dimensions: int = 1, layout: str = "C") -> Any:
        return types.Array(element, dimensions, layout, readonly=True)

    def made(element: Any) -> Any:
        return types.Array(element, 1, "C")

    signature = types.void(
        given(element, 2, "A"), given(double, 1, "A"), given(double), given(double), types.UniTuple(types.intp, 10),
        given(element), made(double), given(double), made(double),
        given(double, 2), given(double, 2), given(double), made(double),
        made(element), made(element), *[made(double)] * 7,
    )  # fmt: skip
    return machine_code(native.add_statistics, signature, (vectors, tiles, native), f"the kernel for {dtype} rows")


@dataclass(frozen=True)
class Sums:
    """What the compiled function sums over rows.

    Attributes
    ----------
    log_likelihood : float
        In nats, without what rounding A took away.
    dots : dict of str to (k, p) float64
        Sums of the features for the components of each dot group, by its precision.
    centred : (k, 1 + d, 1 + d) or (k, 1, p) float64
        For centred components of full matrices the products of ``[1, c]`` with itself, above the
        diagonal; of others the sums of the features.
    """

    log_likelihood: float
    dots: dict[str, FloatArray]
    centred: FloatArray


class Program:
    """A compiled mixture in the form that the compiled function takes; any thread may use it.

    Parameters
    ----------
    compiled : CompiledMixture
    """

    def __init__(self, compiled: CompiledMixture) -> None:
        form, d = compiled.family.form, compiled.n_features
        kind = KINDS[type(form)]
        inverse = compiled.coordinates.inverse_scale
        self._coordinates = compiled.coordinates.shift, pack(inverse) if inverse.ndim == 2 else inverse
        self._dots = {group.dtype.name: group.natural for group in compiled.groups if isinstance(group, DotGroup)}
        self._p = max((natural.shape[1] for natural in self._dots.values()), default=1 + d)
        means, factors, constants = np.empty((0, d)), np.empty((0, 1)), np.empty(0)
        for group in compiled.groups:
            if isinstance(group, CentredGroup):
                means, factors, constants = group.means, group.factors, group.constants
                if kind == FULL:  # U' is lower triangular, as the inverse scale is
                    factors = np.stack([pack(factor.T) for factor in factors])
        self._centred = np.ascontiguousarray(means), np.ascontiguousarray(factors), constants
        own = (1 + d, 1 + d) if kind == FULL else (1, 1 + d + form.packed_size(d))
        self._centred_shape = (len(means), own[0], own[1] + PADDING)
        self._kinds = NO_PRODUCTS if self._p == 1 + d else kind, kind
        # Slabs begin where a tile of sums does, so that no tile reaches into the columns of the next.
        self._head = self._p if self._p <= LONGEST else min(self._p, -(-(1 + d) // WIDTH_OF_SUMS) * WIDTH_OF_SUMS)
        self._packed: dict[str, list[tuple[str, Array]]] = {}
        self._room = compiled.room

    def _arguments(self, dtype: str) -> list[tuple[str, Array]]:
        """Name and packed A of the groups whose products are in the rows' precision, and in float64 besides."""
        if dtype not in self._packed:
            names = ["float32", "float64"]
            if dtype == "float64" and "float32" not in self._dots:
                names.reverse()
            nothing = np.empty((0, self._p))
            self._packed[dtype] = [
                (name, pack(self._dots.get(name, nothing).astype(element)))
                for name, element in zip(names, (dtype, "float64"), strict=True)
            ]
        return self._packed[dtype]

    def _space(self, dtype: str, sizes: tuple[int, int, int]) -> list[Array]:
        """Room for a block, made once for each thread and shape."""
        space: dict[Any, list[Array]] = self._room.__dict__
        shape = (dtype, *self._kinds, len(self._coordinates[0]), self._p, *sizes)
        if shape not in space:
            d, (k, k_wide, k_centred) = len(self._coordinates[0]), sizes
            features = (self._p if self._head == self._p else 1 + d + SLAB) + PADDING
            centred = 1 + d + (d if self._kinds[1] != FULL else 0) + PADDING
            all_k = k + k_wide + k_centred
            space[shape] = [
                rows_of_block(features * (k > 0), dtype),
                rows_of_block(k, dtype),
                rows_of_block(features * (k_wide > 0)),
                rows_of_block(all_k * (all_k > k)),
                rows_of_block(centred * (k_centred > 0)),
                rows_of_block(d),
                rows_of_block(1 + d),
                rows_of_block(1),
            ]
        return space[shape]

    def run(self, X: Array, weights: FloatArray | None) -> Sums:
        """Sum over rows X, (n, d) float32 or float64, with weights (n,) or none."""
        X = np.require(X, requirements="A")
        (name, a), (wide_name, wide) = self._arguments(X.dtype.name)
        p, means = self._p, self._centred[0]
        sizes = len(a) // p, len(wide) // p, len(means)
        sums = {name: np.zeros((sizes[0], p + PADDING)), wide_name: np.zeros((sizes[1], p + PADDING))}
        centred, total = np.zeros(self._centred_shape), np.zeros(8)
        shape = (*self._kinds, X.shape[1], p, self._head, *sizes, *self._centred_shape[1:])
        _function(X.dtype.name)(
            X, _NO_WEIGHTS if weights is None else weights, *self._coordinates, shape,
            a, sums[name].ravel(), wide, sums[wide_name].ravel(), *self._centred, centred.ravel(),
            *self._space(X.dtype.name, sizes), total,
        )  # fmt: skip
        return Sums(float(total.sum()), {name: t[:, :p] for name, t in sums.items()}, centred[..., :-PADDING])


def rows_of_block(count: int, dtype: str = "float64") -> Array:
    """Room for rows of features or components of a block, from a cache line on; those at 0 are ones."""
    size = np.dtype(dtype).itemsize
    room = np.ones(count * LD + 64 // size, dtype=dtype)
    skip = -room.ctypes.data % 64 // size
    return room[skip : skip + count * LD]
