"""Jobs as Prefect flows: a task for each stage, retries that resume, artifacts that show the model.

All that dgmm takes from Prefect is imported here, and not before a flow is made. `dgmm schedule --for prefect`
writes the file that does so; the flow runs in a process that Prefect starts.
"""

from __future__ import annotations

import logging
import re
import warnings
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.errors import DgmmError, MissingExtraError
from dgmm.jobs.exits import INTERRUPTED, NO_CLUSTER, exit_code
from dgmm.jobs.loading import load_cluster, load_job
from dgmm.jobs.page import Stopwatch, job_page
from dgmm.jobs.progress import LogReporter
from dgmm.jobs.report import in_words
from dgmm.jobs.runs.recording import run_file
from dgmm.viz.markdown import component_rows, markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dgmm.fitting.events import Event
    from dgmm.jobs.loading import Job
    from dgmm.jobs.state import JobResult


logger = logging.getLogger("dgmm")

RETRIED = (NO_CLUSTER, INTERRUPTED)
"""Exit codes after which another attempt may end otherwise; a bad job and bad data are the same the next time."""


def job_flow(name: str, *, retries: int = 3, retry_delay_seconds: float = 60.0) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that makes a Prefect flow of a function that calls :func:`run_in_tasks`.

    Parameters
    ----------
    name : str
        Of the flow.
    retries : int
        How often the job goes on, from its checkpoint, after an attempt that was lost: to an
        error of :data:`RETRIED`, or with its process.
    retry_delay_seconds : float

    Raises
    ------
    MissingExtraError
        If Prefect is not installed.
    """
    decorator: Callable[[Callable[..., Any]], Any] = _prefect().flow(
        name=name,
        flow_run_name=_run_name,
        retries=retries,
        retry_delay_seconds=retry_delay_seconds,
        on_crashed=[go_on_later],
        persist_result=False,
    )
    return decorator


def run_in_tasks(job: str, cluster: str | None = None) -> Any:
    """Run a job within a flow of :func:`job_flow`, each of its stages as a task.

    Parameters
    ----------
    job : str
        Path of the job file.
    cluster : str, optional
        Path of a file that takes the place of its section ``cluster``.

    Returns
    -------
    prefect.states.State
        Completed, with a line on the model as its message, or failed, with what is wrong with the job or its data.

    Raises
    ------
    DgmmError
        Of :data:`RETRIED`: Prefect tries again.
    """
    prefect = _prefect()
    with _logging_into(prefect):
        try:
            where, told = None if cluster is None else load_cluster(cluster), _Told()
            run = run_file(job, told, cluster=where, command=["prefect", job], perform=partial(_task, prefect))
            if run.result is not None:
                _task(prefect, "show", partial(_show, prefect, load_job(job, cluster=where), run.result, told.watch))
        except Exception as error:
            if exit_code(error) in RETRIED:
                raise
            _retry_no_more(prefect)
            if not isinstance(error, DgmmError):
                raise
            # What is wrong with a job or its data is told in its own words, without the way that it took.
            logger.error("%s", error)
            return prefect.states.Failed(message=str(error))
    nothing = "nothing was left to do: " if run.result is None else ""
    return prefect.states.Completed(message=nothing + in_words(run.report))


def serve(flow: Any, *, job: str, cluster: str | None, cron: str, timezone: str) -> None:
    """Serve a flow of :func:`job_flow` until this process ends, and run it by the clock, one run at a time.

    Parameters
    ----------
    flow : prefect.Flow
    job, cluster : str
        As for :func:`run_in_tasks`.
    cron : str
        A cron expression, as ``"0 2 * * *"``.
    timezone : str
        As ``"Europe/Berlin"``.
    """
    prefect = _prefect()
    flow.serve(
        name=flow.name,
        schedule=prefect.schedules.Cron(cron, timezone=timezone),
        parameters={"job": job, "cluster": cluster},
        limit=1,
    )


def go_on_later(flow: Any, flow_run: Any, state: Any) -> None:
    """Schedule a run again whose process was lost (killed, out of memory, a machine that went away).

    Prefect calls it, in the process that serves the flow. The next attempt goes on from the job's checkpoint.
    """
    prefect = _prefect()
    states, schemas = prefect.states, prefect.client.schemas
    with prefect.get_client(sync_client=True) as client:
        # What this function is given is as old as the start of the run.
        now = client.read_flow_run(flow_run.id)
        if now.deployment_id is not None and now.run_count <= flow.retries:
            at = datetime.now(UTC) + timedelta(seconds=float(flow.retry_delay_seconds or 0.0))
            again = states.AwaitingRetry(scheduled_time=at, message="goes on from its checkpoint")
            client.set_flow_run_state(flow_run.id, again)
        lost = client.read_task_runs(
            flow_run_filter=schemas.filters.FlowRunFilter(id={"any_": [flow_run.id]}),
            task_run_filter=schemas.filters.TaskRunFilter(state={"name": {"any_": ["Running"]}}),
            sort=schemas.sorting.TaskRunSort.ID_DESC,
            limit=100,
        )
        for task_run in lost:
            client.set_task_run_state(task_run.id, states.Crashed(message="lost with its process"), force=True)


class _Told(LogReporter):
    """Logs what a job tells, and takes the time of its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.watch = Stopwatch()

    def __call__(self, event: Event) -> None:
        """Take an event of the fit."""
        super().__call__(event)
        self.watch(event)


