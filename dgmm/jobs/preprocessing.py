"""Features in the place of rows: signals opened, features fitted in one read or loaded, and taken for rows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.errors import DgmmError, ParameterError
from dgmm.estimators.eigenmoments import EigenMoments
from dgmm.inputs.opening import open_request
from dgmm.inputs.table import Request
from dgmm.jobs.answers import misplaced, open_input_signals
from dgmm.jobs.preprocess import EigenMomentsSection, SavedFeatures
from dgmm.jobs.source import fail
from dgmm.signals.models import StationaryCorrelation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dgmm.inputs.signals import Signals
    from dgmm.inputs.table import Table
    from dgmm.jobs.loading import Job
    from dgmm.jobs.progress import Reporter
    from dgmm.jobs.specification import PathInput
    from dgmm.jobs.state import JobRun
    from dgmm.storage.urls import Location

_OF_FILES = ("kind", "dtype", "noise_signals")
"""Keys that are no parameters of the estimator."""


def load_features(path: Location, told: Reporter) -> EigenMoments:
    """Read features that were fitted before."""
    told.step(f"reading the features {path.name}")
    return EigenMoments.load(path)


def open_signals_of(
    section: PathInput, kind: EigenMomentsSection | SavedFeatures, features: EigenMoments | None
) -> Signals:
    """Open the signals of a job, of which features are to be fitted, or are known."""
    if isinstance(kind, SavedFeatures):
        return open_input_signals(section, features=features)
    shape = None if kind.signal_shape is None else tuple(kind.signal_shape)
    return open_input_signals(section, shape=shape, dims=kind.signal_dims)


def fit_features(run: JobRun, section: EigenMomentsSection) -> EigenMoments:
    """Find the features, in one read of the signals; what is said of a parameter has its line."""
    features = EigenMoments(**_parameters(section))
    n, shape = run.signals.table.X.shape[0], " x ".join(map(str, run.signals.axes.shape))
    count = "" if np.isnan(n) else f"{n:,} "
    run.told.step(f"finding features of {count}signals of {shape} samples on {run.job.cluster.words}")
    try:
        features.fit(run.signals, noise_signals=section.noise_signals, callbacks=(run.told, run.watch))
    except ParameterError as error:
        raise _with_line(run.job, error) from error
    run.told.step(features_in_words(features_in_report(features)))
    return features


def _with_line(job: Job, error: ParameterError) -> DgmmError:
    """What is wrong with a parameter, with the line of its key."""
    if (found := misplaced(error, EigenMomentsSection.model_fields)) is None:
        return error
    key, text = found
    return fail(job.file, (job.problem(("preprocess", key), text),))


def _parameters(section: EigenMomentsSection) -> dict[str, Any]:
    found = {name: _one_or_all(getattr(section, name)) for name in type(section).model_fields if name not in _OF_FILES}
    found["invariant"], found["signal_dims"] = tuple(section.invariant), section.signal_dims
    model = section.correlation
    found["correlation"] = "data" if model is None else StationaryCorrelation(_one_or_all(model.c), model.variance)
    return found


def _one_or_all(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return value[0] if len(value) == 1 else tuple(value)


def rows_of_features(signals: Signals, features: EigenMoments) -> Table:
    """Features for rows, in the shape of the input, with the weights and labels of the signals."""
    table = signals.table
    beside = {"sample_weight": table.weights, "labels": table.labels}
    given = {name: None if value is None else table.origin.restore(value, name) for name, value in beside.items()}
    return open_request(features.transform(signals), Request(sample_dims=table.origin.sample_dims, **given))


def features_in_report(features: EigenMoments) -> dict[str, Any]:
    """What a report tells of features, as values that JSON can hold."""
    return {
        "kind": "eigenmoments",
        "n_features": len(features.eigenvalues_),
        "n_moments": len(features.mean_),
        "order": list(features.order_),
        "signal_shape": list(features.signal_shape_),
        "n_signals": int(features.n_signals_),
        "method": features.method,
        "noise": features.noise_ if isinstance(features.noise_, float) else None,
        "information_loss": features.information_loss_,
        "eigenvalues": features.eigenvalues_.tolist(),
        "snr": features.snr_.tolist(),
    }


def features_in_words(report: Mapping[str, Any]) -> str:
    """Return a sentence on the features of a report.

    Examples
    --------
    >>> told = {"n_features": 8, "n_moments": 49, "information_loss": 0.031, "noise": 0.25}
    >>> features_in_words(told)
    '8 features of 49 moments keep 96.90% of the ratio of signal to noise; the noise has variance 0.25'
    """
    noise = "" if report["noise"] is None else f"; the noise has variance {report['noise']:.4g}"
    kept = 1.0 - report["information_loss"]
    return (
        f"{report['n_features']} features of {report['n_moments']} moments keep {kept:.2%} of the ratio of signal to "
        f"noise{noise}"
    )


def preprocess(run: JobRun) -> None:
    """Fit what the section asks for, and take its features for rows."""
    section = run.job.preprocess
    if not isinstance(section, EigenMomentsSection):
        raise AssertionError("only these are fitted")
    began = time.perf_counter()
    run.features = fit_features(run, section)
    run.seconds["preprocess"] = round(time.perf_counter() - began, 3)
    run.take(rows_of_features(run.signals, run.features))
