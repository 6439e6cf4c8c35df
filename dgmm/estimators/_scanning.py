"""From rows to the end of one scan: rounds, and what is kept on the way, whatever the algorithm."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dgmm.errors import CheckpointMismatchError, DataError, ParameterError
from dgmm.estimators._keeping import Keeper
from dgmm.fitting.bfr import bfr_round, start_scan
from dgmm.fitting.driving import Journal, Progress, run
from dgmm.fitting.events import Event, RoundFinished
from dgmm.fitting.progress import ScanProgress
from dgmm.fitting.renewing import renewed
from dgmm.fitting.scanning import BFRSetup, BFRState
from dgmm.mixture.checks import check_values
from dgmm.mixture.missing import RAISE
from dgmm.mixture.moments import Moments, MomentsMap, Probe
from dgmm.passes.blas import single_threaded_blas
from dgmm.passes.execution import Execution, Resources
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.rounds import Place, Rounds
from dgmm.passes.rows import Rows
from dgmm.passes.tree import PassRunner

if TYPE_CHECKING:
    from dgmm.fitting.driving import Reads
    from dgmm.mixture.summaries import Summaries
    from dgmm.typing import Array, FloatArray


_OTHER_DATA = "give the data that the scan began with, or another checkpoint"

_OTHER_CHUNKS = (
    "the chunks of the rows are not those that the scan was interrupted in; "
    "give them as they were, or another checkpoint"
)


class OneScan(Protocol):
    """An algorithm of one scan, told everything but its rows; its states are values."""

    def round(self, state: Any) -> Reads[Any]:
        """Take the rows of a round: yields maps over them, and returns the state after it."""
        ...

    def finish(self, state: Any) -> Any:
        """Take note that no more rows come: the state to end with, or a DataError if they were too few."""
        ...

    def ended(self, state: Any) -> Any:
        """The state that is shown where no more rows come; the scan itself goes on from the given one."""
        ...

    def event(self, state: Any, seconds: float) -> Event:
        """What is told after a round."""
        ...


@dataclass(frozen=True)
class BFRScan:
    """The mixture's scan (a ``OneScan``).

    Attributes
    ----------
    setup : BFRSetup
    """

    setup: BFRSetup

    @classmethod
    def of(cls, setup: BFRSetup, seed: int) -> BFRScan:
        """The scan with a seed."""
        return cls(replace(setup, control=replace(setup.control, seed=seed)))

    def round(self, state: BFRState) -> Reads[BFRState]:
        """Take the rows of a round."""
        return bfr_round(self.setup, state)

    def finish(self, state: BFRState) -> BFRState:
        """Begin, if there were few rows."""
        return state if state.parameters is not None else start_scan(self.setup, state)

    def ended(self, state: BFRState) -> BFRState:
        """The state after the sample was asked a last time; the same one if that changes nothing."""
        asked = renewed(self.setup, state)
        return state if asked.n_renewed == state.n_renewed else asked

    def event(self, state: BFRState, seconds: float) -> RoundFinished:
        """What is told after a round."""
        return RoundFinished(
            round=state.n_rounds,
            n_rows=state.n_rows,
            n_retained=len(state.retained),
            n_compressed=0 if state.compressed is None else len(state.compressed.weight),
            n_moved=state.n_moved,
            lower_bound=state.lower_bound,
            settled=state.settled,
            seconds=seconds,
            n_renewed=state.n_renewed,
        )


@dataclass(frozen=True)
class ScanSetup:
    """All that one scan is given.

    Attributes
    ----------
    rows : Rows
    plan : ExecutionPlan
    batch_rows : int
        Rows of a round, about.
    execution : Execution
        Of which ``pass_retries`` and ``memory_limit`` count.
    make : callable
        Makes the algorithm of the seed that a scan was begun with.
    whole : bool
        Whether these rows are all that there are.
    """

    rows: Rows
    plan: ExecutionPlan
    batch_rows: int
    execution: Execution
    make: Callable[[int], OneScan]
    whole: bool

    def __post_init__(self) -> None:
        if self.rows.labels is not None:
            raise ParameterError(
                "labels are given, but one scan knows no labels; leave them out, or fit a GaussianMixture"
            )

    def run(self, begun: ScanProgress, emit: Callable[[Event], object], keeper: Keeper | None) -> ScanProgress:
        """Run the rounds that are left, from where ``keeper`` was told of last."""
        with single_threaded_blas():
            if keeper is None:
                return self.rounds(begun, emit, lambda progress: None)
            with keeper:
                journal = Journal(keeper.begin(Progress(begun)), keeper.keep)
                self.check_rows(journal.progress.state, keeper.place)
                ended = self.rounds(journal.progress.state, emit, journal.announce)
                keeper.finish(Progress(ended))
                return ended

    def run_new(self, begun: ScanProgress, emit: Callable[[Event], object], keeper: Keeper) -> ScanProgress:
        """Run the rounds of those rows that ``keeper`` was not told of; there may be more the next time.

        What was interrupted is ended first, with the rows that there were then: so the rounds are those
        of somebody who was not interrupted.
        """
        with single_threaded_blas(), keeper:
            journal = Journal(keeper.begin(Progress(begun)), keeper.keep)
            progress: ScanProgress = journal.progress.state
            n_rows = self.rows.n_rows or 0
            if progress.stop > n_rows:
                raise CheckpointMismatchError(
                    f"{keeper.place}: the rows before were {progress.stop:,} and are {n_rows:,}: the array has shrunk; "
                    f"{_OTHER_DATA}"
                )
            self.check_rows(progress, keeper.place)
            while True:
                if progress.stop > progress.first:
                    part = replace(self, rows=self.rows.between(progress.first, progress.stop))
                    progress = part.rounds(part.placed(progress, keeper.place), emit, journal.announce)
                if progress.stop == n_rows:
                    return progress
                progress = replace(progress, first=progress.stop, stop=n_rows, chunk=0, row=0)

    def rounds(
        self, begun: ScanProgress, emit: Callable[[Event], object], announce: Callable[[ScanProgress], object]
    ) -> ScanProgress:
        """The same, by a driver whose products run on one thread; each round's end is announced."""
        algorithm, progress, looks = self.make(begun.seed), begun, begun.looks
        n_dropped = begun.n_dropped

        def check(moments: Moments, chunk: int) -> None:
            nonlocal looks, n_dropped
            check_values(moments, chunk, missing=self.rows.missing != RAISE)
            if moments.missing is not None and not (begun.row and chunk == begun.chunk):  # not counted yet
                n_dropped += moments.missing.n_dropped
            if begun.row and chunk == begun.chunk and looks and moments.n_rows != looks[-1][1].n_rows:
                raise CheckpointMismatchError(f"X: {_OTHER_CHUNKS}")
            first = self.rows.first_row(chunk)
            if first is not None and moments.n_rows:
                looks = (*looks[:1], (begun.first + first, Probe.of_moments(moments)))

        rounds = Rounds(
            self.rows, self.plan, self._resources(), self.batch_rows, check, emit, self.execution.pass_retries
        )
        for run_pass, place in rounds.after(Place(begun.chunk, begun.row)):
            began = time.perf_counter()
            progress = replace(progress, looks=looks, n_dropped=n_dropped)
            progress = progress.after(run(algorithm.round(progress.scan), run_pass), place.chunk, place.row)
            emit(algorithm.event(progress.scan, time.perf_counter() - began))
            announce(progress)
        try:
            ended = algorithm.finish(progress.scan) if self.whole else progress.scan
        except DataError as error:
            if not n_dropped:
                raise
            raise type(error)(f"{error} (the scan left out {n_dropped} rows for missing values)") from error
        if ended is not progress.scan:
            progress = progress.after(ended, progress.chunk, progress.row)
        return replace(progress, chunk=self.rows.n_chunks, row=0)

    def placed(self, progress: ScanProgress, place: str) -> ScanProgress:
        """The progress with the number of the chunk that it goes on with, as the chunks are numbered now.

        Raises
        ------
        CheckpointMismatchError
            If no chunk begins there.
        """
        done = progress.first
        if progress.looks:
            first, look = progress.looks[-1]
            done = first if progress.row else first + look.n_rows
        lengths = np.zeros(0, dtype=np.int64) if self.rows.lengths is None else self.rows.lengths
        begins = np.flatnonzero(np.concatenate([[0], np.cumsum(lengths)]) == done - progress.first)
        if not len(begins):
            raise CheckpointMismatchError(f"{place}: {_OTHER_CHUNKS}")
        return replace(progress, chunk=int(begins[-1]))

    def _resources(self) -> Resources:
        return Resources.measure(self.rows, self.execution.memory_limit)

    def check_rows(self, progress: ScanProgress, place: str) -> None:
        """Refuse to go on with rows that are not those that were read.

        Raises
        ------
        CheckpointMismatchError
            If the first or the last rows that were read are other ones now, or were in other chunks.
        """
        for first, look in progress.looks:
            rows = self.rows.between(first, first + look.n_rows)
            now = Probe.of_moments(PassRunner(rows, self.plan, resources=self._resources())(MomentsMap(0, 0, 0)))
            difference = look.difference(now)
            if difference is not None:
                raise CheckpointMismatchError(
                    f"{place}: the checkpoint is of other data: in rows {first:,} to {first + look.n_rows - 1:,} of X "
                    f"{difference}; {_OTHER_DATA}"
                )

    def ended(self, progress: ScanProgress) -> ScanProgress:
        """The progress that is shown where no more rows come."""
        with single_threaded_blas():
            state = self.make(progress.seed).ended(progress.scan)
        return progress if state is progress.scan else progress.after(state, progress.chunk, progress.row)