def _show(prefect: Any, job: Job, result: JobResult, watch: Stopwatch) -> None:
    """Leave the report and the table of components as artifacts, which Prefect keeps from run to run."""
    artifacts, report = prefect.artifacts, result.report
    name, words = re.sub(r"[^a-z0-9]+", "-", Path(job.file).stem.lower()).strip("-") or "job", in_words(report)
    if not report.get("started", True):
        artifacts.create_markdown_artifact(words, key=f"{name}-report")
        return
    content = job_page(job, result.model, report, watch, None)
    written = [(key, str(place)) for key, place in result.outputs.items()]
    artifacts.create_markdown_artifact(markdown(content, written), key=f"{name}-report", description=words)
    artifacts.create_table_artifact(
        component_rows(content), key=f"{name}-components", description="weights, means and standard deviations"
    )
    if "selection" in report:
        candidates = report["selection"]["candidates"]
        artifacts.create_table_artifact(candidates, key=f"{name}-candidates", description=f"the candidates: {words}")


def _task(prefect: Any, name: str, run: Callable[[], Any]) -> Any:
    """Run something as a task of the current flow, in this process."""

    def stage() -> Any:
        return run()

    no_cache = prefect.cache_policies.NO_CACHE
    return prefect.task(name=name, task_run_name=name, cache_policy=no_cache, persist_result=False)(stage)()


def _run_name() -> str:
    """Name a run by its time, which is how a person looks for it."""
    run = _prefect().runtime.flow_run
    return f"{run.flow_name} {run.scheduled_start_time.astimezone():%Y-%m-%d %H:%M}"


def _retry_no_more(prefect: Any) -> None:
    """Take the retries from a run that would fail each time."""
    flow_run = prefect.context.FlowRunContext.get().flow_run
    policy = flow_run.empirical_policy.model_copy(update={"retries": 0})
    with prefect.get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, empirical_policy=policy)


class _IntoPrefect(logging.Handler):
    """Hands records to the log of the task that runs, or of the flow."""

    def __init__(self, prefect: Any) -> None:
        super().__init__()
        self._logging, self._missing = prefect.logging, prefect.exceptions.MissingContextError
        self._flow_log = prefect.logging.get_run_logger()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            log = self._logging.get_run_logger()
        except self._missing:  # another thread
            log = self._flow_log
        log.log(record.levelno, "%s", self.format(record))


@contextmanager
def _logging_into(prefect: Any) -> Iterator[None]:
    handler, level, propagate, show = _IntoPrefect(prefect), logger.level, logger.propagate, warnings.showwarning
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    warnings.showwarning = lambda message, category, *_, **__: logger.warning("%s: %s", category.__name__, message)
    try:
        yield
    finally:
        warnings.showwarning = show
        logger.propagate = propagate
        logger.setLevel(level)
        logger.removeHandler(handler)


def _prefect() -> Any:
    try:
        import prefect
        import prefect.artifacts
        import prefect.cache_policies
        import prefect.client.schemas.filters
        import prefect.client.schemas.sorting
        import prefect.context
        import prefect.exceptions
        import prefect.logging
        import prefect.runtime.flow_run
        import prefect.schedules
        import prefect.states
    except ImportError as error:
        raise MissingExtraError("prefect", "prefect", "running a job as a Prefect flow") from error
    return prefect
