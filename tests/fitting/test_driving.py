"""Algorithms that share reads: as many as the longest alone takes, and the same bits."""

from itertools import pairwise

import numpy as np
from cases import families
from hypothesis import given
from hypothesis import strategies as st
from problems import at_rows, blobs, make_problem

from dgmm.fitting.driving import ManyMap, run, run_together, together
from dgmm.fitting.em import FitState, em
from dgmm.fitting.problem import Control
from dgmm.fitting.start import ArrayPass
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.families import FAMILIES


class CountedPass:
    def __init__(self, run_pass) -> None:
        self.run_pass, self.names = run_pass, []

    def __call__(self, chunk_map):
        self.names.append(chunk_map.name)
        return self.run_pass(chunk_map)


def sweep(X):
    """Ten models of the same rows: every family, several K; slow and fast ones."""
    for family in FAMILIES.values():
        for k in (1, 2, 4) if family.name != "tied" else (3,):
            problem, _ = make_problem(family, k, X, reg_covar=1e-6)
            start = FitState.start(at_rows(problem, X, list(range(k))))
            yield lambda problem=problem, start=start: em(problem, Control(1e-4, 80), start)


def same(a, b) -> bool:
    parts = ("weights", "means", "covariances")
    return a.lower_bounds == b.lower_bounds and all(
        np.array_equal(getattr(a.parameters, part), getattr(b.parameters, part)) for part in parts
    )


def test_ten_models_take_the_reads_of_the_slowest() -> None:
    X = blobs(400, 2, 4, seed=1)
    run_pass = ArrayPass(X, np.ones(len(X)))
    alone = [run(make(), run_pass) for make in sweep(X)]
    assert len(alone) >= 10
    assert len({state.n_iter for state in alone}) > 3
    shared = CountedPass(run_pass)
    states = run_together([make() for make in sweep(X)], shared)
    assert len(shared.names) == max(state.n_iter for state in alone)
    assert set(shared.names) == {"statistics"}
    assert all(same(a, b) for a, b in zip(alone, states, strict=True))


@families
def test_converged_models_are_not_computed_any_more(family) -> None:
    X = blobs(200, 2, 3, seed=0)
    problem, run_pass = make_problem(family, 2, X, reg_covar=1e-6)
    start = FitState.start(at_rows(problem, X, [0, 1]))
    widths = []

    def counted(chunk_map):
        widths.append(len(chunk_map.maps) if isinstance(chunk_map, ManyMap) else 1)
        return run_pass(chunk_map)

    run_together([em(problem, Control(0.0, count), start) for count in (2, 5, 3)], counted)
    assert widths == [3, 3, 2, 1, 1]


@given(st.lists(st.integers(0, 5), max_size=6))
def test_each_is_sent_its_own_records(lengths) -> None:
    def count(name, n):
        seen = []
        for i in range(n):
            seen.append((yield f"{name}:{i}"))
        return seen

    def answer(asked):
        names = asked.maps if isinstance(asked, ManyMap) else (asked,)
        records = tuple(name.upper() for name in names)
        return type("Record", (), {"records": records}) if isinstance(asked, ManyMap) else records[0]

    found = run_together([count(f"a{k}", n) for k, n in enumerate(lengths)], answer)
    assert found == [[f"A{k}:{i}" for i in range(n)] for k, n in enumerate(lengths)]


def test_groups_of_models_nest() -> None:
    X = blobs(200, 2, 3, seed=0)
    makers = list(sweep(X))[:4]
    counted = CountedPass(ArrayPass(X, np.ones(len(X))))
    nested = run_together(
        [together([make() for make in makers[:2]]), together([make() for make in makers[2:]])], counted
    )
    reads = len(counted.names)
    flat = run_together([make() for make in makers], counted)
    assert len(counted.names) == 2 * reads
    assert all(same(a, b) for a, b in zip([*nested[0], *nested[1]], flat, strict=True))


def test_records_of_many_maps_merge_each_with_its_own() -> None:
    X = blobs(300, 2, 2, seed=4)
    maps = [next(make()) for make in list(sweep(X))[:3]]
    many = ManyMap(tuple(maps))
    cuts = [slice(*pair) for pair in pairwise((0, 100, 220, 300))]
    merged = None
    for index, cut in enumerate(cuts):
        record = many(X[cut], None, Chunk(index, cut.start, cut.stop - cut.start))
        merged = record if merged is None else merged.merge(record)
    for chunk_map, record in zip(maps, merged.records, strict=True):
        whole = chunk_map(X, None, Chunk(0, 0, len(X)))
        np.testing.assert_allclose(record.second, whole.second, rtol=1e-12, atol=1e-9)
        assert record.n_rows == 300
