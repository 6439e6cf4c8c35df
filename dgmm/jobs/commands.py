"""Fitting and predicting by hand, without a job file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dgmm.errors import JobError
from dgmm.estimators.loading import load_mixture
from dgmm.inputs.layout import layout_of
from dgmm.jobs.checks import check_prediction
from dgmm.jobs.clusters import open_cluster
from dgmm.jobs.loading import load_cluster, make_job
from dgmm.jobs.progress import LogReporter, Reporter
from dgmm.jobs.running import JobResult, leading_dims, run_job, write_labels
from dgmm.storage.arrays import open_array


def fit_array(
    data: Path,
    output: Path,
    parameters: dict[str, Any],
    *,
    variable: str | None = None,
    features: list[int] | None = None,
    sample_weight: Path | None = None,
    cluster: Path | None = None,
    checkpoint: str | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> JobResult:
    """Fit a mixture to a stored array and save the model; the arguments are those of a job file.

    Raises
    ------
    JobError
        If a parameter is impossible or the model is in the way.
    DataError, ClusterError
        As :func:`dgmm.jobs.run_job`.
    """
    sections: dict[str, Any] = {
        "input": {"path": str(data), "variable": variable},
        "preprocess": {"features": features},
        "model": parameters,
        "output": {"model": str(output), "overwrite": overwrite},
    }
    if sample_weight is not None:
        sections["input"]["sample_weight"] = str(sample_weight)
    if checkpoint is not None:
        sections["checkpoint"] = {"path": checkpoint}
    where = None if cluster is None else load_cluster(cluster)
    return run_job(make_job(sections, Path.cwd(), name="dgmm fit", cluster=where), reporter)


def predict_array(
    model: Path,
    data: Path,
    labels: Path,
    *,
    variable: str | None = None,
    features: list[int] | None = None,
    cluster: Path | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> None:
    """Write the component of each row of a stored array.

    Raises
    ------
    JobError
        If the model or the data are not there, the labels are in the way, or ``features`` asks for a
        column that is not there.
    DataError, FormatError, ClusterError
        If the model or the data cannot be read or do not fit together, or the cluster is lost.
    """
    check_prediction(model, data, labels, overwrite=overwrite)
    where = None if cluster is None else load_cluster(cluster)
    with reporter or LogReporter() as told:
        told.step(f"reading the model {model.name}")
        mixture = load_mixture(model)
        x = open_array(data, variable)
        layout = layout_of(x, str(data))
        if features is not None:
            if not all(0 <= column < x.shape[-1] for column in features) or len({*features}) < len(features):
                raise JobError(f"--features: found {features}; allowed: different columns, 0 to {x.shape[-1] - 1}")
            x = x[..., features]
        with open_cluster(where):
            told.step(f"writing the labels to {labels.name}")
            found = layout.restore(mixture.predict(layout.flatten(x)))
            dims = leading_dims(data, variable, len(layout.chunks))
            write_labels(found, labels, dims, overwrite=overwrite)
