"""A line for cron."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from dgmm.errors import JobError
from dgmm.jobs.schedules.schedule import Written

if TYPE_CHECKING:
    from dgmm.jobs.schedules.schedule import Schedule

# Of a command, in cron's own sources; what is longer is refused or cut.
_MOST_CHARACTERS = 998


def write_cron(schedule: Schedule) -> list[Written]:
    """Write the lines of a crontab that run a job.

    Raises
    ------
    JobError
        If the paths are too long for a line of a crontab.
    """
    environment, log = (shlex.quote(str(path)) for path in (schedule.environment_file, schedule.log))
    command = (
        f"cd {shlex.quote(str(schedule.folder))} && set -a && if [ -f {environment} ]; then . {environment}; fi && "
        f"{schedule.shell_command} >> {log} 2>&1"
    )
    # To cron a percent sign ends the command, also within quotes.
    command = command.replace("%", r"\%")
    if len(command) > _MOST_CHARACTERS:
        raise JobError(
            f"{schedule.file}: its command has {len(command)} characters, and cron takes {_MOST_CHARACTERS}; "
            "move the job, or the environment that dgmm is installed in, to a shorter path"
        )
    begin, end = f"# begin dgmm {schedule.name}", f"# end dgmm {schedule.name}"
    text = (
        f"{begin}\n"
        f"# dgmm run {schedule.file.name}; what it says: {schedule.log}\n"
        f"# Credentials{_named(schedule)}: NAME=value lines in {schedule.environment_file}, mode 600.\n"
        "# A run that was interrupted (exit code 75) goes on at the next time.\n"
        f"{schedule.times.text} {command}\n"
        f"{end}\n"
    )
    replace = f"{{ crontab -l 2>/dev/null | sed '/^{begin}$/,/^{end}$/d'; cat {{file}}; }} | crontab -"
    return [Written(f"{schedule.name}.crontab", text, (replace,))]


def _named(schedule: Schedule) -> str:
    return f" ({', '.join(schedule.environment)})" if schedule.environment else ""
