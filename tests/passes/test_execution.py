"""Where the rows are held, what a fit will take, and when it is refused."""

import functools
import re
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import dask.multiprocessing
import numpy as np
import psutil
import pytest
from reference import make_blobs

from dgmm import Execution, GaussianMixture
from dgmm.errors import InsufficientMemoryError, ParameterError
from dgmm.fitting.events import ExecutionChosen
from dgmm.mixture.families import get_family
from dgmm.passes.execution import Resources, decide, project
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.rows import Rows

MB = 2**20
FULL = get_family("full")


def zeros(n_rows, d=16, chunk_rows=131_072):
    """Rows that exist nowhere; 16 MB chunks of 16 features."""
    return Rows.from_dask(da.zeros((n_rows, d), chunks=(chunk_rows, d)), None)


def threads(n=2, free=1000 * MB):
    return Resources("threads", 1, n, free)


def choose(rows, resources, execution=Execution(), k=8, sample=MB):  # noqa: B008
    return decide(execution, rows, [(FULL, k)], ExecutionPlan.choose(FULL, k, rows.n_features), resources, sample)


@pytest.mark.parametrize(
    ("megabytes", "free", "persist"), [(160, 1000, True), (560, 1000, False), (560, 2000, True), (16_000, 1000, False)]
)
def test_rows_are_held_if_they_take_at_most_half_of_the_memory(megabytes, free, persist):
    decision = choose(zeros(megabytes * 2**13), threads(free=free * MB))
    assert decision.persist is persist
    assert (decision.needs.rows > 0) is persist
    assert decision.needs.total <= free * MB


def test_the_user_may_choose():
    rows = zeros(160 * 2**13)
    assert not choose(rows, threads(), Execution(persist=False)).persist
    assert choose(zeros(640 * 2**13), threads(), Execution(persist=True)).persist
    assert choose(rows, threads(), Execution(persist=False, lean=True)).lean


def test_each_worker_holds_its_part():
    rows = zeros(1600 * 2**13)
    assert not choose(rows, Resources("distributed", 2, 4, 1000 * MB)).persist
    assert choose(rows, Resources("distributed", 4, 4, 1000 * MB)).persist


@pytest.mark.parametrize("kind", ["processes", "other"])
def test_schedulers_that_keep_nothing_or_are_unknown_read_in_each_pass(kind):
    assert not choose(zeros(2**13), Resources(kind, 2, 2, 1000 * MB)).persist


def test_rows_of_unknown_number_are_read_in_each_pass():
    X = da.zeros((100, 2), chunks=(10, 2))
    rows = Rows.from_dask(X[X[:, 0] == 0.0], None)
    assert not choose(rows, Resources("threads", 1, 2, 4000 * MB)).persist


def test_a_fit_grows_lean_where_memory_is_short():
    rows = zeros(16_000 * 2**13)
    needs = [project(rows, [(FULL, 8)], ExecutionPlan.choose(FULL, 8, 16), threads(), MB, lean=lean) for lean in (0, 1)]
    assert needs[1].chunks < needs[0].chunks
    between = (needs[0].total + needs[1].total) // 2 - needs[0].rows
    assert choose(rows, threads(free=between)).lean
    assert not choose(rows, threads(free=needs[0].total - needs[0].rows)).lean


def test_the_projection_does_not_grow_with_the_number_of_rows():
    few, many = (choose(zeros(n * 2**13), threads(), Execution(persist=False)) for n in (320, 32_000))
    assert few.needs == many.needs


def test_whole_numbers_are_held_as_they_are_and_worked_on_as_floats():
    few, many = (Rows.from_dask(da.zeros((2**16, 16), chunks=(2**12, 16), dtype=dtype), None) for dtype in ("u1", "f8"))
    of_few, of_many = (
        project(rows, [(FULL, 8)], ExecutionPlan.choose(FULL, 8, 16), threads(), 0, lean=True) for rows in (few, many)
    )
    assert 8 * of_few.rows == of_many.rows == 8 * 2**20
    # Besides the chunks as they are, one of each thread as float64.
    assert of_few.chunks >= of_many.chunks // 8 + 2 * 8 * 16 * 2**12


