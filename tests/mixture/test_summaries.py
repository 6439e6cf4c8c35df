"""Summaries stand for their rows: exactly where a row is alone, as a lower bound else."""

import numpy as np
from cases import any_family, families, random_parameters
from hypothesis import given
from hypothesis import strategies as st

from dgmm.mixture.chunks import Chunk
from dgmm.mixture.compiled import KernelOptions, compile_mixture
from dgmm.mixture.compression import looseness, merge_while_tight, tight_groups
from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.parameters import Coordinates
from dgmm.mixture.retaining import Appraisal, DiscardMap, DrawMap, RowsMap
from dgmm.mixture.statistics import SufficientStatistics
from dgmm.mixture.summaries import Summaries, about_origin

OPTIONS = KernelOptions(64, {"float32": 1e-3, "float64": 1e-9})
# Every component is served by the centred kernel, whose statistics are about its mean.
CENTRED = KernelOptions(64, {"float32": -1.0, "float64": -1.0})


def coordinates_of(family, d, rng):
    if family.form.shape(d) == (d, d):
        return Coordinates(rng.normal(size=d), np.tril(0.3 * rng.normal(size=(d, d))) + 2.0 * np.eye(d))
    scale = np.full(d, 1.7) if family.form.shape(d) == (1,) else rng.uniform(0.5, 3.0, d)
    return Coordinates(rng.normal(size=d), scale)


def case(family, k, d, n, seed):
    rng = np.random.default_rng(seed)
    parameters, coordinates = random_parameters(family, k, d, seed), coordinates_of(family, d, rng)
    z = rng.normal(scale=2.0, size=(n, d))
    return parameters, coordinates, z, rng.uniform(0.2, 3.0, n), rng


def of_rows(family, parameters, coordinates, z, weights, options=OPTIONS):
    compiled = compile_mixture(family, parameters, coordinates, np.dtype(np.float64), options)
    return BlockKernel(compiled).statistics(coordinates.restore(z), weights)


def assert_same(a: SufficientStatistics, b: SufficientStatistics) -> None:
    for name in ("weight", "first", "second", "log_likelihood", "total_weight"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-9, atol=1e-9, err_msg=name)


@given(any_family, st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6))
def test_summaries_of_single_rows_are_rows(family, k, d, seed) -> None:
    parameters, coordinates, z, weights, _ = case(family, k, d, 12, seed)
    summaries = Summaries.of_groups(family, z, weights, np.arange(12), 12)
    assert_same(
        summaries.statistics(family, parameters, coordinates), of_rows(family, parameters, coordinates, z, weights)
    )


@given(any_family, st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(0, 10**6))
def test_summaries_bound_the_likelihood_of_their_rows_from_below(family, k, d, count, seed) -> None:
    parameters, coordinates, z, weights, rng = case(family, k, d, 40, seed)
    groups = rng.integers(0, count, 40)
    whole = of_rows(family, parameters, coordinates, z, weights).log_likelihood
    bounds = [
        Summaries.of_groups(family, z, weights, labels, len(z)).statistics(family, parameters, coordinates)
        for labels in (groups, np.arange(len(z)))
    ]
    slack = 1e-9 * (1.0 + abs(whole))
    assert bounds[0].log_likelihood <= whole + slack
    # The finer, the tighter.
    assert bounds[0].log_likelihood <= bounds[1].log_likelihood + slack
    np.testing.assert_allclose(bounds[0].weight.sum(), weights.sum())


@families
def test_a_weight_of_two_is_the_row_twice(family) -> None:
    parameters, coordinates, z, weights, _ = case(family, 3, 2, 10, 1)
    once = Summaries.of_groups(family, z, 2.0 * weights, np.arange(10) % 4, 4)
    twice = Summaries.of_groups(family, np.tile(z, (2, 1)), np.tile(weights, 2), np.tile(np.arange(10) % 4, 2), 4)
    assert_same(once.statistics(family, parameters, coordinates), twice.statistics(family, parameters, coordinates))


@families
def test_statistics_move_to_the_origin(family) -> None:
    parameters, coordinates, z, weights, _ = case(family, 3, 3, 50, 2)
    centred = of_rows(family, parameters, coordinates, z, weights, CENTRED)
    assert centred.reference.any()
    assert_same(about_origin(centred, family.form), of_rows(family, parameters, coordinates, z, weights))


