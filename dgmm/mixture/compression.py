"""Secondary compression: tight groups of rows, and of summaries, become one summary each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dgmm.mixture.seeding import kmeans, nearest_centres
from dgmm.mixture.summaries import Summaries

if TYPE_CHECKING:
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.mixture.parameters import MixtureParameters
    from dgmm.typing import Array, FloatArray, IntArray

# Rows that a group has at least.
_LEAST_ROWS = 2.0


def looseness(summaries: Summaries, family: CovarianceFamily, parameters: MixtureParameters) -> FloatArray:
    """Variance of each summary's rows in units of the nearest component's, mean over the directions, (s,).

    Nearest is the component of the highest posterior: ``tr(P_k S) / d`` is what one posterior for
    all rows costs there.
    """
    d = parameters.n_features
    quadratic = np.broadcast_to(
        family.form.quadratic(parameters.precisions_cholesky, d),
        (parameters.n_components, summaries.second.shape[1]),
    )
    nearest = summaries.posterior(family, parameters)[0].argmax(axis=1)
    return np.asarray(-2.0 / d * np.einsum("sq,sq->s", quadratic[nearest], summaries.central(family.form)))


def tight_groups(
    z: FloatArray,
    weights: FloatArray,
    family: CovarianceFamily,
    parameters: MixtureParameters,
    tightness: float,
    rng: np.random.RandomState,
) -> tuple[Summaries, Array]:
    """Compress rows that lie closely together.

    Parameters
    ----------
    z : (n, d) float64
        In inner coordinates.
    weights : (n,) float64
    family : CovarianceFamily
    parameters : MixtureParameters
    tightness : float
        Largest :func:`looseness` of a group.
    rng : RandomState

    Returns
    -------
    summaries : Summaries
        Of the groups that are tight.
    compressed : (n,) bool
        Rows that are in them.

    Notes
    -----
    Bradley, Fayyad and Reina (1998), "Scaling clustering algorithms to large databases", KDD,
    section 3.2: k-means with 2 K clusters. There a group is tight in units of the data's variance.
    """
    count = min(2 * parameters.n_components, len(z) // 2)
    if count < 1:
        return Summaries.none(family, parameters.n_features), np.zeros(len(z), dtype=bool)
    centres = kmeans(z, weights, count, rng)
    groups = nearest_centres(z, centres)
    summaries = Summaries.of_groups(family, z, weights, groups, count)
    tight = (np.bincount(groups, minlength=count) >= _LEAST_ROWS) & (
        looseness(summaries, family, parameters) <= tightness
    )
    return summaries.take(tight), tight[groups]


def merge_while_tight(
    summaries: Summaries, family: CovarianceFamily, parameters: MixtureParameters, tightness: float
) -> Summaries:
    """Merge each summary with its nearest neighbour where both together are tight, until none are."""
    while len(summaries) > 1:
        means = summaries.means
        norms = np.square(means).sum(axis=1)
        squared = norms[:, None] + norms - 2.0 * means @ means.T
        np.fill_diagonal(squared, np.inf)
        groups = _pairs(squared.argmin(axis=1))
        count = int(groups.max()) + 1
        merged = summaries.gathered(groups, count)
        good = looseness(merged, family, parameters) <= tightness
        if count == len(summaries) or not good.any():
            return summaries
        split = np.flatnonzero(~good[groups])
        grown = np.bincount(groups, minlength=count) > 1
        if not (good & grown).any():
            return summaries
        summaries = merged.take(good).joined(summaries.take(split))
    return summaries


def _pairs(nearest: IntArray) -> IntArray:
    """Numbers of groups, each of one summary or of two that are each other's nearest."""
    own = np.arange(len(nearest))
    mutual = nearest[nearest] == own
    first = np.where(mutual, np.minimum(own, nearest), own)
    return np.unique(first, return_inverse=True)[1]
