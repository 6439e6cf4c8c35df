"""Follows a run: its log and its passes are written as they happen, and its record is kept up."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dgmm.errors import WriteError
from dgmm.fitting.events import (
    ComponentStarved,
    Event,
    ExecutionChosen,
    FitFinished,
    FitResumed,
    IterationFinished,
    PassAdvanced,
    PassFinished,
    PassStarted,
    RoundFinished,
    StartChosen,
    ValuesMissing,
)
from dgmm.jobs.progress import PROGRESS_LOGGER, Reporter, sentence
from dgmm.jobs.runs.logs import LOG, PASSES, JsonHandler, JsonLines
from dgmm.jobs.runs.memory import MemoryProbe
from dgmm.jobs.runs.records import RunRecord, now, write_record

if TYPE_CHECKING:
    from types import TracebackType

logger = logging.getLogger("dgmm")
