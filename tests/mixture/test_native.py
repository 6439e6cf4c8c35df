"""The compiled kernel against the plain one, which others hold to direct sums."""

import os
import pickle
import shutil
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

from dgmm.mixture import compiling, native, program
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


@pytest.mark.parametrize(
    ("name", "whole", "lengths"),
    [("spherical", True, range(196, 206)), ("tied", False, range(197, 206)), ("diag", True, range(98, 104))],
)
def test_maps_about_as_long_as_the_longest_that_is_kept_whole(name, whole, lengths) -> None:
    family = get_family(name)
    for d in lengths:
        parameters = random_parameters(family, 3, d, 0)
        X = np.random.default_rng(0).normal(size=(20, d))
        both = compiled_both(family, parameters, family.own_coordinates(parameters), DOUBLE, np.float64, whole)
        assert_same(*both, X)


WALL = 2048


@settings(max_examples=200)
@given(
    any_family,
    st.integers(1, 20),
    st.one_of(st.integers(1, 30), st.sampled_from([63, 99, 100, 128, 200])),
    st.one_of(st.integers(0, 800), st.sampled_from([383, 384, 385])),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([SINGLE, DOUBLE, CENTRED]),
    st.booleans(),
)
def test_rooms_of_a_block_are_kept_to_and_filled_before_they_are_read(family, k, d, n, dtype, ways, whole) -> None:
    rooms = []

    def walled(count, own="float64"):
        room = np.full(WALL + count * native.LD + WALL, np.nan, dtype=own)
        room[WALL : WALL + native.BLOCK] = 1.0
        room[:WALL] = room[-WALL:] = 7.0
        rooms.append(room)
        return room[WALL:-WALL]

    parameters = random_parameters(family, k, d, k)
    X = np.random.default_rng(0).normal(size=(n, d)).astype(dtype)
    _, compiled = compiled_both(family, parameters, family.own_coordinates(parameters), ways, dtype, whole)
    expected = BlockKernel(compiled).statistics(X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "rows_of_block", walled)
        got = BlockKernel(replace(compiled)).statistics(X)
    assert rooms
    assert all((room[:WALL] == 7.0).all() and (room[-WALL:] == 7.0).all() for room in rooms)
    for name in ("weight", "first", "second", "log_likelihood"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))


EXTREMES = {
    "equal": lambda rng, shape: np.full(shape, 3.25),
    "far apart": lambda rng, shape: 1000.0 * rng.normal(size=shape),
    "very negative": lambda rng, shape: -(10.0 ** rng.uniform(0.0, 37.0, size=shape)),
    "about the least number": lambda rng, shape: np.where(rng.random(shape) < 0.5, -rng.uniform(80, 760, shape), 0.0),
    "impossible": lambda rng, shape: np.where(
        (rng.random(shape) < 0.5) & (np.arange(shape[0])[:, None] > 0), -np.inf, 1.0
    ),
    "not numbers": lambda rng, shape: np.where(rng.random(shape) < 0.01, np.nan, rng.normal(size=shape)),
    "infinite": lambda rng, shape: np.where(rng.random(shape) < 0.01, np.inf, rng.normal(size=shape)),
}


