"""What noise does to normalised moments, against noise added to the images themselves."""

import numpy as np
import pytest
from images import blob

from dgmm.errors import DataError
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.sampling import RowSample
from dgmm.signals.eigen import check_noise
from dgmm.signals.invariants import INVARIANCES as ALL
from dgmm.signals.invariants import NormalizedMoments
from dgmm.signals.records import SignalMap
from dgmm.signals.spaces import MomentSpace

AREA_AND_CENTRE = ("translation", "scale")


def unlike(one, other):
    """The smallest and the largest ratio of two covariances."""
    scale = np.sqrt(np.diag(one))
    inverse = np.linalg.inv(np.linalg.cholesky(one / np.outer(scale, scale)))
    values = np.linalg.eigvalsh(inverse @ (other / np.outer(scale, scale)) @ inverse.T)
    return values[0], values[-1]


def of_noise(space, noise, images, seed=0, weights=None):
    """The noise of the moments of some images."""
    n, w = len(images), np.ones(len(images)) if weights is None else np.asarray(weights, dtype=float)
    return space.of_noise(noise, RowSample(n, np.arange(n), space.measure(images)[1], w), seed)


def added(space, images, draw, times):
    """The same correlation, of noise that is added to the images themselves."""
    before, total = space.project(images), 0.0
    for _ in range(times):
        change = space.project(images + draw(images.shape)) - before
        total = total + change.T @ change
    return total / (times * len(images))


@pytest.mark.parametrize(
    ("form", "invariant"),
    [
        ("variance", ("translation",)),
        ("variance", ("rotation",)),
        ("variance", ALL),
        ("variances", ALL),
        ("covariance", ALL),
    ],
    ids=str,
)
def test_noise_is_what_it_does_to_images(form, invariant):
    rng = np.random.default_rng(1)
    images = np.stack([blob(16, kind=kind, turn=kind) for kind in range(8)]).reshape(8, -1)
    space = NormalizedMoments.of((16, 16), 4, invariant, default=6)
    L = {
        "variance": 0.02 * np.eye(256),
        "variances": np.diag(rng.uniform(0.01, 0.03, 256)),
        "covariance": 0.02 * (np.eye(256) + np.eye(256, k=-1)),
    }[form]
    given_as = {"variance": 0.02**2, "variances": np.diag(L) ** 2, "covariance": L @ L.T}[form]
    found = of_noise(space, given_as, images)
    low, high = unlike(added(space, images, lambda shape: rng.standard_normal(shape) @ L.T, 800), found)
    assert 0.8 < low < high < 1.25
    check_noise(found)


def test_enough_draws_for_the_noise_of_a_few_percent():
    images = np.stack([blob(32, kind=kind, turn=kind) for kind in range(50)]).reshape(50, -1)
    for invariant in (AREA_AND_CENTRE, ALL):
        space = NormalizedMoments.of((32, 32), 4, invariant, default=6)
        one, again, other = (of_noise(space, 1e-4, images, seed) for seed in (0, 0, 1))
        assert (one == again).all()
        low, high = unlike(one, other)
        assert 0.8 < low < high < 1.25


def test_weak_noise_grows_with_its_variance():
    images = blob(16)[None].reshape(1, -1)
    space = NormalizedMoments.of((16, 16), 4, ALL, default=6)
    np.testing.assert_allclose(of_noise(space, 4e-10, images), 4.0 * of_noise(space, 1e-10, images), rtol=1e-3)
    linear = MomentSpace((16, 16), (4, 4), "monomial")
    still = NormalizedMoments((16, 16), (4, 4), ())
    of_grid = {pair: at for at, pair in enumerate(linear.degrees)}
    at = [of_grid[pair] for pair in still.degrees]
    expected = 16.0 * linear.white(1e-4)[np.ix_(at, at)]  # an area of 4
    low, high = unlike(expected, of_noise(still, 1e-4, images))
    assert 0.9 < low < high < 1.1


