"""Waiting for what another process or thread does."""

from __future__ import annotations

import time

import psutil


def wait_until(condition, seconds=60.0, told=""):
    """Return what a function returns, once that is true; fail if it is not in time.

    Parameters
    ----------
    condition : callable
    seconds : float
    told : str or callable, default=""
        What the failure says; a function is called for it then.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds:g} s in vain: {told() if callable(told) else told}"
        time.sleep(0.1)
    return found


def wait_until_gone(pids, seconds=60.0):
    """Return once no process of these numbers runs."""
    wait_until(lambda: not any(_runs(pid) for pid in pids), seconds, f"one of {pids} runs still")


def _runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