def go_on(
    progress: ScanProgress, had_weights: bool, has_weights: bool, before: dict[str, Any], now: dict[str, Any]
) -> ScanProgress:
    """Where a scan goes on with other rows than those before; also what its sums are of, by name, before and now.

    Raises
    ------
    ParameterError
        If some rows have weights and some have none, or if the sums would be of something else.
    """
    for name, value in before.items():
        if now[name] != value:
            raise ParameterError(
                f"{name} was {value!r} and is {now[name]!r}; the rows before are sums of the former: set it back, or "
                "call fit"
            )
    if had_weights != has_weights:
        had, has = ("weights", "none") if had_weights else ("no weights", "some")
        text = f"sample_weight: the rows before had {had}, and these have {has}"
        raise ParameterError(f"{text}; give all rows weights (1.0 for each), or none")
    return replace(progress, chunk=0, row=0, first=0, stop=0, looks=())


def in_user_units(
    setup: BFRSetup, state: BFRState, sums: Summaries | None, order: Array | None
) -> dict[str, FloatArray]:
    """Weights, means and covariances of summaries; those that stand for no rows have NaN."""
    coordinates, form = state.coordinates, setup.family.form
    if sums is None or coordinates is None:
        raise AssertionError("the scan has not begun")
    d = sums.first.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums.first / sums.weight[:, None]
        if len(sums.second) == len(sums.weight):
            packed = sums.second / sums.weight[:, None] - form.packed_outer(means)
        else:  # one for all
            between = (sums.weight[:, None] * np.nan_to_num(form.packed_outer(means))).sum(axis=0, keepdims=True)
            packed = (sums.second - between) / sums.weight.sum()
        found = {
            "weights": np.ldexp(sums.weight, state.exponent),
            "means": coordinates.restore(means),
            "covariances": form.rescale(form.covariance(packed, d), coordinates.scale),
        }
    if order is None:
        return found
    return {name: array[order] if len(array) == len(order) else array for name, array in found.items()}