@families
def test_the_bound_is_exact_for_rows_that_are_discarded_by_their_own_model(family) -> None:
    parameters, coordinates, z, weights, _ = case(family, 3, 2, 60, 3)
    statistics = of_rows(family, parameters, coordinates, z, weights)
    summaries = Summaries.of_statistics(statistics, family)
    entropy = statistics.log_likelihood - summaries.expected(family, parameters, coordinates)
    compiled = compile_mixture(family, parameters, coordinates, np.dtype(np.float64), OPTIONS)
    rows = coordinates.restore(z)
    np.testing.assert_allclose(entropy, BlockKernel(compiled).entropy(rows, weights), rtol=1e-9)


@families
def test_only_tight_groups_are_compressed_and_no_weight_is_lost(family) -> None:
    rng = np.random.default_rng(4)
    d = 2
    shape = (family.n_covariances(2), *family.form.shape(d))
    unit = np.eye(d) if family.form.shape(d) == (d, d) else 1.0
    means = np.array([[-6.0, 0.0], [6.0, 0.0]])
    parameters = family.parameters(np.array([0.5, 0.5]), means, np.ones(shape) * unit)
    tight = [6.0, 0.0] + 0.1 * rng.normal(size=(300, d))
    loose = [-6.0, 0.0] + 1.5 * rng.normal(size=(300, d))
    z, weights = np.concatenate([tight, loose]), rng.uniform(0.5, 2.0, 600)
    summaries, chosen = tight_groups(z, weights, family, parameters, 0.25, np.random.RandomState(0))
    assert chosen[:300].sum() >= 290
    np.testing.assert_allclose(summaries.total_weight, weights[chosen].sum())
    assert (looseness(summaries, family, parameters) <= 0.25).all()
    pieces = Summaries.of_groups(family, z[:300], weights[:300], np.arange(300) % 5, 5)
    far = Summaries.of_groups(family, z[300:], weights[300:], np.arange(300) // 150, 2)
    merged = merge_while_tight(pieces.joined(far), family, parameters, 0.25)
    assert len(merged) == 3
    np.testing.assert_allclose(merged.total_weight, weights.sum())


@families
def test_maps_of_a_round_do_not_depend_on_chunks(family) -> None:
    parameters, coordinates, z, weights, _ = case(family, 3, 2, 90, 5)
    compiled = compile_mixture(family, parameters, coordinates, np.dtype(np.float64), OPTIONS)
    X = coordinates.restore(z)
    appraisal = Appraisal.of(compiled, parameters)
    maps = [
        DiscardMap(appraisal, 20, 3, 4, examined=0.7),
        DiscardMap(appraisal, 20, radius_squared=1.5),
        DrawMap(15, 1, 2),
        RowsMap(),
    ]
    for chunk_map in maps:
        whole = chunk_map(X, weights, Chunk(0, 0, 90))
        parts = [chunk_map(X[a:b], weights[a:b], Chunk(i, a, b - a)) for i, (a, b) in enumerate([(0, 31), (31, 90)])]
        merged = parts[0].merge(parts[1])
        if isinstance(chunk_map, DiscardMap):
            assert_same(merged.soft, whole.soft)
            assert_same(merged.hard, whole.hard)
            np.testing.assert_allclose(whole.soft.weight.sum() + whole.hard.weight.sum(), weights.sum())
            whole, merged = whole.candidates, merged.candidates
        if not isinstance(chunk_map, RowsMap):
            whole, merged = whole.smallest(), merged.smallest()
        np.testing.assert_array_equal(merged.rows, whole.rows)
        np.testing.assert_array_equal(merged.weights, whole.weights)


@families
def test_mahalanobis_distances_and_doubts_are_those_of_the_definition(family) -> None:
    parameters, coordinates, z, _, _ = case(family, 3, 2, 40, 6)
    compiled = compile_mixture(family, parameters, coordinates, np.dtype(np.float64), OPTIONS)
    X = coordinates.restore(z)
    verdict = Appraisal.of(compiled, parameters)(X)
    responsibilities = BlockKernel(compiled).responsibilities(X)
    np.testing.assert_array_equal(verdict.labels, responsibilities.argmax(axis=1))
    matrices = np.broadcast_to(family.form.full(parameters.covariances, 2), (3, 2, 2))
    offset = z - parameters.means[verdict.labels]
    squared = np.einsum("ni,nij,nj->n", offset, np.linalg.inv(matrices)[verdict.labels], offset)
    np.testing.assert_allclose(verdict.squared, squared, rtol=1e-8, atol=1e-8)
    sure = ~verdict.strange
    np.testing.assert_allclose(verdict.doubt[sure], 1.0 - responsibilities.max(axis=1)[sure], atol=1e-8)
    assert (verdict.doubt[~sure] >= 1.0).all()
