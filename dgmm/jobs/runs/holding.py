"""Who runs a job holds what it writes to, wherever its runs are recorded."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.errors import JobRunningError
from dgmm.jobs.digest import digest_of
from dgmm.jobs.runs.records import now, readable
from dgmm.jobs.specification import ImageInput
from dgmm.storage.locks import HeldError, holding_place

if TYPE_CHECKING:
    from dgmm.jobs.loading import Job


@contextmanager
def holding(job: Job) -> Iterator[None]:
    """Keep other processes from all local files and folders that a job writes to.

    Places in an object store cannot be held, nor those in file systems without locks.

    Raises
    ------
    JobRunningError
        If another process holds one, with who runs what since when.
    """
    written = [(f"output.{key}", path) for key, path in job.output.paths.items() if isinstance(path, Path)]
    if isinstance(job.input, ImageInput):
        written.append(("input.store", job.input.store))
    # By place: two outputs at one are for the checks of the job to refuse.
    places = {os.path.realpath(path): (key, path) for key, path in written}
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "job": job.file, "digest": digest_of(job)}
    holder["begun"] = now()
    with ExitStack() as stack:
        for key, place in places.values():
            try:
                stack.enter_context(holding_place(place, holder))
            except HeldError as error:
                raise _refusal(job, key, error.holder, str(holder["digest"])) from None
        yield


def refusal(file: str, digest: str, other: dict[str, Any], key: str) -> JobRunningError:
    """The error of a second run: ``other`` is what is known of the first, ``key`` names a place that both write to."""
    job = "this job" if other["digest"] == digest else f"{other['job']}, which writes the same {key},"
    run = f" (run {other['id']})" if "id" in other else ""
    return JobRunningError(
        f"{file}: process {other['pid']} on {other['host']!r} runs {job} since {readable(other['begun'])}{run}; "
        "wait for it to end, or stop it"
    )


def _refusal(job: Job, key: str, holder: bytes, digest: str) -> JobRunningError:
    unknown = {"pid": "?", "host": "?", "job": "another job", "digest": "", "begun": "?"}
    try:
        found = json.loads(holder)
    except ValueError:
        found = None
    return refusal(job.file, digest, unknown | (found if isinstance(found, dict) else {}), key)
