"""A job and the times at which it runs: what every writer of units and manifests is given."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.errors import JobError
from dgmm.jobs.loading import Job, load_cluster, load_job
from dgmm.jobs.schedules.times import CronTimes
from dgmm.jobs.source import parse, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f]")
S3_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
"""What a job that reads or writes s3:// takes from its environment, unless the machine has a role."""


@dataclass(frozen=True)
class Written:
    """A file for a scheduler, ready to install."""

    name: str
    """Of the file."""
    text: str
    install: tuple[str, ...] = ()
    """Commands for a shell; ``{file}`` in them stands for the path that the file was written to, quoted."""
    head: Callable[[Path], str] | None = None
    """Returns lines to stand above the text, of the path that the file is written to."""

    def text_at(self, path: Path) -> str:
        """Return what is written to a path."""
        return ("" if self.head is None else self.head(path)) + self.text


@dataclass(frozen=True)
class Schedule:
    """A checked job that runs by the clock.

    Attributes
    ----------
    name : str
        Short, of lower-case letters, digits and hyphens; every scheduler takes it.
    file : path
        The job file, absolute.
    times : CronTimes
    job : Job
        Its content, with the cluster that it runs on.
    cluster_file : path or None
        That takes the place of the job's own section, absolute.
    python : str
        The interpreter that has dgmm, absolute.
    environment : tuple of str
        Names of variables that the job takes from its environment; their values are written nowhere.
    """

    name: str
    file: Path
    times: CronTimes
    job: Job
    cluster_file: Path | None
    python: str
    environment: tuple[str, ...]

    @property
    def command(self) -> tuple[str, ...]:
        """The words of the command that runs the job."""
        cluster = () if self.cluster_file is None else ("--cluster", str(self.cluster_file))
        return (self.python, "-m", "dgmm", "run", str(self.file), *cluster)

    @property
    def folder(self) -> Path:
        """The job file's folder, where the job runs."""
        return self.file.parent

    @property
    def environment_file(self) -> Path:
        """Where the values of the environment are looked for: lines ``NAME=value``, for the owner's eyes."""
        return self.folder / f"{self.name}.env"

    @property
    def log(self) -> Path:
        """Where what the job says is kept, by schedulers that keep nothing themselves."""
        return self.folder / f"{self.name}.log"

    @property
    def shell_command(self) -> str:
        """The command in a POSIX shell's words."""
        return shlex.join(self.command)


def make_schedule(
    file: str | Path, cron: str, *, cluster_file: str | Path | None = None, name: str | None = None
) -> Schedule:
    """Check a job file and the times at which it is to run.

    Parameters
    ----------
    file : path
        The job file.
    cron : str
        A cron expression, as ``"0 2 * * *"``.
    cluster_file : path, optional
        As for ``dgmm run --cluster``.
    name : str, optional
        From the job file's name if left out.

    Raises
    ------
    JobError
        If the job file, the cluster file, the expression or the name is wrong.
    """
    times = CronTimes.parse(cron)
    file = Path(file).absolute()
    cluster_file = None if cluster_file is None else Path(cluster_file).absolute()
    # Passwords are there when the job runs.
    section = None if cluster_file is None else load_cluster(cluster_file, secrets=False)
    job = load_job(file, cluster=section, secrets=False)
    if name is not None and not _NAME.fullmatch(name):
        raise JobError(f"--name: found {name[:60]!r}; allowed: at most 40 letters a to z, digits and hyphens within")
    check_writable(*(path for path in (file, cluster_file, sys.executable) if path is not None))
    values = [job.source.value]
    if cluster_file is not None:
        values.append(parse(read_text(cluster_file), str(cluster_file)).value)
    return Schedule(
        name=name or _name_of(file),
        file=file,
        times=times,
        job=job,
        cluster_file=cluster_file,
        python=sys.executable,
        environment=_environment(values),
    )


def check_writable(*paths: str | Path) -> None:
    """Refuse paths that cannot be written into a schedule.

    Raises
    ------
    JobError
    """
    for path in paths:
        if _UNWRITABLE.search(str(path)):
            raise JobError(f"{path}: a path with control characters cannot be written into a schedule; rename it")


def _name_of(file: Path) -> str:
    """Return a name made of that of a job file.

    Examples
    --------
    >>> _name_of(Path("Nightly refit (2).yaml"))
    'nightly-refit-2'
    """
    return re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-")[:40].strip("-") or "job"


def _environment(value: Any) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for text in _texts(value):
        names |= dict.fromkeys(_VARIABLE.findall(text))
        if text.startswith("s3://"):
            names |= dict.fromkeys(S3_NAMES)
    return tuple(names)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
