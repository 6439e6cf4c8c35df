"""Rows by what is missing of them: grouped by pattern, each group computed by the marginal of its features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.missing import any_missing

if TYPE_CHECKING:
    from dgmm.mixture.compiled import CompiledMixture
    from dgmm.typing import Array, IntArray

# Patterns whose marginals are made together, at most.
_TOGETHER = 256


@dataclass(frozen=True)
class Patterns:
    """Some patterns of features, of as many features each, and the rows that have them.

    Attributes
    ----------
    observed : (g, d) bool
        Which features are there; no two alike.
    X : (m, d)
        The rows, those of a pattern together.
    rows : (m,) int64
        Their numbers, rising within a pattern.
    ends : (g + 1,) int64
        Where each pattern begins in ``X`` and ``rows``, and ``m``.
    """

    observed: Array
    X: Array
    rows: IntArray
    ends: IntArray

    @classmethod
    def of(cls, X: Array, most: int = _TOGETHER) -> Iterator[Patterns]:
        """Group rows, (n, d), by the features that are there, ``most`` patterns at a time.

        The order depends on the patterns alone; complete rows come first, rows of which nothing is there last.

        Examples
        --------
        >>> X = np.array([[1.0, np.nan], [1.0, 2.0], [3.0, np.nan]])
        >>> [(some.observed.tolist(), some.rows.tolist()) for some in Patterns.of(X)]
        [([[True, True]], [1]), ([[True, False]], [0, 2])]
        """
        nan = np.isnan(X)
        key = _keys(nan)
        order = np.argsort(key, kind="stable")
        first = np.flatnonzero(np.concatenate([[True], np.diff(key[order]) != 0]))
        ends, missing = np.append(first, len(X)), nan[order[first]]
        counts = np.count_nonzero(missing, axis=1)
        sizes = np.argsort(counts, kind="stable")
        cuts = np.flatnonzero(np.diff(counts[sizes])) + 1
        for alike in np.split(sizes, cuts):
            for some in np.split(alike, range(most, len(alike), most)):
                rows = np.concatenate([order[ends[i] : ends[i + 1]] for i in some])
                lengths = ends[some + 1] - ends[some]
                yield cls(~missing[some], X[rows], rows, np.concatenate([[0], np.cumsum(lengths)]))

    @property
    def n_observed(self) -> int:
        """Number of features that are there in each of the patterns."""
        return int(np.count_nonzero(self.observed[0]))

    def groups(self) -> Iterator[tuple[Array, slice]]:
        """Yield, for each pattern, what is there of its rows, (m_i, d_o), and where these are in ``rows``."""
        for observed, first, stop in zip(self.observed, self.ends[:-1].tolist(), self.ends[1:].tolist(), strict=True):
            yield self.X[first:stop, np.flatnonzero(observed)], slice(first, stop)


def _keys(nan: Array) -> Array:
    """A number for each row of ``nan``, (n, d) bool, that is the same for equal rows; (n,)."""
    n, d = nan.shape
    # Sorting takes least time for short keys.
    size = next((size for size in (1, 2, 4, 8) if 8 * size >= d), -(-d // 64) * 8)
    bits = np.zeros((n, size), dtype=np.uint8)
    bits[:, : -(-d // 8)] = np.packbits(nan, axis=1)
    keys = bits.view(f">u{min(size, 8)}").astype(f"u{min(size, 8)}")
    return keys[:, 0] if size <= 8 else np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def parts(compiled: CompiledMixture, X: Array) -> Iterator[tuple[BlockKernel, Array, slice | IntArray]]:
    """Yield, for each group of rows, its kernel, what is there of it, (m, d_o), and the numbers of its rows.

    Rows of which ``compiled.marginals`` knows nothing are in none. Where nothing is missing it is one group, X itself.
    """
    if not any_missing(X):
        yield BlockKernel(compiled), X, slice(None)
        return
    for some in Patterns.of(X):
        for own, (there, where) in zip(compiled.marginals(some.observed), some.groups(), strict=True):
            if own is not None:
                yield BlockKernel(own), there, some.rows[where]


def compute_rows(
    compute: Callable[[BlockKernel, Array], Array], compiled: CompiledMixture, X: Array, dtype: np.dtype[Any]
) -> Array:
    """Something of each row by a kernel, also where values are missing.

    Parameters
    ----------
    compute : callable
        From a kernel and rows (n, d) to (n, ..).
    compiled : CompiledMixture
        Rows of which its ``marginals`` knows nothing get -1 (integers) or NaN.
    X : (n, d)
    dtype : dtype
        Of the result.
    """
    if not any_missing(X):
        return compute(BlockKernel(compiled), X).astype(dtype, copy=False)
    shape = compute(BlockKernel(compiled), X[:0]).shape[1:]
    result: Array = np.full((len(X), *shape), -1 if dtype.kind in "iu" else np.nan, dtype=dtype)
    for kernel, own, rows in parts(compiled, X):
        result[rows] = compute(kernel, own)
    return result
