"""One map, one fixed tree of merges, one compute."""

import itertools
from dataclasses import dataclass, replace

import dask
import dask.array as da
import numpy as np
import pytest
from dask.sizeof import sizeof
from hypothesis import given, settings
from hypothesis import strategies as st
from recorders import FailingMap, SpellingMap

from dgmm.errors import DataError
from dgmm.fitting.events import PassAdvanced, PassFinished, PassStarted
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.families import FAMILIES, get_family
from dgmm.mixture.merging import merge_in_order
from dgmm.mixture.moments import MomentsMap
from dgmm.mixture.sizes import array_bytes
from dgmm.passes import tree
from dgmm.passes.execution import Resources
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.rows import Rows
from dgmm.passes.sharding import piece_starts, pieces_per_shard
from dgmm.passes.shards import Block, PackedShard, merge_records
from dgmm.passes.tree import PassRunner

# Pieces of one row: no chunks are joined, unless they are empty.
PLAN = ExecutionPlan("numpy", 64, 1, {"float32": 1e-3, "float64": 1e-9})


def rows_of(lengths, weights=None):
    n = sum(lengths)
    X = da.from_array(np.ones((n, 2)), chunks=(tuple(lengths), 2))
    return Rows.from_dask(X, weights)


def spelt(lengths, first_rows=True, chunk_rows=1):
    """What the pieces say in the order of the chunks."""
    starts = np.cumsum([0, *lengths])
    pieces = piece_starts(np.array(lengths) if first_rows else None, len(lengths), chunk_rows)
    return "".join(
        f"[{a}:{starts[a] if first_rows else None}+{starts[b] - starts[a]}={2 * (starts[b] - starts[a])}]"
        for a, b in itertools.pairwise(pieces)
    )


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    chunk_rows=st.integers(1, 12),
    persist=st.booleans(),
    scheduler=st.sampled_from(["synchronous", "threads"]),
    whole=st.booleans(),
)
def test_records_are_merged_in_the_order_of_the_chunks(lengths, chunk_rows, persist, scheduler, whole):
    rows = rows_of(lengths)
    if whole and sum(lengths) > 1:  # a graph whose chunks are not independent (one row would be broadcast)
        rows = Rows.from_dask(rows.X + rows.X.sum() * 0.0, None)
    run_pass = PassRunner(rows, replace(PLAN, chunk_rows=chunk_rows), persist=persist)
    with dask.config.set(scheduler=scheduler):
        assert run_pass(SpellingMap()).text == spelt(lengths, chunk_rows=chunk_rows)
        assert run_pass(SpellingMap()).text == spelt(lengths, chunk_rows=chunk_rows)


@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=300), chunk_rows=st.integers(1, 30))
def test_pieces_are_neighbours_of_few_rows(lengths, chunk_rows):
    starts = piece_starts(np.array(lengths), len(lengths), chunk_rows).tolist()
    assert starts[0] == 0
    assert starts[-1] == len(lengths)
    for a, b in itertools.pairwise(starts):
        assert b - a == 1 or (b - a <= 64 and sum(lengths[a:b]) <= chunk_rows)
    for a, b, c in zip(starts, starts[1:], starts[2:], strict=False):  # none could have taken one more
        assert b - a == 64 or sum(lengths[a : b + 1]) > chunk_rows, (a, b, c)


class Sum:
    """A record of float addition, which is not associative, and of how it was merged."""

    def __init__(self, value, shape):
        self.value, self.shape = value, shape

    def merge(self, other):
        return Sum(self.value + other.value, (self.shape, other.shape))


@given(n=st.integers(1, 70), exponent=st.integers(0, 5), seed=st.integers(0, 2**32 - 1))
def test_shards_change_no_bit(n, exponent, seed):
    values = np.random.default_rng(seed).normal(size=n) * 10.0 ** np.random.default_rng(seed + 1).integers(-9, 9, n)
    records = [Sum(value, i) for i, value in enumerate(values)]
    size = 2**exponent
    shards = [merge_in_order(iter(records[i : i + size])) for i in range(0, n, size)]
    alone, sharded = merge_in_order(iter(records)), merge_in_order(iter(shards))
    assert sharded.shape == alone.shape
    assert sharded.value == alone.value


def depth_of(shape):
    return 0 if isinstance(shape, int) else 1 + max(map(depth_of, shape))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 64, 100, 1000])
def test_the_tree_is_as_flat_as_can_be(n):
    assert depth_of(merge_in_order(Sum(1.0, i) for i in range(n)).shape) == int(np.ceil(np.log2(n)))