@pytest.mark.parametrize("k", [1, 2, 7, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", EXTREMES)
def test_softmax_of_extreme_log_densities(kind, dtype, k) -> None:
    rng = np.random.default_rng(0)
    rows, ld = native.BLOCK, native.LD
    logits = EXTREMES[kind](rng, (k, rows)).astype(dtype)
    weights = 10.0 ** rng.uniform(-30.0, 30.0, size=rows) * (rng.random(rows) < 0.8)
    got, w, total = np.zeros((k, ld), dtype=dtype), np.zeros(ld), np.zeros(8)
    got[:, :rows], w[:rows] = logits, weights
    native.divide_up(got.ravel(), k, rows * got.itemsize // 64, w, total)

    with np.errstate(all="ignore"):
        largest = logits.max(axis=0)
        exponentials = np.exp(logits - largest)
        sums = exponentials.sum(axis=0)
        log_likelihood = (weights * (largest + np.log(sums)).astype(float)).sum()
        responsibilities = exponentials / sums
    eps = np.finfo(dtype).eps
    nonzero = np.where(weights > 0.0, weights, 1.0)
    np.testing.assert_allclose(
        got[:, :rows] / nonzero,
        np.where(weights > 0.0, responsibilities, 0.0 * responsibilities),
        rtol=0,
        atol=20 * eps,
    )
    np.testing.assert_allclose(total.sum(), log_likelihood, rtol=50 * eps)


def test_one_component_that_is_not_a_number_shows_in_the_log_likelihood() -> None:
    logits, total = np.zeros(3 * native.LD), np.zeros(8)
    logits[native.LD + 5] = np.nan
    native.divide_up(logits, 3, native.BLOCK // 8, np.ones(native.LD), total)
    assert np.isnan(total.sum())


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
from dataclasses import replace
import numpy as np
from cases import random_parameters
from dgmm.mixture.compiled import KernelOptions, compile_mixture
from dgmm.mixture.families import get_family
from dgmm.mixture.kernel import BlockKernel
assert "numba" not in sys.modules  # not before it is needed
family = get_family("full")
for k, d in ((3, 2), (15, 21)):
    parameters = random_parameters(family, k, d, 0)
    options = KernelOptions(64, dict(float64=np.inf), "numba")
    coordinates = family.own_coordinates(parameters)
    inner = family.to_inner(parameters, coordinates)
    compiled = compile_mixture(family, inner, coordinates, np.dtype(float), options)
    X = np.random.default_rng(0).normal(size=(1000, d))
    statistics = BlockKernel(compiled).statistics(X)
    plain = BlockKernel(replace(compiled, backend="numpy")).statistics(X)
    np.testing.assert_allclose(statistics.second, plain.second, rtol=1e-9, atol=1e-6)
from dgmm.mixture import program
function = program._function("float64")
hits = sum(function.stats.cache_hits.values())
print(hashlib.sha256(statistics.second.tobytes()).hexdigest(), hits, "zmm" in "".join(function.inspect_asm().values()))
"""


@pytest.fixture
def start(tmp_path):
    """Start a process that runs a copy of the package, which may be edited."""
    package = Path(program.__file__).parents[1]
    shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("__pycache__"))

    def process(**settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _PROCESS.format(tests=str(Path(__file__).parents[1]))],
            env={**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache"), **settings},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return process


def answer(process: subprocess.Popen[str]) -> list[str]:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out.split()


def test_processes_share_what_was_compiled_from_the_same_sources(start, tmp_path) -> None:
    together = [answer(process) for process in [start(), start()]]
    later = answer(start())
    assert {digest for digest, *_ in together} == {later[0]}
    assert later[1] == "1"
    with (tmp_path / "dgmm" / "mixture" / "tiles.py").open("a") as file:
        file.write("# edited\n")
    edited = answer(start())
    assert edited[:2] == [later[0], "0"]


def test_the_kernel_is_compiled_for_the_processor_that_is_asked_for(start) -> None:
    assert answer(start(NUMBA_CPU_NAME="generic"))[1:] == ["0", "False"]


@pytest.mark.parametrize("error", [RuntimeError, PermissionError])
def test_the_kernel_works_where_nothing_can_be_cached(error, monkeypatch) -> None:
    def njit(signature, cache=False, **options):
        if cache:
            raise error("cannot cache function")
        return lambda function: (function.__name__, options)

    monkeypatch.setattr(compiling, "njit", njit)
    monkeypatch.setattr(compiling, "_made", {})
    name, options = program._function.__wrapped__("float64")
    assert name == "add_statistics"
    assert options["nogil"]
