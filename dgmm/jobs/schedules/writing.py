"""The files of a schedule, written where they are asked for."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from dgmm.errors import JobError
from dgmm.jobs.checks import check_outputs
from dgmm.jobs.resuming import EarlierRun
from dgmm.jobs.schedules import ELSEWHERE, SCHEDULERS
from dgmm.jobs.schedules.schedule import check_writable
from dgmm.storage.replacing import replacing_file

if TYPE_CHECKING:
    from dgmm.jobs.schedules.schedule import Schedule, Written


def write_schedule(
    schedule: Schedule, scheduler: str, output: str | Path | None = None, *, overwrite: bool = False
) -> dict[Path, list[str]]:
    """Write what a scheduler needs to run a job by the clock.

    Parameters
    ----------
    schedule : Schedule
    scheduler : str
        One of :data:`SCHEDULERS`.
    output : path, optional
        A folder; where one file is written also its path. The current folder if left out.
    overwrite : bool
        Replace files that say something else.

    Returns
    -------
    dict
        The commands that install each file, by its path.

    Raises
    ------
    JobError
        If there is no such scheduler, it cannot run the job, an output could not be written, or a file is in the way.
    """
    if scheduler not in SCHEDULERS:
        raise JobError(f"--for: found {scheduler[:60]!r}; allowed: {', '.join(SCHEDULERS)}")
    if scheduler not in ELSEWHERE:
        check_outputs(schedule.job, EarlierRun.of(schedule.job).outputs)
    files = SCHEDULERS[scheduler](schedule)
    paths = _paths(files, Path() if output is None else Path(output), is_folder=str(output).endswith("/"))
    check_writable(*paths)
    texts = [each.text_at(path) for path, each in zip(paths, files, strict=True)]
    for path, text in zip(paths, texts, strict=True):
        if not overwrite and path.exists() and not _says(path, text):
            raise JobError(f"{path}: exists already and says something else; remove it, or give --overwrite")
    try:
        for path, text in zip(paths, texts, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing_file(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise JobError(f"{path}: cannot be written: {error.strerror or error}") from error
    return {
        path: [line.replace("{file}", shlex.quote(str(path))) for line in each.install]
        for path, each in zip(paths, files, strict=True)
    }


def _paths(files: list[Written], output: Path, *, is_folder: bool) -> list[Path]:
    output = output.absolute()
    if is_folder or len(files) > 1 or output.is_dir():
        return [output / each.name for each in files]
    return [output]


def _says(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False
