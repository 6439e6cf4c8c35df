"""One scan of hard clusters, in rounds: BFR as it was first meant.

In each round the rows within a radius of their nearest cluster join it, and are kept as its sums.
The others are clustered: tight sets become sums of their own, the rest are retained. A cluster
that has no place of its own may move to them; what is left at the end joins its nearest cluster.

Bradley, Fayyad and Reina (1998), "Scaling clustering algorithms to large databases", KDD;
Leskovec, Rajaraman and Ullman, Mining of Massive Datasets (2nd edition, 2014), section 7.3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import DataError
from dgmm.fitting.events import RoundFinished
from dgmm.fitting.hard_start import check_reach, start_clusters
from dgmm.fitting.scanning import Purpose
from dgmm.fitting.start import ArrayPass
from dgmm.mixture.clusters import FAMILY, Merging, closest, merge_groups
from dgmm.mixture.compression import merge_while_tight, tight_groups
from dgmm.mixture.retaining import RowsMap
from dgmm.mixture.seeding import kmeans, nearest_centres
from dgmm.mixture.summaries import Summaries

if TYPE_CHECKING:
    from dgmm.fitting.driving import Reads
    from dgmm.fitting.hard_scanning import HardSetup, HardState
    from dgmm.typing import Array, IntArray

# Compressed sets that are kept, at most, for each cluster.
_COMPRESSED_PER_CLUSTER = 10
# Tight groups are looked for whenever so many rows have come, in units of the buffer.
_UNSEEN = 0.1
# Two clusters become one for the sake of rows that would cost so much more to join one.
_WORTH = 2.0


@dataclass(frozen=True)
class HardScan:
    """The algorithm of a scan, told everything but its rows.

    Attributes
    ----------
    setup : HardSetup
    """

    setup: HardSetup

    @classmethod
    def of(cls, setup: HardSetup, seed: int) -> HardScan:
        """The scan with a seed."""
        return cls(replace(setup, seed=seed))

    def round(self, state: HardState) -> Reads[HardState]:
        """Take the rows of a round; before the start they are gathered until there are ``batch_rows``.

        Raises
        ------
        DataError
            If squares of rows overflow.
        """
        setup, state = self.setup, replace(state, n_rounds=state.n_rounds + 1)
        if state.sets is None:
            gathered = state.retained.joined((yield RowsMap()))
            state = replace(state, retained=gathered, n_rows=len(gathered))
            enough = max(setup.batch_rows, setup.n_clusters)
            return start_clusters(setup, state) if len(gathered) >= enough else state
        radius_squared = setup.radius_squared(state.n_features)
        assigned = yield state.assigning(setup, radius_squared, state.sets.exponent)
        check_reach(state.begun.coordinates.standardize(assigned.outside.rows))
        state = replace(
            state,
            n_rows=state.n_rows + assigned.n_rows,
            weight=state.weight + assigned.weight,
            n_unseen=state.n_unseen + len(assigned.outside),
        )
        state = state.grown(Summaries.of_statistics(assigned.inside, FAMILY))
        state = state.keeping(retained=state.retained.joined(assigned.outside))
        state = _join(setup, state, radius_squared)
        if state.n_unseen > _UNSEEN * setup.buffer_rows:
            state = _compress(setup, _promote(setup, state))
        return _within_bounds(setup, state)

    def finish(self, state: HardState) -> HardState:
        """Begin, if there were few rows; raises DataError if there are fewer than clusters."""
        if state.sets is not None:
            return state
        m, k = len(state.retained), self.setup.n_clusters
        if m < k:
            raise DataError(
                f"Found array with {m} sample(s) (n_samples={m}) whose weight is not zero, for n_clusters={k}; "
                "expected at least one row for each cluster: give more rows or decrease n_clusters"
            )
        return start_clusters(self.setup, state)

    def event(self, state: HardState, seconds: float) -> RoundFinished:
        """What is told after a round."""
        return RoundFinished(
            round=state.n_rounds,
            n_rows=state.n_rows,
            n_retained=len(state.retained),
            n_compressed=0 if state.sets is None else len(state.sets.compressed),
            n_moved=state.n_moved,
            lower_bound=None,
            settled=False,
            seconds=seconds,
        )

    def ended(self, state: HardState) -> HardState:
        """The state in which everything that is left has joined its nearest cluster; raises DataError as a start."""
        return _join(self.setup, _promote(self.setup, self.finish(state)), np.inf)


def _join(setup: HardSetup, state: HardState, radius_squared: float) -> HardState:
    """Let compressed sets and retained rows within a radius of their nearest cluster join it, sets by their means."""
    sets = state.begun
    if len(sets.compressed):
        labels, squared = closest(sets.compressed, sets.clusters)
        inside = squared < radius_squared
        own = sets.compressed.take(inside).gathered(labels[inside], setup.n_clusters)
        state = state.keeping(compressed=sets.compressed.take(~inside)).grown(own)
    held = state.retained
    if len(held):
        assigned = ArrayPass(held.rows, held.weights)(state.assigning(setup, radius_squared))
        state = state.keeping(retained=assigned.outside)
        state = state.grown(Summaries.of_statistics(assigned.inside, FAMILY))
    return state


def _compress(setup: HardSetup, state: HardState) -> HardState:
    """Make tight groups of retained rows compressed sets, and merge sets that are tight together."""
    sets, held = state.begun, state.retained
    z, rng = sets.coordinates.standardize(held.rows), setup.random(Purpose.COMPRESSION, state.n_rounds)
    tight, packed = tight_groups(z, held.weights, FAMILY, sets.clusters, setup.tightness, rng)
    merged = merge_while_tight(sets.compressed.joined(tight), FAMILY, sets.clusters, setup.tightness)
    return replace(state.keeping(compressed=merged, retained=held.take(~packed)), n_unseen=0)


def _promote(setup: HardSetup, state: HardState) -> HardState:
    """Let clusters be made of what is in none, in the place of those that are empty, or nearly one with another.

    Retained rows and compressed sets are clustered, by k-means and mergers as at the start. The cluster that would
    cost most to join another comes first; what is then within the radius of a cluster joins it. What would cost
    nothing is a cluster's own tail, and joins it: without its tails a cluster's width would shrink from round to round.
    """
    k, radius_squared = setup.n_clusters, setup.radius_squared(state.n_features)
    for number in range(k):
        sets, held = state.begun, state.retained
        means = np.concatenate([sets.coordinates.standardize(held.rows), sets.compressed.means])
        weights = np.concatenate([held.weights, sets.compressed.weight])
        count = min(2 * k, len(means))
        if not count:
            break
        rng = setup.random(Purpose.MOVES, k * state.n_rounds + number)
        groups = nearest_centres(means, kmeans(means, weights, count, rng))
        groups = np.unique(groups, return_inverse=True)[1]
        found = _sums(state, groups, int(groups.max()) + 1)
        merged = merge_groups(found, state.row)
        groups, found = merged[groups], found.gathered(merged, int(merged.max()) + 1)
        merging = Merging(sets.discard.joined(found), state.row)
        between, used = merging.costs(k), np.flatnonzero(sets.discard.weight > 0.0)
        i, j = sorted(divmod(int(between.argmin()), k))
        joining = np.array([merging.cost(c, used).min() for c in range(k, len(merging.sums))])
        chosen = int(joining.argmax())
        if not joining[chosen] > max(_WORTH * between[i, j], 0.0):
            tails = (joining <= 0.0)[groups]
            return _leave(setup, state, tails[: len(held)], tails[len(held) :])
        merging.join(i, j)
        merging.join(j, k + chosen)
        left = groups != chosen
        state = state.keeping(sets.compressed.take(left[len(held) :]), held.take(left[: len(held)]))
        state = replace(state, n_moved=state.n_moved + 1).with_clusters(merging.sums.take(np.arange(k)))
        state = _join(setup, state, radius_squared)
    return state


def _sums(state: HardState, groups: IntArray, count: int) -> Summaries:
    """Sums of groups of the retained rows and, behind them, the compressed sets."""
    sets, held = state.begun, state.retained
    z = sets.coordinates.standardize(held.rows)
    rows = Summaries.of_groups(FAMILY, z, held.weights, groups[: len(held)], count)
    return rows.plus(sets.compressed.gathered(groups[len(held) :], count))


def _within_bounds(setup: HardSetup, state: HardState) -> HardState:
    """Let the nearest rows and the smallest sets join clusters, where more are kept than may be."""
    sets, held = state.begun, state.retained
    most = _COMPRESSED_PER_CLUSTER * setup.n_clusters
    rows, small = np.zeros(len(held), dtype=bool), np.zeros(len(sets.compressed), dtype=bool)
    if len(held) > setup.buffer_rows:
        squared = state.assigning(setup).judge(held.rows)[1]
        rows[np.argsort(-squared, kind="stable")[setup.buffer_rows :]] = True
    if len(small) > most:
        small[np.argsort(-sets.compressed.weight, kind="stable")[most:]] = True
    return _leave(setup, state, rows, small)


def _leave(setup: HardSetup, state: HardState, rows: Array, compressed: Array) -> HardState:
    """Let some of the retained rows, (m,) bool, and of the compressed sets, (s,) bool, join their nearest clusters."""
    sets, held = state.begun, state.retained
    joined = _join(setup, state.keeping(sets.compressed.take(compressed), held.take(rows)), np.inf)
    return joined.keeping(sets.compressed.take(~compressed), held.take(~rows))
