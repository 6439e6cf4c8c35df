"""From rows to the result of a fit: memory, passes, and what is kept on the way."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from dgmm.errors import CheckpointMismatchError, StarvedComponentWarning
from dgmm.estimators._inputs import rows_together
from dgmm.estimators._keeping import Keeper
from dgmm.estimators._scanning import ScanSetup
from dgmm.fitting.driving import Journal, Progress, run, run_on
from dgmm.fitting.events import Event, ExecutionChosen
from dgmm.fitting.fit import FitResult, fit_mixture
from dgmm.fitting.problem import Control, FitProblem
from dgmm.fitting.progress import FitProgress, RandomNumbers, ScanProgress
from dgmm.fitting.scanning import BFRState
from dgmm.fitting.start import Start
from dgmm.fitting.stopping import StopReason
from dgmm.mixture.checks import check_moments, check_start
from dgmm.mixture.families import CovarianceFamily
from dgmm.mixture.known import KnownMap, check_labelled
from dgmm.mixture.missing import RAISE
from dgmm.mixture.moments import Moments, MomentsMap
from dgmm.mixture.sampling import RowSample, threshold_for
from dgmm.passes.blas import single_threaded_blas
from dgmm.passes.execution import Execution, Resources, decide
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.rows import Rows
from dgmm.passes.tree import PassRunner

if TYPE_CHECKING:
    from dgmm.fitting.driving import Reads
    from dgmm.mixture.chunks import RunPass

_SAMPLE_BYTES = 24 * 2**20
_SAMPLE_ROWS = 50_000
_ROWS_FOR_RESEEDING = 10_000
"""Rows of the sample that components move to, where no start is made from it."""
_START_ROWS_PER_PARAMETER = 400


def default_sample_rows(start: Start, d: int) -> int:
    """Rows of the sample, unless the user says otherwise; few where no start is made from it."""
    if start.weights is not None and start.means is not None and start.covariances is not None:
        return _ROWS_FOR_RESEEDING
    return default_batch_rows(d)


def default_start_rows(n_parameters: int, batch_rows: int) -> int:
    """Rows of the first round of one scan that the start is made from, unless the user says otherwise.

    So many leave it p_free / (2 m) = 1 / 800 nats per row short of the optimum.
    """
    return min(batch_rows, max(_SAMPLE_ROWS, _START_ROWS_PER_PARAMETER * n_parameters))


def default_batch_rows(d: int) -> int:
    """Rows of a round of one scan, and of the largest sample, unless the user says otherwise."""
    return max(_SAMPLE_ROWS, _SAMPLE_BYTES // (8 * d))


@dataclass(frozen=True)
class FitSetup:
    """All that a fit is given.

    Attributes
    ----------
    rows : Rows
    dtype : dtype
        Of the fitted attributes.
    family : CovarianceFamily
    n_components : int
    reg_covar : float
    control : Control
    start : Start
    sample_rows : int
    plan : ExecutionPlan
    execution : Execution
    scan : ScanSetup, optional
        Of the rows: the fit begins with it, and EM starts where it ends.
    """

    rows: Rows
    dtype: np.dtype[Any]
    family: CovarianceFamily
    n_components: int
    reg_covar: float
    control: Control
    start: Start
    sample_rows: int
    plan: ExecutionPlan
    execution: Execution
    scan: ScanSetup | None = None

    def run(self, rng: np.random.RandomState, emit: Callable[[Event], bool], keeper: Keeper | None) -> FitResult:
        """Fit, from where ``keeper`` was told of last."""
        run_pass = self.runner(emit)
        fresh = self._fresh(rng, known_again=keeper is not None)
        # The driver's own products are small, and their bits must not depend on the number of threads.
        with single_threaded_blas(), closing(run_pass), keeper or nullcontext():
            if keeper is None:
                journal = Journal(Progress(fresh), lambda progress: None)
            else:
                journal = Journal(keeper.begin(Progress(fresh)), keeper.keep)
            if keeper is not None:
                self._check_scanned(journal.progress.state, keeper.place)
            if isinstance(journal.progress.state, ScanProgress):
                journal.announce(self._after_scan(journal, emit, known_again=keeper is not None))
            begun: FitProgress = journal.progress.state
            numbers = rng if begun is fresh else begun.random_numbers.restore()
            algorithm = self.algorithm(begun, numbers, run_pass, emit)
            run_pass.n_passes = begun.n_reads + len(journal.progress.records)
            if keeper is None:
                return run(algorithm(lambda progress: None), run_pass)
            self.check_rows(begun, run_pass, keeper.place)
            run_pass.interval = keeper.interval
            result = run_on(algorithm(journal.announce), run_pass, journal)
            keeper.finish(journal.progress)
            return result

    def _fresh(self, rng: np.random.RandomState, *, known_again: bool) -> FitProgress | ScanProgress:
        """Where the fit begins."""
        seed = int(rng.randint(2**31 - 1))
        if self.scan is not None:
            return ScanProgress(seed, BFRState.empty(self.rows.n_features, self.dtype))
        return FitProgress(self.first_read(seed, known_again=known_again), RandomNumbers.of(rng))

    def _after_scan(self, journal: Journal, emit: Callable[[Event], bool], *, known_again: bool) -> FitProgress:
        """Run the scan to its end, from where the journal is."""
        if self.scan is None:
            raise AssertionError("the progress is that of a scan")
        ended = self.scan.ended(self.scan.rounds(journal.progress.state, emit, journal.announce))
        rng = np.random.RandomState(ended.seed)
        first = self.first_read(int(rng.randint(2**31 - 1)), known_again=known_again)
        return FitProgress(first, RandomNumbers.of(rng), n_reads=1, scan=ended)

    def algorithm(
        self, begun: FitProgress, rng: np.random.RandomState, run_pass: PassRunner, emit: Callable[[Event], bool]
    ) -> Callable[[Callable[[FitProgress], object]], Reads[FitResult]]:
        """The algorithm, of what it announces its progress to."""
        start = self.start
        if begun.scan is not None:
            state: BFRState = begun.scan.scan
            if state.parameters is None or state.coordinates is None:
                raise AssertionError("the scan has not ended")
            start = replace(start, found=self.family.to_user(state.parameters, state.coordinates))

        def prepare(moments: Moments) -> FitProblem:
            run_pass.learn(moments.lengths)
            missing = self.rows.missing != RAISE
            check_moments(moments, self.family, self.n_components, self.reg_covar, missing=missing)
            problem = self.problem(moments)
            if problem.known is not None:
                check_labelled(problem.known, moments.n_positive, self.start.weights)
            check_start(self.start.means, self.start.covariances, self.family, problem.coordinates)
            return problem

        return lambda announce: fit_mixture(
            begun, self.control, start, prepare, self.run_on_sample, rng, emit, announce
        )

    def problem(self, moments: Moments) -> FitProblem:
        """What is to be fitted to rows of these moments."""
        return FitProblem.of(self.family, self.n_components, moments, self.reg_covar, self.dtype, self.plan.options)

    def run_on_sample(self, sample: RowSample) -> RunPass:
        """Make a runner of passes over sampled rows."""
        chunk_rows = rows_together(self.rows.missing, sample.rows, self.plan.chunk_rows)
        return PassRunner(Rows.from_array(sample.rows, sample.weights, chunk_rows), self.plan)

    def first_read(self, seed: int, *, known_again: bool) -> MomentsMap:
        """The map of the first read, which looks at some chunks by which the rows are known again."""
        chunks = self.rows.n_chunks
        probes = tuple(sorted({0, seed % chunks, chunks - 1})) if known_again else ()
        if self.rows.labels is None:
            return MomentsMap(seed, self.sample_rows, threshold_for(self.sample_rows, self.rows.n_rows), probes)
        # Nobody knows how many rows are not labelled, and the sample must hold some if there are any.
        known = KnownMap(self.family.name, self.n_components)
        return MomentsMap(seed, self.sample_rows, threshold_for(self.sample_rows, None), probes, known)

    def runner(self, emit: Callable[[Event], bool], beside: Sequence[FitSetup] = ()) -> PassRunner:
        """Choose where the rows are held; fits of the same rows ``beside`` this one share the reads."""
        rows, execution = self.rows, self.execution
        resources = Resources.measure(rows, execution.memory_limit)
        sample_rows = self.sample_rows if rows.n_rows is None else min(self.sample_rows, rows.n_rows)
        sample = 8 * rows.n_features * sample_rows
        models = tuple((setup.family, setup.n_components) for setup in (self, *beside))
        decision = decide(execution, rows, models, self.plan, resources, sample)
        emit(
            ExecutionChosen(
                decision.persist,
                decision.lean,
                rows.nbytes,
                decision.needs.total,
                resources.free,
                resources.n_workers,
                resources.n_threads,
            )
        )
        return PassRunner(
            rows,
            self.plan,
            emit,
            decision.persist,
            decision.lean,
            resources,
            pass_retries=execution.pass_retries,
        )

    def _check_scanned(self, begun: FitProgress | ScanProgress, place: str) -> None:
        """Refuse to go on with a scan of rows that are not those that it began with."""
        scan = begun if isinstance(begun, ScanProgress) else begun.scan
        if self.scan is not None and scan is not None:
            self.scan.check_rows(scan, place)

    def check_rows(self, begun: FitProgress, run_pass: PassRunner, place: str) -> None:
        """Refuse to go on with rows that are not those that the fit began with.

        Raises
        ------
        CheckpointMismatchError
            If a chunk that was looked at in the first read is another one now.
        """
        if begun.moments is None or not begun.moments.probes:
            return
        probes = begun.moments.probes
        rows = self.rows.chunks([probe.chunk for probe in probes])
        look = MomentsMap(0, 0, 0, tuple(range(len(probes))))
        found = PassRunner(rows, self.plan, resources=run_pass.resources)(look).probes
        for probe, now in zip(probes, found, strict=True):
            difference = probe.difference(now)
            if difference is not None:
                raise CheckpointMismatchError(
                    f"{place}: the checkpoint is of other data: in chunk {probe.chunk} of X {difference}; "
                    "give the data that the fit began with, or another checkpoint"
                )


def warn_of(result: FitResult, tol: float | str) -> None:
    """Say to the caller of ``fit`` what its result lacks."""
    dead = np.flatnonzero(result.parameters.weights == 0.0)
    if result.starved.any():
        moved = np.flatnonzero(result.starved)
        message = f"components {moved.tolist()} had too few rows and were moved to rows of low density"
        if len(dead):
            message += f"; {dead.tolist()} had too few there too: they have weight 0, the others took their rows"
        warnings.warn(
            f"{message}; decrease n_components, or try another start",
            StarvedComponentWarning,
            stacklevel=3,
        )
    if result.reason is StopReason.MAX_ITER:
        bounds, rise = result.lower_bounds, ""
        if len(bounds) > 1:
            rise = f": the mean log-likelihood still rises by {bounds[-1] - bounds[-2]:.2g} nats per row"
        warnings.warn(
            f"the fit did not converge in {result.n_iter} iteration{'s' if len(bounds) > 1 else ''}{rise} "
            f"(tol={tol}); increase max_iter or tol, "
            "or check for degenerate data",
            ConvergenceWarning,
            stacklevel=3,
        )
