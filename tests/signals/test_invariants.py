"""Normalised moments of images, against sums over pixels written out, Hu's invariants and moved images."""

from fractions import Fraction
from itertools import combinations
from math import atan2, cos, hypot, sin, sqrt

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from images import blob

from dgmm.errors import ParameterError
from dgmm.signals.invariants import INVARIANCES, NormalizedMoments

SUBSETS = [subset for n in (1, 2, 3) for subset in combinations(INVARIANCES, n)]
ALL = INVARIANCES
AREA_AND_CENTRE = ("translation", "scale")


def moments(images, order=6, invariant=ALL):
    """The space of some images, and their moments."""
    images = np.asarray(images, dtype=np.float64)
    space = NormalizedMoments.of(images.shape[1:], order, invariant, default=6)
    return space, space.project(images.reshape(len(images), -1))


def apart(one, other, space):
    """The largest difference of moments, of images of mass and radius 1."""
    named = [dict(zip(space.degrees, each, strict=True)) for each in (one, other)]
    radius = sqrt(named[0][2, 0] + named[0][0, 2])
    return max(abs(named[0][pair] - named[1][pair]) / radius ** sum(pair) for pair in space.degrees)


# -- plain references ---------------------------------------------------------------------------


def plain(image, order, invariant):
    """Moments by degree, as sums over the pixels at the places that they are moved to."""
    rows, columns = image.shape
    longer = max(rows, columns)
    pixels = [
        ((2 * i + 1 - rows) / longer, (2 * j + 1 - columns) / longer, image[i, j] * (2 / longer) ** 2)
        for i in range(rows)
        for j in range(columns)
    ]

    def moment(i, j):
        return sum(x**i * y**j * s for x, y, s in pixels)

    mass = moment(0, 0)
    if "translation" in invariant:
        middle = moment(1, 0) / mass, moment(0, 1) / mass
        pixels = [(x - middle[0], y - middle[1], s) for x, y, s in pixels]
    if "rotation" in invariant:
        theta = atan2(2 * moment(1, 1), moment(2, 0) - moment(0, 2)) / 2
        c, s = cos(theta), sin(theta)
        pixels = [(c * x + s * y, c * y - s * x, value) for x, y, value in pixels]
        odd = [(d - j, j) for d in range(3, order + 1, 2) for j in range(d + 1)]
        odd += [] if "translation" in invariant else [(1, 0), (0, 1)]
        radius = sqrt((moment(2, 0) + moment(0, 2)) / mass)
        clear = [moment(*pair) for pair in odd if abs(moment(*pair)) > 0.01 * mass * radius ** sum(pair)]
        if clear and clear[0] < 0:
            pixels = [(-x, -y, value) for x, y, value in pixels]
    power = 1 if "scale" in invariant else 0
    return {
        (d - j, j): moment(d - j, j) / mass ** (power * (1 + d / 2)) for d in range(order + 1) for j in range(d + 1)
    }


def exact(image, order):
    """The same of an image of whole numbers about its centroid, in fractions until the last division."""
    n = len(image)
    places = [Fraction(2 * i + 1 - n, n) for i in range(n)]

    def moment(i, j, x=0, y=0):
        columns = [(place - y) ** j for place in places]
        return sum(
            (place - x) ** i * sum(c * int(value) for c, value in zip(columns, row, strict=True))
            for place, row in zip(places, image, strict=True)
        ) * Fraction(4, n * n)

    mass = moment(0, 0)
    middle = moment(1, 0) / mass, moment(0, 1) / mass
    return {
        (d - j, j): float(moment(d - j, j, *middle)) / float(mass) ** (1 + d / 2)
        for d in range(order + 1)
        for j in range(d + 1)
    }


def hu(eta):
    """The seven invariants of Hu (1962)."""
    a, b = eta[3, 0] + eta[1, 2], eta[2, 1] + eta[0, 3]
    c, d = eta[3, 0] - 3 * eta[1, 2], 3 * eta[2, 1] - eta[0, 3]
    return np.array(
        [
            eta[2, 0] + eta[0, 2],
            (eta[2, 0] - eta[0, 2]) ** 2 + 4 * eta[1, 1] ** 2,
            c * c + d * d,
            a * a + b * b,
            c * a * (a * a - 3 * b * b) + d * b * (3 * a * a - b * b),
            (eta[2, 0] - eta[0, 2]) * (a * a - b * b) + 4 * eta[1, 1] * a * b,
            d * a * (a * a - 3 * b * b) - c * b * (3 * a * a - b * b),
        ]
    )


