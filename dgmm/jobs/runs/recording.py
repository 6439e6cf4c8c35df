"""Runs of jobs that leave a folder, and do nothing twice."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.errors import CheckpointError, CheckpointInUseError, JobError, WriteError
from dgmm.jobs.checks import check_runs, sources
from dgmm.jobs.digest import digest_of
from dgmm.jobs.exits import BAD_JOB, BUG, DONE, exit_code
from dgmm.jobs.loading import load_job
from dgmm.jobs.progress import LogReporter, Reporter
from dgmm.jobs.report import in_words
from dgmm.jobs.running import perform_at_once, run_job
from dgmm.jobs.runs.earlier import Before, adopt, look_back
from dgmm.jobs.runs.folders import (
    PROGRESS,
    OpenRun,
    Run,
    RunsFolder,
    clear_away,
    clear_progress,
    refuse_second,
    runs_in,
)
from dgmm.jobs.runs.holding import holding
from dgmm.jobs.runs.metrics import write_metrics
from dgmm.jobs.runs.origin import asked_for, keep_origin, kept_by, new_record
from dgmm.jobs.runs.recorder import Recorder
from dgmm.jobs.runs.records import RunRecord, Written, asked_again, ended, readable, write_record
from dgmm.jobs.runs.stamps import Stamp, stamp_of
from dgmm.jobs.specification import CheckpointSection
from dgmm.jobs.state import JobResult, Surroundings

if TYPE_CHECKING:
    from dgmm.jobs.clusters.sections import ClusterSection
    from dgmm.jobs.loading import Job
    from dgmm.jobs.running import Perform
    from dgmm.storage.urls import Location

logger = logging.getLogger("dgmm")

REPORT, PAGE = "report.json", "report.html"
_REPORTED = {"cluster": "cluster", "rows": "n_rows", "log_likelihood": "mean_log_likelihood"}
"""What a report tells of a run, by its name in the record."""


@dataclass(frozen=True)
class RecordedRun:
    """A run that has ended well, or had nothing to do.

    Attributes
    ----------
    report : dict
        What ran, on what, how it ended; the content of ``output.report``.
    outputs : dict of str to path or URL
        What was written, by its key in the section ``output``.
    folder : path or None
        Of the run that made them; None if the job keeps none.
    result : JobResult or None
        None if nothing was left to do.
    """

    report: dict[str, Any]
    outputs: dict[str, Location]
    folder: Path | None
    result: JobResult | None = None


def run_file(
    path: str | Path,
    reporter: Reporter | None = None,
    *,
    cluster: ClusterSection | None = None,
    anew: bool = False,
    command: Sequence[str] = (),
    perform: Perform = perform_at_once,
) -> RecordedRun:
    """Read, check and run a job file, and keep a record of that.

    A file that is wrong leaves a record too, where there are records of runs already.

    Parameters
    ----------
    path : path
    reporter : Reporter, optional
    cluster : ClusterSection, optional
        Takes the place of the file's own section.
    anew : bool
        Whether to run it from the beginning whatever was done before.
    command : sequence of str
        What the user typed, for the record.
    perform : callable
        See :func:`dgmm.jobs.run_job`.

    Raises
    ------
    JobRunningError
        If another process runs the job.
    JobError, DataError, ClusterError, CheckpointError
        As :func:`dgmm.jobs.load_job` and :func:`dgmm.jobs.run_job`.
    """
    try:
        job = load_job(path, cluster=cluster)
    except JobError as error:
        _record_refusal(Path(path), error, command)
        raise
    return run_recorded(job, reporter, anew=anew, command=command, perform=perform)


def run_recorded(
    job: Job,
    reporter: Reporter | None = None,
    *,
    anew: bool = False,
    command: Sequence[str] = (),
    perform: Perform = perform_at_once,
) -> RecordedRun:
    """Run a job as :func:`dgmm.jobs.run_job` does, in a folder of its own.

    It goes on from where an unfinished run of the same job was ended, and does nothing if a finished one found the
    same inputs and its outputs lie there as it wrote them. Parameters and errors are those of :func:`run_file`.
    """
    told = reporter or LogReporter()
    with ExitStack() as held, _runs_folder(job) as (folder, stays):
        record = replace(
            new_record(Path(job.file), command),
            digest=digest_of(job),
            asked=asked_for(job),
            cluster=job.cluster.kind,
            inputs=_inputs(job),
            outputs={key: Written(str(path)) for key, path in job.output.paths.items()},
        )
        forgets = job.checkpoint is not None and job.checkpoint.resume == "never" and not anew
        with folder.beginning() as runs:
            runs = adopt(record, runs, job.run.metrics)
            refuse_second(record, runs)
            keeps = stays and folder.can_lock and job.checkpoint is None and not job.keeps_no_progress
            look = partial(look_back, record, runs, job.output.paths, anew=anew, keeps=keeps)
            before = Before() if forgets else look()
            if before.done is not None and before.nothing_left and (report := _report_in(before.done.path)) is not None:
                return _nothing_left(job, before.done, record, report, told)
            held.enter_context(holding(job))
            before = before if forgets else look()  # whoever held them may have written
            opened = _open(folder, record, before, job)
        success = _last_success(runs, record)
        recorder = Recorder(opened.path, opened.record, told)
        try:
            with recorder.listening():
                if before.why:
                    recorder.step(before.why)
                placed = _placed(job, opened) if keeps else job
                made = _run(placed, recorder, before, opened.path, anew=anew, perform=perform)
                return made if stays else replace(made, folder=None)
        finally:
            opened.close()
            recorder.close()
            _tell_prometheus(job.run.metrics, recorder.record, success)
            with folder.beginning() as runs:
                clear_progress(runs, record.digest)
                clear_away(runs, record.job, job.run.keep)


def _inputs(job: Job) -> dict[str, Stamp | None]:
    """What lies at each place that a job reads, by its key."""
    found = {key: stamp_of(place) for key, place in sources(job)}
    model = getattr(job.model, "path", None)  # of kinds that take a model that is there
    return found if model is None else {**found, "model.path": stamp_of(model)}


@contextmanager
def _runs_folder(job: Job) -> Iterator[tuple[RunsFolder, bool]]:
    """The folder of a job's runs; and whether it stays, as one that nobody wants or that cannot be there does not."""
    folder = None
    if job.run.folder is not None:
        try:
            check_runs(job)
            folder = RunsFolder(job.run.folder)
        except (JobError, WriteError) as error:
            if "folder" in job.run.model_fields_set:
                raise
            logger.warning("no record of this run is kept: %s; set run.folder", error)
    if folder is not None:
        yield folder, True
        return
    with tempfile.TemporaryDirectory(prefix="dgmm-run-") as temporary:
        yield RunsFolder(Path(temporary)), False


