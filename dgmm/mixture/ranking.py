"""The most probable components of rows, for many components: never more than a block's are held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dgmm.mixture.kernel import BlockKernel
    from dgmm.typing import Array, FloatArray, IntArray


def top_shares(kernel: BlockKernel, X: Array, top: int) -> FloatArray:
    """Return the most probable components of each row.

    Parameters
    ----------
    kernel : BlockKernel
    X : (n, d) float32 or float64
        In the user's units.
    top : int
        From 1 to K.

    Returns
    -------
    (n, 2 top + 1) float64
        Numbers of the components, the most probable first, those of equal probability by number; their
        posterior probabilities; the probability of all others together.
    """
    found = np.empty((len(X), 2 * top + 1))
    for rows, logits, shares in kernel.shares(X):
        own = largest(logits, top)
        found[rows, :top] = own
        probabilities = np.take_along_axis(shares.T, own, axis=1)
        found[rows, top : 2 * top] = probabilities
        # Those that are left, not 1 minus the others: the sum of what is small has more digits.
        np.put_along_axis(shares.T, own, 0.0, axis=1)
        found[rows, 2 * top] = shares.sum(axis=0, dtype=np.float64)
    return found


def largest(values: Array, top: int) -> IntArray:
    """Rows of the largest values of each column, the largest first, equal ones by their number.

    Parameters
    ----------
    values : (K, n)
    top : int
        From 1 to K.

    Returns
    -------
    (n, top) int64

    Examples
    --------
    >>> largest(np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 4.0]]), 2)
    array([[1, 2],
           [0, 1]])
    """
    columns = values.T
    least = np.partition(columns, -top, axis=1)[:, -top, None]
    above, equal = columns > least, columns == least
    left = top - above.sum(axis=1, keepdims=True)
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= left))
    numbers = np.nonzero(chosen)[1].reshape(-1, top)
    order = np.argsort(-np.take_along_axis(columns, numbers, axis=1), axis=1, kind="stable")
    return np.take_along_axis(numbers, order, axis=1).astype(np.int64, copy=False)
