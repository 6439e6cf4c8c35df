"""One small fit, what it gives on one thread, and how it is disturbed."""

from __future__ import annotations

import os
import signal
import socket
import threading
from functools import cache

import dask
from faults.small_fit import fit, rows, same_bits

from dgmm.fitting.events import PassStarted

PATIENCE = 120.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class InPass:
    """A callback that lets something happen while a pass runs, once."""

    def __init__(self, action, number: int = 2) -> None:
        self.action, self.number, self.done = action, number, threading.Event()

    def __call__(self, event) -> None:
        if isinstance(event, PassStarted) and event.index == self.number:
            threading.Timer(0.1, self._act).start()

    def _act(self) -> None:
        self.action()
        self.done.set()


@cache
def _expected():
    with dask.config.set(scheduler="synchronous"):
        return fit(rows())


def check_fit(client, *, kill_a_worker: bool) -> None:
    """Fit on a client's cluster, to the bits of one thread here; also while one of its workers is killed."""
    assert client is not None
    callbacks = []
    if kill_a_worker:
        victim = next(iter(client.run(os.getpid).values()))
        callbacks.append(InPass(lambda: os.kill(victim, signal.SIGKILL)))
    with client.as_current():
        model = fit(rows(pause=0.03 if kill_a_worker else 0.0), callbacks=callbacks)
    assert all(callback.done.wait(PATIENCE) for callback in callbacks)
    assert same_bits(model, _expected())
