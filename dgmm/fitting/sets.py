"""The three sets of a scan, and EM over them: ExtendedEM."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.fitting.start import ArrayPass
from dgmm.mixture.kernel import StatisticsMap
from dgmm.mixture.summaries import about_origin

if TYPE_CHECKING:
    from dgmm.fitting.problem import FitProblem
    from dgmm.fitting.scanning import BFRState
    from dgmm.mixture.compiled import CompiledMixture
    from dgmm.mixture.parameters import MixtureParameters
    from dgmm.mixture.retaining import RetainedRows
    from dgmm.mixture.statistics import SufficientStatistics
    from dgmm.mixture.summaries import Summaries
    from dgmm.typing import FloatArray


def statistics_of(rows: RetainedRows, compiled: CompiledMixture) -> SufficientStatistics:
    """Statistics of rows in memory, about 0."""
    statistics = ArrayPass(rows.rows, rows.weights)(StatisticsMap(compiled))
    return about_origin(statistics, compiled.family.form)


@dataclass(frozen=True)
class Sets:
    """The three sets as the E-step sees them, with what is needed to weigh them.

    Attributes
    ----------
    problem : FitProblem
    discard, compressed : Summaries
    entropy : float
    retained : RetainedRows
    """

    problem: FitProblem
    discard: Summaries
    entropy: float
    compressed: Summaries
    retained: RetainedRows

    @classmethod
    def of(cls, problem: FitProblem, state: BFRState) -> Sets:
        """The sets of a state after the start."""
        if state.discard is None or state.compressed is None:
            raise AssertionError("the scan has not begun")
        return cls(problem, state.discard, state.entropy, state.compressed, state.retained)

    def compile(self, parameters: MixtureParameters) -> CompiledMixture:
        """Make parameters ready for rows; a tied family's second moments are summed too."""
        return self.problem.compile(parameters, whole_density=True)

    def statistics(self, parameters: MixtureParameters, compiled: CompiledMixture) -> SufficientStatistics:
        """The E-step over the sets; its log-likelihood is a lower bound of that of the rows they stand for.

        Notes
        -----
        Discarded rows keep the responsibilities that they left with: Neal and Hinton (1998), "A
        view of the EM algorithm that justifies incremental, sparse, and other variants", whose free
        energy this is. So the bound is the log-likelihood itself when a row leaves, and no step
        lowers the sum.
        """
        family, coordinates = self.problem.family, self.problem.coordinates
        discarded = replace(
            self.discard.as_statistics(),
            log_likelihood=self.discard.expected(family, parameters, coordinates) + self.entropy,
        )
        merged = discarded.merge(self.compressed.statistics(family, parameters, coordinates))
        return merged.merge(statistics_of(self.retained, compiled)) if len(self.retained) else merged

    def joined(self, i: int, j: int) -> Sets:
        """The sets after components i and j became one, at place i; place j is empty."""
        groups = np.arange(len(self.discard))
        groups[j] = i
        weight = self.discard.weight[[i, j]]
        lost = _two_way_entropy(weight)
        return replace(self, discard=self.discard.gathered(groups, len(groups)), entropy=self.entropy - lost)


def _two_way_entropy(weight: FloatArray) -> float:
    """What rows lose of their entropy, at most, when two components of these weights (2,) become one."""
    total = float(weight.sum())
    used = weight[weight > 0.0]
    return float(-np.sum(used * np.log(used / total))) if total > 0.0 else 0.0


def maximise(problem: FitProblem, statistics: SufficientStatistics, previous: MixtureParameters) -> MixtureParameters:
    """The M-step; components without rows get weight 0 and stay where they are."""
    starved = problem.starved(statistics.weight)
    return problem.family.estimate(statistics, problem.coordinates, problem.reg_covar, kept=starved, previous=previous)
