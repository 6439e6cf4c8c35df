"""One map, one fixed tree of merges, one compute."""

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorders import FailingMap, SpellingMap

from dgmm.errors import DataError
from dgmm.fitting.events import PassAdvanced, PassFinished, PassStarted
from dgmm.mixture.families import get_family
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.rows import Rows
from dgmm.passes.tree import PassRunner, pass_graph

PLAN = ExecutionPlan("numpy", 64, 4, 100, {"float32": 1e-3, "float64": 1e-9})


def rows_of(lengths, weights=None):
    n = sum(lengths)
    X = da.from_array(np.ones((n, 2)), chunks=(tuple(lengths), 2))
    return Rows.from_dask(X, weights)


def spelt(lengths, first_rows=True):
    starts = np.cumsum([0, *lengths])
    return "".join(
        f"[{i}:{starts[i] if first_rows else None}+{length}={2 * length}]" for i, length in enumerate(lengths)
    )


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=40),
    fan_in=st.integers(2, 17),
    scheduler=st.sampled_from(["synchronous", "threads"]),
)
def test_records_are_merged_in_the_order_of_the_chunks(lengths, fan_in, scheduler):
    root = pass_graph(rows_of(lengths), SpellingMap(), fan_in)
    assert root.compute(scheduler=scheduler).text == spelt(lengths)


@pytest.mark.parametrize("n_chunks", [1, 2, 15, 16, 17, 256, 257])
def test_no_task_merges_more_than_the_fan_in(n_chunks):
    graph = dict(pass_graph(rows_of([1] * n_chunks), SpellingMap(), 16).dask)
    merges = [key for key in graph if str(key).startswith("('dgmm-merge")]
    depth = {1: 1, 2: 1, 15: 1, 16: 1, 17: 2, 256: 2, 257: 3}[n_chunks]
    assert len({key[0] for key in merges}) == depth
    for key in merges:
        assert 1 <= len(graph[key].dependencies if hasattr(graph[key], "dependencies") else graph[key][1]) <= 16


def test_unknown_lengths_reach_the_chunks_as_none():
    keep = np.array([True, True, False, True, False, False])
    X = da.from_array(np.ones((6, 2)), chunks=2)[da.from_array(keep, chunks=2)]
    record = PassRunner(Rows.from_dask(X, None), PLAN)(SpellingMap())
    assert record.text == spelt([2, 1, 0], first_rows=False)


def test_weights_go_with_their_rows():
    w = np.arange(6.0)
    record = PassRunner(rows_of([1, 3, 2], da.from_array(w, chunks=5)), PLAN)(SpellingMap())
    assert record.text == "[0:0+1=2*0][1:1+3=6*6][2:4+2=4*9]"


def test_weights_of_other_unknown_lengths_are_refused_with_the_chunk():
    keep = np.array([True, True, True, False])
    X = da.from_array(np.ones((4, 2)), chunks=2)[da.from_array(keep, chunks=2)]
    w = da.from_array(np.ones(4), chunks=2)[da.from_array(~keep, chunks=2)]
    with pytest.raises(DataError, match="chunk 0 has 2 rows and 0 weights"):
        PassRunner(Rows.from_dask(X, w), PLAN)(SpellingMap())


def test_a_pass_is_one_compute_and_builds_lazily(computes):
    rows = rows_of([2] * 20, da.ones(40))
    run_pass = PassRunner(rows, PLAN)
    root = pass_graph(rows, SpellingMap(), 4)
    assert len(computes) == 0
    root.compute()
    assert len(computes) == 1
    run_pass(SpellingMap())
    run_pass(SpellingMap())
    assert len(computes) == 3
    assert run_pass.n_passes == 2


def test_each_chunk_is_read_once_in_a_pass():
    reads = []

    def read(block, block_id):
        reads.append(block_id[0])
        return block

    X = da.ones((30, 3), chunks=(5, 3)).map_blocks(read, dtype=float, meta=np.empty((0, 0)))
    rows = Rows.from_dask(X, X[:, 0])
    assert reads == []
    PassRunner(rows, PLAN)(SpellingMap())
    assert sorted(reads) == list(range(6))


def test_rows_in_memory_stay_in_this_process(computes):
    rows = Rows.from_array(np.ones((250, 2)), None, 100)
    with dask.config.set(scheduler="processes"):
        record = PassRunner(rows, PLAN)(SpellingMap())
    assert record.text == spelt([100, 100, 50])
    assert computes == []
    PassRunner(rows, PLAN)(SpellingMap())  # a scheduler that is a function of this process is used
    assert len(computes) == 1


def test_events_tell_how_a_pass_goes():
    events = []
    run_pass = PassRunner(rows_of([3, 4]), PLAN, events.append)
    run_pass(SpellingMap())
    run_pass(SpellingMap())
    told = [event for event in events if not isinstance(event, PassAdvanced)]
    assert [type(event) for event in told] == [PassStarted, PassFinished] * 2
    assert told[0] == PassStarted("spelling", 1, 2, 7)
    assert (told[3].index, told[3].n_rows) == (2, 7)
    assert told[3].seconds >= 0.0


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_an_error_in_a_task_comes_out_as_it_is(scheduler):
    with dask.config.set(scheduler=scheduler), pytest.raises(DataError, match=r"^chunk 3 is bad$"):
        PassRunner(rows_of([1] * 6), PLAN)(FailingMap(3))


# -- the plan -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize(("k", "d"), [(1, 1), (3, 2), (32, 16), (16, 128), (256, 16), (500, 300)])
def test_the_plan_follows_from_the_shapes_alone(family, k, d):
    plan = ExecutionPlan.choose(get_family(family), k, d)
    assert plan == ExecutionPlan.choose(get_family(family), k, d)
    assert plan.block_rows >= 1
    assert plan.chunk_rows % plan.block_rows == 0
    assert ExecutionPlan.from_dict(plan.to_dict()) == plan
