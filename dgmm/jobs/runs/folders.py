"""The folder in which the runs of jobs lie, one folder each: begun one at a time, found again, cleared away."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import dropwhile
from pathlib import Path

import psutil

from dgmm.jobs.runs.holding import refusal
from dgmm.jobs.runs.records import LOST, RUNNING, RunRecord, read_record, write_record
from dgmm.storage.locks import FileLock, HeldError, is_held
from dgmm.storage.paths import writing

LOCK = ".lock"
PROGRESS = "progress"
_NAME = re.compile(r"\d{8}T\d{6}Z-.{1,60}-[0-9a-f]{6}", re.ASCII)
_MOST_LETTERS = 40
_MODE = 0o750
"""Of a run's folder: what a job says and reads is for its user and group."""


@dataclass(frozen=True)
class Run:
    """A run and where it lies.

    Attributes
    ----------
    path : path
        Its folder.
    record : RunRecord
        Whose state is ``lost`` if it says that it runs and no process does.
    """

    path: Path
    record: RunRecord

    @property
    def progress(self) -> Path:
        """Where the progress of its fit is kept, if the job names no other place."""
        return self.path / PROGRESS

    @property
    def is_running(self) -> bool:
        """Whether a process is at work on it."""
        return self.record.state == RUNNING


def runs_in(folder: Path) -> list[Run]:
    """The runs in a folder, the newest first; what else lies there is passed over."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if _NAME.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    found = []
    for name in names:
        path = folder / name
        record = None if path.is_symlink() else read_record(path)
        if record is not None:
            found.append(Run(path, _alive(record, path)))
    return sorted(found, key=lambda run: (run.record.begun, run.path.name), reverse=True)


def _alive(record: RunRecord, path: Path) -> RunRecord:
    if record.state != RUNNING:
        return record
    held = is_held(path / LOCK)
    if held is None:  # a file system without locks
        held = record.host != socket.gethostname() or psutil.pid_exists(record.pid)
    return record if held else replace(record, state=LOST)


@dataclass(frozen=True)
class OpenRun:
    """A run of this process.

    Attributes
    ----------
    path : path
        Its folder.
    record : RunRecord
        At its beginning.
    """

    path: Path
    record: RunRecord
    _lock: FileLock

    def close(self) -> None:
        """Let it go: it runs no more."""
        self._lock.release()
        with suppress(OSError):
            (self.path / LOCK).unlink()


class RunsFolder:
    """Where the runs of jobs lie.

    Parameters
    ----------
    path : path
        Made if it is not there.

    Raises
    ------
    WriteError
        If it cannot be made or written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            if not os.access(path, os.W_OK | os.X_OK):
                raise PermissionError("may not be written to")
        self.can_lock = True

    @contextmanager
    def beginning(self) -> Iterator[list[Run]]:
        """Keep others from beginning a run; yields the runs that there are, the newest first."""
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire({"host": socket.gethostname(), "pid": os.getpid()}, wait=True)
        except OSError:
            self.can_lock = False
        try:
            yield runs_in(self.path)
        finally:
            lock.release()

    def open(self, record: RunRecord) -> OpenRun:
        """Make the folder of a run, with its record, and hold it.

        Raises
        ------
        WriteError
            If it cannot be made.
        """
        path = self.path / folder_name(record)
        with writing(path):
            path.mkdir(mode=_MODE)
        lock = FileLock(path / LOCK)
        with suppress(OSError, HeldError):  # without locks it is known by its process
            lock.acquire({"host": record.host, "pid": record.pid})
        write_record(path, record)
        return OpenRun(path, record, lock)


def folder_name(record: RunRecord) -> str:
    """The name of a run's folder.

    Examples
    --------
    >>> folder_name(RunRecord("1f3a9c", "/a/my job.yaml", "my job", "", "2026-11-22T03:30:42.123Z"))
    '20261122T033042Z-my-job-1f3a9c'
    """
    time = re.sub(r"\.\d+|[-:]", "", record.begun)
    return f"{time}-{plain_name(record.name)}-{record.id}"


def plain_name(name: str) -> str:
    """A name without what is awkward in names of files."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name)[:_MOST_LETTERS].strip("-.") or "job"


def new_id() -> str:
    """Six hexadecimal digits for a run."""
    return secrets.token_hex(3)


def refuse_second(record: RunRecord, runs: list[Run]) -> None:
    """Refuse to run what runs already: the same job, or one that writes to the same place.

    Raises
    ------
    JobRunningError
        With who runs it, where and since when.
    """
    places = {written.path: key for key, written in record.outputs.items()}
    for run in runs:
        if not run.is_running:
            continue
        other = run.record
        same = [places[written.path] for written in other.outputs.values() if written.path in places]
        if other.digest == record.digest or same:
            raise refusal(record.job, record.digest, other.to_json(), f"output.{(same or [''])[0]}")


def clear_away(runs: list[Run], job: str, keep: int | None) -> None:
    """Remove the oldest of the runs of a job that have ended, but never the last one that was done.

    Parameters
    ----------
    runs : list of Run
        The newest first.
    job : str
        The job file.
    keep : int or None
        How many stay; all if None.
    """
    if keep is None:
        return
    of_job = [run for run in runs if run.record.job == job and not run.is_running]
    last_done = next((run for run in of_job if run.record.is_done), None)
    for run in of_job[keep:]:
        if run is not last_done:
            remove_run(run.path)


def clear_progress(runs: list[Run], digest: str) -> None:
    """Remove the progress that nobody goes on with any more: that of runs before one that did the same job.

    Parameters
    ----------
    runs : list of Run
        The newest first.
    digest : str
        Of the job.
    """
    same = [run for run in runs if run.record.digest == digest and not run.is_running]
    for run in dropwhile(lambda run: not run.record.is_done, same):
        shutil.rmtree(run.progress, ignore_errors=True)


def remove_run(path: Path) -> None:
    """Remove the folder of a run; its record goes first, so that half a run is none."""
    with suppress(OSError):
        (path / "run.json").unlink()
    shutil.rmtree(path, ignore_errors=True)
