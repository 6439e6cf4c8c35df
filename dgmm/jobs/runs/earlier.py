"""What the runs before leave to do: nothing, the rest of an unfinished one, or all of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from dgmm.errors import WriteError
from dgmm.jobs.runs.folders import Run
from dgmm.jobs.runs.metrics import remove_metrics
from dgmm.jobs.runs.records import RunRecord, intact, write_record

if TYPE_CHECKING:
    from dgmm.storage.urls import Location


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
    anew : bool
        Whether what was done is done again, because somebody asks for it now, or did and was not yet served.
    why : str
        Why what was done is done again, or that what was not is gone on with; empty for the first run.
    """

    done: Run | None = None
    nothing_left: bool = False
    unfinished: Run | None = None
    progress: Run | None = None
    own: frozenset[Location] = frozenset()
    anew: bool = False
    why: str = ""


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
    begun_anew = unfinished is not None and unfinished.record.anew and unfinished.record.inputs == record.inputs
    redo = anew or begun_anew
    own: set[Location] = set()
    nothing_left, why = False, ""
    if done is not None:
        there = intact(done.record, {key: str(path) for key, path in paths.items()})
        known = None not in record.inputs.values()
        unchanged = known and done.record.inputs == record.inputs
        nothing_left = unchanged and all(there.values()) and not redo
        # Results of other data are somebody's until output.overwrite says otherwise.
        own |= {paths[key] for key, is_there in there.items() if is_there and (unchanged or redo)}
        why = _why(done.record, unchanged=unchanged, lost=[key for key, is_there in there.items() if not is_there])
    since = takewhile(lambda run: run is not done, same)
    begun = {written.path for run in since if run.record.writing for written in run.record.outputs.values()}
    own |= {path for path in paths.values() if str(path) in begun}
    progress = None
    if keeps and not anew:
        progress = next((run for run in same if run.record.inputs == record.inputs and run.progress.is_dir()), None)
    if progress is not None:
        why = f"going on from run {progress.record.id}, which was {progress.record.state}"
    return Before(done, nothing_left, None if anew else unfinished, progress, frozenset(own), redo, "" if anew else why)


def adopt(record: RunRecord, runs: list[Run], metrics: Path | None) -> list[Run]:
    """The runs that there are; those of a job file that has another name by now are noted under that."""
    found = []
    for run in runs:
        is_renamed = run.record.digest == record.digest and run.record.job != record.job and not run.is_running
        if is_renamed and not Path(run.record.job).exists():
            if metrics is not None:
                remove_metrics(metrics, run.record)
            run = replace(run, record=replace(run.record, job=record.job, name=record.name))
            with suppress(WriteError):
                write_record(run.path, run.record)
        found.append(run)
    return found


def _why(done: RunRecord, *, unchanged: bool, lost: list[str]) -> str:
    if not unchanged:
        return f"the input is not what it was when run {done.id} was done: running again"
    return f"what run {done.id} wrote is gone or was changed ({', '.join(lost)}): running again" if lost else ""
