"""Ellipses hold the mass that they say, and pictures show the features that were asked for."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, norm

from dgmm import BFRGaussianMixture, GaussianMixture
from dgmm.errors import MissingExtraError, NotFittedError, ParameterError
from dgmm.mixture.families import FAMILIES
from dgmm.viz.ellipses import plot_mixture
from dgmm.viz.geometry import Spread, blocks, ellipse_of, telling_pairs, variances

SHAPES = {name: family.shape(3, 4) for name, family in FAMILIES.items()}


def random_covariance(rng, d):
    a = rng.normal(size=(d, d))
    return a @ a.T + 0.1 * np.eye(d)


def random_public(rng, name):
    """Covariances of three components with four features, and the same as matrices."""
    matrices = {
        (3, 4, 4): lambda c: c,
        (4, 4): lambda c: np.stack([c] * 3),
        (3, 4): lambda c: np.stack([np.diag(row) for row in c]),
        (4,): lambda c: np.stack([np.diag(c)] * 3),
        (3,): lambda c: np.stack([value * np.eye(4) for value in c]),
        (): lambda c: np.stack([c * np.eye(4)] * 3),
    }
    shape = SHAPES[name]
    if shape[-2:] == (4, 4):
        full = np.stack([random_covariance(rng, 4) for _ in range(3)])
        public = full if len(shape) == 3 else full[0]
    else:
        public = rng.uniform(0.5, 2.0, size=shape)
    return public, matrices[shape](public)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), mass=st.floats(0.01, 0.99), scale=st.floats(1e-6, 1e6))
def test_the_outline_lies_at_the_distance_of_its_mass(seed, mass, scale):
    rng = np.random.default_rng(seed)
    mean, covariance = rng.normal(size=2), random_covariance(rng, 2) * scale
    found = ellipse_of(mean, covariance, mass)
    angle = np.radians(found.angle)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    t = np.linspace(0.0, 2.0 * np.pi, 50)
    outline = turn @ [found.width / 2 * np.cos(t), found.height / 2 * np.sin(t)]
    distances = np.einsum("in,ij,jn->n", outline, np.linalg.inv(covariance), outline)
    np.testing.assert_allclose(distances, chi2.ppf(mass, 2), rtol=1e-6)
    assert found.centre == tuple(mean)


@pytest.mark.parametrize("mass", [0.5, 0.9])
def test_the_drawn_ellipse_holds_its_share_of_rows(mass):
    rng = np.random.default_rng(1)
    mean, covariance = np.array([3.0, -1.0]), np.array([[4.0, 1.5], [1.5, 1.0]])
    ax = plot_mixture(np.ones(1), mean[None], covariance[None], "full", mass=mass)
    rows = rng.multivariate_normal(mean, covariance, size=40_000)
    (patch,) = ax.patches
    outline = patch.get_path().transformed(patch.get_patch_transform())
    share = outline.contains_points(rows).mean()
    assert share == pytest.approx(mass, abs=4.0 * np.sqrt(mass * (1 - mass) / len(rows)))
    # Without a sample all of it is seen.
    low, high = outline.get_extents().get_points()
    assert ax.get_xlim()[0] < low[0] < high[0] < ax.get_xlim()[1]
    assert ax.get_ylim()[0] < low[1] < high[1] < ax.get_ylim()[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_each_pair_of_features_has_its_part_of_the_covariances(name):
    rng = np.random.default_rng(2)
    public, matrices = random_public(rng, name)
    means = rng.normal(size=(3, 4))
    np.testing.assert_array_equal(variances(public, name, (3, 4)), np.diagonal(matrices, axis1=1, axis2=2))
    np.testing.assert_array_equal(blocks(public, name, (3, 4), (3, 1)), matrices[:, [3, 1]][:, :, [3, 1]])
    ax = plot_mixture(np.full(3, 1 / 3), means, public, name, features=(3, 1), mass=1 - np.exp(-0.5))
    for k in range(3):
        (patch,) = [patch for patch in ax.patches if patch.get_gid() == f"component {k}"]
        centre, first, second = patch.get_patch_transform().transform([(0, 0), (1, 0), (0, 1)])
        np.testing.assert_allclose(centre, means[k, [3, 1]])
        sides = np.array([first - centre, second - centre])
        np.testing.assert_allclose(sides.T @ sides, matrices[k][np.ix_([3, 1], [3, 1])], rtol=1e-9, atol=1e-12)


def test_curves_of_one_feature_add_up_to_the_density():
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(0, 1, (700, 1)), rng.normal(6, 0.01, (300, 1))])
    model = GaussianMixture(2, random_state=0).fit(X)
    lines = {line.get_gid(): line.get_xydata() for line in model.plot().lines}
    x = lines["mixture"][:, 0]
    np.testing.assert_allclose(lines["mixture"][:, 1], np.exp(model.score_samples(x[:, None])), rtol=1e-8, atol=1e-300)
    for k in range(2):
        own = model.weights_[k] * norm.pdf(x, model.means_[k, 0], np.sqrt(model.covariances_[k, 0, 0]))
        np.testing.assert_allclose(lines[f"component {k}"][:, 1], own, rtol=1e-8, atol=1e-300)
    # The narrow one is drawn to its top, and holds its weight.
    narrow = int(np.argmin(model.covariances_))
    top = norm.pdf(0.0) / np.sqrt(model.covariances_[narrow, 0, 0]) * model.weights_[narrow]
    assert lines["mixture"][:, 1].max() > 0.98 * top
    assert np.trapezoid(lines["mixture"][:, 1], x) == pytest.approx(1.0, abs=0.02)


def drawn_rows(ax):
    (found,) = [part for part in ax.collections if part.get_gid() == "density"]
    return found


def test_the_density_is_that_of_the_sample():
    rng = np.random.default_rng(4)
    X = rng.normal(size=(5_000, 3))
    model = GaussianMixture(1, random_state=0).fit(X)
    ax = model.plot((0, 2))
    counts = drawn_rows(ax).get_array().compressed()
    inside = model.sample_[:, [0, 2]]
    low, high = np.array([ax.get_xlim(), ax.get_ylim()]).T
    # Cells at the edge reach a little further.
    assert counts.sum() == pytest.approx(((inside >= low) & (inside <= high)).all(axis=1).sum(), abs=3)
    assert counts.sum() > 0.98 * len(model.sample_)
    # Few rows are dots; other rows can be given, and what is missing in them is left out.
    few = X[:50].copy()
    few[3, 2] = np.nan
    np.testing.assert_array_equal(
        drawn_rows(model.plot((0, 2), X=few)).get_offsets(), np.delete(few, 3, axis=0)[:, [0, 2]]
    )
    del model.sample_
    assert not model.plot().collections


def test_rows_are_drawn_of_all_that_is_predicted_and_by_name():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60)})
    model = GaussianMixture(1, random_state=0).fit(table)
    grid = xr.Dataset({name: (("y", "x"), table[name].to_numpy().reshape(6, 10)) for name in ("b", "a")})
    for X in (table, table[["b", "a"]], grid, grid.chunk(y=3)):
        drawn = drawn_rows(model.plot(("a", "b"), X=X)).get_offsets()
        np.testing.assert_array_equal(drawn, table.to_numpy())


@pytest.mark.parametrize("names", [["a$b", "{\\", "\\frac"], ["$\\frac$", "<b>", "c"]])
def test_names_are_text(names):
    model = GaussianMixture(1, random_state=0).fit(np.random.default_rng(0).normal(size=(60, 3)))
    model.feature_names_in_ = np.array(names, dtype=object)
    ax = model.plot((names[2], names[0]))
    assert (ax.get_xlabel(), ax.get_ylabel()) == (names[2], names[0])
    ax.figure.draw_without_rendering()


def test_a_scan_is_drawn_like_a_fit_and_dead_components_are_not():
    X = np.random.default_rng(0).normal(size=(3_000, 2)) + np.repeat([[0.0], [9.0]], 1_500, axis=0)
    scan = BFRGaussianMixture(2, batch_rows=1_000, random_state=0).fit(X)
    ax = scan.plot()
    assert {patch.get_gid() for patch in ax.patches} == {"component 0", "component 1"}
    assert len(scan.sample_) == 1_000
    assert scan.plot_convergence().lines[0].get_ydata().tolist() == scan.lower_bounds_
    scan.weights_ = np.array([1.0, 0.0])
    assert [patch.get_gid() for patch in scan.plot(ax=ax.figure.add_subplot()).patches] == ["component 0"]


def test_impossible_pictures_are_refused():
    model = GaussianMixture(1, random_state=0).fit(np.random.default_rng(0).normal(size=(60, 3)))
    for features in [(0, 3), (1, 1), (0, 1, 2), (-1, 0), ()]:
        with pytest.raises(ParameterError, match="columns from 0 to 2"):
            model.plot(features)
    with pytest.raises(ParameterError, match="'x'; the names are: none"):
        model.plot(("x", 0))
    with pytest.raises(ParameterError, match="mass is 1"):
        model.plot(mass=1)
    with pytest.raises(NotFittedError):
        GaussianMixture(1).plot()


def test_pairs_show_what_other_pairs_do_not():
    means = np.array([[0.0, 0.0, 0.01, 0.0], [8.0, 8.001, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0]])
    spread = Spread.of(np.full(3, 1 / 3), means, np.ones((3, 4)))
    assert telling_pairs(spread, 2) == [(1, 3)]
    assert spread.leading(2) == [0, 1]
    # Against the rows of the mixture: the share of variance between components.
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=60_000)
    X = means[labels] + rng.normal(size=(60_000, 4))
    np.testing.assert_allclose(spread.deviation, X.std(axis=0), rtol=0.02)
    within = sum((labels == k).mean() * X[labels == k].var(axis=0) for k in range(3))
    np.testing.assert_allclose(np.square(spread.offsets).sum(axis=0), 1.0 - within / X.var(axis=0), atol=0.02)


def test_a_missing_package_is_named(monkeypatch):
    model = GaussianMixture(1).fit(np.arange(10.0).reshape(5, 2))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (model.plot, model.plot_convergence):
        with pytest.raises(MissingExtraError) as caught:
            draw()
        assert str(caught.value) == str(MissingExtraError("matplotlib", "viz", "drawing a picture"))
