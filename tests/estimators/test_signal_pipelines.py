"""Features of signals before a mixture, in scikit-learn's pipelines, on rows that are read in chunks."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import sklearn
import xarray as xr
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from dgmm import BFRGaussianMixture, EigenMoments, Execution, GaussianMixture

N, SHAPE, CHUNK = 300, (6, 5), 100
KINDS = np.arange(N) % 2


def waves():
    rng = np.random.default_rng(0)
    y, x = (np.linspace(-1.0, 1.0, size) for size in SHAPE)
    kinds = np.stack([np.outer(np.cos(2 * y), 1 + x), np.outer(y, np.sin(2 * x))])
    return kinds[KINDS] * 3.0 + rng.normal(0.0, 0.7, (N, *SHAPE))


def counted(values, reads):
    """The same in chunks, whose reads are counted."""

    def load(block, block_info=None):
        reads.append(block_info[0]["chunk-location"][0])
        return block

    chunks = da.from_array(values, chunks=(CHUNK, *values.shape[1:]))
    return chunks.map_blocks(load, dtype=values.dtype, meta=np.empty((0,) * values.ndim))


def mixture(**params):
    return GaussianMixture(2, random_state=0, **params)


def pipeline():
    return Pipeline([("features", EigenMoments(3, noise=0.5)), ("mixture", mixture())])


def same(model, other):
    return all(
        np.array_equal(getattr(model, name), getattr(other, name)) for name in ("weights_", "means_", "covariances_")
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_pipeline_is_the_two_one_after_the_other(dtype):
    X, reads = waves().astype(dtype), []
    lazy = counted(X, reads)
    found = pipeline().fit(lazy)
    features = EigenMoments(3, noise=0.5).fit(da.from_array(X, chunks=(CHUNK, *SHAPE)))
    model = mixture().fit(features.transform(da.from_array(X, chunks=(CHUNK, *SHAPE))))
    assert same(found["mixture"], model)
    np.testing.assert_array_equal(found["features"].components_, features.components_)
    # One read for the features; the first pass of the mixture holds its rows in memory.
    assert sorted(reads) == sorted([*range(3)] * 2)
    reads.clear()
    labels = found.predict(lazy)
    assert isinstance(labels, da.Array)
    assert reads == []
    np.testing.assert_array_equal(labels, model.predict(features.transform(X)))
    assert sorted(reads) == [*range(3)]
    assert found.score(X) == pytest.approx(model.score(features.transform(X)))
    assert found.predict_proba(X).dtype == dtype


@pytest.mark.parametrize("persist", [True, False])
def test_the_mixture_reads_signals_as_often_as_it_tells(persist):
    reads = []
    lazy = counted(waves(), reads)
    features = EigenMoments(3, noise=0.5).fit(lazy)
    assert len(reads) == 3
    reads.clear()
    model = mixture().fit(features.transform(lazy), execution=Execution(persist=persist))
    assert len(reads) == 3 * (1 if persist else model.n_reads_)


def test_labelled_signals_give_labels():
    scene = xr.DataArray(
        da.from_array(waves().reshape(3, 100, *SHAPE), chunks=(1, 50, *SHAPE)),
        {"time": [3, 4, 5], "site": ("place", np.arange(100) % 7)},
        dims=("time", "place", "y", "x"),
    )
    found = make_pipeline(EigenMoments(3, signal_dims=("y", "x"), noise=0.5), mixture()).fit(scene)
    labels = found.predict(scene)
    assert labels.dims == ("time", "place")
    assert {*labels.coords} == {"time", "site"}
    assert labels.chunks == ((1, 1, 1), (50, 50))
    kinds = labels.values.reshape(-1)
    assert max((kinds == KINDS).mean(), (kinds != KINDS).mean()) > 0.95


def test_a_table_of_signals():
    frame = pd.DataFrame(waves().reshape(N, -1), columns=[f"p{i}" for i in range(30)], index=np.arange(N) + 5)
    steps = (EigenMoments(3, signal_shape=SHAPE, noise=0.5), StandardScaler(), mixture())
    found = make_pipeline(*steps).set_output(transform="pandas").fit(frame)
    assert found[-1].feature_names_in_.tolist() == ["eigenmoment_0", "eigenmoment_1", "eigenmoment_2"]
    assert found[:-1].transform(frame).index.equals(frame.index)
    assert found[:1].get_feature_names_out().tolist() == found[-1].feature_names_in_.tolist()


def test_a_search_over_both():
    """Of features that are the same in any basis."""
    bases = ["legendre", "monomial"]
    search = GridSearchCV(pipeline(), {"features__basis": bases, "mixture__n_components": [1, 2]}, cv=3).fit(waves())
    legendre, monomial = search.cv_results_["mean_test_score"].reshape(2, 2)
    np.testing.assert_allclose(monomial, legendre, rtol=1e-6)
    assert search.best_params_["mixture__n_components"] == 2


def test_weights_reach_both():
    X, w = waves(), np.arange(N) % 3 * 1.0
    with sklearn.config_context(enable_metadata_routing=True):
        features = EigenMoments(3, noise=0.5).set_fit_request(sample_weight=True)
        found = make_pipeline(features, mixture().set_fit_request(sample_weight=True)).fit(X, sample_weight=w)
    direct = EigenMoments(3, noise=0.5).fit(X, sample_weight=w)
    assert same(found[-1], mixture().fit(direct.transform(X), sample_weight=w))


def test_a_scan_of_features_reads_signals_once_more():
    reads = []
    lazy = counted(waves(), reads)
    found = make_pipeline(EigenMoments(3, noise=0.5), BFRGaussianMixture(2, random_state=0, sample_rows=100)).fit(lazy)
    assert sorted(reads) == sorted([*range(3)] * 2)
    assert found[-1].n_rows_ == N
