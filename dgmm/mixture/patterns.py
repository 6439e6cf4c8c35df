"""Rows by what is missing of them: grouped by pattern, each group computed by the marginal of its features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.missing import any_missing

if TYPE_CHECKING:
    from dgmm.mixture.compiled import CompiledMixture
    from dgmm.typing import Array, IntArray


def group_rows(X: Array) -> list[tuple[Array, IntArray]]:
    """Group rows, (n, d), by the features that are there.

    Returns
    -------
    list of (observed, rows)
        ``observed``, (d,) bool, and the numbers of the rows, rising. The order depends on the patterns alone;
        complete rows come first.

    Examples
    --------
    >>> X = np.array([[1.0, np.nan], [1.0, 2.0], [3.0, np.nan]])
    >>> [(observed.tolist(), rows.tolist()) for observed, rows in group_rows(X)]
    [([True, True], [1]), ([True, False], [0, 2])]
    """
    n, d = X.shape
    nan = np.isnan(X)
    words = max(1, -(-d // 64)) if d > 16 else 1
    size = 8 * words if d > 16 else -(-d // 8)
    bits = np.zeros((n, size), dtype=np.uint8)
    bits[:, : -(-d // 8)] = np.packbits(nan, axis=1)
    # Sorting takes least time for short keys.
    keys = bits.view(f">u{size // words}").astype(f"u{size // words}")
    key = keys[:, 0] if words == 1 else np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(key, kind="stable")
    ends = np.flatnonzero(np.diff(key[order])) + 1
    return [(~nan[rows[0]], rows) for rows in np.split(order, ends) if len(rows)]


def parts(compiled: CompiledMixture, X: Array) -> Iterator[tuple[BlockKernel, Array, slice | IntArray]]:
    """Yield, for each group of rows, its kernel, what is there of it, (m, d_o), and the numbers of its rows.

    Rows of which ``compiled.marginal`` knows nothing are in none. Where nothing is missing it is one group, X itself.
    """
    if not any_missing(X):
        yield BlockKernel(compiled), X, slice(None)
        return
    for observed, rows in group_rows(X):
        own = compiled.marginal(observed)
        if own is not None:
            yield BlockKernel(own), X[np.ix_(rows, np.flatnonzero(observed))], rows


def compute_rows(
    compute: Callable[[BlockKernel, Array], Array], compiled: CompiledMixture, X: Array, dtype: np.dtype[Any]
) -> Array:
    """Something of each row by a kernel, also where values are missing.

    Parameters
    ----------
    compute : callable
        From a kernel and rows (n, d) to (n, ..).
    compiled : CompiledMixture
        Rows of which its ``marginal`` knows nothing get -1 (integers) or NaN.
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
