"""A service and a timer for systemd."""

from __future__ import annotations

import glob
import re
from typing import TYPE_CHECKING

from dgmm.errors import JobError
from dgmm.jobs.schedules.schedule import Written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dgmm.jobs.schedules.schedule import Schedule
    from dgmm.jobs.schedules.times import CronTimes

_PLAIN = re.compile(r"[A-Za-z0-9_./@+=-]+")
_QUOTES = re.compile(r"[\"'\\]")
_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")

_SERVICE = """\
# Runs once, by hand: systemctl --user start {unit}.service
# What it says: journalctl --user -u {unit}.service
# For the whole machine: put both files into /etc/systemd/system, add User=, and leave --user out.
[Unit]
Description=dgmm run {description}

[Service]
# A start while it runs is no second run.
Type=exec
WorkingDirectory={folder}
# Credentials{named}: NAME=value lines, mode 600. It may be missing.
EnvironmentFile=-{environment}
ExecStart=:{command}
# Interrupted, or another process has the job: run again, the job goes on. Not after systemctl stop.
RestartForceExitStatus=75
RestartSec=60
SuccessExitStatus=75
# To the job alone, which takes its workers down; whoever is left after the time is killed, and nothing is lost.
KillSignal=SIGTERM
KillMode=mixed
TimeoutStopSec=300
"""

_TIMER = """\
# When it runs next: systemctl --user list-timers
[Unit]
Description=dgmm run {description}, {cron}

[Timer]
{times}
# A time that the machine slept through is made up for.
Persistent=true

[Install]
WantedBy=timers.target
"""


def write_systemd(schedule: Schedule) -> list[Written]:
    """Write a service that runs a job and a timer that starts it, for the user's own systemd.

    Raises
    ------
    JobError
        If a unit cannot say a path.
    """
    unit = f"dgmm-{schedule.name}"
    for path in (schedule.folder, schedule.environment_file):
        if str(path) != str(path).strip() or str(path).endswith("\\"):
            raise JobError(f"{str(path)!r}: systemd takes no path that ends in a space or backslash; rename it")
    if _QUOTES.search(schedule.python):
        raise JobError(f"{schedule.python}: systemd starts no program with quotes or backslashes in its path; move it")
    named = f" ({', '.join(schedule.environment)})" if schedule.environment else ""
    description = _literal(schedule.file.name)
    service = _SERVICE.format(
        unit=unit,
        description=description,
        folder=_literal(str(schedule.folder)),
        named=named,
        # The name of this file may be a pattern.
        environment=_literal(glob.escape(str(schedule.environment_file))),
        command=" ".join(map(_quoted, schedule.command)),
    )
    times = "\n".join(f"OnCalendar={each}" for each in on_calendar(schedule.times))
    timer = _TIMER.format(description=description, cron=schedule.times.text, times=times)
    folder = "~/.config/systemd/user"
    return [
        Written(f"{unit}.service", service, (f"install -D -m 644 {{file}} {folder}/{unit}.service",)),
        Written(
            f"{unit}.timer",
            timer,
            (
                f"install -D -m 644 {{file}} {folder}/{unit}.timer",
                f"systemctl --user daemon-reload && systemctl --user enable --now {unit}.timer",
                "loginctl enable-linger  # so that it also runs while you are not logged in",
            ),
        ),
    ]


def on_calendar(times: CronTimes) -> list[str]:
    """Return times as systemd's calendar events, two where either kind of day is enough.

    Source: systemd.time(7), "Calendar events".

    Examples
    --------
    >>> from dgmm.jobs.schedules.times import CronTimes
    >>> on_calendar(CronTimes.parse("30 2 * * mon-fri"))
    ['Mon,Tue,Wed,Thu,Fri *-*-* 02:30:00']
    >>> on_calendar(CronTimes.parse("0 0 1 * sun"))
    ['*-*-01 00:00:00', 'Sun *-*-* 00:00:00']
    """
    months = _numbers(times.months, 12)
    clock = f"{_numbers(times.hours, 24)}:{_numbers(times.minutes, 60)}:00"
    dates = f"*-{months}-{_numbers(times.days, 31)} {clock}"
    weekdays = ",".join(_WEEKDAYS[day] for day in times.weekdays)
    if times.either_day:
        return [dates, f"{weekdays} *-{months}-* {clock}"]
    return [dates if len(times.weekdays) == 7 else f"{weekdays} {dates}"]


def _numbers(values: Sequence[int], all_of_them: int) -> str:
    return "*" if len(values) == all_of_them else ",".join(f"{value:02d}" for value in values)


def _literal(text: str) -> str:
    """Return a text that systemd takes as it is: a percent sign begins one of its specifiers."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """Return one word of a command, whatever is in it."""
    escaped = _literal(word).replace("\\", "\\\\").replace('"', '\\"')
    return word if _PLAIN.fullmatch(word) else f'"{escaped}"'
