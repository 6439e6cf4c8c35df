"""Files of JSON lines that are written as things happen, and the log records among them."""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from dgmm.errors import printable, redact
from dgmm.jobs.runs.records import now

LOG, PASSES = "log.jsonl", "passes.jsonl"
MOST_LINES = 100_000
"""The most lines of a file that are read."""
_LONGEST_LINE = 1_000_000


class JsonLines:
    """A file that values are appended to, one a line, each at once.

    What cannot be written is left out: a full disk ends no run that needs none.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def append(self, value: dict[str, Any]) -> None:
        """Write one line."""
        if self._descriptor is None:
            return
        line = json.dumps(value, default=plain, allow_nan=False, ensure_ascii=False) + "\n"
        with suppress(OSError):
            os.write(self._descriptor, line.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Nothing is written after that."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines; lines that are none, as the last one of a killed run, are passed over."""
    found: list[dict[str, Any]] = []
    try:
        if path.is_symlink() or not path.is_file():
            return found
        with path.open(encoding="utf-8", errors="replace") as file:
            while len(found) < MOST_LINES and (line := file.readline(_LONGEST_LINE)):
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(value, dict):
                    found.append(value)
    except OSError:
        pass
    return found


def plain(value: Any) -> Any:
    """A value as JSON can hold it.

    Examples
    --------
    >>> from dgmm.fitting.events import PassFinished
    >>> plain(PassFinished("moments", 1, 1000, 0.5))["n_rows"]
    1000
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str, dict, list, tuple)):
        return value
    return str(value)


class JsonHandler(logging.Handler):
    """Writes log records as JSON lines: ``time``, ``level``, ``text``, and ``fields`` where there are some.

    Parameters
    ----------
    lines : JsonLines

    Attributes
    ----------
    n_warnings : int
        Warnings so far.
    """

    def __init__(self, lines: JsonLines) -> None:
        super().__init__(logging.INFO)
        self._lines = lines
        self.n_warnings = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            self.n_warnings += record.levelno == logging.WARNING
            text = record.getMessage()
            event = getattr(record, "event", None)
            fields: dict[str, Any] = {} if event is None else {"event": type(event).__name__, **plain(event)}
            if record.exc_info and record.exc_info[1] is not None:
                fields["trace"] = redact(logging.Formatter().formatException(record.exc_info))
            self.tell(record.levelname, text, fields)
        except Exception:
            self.handleError(record)

    def tell(self, level: str, text: str, fields: Any = None) -> None:
        """Write a line of its own."""
        line = {"time": now(), "level": level, "text": printable(redact(text))}
        self._lines.append(line if not fields else {**line, "fields": plain(fields)})
