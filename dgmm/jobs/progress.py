"""What a person sees while a job runs: a live view on a terminal, one line per iteration elsewhere."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Console

from dgmm.fitting.events import (
    ComponentStarved,
    Event,
    ExecutionChosen,
    FitFinished,
    FitResumed,
    IterationFinished,
    PassFinished,
    RoundFinished,
    StartChosen,
)
from dgmm.fitting.selection import CandidateEvent
from dgmm.jobs.live import LiveReporter
from dgmm.jobs.wording import FitClock, chosen, duration, finished, held, quantity, resumed, rounds, starved

if TYPE_CHECKING:
    from types import TracebackType

PROGRESS_LOGGER = logging.getLogger("dgmm.progress")


class Reporter(Protocol):
    """What a job tells: its steps, and the events of its fit."""

    def __enter__(self) -> Self:
        """Begin to report."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reporting."""
        ...

    def step(self, text: str) -> None:
        """Tell that the job begins to do what ``text`` says."""
        ...

    def expect(self, tol: float | str) -> None:
        """Tell at which ``tol`` the fit will stop, for the time that is left."""
        ...

    def __call__(self, event: Event) -> None:
        """Take an event of the fit."""
        ...


class LogReporter:
    """Reports through ``logging``: one line per step and per iteration.

    Parameters
    ----------
    log : Logger
        ``dgmm.progress`` if left out. Its records have the event as an attribute, ``event``.
    """

    def __init__(self, log: logging.Logger = PROGRESS_LOGGER) -> None:
        self._log = log
        self._clock = FitClock()

    def __enter__(self) -> Self:
        """Begin to report."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reporting."""

    def step(self, text: str) -> None:
        """Log what the job begins to do."""
        self._log.info("%s", text)

    def expect(self, tol: float | str) -> None:
        """Take the fit's ``tol``."""
        self._clock.tol = tol

    def __call__(self, event: Event) -> None:
        """Log an event of the fit."""
        self._clock.take(event)
        extra = {"event": event}
        match event:
            case IterationFinished():
                self._log.info("%s", self._iteration(event), extra=extra)
            case ComponentStarved():
                self._log.warning("%s", starved(event), extra=extra)
            case RoundFinished():
                self._log.info("%s", rounds(event), extra=extra)
            case PassFinished(name=name) if name not in ("statistics", "rounds"):
                text = f"pass {event.index} ({name}): {event.n_rows:,} rows in {event.seconds:.2f} s"
                self._log.info("%s", text, extra=extra)
            case ExecutionChosen():
                self._log.info("%s", held(event), extra=extra)
            case FitResumed():
                self._log.info("%s", resumed(event), extra=extra)
            case StartChosen():
                self._log.info("%s", chosen(event), extra=extra)
            case FitFinished():
                self._log.info("%s", finished(event), extra=extra)
            case CandidateEvent(event=FitFinished() as ended):
                text = f"{event.covariance_type} {event.n_components}: {finished(ended)}"
                self._log.info("%s", text, extra=extra)

    def _iteration(self, event: IterationFinished) -> str:
        text = f"iteration {event.iteration} of {event.max_iter}: "
        text += f"log-likelihood {event.lower_bound:.6f} nats per row"
        if math.isfinite(event.change):
            text += f" ({event.change:+.2g})"
        speed, left = self._clock.rows_per_second(), self._clock.seconds_left(event)
        if speed is not None:
            text += f", {quantity(speed)} rows/s"
        if left is not None:
            text += f", {'at most' if left[1] else 'about'} {duration(left[0])} left"
        return text


def default_reporter(console: Console | None = None) -> Reporter:
    """Return the live view if standard output is a terminal, the plain log otherwise."""
    console = console or Console()
    return LiveReporter(console) if console.is_terminal and not console.is_dumb_terminal else LogReporter()
