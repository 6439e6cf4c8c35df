"""Waiting for workers, and saying what is waited for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dgmm.errors import ClusterError
from dgmm.jobs.clusters.base import count
from dgmm.jobs.clusters.starting import FAILURES, brief

if TYPE_CHECKING:
    from collections.abc import Callable

    from dgmm.jobs.clusters.starting import Started

_POLL = 0.2
# Seconds after which something is said; then each minute.
_TELL = (5.0, 15.0, 30.0)
_EACH = 60.0


def wait_for_workers(started: Started, tell: Callable[[str], None], words: str) -> Any:
    """Wait until enough workers are there.

    Parameters
    ----------
    started : Started
    tell : callable
        Takes a line now and then on how many there are.
    words : str
        What the cluster is called.

    Returns
    -------
    distributed.Future
        Of a task that asks for nothing. It is what makes a cluster that adapts to its load start a first worker, and
        while its result is held, such a cluster keeps one.

    Raises
    ------
    ClusterError
        If they do not come in time or will never come, or the scheduler is lost meanwhile.
    """
    client, wanted = started.client, started.wanted
    began, told = time.monotonic(), 0
    try:
        held = client.submit(int, pure=False)
        while (n := len(client.scheduler_info(n_workers=-1)["workers"])) < wanted:
            seconds = time.monotonic() - began
            if (refusal := started.refusal()) or seconds > started.timeout:
                break
            if seconds > (_TELL[told] if told < len(_TELL) else _EACH * (told - len(_TELL) + 1)):
                tell(f"waiting for workers: {_found(n, started)} after {seconds:.0f} s{_more(started)}")
                told += 1
            time.sleep(_POLL)
        else:
            return held
    except FAILURES as error:
        raise ClusterError(f"the scheduler ({words}) was lost while workers were waited for: {brief(error)}") from error
    if refusal:
        raise ClusterError(f"the {words} cannot be had: {refusal}")
    raise ClusterError(
        f"the {words} has {_found(n, started)} after {started.timeout:g} s{_more(started)}; {started.advice}"
    )


def _found(n: int, started: Started) -> str:
    return f"{n} of {count(started.wanted, 'worker')}"


def _more(started: Started) -> str:
    text = started.pending()
    return f"; {text}" if text else ""