@pytest.mark.parametrize(
    ("n_pieces", "least", "shards"), [(1, 16, 1), (7, 16, 7), (32, 16, 16), (1000, 16, 16), (100_000, 320, 391)]
)
def test_shards_suffice_for_the_threads(n_pieces, least, shards):
    size = pieces_per_shard(n_pieces, least, 1.0)
    assert size & (size - 1) == 0
    assert -(-n_pieces // size) == shards


def test_a_shard_that_is_read_in_each_pass_is_not_too_long():
    assert pieces_per_shard(100_000, 16, 2.0**24) == 64


@dataclass(frozen=True)
class LargeMap(SpellingMap):
    """A map with parameters of megabytes, as its records would be."""

    payload: np.ndarray


def test_few_large_records_are_merged_at_a_time(monkeypatch):
    """Bits and order stay; only how many records a task waits for changes."""
    merged = []
    monkeypatch.setattr(tree, "merge_records", lambda records: merged.append(len(records)) or merge_records(records))
    lengths = list(range(1, 41))
    resources = Resources("threads", 1, 5, 2**30)  # 40 shards
    small, large = (
        PassRunner(rows_of(lengths), PLAN, resources=resources)(LargeMap(np.zeros(size))).text for size in (1, 2**18)
    )
    assert small == large == spelt(lengths)
    assert sorted(merged)[-4:] == [3, 8, 16, 16]  # 40 in groups of 16, and the three of those
    assert merged.count(2) == 39  # and by twos, each of which leaves one record fewer


def test_schedulers_are_told_how_large_records_and_shards_are():
    rows = np.ones((1000, 3))
    moments = MomentsMap(0, 10)(rows, None, Chunk(0, 0, 1000))
    assert sizeof(moments) >= array_bytes(moments) >= 3 * 3 * 8 + 10 * 3 * 8
    shard = PackedShard((Block(rows, None, 0, ()),) * 2)
    assert 2 * rows.nbytes <= sizeof(shard) <= 2 * rows.nbytes + 1000


def test_unknown_lengths_reach_the_chunks_as_none():
    keep = np.array([True, True, False, True, False, False])
    X = da.from_array(np.ones((6, 2)), chunks=2)[da.from_array(keep, chunks=2)]
    record = PassRunner(Rows.from_dask(X, None), PLAN)(SpellingMap())
    assert record.text == spelt([2, 1, 0], first_rows=False)


def test_weights_go_with_their_rows():
    w = np.arange(6.0)
    rows = rows_of([1, 3, 2], da.from_array(w, chunks=5))
    for persist in (False, True):
        record = PassRunner(rows, PLAN, persist=persist)(SpellingMap())
        assert record.text == "[0:0+1=2*0][1:1+3=6*6][2:4+2=4*9]"
        joined = PassRunner(rows, replace(PLAN, chunk_rows=4), persist=persist)(SpellingMap())
        assert joined.text == "[0:0+4=8*6][2:4+2=4*9]"


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(("first", "stop"), [(0, 10), (0, 0), (3, 7), (4, 8), (9, 10), (10, 10)])
def test_some_rows_in_a_row(first, stop, lazy):
    X, w = np.arange(20.0).reshape(10, 2), np.arange(10.0)
    rows = Rows.from_dask(da.from_array(X, chunks=(4, 2)), w) if lazy else Rows.from_array(X, w, 4)
    part = rows.between(first, stop)
    np.testing.assert_array_equal(np.asarray(part.X), X[first:stop])
    np.testing.assert_array_equal(np.asarray(part.weights), w[first:stop])
    ends = [end for end in (4, 8, 10) if first < end < stop]
    expected = np.diff([first, *ends, stop])
    assert part.lengths.tolist() == [length for length in expected if length] or (lazy and first == stop)


def test_weights_of_other_unknown_lengths_are_refused_with_the_chunk():
    keep = np.array([True, True, True, False])
    X = da.from_array(np.ones((4, 2)), chunks=2)[da.from_array(keep, chunks=2)]
    w = da.from_array(np.ones(4), chunks=2)[da.from_array(~keep, chunks=2)]
    with pytest.raises(DataError, match="chunk 0 has 2 rows and 0 weights"):
        PassRunner(Rows.from_dask(X, w), PLAN)(SpellingMap())


@pytest.mark.parametrize("persist", [False, True])
def test_a_pass_is_one_compute(computes, persist):
    rows = rows_of([2] * 20, da.ones(40))
    run_pass = PassRunner(rows, PLAN, persist=persist)
    assert len(computes) == 0
    run_pass(SpellingMap())
    assert len(computes) == 1
    run_pass(SpellingMap())
    run_pass(SpellingMap())
    assert len(computes) == 3
    assert run_pass.n_passes == 3


@pytest.mark.parametrize(("persist", "expected"), [(False, 3), (True, 1)])
@pytest.mark.parametrize("chunk_rows", [1, 11])
def test_each_chunk_is_read_once_in_a_pass_or_once_at_all(persist, expected, chunk_rows):
    reads = []

    def read(block, block_id):
        reads.append(block_id[0])
        return block

    X = da.ones((30, 3), chunks=(5, 3)).map_blocks(read, dtype=float, meta=np.empty((0, 0)))
    rows = Rows.from_dask(X, X[:, 0])
    run_pass = PassRunner(rows, replace(PLAN, chunk_rows=chunk_rows), persist=persist)
    assert reads == []
    for _ in range(3):
        run_pass(SpellingMap())
    assert sorted(reads) == sorted(list(range(6)) * expected)


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


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("k", "d"), [(1, 1), (3, 2), (32, 16), (16, 128), (256, 16), (500, 300)])
def test_the_plan_follows_from_the_shapes_alone(family, k, d):
    plan = ExecutionPlan.choose(get_family(family), k, d)
    assert plan == ExecutionPlan.choose(get_family(family), k, d)
    assert plan.block_rows >= 1
    assert plan.chunk_rows % plan.block_rows == 0
    assert ExecutionPlan.from_dict(plan.to_dict()) == plan
