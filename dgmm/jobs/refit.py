"""A refit: the new model beside the last one, and which of them is to be the current one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.estimators.matching import Match, match

if TYPE_CHECKING:
    from dgmm.estimators.gaussian_mixture import GaussianMixture
    from dgmm.jobs.models import RefitSection
    from dgmm.mixture.scores import Score

RARE = 1e-3
"""Rows are rare whose density is below that of this share of the rows that a model itself draws."""

# Standard errors that chance stays within, and how much larger than expected it was seen to be (benchmarks/refit.py).
_ERRORS, _MARGIN = 3.0, 2.0
# Components that a reason names.
_NAMED = 5


@dataclass(frozen=True)
class Level:
    """How likely the rows of a model's own fit were to it.

    Attributes
    ----------
    log_likelihood : float
        Mean, in nats per row.
    n_rows : float
        Or the sum of their weights.
    """

    log_likelihood: float
    n_rows: float

    @classmethod
    def of(cls, model: GaussianMixture, noted: Mapping[str, Any] | None) -> Level:
        """The level that was noted, or else what the model knows of its fit."""
        if noted is not None:
            return cls(float(noted["log_likelihood"]), float(noted["n_rows"]))
        return cls(float(model.lower_bound_), model._n_parameters() / (2.0 * model.sampling_error_))

    def noted(self) -> dict[str, float]:
        """As JSON values."""
        return {"log_likelihood": self.log_likelihood, "n_rows": self.n_rows}


@dataclass(frozen=True)
class Comparison:
    """What is known of a new model and the last one; log-likelihoods are means, in nats per row.

    Attributes
    ----------
    match : Match
    drift : float
        By how much less likely the new rows are under the last model than the rows of its own fit.
    drift_error : float
        Its standard error, for independent rows.
    gain : float
        By how much better the new model describes the new rows than the last one.
    chance : float
        A gain that chance alone hardly gives.
    rare_share : float
        Share of the new rows that are rare under the last model; ``RARE`` where nothing has changed.
    converged : bool
        Whether the new fit has.
    died : tuple of int
        Components of the new model that have weight 0, though their partners had rows.
    same_size : bool
        Whether both have as many components.
    """

    match: Match
    drift: float
    drift_error: float
    gain: float
    chance: float
    rare_share: float
    converged: bool
    died: tuple[int, ...]
    same_size: bool

    @classmethod
    def of(cls, last: GaussianMixture, level: Level, new: GaussianMixture, under_last: Score, own: Level) -> Comparison:
        """Compare the models of two levels; the score is that of the new rows under the last one.

        Notes
        -----
        A fit to n rows is ``p / (2 n)`` nats per row better on them than the truth, and that much worse on others
        (Wilks 1938; Akaike 1973); ``2 n`` times that is chi-squared, of variance ``2 p``.
        """
        n, found = under_last.total_weight, match(last, new)
        mean = under_last.log_likelihood / n
        spread = float(np.nanstd(last._plain_densities(new.sample_)))
        shares = [(model._n_parameters(), rows) for model, rows in ((last, max(level.n_rows, 1.0)), (new, max(n, 1.0)))]
        expected = sum(p / (2.0 * rows) for p, rows in shares)
        error = math.sqrt(sum(p / (2.0 * rows**2) for p, rows in shares))
        return cls(
            found,
            level.log_likelihood - mean,
            spread * math.sqrt(1.0 / max(level.n_rows, 1.0) + 1.0 / max(n, 1.0)),
            own.log_likelihood - mean,
            _MARGIN * (expected + _ERRORS * error),
            under_last.rare_weight / n,
            bool(new.converged_),
            tuple(b for (_, b), (before, now) in zip(found.pairs, found.weights, strict=True) if now == 0.0 < before),
            not (found.unmatched_old or found.unmatched_new),
        )

    def needed(self, section: RefitSection) -> float:
        """The gain that a new model must have."""
        return self.chance if section.min_gain == "auto" else float(section.min_gain)

    def report(self, section: RefitSection) -> dict[str, Any]:
        """As JSON values, with what they are held to."""
        return {
            "drift": self.drift,
            "drift_error": self.drift_error if math.isfinite(self.drift_error) else None,
            "gain": self.gain,
            "gain_needed": self.needed(section),
            "rare_share": self.rare_share,
            "rare_share_expected": RARE,
            "components": [list(pair) for pair in self.match.pairs],
            "distances": self.match.distances.tolist(),
            "weights": self.match.weights.tolist(),
            "unmatched_last": list(self.match.unmatched_old),
            "unmatched_new": list(self.match.unmatched_new),
            "thresholds": section.model_dump(exclude={"keep"}),
        }


def reasons(found: Comparison, section: RefitSection) -> list[str]:
    """Why the last model is kept; nothing if the new one takes its place."""
    return [text for rule in RULES for text in rule(found, section)]


def _not_converged(found: Comparison, section: RefitSection) -> Iterator[str]:
    if not found.converged:
        yield "the new fit did not converge: raise model.max_iter, or model.tol"


def _died(found: Comparison, section: RefitSection) -> Iterator[str]:
    if found.died:
        one = len(found.died) == 1
        names = ", ".join(map(str, found.died))
        yield f"component{'' if one else 's'} {names} of the new fit had too few rows and died out"


def _drifted(found: Comparison, section: RefitSection) -> Iterator[str]:
    if section.max_drift is not None and found.drift > section.max_drift:
        yield (
            f"the rows are {found.drift:.4g} nats per row less likely than those of the last fit (refit.max_drift is "
            f"{section.max_drift:g}): look at the rows, and if they are right, raise it once"
        )


def _moved(found: Comparison, section: RefitSection) -> Iterator[str]:
    if section.max_distance is None or not found.same_size:
        return
    far = [
        (a, d) for (a, _), d in zip(found.match.pairs, found.match.distances, strict=True) if d > section.max_distance
    ]
    if far:
        one = len(far) == 1
        shown = ", ".join(str(number) for number, _ in far[:_NAMED]) + ", ..." * (len(far) > _NAMED)
        yield (
            f"component{'' if one else 's'} {shown} {'is' if one else 'are'} not found again: Hellinger distance "
            f"{max(d for _, d in far):.3f} (refit.max_distance is {section.max_distance:g}): look at the rows, and if "
            "they are right, raise it once"
        )


def _no_better(found: Comparison, section: RefitSection) -> Iterator[str]:
    needed = found.needed(section)
    if found.gain < -needed:
        yield f"the new model is worse by {-found.gain:.3g} nats per row"
    elif found.gain <= needed:
        yield (
            f"nothing has changed: {found.gain:+.3g} nats per row, and chance gives up to {needed:.3g}"
            if (section.min_gain == "auto")
            else f"the gain is {found.gain:+.3g} nats per row, and refit.min_gain is {needed:g}"
        )


RULES: tuple[Callable[[Comparison, RefitSection], Iterator[str]], ...] = (
    _not_converged,
    _died,
    _drifted,
    _moved,
    _no_better,
)
