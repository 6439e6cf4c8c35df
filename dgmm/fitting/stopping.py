"""Why a fit ends, and how near the optimum it is."""

from __future__ import annotations

from enum import Enum
from itertools import pairwise


class StopReason(Enum):
    """Why a fit stopped; the value is a sentence for the user."""

    TOLERANCE = "the mean log-likelihood per row rose by less than tol"
    GAP = "the estimated rise that remains is below the sampling error of the optimum"
    MAX_ITER = "max_iter iterations were made without convergence"
    CALLBACK = "a callback asked to stop"
    CLOSED_FORM = "the components of all rows are known, so that the estimate has a closed form"

    @property
    def converged(self) -> bool:
        """True if the fit ended because it had converged."""
        return self in (StopReason.TOLERANCE, StopReason.GAP, StopReason.CLOSED_FORM)


def predicted_gap(bounds: tuple[float, ...], rise: float) -> float | None:
    """Estimate how far the last lower bound is below its limit, where the next rise is foreseen.

    Parameters
    ----------
    bounds : tuple of float
        Mean log-likelihoods per row of the reads so far, in nats.
    rise : float
        Expected rise to the next one.

    Returns
    -------
    float or None
        Nats per row that are still to come if rises go on to shrink as they do now; None if fewer
        than two bounds are known or the rises do not shrink.

    Notes
    -----
    Rises that shrink by a ratio ``a`` sum to ``rise / (1 - a)``; as in :func:`aitken_gap` the
    larger one of the last two ratios is taken.

    Examples
    --------
    >>> predicted_gap((0.0, 1.0, 1.5), 0.25)
    0.5
    """
    steps = [*(b - a for a, b in pairwise(bounds[-3:])), rise]
    if len(steps) < 2:
        return None
    if rise <= 0.0:
        return 0.0
    if min(steps) <= 0.0:
        return None
    ratio = max(after / before for before, after in pairwise(steps))
    return rise / (1.0 - ratio) if ratio < 1.0 else None


def aitken_gap(bounds: tuple[float, ...]) -> float | None:
    """Estimate how far the last lower bound is below its limit.

    Parameters
    ----------
    bounds : tuple of float
        Mean log-likelihoods per row of successive iterations, in nats.

    Returns
    -------
    float or None
        Nats per row that are still to come if the steps go on to shrink as they do now; None if
        fewer than four bounds are known or the steps do not shrink.

    Notes
    -----
    Aitken's extrapolation as in Boehning et al. (1994), "The distribution of the likelihood ratio
    for mixtures of densities from the one-parameter exponential family", Ann. Inst. Statist. Math.
    46, section 5: with steps ``s`` and their ratio ``a``, the limit lies ``s * a / (1 - a)`` beyond
    the last bound. The larger one of the last two ratios is taken, since a ratio that is still
    growing makes the estimate too small.

    Examples
    --------
    >>> round(aitken_gap((0.0, 1.0, 1.5, 1.75)), 6)
    0.25
    """
    if len(bounds) < 4:
        return None
    steps = [b - a for a, b in zip(bounds[-4:-1], bounds[-3:], strict=True)]
    if steps[-1] <= 0.0:
        return 0.0
    if min(steps[:-1]) <= 0.0:
        return None
    ratio = max(steps[1] / steps[0], steps[2] / steps[1])
    return steps[-1] * ratio / (1.0 - ratio) if ratio < 1.0 else None
