"""The memory that the processes of a job hold, asked between two passes."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import dask
import psutil
from dask.base import get_scheduler
from distributed import Client

_SECONDS_BETWEEN_QUESTIONS = 2.0


@dataclass(frozen=True)
class Memory:
    """Memory of the processes that compute.

    Attributes
    ----------
    processes : int
        Workers, where there are some.
    largest : int
        Bytes of the process that holds most.
    peak : int
        The most bytes that a process was seen to hold so far.
    """

    processes: int
    largest: int
    peak: int


class MemoryProbe:
    """Asks for the memory of the workers of the current client, or else of this process and its children.

    Examples
    --------
    >>> probe = MemoryProbe()
    >>> memory = probe.look()
    >>> memory.processes, memory.largest > 0, memory.peak >= memory.largest
    (1, True, True)
    """

    def __init__(self) -> None:
        self._peak = 0
        self._last: Memory | None = None
        self._asked = 0.0

    def look(self, *, within: bool = False) -> Memory | None:
        """Ask, unless that was done just now.

        Parameters
        ----------
        within : bool
            Whether a pass is under way: only what is asked in this process is asked then.

        Returns
        -------
        Memory or None
            None if it cannot be told.
        """
        client = _client()
        if within and client is not None:
            return self._last
        if self._last is None or time.monotonic() - self._asked > _SECONDS_BETWEEN_QUESTIONS:
            sizes = _of_processes() if client is None else _of_workers(client)
            self._asked = time.monotonic()
            if sizes:
                self._peak = max(self._peak, *sizes)
                self._last = Memory(len(sizes), max(sizes), self._peak)
        return self._last


def _client() -> Client | None:
    owner = getattr(get_scheduler(), "__self__", None)
    return owner if isinstance(owner, Client) else None


def _of_workers(client: Client) -> list[int]:
    # Whatever is wrong with the cluster, the next pass says it better.
    with suppress(Exception):
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        return [int(worker["metrics"].get("memory", 0)) for worker in workers]
    return []


def _of_processes() -> list[int]:
    here = psutil.Process()
    sizes = [here.memory_info().rss]
    if dask.config.get("scheduler", None) not in (None, "threads", "synchronous"):
        for child in here.children():
            with suppress(psutil.Error):
                sizes.append(child.memory_info().rss)
    return sizes
