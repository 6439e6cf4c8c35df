"""Where the rows of a fit are held, and whether it fits into memory: decided before the first read."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import dask
import dask.multiprocessing
import psutil
from dask.base import get_scheduler
from dask.system import CPU_COUNT
from dask.utils import format_bytes
from distributed import Client
from distributed.system import MEMORY_LIMIT

from dgmm.errors import InsufficientMemoryError
from dgmm.mixture.kernel import kernel_dtype
from dgmm.passes.sharding import JOINED
from dgmm.rules import Rule, at_least, check, is_bool, is_int

if TYPE_CHECKING:
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.passes.plan import ExecutionPlan
    from dgmm.passes.rows import Rows

# Of the memory that is free when the fit begins, the share that held rows may take.
_SHARE = 0.5
# Times a chunk's bytes that a thread takes to read it (of the file, decoded, put in place), and what
# is read ahead and kept by the heap where it need not be lean.
_LEAN_COPIES, _COPIES = 3, 5
# Arrays as large as A that a model needs on the driver: covariances, factors, A and their successors.
_COPIES_OF_MODEL = 8


Model: TypeAlias = "tuple[CovarianceFamily, int]"
"""The family and the number of components of a model."""

PASS_RETRIES = 3
"""How often a part of a pass is computed again after workers were lost, unless the user says otherwise."""

_RULES = {
    "persist": Rule(lambda v: is_bool(v) or (isinstance(v, str) and v == "auto"), "True, False or 'auto'"),
    "lean": Rule(is_bool, "True or False"),
    "memory_limit": Rule(lambda v: v is None or is_int(v, 1), "None or an int of at least 1, in bytes"),
    "pass_retries": at_least(0),
}

SYNCHRONOUS = ("synchronous", "sync", "single-threaded")
"""Names of Dask's scheduler of one thread."""


@dataclass(frozen=True)
class Execution:
    """How a fit is run; changes no bit of its result.

    Parameters
    ----------
    persist : bool or "auto", default "auto"
        True loads the rows once, into the memory of the workers (or of this process); False reads
        them anew in each pass, one chunk and the next one at a time for each thread. ``"auto"``
        loads them if they take at most half of the memory that is free.
    lean : bool, default False
        True reads no chunk ahead, and lets the process give memory back to the system as soon as
        it is freed: rows that are read in each pass then take the least memory, and the most time.
        Done anyway where the fit would not go into memory otherwise.
    memory_limit : int, optional
        Bytes that this process, or each worker, may use in all; what is free is measured if left
        out.
    pass_retries : int, default 3
        How often a pass, or the part of it that was under way, is computed again after a cluster
        lost workers with what they held. Dask itself starts a task up to four times before that.

    Raises
    ------
    ParameterError
        If a value is impossible.

    Examples
    --------
    >>> import dask.array as da
    >>> from dgmm import Execution, GaussianMixture
    >>> X = da.random.default_rng(0).normal(size=(1000, 2), chunks=(100, 2))
    >>> GaussianMixture(2, random_state=0).fit(X, execution=Execution(persist=False)).n_features_in_
    2
    """

    persist: bool | Literal["auto"] = "auto"
    lean: bool = False
    memory_limit: int | None = None
    pass_retries: int = PASS_RETRIES

    def __post_init__(self) -> None:
        check(_RULES, vars(self))


