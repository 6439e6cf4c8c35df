"""Which of several fitted mixtures is the best, by a criterion, and what can be said of the others.

All criteria are compared as a merit in nats per row, higher being better: the mean log-likelihood of
rows that were set aside, or that of the rows of the fit less a penalty; BIC, AIC and ICL are
``-2 n`` times that. So a gap that is left of a likelihood, in nats per row, is one of its merit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dgmm.fitting.stopping import aitken_gap

if TYPE_CHECKING:
    from dgmm.fitting.fit import FitResult
    from dgmm.typing import Array, FloatArray

HELD_OUT = "heldout"

MANY_ROWS = 100_000
"""From so many rows on, held-out rows choose unless the user says otherwise."""

# A difference on the sample counts if it exceeds so many of its standard errors, and the cost of the parameters.
_ERRORS = 3.0
# Rises of a likelihood below so many units of its rounding are none.
_ROUNDING = 64.0 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Criterion:
    """What makes one model better than another.

    Attributes
    ----------
    name : str
    penalty : callable
        From the free parameters and the number of rows, n, to what is taken from the mean
        log-likelihood, in nats per row.
    entropy : bool
        Whether the mean entropy of the responsibilities is taken from it, too.
    held_out : bool
        Whether it looks at rows that were set aside.
    """

    name: str
    penalty: Callable[[int, float], float]
    entropy: bool = False
    held_out: bool = False

    @property
    def only_rises(self) -> bool:
        """Whether more EM can only better it."""
        return not (self.entropy or self.held_out)


def _bic(n_parameters: int, n: float) -> float:
    return n_parameters * float(np.log(n)) / (2.0 * n)


CRITERIA: dict[str, Criterion] = {
    criterion.name: criterion
    for criterion in (
        Criterion("bic", _bic),
        Criterion("aic", lambda n_parameters, n: n_parameters / n),
        Criterion("icl", _bic, entropy=True),
        # What parameters estimated from n rows lose on others, in expectation: seen there, foreseen on a sample.
        Criterion(HELD_OUT, lambda n_parameters, n: n_parameters / n, held_out=True),
    )
}


def chosen_criterion(name: str, n_rows: int) -> Criterion:
    """The criterion of a name; ``"auto"``: held-out rows from 100,000 rows on, else BIC."""
    if name == "auto":
        name = HELD_OUT if n_rows >= MANY_ROWS else "bic"
    return CRITERIA[name]


def foreseen(criterion: Criterion, value: float, n_parameters: int, m: int, n: float) -> float:
    """Estimate the merit of a model of n rows by its fit to a sample of m of them.

    Parameters
    ----------
    criterion : Criterion
    value : float
        Mean log-likelihood of the sample, less its entropy where the criterion wants it.
    n_parameters : int
    m : int
    n : float

    Notes
    -----
    The maximum of the likelihood of m rows lies ``p / (2 m)`` above the likelihood of the best
    parameters, in expectation (Akaike 1974).
    """
    optimism = n_parameters / (2.0 * m) - n_parameters / (2.0 * n)
    return value - optimism - criterion.penalty(n_parameters, n)


def clearly_behind(merits: FloatArray, errors: FloatArray, n_parameters: Array, m: int) -> Array:
    """Which models are clearly behind the best one, by the sample.

    Parameters
    ----------
    merits : (M,) float64
        As :func:`foreseen`.
    errors : (M,) float64
        Standard error of the difference of each from the best one's.
    n_parameters : (M,) int
    m : int
        Rows of the sample.

    Returns
    -------
    (M,) bool
        True where a model is behind by more than three standard errors plus ``p / (2 m)`` of
        the larger of the two models, by which maxima of the likelihood scatter.
    """
    best = int(np.argmax(merits))
    scatter = np.maximum(n_parameters, n_parameters[best]) / (2.0 * m)
    return np.asarray(merits[best] - merits > _ERRORS * errors + scatter)


def remaining_gap(result: FitResult, mean_log_likelihood: float) -> float:
    """Estimated rise that is still to come from the final parameters, in nats per row; NaN if it cannot be told.

    Parameters
    ----------
    result : FitResult
        Its gap is that of the last lower bound; its parameters are one step further.
    mean_log_likelihood : float
        Of its parameters, in nats per row.
    """
    last = result.lower_bounds[-1]
    rise = mean_log_likelihood - last
    if result.remaining_gap is not None:
        return max(result.remaining_gap - max(rise, 0.0), 0.0)
    if rise <= _ROUNDING * (1.0 + abs(last)):
        return 0.0
    gap = aitken_gap((*result.lower_bounds, mean_log_likelihood))
    return np.nan if gap is None else gap


def ranked(criterion: Criterion, merits: FloatArray, gaps: FloatArray) -> Array:
    """Which models have converged far enough for their place among the others.

    Parameters
    ----------
    criterion : Criterion
    merits, gaps : (M,) float64
        In nats per row; NaN where there is none.

    Returns
    -------
    (M,) bool
        False where the gap is unknown, or exceeds the difference from another model: a better one
        for criteria that more EM can only better, any for the others.
    """
    result = np.zeros(len(merits), dtype=bool)
    for j in np.flatnonzero(np.isfinite(merits) & np.isfinite(gaps)):
        differences = np.delete(merits, j) - merits[j]
        if criterion.only_rises:
            differences = differences[differences >= 0.0]
        differences = np.abs(differences[np.isfinite(differences)])
        result[j] = gaps[j] <= differences.min(initial=np.inf)
    return result


def could_be_best(criterion: Criterion, merits: FloatArray, gaps: FloatArray, errors: FloatArray) -> Array:
    """Which models, (M,) bool, might be better than the one of highest merit, by the gaps that are left.

    Parameters
    ----------
    criterion : Criterion
    merits, gaps : (M,) float64
        As for :func:`ranked`.
    errors : (M,) float64
        Standard error of the difference of each from the highest merit: a gap that is smaller decides nothing.
    """
    best = int(np.nanargmax(merits))
    gaps = np.where(np.isnan(gaps), np.inf, gaps)
    if not criterion.only_rises:
        gaps = np.maximum(gaps, gaps[best])
    open_ = np.isfinite(merits) & (gaps > np.fmax(merits[best] - merits, errors))
    open_[best] = False
    return np.asarray(open_)
