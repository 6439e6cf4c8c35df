"""What a job that runs has made so far, and what it has made in the end."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from dgmm.jobs.checks import check_files
from dgmm.jobs.clusters.opening import open_cluster
from dgmm.jobs.page import Stopwatch
from dgmm.jobs.resuming import EarlierRun
from dgmm.jobs.runs.holding import holding
from dgmm.jobs.runs.performance import PERFORMANCE, reporting_performance

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from dgmm.estimators.eigenmoments import EigenMoments
    from dgmm.estimators.loading import Mixture
    from dgmm.estimators.selection import Selection
    from dgmm.inputs.signals import Signals
    from dgmm.inputs.table import Table
    from dgmm.jobs.loading import Job
    from dgmm.jobs.progress import Reporter
    from dgmm.jobs.refitting import Refit
    from dgmm.storage.urls import Location
    from dgmm.viz.pictures import Picture


@dataclass(frozen=True)
class JobResult:
    """What a job has made."""

    model: Mixture
    report: dict[str, Any]
    """What ran, on what, how it ended; the content of ``output.report``."""
    outputs: dict[str, Location]
    """The files and stores that were written, by their key in the section ``output``."""


@dataclass(frozen=True)
class Surroundings:
    """What is known around a run by whoever keeps a record of it.

    Attributes
    ----------
    own : frozenset of path or URL
        Outputs that earlier runs of the job have written: they may be replaced.
    folder : path or None
        Where Dask's performance report is written, if the job asks for it.
    held : bool
        Whether other processes are kept from the outputs already.
    """

    own: frozenset[Location] = frozenset()
    folder: Path | None = None
    held: bool = False


ALONE = Surroundings()
"""Those of a run that nobody keeps a record of."""


@dataclass
class JobRun:
    """A job that runs: what its stages have made so far. Within its context the job's cluster is current.

    Parameters and errors are those of :func:`dgmm.jobs.run_job`.
    """

    job: Job
    told: Reporter
    around: Surroundings = ALONE
    anew: bool = False
    earlier: EarlierRun = field(init=False)
    began: float = field(default_factory=time.perf_counter)
    watch: Stopwatch = field(default_factory=Stopwatch)
    picture: Picture | None = None
    base: Mixture | None = None
    """The model that was there before, whose features are taken."""
    signals: Signals = field(init=False)
    features: EigenMoments | None = None
    """Of the signals: they are the rows."""
    table: Table = field(init=False)
    model: Mixture = field(init=False)
    """Which labels the rows."""
    fitted: Mixture | None = None
    """What was fitted, where that is another one."""
    selection: Selection | None = None
    refit: Refit | None = None
    report: dict[str, Any] = field(init=False)
    seconds: dict[str, float] = field(default_factory=dict)
    """What the stages before the fit took."""
    done: bool = False
    """Whether nothing is left to do; the stages that follow are left out."""
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        """Hold the outputs, look at what lies there, and begin to report."""
        with ExitStack() as stack:
            if not self.around.held:
                stack.enter_context(holding(self.job))
            earlier = EarlierRun.of(self.job, anew=self.anew)
            self.earlier = replace(earlier, outputs=earlier.outputs | self.around.own)
            if self.anew and self.job.checkpoint is not None:
                self.job = replace(self.job, checkpoint=self.job.checkpoint.model_copy(update={"resume": "never"}))
            check_files(self.job, self.earlier.outputs)
            stack.enter_context(self.told)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take down whatever was started for the job."""
        self._stack.__exit__(kind, error, trace)

    def open_cluster(self) -> None:
        """Make the job's cluster current until the run ends."""
        client = self._stack.enter_context(open_cluster(self.job.cluster, tell=self.told.step))
        if not self.job.run.performance_report or self.around.folder is None:
            return
        if client is None:
            self.told.step("no performance report: Dask makes one on clusters that have a scheduler")
        else:
            self._stack.enter_context(reporting_performance(self.around.folder / PERFORMANCE))

    def take(self, table: Table) -> None:
        """Take rows for those of the job, in the type that it asks for."""
        dtype = self.job.preprocess.dtype
        self.table = table if dtype is None else replace(table, X=table.X.astype(dtype))

    def result(self) -> JobResult:
        """What the job has made."""
        return JobResult(
            self.model, self.report, {key: path for key, path in self.job.output.paths.items() if path.exists()}
        )
