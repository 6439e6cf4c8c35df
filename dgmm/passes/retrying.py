"""What is done when a cluster loses what it was working on.

Parameters live with the caller and go out with each graph, so that all that a loss costs is the
part of the pass that was under way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from dgmm.errors import ClusterError

T = TypeVar("T")

logger = logging.getLogger("dgmm")

# Futures that are lost are cancelled; distributed's errors of that kind are CancelledErrors.
LOST = (KilledWorker, CancelledError, CommClosedError, BrokenProcessPool)
# Seconds to wait for a worker after all were lost.
_PATIENCE = 60.0


def retried(
    compute: Callable[[], T], retries: int, forget: Callable[[], None], client: Any | None, what: Callable[[Any], str]
) -> T:
    """Compute, and once more after each loss of workers, at most ``retries`` times.

    Parameters
    ----------
    compute : callable
    retries : int
    forget : callable
        Is called before each retry: what the cluster held may be gone.
    client : distributed.Client or None
    what : callable
        Says what was computed; is given the key of the task that the workers died of, or None.

    Raises
    ------
    ClusterError
        If it is lost for good.
    """
    for attempt in range(retries + 1):
        try:
            return compute()
        except LOST as error:
            failure: Exception = error
        forget()
        killed = failure if isinstance(failure, KilledWorker) else None
        text = what(killed and killed.task)
        name = type(failure).__name__
        if client is not None and client.status != "running":
            raise ClusterError(
                f"the scheduler was lost during {text} ({name}); start the cluster again and run again"
            ) from failure
        if attempt == retries:
            text += f" failed {retries + 1} time{'s' * (retries > 0)}"
            if killed is None:
                why = f" ({name}: {failure}); look at the workers' logs"
            else:
                n = killed.allowed_failures + 1
                why = f": {n} worker{'s' * (n > 1)} died of it, the last one {killed.last_worker.address}; "
                why += "if for lack of memory, use smaller chunks or workers with more of it"
            raise ClusterError(f"{text}{why}, then run again") from failure
        logger.warning("workers were lost during %s (%s); it is computed again", text, name)
        _wait_for_workers(client, text, failure)
    raise AssertionError("not reached")


def _wait_for_workers(client: Any | None, text: str, failure: Exception) -> None:
    if client is None:
        return
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except (TimeoutError, *LOST) as error:
        raise ClusterError(
            f"all workers were lost during {text}, and none came back within {_PATIENCE:g} s; "
            "start the cluster again and run again"
        ) from (failure if isinstance(error, TimeoutError) else error)