def _open(folder: RunsFolder, record: RunRecord, before: Before, job: Job) -> OpenRun:
    """Begin a run, with what it goes on from."""
    source = before.progress or (before.unfinished if job.checkpoint is not None else None)
    if before.unfinished is not None:
        record = replace(record, attempt=before.unfinished.record.attempt + 1)
    record = replace(record, anew=before.anew)
    opened = folder.open(replace(record, resumed_from=None if source is None else source.record.id))
    keep_origin(opened.path, job)
    if before.progress is not None:
        with suppress(OSError):
            before.progress.progress.rename(opened.path / PROGRESS)
    return opened


def _placed(job: Job, opened: OpenRun) -> Job:
    """The job with the place where its progress is kept."""
    return replace(job, checkpoint=CheckpointSection.model_construct(path=str(opened.path / PROGRESS)))


def _run(job: Job, recorder: Recorder, before: Before, folder: Path, *, anew: bool, perform: Perform) -> RecordedRun:
    """Run a job in its folder, and record how that ends."""

    def performed(name: str, do: Callable[[], None]) -> None:
        with recorder.stage(name):
            perform(name, do)

    around = Surroundings(before.own, folder, held=True)
    run = partial(run_job, job, recorder, anew=anew, perform=performed, around=around)
    progress = folder / PROGRESS
    try:
        try:
            result = run()
        except CheckpointError as error:
            # Progress that nobody asked for is not in the way.
            if before.progress is None or not progress.is_dir() or isinstance(error, CheckpointInUseError):
                raise
            logger.warning("what run %s kept cannot be used, all is done anew: %s", before.progress.record.id, error)
            shutil.rmtree(progress)
            result = run()
        written = {key: Written(str(path), stamp_of(path)) for key, path in job.output.paths.items()}
        _keep_reports(folder, result)
        known = {name: result.report.get(key) for name, key in _REPORTED.items()}
        known = {name: value for name, value in known.items() if value is not None}
        recorder.end(ended(recorder.record, DONE, outputs=written, says=in_words(result.report), **known))
    except BaseException as error:
        code = exit_code(error)
        recorder.fail(error, trace=code == BUG)
        recorder.end(ended(recorder.record, code, first_line(error)))
        raise
    shutil.rmtree(progress, ignore_errors=True)
    return RecordedRun(result.report, result.outputs, folder, result)


