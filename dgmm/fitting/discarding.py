"""The end of a round: which rows are retained, which are summed up, and how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.fitting.scanning import Purpose
from dgmm.fitting.sets import maximise, statistics_of
from dgmm.mixture.compression import merge_while_tight, tight_groups
from dgmm.mixture.retaining import Appraisal, Discarded, DiscardMap, RetainedRows
from dgmm.mixture.summaries import Summaries, about_origin

if TYPE_CHECKING:
    from dgmm.fitting.problem import FitProblem
    from dgmm.fitting.scanning import BFRSetup, BFRState
    from dgmm.fitting.sets import Sets
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.mixture.parameters import Coordinates, MixtureParameters
    from dgmm.mixture.statistics import SufficientStatistics
    from dgmm.typing import Array, FloatArray, IntArray

# Compressed subclusters that are kept, at most, for each component.
_COMPRESSED_PER_COMPONENT = 10
# Rows of a round that are examined for doubt, in units of those that the buffer takes.
_EXAMINED = 1.0


def discard_map(
    setup: BFRSetup, problem: FitProblem, parameters: MixtureParameters, number: int, n_rows: int
) -> DiscardMap:
    """The last map of the round of a given number, over so many rows."""
    control = setup.control
    hard = control.primary == "mahalanobis"
    return DiscardMap(
        Appraisal.of(problem.compile(parameters, whole_density=True), parameters),
        control.buffer_rows,
        control.seed,
        number,
        min(1.0, _EXAMINED * control.buffer_rows / n_rows),
        DiscardMap.radius_squared_of(control.primary_fraction, problem.n_features) if hard else 0.0,
        problem.exponent,
    )


@dataclass(frozen=True)
class _Pile:
    """A discard set that grows.

    Attributes
    ----------
    family : CovarianceFamily
    parameters : MixtureParameters
        What rows are weighed by that leave.
    coordinates : Coordinates
    discard : Summaries
    entropy : float
    """

    family: CovarianceFamily
    parameters: MixtureParameters
    coordinates: Coordinates
    discard: Summaries
    entropy: float

    def softly(self, statistics: SufficientStatistics, sign: float = 1.0) -> _Pile:
        """Add rows of which the E-step is given, or take them out again.

        Their log-likelihood is the expected one of rows and components, plus the entropy.
        """
        own = Summaries.of_statistics(statistics, self.family)
        entropy = statistics.log_likelihood - own.expected(self.family, self.parameters, self.coordinates)
        return replace(self, discard=self.discard.plus(own, sign), entropy=self.entropy + sign * entropy)

    def whole(self, groups: Summaries) -> _Pile:
        """Add rows that belong to one component each, (K,) sums."""
        if self.family.tied:
            groups = replace(groups, second=groups.second.sum(axis=0, keepdims=True))
        return replace(self, discard=self.discard.plus(groups))

    def summaries(self, leaving: Summaries) -> _Pile:
        """Add summaries, each by its posterior."""
        shares = leaving.posterior(self.family, self.parameters)[0]
        own = Summaries(shares.T @ leaving.weight, shares.T @ leaving.first, shares.T @ leaving.second)
        logarithms = np.log(np.where(shares > 0.0, shares, 1.0))
        entropy = -float(leaving.weight @ np.sum(shares * logarithms, axis=1))
        return replace(self.whole(own), entropy=self.entropy + entropy)


@dataclass(frozen=True)
class _Choice:
    """What becomes of the rows of a pool; each is in one of them, or leaves softly.

    Attributes
    ----------
    order : (b,) int64
        Those that are retained, the most doubtful first.
    stays, packed, inside : (m,) bool
        Retained; in a subcluster; discarded to one component.
    """

    order: IntArray
    stays: Array
    packed: Array
    inside: Array


def settle(
    setup: BFRSetup,
    state: BFRState,
    sets: Sets,
    parameters: MixtureParameters,
    discard: DiscardMap,
    discarded: Discarded,
    total: float,
) -> BFRState:
    """Sum up the rows of a round.

    Parameters
    ----------
    setup : BFRSetup
    state : BFRState
        Before the round.
    sets : Sets
        Those that the round began with.
    parameters : MixtureParameters
        In inner coordinates, what the rows were read with.
    discard : DiscardMap
        That they were read with.
    discarded : Discarded
        Of the rows of the round.
    total : float
        Weight of all rows.

    Returns
    -------
    BFRState
        With new sets, the bound of ``parameters``, and the M-step from them, which costs nothing more.
    """
    problem = sets.problem
    family, coordinates = problem.family, problem.coordinates
    compiled = discard.appraisal.compiled
    hard, soft = (about_origin(part, family.form) for part in (discarded.hard, discarded.soft))
    groups = Summaries.of_statistics(hard, family)
    hard = replace(hard, log_likelihood=groups.expected(family, parameters, coordinates))
    whole = soft.merge(hard).merge(sets.statistics(parameters, compiled))

    sample, n_old = discarded.candidates.smallest(), len(sets.retained)
    pool = sets.retained.joined(RetainedRows(sample.rows, sample.weights))
    verdict = discard.appraisal(sets.retained.rows)
    doubt = np.concatenate([verdict.doubt, -sample.keys])
    # Rows of the round that lie inside are in ``hard``.
    inside = np.concatenate([verdict.squared < discard.radius_squared, np.zeros(len(sample.keys), dtype=bool)])
    choice, compressed = _choose(
        setup, sets, parameters, pool, doubt, inside, setup.random(Purpose.COMPRESSION, state.n_rounds)
    )
    pile = _Pile(family, parameters, coordinates, sets.discard, sets.entropy).softly(soft).whole(groups)
    leaving = ~(choice.stays | choice.packed | choice.inside)
    is_new = np.arange(len(pool)) >= n_old
    for rows, sign in ((is_new & ~leaving, -1.0), (~is_new & leaving, 1.0)):
        if rows.any():
            pile = pile.softly(statistics_of(pool.take(np.flatnonzero(rows)), compiled), sign)
    if inside.any():
        z = coordinates.standardize(pool.rows[inside])
        pile = pile.whole(
            Summaries.of_groups(family, z, pool.weights[inside], verdict.labels[inside[:n_old]], setup.n_components)
        )
    most = _COMPRESSED_PER_COMPONENT * setup.n_components
    if len(compressed) > most:
        order = np.argsort(-compressed.weight, kind="stable")
        pile = pile.summaries(compressed.take(order[most:]))
        compressed = compressed.take(np.sort(order[:most]))
    return replace(
        state,
        retained=pool.take(choice.order),
        n_strange=int(np.count_nonzero(doubt[choice.order] >= 1.0)),
        parameters=maximise(problem, whole, parameters),
        discard=pile.discard,
        entropy=max(pile.entropy, 0.0),
        compressed=compressed,
        lower_bound=whole.log_likelihood / total,
    )


def _choose(
    setup: BFRSetup,
    sets: Sets,
    parameters: MixtureParameters,
    pool: RetainedRows,
    doubt: FloatArray,
    inside: Array,
    rng: np.random.RandomState,
) -> tuple[_Choice, Summaries]:
    """Choose what becomes of the rows of a pool; also the compressed set that comes of it.

    Secondary compression is of strange rows, so that the buffer keeps room for doubtful ones; under
    the rule of Mahalanobis, of all that are left.
    """
    control, family = setup.control, setup.family
    soft = control.primary == "certain"
    crowd = np.flatnonzero(doubt >= 1.0 if soft else ~inside)
    packed, compressed = np.zeros(len(pool), dtype=bool), sets.compressed
    if len(crowd) > control.buffer_rows // (2 if soft else 1):
        z = sets.problem.coordinates.standardize(pool.rows[crowd])
        tight, chosen = tight_groups(z, pool.weights[crowd], family, parameters, control.secondary_tightness, rng)
        packed[crowd[chosen]] = True
        compressed = merge_while_tight(compressed.joined(tight), family, parameters, control.secondary_tightness)
    left = np.flatnonzero(~packed & ~inside)
    order = left[np.argsort(-doubt[left], kind="stable")][: control.buffer_rows]
    stays = np.zeros(len(pool), dtype=bool)
    stays[order] = True
    return _Choice(order, stays, packed, inside), compressed
