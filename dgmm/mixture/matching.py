"""Which component of one mixture is which of another: Hellinger distances, and their assignment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from dgmm.mixture.parameters import MixtureParameters
    from dgmm.typing import FloatArray, IntArray

# What tells pairs apart that are both as far from each other as can be: too little to outweigh a distance.
_TIE = 1e-9


def bhattacharyya_distances(a: MixtureParameters, b: MixtureParameters, order: IntArray | None = None) -> FloatArray:
    """Bhattacharyya distances between the Gaussians of two mixtures, whatever their weights.

    Parameters
    ----------
    a, b : MixtureParameters
        Of any families, with the same features.
    order : (d,) int, optional
        Features of ``b`` in the order of those of ``a``.

    Returns
    -------
    (K_a, K_b) float64
        At least 0: minus the logarithm of the overlap ``integral sqrt(p q)``.

    Notes
    -----
    ``D' S^-1 D / 8 + log(det S / sqrt(det S_a det S_b)) / 2`` with ``S = (S_a + S_b) / 2`` and ``D`` the
    difference of the means: Kailath (1967), "The divergence and Bhattacharyya distance measures in signal
    selection", IEEE Trans. Communication Technology 15; Fukunaga, Introduction to Statistical Pattern
    Recognition (1990), equation 3.152. With ``s`` the singular values of ``U_a' L_b`` (``S_a^-1 = U_a U_a'``,
    ``S_b = L_b L_b'``) the second term is the sum of ``log cosh(log s)`` over 2, in which no determinants cancel:
    the distance between two that are nearly the same keeps its digits.
    """
    columns = np.arange(b.n_features) if order is None else order
    rows = [_to_all(b, mean, *_of(a, i), columns) for i, mean in enumerate(a.means)]
    return np.stack(rows)


def hellinger(bhattacharyya: FloatArray) -> FloatArray:
    """Hellinger distances from Bhattacharyya distances: ``sqrt(1 - integral sqrt(p q))``, from 0 to 1."""
    return np.asarray(np.sqrt(-np.expm1(-bhattacharyya)))


def assign(bhattacharyya: FloatArray) -> tuple[IntArray, IntArray]:
    """Pair components one to one so that the sum of the Hellinger distances is least.

    Parameters
    ----------
    bhattacharyya : (K_a, K_b) float64

    Returns
    -------
    rows, columns : (min(K_a, K_b),) int64
        The pairs, by rising row. Those whose densities do not overlap, in float64, are all at distance 1: of these the
        pairs with the smaller Bhattacharyya distances are taken.

    Notes
    -----
    Kuhn (1955), "The Hungarian method for the assignment problem", Naval Research Logistics Quarterly 2; in
    the form of Crouse (2016), which SciPy has.
    """
    far = np.log1p(bhattacharyya)
    tie = _TIE * far / max(float(far.max(initial=0.0)), 1.0)
    rows, columns = linear_sum_assignment(hellinger(bhattacharyya) + tie)
    return rows, columns


def _of(parameters: MixtureParameters, component: int) -> tuple[FloatArray, bool]:
    """The precision factor of one component, and whether it is a matrix."""
    factors = parameters.precisions_cholesky
    return factors[component % len(factors)], factors.ndim == 3


def _to_all(
    b: MixtureParameters, mean: FloatArray, factor: FloatArray, is_matrix: bool, columns: IntArray
) -> FloatArray:
    """Distances of one Gaussian to all of a mixture, (K_b,)."""
    d = b.n_features
    offset = b.means[:, columns] - mean
    others = b.precisions_cholesky
    if not is_matrix and others.ndim == 2:  # axes are shared
        ratio = factor / (others if others.shape[1] == 1 else others[:, columns])
        singular, projected = np.broadcast_to(ratio, (len(others), d)), factor * offset
    else:
        own = factor if is_matrix else np.diag(np.broadcast_to(factor, d))
        matrices = others if others.ndim == 3 else others[..., None] * np.eye(d)
        _, singular, right = np.linalg.svd(np.linalg.solve(matrices[:, columns], own))
        projected = np.einsum("kij,kj->ki", np.broadcast_to(right, (len(offset), d, d)), offset @ own)
    apart = np.square(projected / np.hypot(1.0, singular)).sum(axis=1) / 4.0
    return np.asarray(apart + _log_cosh(np.log(singular)).sum(axis=1) / 2.0)


def _log_cosh(x: FloatArray) -> FloatArray:
    size = np.abs(x)
    near = np.log1p(2.0 * np.square(np.sinh(np.minimum(size, 1.0) / 2.0)))
    return np.where(size < 1.0, near, size + np.log1p(np.exp(-2.0 * size)) - np.log(2.0))
