"""What worker processes do first: Dask loads this module in each of them (its hook ``dask_setup``)."""

from __future__ import annotations

import logging
import os
import signal
import threading
from multiprocessing import parent_process


def ignore_interrupts() -> None:
    """Leave Ctrl-C to the process that runs the job.

    A terminal sends it to all processes of the command, and job schedulers send their warning
    (SIGUSR1) to all processes of a job. Workers that died of it would fill the
    screen with traces, while the job is about to take them down in good order.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def begin_process() -> None:
    """Prepare a process of a pool: it ends with the one that runs the job, however that ends.

    Processes of a pool wait for work on a queue that they hold both ends of, so they would wait forever.
    """
    ignore_interrupts()
    threading.Thread(target=_end_with_parent, name="dgmm-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def is_worth_telling(record: logging.LogRecord) -> bool:
    """Whether a log record of a worker's says more than that its scheduler has gone.

    A heartbeat that finds no scheduler is how a cluster that is taken down ends, at times; Dask
    logs it with a trace.
    """
    return "Failed to communicate with scheduler during heartbeat" not in record.getMessage()


def dask_setup(worker: object) -> None:
    """Prepare a worker of Dask's; called by it."""
    ignore_interrupts()
    logging.getLogger("distributed.worker").addFilter(is_worth_telling)
