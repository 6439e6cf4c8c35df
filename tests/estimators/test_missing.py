"""EM for values that are missing at random (``missing="marginalize"``)."""

from __future__ import annotations

import warnings

import dask
import dask.array as da
import iris_sample_data
import numpy as np
import pytest
import reference
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning

from dgmm import Checkpoint, Execution, GaussianMixture
from dgmm.errors import DataError, StarvedComponentWarning
from dgmm.fitting.events import PassStarted

N, D, K = 400, 4, 3
PUBLIC = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_", "n_reads_")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def gappy(X, share=0.3, seed=1):
    return np.where(np.random.default_rng(seed).random(X.shape) < share, np.nan, X)


@pytest.fixture(name="X")
def rows():
    return reference.make_blobs(N, D, K, seed=3) + 5.0


def started(X, family="full", k=K, **parameters):
    """A mixture with a start, whose fit depends on nothing but the rows."""
    start = reference.start_parameters(*reference.make_start(X, k, family), family)
    given = {"accelerate": None, "tol": 0.0, "max_iter": 4, "missing": "marginalize"} | parameters
    return GaussianMixture(**start, **given)


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in PUBLIC)


# -- what it computes ---------------------------------------------------------------------------


@pytest.mark.parametrize("family", reference.FAMILIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_parameters_are_those_of_the_textbook(family, weighted):
    X = reference.make_blobs(80, D, 2, seed=5) * [1.0, 10.0, 0.1, 1.0] + 5.0
    w = np.random.default_rng(2).uniform(0.2, 3.0, len(X)) if weighted else None
    gaps, start = gappy(X), reference.make_start(X, 2, family)
    mixture = started(X, family, 2).fit(da.from_array(gaps, chunks=(30, 2)), sample_weight=w)
    found = (mixture.weights_, mixture.means_, mixture.covariances_, mixture.lower_bounds_)
    expected = reference.em_with_missing_values(gaps, *start, family, 1e-6, 4, w)
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("family", reference.FAMILIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_nothing_is_missing_it_is_the_plain_fit_to_the_bit(X, family, dtype):
    lazy = da.from_array(X.astype(dtype), chunks=(150, D))
    parameters = {"n_components": K, "covariance_type": family, "random_state": 0, "sample_rows": 80, "tol": "auto"}
    plain = GaussianMixture(**parameters).fit(lazy)
    mixture = GaussianMixture(**parameters, missing="marginalize").fit(lazy)
    assert same(mixture, plain)
    assert mixture.n_dropped_ == 0
    assert not mixture.n_missing_.any()
    np.testing.assert_array_equal(mixture.predict(X), plain.predict(X))
    np.testing.assert_allclose(mixture.predict_proba(X), plain.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(mixture.score_samples(X), plain.score_samples(X))


@pytest.mark.parametrize("family", reference.FAMILIES)
def test_rows_of_float32(X, family):
    gaps = gappy(X)
    narrow, wide = started(X, family).fit(gaps.astype(np.float32)), started(X, family).fit(gaps)
    assert narrow.means_.dtype == np.float32
    np.testing.assert_allclose(narrow.means_, wide.means_, rtol=1e-4)
    np.testing.assert_allclose(narrow.covariances_, wide.covariances_, rtol=2e-3, atol=1e-3)


@settings(max_examples=10)
@given(
    family=st.sampled_from(reference.FAMILIES),
    seed=st.integers(0, 999),
    share=st.floats(0.05, 0.6),
    k=st.integers(1, 3),
)
def test_the_likelihood_never_falls(family, seed, share, k):
    X = gappy(reference.make_blobs(150, 3, 2, seed), share, seed)
    X[:8] = reference.make_blobs(8, 3, 2, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture = started(X[:8], family, k, reg_covar=0.0, max_iter=12).fit(X)
    assert (np.diff(mixture.lower_bounds_) > -1e-10).all()


@pytest.mark.parametrize("chunks", [(400,), (1, 149, 0, 250), (40,) * 10])
def test_chunks_are_rounding(X, chunks):
    gaps = gappy(X)
    mixture = started(X).fit(da.from_array(gaps, chunks=(chunks, D)))
    whole = started(X).fit(gaps)
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        np.testing.assert_allclose(getattr(mixture, name), getattr(whole, name), rtol=1e-9)


def test_workers_change_no_bit(X, client):
    lazy = da.from_array(gappy(X), chunks=(23, D))
    distributed = started(X).fit(lazy)
    for scheduler in ("synchronous", "threads"):
        with dask.config.set(scheduler=scheduler):
            assert same(started(X).fit(lazy), distributed)
    np.testing.assert_array_equal(distributed.predict(lazy), distributed.predict(lazy.compute()))


# -- what it says of rows -----------------------------------------------------------------------


@pytest.mark.parametrize("family", reference.FAMILIES)
def test_densities_of_what_is_there(X, family):
    gaps = gappy(X, 0.5)[:60]
    gaps[7] = np.nan
    mixture = started(X, family).fit(gappy(X))
    own = reference.as_matrices(mixture.covariances_, family, K, D)
    expected = np.full((len(gaps), K), np.nan)
    for i, x in enumerate(gaps):
        o = np.flatnonzero(~np.isnan(x))
        if len(o):
            pairs = zip(mixture.means_, own, strict=True)
            expected[i] = [multivariate_normal(mean[o], square[np.ix_(o, o)]).logpdf(x[o]) for mean, square in pairs]
    expected += np.log(mixture.weights_)
    there, total = ~np.isnan(gaps).all(axis=1), logsumexp(expected, axis=1)
    for given_rows in (gaps, da.from_array(gaps, chunks=(13, D))):
        scores, labels = np.asarray(mixture.score_samples(given_rows)), np.asarray(mixture.predict(given_rows))
        np.testing.assert_allclose(scores, total, rtol=1e-9)
        np.testing.assert_allclose(mixture.predict_proba(given_rows), np.exp(expected - total[:, None]), atol=1e-9)
        np.testing.assert_array_equal(labels[there], expected[there].argmax(axis=1))
        assert labels[7] == -1
        assert np.isnan(scores[7])
        assert mixture.score(given_rows) == pytest.approx(total[there].mean())
        n_parameters = mixture._n_parameters()
        assert mixture.bic(given_rows) == pytest.approx(-2 * total[there].sum() + n_parameters * np.log(there.sum()))
        shares = np.exp(expected - total[:, None])[there]
        entropy = -np.sum(shares * np.log(np.where(shares > 0, shares, 1.0)))
        assert mixture.icl(given_rows) == pytest.approx(mixture.bic(given_rows) + 2 * entropy)


def test_a_row_of_nothing_changes_nothing(X):
    gaps = gappy(X)
    nothing = np.insert(gaps, [0, 77, N], np.nan, axis=0)
    with_them, without = started(X).fit(nothing), started(X).fit(gaps[~np.isnan(gaps).all(axis=1)])
    assert same(with_them, without)
    assert with_them.n_dropped_ == 3 + np.isnan(gaps).all(axis=1).sum()
    np.testing.assert_array_equal(with_them.n_missing_, np.isnan(nothing).sum(axis=0))


# -- a whole fit --------------------------------------------------------------------------------


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "k-means||", "random", "random_from_data", "bfr"])
def test_every_start_finds_the_clusters(init_params):
    X = reference.make_blobs(2000, 3, K, seed=7, spread=5.0)
    gaps = da.from_array(gappy(X), chunks=(1000, 3))
    mixture = GaussianMixture(
        K, init_params=init_params, n_init=4, tol="auto", missing="marginalize", random_state=0, sample_rows=500
    ).fit(gaps)
    known = GaussianMixture(K, tol="auto", random_state=0).fit(X)
    order, there = np.argsort(mixture.means_[:, 0]), np.argsort(known.means_[:, 0])
    np.testing.assert_allclose(mixture.means_[order], known.means_[there], atol=0.25)
    np.testing.assert_allclose(mixture.weights_[order], known.weights_[there], atol=0.02)


def test_the_sample_saves_reads_here_too():
    X = gappy(reference.make_blobs(10_000, 2, 3, seed=2, spread=1.0))
    lazy = da.from_array(X, chunks=(5000, 2))
    parameters = {"n_components": 3, "tol": "auto", "max_iter": 400, "missing": "marginalize", "random_state": 0}
    fast = GaussianMixture(**parameters, sample_rows=1000).fit(lazy)
    plain = GaussianMixture(**parameters, sample_rows=1000, accelerate=None).fit(lazy)
    assert fast.n_reads_ < plain.n_reads_
    assert fast.score(lazy) > plain.score(lazy) - fast.sampling_error_


def test_no_row_is_complete():
    X = reference.make_blobs(3000, D, 2, seed=4, spread=6.0)
    gaps = X.copy()
    gaps[np.arange(3000), np.random.default_rng(0).integers(0, D, 3000)] = np.nan
    mixture = GaussianMixture(2, missing="marginalize", random_state=0).fit(gaps)
    known = GaussianMixture(2, random_state=0).fit(X)
    order, there = np.argsort(mixture.means_[:, 0]), np.argsort(known.means_[:, 0])
    np.testing.assert_allclose(mixture.means_[order], known.means_[there], atol=0.1)


def test_means_alone_are_a_start(X):
    gaps = gappy(X, 0.1)
    mixture = GaussianMixture(K, means_init=X[:K], missing="marginalize", random_state=0).fit(gaps)
    assert mixture.converged_


def test_starved_components_move_to_rows_with_gaps():
    X = gappy(reference.make_blobs(300, 3, 2, seed=3), 0.4)
    far = np.full((1, 3), 1e3)
    with pytest.warns(StarvedComponentWarning):
        mixture = GaussianMixture(
            3, weights_init=np.full(3, 1 / 3), means_init=np.r_[X[~np.isnan(X).any(axis=1)][:2], far],
            precisions_init=np.stack([np.eye(3)] * 3), missing="marginalize", random_state=0,
        ).fit(X)  # fmt: skip
    assert np.isfinite(mixture.means_).all()
    assert np.abs(mixture.means_).max() < 100.0


class StopError(Exception):
    pass


def test_it_goes_on_from_a_checkpoint_with_the_same_bits(X, tmp_path):
    lazy = da.from_array(gappy(X), chunks=(100, D)).map_blocks(lambda block: block)
    parameters = {"n_components": K, "missing": "marginalize", "random_state": 0, "max_iter": 4, "sample_rows": 60}
    parameters["init_params"] = "random_from_data"

    def callback(event):
        if isinstance(event, PassStarted) and event.index == 3:
            raise StopError

    fits = {"execution": Execution(persist=False), "checkpoint": Checkpoint(tmp_path / "fit", interval=0.0)}
    with pytest.raises(StopError):
        GaussianMixture(**parameters).fit(lazy, callbacks=callback, **fits)
    resumed = GaussianMixture(**parameters).fit(lazy, **fits)
    alone = GaussianMixture(**parameters).fit(lazy)
    assert same(resumed, alone)
    np.testing.assert_array_equal(resumed.n_missing_, alone.n_missing_)
    resumed.save(tmp_path / "model.zarr")
    loaded = GaussianMixture.load(tmp_path / "model.zarr")
    assert loaded.missing == "marginalize"
    np.testing.assert_array_equal(loaded.n_missing_, alone.n_missing_)
    assert loaded.n_dropped_ == alone.n_dropped_
    np.testing.assert_array_equal(loaded.predict(lazy), alone.predict(lazy))


def test_a_feature_that_is_never_there(X):
    gaps = gappy(X)
    gaps[:, 2] = np.nan
    with pytest.raises(DataError, match=r"feature 2 is missing \(NaN\) in every row of positive weight; drop"):
        GaussianMixture(K, missing="marginalize").fit(gaps)
    with pytest.raises(DataError, match="feature 1 is constant"):
        GaussianMixture(K, reg_covar=0.0, missing="marginalize").fit(np.where(np.arange(D) == 1, 1.0, gappy(X)))


# -- real data ----------------------------------------------------------------------------------


def test_the_sea_under_clouds():
    """Monthly temperatures of the sea, of which clouds hide a third: cells keep their cluster, land has none."""
    sea = xr.open_dataset(f"{iris_sample_data.path}/ostia_monthly.nc").surface_temperature[::9]
    clear = sea.transpose("latitude", "longitude", "time").values.reshape(-1, sea.sizes["time"]).astype(np.float64)
    land = np.isnan(clear).all(axis=1)
    assert np.isnan(clear).any(axis=1).sum() == land.sum()
    hidden = gappy(clear, 1 / 3)
    known = GaussianMixture(3, missing="drop", tol="auto", random_state=0).fit(clear)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        cloudy = GaussianMixture(3, missing="marginalize", tol="auto", random_state=0).fit(hidden)
    there = ~np.isnan(hidden).all(axis=1)
    labels = cloudy.predict(hidden)
    np.testing.assert_array_equal(labels == -1, ~there)
    agree = labels[there] == known.predict(clear)[there]
    assert agree.mean() > 0.9
    # Complete rows alone are a tenth of them.
    assert np.count_nonzero(~np.isnan(hidden).any(axis=1)) < 0.12 * np.count_nonzero(~land)
    assert cloudy.score(clear[~land]) > GaussianMixture(3, missing="drop", tol="auto", random_state=0).fit(
        hidden
    ).score(clear[~land])
