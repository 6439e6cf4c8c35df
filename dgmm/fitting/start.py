"""Where EM starts from: the user's parameters, or the best of several starts on a sample."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import IllDefinedCovarianceError
from dgmm.fitting.climb import converge
from dgmm.fitting.driving import run, together
from dgmm.fitting.em import FitState, em
from dgmm.fitting.events import StartChosen
from dgmm.fitting.problem import Control, FitProblem
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.compiled import compile_about
from dgmm.mixture.forms import DIAGONAL
from dgmm.mixture.sampling import RowSample
from dgmm.mixture.seeding import (
    CENTRES,
    Distances,
    DistancesMap,
    NearestStatisticsMap,
    RandomResponsibilities,
    further_centres,
    kmeans,
    nearest_mixture,
)

if TYPE_CHECKING:
    from dgmm.fitting.climb import Part
    from dgmm.fitting.driving import Reads
    from dgmm.mixture.chunks import ChunkMap, R, RunPass
    from dgmm.mixture.parameters import Coordinates, MixtureParameters
    from dgmm.mixture.statistics import SufficientStatistics
    from dgmm.typing import FloatArray

KMEANS_STARTS = 4
SHORT_ITERATIONS = 10
# Random responsibilities start at a saddle, which EM takes long to leave.
SHORT_ITERATIONS_FROM_RANDOM = 100
SHORT_ROWS = 20_000
SAMPLE_ITERATIONS = 200
EXTRAPOLATED_ITERATIONS = 400
PARALLEL_ROUNDS = 5
CANDIDATE_STARTS = 10

INIT_PARAMS = (*CENTRES, "k-means||", "random")
"""Ways to find a start."""

FROM_SCAN = "bfr"
"""The name of a start that one scan of all the rows has found."""


@dataclass(frozen=True)
class Start:
    """How a fit is to be started.

    Attributes
    ----------
    init_params : str
        One of ``INIT_PARAMS``, or ``FROM_SCAN``.
    n_init : int
        Starts that are compared; ``kmeans`` compares four times as many.
    weights, means, covariances : float64 or None
        What the user gave, in the user's units; covariances of inner shape.
    found : MixtureParameters or None
        What a scan has found, in the user's units: EM starts from there.
    """

    init_params: str
    n_init: int
    weights: FloatArray | None = None
    means: FloatArray | None = None
    covariances: FloatArray | None = None
    found: MixtureParameters | None = None

    @property
    def is_given(self) -> bool:
        """True if any part of the start is the user's, and so is the order of the components."""
        return any(part is not None for part in (self.weights, self.means, self.covariances))


@dataclass(frozen=True)
class ArrayPass:
    """Runs passes over rows in memory, in one go (a ``RunPass``).

    Attributes
    ----------
    rows : (m, d)
        In the user's units.
    weights : (m,) float64
    """

    rows: FloatArray
    weights: FloatArray

    def __call__(self, chunk_map: ChunkMap[R]) -> R:
        """Map all rows as one chunk."""
        return chunk_map(self.rows, self.weights, Chunk(0, 0, len(self.rows)))


def choose_start(
    problem: FitProblem,
    start: Start,
    n_rows: int,
    run_on_sample: Callable[[RowSample], RunPass],
    rng: np.random.RandomState,
    accelerated: Part | None = None,
) -> Reads[tuple[MixtureParameters, StartChosen]]:
    """Find the parameters that EM starts from.

    Starts are made on a part of the sample and improved there by successive halving; the one that is
    left goes on to EM on the whole sample, if that is less than all the rows. Only ``k-means||``
    reads the data; its starts share each read.

    Parameters
    ----------
    problem : FitProblem
    start : Start
    n_rows : int
        Rows of the data.
    run_on_sample : callable
        Makes a runner over sampled rows.
    rng : RandomState
    accelerated : Part, optional
        The sample, where EM on it is to be extrapolated to its optimum.

    Returns
    -------
    parameters : MixtureParameters
        In inner coordinates.
    event : StartChosen
    """
    began = time.perf_counter()
    # The sample's weights are in units of 2**exponent already.
    local = replace(problem, exponent=0)
    n_starts = iterations = 0
    sample_rows = len(problem.sample.rows)
    given = (start.weights, start.means, start.covariances)
    if start.found is not None:
        parameters = problem.family.to_inner(start.found, problem.coordinates)
        sample_rows = 0
    elif all(part is not None for part in given):
        parameters = _override(problem, start, None)
        sample_rows = 0
    elif start.means is not None:
        centres = problem.coordinates.standardize(start.means)
        beside = _beside(local, problem.sample)
        found = run(_from_centres(beside, centres, _scaled_features(problem)), run_on_sample(problem.sample))
        parameters = _override(problem, start, found)
    else:
        if start.init_params == "k-means||":
            # Each has random numbers of its own, whoever it shares its reads with.
            seeds = [int(rng.randint(2**31 - 1)) for _ in range(start.n_init)]
            candidates = yield from together([_parallel_start(problem, seed) for seed in seeds])
        else:
            count = start.n_init * (KMEANS_STARTS if start.init_params == "kmeans" else 1)
            candidates = _sample_starts(local, start.init_params, count, rng)
        n_starts = len(candidates)
        short = SHORT_ITERATIONS_FROM_RANDOM if start.init_params == "random" else SHORT_ITERATIONS
        parameters = _best(local, candidates, short)
        if sample_rows < n_rows:
            runner = run_on_sample(problem.sample)
            state = run(
                em(problem.on_rows(problem.sample), Control("auto", SAMPLE_ITERATIONS), FitState.start(parameters)),
                runner,
            )
            parameters, iterations = state.parameters, state.n_iter
            if accelerated is not None:
                parameters, steps = converge(accelerated, parameters, state.dead, EXTRAPOLATED_ITERATIONS)
                iterations += steps
        parameters = _override(problem, start, parameters)
    seconds = time.perf_counter() - began
    return parameters, StartChosen(start.init_params, sample_rows, n_starts, iterations, seconds)