def test_noise_that_swamps_the_sum_is_refused():
    images = np.stack([blob(16, kind=kind) for kind in range(4)]).reshape(4, -1)
    for invariant in (("translation",), AREA_AND_CENTRE, ALL):
        space = NormalizedMoments.of((16, 16), 4, invariant, default=6)
        with pytest.raises(
            DataError, match=r"of 4 images 4 .100% by weight. have a sum of less than 10 times its noise.*is 16 "
        ):
            of_noise(space, 1.0, images)
    assert np.isfinite(of_noise(NormalizedMoments.of((16, 16), 4, ("rotation",), 6), 1.0, images)).all()
    # A few such images are left out.
    space = NormalizedMoments.of((16, 16), 4, ALL, default=6)
    weak = np.concatenate([images, 1e-3 * images[:1]])
    low, high = unlike(of_noise(space, 1e-4, images), of_noise(space, 1e-4, weak))
    assert 0.8 < low < high < 1.25


def test_weights_are_counts():
    images = np.stack([blob(16, kind=kind, turn=kind) for kind in range(6)]).reshape(6, -1)
    images[3:] *= 0.05
    space = NormalizedMoments.of((16, 16), 4, ALL, default=6)
    counts = np.array([1, 2, 7, 1, 30, 2])
    repeated = of_noise(space, 1e-8, np.repeat(images, counts, axis=0))
    np.testing.assert_allclose(of_noise(space, 1e-8, images, weights=counts), repeated, rtol=1e-9)
    np.testing.assert_allclose(of_noise(space, 1e-8, images, weights=1e-3 * counts), repeated, rtol=1e-9)
    assert unlike(of_noise(space, 1e-8, images), repeated)[1] > 1.5
    # Of three images in six the sum is too small here.
    np.testing.assert_array_equal(of_noise(space, 1e-3, images), of_noise(space, 1e-3, images[:3]))
    with pytest.raises(DataError, match=r"of 6 images 3 .77% by weight. have a sum of less"):
        of_noise(space, 1e-3, images, weights=counts)


def test_a_sample_does_not_grow_with_images():
    for side in (16, 64):
        images = np.stack([blob(side, kind=kind) for kind in range(6)]).reshape(6, -1).astype(np.float32)
        space = NormalizedMoments.of((side, side), 4, ALL, default=6)
        sample = SignalMap(space, False, 5, 0)(images, None, Chunk(0, 0, 6)).sample.smallest()
        assert sample.rows.shape == (5, 25)
        assert space.n_kept == 25
        # All that counts of an image is in it.
        kept = np.concatenate([space.measure(images[at : at + 1])[1] for at in range(6)])
        assert {*map(tuple, sample.rows.round(6))} < {*map(tuple, kept.round(6))}
        linear = MomentSpace((side, side), (4, 4))
        assert SignalMap(linear, False)(images, None, Chunk(0, 0, 6)).sample.smallest().rows.size == 0


def test_noise_that_is_no_covariance_is_refused():
    images, covariance = np.ones((2, 81)), np.eye(81)
    covariance[0, 0] = -50.0
    space = NormalizedMoments.of((9, 9), 3, ALL, default=6)
    for noise in (covariance, np.diag(covariance)):
        with pytest.raises(DataError, match="noise is no covariance: that of the moments has the negative"):
            of_noise(space, noise, images)
    with pytest.raises(DataError, match="noise is 0"):
        check_noise(of_noise(space, 0.0, images))
    # Of brightness alone all moments change by the same share.
    space = NormalizedMoments.of((9, 9), 3, ("translation",), default=6)
    flicker = np.outer(images[0], images[0]) * 1e-6
    with pytest.raises(DataError, match=r"moments is singular.*give a lower order.*noise_floor above 0"):
        check_noise(of_noise(space, flicker, images))


def test_noise_that_chooses_the_axis_counts():
    """Of a square and a bar of the same area, the moments of a square change more where the axis decides."""
    images = np.zeros((2, 32, 32))
    images[0, 10:22, 10:22], images[1, 12:20, 7:25] = 1.0, 1.0
    space = NormalizedMoments.of((32, 32), 4, ALL, default=6)
    square, bar = (
        dict(zip(space.degrees, np.diag(of_noise(space, 1e-6, image.reshape(1, -1))), strict=True)) for image in images
    )
    assert square[4, 0] > 100.0 * bar[4, 0]
    assert square[3, 0] < 10.0 * bar[3, 0]
