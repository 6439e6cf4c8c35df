"""What noise does to normalised moments, against noise added to the images themselves."""

import numpy as np
import pytest
from images import blob

from dgmm.errors import DataError
from dgmm.signals.eigen import check_noise
from dgmm.signals.invariants import INVARIANCES as ALL
from dgmm.signals.invariants import NormalizedMoments
from dgmm.signals.spaces import MomentSpace

AREA_AND_CENTRE = ("translation", "scale")


def unlike(one, other):
    """The smallest and the largest ratio of two covariances."""
    scale = np.sqrt(np.diag(one))
    inverse = np.linalg.inv(np.linalg.cholesky(one / np.outer(scale, scale)))
    values = np.linalg.eigvalsh(inverse @ (other / np.outer(scale, scale)) @ inverse.T)
    return values[0], values[-1]


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
    found = space.of_noise(given_as, images, 0)
    low, high = unlike(added(space, images, lambda shape: rng.standard_normal(shape) @ L.T, 800), found)
    assert 0.8 < low < high < 1.25
    check_noise(found)


def test_enough_draws_for_the_noise_of_a_few_percent():
    images = np.stack([blob(32, kind=kind, turn=kind) for kind in range(50)]).reshape(50, -1)
    for invariant in (AREA_AND_CENTRE, ALL):
        space = NormalizedMoments.of((32, 32), 4, invariant, default=6)
        one, again, other = (space.of_noise(1e-4, images, seed) for seed in (0, 0, 1))
        assert (one == again).all()
        low, high = unlike(one, other)
        assert 0.8 < low < high < 1.25


def test_weak_noise_grows_with_its_variance():
    images = blob(16)[None].reshape(1, -1)
    space = NormalizedMoments.of((16, 16), 4, ALL, default=6)
    np.testing.assert_allclose(space.of_noise(4e-10, images, 0), 4.0 * space.of_noise(1e-10, images, 0), rtol=1e-3)
    linear = MomentSpace((16, 16), (4, 4), "monomial")
    still = NormalizedMoments((16, 16), (4, 4), ())
    of_grid = {pair: at for at, pair in enumerate(linear.degrees)}
    at = [of_grid[pair] for pair in still.degrees]
    expected = 16.0 * linear.white(1e-4)[np.ix_(at, at)]  # an area of 4
    low, high = unlike(expected, still.of_noise(1e-4, images, 0))
    assert 0.9 < low < high < 1.1


def test_noise_that_swamps_the_sum_is_refused():
    images = np.stack([blob(16, kind=kind) for kind in range(4)]).reshape(4, -1)
    for invariant in (("translation",), AREA_AND_CENTRE, ALL):
        space = NormalizedMoments.of((16, 16), 4, invariant, default=6)
        with pytest.raises(
            DataError, match=r"of 4 images 4 have a sum of less than 10 times its noise.*deviation is 16"
        ):
            space.of_noise(1.0, images, 0)
    assert np.isfinite(NormalizedMoments.of((16, 16), 4, ("rotation",), 6).of_noise(1.0, images, 0)).all()
    # A few such images are left out.
    space = NormalizedMoments.of((16, 16), 4, ALL, default=6)
    weak = np.concatenate([images, 1e-3 * images[:1]])
    low, high = unlike(space.of_noise(1e-4, images, 0), space.of_noise(1e-4, weak, 0))
    assert 0.8 < low < high < 1.25


def test_noise_that_is_no_covariance_is_refused():
    images, covariance = np.ones((2, 81)), np.eye(81)
    covariance[0, 0] = -50.0
    space = NormalizedMoments.of((9, 9), 3, ALL, default=6)
    for noise in (covariance, np.diag(covariance)):
        with pytest.raises(DataError, match="noise is no covariance: that of the moments has the negative"):
            space.of_noise(noise, images, 0)
    with pytest.raises(DataError, match="noise is 0"):
        check_noise(space.of_noise(0.0, images, 0))
    # Of brightness alone all moments change by the same share.
    space = NormalizedMoments.of((9, 9), 3, ("translation",), default=6)
    flicker = np.outer(images[0], images[0]) * 1e-6
    with pytest.raises(DataError, match=r"moments is singular.*give a lower order.*noise_floor above 0"):
        check_noise(space.of_noise(flicker, images, 0))


def test_noise_that_chooses_the_axis_counts():
    """Of a square and a bar of the same area, the moments of a square change more where the axis decides."""
    images = np.zeros((2, 32, 32))
    images[0, 10:22, 10:22], images[1, 12:20, 7:25] = 1.0, 1.0
    space = NormalizedMoments.of((32, 32), 4, ALL, default=6)
    square, bar = (
        dict(zip(space.degrees, np.diag(space.of_noise(1e-6, image.reshape(1, -1), 0)), strict=True))
        for image in images
    )
    assert square[4, 0] > 100.0 * bar[4, 0]
    assert square[3, 0] < 10.0 * bar[3, 0]
