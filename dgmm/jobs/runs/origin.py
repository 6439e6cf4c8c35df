"""What a run was asked for, by whom and with what: kept in its folder, without secrets."""

from __future__ import annotations

import getpass
import json
import os
import platform
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.errors import JobError, redact
from dgmm.jobs.digest import plain, sections_of
from dgmm.jobs.report import versions
from dgmm.jobs.runs.folders import new_id
from dgmm.jobs.runs.records import RunRecord, now
from dgmm.jobs.runs.striking import struck, struck_text
from dgmm.jobs.source import parse, quote, read_text
from dgmm.jobs.specification import NONE, RUNS
from dgmm.storage.replacing import replacing_file

if TYPE_CHECKING:
    from dgmm.jobs.loading import Job

JOB, RESOLVED = "job.yaml", "resolved.json"


def new_record(file: Path, command: Sequence[str]) -> RunRecord:
    """The record of a run of a job file that begins now, in this process."""
    return RunRecord(
        id=new_id(),
        job=str(job_path(file)),
        name=file.stem,
        digest="",
        begun=now(),
        host=socket.gethostname(),
        user=_user(),
        pid=os.getpid(),
        command=tuple(redact(word) for word in command),
        folder=str(Path.cwd()),
        versions={"python": platform.python_version(), **versions()},
    )


@dataclass(frozen=True)
class Kept:
    """What a job file says of its runs.

    Attributes
    ----------
    folder, metrics : path or None
    keep : int or None
        How many runs stay; all if None.
    """

    folder: Path | None
    metrics: Path | None
    keep: int | None


def kept_by(file: Path) -> Kept:
    """What a job file says of its runs, which need not be right otherwise."""
    section: dict[str, Any] = {}
    with suppress(JobError):
        value = parse(read_text(file), str(file)).value
        found = value.get("run") if isinstance(value, dict) else None
        section = found if isinstance(found, dict) else {}
    home, folder, metrics = file.absolute().parent, section.get("folder", RUNS), section.get("metrics")
    keep = section.get("keep")
    with suppress(RuntimeError, ValueError):
        return Kept(
            home / Path(folder).expanduser() if isinstance(folder, str) and folder != NONE else None,
            home / Path(metrics).expanduser() if isinstance(metrics, str) else None,
            keep if isinstance(keep, int) and not isinstance(keep, bool) and keep > 0 else None,
        )
    return Kept(None, None, None)


def job_path(file: Path) -> Path:
    """The absolute path of a job file, whichever way it is named; a link at its end stays one."""
    return file.absolute().parent.resolve() / file.name


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a process in a container may have no name
        return ""


def asked_for(job: Job) -> str:
    """What a job's model is asked for, in words: its kind, and the keys that differ from their defaults."""
    given = plain(job.model.model_dump(exclude_defaults=True))
    words = ", ".join(f"{key} {quote(value)}" for key, value in given.items() if key != "kind")
    return f"{job.model.kind}: {words}"


def keep_origin(folder: Path, job: Job) -> None:
    """Keep the text of a job file, and its sections with all defaults and with paths resolved."""
    with replacing_file(folder / RESOLVED) as temporary:
        temporary.write_text(json.dumps(struck(sections_of(job)), indent=2) + "\n", encoding="utf-8")
    with suppress(JobError):
        text = read_text(Path(job.file))
        parse(text, job.file)  # which may have been changed since it was loaded
        with replacing_file(folder / JOB) as temporary:
            temporary.write_text(struck_text(text), encoding="utf-8")
