"""Moments of signals, against sums written out and scipy's polynomials."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import eval_legendre

from dgmm.errors import ParameterError
from dgmm.signals.spaces import MomentSpace, grid, order_of

SHAPES = [((7,), (3,)), ((5, 4), (4, 2)), ((3, 4, 2), (1, 3, 1)), ((1, 6), (0, 5))]
POLYNOMIALS = {"legendre": eval_legendre, "monomial": lambda degree, x: x**degree}


def columns(space: MomentSpace) -> np.ndarray:
    """X, (n, m), from its definition."""
    points = list(itertools.product(*((np.arange(n) + 0.5) * 2 / n - 1 for n in space.shape)))
    make = POLYNOMIALS[space.basis]
    return np.array(
        [
            [np.prod([make(degree, x) for degree, x in zip(degrees, point, strict=True)]) for degrees in space.degrees]
            for point in points
        ]
    ) / len(points)


@pytest.mark.parametrize("basis", POLYNOMIALS)
@pytest.mark.parametrize(("shape", "order"), SHAPES, ids=str)
def test_moments_are_means_of_the_signal_times_polynomials(shape, order, basis):
    space, rng = MomentSpace(shape, order, basis), np.random.default_rng(0)
    X, S = columns(space), rng.normal(size=(9, space.n_samples))
    assert space.n_moments == X.shape[1]
    np.testing.assert_allclose(space.project(S), S @ X, rtol=0, atol=1e-14)
    M = rng.normal(size=(3, space.n_moments))
    np.testing.assert_allclose(space.synthesize(M), M @ X.T, rtol=0, atol=1e-13)
    np.testing.assert_allclose(space.white(2.0), 2.0 * X.T @ X, rtol=0, atol=1e-14)
    C = np.cov(rng.normal(size=(space.n_samples, 50)))
    C = C.reshape((space.n_samples,) * 2)
    np.testing.assert_allclose(space.correlation(C), X.T @ C @ X, rtol=0, atol=1e-13)
    np.testing.assert_allclose(space.correlation(np.diag(C)), X.T @ np.diag(np.diag(C)) @ X, rtol=0, atol=1e-13)


@pytest.mark.parametrize("basis", POLYNOMIALS)
@pytest.mark.parametrize(("shape", "order"), SHAPES, ids=str)
def test_reconstruction_is_the_least_squares_polynomial(shape, order, basis):
    space = MomentSpace(shape, order, basis)
    X, S = columns(space), np.random.default_rng(1).normal(size=(5, space.n_samples))
    best = X @ np.linalg.lstsq(X, S.T, rcond=None)[0]
    np.testing.assert_allclose(space.reconstruct(space.project(S)), best.T, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("n", "order"), [(8, 7), (64, 63), (200, 120), (1, 0)])
def test_polynomials_over_the_samples_are_orthonormal_in_any_order(n, order):
    space = MomentSpace((n,), (order,), "gram")
    np.testing.assert_allclose(space.white(1.0), np.eye(order + 1) / n, rtol=0, atol=1e-13)
    # They span what Legendre's do, degree by degree, as long as these can be told apart.
    few = min(order, 8) + 1
    legendre = MomentSpace((n,), (few - 1,)).axes[0]
    basis = np.linalg.qr(legendre)[0]
    np.testing.assert_allclose(np.abs(basis.T @ space.axes[0][:, :few]) * np.sqrt(n), np.eye(few), rtol=0, atol=1e-9)


def test_blocks_and_float32_change_nothing_but_rounding():
    space = MomentSpace((40, 50), (6, 6))
    S = np.random.default_rng(2).normal(size=(100, 2000))
    whole = space.project(S)
    parts = np.concatenate([space.project(S[:37]), space.project(S[37:])])
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-15)
    S32 = S.astype(np.float32)
    np.testing.assert_array_equal(space.project(S32), space.project(S32.astype(np.float64)))


def test_the_grid_is_of_middles_of_cells():
    np.testing.assert_allclose(grid(5), [-0.8, -0.4, 0.0, 0.4, 0.8], atol=1e-15)
    assert grid(1) == [0.0]


@pytest.mark.parametrize(
    ("order", "found"), [(None, (6, 2)), (2, (2, 2)), ((5, 0), (5, 0)), ([0, 2], (0, 2)), (np.int64(1), (1, 1))]
)
def test_the_order_of_each_axis(order, found):
    assert order_of(order, (9, 3), 6) == found


@pytest.mark.parametrize(
    ("order", "words"), [(3, "order is 3 along axis 1, but signals have 3 samples"), ((1, 1, 1), "have 2 axes")]
)
def test_orders_that_do_not_fit(order, words):
    with pytest.raises(ParameterError, match=words):
        order_of(order, (9, 3), 6)


@pytest.mark.parametrize(
    ("shape", "order"),
    [((70, 3), (9, 1)), ((3, 70), (1, 20)), ((2, 3, 4, 5), (1, 2, 1, 3)), ((1, 1), (0, 0)), ((130,), (40,))],
    ids=str,
)
@pytest.mark.parametrize("dtype", [bool, "u1", "i2", "<f2", "f4", ">f8", np.longdouble])
def test_samples_of_any_type_and_layout_are_contracted_as_they_are(shape, order, dtype):
    space, rng = MomentSpace(shape, order), np.random.default_rng(5)
    S = rng.integers(0, 2 if dtype is bool else 100, size=(space.n_samples, 13)).astype(dtype).T
    assert not S.flags.c_contiguous or space.n_samples == 1
    np.testing.assert_allclose(space.project(S), S.astype(float) @ columns(space), rtol=0, atol=1e-12)
    if space.n_samples > 1:
        np.testing.assert_allclose(noise_of(S, shape), np.mean(differences(S, shape) ** 2, axis=1), rtol=1e-11)


def test_samples_that_lie_anywhere_in_memory():
    space, S = MomentSpace((6, 5), (2, 2)), np.random.default_rng(6).normal(size=(7, 30))
    shifted = np.empty(S.nbytes + 1, dtype=np.uint8)[1:].view(np.float64).reshape(S.shape)
    shifted[:] = S
    shifted.flags.writeable = False
    assert not shifted.flags.aligned
    np.testing.assert_array_equal(space.project(shifted), space.project(S))
    np.testing.assert_array_equal(space.project(np.asfortranarray(S)), space.project(S))


def test_what_is_compiled_stays_in_its_process():
    space = MomentSpace((6, 5), (2, 2))
    expected = space.project(np.eye(30))
    sent = pickle.loads(pickle.dumps(space))
    assert "projection" in vars(space)
    assert "projection" not in vars(sent)
    np.testing.assert_array_equal(sent.project(np.eye(30)), expected)


def test_no_signals_have_no_moments():
    found = MomentSpace((6, 5), (2, 2)).measure(np.empty((0, 30), dtype=np.float32), noise=True)
    assert found.moments.shape == (0, 9)
    assert found.noise.shape == (0,)


# -- noise ------------------------------------------------------------------------------------------


def noise_of(S: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return MomentSpace(shape, (0,) * len(shape)).measure(S, noise=True).noise


def differences(S: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Second differences along all axes, first ones of two samples, in units of what white noise has."""
    found = S.astype(float).reshape(-1, *shape)
    for axis, n in enumerate(shape, 1):
        times = min(2, n - 1)
        found = np.diff(found, times, axis) / np.sqrt((1, 2, 6)[times])
    return found.reshape(len(S), -1)


@pytest.mark.parametrize("shape", [(4000,), (60, 70), (12, 15, 20), (4000, 1), (2, 4000), (1000, 2, 2)], ids=str)
def test_the_variance_of_white_noise_is_found(shape):
    S = np.random.default_rng(3).normal(0.0, 3.0, size=(50, int(np.prod(shape))))
    found = noise_of(S, shape)
    assert found.shape == (50,)
    # Of overlapping differences; the least number of them is 600 a signal.
    np.testing.assert_allclose(found.mean(), 9.0, rtol=0.03)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5))
def test_what_is_linear_along_an_axis_is_no_noise(a, b, c):
    y, x = np.mgrid[:6, :7]
    assert noise_of((a + b * y + c * x).reshape(1, -1).astype(float), (6, 7))[0] < 1e-24


def test_the_noise_of_images_is_that_of_immerkaers_mask():
    from scipy.signal import convolve2d

    image = np.random.default_rng(4).uniform(size=(20, 30))
    mask = np.outer([1, -2, 1], [1, -2, 1])
    expected = (convolve2d(image, mask, mode="valid") ** 2).mean() / 36.0
    np.testing.assert_allclose(noise_of(image.reshape(1, -1), (20, 30)), [expected], rtol=1e-12)
