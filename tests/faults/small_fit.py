"""A small fit with everything that a large one has, to be killed; runs in processes of its own.

They are forked by a server that has imported and compiled everything, so that a kill costs a fraction
of a second. What is small here is small for the machine only: chunks are read in each pass, passes
come in many parts, each of which is kept.
"""

import gc
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import warnings
from dataclasses import replace
from functools import cache, partial
from multiprocessing import forkserver, get_context
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import psutil
from obstore.store import from_url
from sklearn.exceptions import ConvergenceWarning

from dgmm import BFRGaussianMixture, Checkpoint, Execution, GaussianMixture
from dgmm.fitting.events import PassAdvanced
from dgmm.mixture import program
from dgmm.passes.plan import ExecutionPlan
from dgmm.storage.objects import ObjectPlace
from dgmm.storage.paths import is_url
from dgmm.storage.places import LocalPlace
from dgmm.storage.writer import CheckpointWriter

ARRAYS = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_", "n_reads_", "n_iter_")
N, D, K = 1600, 2, 2
FEW = 3
# Each kind of fit: its class, and parameters that tests may change.
EM = (GaussianMixture, {"n_components": K, "max_iter": 2, "tol": 0.0, "random_state": 0, "sample_rows": 30})
FITS = {
    "em": EM,
    "em from a scan": (GaussianMixture, {**EM[1], "init_params": "bfr", "sample_rows": 400}),
    "scan, refined": (
        BFRGaussianMixture,
        {"n_components": K, "batch_rows": 400, "buffer_rows": 50, "random_state": 0, "refine_passes": 2},
    ),
}

program._function("float64")


def read(block, pause=0.0):
    """The same rows, as if they were read from somewhere."""
    time.sleep(pause)
    return block


