"""What a fit tells its callbacks, as typed values.

A callback is a function of one event. It may return ``True`` to stop the fit after the current
iteration (the stop reason is then :attr:`StopReason.CALLBACK`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from dgmm.fitting.stopping import StopReason


@dataclass(frozen=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True)
class ExecutionChosen(Event):
    """It is settled where the rows are held, and what the fit will take; nothing has been read."""

    persist: bool
    """True if the first read loads the rows into memory, False if each pass reads them anew."""
    lean: bool
    """True if nothing is read ahead, and freed memory is given back at once."""
    data_bytes: int | None
    """Bytes of all the rows and weights; None while their number is unknown."""
    projected_bytes: int
    """Peak memory that the fit is expected to add to each process."""
    free_bytes: int
    """Memory that the process with least has free."""
    n_workers: int
    n_threads: int
    """Threads of all workers."""


@dataclass(frozen=True)
class FitResumed(Event):
    """The fit goes on from a checkpoint."""

    checkpoint: str
    """Where the checkpoint is."""
    n_reads: int
    """Reads of the data that are finished."""
    n_iter: int
    """EM iterations that are finished."""
    finished: bool
    """True if the fit had ended, and nothing is left to do."""
    n_rounds: int = 0
    """Rounds of a scan that are finished, while it goes on."""


@dataclass(frozen=True)
class PassStarted(Event):
    """A read of all the rows begins."""

    name: str
    """``moments``, ``statistics``; for k-means|| also ``distances`` and ``nearest centres``."""
    index: int
    """Number of this pass in the fit, from 1."""
    n_chunks: int
    n_rows: int | None
    """Rows that will be read; None while chunk lengths are unknown."""


@dataclass(frozen=True)
class PassAdvanced(Event):
    """Chunks were finished within a pass (not every scheduler can tell)."""

    name: str
    index: int
    chunks_done: int
    n_chunks: int


@dataclass(frozen=True)
class PassFinished(Event):
    """A read of all the rows has ended."""

    name: str
    index: int
    n_rows: int
    seconds: float
    n_bytes: int = 0
    """Bytes of rows and weights, unpacked, that were read from where they lie; none if they were held in memory."""


@dataclass(frozen=True)
class ValuesMissing(Event):
    """The first read found values that are missing, which the fit goes on with."""

    n_missing: int
    """Values."""
    n_incomplete: int
    """Rows that are fitted by what is there of them."""
    n_dropped: int
    """Rows that are left out."""


@dataclass(frozen=True)
class StartChosen(Event):
    """The first parameters stand."""

    init_params: str
    sample_rows: int
    """Rows of the sample that the start was made from; 0 when the user gave the start."""
    n_starts: int
    """Starts that were compared."""
    sample_iterations: int
    """EM iterations that were made on the sample."""
    seconds: float


@dataclass(frozen=True)
class IterationFinished(Event):
    """One EM iteration has ended."""

    iteration: int
    """From 1."""
    max_iter: int
    lower_bound: float
    """Mean log-likelihood, in nats per row, of the parameters that entered the iteration."""
    change: float
    """Rise of ``lower_bound`` since the iteration before; infinite in the first."""
    remaining_gap: float | None
    """Estimated rise that is still to come, in nats per row; None while it cannot be told."""
    n_rows: int
    seconds: float
    accepted: bool = True
    """False if the parameters that were read were worse than those before, and given up;
    ``lower_bound`` is then that of the best ones."""


@dataclass(frozen=True)
class RoundFinished(Event):
    """One round of a scan has ended."""

    round: int
    """From 1."""
    n_rows: int
    """Rows so far."""
    n_retained: int
    """Rows that are retained."""
    n_compressed: int
    """Compressed subclusters."""
    n_moved: int
    """Components so far that were moved to rows which none explained."""
    lower_bound: float | None
    """Mean of the bound of the log-likelihood of all rows so far, in nats per row; None before the start."""
    settled: bool
    """Whether the round moved the model by little."""
    seconds: float
    n_renewed: int = 0
    """How often so far the uniform sample put the scan right."""


@dataclass(frozen=True)
class ComponentStarved(Event):
    """A component had fewer effective rows than its covariance needs."""

    component: int
    iteration: int
    effective_rows: float
    reseeded: bool
    """True if it was moved to the sample row of lowest density, False if it now has weight 0."""


@dataclass(frozen=True)
class FitFinished(Event):
    """The fit has ended."""

    reason: StopReason
    n_iter: int
    lower_bound: float
    n_reads: int | None = None
    """Reads of the data: moments, start and iterations."""
    remaining_gap: float | None = None
    """Estimated rise of ``lower_bound`` that is still to come, in nats per row; None if it cannot be told."""
    sampling_error: float | None = None
    """``p_free / (2 n)``: to how many nats per row n rows determine the optimum."""

    def __str__(self) -> str:
        """Say why the fit ended, after how many reads, and how near the optimum."""
        text = self.reason.value
        if self.n_reads is not None:
            text += f"; {self.n_reads} reads of the data"
        if self.sampling_error is not None:
            gap = self.remaining_gap
            left = "unknown" if gap is None else f"estimated at {gap:.2g} nats per row"
            text += f"; the rise that remains is {left}, p_free / (2 n) is {self.sampling_error:.2g}"
        return text


Callback: TypeAlias = Callable[[Event], object]
"""A function of one event; returning ``True`` stops the fit."""
