"""Reports as pages: of a job, and of a saved model."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.estimators._seeing import look_at
from dgmm.fitting.events import Event, PassFinished, RoundFinished, StartChosen
from dgmm.jobs.pixels import COLOURS
from dgmm.jobs.report import versions
from dgmm.jobs.specification import ImageInput

if TYPE_CHECKING:
    from dgmm.estimators.loading import Mixture
    from dgmm.inputs.table import Table
    from dgmm.jobs.loading import Job
    from dgmm.storage.urls import Location
    from dgmm.viz.content import ReportContent
    from dgmm.viz.labelmap import LabelMap

_PASSES = {"moments": "first read: moments and sample", "statistics": "EM iterations", "rounds": "rounds of the scan"}


class Stopwatch:
    """Takes the events of a fit, and tells what took how long."""

    def __init__(self) -> None:
        self._passes: dict[str, tuple[int, float]] = {}
        self._start = self._rounds = 0.0

    def __call__(self, event: Event) -> None:
        """Take an event."""
        match event:
            case PassFinished():
                reads, seconds = self._passes.get(event.name, (0, 0.0))
                self._passes[event.name] = reads + 1, seconds + event.seconds
            case StartChosen():
                self._start += event.seconds
            case RoundFinished():
                self._rounds += event.seconds

    def parts(self, seconds: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
        """Parts of the time of a job, in the order that they come in; ``seconds`` is of the fit, and in total."""
        found = []
        for name, (reads, taken) in self._passes.items():
            count = f", {reads} reads" if reads > 1 else ""
            found.append((f"{_PASSES.get(name, name)}{count}", taken))
        if self._start:
            found.insert(min(len(found), 1), ("start, from the sample in memory", self._start))
        if self._rounds and "rounds" not in self._passes:
            found.append((_PASSES["rounds"], self._rounds))
        rest = seconds["fit"] - sum(taken for _, taken in found)
        if rest > 0.0:
            found.append(("rest of the fit, in memory", rest))
        found.append(("before and after: opening, scoring, writing", max(seconds["total"] - seconds["fit"], 0.0)))
        return tuple(found)


def job_page(
    job: Job, model: Mixture, report: Mapping[str, Any], watch: Stopwatch, grid: LabelMap | None
) -> ReportContent:
    """What the page of a job tells; ``report`` is its report."""
    facts = [("job", report["job"]), ("input", report["input"]), ("computed on", report["cluster"])]
    facts += [(f"model.{key}", str(value)) for key, value in report["model"].items() if value is not None]
    known: dict[str, Any] = {}
    if isinstance(job.input, ImageInput):
        known["feature_names"] = COLOURS
    return model._report_content(
        Path(job.file).name,
        n_rows=float(report["n_rows"]),
        log_likelihood=report.get("mean_log_likelihood"),
        bic=report.get("bic"),
        grid=grid,
        seconds=watch.parts(report["seconds"]),
        facts=tuple(facts),
        versions=tuple(report["versions"].items()),
        **known,
    )


def model_page(path: Location, mixture: Mixture, data: str, table: Table | None) -> ReportContent:
    """What the page of a saved model tells.

    Parameters
    ----------
    path : path or URL
        Of the model.
    mixture : mixture
    data : str
        What the rows come from.
    table : Table, optional
        Rows: some are drawn below the components, and if they lie in lines and columns a map is made, which reads
        them once.
    """
    facts, known = [("model", str(path))], {}
    if table is not None:
        known = look_at(mixture, table)
        facts.append(("data", data))
    made = (("python", platform.python_version()), *versions().items())
    return mixture._report_content(path.name, facts=tuple(facts), versions=made, **known)