@dataclass(frozen=True)
class Resources:
    """What computes.

    Attributes
    ----------
    kind : {"threads", "processes", "distributed", "other"}
        "other" is a scheduler of the user's own.
    n_workers : int
        Processes.
    n_threads : int
        In all of them.
    free : int
        Bytes that are free in the process that has least.
    client : distributed.Client or None
    """

    kind: str
    n_workers: int
    n_threads: int
    free: int
    client: Client | None = None

    @classmethod
    def measure(cls, rows: Rows, memory_limit: int | None = None) -> Resources:
        """Ask the scheduler that Dask would use for the rows."""
        scheduler = None if rows.local else get_scheduler(collections=[rows.X])
        owner = getattr(scheduler, "__self__", None)
        if isinstance(owner, Client):
            return cls._of_cluster(owner, memory_limit)
        free = _free_here() if memory_limit is None else memory_limit - psutil.Process().memory_info().rss
        n = dask.config.get("num_workers", None) or CPU_COUNT
        if isinstance(scheduler, functools.partial):
            scheduler = scheduler.func
        if scheduler is dask.multiprocessing.get:
            return cls("processes", n, n, free // n)
        if scheduler is dask.get or (rows.local and dask.config.get("scheduler", None) in SYNCHRONOUS):
            return cls("threads", 1, 1, free)
        known = rows.local or getattr(scheduler, "__module__", "") == "dask.threaded"
        return cls("threads" if known else "other", 1, n, free)

    @classmethod
    def _of_cluster(cls, client: Client, memory_limit: int | None) -> Resources:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            client.wait_for_workers(1)
            workers = client.scheduler_info(n_workers=-1)["workers"]
        free = [
            (memory_limit or worker["memory_limit"] or _free_here()) - worker["metrics"].get("memory", 0)
            for worker in workers.values()
        ]
        return cls("distributed", len(free), sum(worker["nthreads"] for worker in workers.values()), min(free), client)


def _free_here() -> int:
    """Bytes that this process may still take: of the machine, of its container, and by ``ulimit -d`` and ``-v``."""
    used, free = psutil.Process().memory_info(), psutil.virtual_memory().available
    found = [free, MEMORY_LIMIT - used.rss]
    for limit, own in (("RLIMIT_DATA", "data"), ("RLIMIT_AS", "vms")):
        if hasattr(psutil, limit):  # Linux
            most, _ = psutil.Process().rlimit(getattr(psutil, limit))
            found += [most - getattr(used, own)] if most != psutil.RLIM_INFINITY else []
    return int(max(min(found), 0))


@dataclass(frozen=True)
class MemoryNeeds:
    """Bytes that a fit will take in each process, by what for.

    Attributes
    ----------
    chunks : int
        The pieces that threads work on and read meanwhile.
    model : int
        Parameters, feature maps and records.
    sample : int
        The sample of rows, and what is computed from it; 0 in worker processes.
    rows : int
        A worker's part of the rows, if they are held.
    """

    chunks: int
    model: int
    sample: int
    rows: int

    @property
    def total(self) -> int:
        """Their sum."""
        return self.chunks + self.model + self.sample + self.rows


def project(
    rows: Rows,
    models: Sequence[Model],
    plan: ExecutionPlan,
    resources: Resources,
    sample: int,
    *,
    lean: bool,
) -> MemoryNeeds:
    """Estimate the peak memory of a process in which threads read and work on chunks.

    Parameters
    ----------
    rows : Rows
    models : sequence of (CovarianceFamily, int)
        Families and numbers of components of the models that share the reads.
    plan, resources
    sample : int
        Bytes of the sample.
    """
    d = rows.n_features
    shapes = [(k, 1 + d if family.tied else family.n_mapped(d)) for family, k in models]
    threads = -(-resources.n_threads // resources.n_workers)  # of a process
    largest = rows.largest_chunk_bytes
    piece = max(largest, min(JOINED * largest, plan.chunk_rows * d * rows.X.dtype.itemsize))
    here = resources.kind != "distributed"
    floats = kernel_dtype(rows.X.dtype)
    converted = 0 if rows.X.dtype == floats else piece * floats.itemsize // rows.X.dtype.itemsize
    held = 0 if rows.local else piece * (_LEAN_COPIES if lean else _COPIES) + converted
    records = sum(8 * k * p for k, p in shapes)
    block = max(8 * (p + 3 * k) for k, p in shapes) * plan.block_rows
    return MemoryNeeds(
        chunks=threads * held,
        model=threads * (block + 6 * records) + (_COPIES_OF_MODEL if here else 2) * records,
        sample=3 * sample if here else 0,
        rows=0 if rows.nbytes is None else -(-rows.nbytes // resources.n_workers),
    )


@dataclass(frozen=True)
class Decision:
    """How a fit will be run.

    Attributes
    ----------
    persist, lean : bool
        See :class:`Execution`.
    needs : MemoryNeeds
    """

    persist: bool
    lean: bool
    needs: MemoryNeeds


def decide(
    execution: Execution,
    rows: Rows,
    models: Sequence[Model],
    plan: ExecutionPlan,
    resources: Resources,
    sample: int,
) -> Decision:
    """Choose where the rows are held; parameters are those of :func:`project`.

    Raises
    ------
    InsufficientMemoryError
        If the fit cannot go on with the memory that there is.
    """
    needs = project(rows, models, plan, resources, sample, lean=execution.lean)
    if rows.local or resources.kind == "processes":
        persist = False  # there already; or no process would keep them
    elif execution.persist == "auto":
        fits = rows.nbytes is not None and needs.rows <= _SHARE * resources.free and needs.total <= resources.free
        persist = fits and resources.kind != "other"
    else:
        persist = execution.persist
    if not persist:
        needs = replace(needs, rows=0)
    if needs.total <= resources.free:
        return Decision(persist, execution.lean, needs)
    lean = project(rows, models, plan, resources, sample, lean=True)
    lean = lean if persist else replace(lean, rows=0)
    if lean.total > resources.free:
        _refuse(lean, rows, models, resources)
    return Decision(persist, lean=True, needs=lean)


def _refuse(needs: MemoryNeeds, rows: Rows, models: Sequence[Model], resources: Resources) -> None:
    threads = -(-resources.n_threads // resources.n_workers)
    parts = ", ".join(
        f"{format_bytes(size)} for {what}"
        for what, size in (
            (f"the chunks that {threads} thread{'s' * (threads != 1)} read and work on", needs.chunks),
            (_words(models, rows.n_features), needs.model),
            ("the sample of rows", needs.sample),
            ("the rows", needs.rows),
        )
        if size
    )
    advice = []
    room = resources.free - needs.total + needs.chunks
    if needs.rows:
        advice.append("read the rows in each pass, Execution(persist=False)")
    elif needs.chunks and room > 0:
        fitting = int(room / needs.chunks * rows.largest_chunk_bytes) // (rows.X.dtype.itemsize * rows.n_features)
        if fitting:
            advice.append(f"use chunks of at most {fitting} rows")
    if threads > 1:
        advice.append("use fewer threads")
    if len(models) > 1:
        advice.append("take fewer candidates at a time")
    advice.append("take a smaller model (covariance_type='diag', fewer components)" if room <= 0 else "more memory")
    raise InsufficientMemoryError(
        f"the fit needs about {format_bytes(needs.total)} in a process that has {format_bytes(max(resources.free, 0))} "
        f"free: {parts}; {', or '.join(advice)}"
    )


def _words(models: Sequence[Model], d: int) -> str:
    largest = max(k for _, k in models)
    if len(models) == 1:
        return f"the model (K={largest}, d={d})"
    return f"{len(models)} models (K up to {largest}, d={d})"