# -- images -------------------------------------------------------------------------------------


def small_images():
    shapes = st.tuples(st.integers(3, 7), st.integers(3, 7))
    return shapes.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 3))).filter(np.any)


PLACES = st.tuples(st.integers(0, 9), st.integers(0, 9))


def framed(image, shape, at):
    found = np.zeros(shape)
    found[at[0] : at[0] + image.shape[0], at[1] : at[1] + image.shape[1]] = image
    return found


def is_unambiguous(image):
    """Whether an image has a principal axis, and ends of it that differ."""
    mu = plain(image, 3, ("translation", "rotation"))
    size = mu[2, 0] + mu[0, 2]
    if not size > 0 or mu[2, 0] - mu[0, 2] < 1e-3 * size:
        return False
    limit = mu[0, 0] * (size / mu[0, 0]) ** 1.5
    return mu[3, 0] > 0.0101 * limit


# -- definitions --------------------------------------------------------------------------------


@pytest.mark.parametrize("invariant", SUBSETS, ids="-".join)
@pytest.mark.parametrize("shape", [(9, 9), (7, 12), (11, 6)], ids=str)
def test_moments_are_sums_over_moved_pixels(shape, invariant):
    images = np.random.default_rng(0).gamma(0.5, size=(6, *shape))
    space, found = moments(images, 5, invariant)
    assert space.n_moments == len(space.degrees) == found.shape[1]
    for image, each in zip(images, found, strict=True):
        expected = plain(image, 5, invariant)
        np.testing.assert_allclose(each, [expected[pair] for pair in space.degrees], rtol=1e-9, atol=1e-13)
        constant = {"translation": [(1, 0), (0, 1)], "scale": [(0, 0)], "rotation": [(1, 1)]}
        left_out = [pair for each in invariant for pair in constant[each]]
        assert {*space.degrees} == {*expected} - {*left_out}
        np.testing.assert_allclose(
            [expected[pair] for pair in left_out], [pair == (0, 0) for pair in left_out], 0, 1e-12
        )


@pytest.mark.parametrize("order", [3, 6])
def test_hus_invariants_stay_where_images_are_turned(order):
    images = np.stack([blob(kind=kind, scale=0.8) for kind in range(5)])
    turned = np.stack([np.rot90(image) for image in images])
    before = moments(images, order, AREA_AND_CENTRE)
    for space, found in (moments(turned, order, AREA_AND_CENTRE), moments(images, order), moments(turned, order)):
        for one, other in zip(before[1], found, strict=True):
            expected = hu(dict(zip(before[0].degrees, one, strict=True)))
            invariants = hu({(1, 1): 0.0} | dict(zip(space.degrees, other, strict=True)))
            np.testing.assert_allclose(invariants, expected, rtol=1e-7, atol=1e-16)


@pytest.mark.parametrize(("radius", "off", "limit"), [(5.0, 0, 1e-13), (2.5, 4, 1e-10)])
def test_rounding_at_order_8(radius, off, limit):
    i, j = np.indices((32, 32)) - 15.3 - off
    image = np.round(200 * np.exp(-(i**2 + (i - 2 * j) ** 2 / 3) / (2 * radius**2)))
    space, (found,) = moments(image[None], 8, AREA_AND_CENTRE)
    expected = exact(image, 8)
    assert apart(np.array([expected[pair] for pair in space.degrees]), found, space) < limit


def test_images_of_other_brightness_have_other_moments():
    image = blob()
    space, (one, two) = moments(np.stack([image, 4.0 * image]))
    np.testing.assert_allclose(two * 2.0 ** np.sum(space.degrees, axis=1), one, rtol=1e-12)


# -- moved images -------------------------------------------------------------------------------


