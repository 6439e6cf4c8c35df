"""EigenMoments with invariant=...: images that were moved, scaled or turned, end to end."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from images import blob
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline

from dgmm import EigenMoments, GaussianMixture
from dgmm.errors import DataError, ParameterError
from dgmm.estimators import eigenmoments
from dgmm.estimators._signals import read

ALL = ("translation", "scale", "rotation")
KINDS, COPIES, NOISE = 5, 16, 1e-3


def copies(count, seed):
    rng = np.random.default_rng(seed)
    return np.array(
        [
            blob(32, kind=kind, turn=rng.uniform(0, 7), scale=rng.uniform(0.9, 1.2), shift=rng.uniform(-0.1, 0.1, 2))
            for kind in range(KINDS)
            for _ in range(count)
        ]
    )


@pytest.fixture(scope="module")
def images():
    """Noisy copies of some shapes, one shape after the other."""
    clean = copies(COPIES, 0)
    return clean + np.random.default_rng(1).normal(0.0, NOISE, clean.shape)


@pytest.fixture(scope="module")
def found(images):
    return EigenMoments(5, order=5, invariant=ALL, noise=NOISE**2, center=True, random_state=0).fit(images)


def test_copies_are_near_and_others_are_not(images, found):
    """In units of the noise of features."""
    q = found.transform(images).reshape(KINDS, COPIES, -1)
    middles = q.mean(axis=1)
    between = np.linalg.norm(middles[:, None] - middles, axis=2)[np.triu_indices(KINDS, 1)]
    assert np.linalg.norm(q - middles[:, None], axis=2).max() < 10.0
    assert between.min() > 25.0
    # Copies that were not there, without noise: what is left is of the grid, and of tails beyond the frame.
    clean = found.transform(copies(4, 2)).reshape(KINDS, 4, -1)
    assert np.linalg.norm(clean - clean.mean(axis=1)[:, None], axis=2).max() < 1.0
    assert np.linalg.norm(clean.mean(axis=1) - middles, axis=1).max() < 3.0


def test_the_noise_of_features_is_white(found):
    """Of each feature 1, up to what few large ones make of it, over noise that is added anew."""
    clean, rng = copies(2, 3), np.random.default_rng(4)
    changes = [found.transform(clean + rng.normal(0.0, NOISE, clean.shape)) - found.transform(clean) for _ in range(40)]
    assert np.median(np.var(changes, axis=(0, 1))) == pytest.approx(1.0, abs=0.3)


def test_what_holds_of_weights_holds_here(images, found):
    W, A, B = found.components_.T, found.correlation_, found.noise_correlation_
    np.testing.assert_allclose(W.T @ B @ W, np.eye(5), rtol=0, atol=1e-10)
    np.testing.assert_allclose(W.T @ A @ W, np.diag(found.eigenvalues_), rtol=0, atol=1e-9 * found.eigenvalues_[0])
    covariance = np.cov(found.transform(images).T, bias=True)
    np.testing.assert_allclose(covariance, np.diag(found.eigenvalues_), rtol=0, atol=1e-8 * found.eigenvalues_[0])
    assert found.order_ == (5, 5)
    assert W.shape == (17, 5)  # 21 moments but 00, 10, 01 and 11


def test_a_mixture_finds_the_shapes(images):
    features = EigenMoments(4, order=5, invariant=ALL, noise=NOISE**2, random_state=0)
    model = make_pipeline(features, GaussianMixture(KINDS, covariance_type="diag", random_state=0))
    labels = model.fit(images).predict(images)
    assert adjusted_rand_score(np.repeat(np.arange(KINDS), COPIES), labels) == 1.0


@pytest.mark.parametrize("noise", [NOISE**2, "differences"])
def test_chunks_change_nothing(images, noise):
    here = EigenMoments(4, order=4, invariant=ALL, noise=noise, random_state=0).fit(images)
    q = here.transform(images)
    array = xr.DataArray(images, dims=("row", "y", "x"))
    for source in (da.from_array(images, chunks=(7, 32, 16)), array.chunk(row=33), array.transpose("y", "x", "row")):
        dims = ("y", "x") if isinstance(source, xr.DataArray) else None
        other = EigenMoments(4, order=4, invariant=ALL, noise=noise, random_state=0, signal_dims=dims).fit(source)
        np.testing.assert_allclose(other.eigenvalues_, here.eigenvalues_, rtol=1e-8)
        np.testing.assert_allclose(np.asarray(other.transform(source)), q, rtol=0, atol=1e-8 * np.abs(q).max())


def test_flattened_images_need_their_shape(images):
    flat = images.reshape(len(images), -1)
    here = EigenMoments(3, order=4, invariant=ALL, noise=1e-6, random_state=0).fit(images)
    there = EigenMoments(3, order=4, invariant=ALL, noise=1e-6, random_state=0, signal_shape=(32, 32)).fit(flat)
    np.testing.assert_array_equal(here.components_, there.components_)
    with pytest.raises(ParameterError, match=r"signals have 1 axes, \(1024,\); only images"):
        EigenMoments(3, invariant=ALL, noise=1e-6).fit(flat)


def test_defaults_make_features_of_digits():
    images = load_digits().images
    found = EigenMoments(invariant=ALL, random_state=0).fit(images)
    assert found.transform(images).shape == (1797, 24)
    assert found.noise_ == pytest.approx(EigenMoments().fit(images).noise_)
    turned = np.rot90(np.pad(images, ((0, 0), (3, 0), (1, 2))), axes=(1, 2))
    wide = EigenMoments(invariant=ALL, noise=1.0, random_state=0).fit(turned)
    np.testing.assert_allclose(wide.correlation_, found.correlation_, rtol=1e-3, atol=1e-6 * found.correlation_.max())


def test_forms_of_the_noise(images):
    def fit(noise, **params):
        return EigenMoments(3, order=3, invariant=ALL, noise=noise, random_state=0, **params).fit(images)

    one = fit(1e-6)
    for noise in (np.full(1024, 1e-6), 1e-6 * np.eye(1024)):
        np.testing.assert_allclose(fit(noise).eigenvalues_, one.eigenvalues_, rtol=1e-6)
    np.testing.assert_allclose(fit(0.6e-6, noise_floor=0.4e-6).eigenvalues_, one.eigenvalues_, rtol=1e-12)
    # That of the moments is taken as it is.
    B = one.noise_correlation_
    given = fit(B)
    np.testing.assert_array_equal(given.noise_correlation_, B)
    np.testing.assert_array_equal(given.noise_, B)
    np.testing.assert_allclose(given.eigenvalues_, one.eigenvalues_, rtol=1e-12)
    with pytest.raises(ParameterError, match=r"expected .*\(m, m\) = \(6, 6\)"):
        fit(np.eye(7))


def test_weights_are_counts(images):
    """Of the noise too, which changes dim images the most."""
    images = images[:20].copy()
    images[:10] *= 0.5
    counts = np.where(np.arange(20) < 10, 1, 50)

    def fit(X, **how):
        features = EigenMoments(2, order=3, invariant=("translation", "scale"), noise=1e-7, random_state=0)
        return features.fit(X, **how)

    repeated, plain = fit(np.repeat(images, counts, axis=0)), fit(images)
    lazy = da.from_array(images, chunks=(6, 32, 32))
    for weighed in (fit(images, sample_weight=counts), fit(lazy, sample_weight=0.5 * counts)):
        np.testing.assert_allclose(weighed.correlation_, repeated.correlation_, rtol=1e-9)
        ratios = np.diag(weighed.noise_correlation_) / np.diag(repeated.noise_correlation_)
        np.testing.assert_allclose(ratios, 1.0, atol=0.15)
        np.testing.assert_allclose(weighed.eigenvalues_, repeated.eigenvalues_, rtol=0.1)
    assert (np.diag(plain.noise_correlation_) > 3.0 * np.diag(repeated.noise_correlation_)).all()


def test_a_sample_is_kept_only_where_noise_is_simulated(images, monkeypatch):
    kept = []

    def recorded(rows, signals, emit):
        record = read(rows, signals, emit)
        kept.append(record.sample.smallest().rows.shape)
        return record

    monkeypatch.setattr(eigenmoments, "read", recorded)
    for params in ({"noise": np.eye(6)}, {"noise": np.eye(6), "noise_floor": 1e-6}, {"noise": 1e-6}):
        EigenMoments(3, order=3, invariant=ALL, random_state=0, **params).fit(images)
    EigenMoments(3, order=3, noise=1e-6).fit(images)
    assert kept == [(0, 16), (80, 16), (80, 16), (0, 0)]


def test_images_without_a_sum_are_named(images):
    images = images.copy()
    images[50] = 0.0
    images[61] -= images[61].mean()
    lazy = da.from_array(images, chunks=(16, 32, 32))
    estimator = EigenMoments(3, order=3, invariant=ALL, noise=1e-6, random_state=0)
    words = "sum to 0, first at chunk 3, row 2 .row 50 of the data.; centre and size .* drop such images"
    with pytest.raises(DataError, match=words):
        estimator.fit(lazy)
    with pytest.raises(DataError, match="sum to 0, first at chunk 0, row 50; centre and size"):
        estimator.fit(images)
    # Those of weight 0 do not count, but rows do.
    weights = np.ones(len(images))
    weights[[3, 50]] = 0.0
    with pytest.raises(DataError, match=r"first at chunk 3, row 13 .row 61 of the data.; centre"):
        estimator.fit(lazy, sample_weight=weights)
    weights[61] = 0.0
    estimator.fit(lazy, sample_weight=weights)
    with pytest.raises(DataError, match="sum to 0, first at chunk 3, row 2; centre"):
        estimator.transform(lazy).compute()
    turns = EigenMoments(3, order=3, invariant=("rotation",), noise=1e-6, random_state=0).fit(lazy)
    assert np.isfinite(turns.transform(lazy).compute()).all()


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"noise": 0.25}, DataError, "80 .100% by weight. have a sum of less than 10 times its noise.*smaller noise"),
        ({"noise": 0.0}, DataError, "noise is 0"),
        ({"n_components": 7, "noise": 1e-6}, ParameterError, "there are 6 moments"),
        ({"order": (3, 3), "noise": 1e-6}, ParameterError, "give one int"),
        ({"correlation": np.eye(1024), "noise": 1e-6}, ParameterError, "correlation is given beside invariant"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else None,
)
def test_what_is_refused(images, params, error, words):
    with pytest.raises(error, match=words):
        EigenMoments(**{"order": 3, "invariant": ALL} | params).fit(images)


def test_no_images_come_back(images, found):
    with pytest.raises(ParameterError, match="features with invariant do not say"):
        found.inverse_transform(found.transform(images))
    with pytest.raises(AttributeError, match="no sums over samples"):
        _ = found.filters_
    with pytest.raises(ParameterError, match="noise_signals is given beside invariant"):
        EigenMoments(invariant=ALL).fit(images, noise_signals=images)
