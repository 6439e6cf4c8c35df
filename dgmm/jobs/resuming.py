"""What a job that is run again goes on from: the progress of its fit, and the outputs that are its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dgmm.errors import CheckpointWarning, DgmmError, StoreError
from dgmm.jobs.refitting import own_of_refit
from dgmm.jobs.report import SHOWN
from dgmm.storage.checkpoint import Checkpoint, CheckpointStore
from dgmm.storage.notes import read_note
from dgmm.storage.replacing import remove_leftovers

if TYPE_CHECKING:
    from dgmm.jobs.loading import Job
    from dgmm.storage.urls import Location


@dataclass(frozen=True)
class EarlierRun:
    """What the checkpoint of a job tells of the run before."""

    outputs: frozenset[Location] = frozenset()
    """Files and stores that it had begun to write, where nothing was or could be replaced: its own."""
    report: dict[str, Any] | None = None
    """Of the end; None if it did not come so far, or something that it wrote is gone."""

    @classmethod
    def of(cls, job: Job) -> EarlierRun:
        """Look at a job's checkpoint, without holding it; a refit has a note of its own."""
        if job.refit is not None:
            return cls(own_of_refit(job))
        if job.checkpoint is None or job.checkpoint.resume == "never":
            return cls()
        note = read_note(job.checkpoint.path) or {}
        outputs, report = note.get("outputs"), note.get("report")
        if not isinstance(outputs, list) or not all(isinstance(path, str) for path in outputs):
            return cls()
        written = frozenset(path for path in job.output.paths.values() if str(path) in outputs)
        whole = len(written) == len(job.output.paths) and all(path.exists() for path in written)
        return cls(written, report if whole and _is_report(report, job) else None)


def _is_report(report: Any, job: Job) -> bool:
    """Whether a report is one of this job; whoever can write to a checkpoint can have put anything there."""
    if not isinstance(report, dict):
        return False
    for key, kind in SHOWN[job.model.kind].items():
        value = report.get(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            return False
    asked = ("kind",) if job.model.kind == "selection" else ("kind", "n_components", "covariance_type")
    return all(report.get(key) == getattr(job.model, key) for key in asked)


def checkpoint_of(job: Job, earlier: EarlierRun) -> Checkpoint | None:
    """Where the progress of a job's fit is kept."""
    if job.checkpoint is None:
        return None
    # What is chosen among all that lies there. Where it lies may change.
    given = {key: getattr(job.input, key, None) for key in ("variable", "features", "sample_dims")}
    for key in ("sample_weight", "labels"):
        beside = getattr(job.input, key, None)
        given[key] = None if beside is None or beside.is_path else beside.text
    source = {key: value for key, value in given.items() if value is not None}
    return Checkpoint(**job.checkpoint.model_dump(), note=_note(earlier.outputs), source=source)


def _note(outputs: frozenset[Location], report: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"outputs": sorted(map(str, outputs)), "report": report}


@contextmanager
def own_outputs(job: Job) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Hold a job's checkpoint while its outputs are written, which from here on are its own.

    Yields
    ------
    callable
        Takes the report once all is written.

    Raises
    ------
    CheckpointError
        If another process works with the checkpoint, or it cannot be read.

    Warns
    -----
    CheckpointWarning
        If the checkpoint cannot be written.
    """
    if job.checkpoint is None or job.kind not in SHOWN:
        for path in own_of_refit(job) if job.refit is not None else ():
            remove_leftovers(path)
        yield lambda report: None
        return
    outputs = frozenset(job.output.paths.values())
    with CheckpointStore(Checkpoint(job.checkpoint.path, keep=job.checkpoint.keep)) as store:
        _annotate(store, _note(outputs))
        for path in outputs:
            remove_leftovers(path)
        yield lambda report: _annotate(store, _note(outputs, report))


def _annotate(store: CheckpointStore, note: Mapping[str, Any]) -> None:
    try:
        store.annotate(note)
    except StoreError as error:
        _warn(error)
    except DgmmError:  # some of which are OSErrors too
        raise
    except OSError as error:
        _warn(error)


def _warn(error: OSError) -> None:
    warnings.warn(
        f"what was written could not be noted in the checkpoint: {error}; "
        "run again, the job makes its outputs anew, and may ask for output.overwrite",
        CheckpointWarning,
        stacklevel=5,
    )
