"""Someone who swaps scikit-learn's class for dgmm's should notice only the speed."""

import copy
import pickle
import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import sklearn
import sklearn.mixture
from reference import FAMILIES, PEERS_FAMILIES, make_blobs, make_start, start_parameters
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from dgmm import BFRGaussianMixture, BFRKMeans, GaussianMixture

N, D, K = 200, 3, 2


NOT_CLAIMED = {
    "check_dtype_object": "numbers in an object array are refused, with advice, not converted",
    "check_array_api_input": "needs a setting of scipy's",
}
# What one scan does not claim.
NOT_CLAIMED_OF_SCANS = {
    "check_sample_weight_equivalence_on_dense_data": "its start draws rows, of which one given twice is two",
}
ESTIMATORS = (
    GaussianMixture(),
    GaussianMixture(n_components=2, covariance_type="diag"),
    BFRGaussianMixture(),
    BFRGaussianMixture(n_components=2, covariance_type="spherical"),
    BFRKMeans(n_clusters=2),
)


def checks_that_apply():
    for estimator in ESTIMATORS:
        not_claimed = NOT_CLAIMED if isinstance(estimator, GaussianMixture) else NOT_CLAIMED | NOT_CLAIMED_OF_SCANS
        for own, check in estimator_checks_generator(estimator):
            name = getattr(check, "func", check).__name__
            if name not in not_claimed:
                yield pytest.param(own, check, id=f"{own}-{name}")


@pytest.mark.parametrize(("estimator", "check"), list(checks_that_apply()))
def test_scikit_learns_own_checks(estimator, check):
    with warnings.catch_warnings():
        # Some checks feed a handful of rows or stop after an iteration.
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.fixture(name="X", scope="module")
def blobs():
    return make_blobs(N, D, K, seed=1, spread=6.0)


def test_parameters_have_the_names_and_defaults_of_scikit_learn():
    own, peer = GaussianMixture().get_params(), sklearn.mixture.GaussianMixture().get_params()
    assert {name: own[name] for name in peer} == peer
    assert set(own) - set(peer) == {"sample_rows", "accelerate", "missing"}


def test_clone_and_set_params(X):
    model = GaussianMixture(K, covariance_type="diag", tol="auto", random_state=3).fit(X)
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "means_")
    assert twin.set_params(covariance_type="tied").fit(X).covariances_.shape == (D, D)
    with pytest.raises(ValueError, match="Invalid parameter 'n_component'"):
        model.set_params(n_component=3)


