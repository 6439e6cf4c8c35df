"""A calibration makes a part's estimates those of the whole where both are known, and mixtures elsewhere."""

import numpy as np
import pytest
from cases import any_family, families, matrices, random_parameters
from hypothesis import given
from hypothesis import strategies as st
from problems import at_rows, blobs, make_problem

from dgmm.mixture.calibration import Calibration
from dgmm.mixture.kernel import BlockKernel, complete

seeds = st.integers(0, 10**6)


def calibration(family, k, d, seed):
    return Calibration(family, random_parameters(family, k, d, seed), random_parameters(family, k, d, seed + 1))


def close(a, b) -> None:
    for part in ("weights", "means", "covariances", "precisions_cholesky"):
        np.testing.assert_allclose(getattr(a, part), getattr(b, part), rtol=1e-6, atol=1e-8)


@given(any_family, st.integers(1, 4), st.integers(1, 4), seeds)
def test_the_part_becomes_the_whole(family, k, d, seed) -> None:
    both = calibration(family, k, d, seed)
    close(both.correct(both.part), both.whole)


@given(any_family, st.integers(1, 4), st.integers(1, 4), seeds)
def test_what_comes_out_is_a_mixture(family, k, d, seed) -> None:
    found = calibration(family, k, d, seed).correct(random_parameters(family, k, d, seed + 2))
    assert found.weights.sum() == pytest.approx(1.0)
    assert (np.linalg.eigvalsh(matrices(family, found)) > 0.0).all()
    close(found, family.parameters(found.weights, found.means, found.covariances))


@given(any_family, st.integers(1, 4), st.integers(1, 4), seeds)
def test_a_part_that_is_the_whole_changes_nothing(family, k, d, seed) -> None:
    whole, other = random_parameters(family, k, d, seed), random_parameters(family, k, d, seed + 1)
    same = Calibration(family, whole, whole)
    close(same.correct(other), other)
    assert same.difference(other) == 0.0


def likelihood(problem, parameters, X) -> float:
    compiled = problem.compile(parameters)
    return complete(compiled, BlockKernel(compiled).statistics(X), problem.total_scatter).mean_log_likelihood


def moved(family, parameters, step, seed):
    """The parameters a small step away in a random direction."""
    other = random_parameters(family, *parameters.means.shape, seed)
    weights = parameters.weights * np.exp(step * other.weights)
    covariances = parameters.covariances + step * other.covariances
    return family.parameters(weights / weights.sum(), parameters.means + step * other.means, covariances)


@families
def test_the_surrogate_likelihood_rises_as_that_of_the_whole(family) -> None:
    X = blobs(600, 2, 3, seed=2)
    problem, _ = make_problem(family, 3, X)
    part = problem.on_rows(type(problem.sample)(150, problem.sample.keys[:150], X[:150], np.ones(150)))
    at = at_rows(problem, X, [0, 1, 2])
    estimates = []
    for stated, rows in ((problem, X), (part, X[:150])):
        compiled = stated.compile(at)
        statistics = complete(compiled, BlockKernel(compiled).statistics(rows), stated.total_scatter)
        estimates.append(family.estimate(statistics, stated.coordinates, 0.0))
    both = Calibration(family, *estimates)
    for seed in range(5):
        rises = []
        for surrogate in (False, True):
            sides = []
            for step in (1e-4, -1e-4):
                there = moved(family, at, step, seed)
                own = likelihood(part, there, X[:150]) + both.difference(there) if surrogate else None
                sides.append(likelihood(problem, there, X) if own is None else own)
            rises.append((sides[0] - sides[1]) / 2e-4)
        assert rises[1] == pytest.approx(rises[0], rel=1e-4, abs=1e-6)


@families
def test_dead_components_stay(family) -> None:
    both = calibration(family, 3, 2, seed=5)
    weights = np.array([0.4, 0.6, 0.0])
    both = Calibration(family, both.whole.reweighted(weights), both.part.reweighted(weights))
    found = both.correct(random_parameters(family, 3, 2, 8).reweighted(weights))
    assert found.weights[2] == 0.0
    assert np.isfinite(both.difference(found))
