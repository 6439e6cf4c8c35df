"""Many mixtures fitted to the same rows, each read serving all that still run; then compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.errors import DataError
from dgmm.fitting.driving import ManyMap, together
from dgmm.fitting.events import Event
from dgmm.fitting.progress import CandidateProgress, FitProgress, SelectionProgress
from dgmm.fitting.ranking import clearly_behind, foreseen
from dgmm.mixture.held_out import Comparison, ComparisonMap
from dgmm.mixture.marginal import MarginalMixture
from dgmm.mixture.scores import Score, ScoreMap
from dgmm.mixture.sizes import Sized

if TYPE_CHECKING:
    from dgmm.fitting.driving import Reads
    from dgmm.fitting.fit import FitResult
    from dgmm.fitting.problem import FitProblem
    from dgmm.fitting.ranking import Criterion
    from dgmm.mixture.chunks import Chunk, ChunkMap, RunPass
    from dgmm.mixture.compiled import CompiledMixture
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.mixture.held_out import HeldOut
    from dgmm.mixture.moments import Moments
    from dgmm.mixture.sampling import RowSample
    from dgmm.typing import Array, FloatArray


@dataclass(frozen=True)
class CandidateEvent(Event):
    """One candidate of a selection tells an event of its fit; returning True stops that candidate alone."""

    covariance_type: str
    n_components: int
    event: Event


@dataclass(frozen=True)
class Candidate:
    """A mixture to be fitted.

    Attributes
    ----------
    family : CovarianceFamily
    n_components : int
    problem : callable
        From the moments of the rows to the problem.
    fit : callable
        Makes the algorithm of the fit, of where it begins and of what is told its progress.
    """

    family: CovarianceFamily
    n_components: int
    problem: Callable[[Moments], FitProblem]
    fit: Callable[[FitProgress, Callable[[FitProgress], object]], Reads[FitResult]]


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate.

    Attributes
    ----------
    result : FitResult or None
        None if it failed, or was dropped.
    score : Score or None
        Of the result on the rows of the fit.
    seconds : float
        Of work for this candidate alone, summed over the threads.
    failure : DataError or None
        Why it could not be fitted.
    behind : (float, float) or None
        Nats per row by which it was behind on the sample, and their standard error, if it was dropped.
    n_reads : int
        Reads that served it before the last one.
    """

    result: FitResult | None
    score: Score | None
    seconds: float
    failure: DataError | None
    behind: tuple[float, float] | None
    n_reads: int


@dataclass(frozen=True)
class Outcomes:
    """What became of all candidates.

    Attributes
    ----------
    each : tuple of Outcome
    scored : tuple of int
        Numbers of the candidates that have a result.
    held_out : Comparison or None
        Of the log-densities of the rows that were set aside, by the candidates that have a result.
    n_rows : int
        Rows of the fit of positive weight.
    """

    each: tuple[Outcome, ...]
    scored: tuple[int, ...]
    held_out: Comparison | None
    n_rows: int


def fit_candidates(
    candidates: Sequence[Candidate],
    begun: SelectionProgress,
    held_out: HeldOut | None,
    screen: Criterion | None,
    run_on_sample: Callable[[RowSample], RunPass],
    announce: Callable[[SelectionProgress], object] = lambda progress: None,
) -> Reads[Outcomes]:
    """Fit all candidates from one first read on; a last read scores them.

    Each has the result that it has alone with the same rows, to the bit. One that cannot be fitted
    does not end the others.

    Parameters
    ----------
    candidates : sequence of Candidate
    begun : SelectionProgress
        Where to begin, or to go on from.
    held_out : HeldOut, optional
        Rows that are set aside: for the last read alone.
    screen : Criterion, optional
        By which candidates that are clearly behind on the sample are dropped, before they read
        the data; none are where the sample is all the rows, since starts are not fitted to it then.
    run_on_sample : callable
        Makes a runner of passes over sampled rows.
    announce : callable
        Is given each progress after ``begun`` that the selection can go on from.

    Raises
    ------
    DataError
        If no candidate can be fitted: what the first one says. If no row is set aside.
    """

    def of_the_fit(chunk_map: ChunkMap[Any]) -> ChunkMap[Any]:
        return chunk_map if held_out is None else held_out.train(chunk_map)

    progress = begun
    if progress.begun.moments is None:
        progress = yield from _first_read(progress, held_out, len(candidates))
        announce(progress)
    moments, n_held_out = progress.begun.moments, progress.n_held_out
    if moments is None:
        raise AssertionError("the first read has moments")
    runs = [
        _Run(candidate, progress.begun, own) for candidate, own in zip(candidates, progress.candidates, strict=True)
    ]

    def tell(*, reads: int = 0, screened: bool = False) -> None:
        nonlocal progress
        told = tuple(run.told() for run in runs)
        progress = replace(
            progress, n_reads=progress.n_reads + reads, screened=progress.screened or screened, candidates=told
        )
        announce(progress)

    def after_each_read(algorithm: Reads[Any]) -> Reads[Any]:
        return _telling(_on(algorithm, of_the_fit), lambda: tell(reads=1))

    yield from after_each_read(together([run.start() for run in runs]))
    _check_any_left(runs)
    if n_held_out is not None and n_held_out < 2:
        raise DataError(
            f"{n_held_out} rows of positive weight are held out, and at least 2 are needed; "
            "give more rows, raise held_out, or choose by criterion='bic'"
        )
    if not progress.screened:
        if screen is not None and len(moments.sample.rows) < moments.n_positive:
            _screen([run for run in runs if run.failure is None], screen, moments, run_on_sample)
        tell(screened=True)
    yield from after_each_read(together([run.finish() for run in runs if run.behind is None]))
    _check_any_left(runs)
    scored = [run for run in runs if run.result is not None]
    compared = yield from _score(scored, moments, held_out)
    return Outcomes(
        tuple(run.outcome() for run in runs),
        tuple(number for number, run in enumerate(runs) if run.result is not None),
        compared,
        moments.n_positive,
    )