@pytest.mark.parametrize("family", PEERS_FAMILIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fitted_attributes_have_the_names_shapes_and_types_of_scikit_learn(X, family, dtype):
    own = GaussianMixture(K, covariance_type=family, random_state=0).fit(X.astype(dtype))
    peer = sklearn.mixture.GaussianMixture(K, covariance_type=family, random_state=0).fit(X.astype(dtype))
    names = {name for name in vars(peer) if name.endswith("_") and not name.startswith("_")}
    assert names - set(vars(own)) == set()
    assert {name for name in vars(own) if name.endswith("_")} - names == {
        "plan_", "stop_reason_", "n_reads_", "remaining_gap_", "sampling_error_", "n_missing_", "n_dropped_",
        "sample_",
    }  # fmt: skip
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        a, b = getattr(own, name), getattr(peer, name)
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
    for name in ("converged_", "n_iter_", "n_features_in_"):
        assert type(getattr(own, name)) is type(getattr(peer, name)), name
    assert isinstance(own.lower_bound_, float)
    assert isinstance(own.lower_bounds_, list)
    assert len(own.lower_bounds_) == own.n_iter_
    for method in ("predict", "predict_proba", "score_samples"):
        a, b = getattr(own, method)(X.astype(dtype)), getattr(peer, method)(X.astype(dtype))
        assert a.shape == b.shape, method
        assert a.dtype == b.dtype, method
    for a, b in zip(own.sample(4), peer.sample(4), strict=True):
        assert a.shape == b.shape


def test_methods_before_fit(X):
    for method in ("predict", "predict_proba", "score_samples", "score", "aic", "bic", "icl"):
        for data in (X, da.from_array(X)):
            with pytest.raises(NotFittedError, match="not fitted yet"):
                getattr(GaussianMixture(), method)(data)
    with pytest.raises(NotFittedError):
        GaussianMixture().sample()


def test_a_fit_that_did_not_converge_warns(X):
    with pytest.warns(ConvergenceWarning, match=r"did not converge in 2 iterations.*increase max_iter"):
        model = GaussianMixture(3, tol=0.0, max_iter=2).fit(X)
    assert not model.converged_
    assert model.stop_reason_.name == "MAX_ITER"
    with pytest.warns(ConvergenceWarning, match=r"did not converge in 1 iteration \(tol=0.0\); increase"):
        model.set_params(max_iter=1).fit(X)


def test_converged_means_that_the_last_rise_was_below_tol(X):
    model = GaussianMixture(K, tol=1e-6, max_iter=500, random_state=0).fit(X)
    assert model.converged_
    assert model.stop_reason_.name == "TOLERANCE"
    rises = np.diff(model.lower_bounds_)
    assert abs(rises[-1]) < 1e-6
    assert (rises[:-1] >= 1e-6).all()


def test_tol_auto_stops_within_the_sampling_error_of_the_optimum():
    X = make_blobs(2000, D, K, seed=4, spread=1.0)
    start = start_parameters(*make_start(X, K, "full"), "full")
    model = GaussianMixture(**start, tol="auto", max_iter=500).fit(X)
    best = GaussianMixture(**start, tol=1e-12, max_iter=5000).fit(X)
    assert model.stop_reason_.name == "GAP"
    assert model.n_iter_ < best.n_iter_
    assert 0.0 < best.lower_bound_ - model.lower_bound_ < model._n_parameters() / (2 * 2000)


@pytest.mark.parametrize("family", FAMILIES)
def test_warm_start_continues(X, family):
    def fit(model):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(X)

    common = {"covariance_type": family, "tol": 0.0, "random_state": 0}
    start = start_parameters(*make_start(X, K, family), family)
    whole = fit(GaussianMixture(**start | common, max_iter=10))
    halves = GaussianMixture(**start | common, max_iter=5, warm_start=True)
    fit(fit(halves))
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_allclose(getattr(halves, name), getattr(whole, name), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(halves.lower_bounds_, whole.lower_bounds_[5:], rtol=1e-12)


def test_warm_start_with_another_number_of_components_starts_afresh(X):
    model = GaussianMixture(K, warm_start=True, random_state=0, max_iter=300).fit(X)
    assert model.set_params(n_components=3).fit(X).means_.shape == (3, D)


def test_verbose_prints_progress(X, capsys):
    GaussianMixture(K, random_state=0, max_iter=300).fit(X)
    assert capsys.readouterr().out == ""
    model = GaussianMixture(K, random_state=0, verbose=1, verbose_interval=1, max_iter=300).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Initialization (kmeans, 200 sampled rows")
    assert sum("Iteration" in line for line in lines) == model.n_iter_
    assert lines[-1].startswith(f"{model.n_iter_} iterations, mean log-likelihood ")
    GaussianMixture(K, random_state=0, verbose=2, verbose_interval=2, max_iter=300).fit(X)
    assert "change" in capsys.readouterr().out


@pytest.mark.parametrize("family", PEERS_FAMILIES)
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random_from_data", "k-means||"])
def test_every_start_finds_separated_blobs(family, init_params):
    X = make_blobs(600, 2, 3, seed=6, spread=12.0)
    common = {"covariance_type": family, "tol": 1e-6, "max_iter": 1000, "random_state": 0}
    peer = sklearn.mixture.GaussianMixture(3, n_init=5, **common).fit(X)
    model = GaussianMixture(3, n_init=5, init_params=init_params, **common).fit(X)
    assert model.score(X) == pytest.approx(peer.score(X), abs=1e-3)


@pytest.mark.parametrize("family", ["full", "diag", "spherical"])
def test_random_responsibilities_break_the_symmetry(family):
    """A poor start, in scikit-learn too, but better than one component."""
    X = make_blobs(600, 2, 3, seed=6, spread=12.0)
    common = {"covariance_type": family, "tol": 1e-6, "max_iter": 1000, "random_state": 0}
    model = GaussianMixture(3, n_init=5, init_params="random", **common).fit(X)
    assert model.score(X) > GaussianMixture(1, **common).fit(X).score(X) + 1.0
    assert len(np.unique(model.predict(X))) == 3


def test_more_starts_are_never_worse_on_the_sample():
    X = make_blobs(500, 2, 8, seed=8, spread=3.0)
    common = {"init_params": "random_from_data", "tol": 1e-5, "max_iter": 2000}
    one = [GaussianMixture(8, random_state=seed, **common).fit(X).score(X) for seed in range(4)]
    many = [GaussianMixture(8, n_init=8, random_state=seed, **common).fit(X).score(X) for seed in range(4)]
    assert np.mean(many) > np.mean(one)


def test_components_are_ordered_by_weight_unless_the_start_says_otherwise():
    X = np.concatenate([make_blobs(30, 2, 1, 0), make_blobs(60, 2, 1, 1) + 50.0, make_blobs(10, 2, 1, 2) - 50.0])
    model = GaussianMixture(3, random_state=0).fit(X)
    np.testing.assert_allclose(model.weights_, [0.6, 0.3, 0.1], atol=1e-6)
    model = GaussianMixture(3, random_state=0, means_init=[X[90:].mean(0), X[:30].mean(0), X[30:90].mean(0)]).fit(X)
    np.testing.assert_allclose(model.weights_, [0.1, 0.3, 0.6], atol=1e-6)


def test_sample_has_the_statistics_of_the_model():
    X = make_blobs(3000, D, 3, seed=9, spread=8.0)
    for family in PEERS_FAMILIES:
        model = GaussianMixture(3, covariance_type=family, random_state=0).fit(X)
        rows, labels = model.sample(60_000)
        assert labels.dtype.kind == "i"
        assert (np.diff(labels) >= 0).all()
        np.testing.assert_allclose(np.bincount(labels) / len(labels), model.weights_, atol=0.01)
        again = sklearn.mixture.GaussianMixture(1, covariance_type=family)
        for k in range(3):
            again.fit(rows[labels == k])
            own = model.covariances_ if family == "tied" else model.covariances_[k]
            scale = np.sqrt(np.max(own))
            np.testing.assert_allclose(again.means_[0], model.means_[k], atol=0.05 * scale)
            np.testing.assert_allclose(np.squeeze(again.covariances_), own, atol=0.05 * scale**2)


def test_sample_draws_anew_each_time_only_with_a_generator(X):
    fixed = GaussianMixture(K, random_state=1).fit(X)
    assert np.array_equal(fixed.sample(5)[0], fixed.sample(5)[0])
    moving = GaussianMixture(K, random_state=np.random.RandomState(1)).fit(X)
    assert not np.array_equal(moving.sample(5)[0], moving.sample(5)[0])


@pytest.mark.parametrize("family", PEERS_FAMILIES)
def test_parameters_set_by_hand(X, family):
    """As scikit-learn's users do to evaluate a mixture that they know."""
    peer = sklearn.mixture.GaussianMixture(K, covariance_type=family, random_state=0).fit(X)
    model = GaussianMixture(K, covariance_type=family, random_state=0)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(model, name, getattr(peer, name))
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(X), atol=1e-9)
    np.testing.assert_allclose(model.score_samples(X), peer.score_samples(X), atol=1e-9)
    assert np.array_equal(model.predict(da.from_array(X, chunks=(50, D))).compute(), peer.predict(X))
    assert model.bic(X) == pytest.approx(peer.bic(X))
    assert model.sample(10)[0].shape == (10, D)
    fitted = GaussianMixture(K, covariance_type=family, random_state=0).fit(X)
    fitted.means_ = fitted.means_ + 1.0  # also after a fit
    np.testing.assert_allclose(fitted.score_samples(X + 1.0), peer.score_samples(X), atol=1e-2)


def test_dataframes_give_feature_names(X):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = GaussianMixture(K, random_state=0).fit(frame)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert np.array_equal(model.predict(frame), model.fit_predict(X))
    model.fit(frame)
    others = frame[["b", "a", "c"]].assign(d=0.0)  # unlike scikit-learn's, taken by name
    assert np.array_equal(model.predict(others), model.predict(frame))
    words = r"Feature names unseen at fit time:\n- d\nFeature names seen at fit time, yet now missing:\n- c\n"
    with pytest.raises(ValueError, match=words):
        model.predict(others[["a", "b", "d"]])
    with pytest.warns(UserWarning, match="valid feature names"):
        model.predict(X)
    assert not hasattr(model.fit(X), "feature_names_in_")


def test_pipeline_and_grid_search(X):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), GaussianMixture(random_state=0, max_iter=500)),
        {"gaussianmixture__n_components": [1, 2], "gaussianmixture__covariance_type": ["full", "spherical"]},
        cv=3,
    ).fit(X)
    assert search.best_params_["gaussianmixture__n_components"] == 2
    assert np.isfinite(search.score(X))
    assert cross_val_score(GaussianMixture(K, random_state=0), X, cv=4).shape == (4,)


