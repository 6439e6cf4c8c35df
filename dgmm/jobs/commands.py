"""Fitting and predicting by hand, without a job file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.errors import DataError, JobError, ParameterError
from dgmm.estimators._features import FEATURE
from dgmm.estimators.eigenmoments import EigenMoments
from dgmm.estimators.loading import load_mixture
from dgmm.jobs.answers import check_answers, misplaced, open_input, open_input_signals, write_answers
from dgmm.jobs.checks import PREDICTION_NAMES, check_prediction, check_report
from dgmm.jobs.clusters.opening import open_cluster
from dgmm.jobs.loading import load_cluster, make_job, make_prediction
from dgmm.jobs.page import model_page
from dgmm.jobs.preprocessing import load_features, rows_of_features
from dgmm.jobs.progress import LogReporter, Reporter
from dgmm.jobs.running import run_job
from dgmm.jobs.shortage import telling_shortage
from dgmm.jobs.state import JobResult
from dgmm.storage.urls import locate_output
from dgmm.viz.page import write_page
from dgmm.viz.segmentation import require_matplotlib

if TYPE_CHECKING:
    from dgmm.estimators.loading import Mixture
    from dgmm.inputs.table import Table
    from dgmm.jobs.specification import PathInput
    from dgmm.storage.urls import Location


def fit_source(
    source: Mapping[str, Any],
    output: str | Location,
    parameters: dict[str, Any],
    *,
    cluster: Path | None = None,
    checkpoint: str | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> JobResult:
    """Fit a mixture to what lies at a path or URL and save the model; the arguments are those of a job file.

    Raises
    ------
    JobError
        If a parameter is impossible or the model is in the way.
    DataError, ClusterError
        As :func:`dgmm.jobs.run_job`.
    """
    sections: dict[str, Any] = {
        "input": _given(source),
        "model": parameters,
        "output": {"model": str(output), "overwrite": overwrite},
    }
    if checkpoint is not None:
        sections["checkpoint"] = {"path": checkpoint}
    where = None if cluster is None else load_cluster(cluster)
    return run_job(make_job(sections, Path.cwd(), name="dgmm fit", cluster=where), reporter)


def predict_source(
    model: str | Location,
    source: Mapping[str, Any],
    outputs: Mapping[str, Any],
    *,
    preprocess: str | Location | None = None,
    cluster: Path | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Location]:
    """Write what a model says of the rows of what lies at a path or URL.

    Parameters
    ----------
    model : path or URL
    source, outputs : mapping
        The sections ``input`` and ``output`` of a job file.
    preprocess : path or URL, optional
        Of the features that the model was fitted to, where these are not the rows themselves.
    cluster : path, optional
    reporter : Reporter, optional

    Returns
    -------
    dict
        What was written, by the key of the output.

    Raises
    ------
    JobError
        If the model or the data are not there, an output is in the way, or columns are asked for that are not there.
    DataError, FormatError, ClusterError
        If the model or the data cannot be read or do not fit together, or the cluster is lost.
    """
    if not any(outputs.get(key) for key in PREDICTION_NAMES):
        raise JobError(f"dgmm predict: nothing would be written; give one of {', '.join(PREDICTION_NAMES.values())}")
    section, output = make_prediction(_given(source), _given(outputs), Path.cwd(), name="dgmm predict")
    model, place = locate_output(model), None if preprocess is None else locate_output(preprocess)
    check_prediction(model, section.path, output, place)
    where = None if cluster is None else load_cluster(cluster)
    with telling_shortage(), reporter or LogReporter() as told:
        told.step(f"reading the model {model.name}")
        mixture = load_mixture(model)
        table = _open(section, mixture, None if place is None else load_features(place, told))
        check_answers(output, table, mixture.n_components)
        with open_cluster(where, tell=told.step):
            write_answers(output, mixture, table, told, overwrite=dict.fromkeys(PREDICTION_NAMES, output.overwrite))
    return output.results


def report_source(
    model: str | Location,
    page: str | Location,
    source: Mapping[str, Any],
    *,
    preprocess: str | Location | None = None,
    overwrite: bool = False,
) -> None:
    """Write the page of a saved model.

    Parameters
    ----------
    model, page : path or URL
    source : mapping
        The section ``input`` of a job file, of rows that are drawn below the components; without a path the page
        shows those that the model holds.
    preprocess : path or URL, optional
        As in :func:`predict_source`.
    overwrite : bool

    Raises
    ------
    JobError
        If the model or the data are not there, or the page is in the way.
    DataError, FormatError
        If the model or the data cannot be read or do not fit together.
    MissingExtraError
        If matplotlib is not installed.
    """
    model, page = locate_output(model), locate_output(page)
    section = None
    if source.get("path") is not None:
        section, _ = make_prediction(_given(source), {"page": str(page)}, Path.cwd(), name="dgmm report")
    data, place = None if section is None else section.path, None if preprocess is None else locate_output(preprocess)
    check_report(model, data, page, place, overwrite=overwrite)
    require_matplotlib()
    mixture = load_mixture(model)
    features = None if place is None else EigenMoments.load(place)
    table = None if section is None else _open(section, mixture, features)
    write_page(model_page(model, mixture, data or "", table), page)


def _open(section: PathInput, mixture: Mixture, features: EigenMoments | None = None) -> Table:
    """Open the rows for a mixture; what is wrong with a key of the section is said of its option."""
    try:
        if features is not None:
            return rows_of_features(open_input_signals(section, features=features), features)
        return open_input(section, mixture)
    except (DataError, ParameterError) as error:
        if features is None and getattr(mixture, "feature_dims_", None) == (FEATURE,):
            raise type(error)(f"{error}; for signals, give the features of the fit: --preprocess PATH") from error
        if (found := misplaced(error)) is None:
            raise
        key, text = found
        raise JobError(f"--{key.replace('_', '-')}: {text}") from error


def _given(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if value is not None}
