"""Opens hostile files in a process of its own, with little memory: one line of JSON for each."""

from __future__ import annotations

import json
import resource
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import dask
import psutil

from dgmm import EigenMoments, GaussianMixture
from dgmm.errors import DgmmError
from dgmm.jobs.inspection import inspect_path
from dgmm.jobs.loading import load_cluster, load_job
from dgmm.storage.arrays import open_array

MEMORY, SECONDS = 2**30, 30


class TooSlowError(BaseException):
    """A file kept us waiting."""


def give_up(*_: object) -> None:
    raise TooSlowError


def inspect(path: Path) -> None:
    """To look at a file may succeed, if it is only the content that is wrong."""
    with suppress(DgmmError):
        inspect_path(path)


def fit(path: Path) -> None:
    inspect(path)
    GaussianMixture(1, max_iter=1).fit(open_array(path))


def load(path: Path) -> None:
    inspect(path)
    GaussianMixture.load(path)


def load_features(path: Path) -> None:
    inspect(path)
    EigenMoments.load(path)


OPENERS = {"job": load_job, "cluster": load_cluster, "model": load, "features": load_features, "data": fit}


def main() -> None:
    signal.signal(signal.SIGALRM, give_up)
    dask.config.set(scheduler="synchronous")
    # What is loaded with the first use counts for nobody.
    GaussianMixture(1).fit([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "x.yaml").write_text("kind: threads")
        load_cluster(Path(folder, "x.yaml"))
    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for line in sys.stdin:
        kind, path = json.loads(line)
        signal.alarm(SECONDS)
        try:
            OPENERS[kind](Path(path))
            found: list[str] = ["nothing was wrong", ""]
        except DgmmError as error:
            found = [type(error).__name__, str(error)]
        except (Exception, TooSlowError) as error:
            found = [f"!{type(error).__name__}", str(error)]
        signal.alarm(0)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
