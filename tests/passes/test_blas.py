"""BLAS has one thread in a task, and what it had before afterwards."""

import threading

import dask
import dask.array as da
import pytest
from recorders import BlasMap, FailingMap, blas_threads
from threadpoolctl import threadpool_limits

from dgmm.errors import DataError
from dgmm.passes.blas import single_threaded_blas
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.rows import Rows
from dgmm.passes.tree import PassRunner

PLAN = ExecutionPlan("numpy", 64, 100, {"float32": 1e-3, "float64": 1e-9})


@pytest.fixture(autouse=True)
def two_threads():
    """The setting of a process with two BLAS threads, held by nobody: its thread has ended."""
    before = min(blas_threads())
    _set_in_a_thread_of_its_own(2)
    assert set(blas_threads()) == {2}
    yield
    _set_in_a_thread_of_its_own(before)


def _set_in_a_thread_of_its_own(limit):
    run_together(lambda: threadpool_limits(limit, user_api="blas"))


def run_together(*targets):
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def run(chunk_map=None):
    return PassRunner(Rows.from_dask(da.ones((9, 2), chunks=(1, 2)), None), PLAN)(chunk_map or BlasMap())


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_one_thread_in_a_task_and_the_former_number_afterwards(scheduler):
    with dask.config.set(scheduler=scheduler):
        assert set(run().text) == {"1"}
        assert set(blas_threads()) == {2}
        with pytest.raises(DataError):
            run(FailingMap(0))
        assert set(blas_threads()) == {2}


def test_a_limit_that_the_caller_holds_comes_back():
    with threadpool_limits(2, user_api="blas"):
        assert set(run().text) == {"1"}
        assert set(blas_threads()) == {2}


@pytest.mark.parametrize("first_leaves_first", [True, False])
def test_two_overlapping_users(first_leaves_first):
    """As two tasks in one worker: whoever leaves last, the former number comes back."""
    first_is_in, second_is_in, one_is_out = (threading.Event() for _ in range(3))
    alone = []

    def user(own, other, leaves_first):
        def target():
            if other is first_is_in:
                assert first_is_in.wait(10)
            with single_threaded_blas():
                own.set()
                assert other.wait(10)
                if not leaves_first:
                    assert one_is_out.wait(10)
                    alone.append(set(blas_threads()))
            one_is_out.set()

        return target

    run_together(
        user(first_is_in, second_is_in, first_leaves_first),
        user(second_is_in, first_is_in, not first_leaves_first),
    )
    assert alone == [{1}]
    assert set(blas_threads()) == {2}


def test_concurrent_passes_in_two_threads():
    texts = []
    run_together(*[lambda: texts.extend(run().text for _ in range(10))] * 2)
    assert len(texts) == 20
    assert set("".join(texts)) == {"1"}
    assert set(blas_threads()) == {2}
