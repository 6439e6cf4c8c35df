"""What is told of runs: a line for each, or the story of one."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask.utils import format_bytes

from dgmm.errors import JobError, printable
from dgmm.jobs.exits import ENDINGS
from dgmm.jobs.runs.folders import Run, runs_in
from dgmm.jobs.runs.logs import LOG, PASSES, read_lines
from dgmm.jobs.runs.origin import JOB, RESOLVED, job_path, kept_by
from dgmm.jobs.runs.performance import PERFORMANCE
from dgmm.jobs.runs.records import LOST, RECORD, RUNNING, RunRecord, now, readable, since_epoch
from dgmm.jobs.specification import RUNS
from dgmm.jobs.wording import duration
from dgmm.storage.replacing import is_zarr

DEPTH = 2
"""How many folders below a place are looked through for folders of runs."""
FILES = {
    RECORD: "what ran, where, how it ended",
    JOB: "the job file",
    RESOLVED: "its sections with all defaults",
    LOG: "the log",
    PASSES: "stages and passes",
    "report.json": "the report",
    "report.html": "the report to look at",
    PERFORMANCE: "Dask's performance report",
    "progress": "the progress of the fit, which the next run goes on from",
}
"""What may lie in the folder of a run."""


def find_runs(place: Path | None = None) -> list[Run]:
    """The runs of a job file, in a folder of runs, or in those named ``runs`` below a folder; the newest first.

    Parameters
    ----------
    place : path, optional
        The current folder if left out.

    Raises
    ------
    JobError
        If there is nothing at that place.
    """
    place = Path.cwd() if place is None else place
    if place.is_dir():
        folders = [place, *_folders_below(place, DEPTH)]
        found = [run for folder in folders for run in runs_in(folder)]
    elif place.is_file():
        folder = kept_by(place).folder
        job = str(job_path(place))
        found = [] if folder is None else [run for run in runs_in(folder) if run.record.job == job]
    else:
        raise JobError(f"{place}: there is no such file or folder; give a job file, or a folder with runs in it")
    return sorted(found, key=lambda run: (run.record.begun, run.path.name), reverse=True)


def _folders_below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
    for name in names:
        path = folder / name
        if name == RUNS:
            yield path
        elif depth > 1 and not name.startswith(".") and not is_zarr(path):
            yield from _folders_below(path, depth - 1)


def find_run(name: str, place: Path | None = None) -> Run:
    """The run whose number begins with some digits, or the ``last`` one.

    Raises
    ------
    JobError
        If there is none, or more than one.
    """
    runs = find_runs(place)
    if not runs:
        raise JobError(f"{place or Path.cwd()}: there are no runs here; give the job file, or the folder with its runs")
    found = runs[:1] if name == "last" else [run for run in runs if run.record.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    ids = ", ".join(run.record.id for run in (found or runs)[:8])
    if found:
        raise JobError(f"{name!r} begins the numbers of {len(found)} runs: {ids}; give more of it")
    raise JobError(f"no run has a number that begins with {name!r}; the last ones are {ids}")


@dataclass(frozen=True)
class Line:
    """What is told of a run in a list."""

    id: str
    begun: str
    job: str
    state: str
    took: str
    rows: str
    log_likelihood: str
    says: str


def line_of(record: RunRecord) -> Line:
    """What is told of a run in a list.

    Examples
    --------
    >>> record = RunRecord("1f3a9c", "/a/night.yaml", "night", "", "2026-11-22T03:30:42.000Z", state="lost", passes=7)
    >>> line = line_of(record)
    >>> line.begun, line.state, line.says
    ('2026-11-22 03:30', 'lost', 'ended by force after 7 passes: run it again')
    """
    bound = record.log_likelihood
    return Line(
        record.id,
        readable(record.begun)[:16],
        printable(record.name),
        record.state,
        duration(_seconds(record)) if record.state != LOST else "",
        "" if record.rows is None else f"{record.rows:,}",
        "" if bound is None else f"{bound:.6f}",
        printable(_says(record)),
    )


def _seconds(record: RunRecord) -> float:
    seconds = record.seconds
    return max(since_epoch(now()) - since_epoch(record.begun), 0.0) if seconds is None else seconds


def _says(record: RunRecord) -> str:
    if record.state == RUNNING:
        return record.step or record.stage
    if record.state == LOST:
        return f"ended by force after {_count(record.passes, 'pass', 'passes')}: run it again"
    return record.error or record.says


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


@dataclass(frozen=True)
class PassGroup:
    """Passes of one name that followed one another, as a table shows them."""

    name: str
    count: str
    rows: str
    read: str
    seconds: str
    log_likelihood: str
    memory: str


@dataclass(frozen=True)
class Story:
    """What is told of one run.

    Attributes
    ----------
    heading : str
    facts : tuple of (str, str)
    passes : tuple of PassGroup
    warnings : tuple of str
    files : tuple of (str, str)
        Names in the run's folder, and what they hold.
    """

    heading: str
    facts: tuple[tuple[str, str], ...]
    passes: tuple[PassGroup, ...]
    warnings: tuple[str, ...]
    files: tuple[tuple[str, str], ...]


def story_of(run: Run) -> Story:
    """What there is to tell of a run."""
    record, lines = run.record, read_lines(run.path / PASSES)
    files = [(name, what) for name, what in FILES.items() if (run.path / name).exists()]
    facts = [(key, printable(text)) for key, text in _facts(run, lines) if text]
    return Story(
        printable(f"Run {record.id} of {Path(record.job).name}: {record.state}"),
        tuple(facts),
        tuple(_group(group) for group in _groups(lines)),
        tuple(printable(text) for text in warnings_of(run)),
        tuple(files),
    )


def warnings_of(run: Run) -> list[str]:
    """What a run warned of."""
    return [str(line.get("text")) for line in read_lines(run.path / LOG) if line.get("level") == "WARNING"]


def _facts(run: Run, lines: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    record = run.record
    yield "job", record.job
    yield "asked for", record.asked
    yield "read", "; ".join(_read(run))
    yield "on", record.cluster
    who = f"{record.user} on {record.host}" if record.user else record.host
    yield "by", f"{who}, process {record.pid}: {' '.join(record.command)}"
    ended = "" if record.ended is None else f", ended {readable(record.ended)}"
    yield "begun", f"{readable(record.begun)}{ended}, took {duration(_seconds(record))}"
    if record.attempt > 1:
        source = f", going on from run {record.resumed_from}" if record.resumed_from else ""
        yield "attempt", f"{record.attempt}{source}"
    stages = [line for line in lines if "stage" in line]
    yield "stages", ", ".join(f"{line['stage']} {_short(line.get('seconds'))}" for line in stages)
    if record.state in (RUNNING, LOST):
        yield "came to", f"{record.stage}: {record.step}" if record.step else record.stage
    yield "result", record.says
    yield "error", record.error or ""
    for key, written in record.outputs.items():
        if written.stamp is not None and written.stamp.files:
            yield key, written.path
    if record.again:
        times = _count(int(record.again.get("times", 1)), "time", "times")
        what = "nothing to do" if record.is_done else "the same"
        yield "since then", f"asked for {times} more, last {readable(str(record.again.get('last')))}: {what}"
    yield "next", _next(run)
    yield "folder", str(run.path)


def _read(run: Run) -> Iterator[str]:
    for key, stamp in run.record.inputs.items():
        size = "" if stamp is None else f", {_count(stamp.files, 'file', 'files')}, {format_bytes(stamp.bytes)}"
        yield f"{_place(run.path, key)}{size}"
    if run.record.rows is not None:
        passes = _count(run.record.passes, "pass", "passes")
        yield f"{run.record.rows:,} rows, {format_bytes(run.record.bytes_read)} in {passes}"


def _place(folder: Path, key: str) -> str:
    """Where an input of a run lies, as its key was resolved; the key itself if that is not known."""
    section, _, name = key.partition(".")
    try:
        value = json.loads((folder / RESOLVED).read_text(encoding="utf-8"))[section][name]
        value = value["text"] if isinstance(value, dict) else value
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return key
    return value if isinstance(value, str) else key


def _next(run: Run) -> str:
    record = run.record
    later = [other for other in runs_in(run.path.parent) if _is_later(other.record, record)]
    if later:
        return f"see run {later[0].record.id}, which came after it: {later[0].record.state}"
    command = f"dgmm run {record.job}"
    if record.state == RUNNING:
        return f"wait for it, or stop process {record.pid} on {record.host}"
    if record.state == LOST:
        kept = ": it goes on from what was kept" if run.progress.is_dir() else ""
        return f"{command}{kept}"
    advice = next((ending.advice for ending in ENDINGS.values() if ending.state == record.state), "run the job again")
    return advice if record.is_done else f"{advice}: {command}"


def _is_later(other: RunRecord, record: RunRecord) -> bool:
    """Whether a run of the same job file, or of the same job under another name, came after another."""
    # A job file that is wrong asks for nothing that could be compared.
    same = other.job == record.job or (other.digest == record.digest != "")
    return same and other.begun > record.begun


def _groups(lines: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    passes = [line for line in lines if "pass" in line]
    for _, group in itertools.groupby(passes, key=lambda line: str(line.get("name"))):
        yield list(group)


def _group(lines: list[dict[str, Any]]) -> PassGroup:
    seconds = [value for line in lines if (value := _number(line.get("seconds"))) is not None]
    bounds = [value for line in lines if (value := _number(line.get("log_likelihood"))) is not None]
    rows = [int(value) for line in lines if (value := _number(line.get("rows"))) is not None]
    read = sum(int(value) for line in lines if (value := _number(line.get("bytes_read"))) is not None)
    peaks = [
        int(value)
        for line in lines
        if isinstance(memory := line.get("memory"), dict) and (value := _number(memory.get("peak"))) is not None
    ]
    return PassGroup(
        printable(str(lines[0].get("name"))),
        f"{len(lines):,}",
        f"{max(rows):,}" if rows else "",
        format_bytes(read) if read else "",
        _short(sum(seconds)),
        " to ".join(f"{bound:.6f}" for bound in dict.fromkeys((bounds[0], bounds[-1]))) if bounds else "",
        format_bytes(max(peaks)) if peaks else "",
    )


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _short(seconds: Any) -> str:
    number = _number(seconds)
    if number is None:
        return "?"
    return f"{number:.2f} s" if number < 60 else duration(number)


def as_json(run: Run, *, whole: bool = False) -> dict[str, Any]:
    """A run as values for scripts; ``whole`` for its passes and warnings too."""
    found = run.record.to_json() | {"path": str(run.path)}
    if whole:
        found |= {"passes_done": read_lines(run.path / PASSES), "warned": warnings_of(run)}
    return found