def _first_read(begun: SelectionProgress, held_out: HeldOut | None, n_candidates: int) -> Reads[SelectionProgress]:
    """The read that all candidates begin with."""
    first, n_held_out = begun.begun.first, None
    if held_out is None:
        moments = (yield first).settled()
    else:
        look = replace(first, sample_rows=0, threshold=0)
        maps = (held_out.train(replace(first, probes=())), held_out.test(replace(look, probes=())))
        # Rows are known again by all of them.
        records = (yield ManyMap((*maps, look) if first.probes else maps)).records
        moments, n_held_out = _with_defects(records[0].settled(), records[1]), records[1].n_positive
        moments = replace(moments, probes=records[-1].probes)
    n_reads = begun.n_reads + 1
    own = replace(begun.begun, n_reads=n_reads, moments=moments)
    return replace(
        begun,
        begun=own,
        n_reads=n_reads,
        n_held_out=n_held_out,
        candidates=(CandidateProgress(n_reads),) * n_candidates,
    )


def _with_defects(moments: Moments, aside: Moments) -> Moments:
    """The moments of the rows of the fit, with what cannot be used of those that are set aside."""
    missing = moments.missing
    if missing is not None and aside.missing is not None:
        # Rows that are set aside have weight 0 in the fit, but no policy leaves them out.
        n_dropped = missing.n_dropped - aside.missing.n_rows
        missing = replace(missing, n_dropped=n_dropped, defects=missing.defects.merge(aside.missing.defects))
    return replace(moments, missing=missing, defects=moments.defects.merge(aside.defects))


def _check_any_left(runs: Sequence[_Run]) -> None:
    """Raise what the first candidate failed of, if all have failed."""
    failures = [run.failure for run in runs if run.failure is not None]
    if len(failures) == len(runs):
        raise failures[0]


def _on(algorithm: Reads[Any], part: Callable[[ChunkMap[Any]], ChunkMap[Any]]) -> Reads[Any]:
    """The same algorithm on a part of the rows."""
    record = None
    try:
        while True:
            record = yield part(algorithm.send(record))
    except StopIteration as end:
        return end.value


def _telling(algorithm: Reads[Any], tell: Callable[[], object]) -> Reads[Any]:
    """The same algorithm, which tells that it has taken a read."""
    record = None
    try:
        while True:
            wanted = algorithm.send(record)
            if record is not None:
                tell()
            record = yield wanted
    except StopIteration as end:
        if record is not None:
            tell()
        return end.value


@dataclass(frozen=True)
class TimedRecord(Sized):
    """A record, and the seconds that its maps took."""

    record: Any
    seconds: float

    def merge(self, other: TimedRecord) -> TimedRecord:
        """Merge the records, and add the seconds."""
        return TimedRecord(self.record.merge(other.record), self.seconds + other.seconds)


@dataclass(frozen=True)
class TimedMap(Sized):
    """A map whose seconds are told."""

    inner: ChunkMap[Any]

    @property
    def name(self) -> str:
        """The inner map's."""
        return self.inner.name

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> TimedRecord:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        began = time.perf_counter()
        record = self.inner(X, weights, chunk)
        return TimedRecord(record, time.perf_counter() - began)


