"""Durations, quantities and sentences about a fit, and the estimate of the time that is left."""

from __future__ import annotations

import math
from collections import deque

from dask.utils import format_bytes

from dgmm.fitting.events import (
    ComponentStarved,
    Event,
    ExecutionChosen,
    FitFinished,
    FitResumed,
    IterationFinished,
    RoundFinished,
    StartChosen,
)

_RECENT = 5


class FitClock:
    """Rows per second and time left, from the events of a fit."""

    def __init__(self) -> None:
        self.tol: float | str = "auto"
        self._recent: deque[tuple[int, float]] = deque(maxlen=_RECENT)

    def take(self, event: Event) -> None:
        """Learn from an event."""
        if isinstance(event, IterationFinished):
            self._recent.append((event.n_rows, event.seconds))

    def rows_per_second(self) -> float | None:
        """Return the speed of the last iterations; None before the first."""
        seconds = sum(s for _, s in self._recent)
        return sum(rows for rows, _ in self._recent) / seconds if seconds > 0 else None

    def seconds_left(self, event: IterationFinished) -> tuple[float, bool] | None:
        """Estimate the time from the end of an iteration to the end of the fit.

        Returns
        -------
        tuple of (float, bool) or None
            Seconds; and True if they are only a bound, since nobody knows yet how fast it converges.
        """
        if not self._recent:
            return None
        each = sum(s for _, s in self._recent) / len(self._recent)
        most = max(event.max_iter - event.iteration, 0)
        expected = iterations_left(event.change, event.remaining_gap, self.tol)
        if expected is None or expected >= most:
            return each * most, True
        return each * expected, False


def iterations_left(change: float, gap: float | None, tol: float | str) -> int | None:
    """Estimate how many EM iterations are left until the rise falls below ``tol``.

    Parameters
    ----------
    change, gap : float
        Rise in the last iteration and the rise that is still to come, in nats per row.
    tol : float or "auto"
        The rise at which the fit stops.

    Returns
    -------
    int or None
        None if it cannot be told.

    Notes
    -----
    EM converges linearly near its end: each step is ``r`` times the one before, and the steps to come
    sum to ``gap = change * r / (1 - r)``.

    Examples
    --------
    >>> iterations_left(change=0.5, gap=0.5, tol=0.01)
    6
    """
    if isinstance(tol, str) or gap is None or not (0.0 < change < math.inf) or gap <= 0.0 or tol <= 0.0:
        return None
    ratio = gap / (gap + change)
    return max(math.ceil(math.log(tol / change) / math.log(ratio)), 0)


def duration(seconds: float) -> str:
    """Return a duration as a person reads it.

    Examples
    --------
    >>> duration(0.2), duration(75), duration(7380)
    ('0:00', '1:15', '2:03:00')
    """
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def quantity(number: float) -> str:
    """Return a large number in at most four digits.

    Examples
    --------
    >>> quantity(950), quantity(4_130_000), quantity(25_300)
    ('950', '4.13 M', '25.3 k')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}" if number / size < 999.5 else f"{number / size:.0f} {unit}"
    return f"{number:.0f}"


def starved(event: ComponentStarved) -> str:
    """Return a sentence on a starved component."""
    what = "moved to the sample row of lowest density" if event.reseeded else "left with weight 0"
    return (
        f"component {event.component} had only {event.effective_rows:.3g} effective rows in iteration "
        f"{event.iteration}: {what}; fewer components may serve these data better"
    )


def held(event: ExecutionChosen) -> str:
    """Return a sentence on where the rows are held.

    Examples
    --------
    >>> held(ExecutionChosen(False, False, 8_000_000_000, 190_000_000, 4_000_000_000, 1, 2))
    'rows: 7.45 GiB, read in each pass; the fit needs about 181.20 MiB of 3.73 GiB that are free'
    """
    rows = "rows" if event.data_bytes is None else f"rows: {format_bytes(event.data_bytes)}"
    how = "loaded into memory by the first pass" if event.persist else "read in each pass"
    where = f" in each of {event.n_workers} processes" if event.n_workers > 1 else ""
    needs, free = format_bytes(event.projected_bytes), format_bytes(event.free_bytes)
    return f"{rows}, {how}; the fit needs about {needs} of {free} that are free{where}"


def chosen(event: StartChosen) -> str:
    """Return a sentence on the start."""
    if not event.sample_rows:
        return f"start ({event.init_params}) in {event.seconds:.2f} s"
    starts = f"best of {event.n_starts} starts" if event.n_starts > 1 else "one start"
    iterations = f", {event.sample_iterations} iterations there" if event.sample_iterations else ""
    return (
        f"start: {starts} ({event.init_params}) on a sample of {event.sample_rows:,} rows{iterations} "
        f"in {event.seconds:.2f} s"
    )


def rounds(event: RoundFinished) -> str:
    """Return a sentence on a round of a scan.

    Examples
    --------
    >>> rounds(RoundFinished(3, 150_000, 10_000, 4, 0, -7.25, True, 0.5))
    'round 3: 150,000 rows so far, log-likelihood at least -7.250000 nats per row, settled'
    >>> rounds(RoundFinished(1, 100, 100, 0, 0, None, False, 0.1))
    'round 1: 100 rows so far, too few to start'
    >>> rounds(RoundFinished(9, 900_000, 10_000, 0, 0, -7.25, False, 0.5, n_renewed=2))
    'round 9: 900,000 rows so far, log-likelihood about -7.250000 nats per row'
    """
    bound = "too few to start"
    if event.lower_bound is not None:
        bound = f"log-likelihood {'about' if event.n_renewed else 'at least'} {event.lower_bound:.6f} nats per row"
    return f"round {event.round}: {event.n_rows:,} rows so far, {bound}{', settled' if event.settled else ''}"


def finished(event: FitFinished) -> str:
    """Return a sentence on the end of a fit."""
    count = f"{event.n_iter} iteration{'s' * (event.n_iter != 1)}"
    return f"fit ended after {count} at {event.lower_bound:.6f} nats per row: {event}"


def resumed(event: FitResumed) -> str:
    """Say from where a fit goes on.

    Examples
    --------
    >>> resumed(FitResumed("fit.checkpoint", n_reads=3, n_iter=2, finished=False))
    'going on from the checkpoint fit.checkpoint: 3 reads of the data and 2 iterations are done'
    """
    if event.finished:
        return f"the checkpoint {event.checkpoint} holds the finished fit: it is not made again"
    if event.n_rounds:
        rounds_done = "1 round is" if event.n_rounds == 1 else f"{event.n_rounds} rounds are"
        return f"going on from the checkpoint {event.checkpoint}: {rounds_done} done"
    reads = f"{event.n_reads} read{'s' * (event.n_reads != 1)}"
    iterations = f"{event.n_iter} iteration{'s' * (event.n_iter != 1)}"
    return f"going on from the checkpoint {event.checkpoint}: {reads} of the data and {iterations} are done"
