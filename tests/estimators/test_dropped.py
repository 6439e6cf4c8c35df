"""Rows with missing values left out (``missing="drop"``), and refused (``"raise"``)."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import reference

from dgmm import BFRGaussianMixture, BFRKMeans, GaussianMixture
from dgmm.errors import DataError, ParameterError

N, D, K = 600, 3, 2
PUBLIC = ("weights_", "means_", "covariances_", "lower_bounds_")


@pytest.fixture(name="X")
def rows():
    return reference.make_blobs(N, D, K, seed=3)


@pytest.fixture
def gaps(X):
    """The rows with a tenth of their values missing."""
    return np.where(np.random.default_rng(1).random(X.shape) < 0.1, np.nan, X)


def started(X, family="full", **parameters):
    """A mixture with a start, whose fit depends on nothing but the rows."""
    start = reference.start_parameters(*reference.make_start(X, K, family), family)
    return GaussianMixture(**start, **{"accelerate": None, "tol": 0.0, "max_iter": 5, **parameters})


def complete(X):
    return ~np.isnan(X).any(axis=1)


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in PUBLIC)


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("family", reference.FAMILIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fit_is_that_of_the_complete_rows_to_the_bit(X, gaps, family, dtype):
    gaps = gaps.astype(dtype)
    kept = complete(gaps)
    dropped = started(X, family, missing="drop").fit(gaps)
    plain = started(X, family).fit(gaps[kept])
    assert same(dropped, plain)
    assert dropped.n_dropped_ == np.count_nonzero(~kept)
    np.testing.assert_array_equal(dropped.n_missing_, np.isnan(gaps).sum(axis=0))
    assert plain.n_dropped_ == 0
    assert not plain.n_missing_.any()


@pytest.mark.parametrize("chunks", [[600], [1, 99, 0, 300, 200], [50] * 12])
@pytest.mark.parametrize("weighted", [False, True])
def test_chunks_and_weights(X, gaps, chunks, weighted):
    w = np.random.default_rng(2).integers(1, 4, N) * 0.5 if weighted else None
    gaps[:100][~complete(gaps[:100])] = 0.0  # chunks of complete rows beside others
    kept = complete(gaps)
    lazy = da.from_array(gaps, chunks=(tuple(chunks), 2))
    weights = None if w is None else da.from_array(w, chunks=70)
    dropped = started(X, missing="drop").fit(lazy, sample_weight=weights)
    plain = started(X).fit(gaps[kept], sample_weight=None if w is None else w[kept])
    for name in PUBLIC:
        np.testing.assert_allclose(getattr(dropped, name), getattr(plain, name), rtol=1e-10)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means||", "random", "bfr"])
def test_every_start(X, gaps, init_params):
    lazy = da.from_array(gaps, chunks=(150, D))
    mixture = GaussianMixture(K, init_params=init_params, missing="drop", random_state=0).fit(lazy)
    plain = GaussianMixture(K, random_state=0).fit(gaps[complete(gaps)])
    np.testing.assert_allclose(mixture.means_, plain.means_, atol=0.05)


def test_rows_that_are_dropped_have_no_label_and_no_density(X, gaps):
    kept = complete(gaps)
    mixture = started(X, missing="drop").fit(gaps)
    lazy = da.from_array(gaps, chunks=(170, D))
    for given in (gaps, lazy):
        labels = np.asarray(mixture.predict(given))
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels[~kept], -1)
        np.testing.assert_array_equal(labels[kept], mixture.predict(gaps[kept]))
        for name in ("predict_proba", "score_samples"):
            values = np.asarray(getattr(mixture, name)(given))
            assert np.isnan(values[~kept]).all()
            np.testing.assert_allclose(values[kept], getattr(mixture, name)(gaps[kept]), rtol=1e-12)
    for name in ("score", "bic", "aic", "icl"):
        both = [getattr(mixture, name)(given) for given in (gaps, lazy, gaps[kept])]
        np.testing.assert_allclose(both, both[-1], rtol=1e-12)


def test_all_rows_without_labels(X):
    mixture = started(X, missing="drop").fit(X)
    nothing = np.full((4, D), np.nan)
    assert mixture.predict(nothing).tolist() == [-1] * 4
    assert mixture.predict_proba(nothing).shape == (4, K)
    with pytest.raises(DataError, match="no likelihood"):
        mixture.score(nothing)


def test_one_scan(X, gaps):
    X = reference.make_blobs(3000, D, K, seed=3)
    gaps = np.where(np.random.default_rng(1).random(X.shape) < 0.05, np.nan, X)
    kept = complete(gaps)
    lazy = da.from_array(gaps, chunks=(500, D))
    scan = BFRGaussianMixture(K, batch_rows=500, sample_rows=500, missing="drop", random_state=0).fit(lazy)
    assert (scan.n_rows_, scan.n_dropped_) == (np.count_nonzero(kept), np.count_nonzero(~kept))
    np.testing.assert_array_equal(scan.predict(gaps)[~kept], -1)
    plain = GaussianMixture(K, random_state=0).fit(X)
    np.testing.assert_allclose(np.sort(scan.means_, axis=0), np.sort(plain.means_, axis=0), atol=0.15)
    parts = BFRGaussianMixture(K, batch_rows=500, sample_rows=500, missing="drop", random_state=0)
    for part in np.split(gaps, 6):
        parts.partial_fit(part)
    assert parts.n_dropped_ == scan.n_dropped_


def test_hard_clusters(X, gaps):
    kept = complete(gaps)
    scan = BFRKMeans(K, batch_rows=200, missing="drop", random_state=0).fit(da.from_array(gaps, chunks=(100, D)))
    assert (scan.n_rows_, scan.n_dropped_) == (np.count_nonzero(kept), np.count_nonzero(~kept))
    np.testing.assert_array_equal(scan.predict(gaps) == -1, ~kept)
    np.testing.assert_array_equal(np.isnan(scan.transform(gaps)).all(axis=1), ~kept)
    assert scan.score(gaps) == pytest.approx(scan.score(gaps[kept]))


@pytest.mark.parametrize("missing", ["raise", "drop", "marginalize"])
def test_rows_of_weight_zero_may_hold_anything(X, missing):
    w = np.ones(N)
    spoilt = X.copy()
    for row, value in ((3, np.nan), (17, np.inf), (400, np.nan)):
        spoilt[row, 1], w[row] = value, 0.0
    kept = w > 0.0
    plain = started(X).fit(X[kept])
    mixture = started(X, missing=missing).fit(spoilt, sample_weight=w)
    assert same(mixture, plain)
    assert mixture.score(spoilt, sample_weight=w) == pytest.approx(plain.score(X[kept]))
    assert mixture.n_dropped_ == 2


@pytest.mark.parametrize("missing", ["drop", "marginalize"])
def test_infinity_is_an_error(X, gaps, missing):
    mixture = started(X, missing=missing)
    for value in (np.inf, -np.inf):
        bad = gaps.copy()
        bad[37] = [np.nan, value, 0.0]
        with pytest.raises(DataError, match=r"infinity, first at chunk 0, row 37, feature 1.*only NaN may stand"):
            mixture.fit(bad)
        for name in ("predict", "score", "score_samples"):
            with pytest.raises(DataError, match="infinity, first at chunk 0, row 37, feature 1"):
                getattr(started(X, missing=missing).fit(X), name)(bad)


def test_the_default_names_count_and_place_and_what_there_is(X):
    X[5, 1] = X[60, 0] = np.nan
    words = r"NaN, first at chunk 0, row 5, feature 1; 2 of its 1800 values .*missing='drop'.*missing='marginalize'"
    with pytest.raises(DataError, match=words):
        GaussianMixture(K).fit(X)
    with pytest.raises(DataError, match=r"first at chunk 2, row 0 \(row 10 of the data\).*missing='drop'"):
        BFRKMeans(K).fit(da.from_array(X[50:], chunks=(5, D)))


def test_nothing_left_for_a_scan(X):
    X[np.arange(len(X)), np.arange(len(X)) % D] = np.nan
    words = "whose weight is not zero.*the scan left out 600 rows for missing values"
    with pytest.raises(DataError, match=words):
        GaussianMixture(K, missing="marginalize", init_params="bfr").fit(X)
    with pytest.raises(DataError, match=words):
        BFRKMeans(K, missing="drop").fit(X)


def test_nothing_left(X, gaps):
    X[:, 2] = np.nan
    with pytest.raises(DataError, match=r"no row is left: 600 of the 600 rows .* feature 2, which is missing in 600"):
        GaussianMixture(K, missing="drop").fit(X)
    with pytest.raises(DataError, match="no row is left: every value of the 600 rows is missing"):
        GaussianMixture(K, missing="marginalize").fit(np.full_like(X, np.nan))
    gaps[2:] = np.nan
    gaps[:2] = 1.0
    with pytest.raises(DataError, match=r"2 rows whose weight is not zero \(598 were left out for missing values\)"):
        GaussianMixture(3, missing="drop").fit(gaps)


@pytest.mark.parametrize("estimator", [BFRGaussianMixture, BFRKMeans])
def test_sums_cannot_be_marginalized(X, estimator):
    with pytest.raises(ParameterError, match="missing is 'marginalize'; it must be 'raise' or 'drop': sums of rows"):
        estimator(K, missing="marginalize").fit(X)
    with pytest.raises(ParameterError, match="missing is 'ignore'; it must be one of 'raise', 'drop', 'marginalize'"):
        GaussianMixture(K, missing="ignore").fit(X)


def test_it_is_said_what_is_missing(X, gaps, capsys):
    for missing, words in (("drop", "rows left out, 0 fitted"), ("marginalize", "0 rows left out, ")):
        gaps[np.isnan(gaps).all(axis=1)] = 1.0
        started(X, missing=missing, verbose=1).fit(gaps)
        out = capsys.readouterr().out
        assert f"Missing values: {np.isnan(gaps).sum()} (" in out
        assert words in out
    started(X, missing=missing, verbose=1).fit(X)
    assert "Missing" not in capsys.readouterr().out