def rows(n_chunks=16, pause=0.0):
    rng = np.random.default_rng(5)
    X = np.array([[0.0, 0.0], [3.0, 1.0]])[np.arange(N) % K] + rng.normal(size=(N, D))
    return da.from_array(X, chunks=(-(-N // n_chunks), D)).map_blocks(read, pause=pause, dtype=np.float64)


def fit(X, checkpoint=None, callbacks=(), execution=None, kind="em", **parameters):
    """Fit, with pieces as small as the chunks."""
    choose = ExecutionPlan.choose
    ExecutionPlan.choose = lambda *shape: replace(choose(*shape), chunk_rows=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator, own = FITS[kind]
            model = estimator(**{**own, **parameters})
            execution = execution or Execution(persist=False)
            return model.fit(X, checkpoint=checkpoint, callbacks=callbacks, execution=execution)
    finally:
        ExecutionPlan.choose = choose


class Interrupt:
    """A callback that interrupts a pass."""

    def __call__(self, event):
        if isinstance(event, PassAdvanced) and event.index == 2:
            raise KeyboardInterrupt


def found_by(model):
    """What a fit found."""
    return {name: np.asarray(getattr(model, name)) for name in ARRAYS if hasattr(model, name)}


def same_bits(model, other):
    return all(np.array_equal(value, getattr(other, name)) for name, value in found_by(model).items())


def save(model, path):
    """Leave what a fit found in a file."""
    np.savez(path, **found_by(model))


def is_result(path, expected):
    """Whether a file holds the bits of a model."""
    with np.load(path) as found:
        return all(np.array_equal(found[name], value) for name, value in found_by(expected).items())


# -- in processes of their own ---------------------------------------------------------------------


def kill():
    """End this process as nothing can prevent."""
    os.kill(os.getpid(), signal.SIGKILL)


class At:
    """Does something before the n-th change of what is stored, or before each with the number of it."""

    def __init__(self, number=None, action=kill):
        self.number, self.action, self.count = number, action, 0

    def install(self):
        for place in (LocalPlace, ObjectPlace):
            for name in place.DURABLE:
                setattr(place, name, self.wrap(getattr(place, name)))
        # Each state is written at once, so that every run counts the same.
        submit = CheckpointWriter.submit

        def submit_and_wait(writer, parts, *, finished=False):
            submit(writer, parts, finished=finished)
            writer.flush()

        CheckpointWriter.submit = submit_and_wait

    def wrap(self, operation):
        def durable(*arguments, **keywords):
            self.count += 1
            if self.number is None:
                self.action(self.count)
            elif self.count == self.number:
                self.action()
            return operation(*arguments, **keywords)

        return durable


def run_and_die(place, result, number=0, n_chunks=FEW, **parameters):
    """Fit on one thread, killed before a change of what is stored; or to the end."""
    At(number).install()
    with dask.config.set(scheduler="synchronous"):
        save(fit(rows(n_chunks), Checkpoint(place, interval=0.0), **parameters), result)


def run_and_copy(place, copies, n_chunks=FEW, **parameters):
    """Fit on one thread; before each change of what is stored a copy is made of all that is, as a kill would leave it.

    A copy is named by its number, which ``copies`` ends with.
    """
    At(action=partial(copy_store, place, copies)).install()
    with dask.config.set(scheduler="synchronous"):
        fit(rows(n_chunks), Checkpoint(place, interval=0.0), **parameters)


def copy_store(place, copies, number):
    """Copy a folder, or a prefix of an object store."""
    if not is_url(place):
        if Path(place).exists():
            shutil.copytree(place, f"{copies}-{number}")
        return
    source, target = from_url(place), from_url(f"{copies}-{number}")
    for page in source.list():
        for item in page:
            target.put(item["path"], source.get(item["path"]).bytes())


def run_for(place, result, seconds, scheduler, workers, **parameters):
    """Fit, killed after some seconds; or to the end."""
    if seconds is not None:
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    with dask.config.set(scheduler=scheduler, num_workers=workers):
        save(fit(rows(pause=0.002), Checkpoint(place, interval=0.0), **parameters), result)


def fit_many(place, result, scheduler):
    """Fit again and again, interrupted now and then; leaves what this process held after the first and after all."""
    with dask.config.set(scheduler=scheduler, num_workers=2):
        fit(rows(FEW), Checkpoint(place))
        before = held(place)
        for number in range(20):
            interrupted = number % 5 == 0
            try:
                fit(rows(FEW), Checkpoint(place, interval=0.0, resume="never"), [Interrupt()] if interrupted else [])
                assert not interrupted
            except KeyboardInterrupt:
                assert interrupted
        Path(result).write_text(json.dumps([before, held(place)]))


def held(folder):
    """Threads of dgmm's, open files and children of this process, and what lies in a folder."""
    gc.collect()
    process = psutil.Process()
    return {
        "threads": [thread.name for thread in threading.enumerate() if thread.name.startswith("dgmm")],
        "files": process.num_fds(),
        "children": len(process.children(recursive=True)),
        "stored": sorted(path.name for path in Path(folder).iterdir()),
    }


def with_environment(environment, target, *arguments, **keywords):
    """Run another function of this module with these variables: the server's are those of its own start."""
    os.environ.update(environment)
    target(*arguments, **keywords)


@cache
def server():
    """Start the server that processes are forked from; it finds this module by its environment alone."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "faults.s3_job"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before
    return context


def in_a_process(target, *arguments, timeout=120.0, **keywords):
    """Run a function of this module in a process of its own; returns the exit code."""
    context = server()
    process = context.Process(target=target, args=arguments, kwargs=keywords)
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"{target.__name__} took more than {timeout} s")
    return process.exitcode


def random_moments(seed, longest):
    """Moments of kills, in seconds from the start of a process: uniform, with a seed."""
    generator = random.Random(seed)
    while True:
        yield generator.uniform(0.0, longest)


def leftovers(place):
    """Names of what unfinished writes left in a checkpoint's folder."""
    return [path.name for path in Path(place).glob(".*.part")]
