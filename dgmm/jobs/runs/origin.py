"""What a run was asked for, by whom and with what: kept in its folder, without secrets."""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.errors import JobError, redact
from dgmm.jobs.report import versions
from dgmm.jobs.runs.earlier import plain, sections_of
from dgmm.jobs.runs.folders import new_id
from dgmm.jobs.runs.records import RunRecord, now
from dgmm.jobs.source import parse, quote, read_text
from dgmm.jobs.specification import NONE, RUNS
from dgmm.storage.replacing import replacing_file

if TYPE_CHECKING:
    from dgmm.jobs.loading import Job

JOB, RESOLVED = "job.yaml", "resolved.json"
_SECRET = r"[\w-]*(?:passw|passphrase|secret|token|credential|api_?key)[\w-]*"
_SECRET_KEY = re.compile(_SECRET, re.IGNORECASE)
_SECRET_VALUE = re.compile(rf"""(\b{_SECRET}["']?[ \t]*:[ \t]*)(?=[^\s#])[^,}}\]\n]+""", re.IGNORECASE)


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


def runs_folder_of(file: Path) -> tuple[Path | None, Path | None]:
    """The folder of runs and the place of metrics that a job file names, which need not be right otherwise."""
    section: dict[str, Any] = {}
    with suppress(JobError):
        value = parse(read_text(file), str(file)).value
        found = value.get("run") if isinstance(value, dict) else None
        section = found if isinstance(found, dict) else {}
    home, folder, metrics = file.absolute().parent, section.get("folder", RUNS), section.get("metrics")
    with suppress(RuntimeError, ValueError):
        return (
            home / Path(folder).expanduser() if isinstance(folder, str) and folder != NONE else None,
            home / Path(metrics).expanduser() if isinstance(metrics, str) else None,
        )
    return None, None


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
        text = _SECRET_VALUE.sub(r"\1'***'", read_text(Path(job.file)))
        with replacing_file(folder / JOB) as temporary:
            temporary.write_text("\n".join(map(redact, text.split("\n"))), encoding="utf-8")


def struck(value: Any) -> Any:
    """A value with what may be secret in it struck out.

    Examples
    --------
    >>> struck({"password": "p", "address": "s3://me:x@bucket/a", "env": {"AWS_SECRET_ACCESS_KEY": "k"}})
    {'password': '***', 'address': 's3://***@bucket/a', 'env': {'AWS_SECRET_ACCESS_KEY': '***'}}
    """
    if isinstance(value, dict):
        return {
            key: dict.fromkeys(one, "***")
            if key == "environment" and isinstance(one, dict)
            else "***"
            if _SECRET_KEY.fullmatch(str(key)) and one is not None
            else struck(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [struck(one) for one in value]
    return redact(value) if isinstance(value, str) else value
