"""Mixtures as labelled datasets, and to and from scikit-learn, which scores them itself."""

import numpy as np
import pandas as pd
import pytest
import sklearn.mixture
import xarray as xr
from reference import FAMILIES, PEERS_FAMILIES, make_blobs

from dgmm import BFRGaussianMixture, GaussianMixture
from dgmm.errors import DataTypeError, NotFittedError

N, D, K = 300, 3, 2


@pytest.fixture(name="X", scope="module")
def blobs():
    return make_blobs(N, D, K, seed=1, spread=4.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("family", FAMILIES)
def test_scikit_learn_scores_what_it_is_given_as_dgmm_does(X, family, dtype):
    X = X.astype(dtype)
    model = GaussianMixture(K, covariance_type=family, random_state=0, tol="auto").fit(X)
    peer = model.to_sklearn()
    tolerance = 1e-9 if dtype is np.float64 else 2e-4
    np.testing.assert_allclose(peer.score_samples(X), model.score_samples(X), atol=tolerance)
    np.testing.assert_allclose(peer.predict_proba(X), model.predict_proba(X), atol=tolerance)
    assert peer.means_.dtype == dtype
    assert (peer.n_components, peer.n_iter_, peer.converged_) == (K, model.n_iter_, True)
    if family in PEERS_FAMILIES:
        assert peer.bic(X) == pytest.approx(model.bic(X), rel=1e-9 if dtype is np.float64 else 1e-4)
        peer.set_params(warm_start=True, max_iter=1000, tol=1e-8).fit(X)  # it goes on from there
        assert peer.score(X) == pytest.approx(model.score(X), abs=1e-3)
    else:
        assert peer.covariance_type == "tied"


@pytest.mark.parametrize("family", PEERS_FAMILIES)
def test_there_and_back(X, family):
    model = GaussianMixture(K, covariance_type=family, random_state=0, max_iter=7, reg_covar=1e-3, tol=1e-9).fit(X)
    again = GaussianMixture.from_sklearn(model.to_sklearn())
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_", "precisions_"):
        np.testing.assert_allclose(getattr(again, name), getattr(model, name), rtol=1e-12)
    assert (again.max_iter, again.reg_covar, again.tol) == (7, 1e-3, 1e-9)
    np.testing.assert_allclose(again.score_samples(X), model.score_samples(X), rtol=1e-10)


@pytest.mark.parametrize("cls", [GaussianMixture, BFRGaussianMixture])
def test_what_scikit_learn_has_fitted(X, cls, tmp_path):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    peer = sklearn.mixture.GaussianMixture(K, random_state=0, init_params="k-means++").fit(frame)
    model = cls.from_sklearn(peer)
    np.testing.assert_allclose(model.score_samples(frame), peer.score_samples(frame), rtol=1e-10)
    np.testing.assert_array_equal(model.predict(frame), peer.predict(frame))
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    model.save(tmp_path / "m.zarr")
    assert np.array_equal(cls.load(tmp_path / "m.zarr").means_, peer.means_)


def test_a_warm_start_goes_on_from_scikit_learns_fit(X):
    peer = sklearn.mixture.GaussianMixture(K, random_state=0, tol=1e-10, max_iter=1000).fit(X)
    model = GaussianMixture.from_sklearn(peer).set_params(warm_start=True, accelerate=None).fit(X)
    assert model.n_iter_ <= 2
    np.testing.assert_allclose(model.means_, peer.means_, rtol=1e-5)


def test_what_has_no_equal_is_refused_or_has_its_default(X):
    with pytest.raises(DataTypeError, match=r"expected a sklearn\.mixture\.GaussianMixture"):
        GaussianMixture.from_sklearn(sklearn.mixture.BayesianGaussianMixture().fit(X))
    with pytest.raises(NotFittedError, match="call its fit"):
        GaussianMixture.from_sklearn(sklearn.mixture.GaussianMixture())
    with pytest.raises(NotFittedError):
        GaussianMixture().to_sklearn()
    peer = GaussianMixture(K, tol="auto", init_params="k-means||", random_state=0).fit(X).to_sklearn()
    assert (peer.tol, peer.init_params) == (1e-3, "kmeans")
    peer.fit(X)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_dataset_has_the_parameters_under_their_labels(X, family, tmp_path):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = GaussianMixture(K, covariance_type=family, random_state=0).fit(frame)
    found = model.to_xarray()
    np.testing.assert_array_equal(found.means.sel(feature="b", component=1), model.means_[1, 1])
    np.testing.assert_array_equal(found.covariances, model.covariances_)
    if "feature_2" in found.covariances.dims:
        full = found.covariances if "component" not in found.covariances.dims else found.covariances.isel(component=0)
        assert float(full.sel(feature="c", feature_2="a")) == model.covariances_.reshape(-1, D, D)[0, 2, 0]
    assert found.lower_bounds.values.tolist() == model.lower_bounds_
    assert found.attrs["covariance_type"] == family
    assert found.attrs["stop_reason"] == model.stop_reason_.value
    found.to_netcdf(tmp_path / "m.nc")
    with xr.open_dataset(tmp_path / "m.nc") as again:
        xr.testing.assert_equal(again.load(), found.load())


def test_features_without_names_have_numbers(X):
    found = BFRGaussianMixture(K, random_state=0).fit(X).to_xarray()
    assert found.feature.values.tolist() == [0, 1, 2]
    assert found.attrs["n_rows"] == N
    with pytest.raises(NotFittedError):
        GaussianMixture().to_xarray()
