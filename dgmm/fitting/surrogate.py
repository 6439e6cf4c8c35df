"""What the sample, corrected by the last read of all the rows, says of where to read next.

A read at theta_0 gives the M-step of all the rows there. EM on the sample, calibrated so that its
M-step at theta_0 is that one (:mod:`dgmm.mixture.calibration`), goes on from there in memory. Near
the optimum its error after many steps is ``(I - J_s)^-1 (J_f - J_s)`` times the one before, with J
the derivative of the EM map on the sample and on all the rows: where components overlap, I - J_s
is nearly singular and the sample's noise is magnified. So it is stopped early, and where is decided
by cross-validation: two halves of the sample go their own ways, each calibrated to the same read,
and each is judged by the other's surrogate likelihood. A half errs with twice the variance of the
whole sample, so that what holds for both is on the safe side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dgmm.fitting.climb import Climb, Part
from dgmm.mixture.calibration import Calibration
from dgmm.mixture.sampling import RowSample

if TYPE_CHECKING:
    from dgmm.fitting.problem import FitProblem
    from dgmm.mixture.chunks import RunPass
    from dgmm.mixture.parameters import MixtureParameters
    from dgmm.typing import Array

# Numbers of steps after which the halves are compared.
_CHECKPOINTS = (1, 2, 3, 5, 8, 12, 18, 27, 40)
# Rows that a proposal may go through in memory, in reads of all the rows (an extrapolation that fails
# may add a step); what it needs besides its steps, in samples; and the fewest steps worth their while.
_BUDGET = 6.0
_OVERHEAD = 9
_FEWEST_STEPS = 7
# Further steps are not worth their while if they add less than this share of the rise so far, and
# of the sampling error.
_SMALL = 0.05


@dataclass(frozen=True)
class Proposal:
    """Where to read next.

    Attributes
    ----------
    parameters : MixtureParameters
        In inner coordinates.
    rise : float or None
        Expected rise of the mean log-likelihood from where the last read was, in nats a row; None
        where the sample has too few rows to tell.
    n_steps : int
        EM steps up to there; 1 is the EM step itself.
    """

    parameters: MixtureParameters
    rise: float | None
    n_steps: int


class Surrogate:
    """Proposes where to read next.

    Attributes
    ----------
    sample : Part
        The whole sample.

    Parameters
    ----------
    problem : FitProblem
    run_on_sample : callable
        Makes a runner of passes over sampled rows.
    max_steps : int
        EM steps of a proposal, at most.
    """

    def __init__(
        self, problem: FitProblem, run_on_sample: Callable[[RowSample], RunPass], max_steps: int = _CHECKPOINTS[-1]
    ) -> None:
        self._max_steps = max_steps
        self._sampling_error = problem.sampling_error
        sample = problem.sample
        half = len(sample.rows) // 2  # ordered by random keys
        cuts = (slice(None), slice(0, half), slice(half, None))
        self.sample, *self._halves = (
            Part.of(
                problem, RowSample(sample.size, sample.keys[cut], sample.rows[cut], sample.weights[cut]), run_on_sample
            )
            for cut in cuts
        )

    @classmethod
    def of(cls, problem: FitProblem, n_rows: int, run_on_sample: Callable[[RowSample], RunPass]) -> Surrogate | None:
        """The surrogate for a sample of ``n_rows`` rows; None if the sample is too large a part of them.

        A proposal goes through about as many rows as six reads of the data would, at most. A sample
        with less than two rows a component is none to ask.
        """
        samples = _BUDGET * n_rows / len(problem.sample.rows)
        max_steps = int(samples - _OVERHEAD) // 2
        if max_steps < _FEWEST_STEPS or len(problem.sample.rows) < 2 * problem.n_components:
            return None
        return cls(problem, run_on_sample, min(max_steps, _CHECKPOINTS[-1]))

    def propose(
        self, at: MixtureParameters, em_step: MixtureParameters, dead: Array, reach: int | None = None
    ) -> Proposal:
        """Propose where to read after a read.

        Parameters
        ----------
        at : MixtureParameters
            Where the read was.
        em_step : MixtureParameters
            What it gave.
        dead : (K,) bool
            Components that stay as they are.
        reach : int, optional
            Steps at most.
        """
        plain = Proposal(em_step, None, 1)
        most = min(self._max_steps, reach or self._max_steps)
        statistics = [half.statistics(at) for half in self._halves]
        own = [half.estimate(record, at, dead) for half, record in zip(self._halves, statistics, strict=True)]
        if any(estimate is None for estimate in own):
            return plain
        calibrations = [Calibration(self.sample.problem.family, em_step, part) for part in own if part is not None]
        before = [
            record.mean_log_likelihood + calibration.difference(at)
            for record, calibration in zip(statistics, calibrations, strict=True)
        ]
        paths = [
            Climb(half, calibration, at, dead) for half, calibration in zip(self._halves, calibrations, strict=True)
        ]
        highest, best_steps = _mean_rise([path.value for path in paths], before), 1
        for n_steps in _CHECKPOINTS[1:]:
            if n_steps > most or not all(path.advance(n_steps) for path in paths):
                break
            crossed = [path.judge(other.parameters) for path, other in zip(paths, paths[::-1], strict=True)]
            # A likelihood that rises only where it was made is noise; only elsewhere, a singularity.
            rise = min(_mean_rise(crossed, before), _mean_rise([path.value for path in paths], before))
            if not rise > highest:
                break
            small = rise - highest < _SMALL * min(highest, self._sampling_error)
            highest, best_steps = rise, n_steps
            if small:
                break
        if best_steps == 1:
            return Proposal(em_step, highest, 1)
        whole = self.sample.estimate(statistics[0].merge(statistics[1]), at, dead)
        if whole is None:
            return plain
        path = Climb(self.sample, Calibration(self.sample.problem.family, em_step, whole), at, dead)
        path.advance(best_steps)
        return Proposal(path.parameters, highest, path.n_steps)


def _mean_rise(values: list[float], before: list[float]) -> float:
    return float(np.mean([value - first for value, first in zip(values, before, strict=True)]))