def test_a_fit_that_cannot_fit_is_refused_with_chunks_that_would():
    long = 2**21
    with pytest.raises(InsufficientMemoryError, match="the chunks that 2 threads read and work on") as caught:
        choose(zeros(16 * long, chunk_rows=long), threads(free=600 * MB))
    fitting = int(re.search(r"chunks of at most (\d+) rows", str(caught.value))[1])
    assert 2**16 < fitting < long
    choose(zeros(16 * long, chunk_rows=fitting), threads(free=600 * MB))
    with pytest.raises(InsufficientMemoryError):
        choose(zeros(16 * long, chunk_rows=fitting + fitting // 10), threads(free=600 * MB))


def test_a_model_that_cannot_fit_is_refused_before_anything_is_read():
    with pytest.raises(InsufficientMemoryError, match=r"for the model \(K=2000, d=768\).*smaller model"):
        choose(zeros(10_000, d=768, chunk_rows=1000), threads(), k=2000)
    X = da.from_delayed(dask.delayed(pytest.fail)("read"), (1000, 4), dtype=float)
    with pytest.raises(InsufficientMemoryError, match="has 0 B free"):
        GaussianMixture(2).fit(X, execution=Execution(memory_limit=MB))


def test_a_fit_tells_what_it_chose():
    events = []
    X = da.from_array(make_blobs(1000, 3, 2, seed=0), chunks=(100, 3))
    GaussianMixture(2, random_state=0).fit(X, callbacks=events.append)
    chosen = next(event for event in events if isinstance(event, ExecutionChosen))
    assert chosen.persist
    assert chosen.data_bytes == 1000 * 3 * 8
    assert 0 < chosen.projected_bytes < chosen.free_bytes


@pytest.mark.parametrize("wrong", [{"persist": "yes"}, {"persist": 2}, {"memory_limit": 0}, {"memory_limit": -1}])
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        Execution(**wrong)


# -- what computes ------------------------------------------------------------------------------


def test_threads_and_one_thread():
    rows = zeros(10)
    with dask.config.set(scheduler="threads", num_workers=3):
        measured = Resources.measure(rows)
    assert (measured.kind, measured.n_workers, measured.n_threads) == ("threads", 1, 3)
    assert 0 < measured.free <= psutil.virtual_memory().total
    with dask.config.set(scheduler="synchronous"):
        assert Resources.measure(rows).n_threads == 1
        assert Resources.measure(Rows.from_array(np.ones((5, 2)), None, 10)).n_threads == 1


def test_processes_and_other_schedulers():
    rows = zeros(10)
    with dask.config.set(scheduler="processes", num_workers=2):
        assert Resources.measure(rows).kind == "processes"
        assert Resources.measure(Rows.from_array(np.ones((5, 2)), None, 10)).kind == "threads"
    with dask.config.set(scheduler=functools.partial(dask.multiprocessing.get, pool=None)):
        assert Resources.measure(rows).kind == "processes"
    with dask.config.set(scheduler=lambda graph, keys, **kwargs: dask.get(graph, keys)):
        assert Resources.measure(rows).kind == "other"
    with ThreadPoolExecutor(2) as pool, dask.config.set(pool=pool):
        assert Resources.measure(rows).kind == "threads"


def test_a_limit_counts_what_is_in_use():
    used = psutil.Process().memory_info().rss
    free = Resources.measure(zeros(10), used + 100 * MB).free
    assert abs(free - 100 * MB) < 50 * MB


@pytest.mark.cluster
def test_workers(client):
    measured = Resources.measure(zeros(10))
    assert (measured.kind, measured.n_workers, measured.n_threads) == ("distributed", 3, 3)
    assert 0 < measured.free <= psutil.virtual_memory().total
    assert Resources.measure(zeros(10), 100_000 * MB).free > 90_000 * MB
