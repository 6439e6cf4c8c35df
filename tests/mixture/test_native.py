"""The compiled kernel against the plain one, which others hold to direct sums."""

import os
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cases import any_family, families, random_parameters
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmm.mixture import native, program
from dgmm.mixture.compiled import KernelOptions, compile_mixture, dot_product_loss
from dgmm.mixture.families import get_family
from dgmm.mixture.kernel import BlockKernel

DOUBLE = {"float32": -1.0, "float64": np.inf}
SINGLE = {"float32": np.inf, "float64": np.inf}
CENTRED = {"float32": -1.0, "float64": -1.0}


def compiled_both(family, parameters, coordinates, tolerance, dtype, whole=True):
    options = KernelOptions(64, tolerance)
    inner = family.to_inner(parameters, coordinates)
    plain = compile_mixture(family, inner, coordinates, np.dtype(dtype), options, whole_density=whole)
    return plain, replace(plain, backend="numba")


def assert_same(plain, native, X, w=None, rtol=1e-9, atol=1e-9):
    expected = BlockKernel(plain).statistics(X, w)
    got = BlockKernel(native).statistics(X, w)
    size = max(expected.total_weight, 1e-300)
    for name in ("weight", "first", "second", "log_likelihood"):
        np.testing.assert_allclose(
            np.asarray(getattr(got, name)) / size, np.asarray(getattr(expected, name)) / size, rtol=rtol, atol=atol
        )
    for name in ("reference", "total_weight", "n_rows"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
    return got


@settings(max_examples=200)
@given(
    any_family,
    st.integers(1, 20),
    st.integers(1, 9),
    st.one_of(st.integers(0, 40), st.sampled_from([383, 384, 385, 800])),
    st.sampled_from(["double", "centred", "mixed"]),
    st.sampled_from([None, 1.0, 1e-200, 1e200]),
    st.booleans(),
    st.sampled_from(["C", "F", "strided", "read only"]),
    st.integers(0, 10**6),
)
def test_statistics_are_those_of_the_plain_kernel(family, k, d, n, ways, scale, whole, layout, seed) -> None:
    rng = np.random.default_rng(seed)
    parameters = random_parameters(family, k, d, seed)
    coordinates = family.own_coordinates(parameters)
    X = 1.5 * rng.normal(size=(n, d))
    if layout == "F":
        X = np.asfortranarray(X)
    elif layout == "strided":
        X = np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    elif layout == "read only":
        X.flags.writeable = False
    w = None if scale is None else scale * rng.uniform(0.1, 3.0, size=n)
    tolerance = {"double": DOUBLE, "centred": CENTRED}.get(ways)
    if tolerance is None:
        losses = dot_product_loss(family, family.to_inner(parameters, coordinates)) * np.finfo(float).eps
        tolerance = {"float32": -1.0, "float64": float(np.median(losses))}
    assert_same(*compiled_both(family, parameters, coordinates, tolerance, np.float64, whole), X, w)


@settings(max_examples=100)
@given(
    any_family,
    st.integers(1, 20),
    st.integers(1, 9),
    st.one_of(st.integers(0, 40), st.sampled_from([384, 800])),
    st.sampled_from(["single", "double", "mixed"]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_float32_rows_are_summed_in_each_way(family, k, d, n, ways, weighted, seed) -> None:
    rng = np.random.default_rng(seed)
    parameters = random_parameters(family, k, d, seed)
    coordinates = family.own_coordinates(parameters)
    X = rng.normal(size=(n, d)).astype(np.float32)
    w = rng.uniform(0.1, 3.0, size=n) if weighted else None
    losses = np.sort(dot_product_loss(family, family.to_inner(parameters, coordinates)))
    thirds = {
        "float32": float(losses[k // 3] * np.finfo(np.float32).eps),
        "float64": float(losses[2 * k // 3] * np.finfo(np.float64).eps),
    }
    tolerance = {"single": SINGLE, "double": DOUBLE, "mixed": thirds}[ways]
    plain, native = compiled_both(family, parameters, coordinates, tolerance, np.float32)
    single = any(group.dtype == np.float32 for group in plain.groups)
    rtol, atol = (1e-3, 3e-6 * float(losses.max())) if single else (1e-9, 1e-9)
    assert_same(plain, native, X, w, rtol, atol)


@pytest.mark.parametrize(("k", "d"), [(1, 40), (2, 30), (5, 25), (9, 40), (130, 21), (3, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@families
def test_long_feature_maps_and_many_components(family, dtype, k, d) -> None:
    parameters = random_parameters(family, k, d, 5)
    coordinates = family.own_coordinates(parameters)
    rng = np.random.default_rng(1)
    X = (parameters.means[rng.integers(0, k, 1000)] + 0.3 * rng.normal(size=(1000, d))).astype(dtype)
    for tolerance in (DOUBLE, CENTRED):
        assert_same(*compiled_both(family, parameters, coordinates, tolerance, dtype), X)
    if dtype == np.float32:
        loss = float(dot_product_loss(family, family.to_inner(parameters, coordinates)).max())
        assert_same(*compiled_both(family, parameters, coordinates, SINGLE, dtype), X, None, 1e-3, 1e-6 * loss)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_is_written_beyond_the_rooms_of_a_block(dtype, monkeypatch) -> None:
    rooms = []

    def walled(count, own="float64"):
        room = np.ones(count * native.LD + 2048, dtype=own)
        room[-2048:] = 7.0
        rooms.append(room)
        return room[:-2048]

    monkeypatch.setattr(program, "rows_of_block", walled)
    family = get_family("full")
    for k in range(1, 18):
        for d in (1, 5, 21):
            parameters = random_parameters(family, k, d, k)
            X = np.random.default_rng(0).normal(size=(800, d)).astype(dtype)
            _, compiled = compiled_both(family, parameters, family.own_coordinates(parameters), SINGLE, dtype)
            BlockKernel(compiled).statistics(X)
    assert all((room[-2048:] == 7.0).all() for room in rooms)


@families
def test_components_of_weight_zero_and_a_lone_one(family) -> None:
    parameters = random_parameters(family, 3, 4, 0)
    coordinates = family.own_coordinates(parameters)
    X = np.random.default_rng(0).normal(size=(500, 4))
    for tolerance in (DOUBLE, CENTRED):
        dead = parameters.reweighted(np.array([0.4, 0.0, 0.6]))
        assert assert_same(*compiled_both(family, dead, coordinates, tolerance, np.float64), X).weight[1] == 0.0
        lone = parameters.reweighted(np.array([0.0, 1.0, 0.0]))
        got = assert_same(*compiled_both(family, lone, coordinates, tolerance, np.float64), X)
        np.testing.assert_array_equal(got.weight, [0.0, 500.0, 0.0])


@families
def test_far_rows_belong_wholly_to_one_component(family) -> None:
    parameters = random_parameters(family, 5, 3, 2)
    coordinates = family.own_coordinates(parameters)
    far = np.array([[1e6, -1e6, 1e6], [-1e6, 0.0, 1e6], [0.0, 1e7, 0.0]])
    for tolerance in (DOUBLE, CENTRED):
        assert_same(*compiled_both(family, parameters, coordinates, tolerance, np.float64), far)


def test_what_is_not_a_number_is_not_hidden() -> None:
    family = get_family("full")
    parameters = random_parameters(family, 3, 2, 0)
    X = np.random.default_rng(0).normal(size=(600, 2))
    X[500, 1] = np.nan
    _, native = compiled_both(family, parameters, family.own_coordinates(parameters), DOUBLE, np.float64)
    kernel = BlockKernel(native)
    assert np.isnan(kernel.statistics(X).log_likelihood)
    # And nothing of it is left for the next rows.
    assert np.isfinite(kernel.statistics(X[:500]).log_likelihood)


def test_the_same_rows_give_the_same_bits_on_any_thread() -> None:
    family = get_family("full")
    parameters = random_parameters(family, 7, 5, 0)
    _, native = compiled_both(family, parameters, family.own_coordinates(parameters), DOUBLE, np.float64)
    X = np.random.default_rng(0).normal(size=(5000, 5))
    results = []

    def run() -> None:
        results.append(BlockKernel(native).statistics(X))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in results[1:]:
        np.testing.assert_array_equal(other.second, results[0].second)
        assert other.log_likelihood == results[0].log_likelihood


def test_a_mixture_travels_without_what_each_process_makes_of_it() -> None:
    family = get_family("full")
    parameters = random_parameters(family, 3, 2, 0)
    _, native = compiled_both(family, parameters, family.own_coordinates(parameters), DOUBLE, np.float64)
    X = np.random.default_rng(0).normal(size=(100, 2))
    expected = BlockKernel(native).statistics(X)
    sent = pickle.loads(pickle.dumps(native))
    assert "program" not in vars(sent)
    np.testing.assert_array_equal(BlockKernel(sent).statistics(X).second, expected.second)


_PROCESS = """
import hashlib, sys
sys.path.insert(0, {tests!r})
import numpy as np
from cases import random_parameters
from dgmm.mixture.compiled import KernelOptions, compile_mixture
from dgmm.mixture.families import get_family
from dgmm.mixture.kernel import BlockKernel
assert "numba" not in sys.modules  # not before it is needed
family = get_family("full")
parameters = random_parameters(family, 3, 2, 0)
options = KernelOptions(64, dict(float64=np.inf), "numba")
coordinates = family.own_coordinates(parameters)
inner = family.to_inner(parameters, coordinates)
compiled = compile_mixture(family, inner, coordinates, np.dtype(float), options)
statistics = BlockKernel(compiled).statistics(np.random.default_rng(0).normal(size=(1000, 2)))
from dgmm.mixture import program
hits = sum(program._function("float64").stats.cache_hits.values())
print(hashlib.sha256(statistics.second.tobytes()).hexdigest(), hits)
"""


def start_process(cache: Path) -> subprocess.Popen[str]:
    tests = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", _PROCESS.format(tests=tests)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> list[str]:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out.split()


def test_processes_that_start_together_share_what_was_compiled(tmp_path) -> None:
    together = [answer(process) for process in [start_process(tmp_path) for _ in range(2)]]
    later = answer(start_process(tmp_path))
    assert {digest for digest, _ in together} == {later[0]}
    assert later[1] == "1"


def test_the_kernel_works_where_nothing_can_be_cached(monkeypatch) -> None:
    def njit(signature, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available for file")
        return lambda function: (function.__name__, options)

    monkeypatch.setattr(program, "njit", njit)
    name, options = program._function.__wrapped__("float64")
    assert name == "add_statistics"
    assert options["nogil"]
