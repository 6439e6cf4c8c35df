"""The live view of a job on a terminal."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dgmm.fitting.events import (
    ComponentStarved,
    Event,
    ExecutionChosen,
    FitFinished,
    FitResumed,
    IterationFinished,
    PassAdvanced,
    PassStarted,
    RoundFinished,
    StartChosen,
)
from dgmm.jobs.wording import FitClock, chosen, duration, finished, held, quantity, resumed, rounds, starved

if TYPE_CHECKING:
    from types import TracebackType

_WIDEST = 100


class LiveReporter:
    """A live view on a terminal: iteration, pass, log-likelihood, rows per second, time left."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._unicode = self._console.encoding.startswith("utf")
        self._dot = " · " if self._unicode else ", "
        self._clock = FitClock()
        self._step = ""
        self._spinner = Spinner("dots" if self._unicode else "line", style="cyan")
        self._pass: PassStarted | None = None
        self._pass_began = 0.0
        self._chunks_done: int | None = None
        self._iteration: IterationFinished | None = None
        self._iteration_at = 0.0
        self._round: RoundFinished | None = None
        self._live = Live(console=self._console, refresh_per_second=8, transient=True, get_renderable=self._view)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear the view; what was printed above it stays."""
        if kind is None and self._step:
            self._done(self._step)
        self._live.stop()

    def step(self, text: str) -> None:
        """Show what the job begins to do; the step before gets its tick."""
        before, self._step = self._step, text
        self._pass = self._iteration = self._round = None
        # The view is drawn anew first, or the line would be printed above an old one.
        self._live.refresh()
        if before:
            self._done(before)

    def expect(self, tol: float | str) -> None:
        """Take the fit's ``tol``."""
        self._clock.tol = tol

    def __call__(self, event: Event) -> None:
        """Show an event of the fit."""
        self._clock.take(event)
        match event:
            case PassStarted():
                self._pass, self._pass_began, self._chunks_done = event, time.monotonic(), None
            case PassAdvanced():
                self._chunks_done = event.chunks_done
            case IterationFinished():
                self._iteration, self._iteration_at = event, time.monotonic()
            case RoundFinished():
                self._round = event
            case StartChosen():
                self._round = None
                self._done(chosen(event))
            case ComponentStarved():
                self._print("!", "yellow", starved(event))
            case ExecutionChosen():
                self._done(held(event))
            case FitResumed():
                self._done(resumed(event))
            case FitFinished():
                self._step = finished(event)
                self._pass = self._iteration = None

    def _done(self, text: str) -> None:
        self._print("✓" if self._unicode else "*", "green", text)

    def _print(self, mark: str, style: str, text: str) -> None:
        line = Table.grid(padding=(0, 1))
        line.add_row(Text(mark, style=style), Text(text))
        self._console.print(line)

    def _view(self) -> RenderableType:
        head = Table.grid(padding=(0, 1))
        head.add_row(self._spinner, Text(self._step, overflow="ellipsis", no_wrap=True))
        if self._pass is None:
            return head
        bars = Table.grid(padding=(0, 1), expand=True)
        bars.width = min(self._console.width, _WIDEST)
        bars.add_column(no_wrap=True)
        bars.add_column(ratio=1)
        bars.add_column(no_wrap=True, justify="right", min_width=15)
        if self._iteration is not None:
            event = self._iteration
            bars.add_row(
                f"iteration {event.iteration} of {event.max_iter}",
                ProgressBar(total=event.max_iter, completed=event.iteration),
                self._time_left(event),
            )
        bars.add_row(f"pass {self._pass.index}: {self._pass.name}", *self._pass_progress(self._pass))
        rows: list[RenderableType] = [head, bars]
        if self._iteration is not None:
            rows.append(self._figures(self._iteration))
        elif self._round is not None:
            rows.append(Text(rounds(self._round), overflow="ellipsis", no_wrap=True))
        return Group(*rows)

    def _pass_progress(self, started: PassStarted) -> tuple[RenderableType, str]:
        elapsed = time.monotonic() - self._pass_began
        if self._chunks_done is None:
            return ProgressBar(total=None, pulse=True, animation_time=elapsed), f"{duration(elapsed)} so far"
        bar = ProgressBar(total=max(started.n_chunks, 1), completed=self._chunks_done)
        return bar, f"{self._chunks_done:,}/{started.n_chunks:,} chunks"

    def _time_left(self, event: IterationFinished) -> str:
        left = self._clock.seconds_left(event)
        if left is None:
            return ""
        remaining = max(left[0] - (time.monotonic() - self._iteration_at), 0.0)
        bound = "≤" if self._unicode else "<="
        return f"{bound if left[1] else '~'} {duration(remaining)} left"

    def _figures(self, event: IterationFinished) -> Text:
        text = Text(f"log-likelihood {event.lower_bound:.5f} nats/row", overflow="ellipsis", no_wrap=True)
        speed = self._clock.rows_per_second()
        if speed is not None:
            text.append(f"{self._dot}{quantity(speed)} rows/s")
        if math.isfinite(event.change) and self._console.width >= 80:
            text.append(f"{self._dot}rose by {event.change:.2g}")
        return text
