"""What a job reads, made rows, and what a model says of them, written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.errors import DataError, ParameterError
from dgmm.estimators._outputs import top_parts, top_quantity
from dgmm.inputs.opening import open_request
from dgmm.inputs.signals import open_signals
from dgmm.inputs.sources import open_source
from dgmm.inputs.table import Request, Table
from dgmm.inputs.writing import writer_of
from dgmm.storage.listing import layout_of
from dgmm.storage.paths import is_url

if TYPE_CHECKING:
    from dgmm.estimators.eigenmoments import EigenMoments
    from dgmm.estimators.loading import Mixture
    from dgmm.inputs.signals import Signals
    from dgmm.jobs.progress import Reporter
    from dgmm.jobs.specification import Beside, OutputSection, PathInput
    from dgmm.storage.urls import Location

ANSWERS: Mapping[str, tuple[str, Callable[[Mixture, Table, int | None], Any]]] = {
    "labels": ("labels", lambda model, table, top: model.predict(table)),
    "probabilities": ("probabilities", lambda model, table, top: model.predict_proba(table, top=top)),
    "log_densities": ("log-densities", lambda model, table, top: model.score_samples(table)),
}
"""How what is written of each row is called, and asked for, by the key of the output."""


INPUT_KEYS = ("features", "sample_dims", "sample_weight", "labels", "variable")
"""Keys of the section ``input`` that errors may begin with."""
SIGNAL_KEYS = ("signal_dims", "signal_shape")
"""Those of the section ``preprocess`` that errors about signals may begin with."""


def open_input(section: PathInput, model: Mixture | None = None) -> Table:
    """Open the rows of a job; nothing is computed.

    Parameters
    ----------
    section : PathInput
    model : mixture, optional
        Whose features are taken, in their order, unless the section names some.

    Raises
    ------
    DataError, ParameterError, FormatError
        As :func:`dgmm.open_rows`.
    """
    request = _request(section, model)
    with _naming_the_place(section):
        table = open_request(section.path, request)
    names = request.fitted
    if section.features is not None and names is not None and table.feature_names not in (None, names):
        raise DataError(
            f"features: {', '.join(table.feature_names or ())}, but the model was fitted to {', '.join(names)}; "
            "leave them out, or give those of the fit in their order"
        )
    return table


def open_input_signals(
    section: PathInput,
    *,
    shape: tuple[int, ...] | None = None,
    dims: Sequence[str] | None = None,
    features: EigenMoments | None = None,
) -> Signals:
    """Open the signals of a job; nothing is computed.

    Parameters
    ----------
    section : PathInput
    shape : tuple of int, optional
    dims : sequence of str, optional
        As :func:`dgmm.inputs.signals.open_signals`.
    features : EigenMoments, optional
        Fitted: whose signals are meant.

    Raises
    ------
    DataError, ParameterError, FormatError
        As :func:`dgmm.inputs.signals.open_signals`.
    """
    request = _request(section, features)
    if features is not None:
        shape, request = features.signal_shape_, replace(request, feature_dims=getattr(features, "signal_dims_", None))
    with _naming_the_place(section):
        return open_signals(section.path, shape=shape, dims=dims, request=request)


def _request(section: PathInput, fitted: Mixture | EigenMoments | None) -> Request:
    """What a section asks for; of a fit its features, by their names."""
    names = getattr(fitted, "feature_names_in_", None)
    return Request(
        features=section.features,
        sample_dims=section.sample_dims,
        sample_weight=_beside(section.sample_weight),
        labels=_beside(section.labels),
        variable=section.variable,
        fitted=None if names is None else tuple(names),
        feature_dims=getattr(fitted, "feature_dims_", None),
    )


@contextmanager
def _naming_the_place(section: PathInput) -> Iterator[None]:
    """Errors of the body say which file they are about."""
    if not is_url(section.path) and (layout := layout_of(section.path)) is not None:
        raise DataError(f"{section.path}: a {layout.noun} of dgmm, not data; give the data")
    try:
        yield
    except (DataError, ParameterError) as error:
        if misplaced(error, (*INPUT_KEYS, *SIGNAL_KEYS)) is not None or section.path in str(error):
            raise
        beside = {key: given for key in ("sample_weight", "labels") if (given := getattr(section, key)) is not None}
        place = next((given.text for key, given in beside.items() if str(error).startswith(key)), section.path)
        raise type(error)(f"{place}: {error}") from error


def misplaced(error: DataError | ParameterError, keys: Iterable[str] = INPUT_KEYS) -> tuple[str, str] | None:
    """The key of a section that an error begins with, and what it says of it; None if there is none."""
    found = re.match(rf"({'|'.join(keys)})(?:: | is )(.*)", str(error), re.DOTALL)
    return None if found is None else (found[1], found[2])


def _beside(given: Beside | None) -> Any:
    """What lies beside the features, opened if it is not named: arrays have no names for open_rows to find."""
    if given is None or not given.is_path:
        return None if given is None else given.text
    found = open_source(given.text)
    if not hasattr(found, "ndim") or hasattr(found, "columns"):
        raise DataError(f"{given.text}: holds several columns or variables; expected one array, with a value per row")
    return found


def is_counted(table: Table) -> bool:
    """Whether it is known how many rows there are."""
    return not np.isnan(table.X.shape[0])


def check_answers(output: OutputSection, table: Table, n_components: int) -> None:
    """Refuse formats that cannot hold what will be said of rows, before anything is computed.

    Raises
    ------
    DataError
        With the path.
    ParameterError
        If more of the most probable components are asked for than there are.
    """
    top = None if output.probabilities is None else output.probabilities.top
    if top is not None:
        top_quantity(top, n_components)
    # Features stand for what will be said of rows.
    one, several = table.X[:, 0], table.X[:, [0, 0, 0]].rechunk({1: 3})
    for key, path in output.results.items():
        if key != "probabilities":
            found = table.origin.restore(one, key)
        elif top is not None:
            found = top_parts(table, several, one.dtype)
        else:
            found = table.origin.restore(several, key, columns=("component", range(3)))
        try:
            writer_of(path).check(found)
        except DataError as error:
            raise DataError(f"output.{key}: {path}: {error}") from error


def write_answers(
    output: OutputSection, model: Mixture, table: Table, told: Reporter, *, overwrite: Mapping[str, bool]
) -> None:
    """Write what a model says of rows, each answer whole or not at all; ``overwrite`` by key."""
    for key, path in output.results.items():
        what, ask = ANSWERS[key]
        told.step(f"writing the {what} to {path.name}")
        top = None if output.probabilities is None else output.probabilities.top
        write_answer(ask(model, table, top), path, overwrite=overwrite[key])


def write_answer(results: Any, path: Location, *, overwrite: bool) -> None:
    """Write one."""
    writer_of(path).write(results, path, overwrite)
