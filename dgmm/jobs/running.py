"""A checked job, run from its input to its outputs: a sequence of named stages over one state."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from dgmm.errors import DataError, ParameterError
from dgmm.estimators._seeing import map_of
from dgmm.estimators.bfr_gaussian_mixture import BFRGaussianMixture
from dgmm.estimators.gaussian_mixture import GaussianMixture
from dgmm.estimators.loading import load_mixture
from dgmm.estimators.selection import select
from dgmm.jobs.answers import INPUT_KEYS, SIGNAL_KEYS, check_answers, is_counted, misplaced, open_input, write_answers
from dgmm.jobs.checks import check_outputs
from dgmm.jobs.models import SavedSection, ScanSection, SelectionSection
from dgmm.jobs.page import job_page
from dgmm.jobs.pixels import PIXELS, prepare_pixels
from dgmm.jobs.preprocess import EigenMomentsSection, PlainSection, SavedFeatures
from dgmm.jobs.preprocessing import (
    features_in_report,
    load_features,
    open_signals_of,
    preprocess,
    rows_of_features,
)
from dgmm.jobs.progress import LogReporter, Reporter
from dgmm.jobs.refitting import Refit
from dgmm.jobs.report import make_report
from dgmm.jobs.resuming import checkpoint_of, own_outputs
from dgmm.jobs.shortage import telling_shortage
from dgmm.jobs.source import fail
from dgmm.jobs.specification import ImageInput, PathInput
from dgmm.jobs.state import ALONE, JobResult, JobRun, Surroundings
from dgmm.passes.execution import Execution
from dgmm.storage.replacing import replacing_file
from dgmm.viz.page import write_page
from dgmm.viz.segmentation import save_figure, segmentation_figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dgmm.estimators.loading import Mixture
    from dgmm.inputs.table import Table
    from dgmm.jobs.loading import Job
    from dgmm.storage.checkpoint import Checkpoint
    from dgmm.storage.urls import Location


T = TypeVar("T")


@dataclass(frozen=True)
class Stage:
    """A part of a job that has a name."""

    name: str
    do: Callable[[JobRun], None]
    is_of: Callable[[Job], bool] = lambda job: True
    """Whether a job has it."""


Perform: TypeAlias = "Callable[[str, Callable[[], None]], None]"
"""Is given the name of each stage and what does it, and does it."""


def perform_at_once(name: str, do: Callable[[], None]) -> None:
    """Do what a stage does."""
    do()


def run_job(
    job: Job,
    reporter: Reporter | None = None,
    *,
    anew: bool = False,
    perform: Perform = perform_at_once,
    around: Surroundings = ALONE,
) -> JobResult:
    """Run a job: read, fit, write the outputs.

    It leaves nothing but the outputs, and its checkpoint if it has one; :func:`dgmm.jobs.run_file` keeps a record, and
    does nothing twice also without a checkpoint.

    Parameters
    ----------
    job : Job
        From :func:`load_job`.
    reporter : Reporter, optional
        Takes the job's steps and the fit's events; a plain log if left out.
    anew : bool
        Whether to do it from the beginning, whatever is done or half done already.
    perform : callable
        Is given the name of each stage, and a function without arguments that does it, and calls that.
    around : Surroundings
        What is known by whoever keeps a record of the run.

    Raises
    ------
    JobRunningError
        If another process writes to the same places.
    JobError
        If an input is missing or an output is in the way; nothing has been started then.
    DataError
        If the data cannot be used.
    ClusterError
        If the cluster cannot be reached, or is lost.
    InsufficientMemoryError
        If there is not enough memory.
    CheckpointError
        If the job has a checkpoint that is of another job, is damaged, or is in use.
    """
    with telling_shortage(), JobRun(job, reporter or LogReporter(), around, anew) as run:
        for stage in STAGES[job.kind]:
            if not run.done and stage.is_of(job):
                perform(stage.name, partial(stage.do, run))
        return run.result()


def _prepare(run: JobRun) -> None:
    if isinstance(run.job.input, ImageInput):
        run.picture = prepare_pixels(run.job, run.job.input, run.told)


def _load(run: JobRun) -> None:
    if isinstance(run.job.model, SavedSection):
        run.told.step(f"reading the model {run.job.model.path.name}")
        run.base = run.model = load_mixture(run.job.model.path)


def _recover(run: JobRun) -> None:
    run.refit = Refit.begin(run.job, run.told)
    run.base = run.refit.last


def _open(run: JobRun) -> None:
    run.open_cluster()
    kind = run.job.preprocess
    if isinstance(kind, SavedFeatures):
        run.features = load_features(kind.path, run.told)
    with _lines(run.job):
        if isinstance(kind, PlainSection):
            table = open_input(_input(run.job), run.base)
        else:
            run.signals = open_signals_of(_input(run.job), kind, run.features)
            table = run.signals.table
    _check(run, table)
    # Of signals whose features are not known yet the next stage makes rows.
    run.take(table if run.features is None else rows_of_features(run.signals, run.features))


def _fit(run: JobRun) -> None:
    run.model, seconds = _fitted(run)
    if run.earlier.report is not None and not _has_gone_on(run.model, run.earlier.report):
        new = "no rows are new, and " if _grows(run.job) else ""
        run.told.step(f"{new}everything was written before: nothing is left to do")
        run.report, run.done = run.earlier.report, True
        return
    run.report = _reported(run, run.model, seconds)


def _score(run: JobRun) -> None:
    began = time.perf_counter()
    run.report = _reported(run, run.model, 0.0)
    run.report["seconds"]["fit"] = round(time.perf_counter() - began, 3)


def _look(run: JobRun) -> None:
    """See whether the rows are those of the last refit."""
    refit = _there(run.refit)
    known = refit.look(run.table, run.told, anew=run.anew)
    if known is not None:
        run.report, run.model, run.fitted = known, _there(refit.last), refit.candidate()
        run.done = refit.settled and run.earlier.report is not None
        run.told.step(
            "these rows were compared before, and everything was written: nothing is left to do"
            if run.done
            else "these rows were compared before: the outputs are written again"
        )


def _refit(run: JobRun) -> None:
    refit = _there(run.refit)
    if refit.decided:
        return
    began = time.perf_counter()
    run.fitted = refit.fit(partial(_fit_mixture, run), checkpoint_of(run.job, run.earlier), run.told)
    run.report = _reported(run, run.fitted, time.perf_counter() - began)
    run.model = refit.decide(run.fitted, run.report, run.told)


def _write(run: JobRun) -> None:
    check_outputs(run.job, run.earlier.outputs)  # the fit may have taken days
    with own_outputs(run.job) as written:
        _write_outputs(run)
        written(run.report)
    if run.refit is not None:
        run.refit.settle()


_OF_A_FIT = (
    Stage("prepare", _prepare),
    Stage("open", _open),
    Stage("preprocess", preprocess, lambda job: isinstance(job.preprocess, EigenMomentsSection)),
    Stage("fit", _fit),
    Stage("write", _write),
)

STAGES: dict[str, tuple[Stage, ...]] = {
    "gaussian_mixture": _OF_A_FIT,
    "bfr": _OF_A_FIT,
    "selection": _OF_A_FIT,
    "saved": (
        Stage("prepare", _prepare),
        Stage("load", _load),
        Stage("open", _open),
        Stage("score", _score),
        Stage("write", _write),
    ),
    "refit": (
        Stage("prepare", _prepare),
        Stage("recover", _recover),
        Stage("open", _open),
        Stage("look", _look),
        Stage("fit", _refit),
        Stage("write", _write),
    ),
}
"""What is done for each kind of job, in this order."""


def _reported(run: JobRun, model: Mixture, seconds: float) -> dict[str, Any]:
    """The report of a model, whose fit took these seconds."""
    report = make_report(run.job, model, run.table, run.job.cluster.words, run.told, run.selection)
    if run.features is not None:
        report["preprocess"] = features_in_report(run.features)
    return report | {"seconds": {**run.seconds, "fit": round(seconds, 3)}}


def _there(value: T | None) -> T:
    """What a stage before has made."""
    if value is None:
        raise AssertionError("a stage before should have made this")
    return value


def _grows(job: Job) -> bool:
    return isinstance(job.input, PathInput) and job.input.growing


def _has_gone_on(model: Mixture, report: dict[str, Any]) -> bool:
    """Whether a scan has taken rows since a report."""
    return isinstance(model, BFRGaussianMixture) and model.n_iter_ != report["rounds"]


@contextmanager
def _lines(job: Job) -> Iterator[None]:
    """Errors of the body that are about a key of the job have its line."""
    try:
        yield
    except (DataError, ParameterError) as error:
        for section, keys in (("input", INPUT_KEYS), ("preprocess", SIGNAL_KEYS)):
            if (found := misplaced(error, keys)) is not None:
                key, text = found
                raise fail(job.file, (job.problem((section, key), text),)) from error
        raise


def _check(run: JobRun, table: Table) -> None:
    """Refuse rows that cannot be what the job needs, before anything is computed."""
    job, spec = run.job, run.job.model
    if _grows(job) and len(table.origin.sample_dims or ("row",)) != 1:
        dims, path = ", ".join(map(str, table.origin.sample_dims or ())), _input(job).path
        raise DataError(f"{path}: rows run over {dims}; what grows must have one dimension beside its features")
    fewest = min(spec.n_components) if isinstance(spec, SelectionSection) else getattr(spec, "n_components", None)
    check_answers(job.output, table, fewest or _there(run.base).n_components)


def _input(job: Job) -> PathInput:
    return job.input if isinstance(job.input, PathInput) else _pixels(job.input)


def _pixels(section: ImageInput) -> PathInput:
    return PathInput.model_construct(path=str(section.store), variable=PIXELS, sample_weight=section.sample_weight)


def _fitted(run: JobRun) -> tuple[Mixture, float]:
    """The model, and the seconds that its fit took."""
    spec, checkpoint = run.job.model, checkpoint_of(run.job, run.earlier)
    parameters = spec.model_dump(exclude={"kind"})
    began = time.perf_counter()
    model: Mixture
    if isinstance(spec, SelectionSection):
        model = _selected(run, spec, checkpoint)
    elif isinstance(spec, ScanSection):
        scan = BFRGaussianMixture(**parameters)
        _fit_mixture(run, scan, checkpoint, fit=scan.fit_growing if _grows(run.job) else scan.fit)
        model = scan
    else:
        model = GaussianMixture(**parameters)
        _fit_mixture(run, model, checkpoint)
    return model, time.perf_counter() - began


def _rows_in_words(run: JobRun) -> str:
    n, d = run.table.X.shape
    rows = f"{n:,} rows" if is_counted(run.table) else "rows"
    return f"{rows} of {d} features on {run.job.cluster.words}"


def _fit_mixture(
    run: JobRun, model: Mixture, checkpoint: Checkpoint | None, *, fit: Callable[..., Any] | None = None
) -> None:
    cluster = run.job.cluster
    run.told.step(f"fitting {model.n_components} components ({model.covariance_type}) to {_rows_in_words(run)}")
    if isinstance(model, GaussianMixture):
        run.told.expect(model.tol)
    (fit or model.fit)(
        run.table,
        checkpoint=checkpoint,
        callbacks=(run.told, run.watch),
        execution=Execution(persist=cluster.persist, lean=cluster.lean),
    )


def _selected(run: JobRun, spec: SelectionSection, checkpoint: Checkpoint | None) -> GaussianMixture:
    n = len(spec.n_components) * len(spec.covariance_type)
    run.told.step(f"fitting {n} candidates to {_rows_in_words(run)}")
    cluster = run.job.cluster
    run.selection = select(
        run.table,
        **spec.model_dump(exclude={"kind", "choose"}),
        checkpoint=checkpoint,
        callbacks=(run.told, run.watch),
        execution=Execution(persist=cluster.persist, lean=cluster.lean),
    )
    key = run.selection.simplest if spec.choose == "simplest" else run.selection.best
    return run.selection.models[key]


def _write_outputs(run: JobRun) -> None:
    job, model, table, told, report = run.job, run.model, run.table, run.told, run.report
    paths = job.output.paths
    replaced = {key: job.output.overwrite or path in run.earlier.outputs for key, path in paths.items()}
    # The report is written last and removed first: where it stands, the other outputs belong to it.
    if "report" in paths:
        paths["report"].unlink(missing_ok=True)
    if "model" in paths and not report.get("started", True):
        told.step("too few rows have come for a start: no model is written yet")
    elif "model" in paths and run.refit is None:
        told.step(f"writing the model to {paths['model'].name}")
        model.save(paths["model"], overwrite=replaced["model"])
    if "preprocess" in paths:
        told.step(f"writing the features to {paths['preprocess'].name}")
        _there(run.features).save(paths["preprocess"], overwrite=replaced["preprocess"])
    write_answers(job.output, model, table, told, overwrite=replaced)
    if "picture" in paths and run.picture is not None:
        told.step(f"drawing {paths['picture'].name}")
        figure = segmentation_figure(
            run.picture.pixels,
            np.asarray(model.predict(table)),
            model.means_,
            model.lower_bounds_,
            name=run.picture.name,
            covariance_type=model.covariance_type,
            converged=model.converged_,
        )
        save_figure(figure, paths["picture"])
    report["seconds"]["total"] = round(time.perf_counter() - run.began, 3)
    if "page" in paths and report.get("started", True):
        told.step(f"writing {paths['page'].name}")
        # Rows of one scan may be read once: no map is made of them.
        grid = None if isinstance(model, BFRGaussianMixture) else map_of(model.predict(table))
        write_page(job_page(job, run.fitted or model, report, run.watch, grid, run.selection), paths["page"])
    if "report" in paths:
        _write_text(paths["report"], json.dumps(report, indent=2) + "\n")


def _write_text(path: Location, text: str) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