@settings(max_examples=40)
@given(image=small_images(), one=PLACES, other=PLACES)
def test_shifts_by_whole_pixels_change_nothing(image, one, other):
    for invariant in (("translation",), AREA_AND_CENTRE, ALL) if is_unambiguous(image) else (("translation",),):
        _, (here, there) = moments([framed(image, (16, 18), at) for at in (one, other)], 4, invariant)
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-10 * max(1.0, np.abs(here).max()))


@settings(max_examples=40)
@given(image=small_images(), at=PLACES, times=st.integers(1, 3))
def test_quarters_of_turns_are_exact(image, at, times):
    assume(is_unambiguous(image))
    image = framed(image, (16, 18), at)
    space, here = moments([image], 4)
    _, there = moments([np.rot90(image, times)], 4)
    # Rounding: what is of 2 pixels may lie 20 times its radius from the middle.
    assert apart(here[0], there[0], space) < 1e-8


@settings(max_examples=40)
@given(image=small_images(), times=st.integers(2, 4))
def test_repeated_pixels_add_the_moments_of_a_cell(image, times):
    """``eta_ij`` is that of the image with each pixel spread over ``times`` by ``times`` points in it."""
    image = framed(image, (9, 9), (1, 1))
    big = np.kron(image, np.ones((times, times)))
    places = np.array([(i, j) for i in range(9) for j in range(9)], dtype=float)
    inside = (np.arange(times) + 0.5) / times - 0.5
    mass = image.sum()
    places -= (places * image.reshape(-1, 1)).sum(axis=0) / mass
    space, (found,) = moments([big], 5, AREA_AND_CENTRE)
    for pair, value in zip(space.degrees, found, strict=True):
        along = [np.mean((places[:, axis][:, None] + inside) ** degree, axis=1) for axis, degree in enumerate(pair)]
        expected = (along[0] * along[1] * image.ravel()).sum() / mass ** (1 + sum(pair) / 2)
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-10)
    _, (before,) = moments([image], 5, AREA_AND_CENTRE)
    # The variance within a pixel, which is 1 / 12 of a square, but for that within a pixel of the finer grid.
    assert found[0] - before[0] == pytest.approx((1 - 1 / times**2) / (12 * mass), abs=1e-10)


@pytest.mark.parametrize("kind", range(4))
def test_moved_blobs_have_the_moments_of_the_blob(kind):
    """Where images are drawn anew from a formula, sums over pixels are integrals; other blobs are far away."""
    rng = np.random.default_rng(kind)
    copies = [blob(kind=kind, scale=0.6)]
    for _ in range(10):
        turn, scale = rng.uniform(0.0, 2 * np.pi), rng.uniform(0.45, 0.6)
        copies.append(blob(kind=kind, turn=turn, scale=scale, shift=rng.uniform(-0.1, 0.1, 2)))
    space, found = moments(copies)
    assert max(apart(found[0], each, space) for each in found[1:]) < 1e-5
    _, others = moments([blob(kind=other, scale=0.6) for other in range(4) if other != kind])
    assert min(apart(found[0], each, space) for each in others) > 0.3


@pytest.mark.parametrize(
    "move",
    [
        lambda image: scipy.ndimage.shift(image, (3.4, -2.7)),
        lambda image: scipy.ndimage.rotate(image, 33.0, reshape=False),
        lambda image: scipy.ndimage.zoom(image, 1.5, grid_mode=True, mode="grid-constant"),
    ],
    ids=["shift", "rotate", "zoom"],
)
def test_images_that_scipy_moves(move):
    """By cubic splines, which smooth a little."""
    for kind in range(4):
        space, found = moments([blob(kind=kind, scale=0.7)])
        _, moved = moments([move(blob(kind=kind, scale=0.7))])
        assert apart(found[0], moved[0], space) < 2e-3


def test_the_axis_of_moments_that_are_left_is_right():
    """An ellipse three times as long as wide, at any angle, has a ninth of the moment across its axis."""
    for turn in np.linspace(0.0, np.pi, 7):
        x, y = np.meshgrid(*[np.linspace(-1, 1, 65)] * 2, indexing="ij")
        u, v = cos(turn) * x + sin(turn) * y, cos(turn) * y - sin(turn) * x
        space, (found,) = moments([np.exp(-(u**2 + 9 * v**2) / 0.08)])
        named = dict(zip(space.degrees, found, strict=True))
        assert named[2, 0] / named[0, 2] == pytest.approx(9.0, rel=1e-4)
        assert hypot(named[3, 0], named[0, 3]) < 1e-10


