"""EM in memory on a part of the rows, extrapolated: from a start, or from what a read of all rows gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import IllDefinedCovarianceError
from dgmm.mixture.calibration import Calibration
from dgmm.mixture.extrapolation import Anderson, from_vector, to_vector
from dgmm.mixture.marginal import e_step

if TYPE_CHECKING:
    from dgmm.fitting.problem import FitProblem
    from dgmm.mixture.chunks import RunPass
    from dgmm.mixture.parameters import MixtureParameters
    from dgmm.mixture.sampling import RowSample
    from dgmm.mixture.statistics import SufficientStatistics
    from dgmm.typing import Array

# Steps that Anderson's extrapolation looks back on.
_MEMORY = 10
# How far it may go beyond a step, in any entry of the vector (logarithms, or units of the data's spread).
_FAR = 10.0
# Converged: so many steps rise by less than this share of the sampling error. There are plateaus.
_STRIDE = 20
_SMALL = 1e-3


@dataclass(frozen=True)
class Part:
    """Some rows of the sample, and their EM; ``problem`` is stated for these rows alone."""

    problem: FitProblem
    run_pass: RunPass

    @classmethod
    def of(cls, problem: FitProblem, rows: RowSample, run_on_sample: Callable[[RowSample], RunPass]) -> Part:
        """State the problem for some rows, and have them read."""
        # Differences of likelihoods are wanted to more digits than float32 products keep.
        return cls(replace(problem.on_rows(rows), dtype=np.dtype(np.float64)), run_on_sample(rows))

    def statistics(self, parameters: MixtureParameters) -> SufficientStatistics:
        """The E-step."""
        compiled = self.problem.compile(parameters)
        return self.problem.complete(compiled, self.run_pass(e_step(compiled)), parameters)

    def estimate(
        self, statistics: SufficientStatistics, previous: MixtureParameters, dead: Array
    ) -> MixtureParameters | None:
        """M-step; None where these rows are too few for one."""
        if (self.problem.starved(statistics.weight) & ~dead).any():
            return None
        try:
            return self.problem.family.estimate(
                statistics, self.problem.coordinates, self.problem.reg_covar, kept=dead, previous=previous
            )
        except IllDefinedCovarianceError:
            return None


class Climb:
    """Calibrated EM on a part of the sample, from the M-step of all the rows onwards, accelerated.

    Attributes
    ----------
    parameters : MixtureParameters
        After ``n_steps`` steps, each one pass over the part.
    value : float
        Surrogate likelihood of them by the part's own rows, in nats a row.
    """

    def __init__(self, part: Part, calibration: Calibration, at: MixtureParameters, dead: Array) -> None:
        self._part, self._calibration, self._dead = part, calibration, dead
        self._mixing, self._stride = Anderson(_MEMORY), 1.0
        self._mixing.next(to_vector(at), to_vector(calibration.whole))
        self.parameters, self.n_steps = calibration.whole, 1
        self._statistics = part.statistics(self.parameters)
        self.value = self._valued(self._statistics, self.parameters)

    def advance(self, n_steps: int) -> bool:
        """Go on until there are so many steps; False where the rows are too few for it."""
        while self.n_steps < n_steps:
            own = self._part.estimate(self._statistics, self.parameters, self._dead)
            if own is None:
                return False
            image = self._calibration.correct(own)
            point, there = to_vector(self.parameters), to_vector(image)
            trial, step = self._mixing.next(point, there), there - point
            away = (trial - point) @ step <= 0.0
            if away:  # it heads back for a saddle that EM is leaving
                trial = there + self._stride * step
            risen = np.abs(trial - there).max() <= _FAR and self._rises(from_vector(trial, image))
            if away:
                self._stride *= 2.0 if risen else 0.25
            if not risen:
                self._mixing.forget()
                self._go(image)
        return True

    def _rises(self, parameters: MixtureParameters) -> bool:
        """Go there if the surrogate likelihood is not lower."""
        before = self.parameters, self._statistics, self.value
        self._go(parameters)
        if self.value >= before[2]:
            return True
        self.parameters, self._statistics, self.value = before
        return False

    def _go(self, parameters: MixtureParameters) -> None:
        self.parameters, self._statistics = parameters, self._part.statistics(parameters)
        self.value = self._valued(self._statistics, parameters)
        self.n_steps += 1

    def _valued(self, statistics: SufficientStatistics, parameters: MixtureParameters) -> float:
        return statistics.mean_log_likelihood + self._calibration.difference(parameters)

    def judge(self, parameters: MixtureParameters) -> float:
        """Surrogate likelihood of other parameters by these rows, in nats a row."""
        return self._valued(self._part.statistics(parameters), parameters)


def converge(
    part: Part, at: MixtureParameters, dead: Array, most: int, small: float = _SMALL
) -> tuple[MixtureParameters, int]:
    """Go on to the optimum of a part of the rows.

    Parameters
    ----------
    part : Part
    at : MixtureParameters
    dead : (K,) bool
        Components that stay as they are.
    most : int
        Steps at most.
    small : float
        What twenty steps gain at least, in units of the sampling error.

    Returns
    -------
    parameters : MixtureParameters
    n_steps : int
    """
    own = part.estimate(part.statistics(at), at, dead)
    if own is None:
        return at, 1
    climb = Climb(part, Calibration(part.problem.family, own, own), at, dead)
    enough, before = small * part.problem.sampling_error, -np.inf
    while climb.value - before > enough and climb.n_steps < most:
        before = climb.value
        if not climb.advance(min(climb.n_steps + _STRIDE, most)):
            break
    return climb.parameters, climb.n_steps
