"""The record of a run, ``run.json``: what ran, where, how far it came, how it ended."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dgmm.jobs.exits import DONE, ENDINGS
from dgmm.jobs.runs.stamps import Stamp, stamp_of
from dgmm.storage.replacing import replacing_file

RECORD = "run.json"
FORMAT = 1
RUNNING, LOST = "running", "lost"
"""States beside those of :data:`dgmm.jobs.exits.ENDINGS`; a run that is lost was killed, and could not say so."""
MOST_BYTES = 4_000_000
"""The largest record that is read."""


@dataclass(frozen=True)
class Written:
    """An output.

    Attributes
    ----------
    path : str
        Or a URL.
    stamp : Stamp or None
        Of what the run left there; None until it was written.
    """

    path: str
    stamp: Stamp | None = None


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run.

    Attributes
    ----------
    id : str
        Six hexadecimal digits.
    job, name : str
        The job file, and its name without suffix.
    digest : str
        Of what the job file asks for, wherever it computes.
    begun : str
        Time in UTC, as ISO 8601 has it.
    host, user, pid, command, folder
        Who runs it: the machine, the user, the process, the words of the command and the current folder.
    versions : dict
        Of Python and the packages that decide on the result.
    asked : str
        What is fitted to what, in words.
    cluster : str
        What computes, in words.
    state : str
        ``running``, or one of :data:`dgmm.jobs.exits.ENDINGS`.
    exit_code : int or None
    error : str or None
        The first line of the error.
    ended : str or None
    stage, step : str
        What it does, or did last: the name of the stage, and the step in words.
    attempt : int
        1, or one more than that of the run that it goes on from.
    resumed_from : str or None
        The run that it goes on from.
    inputs : dict of str to Stamp or None
        What lay at each place that is read, when the run began.
    outputs : dict of str to Written
    anew : bool
        Whether it does again what was done, or goes on with a run that does.
    writing : bool
        Whether it has begun to write its outputs.
    rows, passes, bytes_read, peak_memory : int or None
        Rows of the data, finished passes and rounds, bytes that they read, and the most bytes that a process held.
    log_likelihood : float or None
        Mean, in nats per row.
    warnings : int
    says : str
        The result, in words.
    again : dict
        How often the job was run again with nothing left to do (``times``), and when last (``last``).
    """

    id: str
    job: str
    name: str
    digest: str
    begun: str
    host: str = ""
    user: str = ""
    pid: int = 0
    command: tuple[str, ...] = ()
    folder: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    asked: str = ""
    cluster: str = ""
    state: str = RUNNING
    exit_code: int | None = None
    error: str | None = None
    ended: str | None = None
    stage: str = ""
    step: str = ""
    attempt: int = 1
    resumed_from: str | None = None
    inputs: dict[str, Stamp | None] = field(default_factory=dict)
    outputs: dict[str, Written] = field(default_factory=dict)
    anew: bool = False
    writing: bool = False
    rows: int | None = None
    passes: int = 0
    bytes_read: int = 0
    peak_memory: int | None = None
    log_likelihood: float | None = None
    warnings: int = 0
    says: str = ""
    again: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """From the beginning to the end; None before that."""
        return None if self.ended is None else max(since_epoch(self.ended) - since_epoch(self.begun), 0.0)

    @property
    def is_done(self) -> bool:
        """Whether it has ended as it should."""
        return self.state == ENDINGS[DONE].state

    @property
    def last_success(self) -> float | None:
        """When it was last known that all is done, in seconds since 1970; None if it is not."""
        return since_epoch(self.again.get("last") or self.ended or self.begun) if self.is_done else None

    def to_json(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return {"format": FORMAT, **asdict(self), "seconds": self.seconds}

    @classmethod
    def of_json(cls, value: Any) -> RunRecord | None:
        """The reverse; None if it is no record: whoever can write to a folder of runs can have put anything there."""
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            return None
        given = {one.name: value[one.name] for one in fields(cls) if value.get(one.name) is not None}
        if not (_TYPES.keys() <= given.keys() and all(_is(given[name], _KINDS[name]) for name in given)):
            return None
        times = [given["begun"], given.get("ended"), given.get("again", {}).get("last")]
        if not all(time is None or _is_time(time) for time in times):
            return None
        given["inputs"] = {str(key): Stamp.of_json(stamp) for key, stamp in given.get("inputs", {}).items()}
        given["outputs"] = {str(key): _written(one) for key, one in given.get("outputs", {}).items()}
        given["command"] = tuple(map(str, given.get("command", ())))
        return cls(**given)


_TYPES = dict.fromkeys(("id", "job", "name", "digest", "begun", "state"), str)
_KINDS: dict[str, Any] = {
    **_TYPES,
    **dict.fromkeys(
        ("host", "user", "folder", "asked", "cluster", "error", "ended", "stage", "step", "resumed_from", "says"), str
    ),
    **dict.fromkeys(("pid", "exit_code", "attempt", "rows", "passes", "bytes_read", "peak_memory", "warnings"), int),
    **dict.fromkeys(("versions", "inputs", "outputs", "again"), dict),
    "command": list,
    **dict.fromkeys(("anew", "writing"), bool),
    "log_likelihood": (int, float),
}


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _is_time(value: Any) -> bool:
    try:
        since_epoch(value)
    except (TypeError, ValueError):
        return False
    return True


def _written(value: Any) -> Written:
    value = value if isinstance(value, dict) else {}
    return Written(str(value.get("path", "")), Stamp.of_json(value.get("stamp")))


def now() -> str:
    """The time in UTC, to the millisecond.

    Examples
    --------
    >>> len(now())
    24
    """
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def since_epoch(time: str) -> float:
    """A time of a record in seconds since 1970.

    Examples
    --------
    >>> since_epoch("1970-01-01T00:01:00.500Z")
    60.5
    """
    return datetime.fromisoformat(time).timestamp()


def readable(time: str) -> str:
    """A time of a record as a person reads it.

    Examples
    --------
    >>> readable("2026-11-22T03:30:42.123Z")
    '2026-11-22 03:30:42 UTC'
    """
    return f"{time[:10]} {time[11:19]} UTC"


def read_record(folder: Path) -> RunRecord | None:
    """Read the record in a folder of a run; None if there is none that can be read."""
    path = folder / RECORD
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_BYTES:
            return None
        return RunRecord.of_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return None


def write_record(folder: str | os.PathLike[str], record: RunRecord) -> None:
    """Put a record in the place of the one in a folder, in one step.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    with replacing_file(Path(folder, RECORD)) as temporary:
        temporary.write_text(json.dumps(record.to_json(), indent=2) + "\n", encoding="utf-8")


def ended(record: RunRecord, code: int, error: str | None = None, **changes: Any) -> RunRecord:
    """The record of a run that has ended with an exit code."""
    return replace(record, state=ENDINGS[code].state, exit_code=code, error=error, ended=now(), **changes)


def asked_again(record: RunRecord) -> RunRecord:
    """The record of a run whose job was asked for once more, to the same end."""
    times = record.again.get("times")
    return replace(record, again={"times": times + 1 if isinstance(times, int) else 1, "last": now()})


def intact(record: RunRecord, places: Mapping[str, str]) -> dict[str, bool]:
    """Which outputs of a job lie there as a run wrote them, by key; ``places`` are those of the job."""
    from_run = {key: written for key, written in record.outputs.items() if written.stamp is not None}
    return {
        key: key in from_run and from_run[key].path == place and stamp_of(place) == from_run[key].stamp
        for key, place in places.items()
    }
