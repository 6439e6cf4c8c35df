"""What a job that is run again goes on from: the progress of its fit, and the outputs that are its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.storage.checkpoint import Checkpoint, CheckpointStore
from dgmm.storage.notes import read_note

if TYPE_CHECKING:
    from dgmm.jobs.loading import Job


@dataclass(frozen=True)
class EarlierRun:
    """What the checkpoint of a job tells of the run before."""

    outputs: frozenset[Path] = frozenset()
    """Files and stores that were not there when the job was first run, or could be replaced: its own."""
    report: dict[str, Any] | None = None
    """Of the end; None if it did not come so far, or something that it wrote is gone."""

    @classmethod
    def of(cls, job: Job) -> EarlierRun:
        """Look at a job's checkpoint, without holding it."""
        if job.checkpoint is None or job.checkpoint.resume == "never":
            return cls()
        note = read_note(job.checkpoint.path) or {}
        outputs, report = note.get("outputs"), note.get("report")
        if not isinstance(outputs, list) or not all(isinstance(path, str) for path in outputs):
            return cls()
        there = frozenset(map(Path, outputs))
        whole = there >= set(job.output.paths.values()) and all(path.exists() for path in there)
        return cls(there, report if whole and isinstance(report, dict) else None)


def checkpoint_of(job: Job, report: dict[str, Any] | None = None) -> Checkpoint | None:
    """Where the progress of a job's fit is kept; ``report`` is that of the end."""
    if job.checkpoint is None:
        return None
    note = {"outputs": [str(path) for path in job.output.paths.values()], "report": report}
    return Checkpoint(**job.checkpoint.model_dump(), note=note)


def mark_done(job: Job, report: dict[str, Any]) -> None:
    """Note in a job's checkpoint that all its outputs are written."""
    options = checkpoint_of(job, report)
    if options is not None:
        with CheckpointStore(Checkpoint(options.path, keep=options.keep)) as store:
            store.annotate(options.note)
