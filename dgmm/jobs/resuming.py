"""What a job that is run again goes on from: the progress of its fit, and the outputs that are its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from dgmm.errors import CheckpointWarning, DgmmError, StoreError
from dgmm.jobs.digest import digest_of
from dgmm.jobs.preprocess import PlainSection
from dgmm.jobs.refitting import versions_of
from dgmm.jobs.report import SHOWN
from dgmm.jobs.runs.stamps import Stamp, stamp_of
from dgmm.storage.checkpoint import Checkpoint, CheckpointStore
from dgmm.storage.notes import read_note
from dgmm.storage.replacing import remove_leftovers

if TYPE_CHECKING:
    from dgmm.jobs.loading import Job
    from dgmm.storage.urls import Location


@dataclass(frozen=True)
class EarlierRun:
    """What the run before has noted, with the checkpoint of a job or with the models of a refit.

    The note holds a digest of what the job asked for, stamps of what it wrote, and the report.
    """

    outputs: frozenset[Location] = frozenset()
    """Files and stores that are its own: as it left them, or as it was ended while it wrote them."""
    report: dict[str, Any] | None = None
    """Of the end; None if it did not come so far, was asked for something else, or an output is not as it left it."""

    @classmethod
    def of(cls, job: Job, *, anew: bool = False) -> EarlierRun:
        """Look at what is noted of a job, without holding it; ``anew`` for a run that does all again."""
        note = _noted(job, anew=anew)
        left = note.get("outputs")
        if not isinstance(left, dict):
            return cls()
        own, whole = set(), not anew and note.get("digest") == digest_of(job)
        for path in job.output.paths.values():
            stamp = Stamp.of_json(left.get(str(path)))
            is_as_left = stamp is not None and stamp == stamp_of(path)
            whole &= is_as_left
            if is_as_left or (stamp is None and str(path) in left):
                own.add(path)
        report = note.get("report")
        return cls(frozenset(own), report if whole and _is_report(report, job) else None)


def _noted(job: Job, *, anew: bool) -> dict[str, Any]:
    if job.refit is not None:
        return versions_of(job).noted() or {}
    if job.checkpoint is None or (job.checkpoint.resume == "never" and not anew):
        return {}
    return read_note(job.checkpoint.path) or {}


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
    if not isinstance(job.preprocess, PlainSection):
        given["preprocess"] = job.preprocess.model_dump(mode="json", exclude={"path", "noise_signals"})
    source = {key: value for key, value in given.items() if value is not None}
    return Checkpoint(**job.checkpoint.model_dump(), note=_note(_stamps(earlier.outputs)), source=source)


def _note(outputs: Mapping[Location, Stamp | None], **more: Any) -> dict[str, Any]:
    stamps = {str(path): None if stamp is None else stamp.to_json() for path, stamp in outputs.items()}
    return {"outputs": dict(sorted(stamps.items())), "digest": "", **more}


def _stamps(outputs: Iterable[Location]) -> dict[Location, Stamp | None]:
    return {path: stamp_of(path) for path in outputs}


@contextmanager
def own_outputs(job: Job) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Note that a job writes its outputs, which from here on are its own; its checkpoint is held meanwhile.

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
    outputs = tuple(job.output.paths.values())
    with _noting(job) as note:
        if note is None:
            yield lambda report: None
            return
        note(_note(dict.fromkeys(outputs)))
        for path in outputs:
            remove_leftovers(path)
        yield lambda report: note(_note(_stamps(outputs), digest=digest_of(job), report=report))


@contextmanager
def _noting(job: Job) -> Iterator[Callable[[Mapping[str, Any]], None] | None]:
    """What takes the note of a job; None if there is no place for it."""
    if job.refit is not None:
        yield versions_of(job).annotate
    elif job.checkpoint is None or job.kind not in SHOWN:
        yield None
    else:
        with CheckpointStore(Checkpoint(job.checkpoint.path, keep=job.checkpoint.keep)) as store:
            yield partial(_annotate, store)


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
