"""Signals that ask a command to stop."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# What a person, a machine that is taken away, and a job scheduler before the time is up send.
_STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Interrupted(BaseException):
    """A signal asked to stop; not an Exception, so that nothing on the way swallows it."""


@contextmanager
def interruptible(exit_code: int) -> Iterator[None]:
    """Raise :class:`Interrupted` in the body at a signal; a second one ends the process with a code.

    It does so at once, in case cleaning up hangs: checkpoints and outputs are whole at any moment.
    """

    def leave(number: int, _: FrameType | None) -> None:
        os.write(2, f"dgmm: interrupted again ({signal.Signals(number).name}): run again\n".encode())
        os._exit(exit_code)

    def stop(number: int, _: FrameType | None) -> None:
        for each in before:
            signal.signal(each, leave)
        raise Interrupted(signal.Signals(number).name)

    before = {each: signal.getsignal(each) for each in _STOPPING}
    for each in before:
        signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the body as ``sys.exit(143)`` would, so that what was started is taken down.

    Only where nobody has said what it does: in the main thread, with the system's default, which is to end at once.
    A second one does.
    """
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    def leave(number: int, _: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise SystemExit(128 + number)

    if ours:
        signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
