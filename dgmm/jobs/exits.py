"""The exit codes of a run, and what each kind of error leads to."""

from __future__ import annotations

from dataclasses import dataclass

from dgmm.errors import (
    CheckpointError,
    CheckpointInUseError,
    CheckpointMismatchError,
    ClusterError,
    DataError,
    FormatError,
    JobError,
    JobRunningError,
    MissingExtraError,
    NotFittedError,
    ParameterError,
    StoreError,
    WriteError,
)
from dgmm.jobs.interrupts import Interrupted

DONE, BUG, BAD_JOB, BAD_DATA, NO_CLUSTER, INTERRUPTED = 0, 1, 2, 65, 69, 75

EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (JobError, BAD_JOB),
    (ParameterError, BAD_JOB),
    (MissingExtraError, BAD_JOB),
    (NotFittedError, BAD_JOB),
    (DataError, BAD_DATA),
    (FormatError, BAD_DATA),
    (JobRunningError, INTERRUPTED),
    (CheckpointInUseError, INTERRUPTED),
    (CheckpointMismatchError, BAD_JOB),
    (CheckpointError, BAD_DATA),
    (ClusterError, NO_CLUSTER),
    (MemoryError, NO_CLUSTER),
    (WriteError, NO_CLUSTER),
    (StoreError, NO_CLUSTER),
)
"""The exit code of each kind of error; an error of no kind here is a bug."""


@dataclass(frozen=True)
class Ending:
    """How a run can end.

    Attributes
    ----------
    state : str
        A word or two.
    advice : str
        What to do next.
    """

    state: str
    advice: str


ENDINGS: dict[int, Ending] = {
    DONE: Ending("done", "nothing: run again, it finds that nothing is left to do"),
    BUG: Ending("bug", "please report it, with log.jsonl; what was kept, the next run goes on from"),
    BAD_JOB: Ending("bad job", "correct what the error names, then run the job again"),
    BAD_DATA: Ending("bad data", "correct the data or the keys of input that the error names, then run the job again"),
    NO_CLUSTER: Ending(
        "cluster failed", "see to the cluster, the memory or the disk that the error names, then run the job again"
    ),
    INTERRUPTED: Ending("interrupted", "run the job again, it goes on"),
}
"""By exit code."""


def exit_code(error: BaseException) -> int:
    """Return the exit code that an error leads to.

    Examples
    --------
    >>> from dgmm.errors import DataError
    >>> exit_code(DataError("row 3 holds nan")), exit_code(MemoryError()), exit_code(KeyboardInterrupt())
    (65, 69, 75)
    >>> exit_code(ZeroDivisionError())
    1
    """
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        return INTERRUPTED
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), BUG)
