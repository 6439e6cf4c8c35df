"""One scan of the rows, in rounds: each takes some rows, and keeps only what the next one needs.

A round asks for several maps over its rows. After it the rows are summed up: those that the model
is sure of join the discard set, those that it is not sure of are retained as they are, and tight
groups that no component explains become summaries of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dgmm.fitting.climb import Part
from dgmm.fitting.driving import ManyMap, run
from dgmm.fitting.problem import FitProblem
from dgmm.fitting.reseeding import place_components
from dgmm.fitting.start import ArrayPass, Start, choose_start
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.compression import merge_while_tight, tight_groups
from dgmm.mixture.kernel import StatisticsMap
from dgmm.mixture.moments import MomentsMap
from dgmm.mixture.retaining import Appraisal, DiscardMap, DrawMap, RetainedRows, RowsMap
from dgmm.mixture.sampling import RowSample
from dgmm.mixture.sizes import Sized
from dgmm.mixture.statistics import SufficientStatistics
from dgmm.mixture.summaries import Summaries, about_origin

if TYPE_CHECKING:
    from dgmm.fitting.driving import Reads
    from dgmm.mixture.compiled import CompiledMixture, KernelOptions
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.mixture.parameters import Coordinates, MixtureParameters
    from dgmm.mixture.sampling import Candidates
    from dgmm.mixture.statistics import SufficientStatistics as Statistics
    from dgmm.typing import Array, FloatArray

# The model has settled when a sweep raises the bound by less than this share of p_free / 2 nats.
_SETTLED = 0.02
# Rows of a round that are looked at for clusters which are not there yet.
_REVIEW_ROWS = 5000
# Compressed subclusters that are kept, at most, for each component.
_COMPRESSED_PER_COMPONENT = 10
# Of the number of rounds, so that random numbers for different purposes differ.
_DRAWS = 1 << 32


@dataclass(frozen=True)
class BFRControl:
    """How a scan is made.

    Attributes
    ----------
    batch_rows : int
        Rows of a round; the first ones make the start, which is as good as they are many.
    buffer_rows : int
        Rows that are retained between rounds, at most.
    primary : "certain" or "mahalanobis"
        Which rows leave first: those that the model is most certain of, and only as many as the
        buffer needs, each weighed over the components; or all within a Mahalanobis radius of their
        most probable component, which they then belong to altogether.
    primary_fraction : float
        From 0 to 1: share of a component's own rows that lie within that radius.
    secondary_tightness : float
        Variance of a compressed subcluster, at most, in units of its nearest component's.
    forgetting : float
        In (0, 1]: what old rows' weights are multiplied by in each round.
    inner_max_iter : int
        EM iterations of a round, at most.
    seed : int
        Of all random choices.
    """

    batch_rows: int = 50_000
    buffer_rows: int = 10_000
    primary: Literal["certain", "mahalanobis"] = "certain"
    primary_fraction: float = 0.5
    secondary_tightness: float = 0.25
    forgetting: float = 1.0
    inner_max_iter: int = 10
    seed: int = 0


@dataclass(frozen=True)
class BFRSetup:
    """What is fitted, and how: all that does not change while rows arrive.

    Attributes
    ----------
    family : CovarianceFamily
    n_components : int
    reg_covar : float
        In the user's squared units.
    dtype : dtype
        Of the rows: float32 or float64.
    options : KernelOptions
    start : Start
        ``init_params`` that need no pass over the data, or the user's own parameters.
    control : BFRControl
    """

    family: CovarianceFamily
    n_components: int
    reg_covar: float
    dtype: np.dtype[Any]
    options: KernelOptions
    start: Start
    control: BFRControl

    def random(self, stream: int) -> np.random.RandomState:
        """Random numbers of their own for each purpose."""
        return np.random.RandomState([self.control.seed % 2**32, stream % 2**32, stream >> 32])


@dataclass(frozen=True)
class BFRState(Sized):
    """Where a scan is between two rounds.

    Attributes
    ----------
    retained : RetainedRows
        Before the start, all rows so far.
    parameters : MixtureParameters or None
        In inner coordinates; None before the start.
    coordinates : Coordinates or None
        Of the first rows; they stay.
    discard : Summaries or None
        (K,): what was discarded to each component.
    entropy : float
        Weighted sum, over the discarded rows, of the entropy of what they were weighed by, or less.
    compressed : Summaries or None
        Tight subclusters.
    exponent : int
        Weights are in units of ``2**exponent``.
    n_rows : int
        Rows of positive weight so far.
    n_remembered : float
        The same, each round's multiplied by ``forgetting`` in each later one.
    n_rounds : int
    n_sweeps : int
        Rows that EM's maps have gone over, each as often as it did, without the start.
    lower_bound : float or None
        Mean of the bound of the log-likelihood of all rows, in the last round, in nats per row.
    settled : bool
        Whether the last round moved the model by little.
    n_moved : int
        Components that moved to rows which none explained.
    """

    retained: RetainedRows
    parameters: MixtureParameters | None = None
    coordinates: Coordinates | None = None
    discard: Summaries | None = None
    entropy: float = 0.0
    compressed: Summaries | None = None
    exponent: int = 0
    n_rows: int = 0
    n_remembered: float = 0.0
    n_rounds: int = 0
    n_sweeps: int = 0
    lower_bound: float | None = None
    settled: bool = False
    n_moved: int = 0

    @classmethod
    def empty(cls, d: int, dtype: np.dtype[Any]) -> BFRState:
        """The state before the first round."""
        return cls(RetainedRows(np.empty((0, d), dtype=dtype), np.empty(0)))

    def forgetting(self, factor: float) -> BFRState:
        """The state with the weights of all old rows multiplied."""
        if factor == 1.0:
            return self
        return replace(
            self,
            retained=replace(self.retained, weights=factor * self.retained.weights),
            discard=None if self.discard is None else self.discard.scaled(factor),
            compressed=None if self.compressed is None else self.compressed.scaled(factor),
            entropy=factor * self.entropy,
            n_remembered=factor * self.n_remembered,
        )


def _of(rows: RetainedRows, compiled: CompiledMixture) -> Statistics:
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

    def statistics(self, parameters: MixtureParameters, compiled: CompiledMixture) -> Statistics:
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
        return merged.merge(_of(self.retained, compiled)) if len(self.retained) else merged

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


def maximise(problem: FitProblem, statistics: Statistics, previous: MixtureParameters) -> MixtureParameters:
    """The M-step; components without rows get weight 0 and stay where they are."""
    starved = statistics.weight * problem.rows_per_weight < problem.min_rows
    return problem.family.estimate(
        statistics, problem.coordinates, problem.reg_covar, kept=starved, previous=previous
    )


def problem_of(setup: BFRSetup, state: BFRState, total_weight: float, n_rows: float) -> FitProblem:
    """The problem of all rows so far, for a state after the start."""
    if state.coordinates is None:
        raise AssertionError("the scan has not begun")
    d = len(state.coordinates.shift)
    nothing = RowSample(0, np.empty(0), np.empty((0, d)), np.empty(0))
    return FitProblem(
        setup.family,
        setup.n_components,
        state.coordinates,
        setup.reg_covar,
        setup.dtype,
        setup.options,
        state.exponent,
        max(float(np.ldexp(total_weight, state.exponent)), n_rows),
        total_weight,
        np.zeros((1, setup.family.form.packed_size(d))),
        nothing,
    )


def start_scan(setup: BFRSetup, state: BFRState) -> BFRState:
    """Begin with the rows that the state holds: coordinates, parameters, and the three sets.

    Raises
    ------
    IllDefinedCovarianceError
        If a covariance is not positive definite.
    """
    rows, d = state.retained, state.retained.rows.shape[1]
    moments = MomentsMap(setup.control.seed, len(rows))(rows.rows, rows.weights, Chunk(0, 0, len(rows)))
    problem = FitProblem.of(
        setup.family, setup.n_components, moments, setup.reg_covar, setup.dtype, setup.options
    )

    def on_sample(sample: RowSample) -> ArrayPass:
        return ArrayPass(sample.rows, sample.weights)

    part = Part.of(problem, problem.sample, on_sample)
    chosen = choose_start(problem, setup.start, len(rows) + 1, on_sample, setup.random(0), part)
    parameters, _ = run(chosen, on_sample(problem.sample))
    exponent = moments.exponent
    weights = np.ldexp(rows.weights, -exponent)
    begun = replace(
        state,
        retained=rows.take(np.empty(0, dtype=np.int64)),
        parameters=parameters,
        coordinates=problem.coordinates,
        discard=_no_discards(setup, d),
        compressed=Summaries.none(setup.family, d),
        exponent=exponent,
    )
    total = float(weights.sum())
    problem = problem_of(setup, begun, total, state.n_remembered)
    sets = Sets.of(problem, begun)
    discarded = ArrayPass(rows.rows, weights)(_discard_map(setup, replace(sets.problem, exponent=0), parameters))
    return _settle(setup, begun, sets, parameters, discarded, total)


def _no_discards(setup: BFRSetup, d: int) -> Summaries:
    k = setup.n_components
    q = setup.family.form.packed_size(d)
    return Summaries(np.zeros(k), np.zeros((k, d)), np.zeros((setup.family.n_covariances(k), q)))


def _discard_map(setup: BFRSetup, problem: FitProblem, parameters: MixtureParameters) -> DiscardMap:
    control = setup.control
    hard = control.primary == "mahalanobis"
    return DiscardMap(
        Appraisal.of(problem.compile(parameters, whole_density=True), parameters),
        control.buffer_rows,
        DiscardMap.radius_squared_of(control.primary_fraction, problem.n_features) if hard else 0.0,
        problem.exponent,
    )


def bfr_round(setup: BFRSetup, state: BFRState) -> Reads[BFRState]:
    """One round: yields maps over its rows, and returns the state after it.

    Before the start the rows are only gathered; the scan starts as soon as there are enough.

    Parameters
    ----------
    setup : BFRSetup
    state : BFRState

    Raises
    ------
    IllDefinedCovarianceError
        If a covariance is not positive definite.
    """
    state = replace(state.forgetting(setup.control.forgetting), n_rounds=state.n_rounds + 1)
    if state.parameters is None:
        gathered = state.retained.joined((yield RowsMap()))
        n_new = len(gathered) - len(state.retained)
        state = replace(
            state, retained=gathered, n_rows=state.n_rows + n_new, n_remembered=state.n_remembered + n_new
        )
        enough = len(gathered) >= setup.control.batch_rows
        return start_scan(setup, state) if enough else state
    return (yield from _round(setup, state, state.parameters))


def _round(setup: BFRSetup, state: BFRState, parameters: MixtureParameters) -> Reads[BFRState]:
    control = setup.control
    old = problem_of(setup, state, 1.0, 1.0)
    sets = Sets.of(old, state)
    compiled = sets.compile(parameters)
    draw = DrawMap(_REVIEW_ROWS, control.seed, state.n_rounds, state.exponent)
    batch, drawn = (yield ManyMap((StatisticsMap(compiled, state.exponent), draw))).records
    total = batch.total_weight + sets.discard.total_weight + sets.compressed.total_weight
    total += float(state.retained.weights.sum())
    n_new = batch.n_rows
    if not n_new:
        return state
    n_remembered = state.n_remembered + n_new
    problem = problem_of(setup, state, total, n_remembered)
    sets, n_sweeps = replace(sets, problem=problem), 1
    parameters, sets, n_moved = _reseed(setup, state, sets, parameters, drawn, batch.total_weight)
    if n_moved:
        compiled = sets.compile(parameters)
        batch = yield StatisticsMap(compiled, state.exponent)
        n_sweeps += 1
    n_free = problem.family.n_parameters(problem.n_components, problem.n_features)
    small = _SETTLED * 0.5 * n_free / problem.rows_per_weight
    settled = state.settled and not n_moved
    bound = -np.inf
    for number in range(control.inner_max_iter):
        if number:
            batch = yield StatisticsMap(compiled, state.exponent)
            n_sweeps += 1
        whole = about_origin(batch, problem.family.form).merge(sets.statistics(parameters, compiled))
        parameters = maximise(problem, whole, parameters)
        compiled = sets.compile(parameters)
        rise, bound = whole.log_likelihood - bound, whole.log_likelihood
        if rise < small or settled:
            break
    discarded = yield _discard_map(setup, problem, parameters)
    n_sweeps += 1
    after = _settle(setup, state, sets, parameters, discarded, total)
    last = (after.lower_bound or 0.0) * total
    return replace(
        after,
        settled=last - bound < small,
        n_rows=state.n_rows + n_new,
        n_remembered=n_remembered,
        n_sweeps=state.n_sweeps + n_sweeps * n_new,
        n_moved=state.n_moved + n_moved,
    )


def _reseed(
    setup: BFRSetup,
    state: BFRState,
    sets: Sets,
    parameters: MixtureParameters,
    drawn: Candidates,
    new_weight: float,
) -> tuple[MixtureParameters, Sets, int]:
    """Move components to clusters that are not there yet."""
    sample = drawn.smallest()
    share = new_weight / max(float(sample.weights.sum()), np.finfo(float).tiny)
    rows = RetainedRows(sample.rows, sample.weights * share).joined(state.retained)
    compiled = sets.compile(parameters)
    strange = rows.take(np.flatnonzero(Appraisal.of(compiled, parameters)(rows.rows).strange))
    parameters, moves = place_components(
        sets.problem, compiled, parameters, strange, sets.problem.total_weight, setup.random(_DRAWS + state.n_rounds)
    )
    for move in moves:
        if move.kept != move.moved:
            sets = sets.joined(move.kept, move.moved)
    return parameters, sets, len(moves)


def _settle(
    setup: BFRSetup, state: BFRState, sets: Sets, parameters: MixtureParameters, discarded: Any, total: float
) -> BFRState:
    """Sum up the rows of a round: choose those that are retained, and discard the others.

    The E-step that this takes is followed by an M-step.
    """
    problem, control = sets.problem, setup.control
    family, coordinates = problem.family, problem.coordinates
    compiled = sets.compile(parameters)
    appraisal = Appraisal.of(compiled, parameters)
    hard, soft = (about_origin(part, family.form) for part in (discarded.hard, discarded.soft))
    hard = replace(hard, log_likelihood=Summaries.of_statistics(hard, family).expected(family, parameters, coordinates))
    whole = soft.merge(hard).merge(sets.statistics(parameters, compiled))

    sample = discarded.candidates.smallest()
    pool = sets.retained.joined(RetainedRows(sample.rows, sample.weights))
    is_new = np.arange(len(pool)) >= len(sets.retained)
    verdict = appraisal(pool.rows)
    inside = np.zeros(len(pool), dtype=bool)
    if control.primary == "mahalanobis":
        inside = verdict.squared < _discard_map(setup, problem, parameters).radius_squared
    compressed, packed = sets.compressed, np.zeros(len(pool), dtype=bool)
    # Strange rows tell of clusters that are not there yet; too many of them become subclusters.
    crowded = ~inside & (verdict.strange | (control.primary == "mahalanobis"))
    limit = control.buffer_rows if control.primary == "mahalanobis" else control.buffer_rows // 2
    if np.count_nonzero(crowded) > limit:
        places = np.flatnonzero(crowded)
        z = coordinates.standardize(pool.rows[places])
        tight, chosen = tight_groups(
            z, pool.weights[places], family, parameters, control.secondary_tightness, setup.random(state.n_rounds)
        )
        packed[places[chosen]] = True
        compressed = merge_while_tight(compressed.joined(tight), family, parameters, control.secondary_tightness)
    candidates = np.flatnonzero(~packed & ~inside)
    by_doubt = candidates[np.argsort(-verdict.doubt[candidates], kind="stable")]
    stays = np.zeros(len(pool), dtype=bool)
    stays[by_doubt[: control.buffer_rows]] = True

    # All rows of the round, less those that stay or were compressed, and old ones that leave.
    discard, entropy = sets.discard, sets.entropy
    leaving = ~stays & ~packed
    parts = [(soft, 1.0)]
    for chosen_rows, sign in ((is_new & ~leaving, -1.0), (~is_new & leaving & ~inside, 1.0)):
        if chosen_rows.any():
            parts.append((_of(pool.take(np.flatnonzero(chosen_rows)), compiled), sign))
    for part, sign in parts:
        own = Summaries.of_statistics(part, family)
        discard = discard.plus(own, sign)
        entropy += sign * (part.log_likelihood - own.expected(family, parameters, coordinates))
    discard = discard.plus(Summaries.of_statistics(hard, family))
    old_inside = np.flatnonzero(~is_new & inside)
    if len(old_inside):
        z = coordinates.standardize(pool.rows[old_inside])
        own = Summaries.of_groups(
            family, z, pool.weights[old_inside], verdict.labels[old_inside], problem.n_components
        )
        discard = discard.plus(_tied(own, family))
    compressed, discard, entropy = _shed(compressed, discard, entropy, setup, parameters)
    return replace(
        state,
        retained=pool.take(np.flatnonzero(stays)),
        parameters=maximise(problem, whole, parameters),
        discard=discard,
        entropy=max(entropy, 0.0),
        compressed=compressed,
        lower_bound=whole.log_likelihood / total,
    )


def _tied(summaries: Summaries, family: CovarianceFamily) -> Summaries:
    """The same with second moments as the family sums them up."""
    return replace(summaries, second=summaries.second.sum(axis=0, keepdims=True)) if family.tied else summaries


def _shed(
    compressed: Summaries, discard: Summaries, entropy: float, setup: BFRSetup, parameters: MixtureParameters
) -> tuple[Summaries, Summaries, float]:
    """Discard the smallest subclusters where there are too many."""
    family, most = setup.family, _COMPRESSED_PER_COMPONENT * setup.n_components
    if len(compressed) <= most:
        return compressed, discard, entropy
    order = np.argsort(-compressed.weight, kind="stable")
    leaving = compressed.take(order[most:])
    shares = leaving.posterior(family, parameters)[0]
    own = Summaries(shares.T @ leaving.weight, shares.T @ leaving.first, shares.T @ leaving.second)
    logs = np.log(np.where(shares > 0.0, shares, 1.0))
    entropy -= float(leaving.weight @ np.sum(shares * logs, axis=1))
    return compressed.take(np.sort(order[:most])), discard.plus(_tied(own, family)), entropy


