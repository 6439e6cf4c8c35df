"""Follows a run: its log and its passes are written as they happen, and its record is kept up."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from dgmm.errors import JobError, WriteError
from dgmm.fitting.events import (
    ComponentStarved,
    Event,
    FitFinished,
    IterationFinished,
    PassAdvanced,
    PassFinished,
    RoundFinished,
    ValuesMissing,
)
from dgmm.jobs.progress import PROGRESS_LOGGER, LogReporter, Reporter
from dgmm.jobs.runs.logs import LOG, PASSES, JsonHandler, JsonLines
from dgmm.jobs.runs.memory import MemoryProbe
from dgmm.jobs.runs.records import RunRecord, now, write_record

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_SECONDS_BETWEEN_RECORDS = 2.0


class Recorder:
    """A reporter that writes down what it is told, and tells it to another one.

    Parameters
    ----------
    folder : path
        Of the run.
    record : RunRecord
    told : Reporter
        What a person sees.

    Attributes
    ----------
    record : RunRecord
        As far as it is known by now.
    """

    def __init__(self, folder: Path, record: RunRecord, told: Reporter) -> None:
        self.record = record
        self._folder, self._told = folder, told
        self._log, self._passes = JsonLines(folder / LOG), JsonLines(folder / PASSES)
        self._handler = JsonHandler(self._log)
        # Of its own, so that the same lines are in the file whatever is shown on the screen.
        private = logging.Logger("dgmm.run", logging.INFO)
        private.addHandler(self._handler)
        self._plain = LogReporter(private)
        self._memory = MemoryProbe()
        self._pending: dict[str, Any] | None = None
        self._written = time.monotonic()

    def __enter__(self) -> Self:
        """Begin to report."""
        self._told.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reporting."""
        self._told.__exit__(kind, error, trace)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Write down log records and warnings too, while the body runs."""
        loud, show = logging.getLogger("dgmm"), warnings.showwarning

        def note(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            self._handler.n_warnings += 1
            self._handler.tell("WARNING", f"{category.__name__}: {message}")
            show(message, category, *rest, **more)

        def is_new(record: logging.LogRecord) -> bool:
            return record.name not in (PROGRESS_LOGGER.name, WARNINGS_LOGGER)  # written down already

        self._handler.addFilter(is_new)
        loud.addHandler(self._handler)
        warnings.showwarning = note
        try:
            yield
        finally:
            warnings.showwarning = show
            loud.removeHandler(self._handler)
            self._flush()

    def close(self) -> None:
        """Nothing is written down after that."""
        self._log.close()
        self._passes.close()

    def step(self, text: str) -> None:
        """Take what the job begins to do."""
        self._flush()
        self._plain.step(text)
        self.keep(step=text)
        self._told.step(text)

    def expect(self, tol: float | str) -> None:
        """Take the fit's ``tol``."""
        self._plain.expect(tol)
        self._told.expect(tol)

    def __call__(self, event: Event) -> None:
        """Take an event of the fit."""
        self._plain(event)
        self._follow(event)
        self._told(event)

    def keep(self, **changes: Any) -> None:
        """Change the record, and write it."""
        self.record = replace(self.record, **changes, warnings=self._handler.n_warnings)
        self._written = time.monotonic()
        with suppress(WriteError):  # a full disk ends no run that needs none
            write_record(self._folder, self.record)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Write down that the body is a stage of the job, and how long it took."""
        before = self.record.writing
        self.keep(stage=name, writing=before or name == WRITE)
        began = time.monotonic()
        try:
            yield
        except JobError:  # something is in the way, and nothing was written
            self.record = replace(self.record, writing=before)
            raise
        finally:
            self._flush()
            seconds = round(time.monotonic() - began, 3)
            self._passes.append({"time": now(), "stage": name, "seconds": seconds})

    def end(self, record: RunRecord) -> None:
        """Take the record of the end, and write it."""
        self.record = record
        self.keep()

    def fail(self, error: BaseException, *, trace: bool) -> None:
        """Take the error that the run ends with."""
        kind = type(error)
        text = f"{kind.__name__}: {error}" if str(error) else kind.__name__
        record = logging.LogRecord("dgmm.run", logging.ERROR, "", 0, "%s", (text,), None)
        record.exc_info = (kind, error, error.__traceback__) if trace else None
        self._handler.handle(record)

    def _follow(self, event: Event) -> None:
        match event:
            case PassAdvanced():
                self._memory.look(within=True)
            case PassFinished():
                self._flush()
                self._pending = self._line(event)
                rows = max(event.n_rows, self.record.rows or 0) or None
                self._count(event, rows=rows)
            case IterationFinished(lower_bound=bound):
                self._flush(iteration=event.iteration, log_likelihood=bound)
                self._learn(log_likelihood=bound)
            case RoundFinished(lower_bound=bound):
                self._flush(round=event.round, rows_so_far=event.n_rows, log_likelihood=bound)
                self._learn(rows=event.n_rows, log_likelihood=bound)
            case FitFinished(lower_bound=bound):
                self._flush()
                self._learn(log_likelihood=bound)
            case ComponentStarved() | ValuesMissing():
                pass
            case _:
                self._flush()

    def _line(self, event: PassFinished) -> dict[str, Any]:
        memory = self._memory.look()
        line: dict[str, Any] = {"time": now(), "pass": event.index, "name": event.name, "rows": event.n_rows}
        line |= {"bytes_read": event.n_bytes, "seconds": round(event.seconds, 6)}
        if memory is not None:
            line["memory"] = {"processes": memory.processes, "largest": memory.largest, "peak": memory.peak}
        return line

    def _count(self, event: PassFinished, rows: int | None) -> None:
        memory = self._memory.look()
        self._learn(
            rows=rows,
            passes=self.record.passes + 1,
            bytes_read=self.record.bytes_read + event.n_bytes,
            peak_memory=None if memory is None else memory.peak,
        )

    def _learn(self, **changes: Any) -> None:
        known = {key: value for key, value in changes.items() if not isinstance(value, float) or math.isfinite(value)}
        if time.monotonic() - self._written > _SECONDS_BETWEEN_RECORDS:
            self.keep(**known)
        else:
            self.record = replace(self.record, **known)

    def _flush(self, **more: Any) -> None:
        """Write the line of the last pass, with what became known after it."""
        line, self._pending = self._pending, None
        if line is not None:
            self._passes.append({**line, **{key: value for key, value in more.items() if value is not None}})


WRITE = "write"
"""Name of the stage that writes the outputs."""

WARNINGS_LOGGER = "dgmm.warnings"
"""Name of the logger that the command line shows warnings by."""