# -- what has no axis, or no ends ---------------------------------------------------------------


def test_an_image_that_has_no_axis_is_not_turned():
    plus = np.zeros((5, 5))
    plus[2], plus[:, 2] = 1.0, 1.0
    copies = [framed(plus, (20, 20), at) for at in ((0, 0), (3, 11), (14, 8))]
    space, found = moments(copies)
    np.testing.assert_allclose(found, np.broadcast_to(found[0], found.shape), rtol=0, atol=1e-10)
    _, still = moments(copies[:1], 6, AREA_AND_CENTRE)
    expected = dict(zip(NormalizedMoments.of((20, 20), 6, AREA_AND_CENTRE, 6).degrees, still[0], strict=True))
    np.testing.assert_allclose(found[0], [expected[pair] for pair in space.degrees], rtol=0, atol=1e-12)


def test_a_mirror_image_across_the_axis_has_ends():
    """A triangle that is wider than it is high has no odd moments along its axis, but across it."""
    i, j = np.indices((64, 64)) - 31.5
    triangle = ((i > -8) & (i < 8) & (np.abs(j) < 1.4 * (i + 8))).astype(float)
    space, found = moments([np.rot90(triangle, times) for times in range(4)])
    named = dict(zip(space.degrees, found.T, strict=True))
    assert np.abs(named[3, 0]).max() < 1e-12 < 1e-4 < np.abs(named[2, 1]).min()
    np.testing.assert_allclose(found, np.broadcast_to(found[0], found.shape), rtol=0, atol=1e-12)


def test_rotation_alone_needs_no_sum():
    image = np.random.default_rng(0).normal(size=(9, 9))
    image -= image.mean()
    for values in (image, np.zeros((9, 9)), -np.abs(image)):
        space, found = moments([values, np.rot90(values), np.rot90(values, 2)], 5, ("rotation",))
        np.testing.assert_allclose(found, np.broadcast_to(found[0], found.shape), rtol=0, atol=1e-12)
        assert space.degrees[:3] == [(0, 0), (1, 0), (0, 1)]


@pytest.mark.parametrize("invariant", [("translation",), ("scale",), ALL], ids="-".join)
def test_what_has_no_sum_has_no_moments(invariant):
    noise = np.random.default_rng(0).normal(size=(8, 8))
    slope = np.add.outer(np.arange(8.0), np.arange(8.0)) - 7.0
    point = np.zeros((8, 8))
    point[2, 5] = 3.0
    space, found = moments(
        [np.zeros((8, 8)), noise - noise.mean(), slope, -np.ones((8, 8)), point, blob(8)], 4, invariant
    )
    assert np.isnan(found).all(axis=1).tolist() == [True] * 4 + [False] * 2
    assert np.isfinite(found[4:]).all()
    assert "sum" in space.undefined


@pytest.mark.parametrize(
    ("shape", "order", "words"),
    [
        ((64,), 4, "signals have 1 axes, (64,); only images"),
        ((4, 4, 4), 2, "signals have 3 axes"),
        ((8, 8), (4, 4), "give one int"),
        ((8, 8), 1, "order of at least 2"),
        ((2, 64), None, "at least 3 samples a side"),
        ((5, 9), 6, "order of at most 4"),
    ],
)
def test_what_cannot_be_normalised(shape, order, words):
    with pytest.raises(ParameterError) as caught:
        NormalizedMoments.of(shape, order, ALL, default=6)
    assert words in str(caught.value)


def test_small_images_have_a_lower_order_by_default():
    assert NormalizedMoments.of((5, 9), None, ALL, default=6).order == (4, 4)
    assert NormalizedMoments.of((64, 64), None, ("scale", "translation"), default=6).invariant == AREA_AND_CENTRE
    assert NormalizedMoments.of((64, 64), None, ALL, default=6).n_moments == 24
