"""One BLAS thread per task: the tasks are the parallelism."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import scipy.linalg  # noqa: F401  (its BLAS must be loaded before it can be found)
from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_users = 0
_holder: _Holder | None = None


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


class _Holder:
    """A thread that sets the limit of the whole process, keeps it, and restores what was there.

    threadpoolctl lets nobody but the thread that set a limit change it (from version 3.8 on), and
    the task that leaves last is seldom the one that came first.
    """

    def __init__(self) -> None:
        self._is_set, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, name="dgmm-blas", daemon=True)
        self._thread.start()
        self._is_set.wait()

    def _hold(self) -> None:
        try:
            with _controller().limit(limits=1, user_api="blas"):
                self._is_set.set()
                self._end.wait()
        finally:
            self._is_set.set()

    def release(self) -> None:
        self._end.set()
        self._thread.join()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS at one thread while any thread of this process is within.

    For most builds of BLAS the number of threads is one setting for the whole process: the first
    to enter sets it, the last to leave restores what was there. For some (those on OpenMP) it is a
    setting of each thread, which each makes for itself.
    """
    global _users, _holder
    with _lock:
        if _users == 0:
            _holder = _Holder()
        _users += 1
    try:
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _holder is not None:
                _holder.release()
                _holder = None


def kernel_families() -> tuple[str, ...]:
    """Return the names of the kernels that BLAS has chosen for this machine's processor, sorted.

    Within one family the bits of a product are the same; between families they differ.

    Examples
    --------
    >>> kernel_families()  # doctest: +SKIP
    ('SkylakeX',)
    """
    found = (library.get("architecture") for library in _controller().info() if library["user_api"] == "blas")
    return tuple(sorted({name for name in found if name}))
