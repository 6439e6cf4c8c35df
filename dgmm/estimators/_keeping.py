"""Where the progress of a fit is kept, and what a checkpoint is known by."""

from __future__ import annotations

import hashlib
import os
import platform
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from dgmm._version import __version__
from dgmm.errors import (
    CheckpointError,
    CheckpointMismatchError,
    CheckpointWarning,
    DataError,
    ParameterError,
    ReadError,
)
from dgmm.fitting.driving import Progress
from dgmm.fitting.events import Event, FitResumed
from dgmm.fitting.progress import ScanProgress
from dgmm.storage.checkpoint import NOTE, Checkpoint, CheckpointStore
from dgmm.storage.writer import CheckpointWriter

if TYPE_CHECKING:
    from types import TracebackType

    from dgmm.fitting.start import Start
    from dgmm.passes.plan import ExecutionPlan
    from dgmm.passes.rows import Rows

# Parameters that change what is printed, not what is fitted.
_SILENT = ("verbose", "verbose_interval", "warm_start")


def _is_hopeless(error: BaseException) -> bool:
    """Whether the same fit would end the same way again."""
    return isinstance(error, (CheckpointError, DataError, ParameterError)) and not isinstance(error, ReadError)


def to_checkpoint(given: Any) -> Checkpoint | None:
    """Make what the user gave as ``checkpoint`` a Checkpoint.

    Raises
    ------
    ParameterError
        If it is no path, URL or Checkpoint.
    """
    if given is None or isinstance(given, Checkpoint):
        return given
    if isinstance(given, (str, os.PathLike)):
        return Checkpoint(given)
    raise ParameterError(f"checkpoint is {given!r}; expected a path, a URL or a dgmm.Checkpoint")


def fingerprint_of(
    estimator: BaseEstimator, rows: Rows, start: Start, plan: ExecutionPlan, *, growing: bool = False
) -> dict[str, Any]:
    """What a fit is known by: its data as far as they can be told without a read, parameters and plan.

    Of an array that is ``growing`` that is not its rows nor its chunks.
    """
    parameters = {name: value for name, value in estimator.get_params(deep=False).items() if name not in _SILENT}
    for name in ("weights_init", "means_init", "precisions_init"):
        parameters.pop(name, None)
    return {
        "estimator": type(estimator).__name__,
        "data": {
            "rows": "growing" if growing else rows.n_rows,
            "features": rows.n_features,
            "dtype": str(rows.X.dtype),
            "chunks": None if growing else rows.n_chunks,
            "chunk lengths": None if growing or rows.lengths is None else _digest(rows.lengths),
            "weights": rows.weights is not None,
            "labels": rows.labels is not None,
        },
        "parameters": {name: _plain(value) for name, value in parameters.items()},
        "start": {name: _digest(getattr(start, name)) for name in ("weights", "means", "covariances")},
        "plan": plan.to_dict(),
        "made by": {
            "dgmm": __version__,
            "numpy": np.__version__,
            "machine": platform.machine(),
        },
    }


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, (bool, int, float, str)) else type(value).__name__


def _digest(array: Any) -> str | None:
    """A few digits that tell an array from others."""
    if array is None:
        return None
    array = np.ascontiguousarray(array)
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()[:16]


def _differences(before: dict[str, Any], now: dict[str, Any], path: str = "") -> list[str]:
    found = []
    for key in sorted({*before, *now}):
        a, b = before.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{path}{key}: ")
        elif a != b:
            found.append(f"{path}{key} was {a!r} and is {b!r}")
    return found


class Keeper:
    """Keeps the progress of a fit in a checkpoint; a context, at whose end all is written.

    Parameters
    ----------
    options : Checkpoint
    fingerprint : dict
        See :func:`fingerprint_of`.
    emit : callable
        Is told that the fit goes on from a checkpoint.
    """

    def __init__(self, options: Checkpoint, fingerprint: dict[str, Any], emit: Callable[[Event], object]) -> None:
        self._options, self._emit = options, emit
        self._fingerprint = {**fingerprint, NOTE: dict(options.note)}
        if options.source:
            self._fingerprint["source"] = dict(options.source)
        self.interval = options.interval
        self._finished = False
        self.place = str(options.path)

    def __enter__(self) -> Self:
        """Open the checkpoint; nobody else may use it until the end."""
        self._store = CheckpointStore(self._options)
        self._writer = CheckpointWriter(self._store, self._fingerprint)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left to write."""
        try:
            self._writer.close()
            if error is not None and self._writer.failure is None and not _is_hopeless(error):
                error.add_note(f"what the fit has done is kept in {self.place}: run again to go on")
        finally:
            self._store.close()

    def begin(self, fresh: Progress) -> Progress:
        """How far the fit has come: what is stored, or else ``fresh``.

        Raises
        ------
        CheckpointMismatchError
            If what is stored is of another fit.
        """
        stored = self._store.load()
        if stored is None:
            self._store.save(self._fingerprint, _split(fresh))
            return fresh
        for sentence in stored.skipped:
            warnings.warn(sentence, CheckpointWarning, stacklevel=6)  # the caller of fit
        self._compare(stored.fingerprint)
        self._finished = stored.finished
        progress = _join(stored.parts)
        state = progress.state
        rounds = state.n_iter if isinstance(state, ScanProgress) else 0
        n_reads = state.n_reads + len(progress.records)
        self._emit(FitResumed(self.place, n_reads, state.n_iter, stored.finished, n_rounds=rounds))
        return progress

    def _compare(self, before: dict[str, Any]) -> None:
        now = self._fingerprint
        made_by = _differences(before.get("made by", {}), now["made by"])
        compared = (before.keys() | now.keys()) - {"made by", NOTE}
        differences = _differences({key: before.get(key) for key in compared}, {key: now.get(key) for key in compared})
        if differences:
            raise CheckpointMismatchError(
                f"{self.place}: the checkpoint is of another fit: {'; '.join(differences)}; "
                "give the data and parameters that it began with, or another checkpoint; "
                "resume='never' starts anew in its place"
            )
        if made_by:
            warnings.warn(
                f"{self.place}: the checkpoint was written by other software ({'; '.join(made_by)}): "
                "the last bits of the result may differ from those of an undisturbed fit",
                CheckpointWarning,
                stacklevel=7,
            )

    def keep(self, progress: Progress) -> None:
        """Have a progress written while the fit goes on."""
        self._writer.submit(_split(progress))

    def finish(self, progress: Progress) -> None:
        """Have the end written, unless it is what was stored."""
        if not self._finished:
            self._writer.submit(_split(progress), finished=True)


def _split(progress: Progress) -> dict[str, Any]:
    """The parts that are stored: what never changes again (the moments, with the sample) is written once."""
    rest, parts = progress.state.parts()
    return {"progress": replace(progress, state=rest), **parts}


def _join(parts: dict[str, Any]) -> Progress:
    progress: Progress = parts["progress"]
    return replace(progress, state=progress.state.with_parts(parts))
