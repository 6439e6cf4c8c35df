"""Cron expressions: read, checked, and written so that all schedulers understand them alike."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from dgmm.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True)
class Field:
    """One of the five fields of a cron expression, and the values that it takes."""

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()
    """Names of the values, from the lowest."""

    @property
    def allowed(self) -> str:
        """The values in words."""
        words = f" or {self.words[0]} to {self.words[-1]}" if self.words else ""
        return f"{self.low} to {self.high}{words}, a range as {self.low}-{self.low + 2}, */2, or a list of them"


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of month", 1, 31),
    Field("month", 1, 12, _MONTHS),
    Field("day of week", 0, 7, _WEEKDAYS),
)
_DAY, _WEEKDAY = FIELDS[2], FIELDS[4]
_ITEM = re.compile(r"(?:(\*)|([0-9a-z]+)(?:-([0-9a-z]+))?)(?:/([0-9]+))?")
_MOST_CHARACTERS = 500


@dataclass(frozen=True)
class CronTimes:
    """When a job runs: the minutes at which all that is asked for holds, on this machine's clock.

    As in crontab(5), a job for certain days of the month and certain days of the week runs on both.

    Attributes
    ----------
    fields : tuple of str
        Minute, hour, day of month, month, day of week (0 is Sunday), in numbers.
    minutes, hours, days, months, weekdays : tuple of int
        The values that the fields stand for, rising.
    """

    fields: tuple[str, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> CronTimes:
        """Read a cron expression: five fields, or a word as ``@daily``.

        Raises
        ------
        JobError
            If a field is wrong, no day is ever meant, or schedulers would disagree on the days.

        Examples
        --------
        >>> CronTimes.parse("30 2 * * mon-fri").fields
        ('30', '2', '*', '*', '1-5')
        >>> CronTimes.parse("0 24 * * *")
        Traceback (most recent call last):
            ...
        dgmm.errors.JobError: --cron: hour: found '24'; allowed: 0 to 23, a range as 0-2, */2, or a list of them
        """
        parts = _split(text)
        stepped = [part.startswith("*/") for part in (parts[2], parts[4])]
        if any(stepped) and "*" not in (parts[2], parts[4]):
            raise _refused(
                f"found {text!r}: with a step in one and values in the other, schedulers disagree on whether the "
                "day of month, the day of week, or both must fit; write the step as a range, as 1-31/2"
            )
        values, fields = zip(*(_read(part, field) for part, field in zip(parts, FIELDS, strict=True)), strict=True)
        minutes, hours, days, months, weekdays = values
        if _both(fields) and (len(days) == 31 or len(weekdays) == 7):
            # Either of them is enough, and one holds on every day.
            fields, days, weekdays = (*fields[:2], "*", fields[3], "*"), tuple(range(1, 32)), tuple(range(7))
        times = cls(fields, minutes, hours, days, months, weekdays)
        if not times._ever():
            raise _refused(f"found {text!r}: there is no such day in any of these months; correct the day or the month")
        return times

    @property
    def text(self) -> str:
        """The expression, in numbers."""
        return " ".join(self.fields)

    @property
    def either_day(self) -> bool:
        """Whether days of the month and days of the week are given, so that either is enough."""
        return _both(self.fields)

    def next_after(self, moment: datetime) -> datetime:
        """Return the next time, to the minute.

        Examples
        --------
        >>> CronTimes.parse("0 2 * * *").next_after(datetime(2026, 1, 31, 2, 0))
        datetime.datetime(2026, 2, 1, 2, 0)
        """
        day = moment.date()
        while True:
            if self._runs_on(day.year, day.month, day.day):
                for hour in self.hours:
                    for minute in self.minutes:
                        found = datetime.combine(day, time(hour, minute), moment.tzinfo)
                        if found > moment:
                            return found
            day += timedelta(days=1)

    def _runs_on(self, year: int, month: int, day: int) -> bool:
        if month not in self.months:
            return False
        weekday = (calendar.weekday(year, month, day) + 1) % 7 in self.weekdays
        return (day in self.days or weekday) if self.either_day else (day in self.days and weekday)

    def _ever(self) -> bool:
        longest = max(calendar.monthrange(2024, month)[1] for month in self.months)  # of a leap year
        return self.either_day or self.days[0] <= longest


def _both(fields: tuple[str, ...]) -> bool:
    return "*" not in (fields[2], fields[4])


def _refused(text: str) -> JobError:
    return JobError(f"--cron: {text}")


def _split(text: str) -> list[str]:
    words = text.lower().split()
    if len(words) == 1 and words[0] in MACROS:
        return MACROS[words[0]].split()
    if len(words) == 1 and words[0].startswith("@"):
        raise _refused(f"found {text[:60]!r}; allowed: {', '.join(MACROS)}, or five fields as '0 2 * * *'")
    if len(words) != len(FIELDS) or len(text) > _MOST_CHARACTERS:
        names = ", ".join(field.name for field in FIELDS)
        raise _refused(f"found {text[:60]!r}, {len(words)} fields; expected five: {names}, as '0 2 * * *'")
    return words


def _read(text: str, field: Field) -> tuple[tuple[int, ...], str]:
    """Return the values of a field, and the field in numbers."""
    found: set[int] = set()
    for item in text.split(","):
        found.update(_values(item, field))
    if field is _WEEKDAY:
        found = {value % 7 for value in found}
    values = tuple(sorted(found))
    high = 6 if field is _WEEKDAY else field.high
    if len(values) == high - field.low + 1 and "*" in text:
        return values, "*"
    # What begins with a star is any day to some schedulers, also if it goes on with a step.
    if text.startswith("*/") and "," not in text and field not in (_DAY, _WEEKDAY):
        return values, text
    return values, ",".join(_runs(values))


def _values(item: str, field: Field) -> range:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise _refused(f"{field.name}: found {item[:60]!r}; allowed: {field.allowed}")
    star, first, last, step = match.groups()
    high = 6 if star and field is _WEEKDAY else field.high
    low = field.low if star else _number(first, item, field)
    if not star:
        high = low if last is None else _number(last, item, field)
    if step is not None and not star and last is None:
        raise _refused(f"{field.name}: found {item!r}; a step needs a range: write {low}-{field.high}/{step}")
    if high < low:
        raise _refused(f"{field.name}: found {item!r}, which runs backwards; write two ranges, with a comma")
    if step is not None and not 1 <= int(step[:9]) <= max(high - low, 1):
        raise _refused(f"{field.name}: found {item[:60]!r}; a step in it is from 1 to {max(high - low, 1)}")
    return range(low, high + 1, int(step or 1))


def _number(word: str, item: str, field: Field) -> int:
    value = field.words.index(word) + field.low if word in field.words else -1
    if word.isdigit() and len(word) <= 2:
        value = int(word)
    if not field.low <= value <= field.high:
        raise _refused(f"{field.name}: found {item[:60]!r}; allowed: {field.allowed}")
    return value


def _runs(values: tuple[int, ...]) -> Iterator[str]:
    """Write numbers, those that follow each other as a range."""
    start = 0
    for end in range(1, len(values) + 1):
        if end == len(values) or values[end] != values[end - 1] + 1:
            first, last = values[start], values[end - 1]
            yield str(first) if first == last else f"{first}-{last}"
            start = end
