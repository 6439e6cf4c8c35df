"""Reports as pages: of a job, and of a saved model."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.estimators._seeing import look_at
from dgmm.fitting.events import Event, PassFinished, RoundFinished, StartChosen
from dgmm.jobs.pixels import COLOURS
from dgmm.jobs.refitting import refit_in_words
from dgmm.jobs.report import versions
from dgmm.jobs.specification import ImageInput

if TYPE_CHECKING:
    from dgmm.estimators.loading import Mixture
    from dgmm.estimators.selection import Selection
    from dgmm.inputs.table import Table
    from dgmm.jobs.loading import Job
    from dgmm.storage.urls import Location
    from dgmm.viz.content import Note, ReportContent
    from dgmm.viz.labelmap import LabelMap

_PASSES = {
    "signals": "features of the signals",
    "noise": "noise alone",
    "moments": "first read: moments and sample",
    "statistics": "EM iterations",
    "rounds": "rounds of the scan",
}


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
        fit = seconds["fit"] + seconds.get("preprocess", 0.0)
        rest = fit - sum(taken for _, taken in found)
        if rest > 0.0:
            found.append(("rest of the fit, in memory", rest))
        found.append(("before and after: opening, scoring, writing", max(seconds["total"] - fit, 0.0)))
        return tuple(found)


def job_page(
    job: Job,
    model: Mixture,
    report: Mapping[str, Any],
    watch: Stopwatch,
    grid: LabelMap | None,
    selection: Selection | None = None,
) -> ReportContent:
    """What the page of a job tells; ``report`` is its report, ``selection`` what the model was chosen by."""
    facts = [("job", report["job"]), ("input", report["input"]), ("computed on", report["cluster"])]
    facts += [(f"model.{key}", str(value)) for key, value in report["model"].items() if value is not None]
    features = report.get("preprocess", {})
    facts += [(f"preprocess.{key}", str(value)) for key, value in features.items() if _is_plain(value)]
    known: dict[str, Any] = {}
    if isinstance(job.input, ImageInput):
        known["feature_names"] = COLOURS
    if report["kind"] == "saved":  # it was fitted to other rows
        known["noted"] = tuple(_of_rows(report))
    else:
        known |= {"n_rows": float(report["n_rows"]), "log_likelihood": report.get("mean_log_likelihood")}
        known["bic"] = report.get("bic")
    if selection is not None:
        known["draw_selection"] = lambda ax: selection.plot(ax=ax)
        known["selection_words"] = (
            f"By {selection.criterion}: {model.n_components} components, covariances {model.covariance_type}."
        )
    if "refit" in report:
        known["noted"] = tuple(_of_refit(report["refit"]))
        known["compared"] = _compared(report["refit"])
        facts += [(f"refit.{key}", str(value)) for key, value in report["refit"].items() if _is_plain(value)]
    return model._report_content(
        Path(job.file).name,
        grid=grid,
        seconds=watch.parts(report["seconds"]),
        facts=tuple(facts),
        versions=tuple(report["versions"].items()),
        **known,
    )


_MANY_RARE = 3.0
"""Times as many rare rows as are expected are told."""


def _of_rows(report: Mapping[str, Any]) -> Iterator[Note]:
    """What is to be said of rows that a model was not fitted to."""
    share, expected = report["rare_share"], report["rare_share_expected"]
    words = (
        f"The model describes {report['n_rows']:,} rows of {report['input']} with "
        f"{report['mean_log_likelihood']:.4f} nats per row; {share:.2%} of them are rare, where {expected:.2%} are "
        "expected."
    )
    if share > _MANY_RARE * expected:
        yield "problem", "Many rows are unlike those of the fit", words, "Look at them, or fit the model anew."
    else:
        yield "note", "The rows are like those of the fit", words, "There is nothing to do."


def _of_refit(refit: Mapping[str, Any]) -> Iterator[Note]:
    """What is to be said of a refit."""
    words = f"{refit_in_words(refit)[0].upper()}{refit_in_words(refit)[1:]}."
    if refit["before"] is None:
        yield "note", "The first model", words, "Later refits are compared with it."
    elif refit["promoted"]:
        yield "note", "The new model is the current one", words, "Components have the numbers that they had before."
    else:
        quiet = len(refit["reasons"]) == 1 and abs(refit["gain"]) <= refit["gain_needed"]  # nothing has changed
        advice = "There is nothing to do." if quiet else "This page shows the fit that was not taken."
        yield "note" if quiet else "problem", "The model before is kept", words, advice


def _compared(refit: Mapping[str, Any]) -> tuple[tuple[int, float, float, float], ...]:
    return tuple(
        (int(number), float(distance), float(before), float(now))
        for (number, _), distance, (before, now) in zip(
            refit.get("components", ()), refit.get("distances", ()), refit.get("weights", ()), strict=True
        )
    )


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str)


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