def _beside(problem: FitProblem, sample: RowSample) -> FitProblem:
    """The same problem, with so much of the labelled rows' sums as belongs to a sample of the others."""
    return replace(problem, known=problem.known_beside(float(sample.weights.sum())))


def _short_sample(problem: FitProblem) -> RowSample:
    """The first rows of the sample: a random part, since it is ordered by random keys."""
    sample, count = problem.sample, max(SHORT_ROWS, 200 * problem.n_components)
    return RowSample(sample.size, sample.keys[:count], sample.rows[:count], sample.weights[:count])


def _best(problem: FitProblem, candidates: list[MixtureParameters], iterations: int) -> MixtureParameters:
    """The best candidate by likelihood, by successive halving on a part of the sample.

    All get some EM iterations; the better half gets twice as many more, and so on: early on, the
    likelihood tells bad starts from good ones, but not the good ones from each other.
    """
    if len(candidates) == 1:
        return candidates[0]
    part = _short_sample(problem)
    short, runner = problem.on_rows(part), ArrayPass(part.rows, part.weights)
    states = [FitState.start(candidate) for candidate in candidates]
    while len(states) > 1:
        improved: list[FitState] = []
        failure: IllDefinedCovarianceError | None = None
        for state in states:
            try:
                improved.append(run(em(short, Control(0.0, state.n_iter + iterations), state), runner))
            except IllDefinedCovarianceError as error:
                failure = error
        if failure is not None and not improved:
            raise failure
        improved.sort(key=lambda state: -state.lower_bounds[-1])
        states = [replace(state, reason=None) for state in improved[: (len(improved) + 1) // 2]]
        iterations *= 2
    return states[0].parameters


def _sample_starts(
    problem: FitProblem, init_params: str, count: int, rng: np.random.RandomState
) -> list[MixtureParameters]:
    part = _short_sample(problem)
    problem, runner = _beside(problem, part), ArrayPass(part.rows, part.weights)
    if problem.known is not None and problem.known.components.all():
        count = 1  # nothing is left to chance
    if init_params == "random":
        target = compile_about(
            problem.family,
            np.zeros((problem.n_components, problem.n_features)),
            problem.coordinates,
            problem.options,
        )
        seeds = [int(rng.randint(2**31 - 1)) for _ in range(count)]
        maps = [problem.imputing(RandomResponsibilities(target, seed)) for seed in seeds]
        return [_estimate(problem, problem.complete(target, runner(each))) for each in maps]
    # Whitening hides clusters that make up most of the spread; scaling alone, those that lie across
    # correlated features. Which is better depends on the data, so the starts take turns.
    inner, scaled = problem.coordinates, _scaled_features(problem)
    starts = []
    for number in range(count):
        metric = (inner, scaled)[number % 2]
        rows = metric.standardize(problem.imputed(part.rows))
        centres = _centres(problem, init_params, rows, part.weights, metric, rng)
        starts.append(run(_from_centres(problem, inner.standardize(metric.restore(centres)), metric), runner))
    return starts


def _centres(
    problem: FitProblem,
    init_params: str,
    rows: FloatArray,
    weights: FloatArray,
    metric: Coordinates,
    rng: np.random.RandomState,
) -> FloatArray:
    """Centres in the metric, (K, d), by rows (m, d) there; labelled rows have theirs at their means."""
    if problem.known is None:
        return CENTRES[init_params](rows, weights, problem.n_components, rng)
    own = problem.known.components
    centres = metric.standardize(problem.coordinates.restore(problem.known.mean))
    free = int(np.count_nonzero(~own))
    centres[~own] = further_centres(init_params, centres[own], rows, weights, free, rng)
    return centres


def _scaled_features(problem: FitProblem) -> Coordinates:
    """Coordinates that scale each feature alone, as someone who names means sees the data."""
    coordinates = problem.coordinates
    if not coordinates.is_triangular:
        return coordinates
    return DIAGONAL.coordinates(coordinates.shift, coordinates.scale @ coordinates.scale.T)


def _from_centres(
    problem: FitProblem, centres: FloatArray, metric: Coordinates | None = None
) -> Reads[MixtureParameters]:
    """Parameters after every row was given to its nearest centre, (K, d) in inner coordinates."""
    nearest = NearestStatisticsMap.about(
        problem.family, centres, problem.coordinates, problem.options, problem.exponent, metric
    )
    statistics = problem.complete(nearest.target, (yield problem.imputing(nearest)))
    return _estimate(problem, statistics)


def _estimate(problem: FitProblem, statistics: SufficientStatistics) -> MixtureParameters:
    """First parameters; clusters too small for a covariance share the pooled one."""
    weak = statistics.weight * problem.rows_per_weight < problem.family.min_rows(problem.n_features)
    parameters = problem.family.estimate(statistics, problem.coordinates, problem.reg_covar, pooled=weak)
    if problem.known is not None:
        row = statistics.total_weight / problem.n_effective
        parameters = problem.known.blended(problem.family, parameters, row)
    floor = 0.5 / statistics.n_rows
    weights = np.maximum(parameters.weights, floor)
    return parameters.reweighted(weights / weights.sum())


def _parallel_start(problem: FitProblem, seed: int) -> Reads[MixtureParameters]:
    """k-means|| over all the data: candidates by distance, weighed, clustered in memory.

    Bahmani et al. (2012), algorithm 2, with ``l = 2 K`` and five rounds: seven reads of the data,
    the last of which takes the statistics of the K clusters.
    """
    k, sample, known = problem.n_components, problem.sample, problem.known
    rng = np.random.RandomState(seed)
    if known is None:
        first = rng.choice(len(sample.rows), p=sample.weights / sample.weights.sum())
        centres = problem.coordinates.standardize(problem.imputed(sample.rows[first : first + 1]))
    else:
        centres = known.mean[known.components]

    def distances(number: int) -> ChunkMap[Distances]:
        nearest = nearest_mixture(centres, problem.coordinates, problem.options)
        drawn = 2 * k if number < PARALLEL_ROUNDS else 0
        return problem.imputing(DistancesMap(nearest, centres, seed, number, drawn, problem.exponent))

    for number in range(PARALLEL_ROUNDS):
        rows = (yield distances(number)).drawn.smallest().rows
        centres = np.concatenate([centres, problem.coordinates.standardize(rows)])
    counts = (yield distances(PARALLEL_ROUNDS)).counts
    used = counts > 0.0
    if known is not None:
        centres = _centres(problem, "kmeans", centres[used], counts[used], problem.coordinates, rng)
    elif np.count_nonzero(used) > k:
        centres = kmeans(centres[used], counts[used], k, rng, n_init=CANDIDATE_STARTS)
    else:  # fewer distinct rows than components
        order = np.argsort(-counts, kind="stable")
        centres = centres[np.resize(order, k)]
    return (yield from _from_centres(problem, centres))


def _override(problem: FitProblem, start: Start, found: MixtureParameters | None) -> MixtureParameters:
    """Put the parts that the user gave in the place of those that were found."""
    family, coordinates = problem.family, problem.coordinates
    base = None if found is None else family.to_user(found, coordinates)

    def pick(given: FloatArray | None, own: FloatArray | None) -> FloatArray:
        chosen = own if given is None else given
        if chosen is None:
            raise AssertionError("neither given nor found")
        return chosen

    if found is not None and not start.is_given:
        return found
    parameters = family.parameters(
        pick(start.weights, base.weights if base else None),
        pick(start.means, base.means if base else None),
        pick(start.covariances, base.covariances if base else None),
    )
    return family.to_inner(parameters, coordinates)
