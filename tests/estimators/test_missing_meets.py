"""Missing values beside labels, selections, labelled arrays and columns of weights."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from reference import make_blobs
from sklearn.utils import get_tags

import dgmm
from dgmm import GaussianMixture
from dgmm.errors import DataError, ParameterError

N, D, K = 900, 3, 2


@pytest.fixture(name="whole", scope="module")
def blobs():
    return make_blobs(N, D, K, seed=1, spread=5.0)


@pytest.fixture(name="X", scope="module")
def holes(whole):
    X = whole.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.15] = np.nan
    return X


@pytest.mark.parametrize("missing", ["drop", "marginalize"])
@pytest.mark.parametrize("held_out", [None, 0.2])
def test_a_selection_scores_what_its_model_scores(X, missing, held_out):
    found = dgmm.select(X, [1, 2], ["full", "tied-diag"], "bic", held_out=held_out, missing=missing, random_state=0)
    model = found.best_model
    own = found.table.sel(covariance_type=found.best[0], n_components=found.best[1])
    assert found.best[1] == 2
    if held_out is None:
        assert float(own.bic) == pytest.approx(model.bic(X), rel=1e-12)
        alone = GaussianMixture(**model.get_params()).fit(X)
        assert np.array_equal(alone.means_, model.means_)
    else:
        assert np.isfinite(float(own.heldout_log_likelihood))


def test_labels_of_complete_rows_beside_rows_with_missing_values(whole, X):
    truth = GaussianMixture(K, random_state=0).fit(whole).predict(whole)
    labels = np.where(np.isnan(X).any(axis=1) | (np.arange(N) % 3 > 0), -1, 1 - truth)
    model = GaussianMixture(K, missing="marginalize", random_state=0).fit(X, labels=labels)
    assert np.mean(model.predict(X) == 1 - truth) > 0.9  # components in the order of the labels
    with pytest.raises(DataError, match=r"NaN, first at chunk 0, row \d+, feature \d, in a labelled row.*label -1"):
        GaussianMixture(K, missing="marginalize").fit(X, labels=1 - truth)
    dropped = GaussianMixture(K, missing="drop").fit(X, labels=1 - truth)
    there = ~np.isnan(X).any(axis=1)
    means = [whole[there & (truth == 1 - k)].mean(axis=0) for k in range(K)]
    np.testing.assert_allclose(dropped.means_, means, rtol=1e-10)
    assert dropped.n_iter_ == 0


@pytest.mark.parametrize("missing", ["drop", "marginalize"])
def test_a_map_with_land(X, missing):
    scene = xr.DataArray(X.reshape(30, 30, D), dims=("y", "x", "band"), coords={"y": np.arange(30) * 0.5})
    scene = scene.where(scene.y > 2.0).chunk(y=10)
    model = GaussianMixture(K, missing=missing, random_state=0).fit(
        scene.transpose("band", "x", "y"), sample_dims=("x", "y")
    )
    labels = model.predict(scene)
    flat = scene.values.reshape(-1, D)
    lost = np.isnan(flat).any(axis=1) if missing == "drop" else np.isnan(flat).all(axis=1)
    np.testing.assert_array_equal(labels.values.ravel() == -1, lost)
    np.testing.assert_array_equal(np.isnan(model.score_samples(scene).values.ravel()), lost)
    assert model.n_dropped_ == lost.sum()


def test_columns_of_weights_and_labels_beside_missing_values(X):
    weights = np.arange(N) % 3
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(weight=weights, known=-1)
    named = GaussianMixture(K, missing="marginalize", random_state=0).fit(frame, sample_weight="weight", labels="known")
    beside = GaussianMixture(K, missing="marginalize", random_state=0).fit(
        frame[["a", "b", "c"]], sample_weight=weights
    )
    assert np.array_equal(named.means_, beside.means_)
    assert named.feature_names_in_.tolist() == ["a", "b", "c"]


def test_one_scan_refuses_labels(whole):
    table = dgmm.open_rows(whole, labels=np.zeros(N))
    for estimator in (dgmm.BFRGaussianMixture(K), dgmm.BFRKMeans(n_clusters=K), GaussianMixture(K, init_params="bfr")):
        with pytest.raises(ParameterError, match=r"one scan.* knows no"):
            estimator.fit(table)


@pytest.mark.parametrize(("missing", "allowed"), [("raise", False), ("drop", True), ("marginalize", True)])
def test_scikit_learn_is_told_whether_values_may_be_missing(missing, allowed):
    assert get_tags(GaussianMixture(missing=missing)).input_tags.allow_nan is allowed
