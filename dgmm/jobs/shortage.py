"""What is said where a process had less memory than it took."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from dgmm.errors import DgmmError, InsufficientMemoryError


@contextmanager
def telling_shortage() -> Iterator[None]:
    """Say what to do about it where the system refuses memory to this process or to a worker.

    Raises
    ------
    InsufficientMemoryError
        In the place of MemoryError, and of OSError with ENOMEM.

    Examples
    --------
    >>> with telling_shortage():
    ...     raise MemoryError("Unable to allocate 2. GiB")
    Traceback (most recent call last):
        ...
    dgmm.errors.InsufficientMemoryError: the system gave this process, or a worker, no more memory (Unable to
    allocate 2. GiB): use smaller chunks, fewer threads, or more memory (of the machine, the container or ulimit)
    """
    try:
        yield
    except (MemoryError, OSError) as error:
        if isinstance(error, DgmmError) or (isinstance(error, OSError) and error.errno != errno.ENOMEM):
            raise
        refused = InsufficientMemoryError(
            f"the system gave this process, or a worker, no more memory ({str(error) or type(error).__name__}): use "
            "smaller chunks, fewer threads, or more memory (of the machine, the container or ulimit)"
        )
        for note in getattr(error, "__notes__", ()):
            refused.add_note(note)
        raise refused from error