class _Run:
    """The fit of one candidate, under way.

    Attributes
    ----------
    candidate : Candidate
    progress : FitProgress
        From where it could go on.
    result, failure, behind, score, seconds
        See :class:`Outcome`.
    """

    def __init__(self, candidate: Candidate, begun: FitProgress, own: CandidateProgress) -> None:
        begun = replace(begun, n_reads=own.n_reads, em=own.em)
        self.candidate, self.progress = candidate, begun
        self.result: FitResult | None = None
        self.failure: DataError | None = None
        self.behind = own.behind
        self.score: Score | None = None
        self.seconds = own.seconds
        self._algorithm = candidate.fit(begun, self._follow)
        self._wanted: TimedMap | None = None

    def densities(self, moments: Moments) -> CompiledMixture:
        """The result, or else the start, made ready for densities in float64."""
        # Differences of likelihoods are wanted to more digits than float32 products keep.
        problem = replace(self.candidate.problem(moments), dtype=np.dtype(np.float64))
        if self.result is not None:
            inner = problem.family.to_inner(self.result.parameters, problem.coordinates)
        elif self.progress.em is not None:
            inner = self.progress.em.parameters
        else:
            raise AssertionError("the fit has no start yet")
        # Values may be missing in rows that are set aside alone.
        compiled = problem.compile(inner, whole_density=True)
        return MarginalMixture.of(compiled, inner, problem.dtype, problem.options)

    def n_parameters(self, d: int) -> int:
        """Free parameters of the mixture of d features."""
        return self.candidate.family.n_parameters(self.candidate.n_components, d)

    def _follow(self, progress: FitProgress) -> None:
        self.progress = progress

    def start(self) -> Reads[None]:
        """Run until there are parameters that EM starts from."""
        self._advance(None)
        yield from self._serve(lambda: self.progress.em is not None)

    def finish(self) -> Reads[None]:
        """Run on to the end."""
        yield from self._serve(lambda: False)

    def _serve(self, enough: Callable[[], bool]) -> Reads[None]:
        while self._wanted is not None and not enough():
            told: TimedRecord = yield self._wanted
            self.seconds += told.seconds
            self._advance(told.record)

    def _advance(self, record: Any) -> None:
        began = time.perf_counter()
        try:
            self._wanted = TimedMap(self._algorithm.send(record))
        except StopIteration as end:
            self.result, self._wanted = end.value, None
        except DataError as error:
            self.failure, self._wanted = error, None
        self.seconds += time.perf_counter() - began

    def told(self) -> CandidateProgress:
        """How far it has come, to go on from."""
        return CandidateProgress(self.progress.n_reads, self.seconds, self.progress.em, self.behind)

    def outcome(self) -> Outcome:
        """What became of it."""
        n_reads = self.progress.n_reads if self.result is None else self.result.n_reads
        return Outcome(self.result, self.score, self.seconds, self.failure, self.behind, n_reads)


def _screen(
    runs: list[_Run], criterion: Criterion, moments: Moments, run_on_sample: Callable[[RowSample], RunPass]
) -> None:
    """Mark those whose start is clearly behind the best one's on the sample."""
    sample, d = moments.sample, len(moments.mean)
    n_parameters = np.array([run.n_parameters(d) for run in runs])
    mixtures = tuple(run.densities(moments) for run in runs)
    compared = run_on_sample(sample)(ComparisonMap(mixtures, criterion.entropy))
    m, n = len(sample.rows), max(moments.total_weight, float(moments.n_positive))
    each = zip(compared.mean, n_parameters.tolist(), strict=True)
    merits = np.array([foreseen(criterion, value, p, m, n) for value, p in each])
    errors = compared.difference_errors(int(np.argmax(merits)))
    behind = clearly_behind(merits, errors, n_parameters, m)
    for run, dropped, merit, error in zip(runs, behind, merits, errors, strict=True):
        if dropped:
            run.behind = (float(merits.max() - merit), float(error))


def _score(runs: Sequence[_Run], moments: Moments, held_out: HeldOut | None) -> Reads[Comparison | None]:
    """The last read: the likelihood and entropy of each, and a comparison on the rows that were set aside."""
    mixtures = tuple(run.densities(moments) for run in runs)
    some_missing = moments.missing is not None
    maps = [ScoreMap(mixture, entropy=True, missing=some_missing) for mixture in mixtures]
    scores: ChunkMap[Any] = ManyMap(tuple(map(TimedMap, maps)))
    compared: Comparison | None = None
    if held_out is None:
        found = yield scores
    else:
        found, compared = (yield ManyMap((held_out.train(scores), held_out.test(ComparisonMap(mixtures))))).records
    for run, told in zip(runs, found.records, strict=True):
        run.score = told.record
        run.seconds += told.seconds
    return compared
