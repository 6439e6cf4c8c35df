"""What the runs before leave to do: nothing, the rest of an unfinished one, or all of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from dgmm.jobs.runs.folders import Run
from dgmm.jobs.runs.records import RunRecord, intact

if TYPE_CHECKING:
    from dgmm.jobs.loading import Job
    from dgmm.storage.urls import Location

_ELSEWHERE = ("cluster", "checkpoint", "run")
"""Sections that say where and how a job is run, not what comes out."""


def sections_of(job: Job) -> dict[str, Any]:
    """The sections of a job as values that JSON can hold, with all defaults and with paths resolved."""
    sections = {one.name: getattr(job, one.name) for one in fields(job)}
    return {name: plain(section.model_dump()) for name, section in sections.items() if isinstance(section, BaseModel)}


def plain(value: Any) -> Any:
    """A value of a section as JSON can hold it."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {one.name: getattr(value, one.name) for one in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def digest_of(job: Job) -> str:
    """A few digits that tell what a job asks for, wherever and however often it is run."""
    asked = {name: section for name, section in sections_of(job).items() if name not in _ELSEWHERE}
    asked["output"] = {key: value for key, value in asked["output"].items() if key != "overwrite"}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Before:
    """What a run finds of the runs before.

    Attributes
    ----------
    done : Run or None
        The last one of the same job that was done.
    nothing_left : bool
        Whether its inputs are unchanged, and its outputs lie there as it wrote them.
    unfinished : Run or None
        The last one of the same job, if it was not done.
    progress : Run or None
        The one whose progress can be gone on with.
    own : frozenset of path or URL
        Outputs that these runs wrote: they may be replaced.
    redo : bool
        Whether it has been looked at what was done: what a checkpoint says of that does not count then.
    why : str
        Why what was done is done again, or that what was not is gone on with; empty for the first run.
    """

    done: Run | None = None
    nothing_left: bool = False
    unfinished: Run | None = None
    progress: Run | None = None
    own: frozenset[Location] = frozenset()
    why: str = ""
    redo: bool = False


def look_back(record: RunRecord, runs: list[Run], paths: Mapping[str, Location], *, anew: bool, keeps: bool) -> Before:
    """Compare a run that is to begin with those before.

    Parameters
    ----------
    record : RunRecord
        Of the new run.
    runs : list of Run
        The newest first.
    paths : mapping
        The outputs of the job, by key.
    anew : bool
        Whether to begin anew whatever there is.
    keeps : bool
        Whether progress is kept in the folders of the runs.
    """
    same = [run for run in runs if run.record.digest == record.digest and not run.is_running]
    done = next((run for run in same if run.record.is_done), None)
    unfinished = same[0] if same and same[0] is not done else None
    own: set[Location] = set()
    nothing_left, why = False, ""
    if done is not None:
        there = intact(done.record, {key: str(path) for key, path in paths.items()})
        known = None not in record.inputs.values()
        unchanged = known and done.record.inputs == record.inputs
        nothing_left = unchanged and all(there.values()) and not anew
        # Results of other data are somebody's until output.overwrite says otherwise.
        own |= {paths[key] for key, is_there in there.items() if is_there and (unchanged or anew)}
        why = _why(done.record, unchanged=unchanged, lost=[key for key, is_there in there.items() if not is_there])
    since = takewhile(lambda run: run is not done, same)
    begun = {written.path for run in since if run.record.writing for written in run.record.outputs.values()}
    own |= {path for path in paths.values() if str(path) in begun}
    progress = None
    if keeps and not anew:
        progress = next((run for run in same if run.record.inputs == record.inputs and run.progress.is_dir()), None)
    if progress is not None:
        why = f"going on from run {progress.record.id}, which was {progress.record.state}"
    return Before(
        done, nothing_left, None if anew else unfinished, progress, frozenset(own), "" if anew else why, bool(runs)
    )


def _why(done: RunRecord, *, unchanged: bool, lost: list[str]) -> str:
    if not unchanged:
        return f"the input is not what it was when run {done.id} was done: running again"
    return f"what run {done.id} wrote is gone or was changed ({', '.join(lost)}): running again" if lost else ""
