"""Cron expressions: held against cronsim, which follows Debian's cron, and against systemd's own calendar."""

from __future__ import annotations

import re
import subprocess
from datetime import datetime, timedelta, timezone

import pytest
from cronsim import CronSim
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dgmm.errors import JobError
from dgmm.jobs.schedules.systemd import on_calendar
from dgmm.jobs.schedules.times import MACROS, CronTimes

BEGIN = datetime(2027, 12, 30, 23, 58)
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


def fields(low, high, words=()):
    """Texts of one field."""
    numbers = st.integers(low, high)
    single = st.one_of(numbers.map(str), st.sampled_from(words)) if words else numbers.map(str)
    ends = st.tuples(numbers, numbers).map(sorted)
    ranges = ends.map("{0[0]}-{0[1]}".format)
    stepped = st.integers(1, 6).flatmap(lambda n: st.integers(low, high - 6).map(f"{{}}-{high}/{n}".format))
    items = st.lists(st.one_of(single, ranges, stepped), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), st.sampled_from(["*/2", "*/5"]), items)


EXPRESSIONS = st.tuples(fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12, MONTHS), fields(0, 7, WEEKDAYS)).map(
    " ".join
)


def parsed(text):
    try:
        return CronTimes.parse(text)
    except JobError as error:
        assume(not re.search("disagree|no such day", str(error)))
        raise


def next_times(times, number):
    found = [BEGIN]
    for _ in range(number):
        found.append(times.next_after(found[-1]))
    return found[1:]


@settings(max_examples=200)
@given(EXPRESSIONS)
@example("0 0 1-31 * 1")
@example("0 0 29 2 *")
@example("0 0 13 * fri")
def test_times_are_those_of_debians_cron(text):
    times = parsed(text)
    mine = next_times(times, 5)
    for expression in (text, times.text):
        theirs = CronSim(expression, BEGIN)
        assert mine == [next(theirs) for _ in range(5)], expression


@settings(max_examples=25)
@given(EXPRESSIONS)
@example("*/15 2 1,15 * mon")
@example("0 0 29 2 *")
def test_systemd_elapses_at_these_times(systemd_analyze, text):
    times = parsed(text)
    command = ["systemd-analyze", "calendar", "--iterations=5", f"--base-time={BEGIN:%F %T} UTC", *on_calendar(times)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env={"TZ": "UTC", "LC_ALL": "C"}).stdout
    theirs = {datetime.strptime(each, "%Y-%m-%d %H:%M:%S") for each in re.findall(r": \w{3} (\S+ \S+) UTC", shown)}
    assert next_times(times, 5) == sorted(theirs)[:5]


@pytest.mark.parametrize("word", MACROS)
def test_words_are_those_of_debians_cron(word):
    theirs = {"@annually": "@yearly", "@midnight": "@daily"}.get(word, word)
    assert next_times(CronTimes.parse(word), 3) == [next(t) for t in [CronSim(MACROS[theirs], BEGIN)] for _ in range(3)]


def test_a_time_keeps_its_zone():
    zone = timezone(timedelta(hours=2))
    assert CronTimes.parse("0 2 * * *").next_after(BEGIN.replace(tzinfo=zone)).tzinfo is zone


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0 2 * * 7", "0 2 * * 0"),
        ("0 2 * * FRI-7", "0 2 * * 0,5-6"),
        ("*/10 */2 * */3 *", "*/10 */2 * */3 *"),
        ("0 0 */10 * *", "0 0 1,11,21,31 * *"),
        ("0 0 1-31 * 1", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
    ],
)
def test_an_expression_is_written_so_that_all_schedulers_read_it_alike(text, canonical):
    assert CronTimes.parse(text).text == canonical


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "found '', 0 fields; expected five: minute, hour, day of month, month, day of week, as '0 2 * * *'"),
        ("0 0 2 * * *", "6 fields; expected five"),
        ("@reboot", "found '@reboot'; allowed: @yearly, "),
        ("60 2 * * *", "minute: found '60'; allowed: 0 to 59, a range as 0-2"),
        ("0 24 * * *", "hour: found '24'; allowed: 0 to 23"),
        ("0 2 0 * *", "day of month: found '0'; allowed: 1 to 31"),
        ("0 2 * 13 *", "month: found '13'; allowed: 1 to 12 or jan to dec"),
        ("0 2 * januar *", "month: found 'januar'"),
        ("0 2 * * 8", "day of week: found '8'; allowed: 0 to 7 or sun to sat"),
        ("0 2 * * 1,,2", "day of week: found ''"),
        ("5/15 * * * *", "minute: found '5/15'; a step needs a range: write 5-59/15"),
        ("*/90 * * * *", "minute: found '*/90'; a step in it is from 1 to 59"),
        ("*/0 * * * *", "minute: found '*/0'; a step in it is from 1 to 59"),
        ("0 22-2 * * *", "hour: found '22-2', which runs backwards"),
        ("0 2 * * fri-mon", "day of week: found 'fri-mon', which runs backwards"),
        ("0 2 30 2 *", "there is no such day in any of these months"),
        ("0 2 31 4,6,9,11 *", "there is no such day in any of these months"),
        ("0 2 */2 * 1", "schedulers disagree"),
        ("0 2 L * *", "day of month: found 'l'"),
        ("0 2 ? * *", "day of month: found '?'"),
        ("٣ 2 * * *", "minute: found '٣'"),
        ("1" * 5000 + " 2 * * *", "fields; expected five"),
    ],
)
def test_what_is_wrong_is_refused_with_its_field(text, words):
    with pytest.raises(JobError, match=re.escape(words)) as raised:
        CronTimes.parse(text)
    assert str(raised.value).startswith("--cron: ")