def test_set_output_gives_names_to_what_follows_and_to_distances(X):
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(N) + 7)
    model = (
        make_pipeline(StandardScaler(), GaussianMixture(K, random_state=0)).set_output(transform="pandas").fit(frame)
    )
    assert model[-1].feature_names_in_.tolist() == ["a", "b", "c"]
    plain = make_pipeline(StandardScaler(), GaussianMixture(K, random_state=0)).fit(X)
    assert np.array_equal(model.predict(frame), plain.predict(X))
    clusters = BFRKMeans(n_clusters=K, random_state=0).set_output(transform="pandas").fit(frame)
    distances = clusters.transform(frame)
    assert distances.columns.tolist() == clusters.get_feature_names_out().tolist() == ["bfrkmeans0", "bfrkmeans1"]
    assert distances.index.equals(frame.index)
    np.testing.assert_array_equal(distances.to_numpy(), clusters.set_output(transform="default").transform(frame))


def test_metadata_routing_of_sample_weight(X):
    w = np.r_[np.ones(N // 2), np.zeros(N - N // 2)]
    with sklearn.config_context(enable_metadata_routing=True):
        mixture = GaussianMixture(K, random_state=0).set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        model = make_pipeline(scaler, mixture).fit(X, sample_weight=w)
    scaled = StandardScaler().fit_transform(X)
    direct = GaussianMixture(K, random_state=0).fit(scaled, sample_weight=w)
    assert np.array_equal(model[-1].means_, direct.means_)


def test_pickle_and_copy(X):
    model = GaussianMixture(K, random_state=0).fit(X.astype(np.float32))
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert twin.get_params() == model.get_params()
        assert np.array_equal(twin.score_samples(X), model.score_samples(X))
        assert twin.stop_reason_ is model.stop_reason_


@pytest.mark.parametrize("family", FAMILIES)
def test_fit_predict_is_fit_then_predict(X, family):
    labels = GaussianMixture(K, covariance_type=family, random_state=0).fit_predict(X)
    assert np.array_equal(labels, GaussianMixture(K, covariance_type=family, random_state=0).fit(X).predict(X))
    w = np.arange(N) % 2
    model = GaussianMixture(K, random_state=0)
    assert np.array_equal(model.fit_predict(X, sample_weight=w), model.predict(X))
    assert np.array_equal(model.means_, GaussianMixture(K, random_state=0).fit(X, sample_weight=w).means_)


def test_y_is_ignored(X):
    model = GaussianMixture(K, random_state=0)
    assert np.array_equal(model.fit(X, np.arange(N)).means_, model.fit(X).means_)
    assert model.score(X, np.arange(N)) == model.score(X)
