"""Every record and state of a real fit is in the table, and comes back with the same bits."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from cases import families
from problems import OPTIONS, blobs, make_problem
from storing import bits, stored

from dgmm.fitting import em as em_module
from dgmm.fitting.driving import together
from dgmm.fitting.fit import fit_mixture
from dgmm.fitting.problem import Control
from dgmm.fitting.progress import FitProgress, RandomNumbers
from dgmm.fitting.start import ArrayPass, Start
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.moments import MomentsMap


def kept(value, seen):
    """The value as it would be after a resume, which must be the same."""
    back = stored(value)
    assert bits(back) == bits(value)
    seen[type(value).__name__] += 1
    return back


def through(algorithm, run_pass, seen):
    """Run an algorithm with every record stored in between."""
    try:
        wanted = next(algorithm)
        while True:
            wanted = algorithm.send(kept(run_pass(wanted), seen))
    except StopIteration as end:
        return end.value


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("init", ["kmeans", "k-means||"])
@families
def test_a_fit_from_stored_states_is_the_same_fit(family, init, backend, monkeypatch):
    X = blobs(400, 3, 4, seed=3)
    problem, run_pass = make_problem(family, 4, X, reg_covar=1e-6, options=replace(OPTIONS, backend=backend))
    problem = replace(problem, sample=replace(problem.sample, **half(problem.sample)))
    first = MomentsMap(0, len(X))
    moments = first(X, None, Chunk(0, 0, len(X)))
    begun = FitProgress(first, RandomNumbers.of(np.random.RandomState(0)), 1, moments)

    def fits():
        return [
            fit_mixture(
                begun,
                Control(1e-6, 30, "auto"),
                Start(init, n_init),
                lambda moments: problem,
                lambda sample: ArrayPass(sample.rows, sample.weights),
                np.random.RandomState(0),
            )
            for n_init in (1, 2)
        ]

    seen = Counter()
    undisturbed = through(together(fits()), run_pass, Counter())
    inner = em_module._read
    monkeypatch.setattr(em_module, "_read", lambda problem, control, state: inner(problem, control, kept(state, seen)))
    results = through(together(fits()), run_pass, seen)
    assert [bits(result) for result in results] == [bits(result) for result in undisturbed]
    assert seen["FitState"] > 2
    assert seen["ManyRecords"] > 2


def half(sample):
    return {name: getattr(sample, name)[:200] for name in ("keys", "rows", "weights")}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint8", "bool", ">f8"])
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_of_any_rows_come_back(dtype, weighted):
    rows = (np.random.default_rng(0).normal(size=(60, 2)) * 3).astype("int16").astype(dtype)
    weights = np.linspace(0.0, 1e300, 60) if weighted else None
    chunk_map = MomentsMap(2**64 - 1, 10)
    first, second = (chunk_map(rows, weights, Chunk(index, None, 60)) for index in (0, 1))
    merged = first.merge(second)
    assert bits(stored(first).merge(stored(second))) == bits(merged) == bits(stored(merged))


def test_moments_of_bad_rows_come_back():
    rows = np.full((5, 2), np.nan)
    moments = MomentsMap(1, 10)(rows, np.array([1.0, -1.0, np.nan, np.inf, 0.0]), Chunk(0, 0, 5))
    assert bits(stored(moments)) == bits(moments)