def _keep_reports(folder: Path, result: JobResult) -> None:
    page = result.outputs.get("page")
    with suppress(OSError):
        (folder / REPORT).write_text(json.dumps(result.report, indent=2) + "\n", encoding="utf-8")
        if isinstance(page, Path) and page.is_file():
            shutil.copyfile(page, folder / PAGE)


def _report_in(folder: Path) -> dict[str, Any] | None:
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) else None


def _nothing_left(job: Job, done: Run, new: RunRecord, report: dict[str, Any], told: Reporter) -> RecordedRun:
    """Say that a job is done, and note that it was asked for again."""
    record = asked_again(done.record)
    with told:
        told.step(
            "the input is as it was, and everything was written before: nothing is left to do "
            f"(run {record.id} of {readable(record.begun)})"
        )
    with suppress(WriteError):
        write_record(done.path, record)
    # The job file may be another one that asks for the same.
    _tell_prometheus(job.run.metrics, replace(record, job=new.job, name=new.name), 0.0)
    return RecordedRun(report, dict(job.output.paths), done.path)


def _tell_prometheus(place: Path | None, record: RunRecord, success: float) -> None:
    if place is None:
        return
    try:
        write_metrics(place, record, record.last_success or success or None)
    except WriteError as error:
        logger.warning("the metrics of this run are not written: %s", error)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, with what was noted with it on its way."""
    lines = str(error).splitlines() or [type(error).__name__]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return f"{lines[0]}{more}{''.join(f'; {note}' for note in getattr(error, '__notes__', ()))}"


def _record_refusal(path: Path, error: JobError, command: Sequence[str]) -> None:
    """Leave a record of a job file that is wrong, beside those of the runs before; one for all times in a row."""
    kept = kept_by(path)
    runs = [] if kept.folder is None else runs_in(kept.folder)
    if kept.folder is None or not runs:
        return
    record = ended(new_record(path, command), BAD_JOB, first_line(error))
    last = next((run for run in runs if run.record.job == record.job), None)
    with suppress(WriteError):
        if last is not None and (last.record.state, last.record.error) == (record.state, record.error):
            write_record(last.path, asked_again(last.record))
        else:
            RunsFolder(kept.folder).open(record).close()
            clear_away(runs_in(kept.folder), record.job, kept.keep)
    _tell_prometheus(kept.metrics, record, _last_success(runs, record))


def _last_success(runs: Sequence[Run], record: RunRecord) -> float:
    return max((run.record.last_success or 0.0 for run in runs if run.record.job == record.job), default=0.0)
