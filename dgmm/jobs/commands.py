"""Fitting and predicting by hand, without a job file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgmm.errors import DataError, JobError, ParameterError
from dgmm.estimators.loading import load_mixture
from dgmm.jobs.answers import check_answers, open_input, write_answers
from dgmm.jobs.checks import PREDICTION_NAMES, check_prediction
from dgmm.jobs.clusters import open_cluster
from dgmm.jobs.loading import load_cluster, make_job, make_prediction
from dgmm.jobs.progress import LogReporter, Reporter
from dgmm.jobs.running import JobResult, run_job


def fit_source(
    source: Mapping[str, Any],
    output: Path,
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
    model: Path,
    source: Mapping[str, Any],
    outputs: Mapping[str, Any],
    *,
    cluster: Path | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Path]:
    """Write what a model says of the rows of what lies at a path or URL.

    Parameters
    ----------
    model : path
    source, outputs : mapping
        The sections ``input`` and ``output`` of a job file.
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
    section, output = make_prediction(_given(source), _given(outputs), Path.cwd(), name="dgmm predict")
    check_prediction(model, section.path, output)
    where = None if cluster is None else load_cluster(cluster)
    with reporter or LogReporter() as told:
        told.step(f"reading the model {model.name}")
        mixture = load_mixture(model)
        try:
            table = open_input(section, mixture)
        except (DataError, ParameterError) as error:
            key, _, text = str(error).partition(": ")
            if key not in type(section).model_fields:
                raise
            raise JobError(f"--{key.replace('_', '-')}: {text}") from error
        check_answers(output, table)
        with open_cluster(where):
            write_answers(output, mixture, table, told, overwrite=dict.fromkeys(PREDICTION_NAMES, output.overwrite))
    return output.results


def _given(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if value is not None}
