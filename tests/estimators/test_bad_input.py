"""Each kind of bad data: what class of error, and a message that says what, where and what to do."""

import dask.array as da
import dask.dataframe as frames
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr
from reference import FAMILIES, make_blobs, make_start, start_parameters
from sklearn.exceptions import ConvergenceWarning

from dgmm import GaussianMixture
from dgmm.errors import DataError, DataTypeError, DgmmError, IllDefinedCovarianceError, ParameterError

N, D = 60, 3


def blobs():
    return make_blobs(N, D, 2, seed=1, spread=6.0)


@pytest.fixture(scope="module")
def model():
    return GaussianMixture(2, random_state=0, max_iter=300).fit(blobs())


def spoilt(value, row=47, feature=2):
    X = blobs()
    X[row, feature] = value
    return X


def lazy(X, chunk_rows=20):
    return da.from_array(X, chunks=(chunk_rows, *X.shape[1:]))


def unknown(X, chunk_rows=20):
    return lazy(X, chunk_rows)[da.ones(len(X), chunks=chunk_rows, dtype=bool)]


# -- values -------------------------------------------------------------------------------------

VALUES = {"NaN": np.nan, "infinity": np.inf}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_values_that_are_not_finite_in_fit(name, dtype):
    X = spoilt(VALUES[name]).astype(dtype)
    X[50, 1] = VALUES[name]
    with pytest.raises(DataError, match=rf"^X contains {name}, first at chunk 0, row 47, feature 2; 2 of its 180"):
        GaussianMixture().fit(X)
    where = r"first at chunk 2, row 7 \(row 47 of the data\), feature 2; .* drop or impute"
    for data in (lazy(X), unknown(X)):
        with pytest.raises(DataError, match=where):
            GaussianMixture().fit(data)


def test_minus_infinity_and_the_largest_finite_numbers():
    with pytest.raises(DataError, match="infinity"):
        GaussianMixture().fit(spoilt(-np.inf))
    X = np.abs(blobs())
    X[:2] = 1e308  # their sum is infinite, they are not
    with pytest.raises(DataError, match="variance of feature 0 overflows float64; scale the input data"):
        GaussianMixture().fit(X)
    with pytest.raises(DataError, match="variance of feature 1 overflows float64; scale the input data"):
        GaussianMixture().fit(lazy(np.column_stack([np.arange(N), np.r_[np.full(20, -1e300), np.full(40, 1e300)]])))


@pytest.mark.parametrize("name", VALUES)
def test_values_that_are_not_finite_in_scores(model, name):
    X = spoilt(VALUES[name])
    for data in (lazy(X), unknown(X)):
        with pytest.raises(DataError, match=rf"X contains {name}, first at chunk 2, row 7.*, feature 2"):
            model.score(data)
    with pytest.raises(DataError, match=rf"X contains {name}, first at chunk 0, row 47, feature 2"):
        model.bic(X)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples"])
def test_values_that_are_not_finite_in_predictions(model, name, method):
    X = spoilt(VALUES[name])
    with pytest.raises(DataError, match=rf"X contains {name}, first at chunk 0, row 47, feature 2"):
        getattr(model, method)(X)
    result = getattr(model, method)(lazy(X))  # no error yet
    with pytest.raises(DataError, match=rf"X contains {name}, first at chunk 2, row 7, feature 2"):
        result.compute()
    assert len(result[:20].compute()) == 20  # chunks without it are fine


def test_masked_values_are_not_uncovered(model):
    X = np.ma.masked_less(blobs(), -5.0)
    count = X.mask.sum()
    with pytest.raises(DataError, match=rf"X is a masked array with {count} masked values; drop or impute them"):
        GaussianMixture().fit(X)
    with pytest.raises(DataError, match=r"X is a masked array with \d+ masked values in chunk \d; drop or impute"):
        GaussianMixture().fit(lazy(X))
    with pytest.raises(DataError, match=r"in chunk \d"):
        model.predict(lazy(X)).compute()
    unmasked = np.ma.masked_array(blobs(), mask=False)
    assert np.array_equal(model.predict(unmasked), model.predict(blobs()))


# -- shapes and types ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", [np.asarray, lambda X: da.from_array(X)])
def test_wrong_number_of_dimensions(model, make):
    for method in (GaussianMixture().fit, model.predict, model.score):
        with pytest.raises(DataError, match=r"(?s)Expected 2D array, got 1D array.*[Rr]eshape"):
            method(make(np.arange(20.0)))
    with pytest.raises(DataError, match=r"Found array with dim 3|Expected 2D array, got 3D array.*flatten the sample"):
        GaussianMixture().fit(make(np.ones((4, 5, 6))))


@pytest.mark.parametrize("make", [np.asarray, lambda X: da.from_array(X)])
@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples", "score", "bic", "icl"])
def test_wrong_number_of_features(model, make, method):
    with pytest.raises(DataError, match=r"X has 5 features, but GaussianMixture is expecting 3 features"):
        getattr(model, method)(make(np.ones((10, 5))))


BAD_TYPES = {
    "object": np.array([[1, "a"], [2, "b"]], dtype=object),
    "numbers as objects": np.array([[1.0, 2.0], [3.0, 4.0]], dtype=object),
    "str": np.array([["1", "2"], ["3", "4"]]),
    "complex": np.ones((3, 2), dtype=complex),
    "datetime": np.zeros((3, 2), dtype="datetime64[s]"),
    "timedelta": np.zeros((3, 2), dtype="timedelta64[s]"),
    "structured": np.zeros((3, 2), dtype=[("a", float)]),
}


@pytest.mark.parametrize("name", BAD_TYPES)
@pytest.mark.parametrize("make", [np.asarray, lambda X: da.from_array(X, chunks=X.shape)])
def test_types_that_hold_no_real_numbers(name, make):
    with pytest.raises((DataError, DataTypeError), match=r"holds no real numbers; convert|Complex data not supported"):
        GaussianMixture().fit(make(BAD_TYPES[name]))


def test_other_containers_are_refused_with_advice(model):
    with pytest.raises(DataTypeError, match=r"[Ss]parse"):
        GaussianMixture().fit(scipy.sparse.eye_array(5).tocsr())
    with pytest.raises(DataTypeError, match=r"xarray.*DataArray; give its dask array instead \(`\.data`"):
        GaussianMixture().fit(xr.DataArray(lazy(blobs()), dims=("row", "feature")))
    with pytest.raises(DataTypeError, match=r"Dataset; give its dask array instead"):
        model.predict(xr.Dataset({"a": (("row", "feature"), lazy(blobs()))}))
    with pytest.raises(DataTypeError, match=r"Delayed; give its dask array"):
        model.predict(lazy(blobs()).to_delayed()[0, 0])
    with pytest.raises(DataTypeError, match="holds no real numbers"):
        GaussianMixture().fit(None)
    with pytest.raises(DataError, match="expected rows of one length"):
        GaussianMixture().fit([[1.0, 2.0], [3.0]])
    with pytest.raises(DataTypeError, match="holds no real numbers"):
        GaussianMixture().fit(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))


def test_dataframes_of_dask_are_refused_with_advice():
    frame = frames.from_pandas(pd.DataFrame(blobs()), npartitions=2)
    with pytest.raises(DataTypeError, match=r"DataFrame; give its dask array instead .*to_dask_array\(lengths=True\)"):
        GaussianMixture().fit(frame)
    model = GaussianMixture(2, random_state=0).fit(frame.to_dask_array(lengths=True))
    np.testing.assert_allclose(model.means_, GaussianMixture(2, random_state=0).fit(blobs()).means_)


# -- numbers of rows and features ---------------------------------------------------------------


def test_no_rows(model):
    none = np.empty((0, D))
    nothing = lazy(blobs())[da.zeros(N, chunks=20, dtype=bool)]
    for data in (none, da.from_array(none, chunks=(1, D)), nothing):
        with pytest.raises(DataError, match=r"Found array with 0 sample\(s\)"):
            GaussianMixture().fit(data)
    for data in (da.from_array(none, chunks=(1, D)), nothing):
        with pytest.raises(DataError, match="X has no likelihood: it has no rows"):
            model.score(data)
        assert model.predict(data).compute().shape == (0,)
        assert model.predict_proba(data).compute().shape == (0, 2)


def test_no_or_unknown_features():
    for data in (np.empty((5, 0)), da.empty((5, 0), chunks=(5, 1))):
        with pytest.raises(DataError, match=r"Found array with 0 feature\(s\) .*minimum of 1 is required"):
            GaussianMixture().fit(data)
    with pytest.raises(DataError, match=r"number of features of X is unknown; call X.compute_chunk_sizes\(\)"):
        GaussianMixture().fit(lazy(blobs())[:, da.ones(D, dtype=bool)])


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "k-means||", "random", "random_from_data"])
def test_fewer_rows_than_components(init_params):
    X = blobs()[:4]
    for data in (X, lazy(X, 2), unknown(X, 2)):
        with pytest.raises(DataError, match=r"4 rows for n_components=5;.*more rows or decrease n_components"):
            GaussianMixture(5, init_params=init_params).fit(data)
    w = np.r_[np.ones(3), np.zeros(N - 3)]
    with pytest.raises(DataError, match=r"there are 3 rows of positive weight for n_components=4"):
        GaussianMixture(4, init_params=init_params).fit(blobs(), sample_weight=w)


# -- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "name"), [(-1.5, "-1.5"), (np.nan, "NaN"), (np.inf, "infinity")])
def test_bad_weights(model, value, name):
    w = np.ones(N)
    w[[47, 49]] = value
    with pytest.raises(
        DataError,
        match=rf"^sample_weight contains {name}, first at chunk 0, row 47; 2 of the weights are .* 0 or more",
    ):
        GaussianMixture().fit(blobs(), sample_weight=w)
    for data, weights in ((lazy(blobs()), w), (lazy(blobs()), lazy(w)), (unknown(blobs()), unknown(w))):
        with pytest.raises(DataError, match=rf"contains {name}, first at chunk 2, row 7 \(row 47 of the data\); 2 of"):
            GaussianMixture().fit(data, sample_weight=weights)
    with pytest.raises(DataError, match=rf"sample_weight contains {name}, first at chunk 2, row 7"):
        model.score(lazy(blobs()), sample_weight=w)
    with pytest.raises(DataError, match=rf"sample_weight contains {name}"):
        GaussianMixture().fit(blobs(), sample_weight=value)


def test_weights_of_no_rows(model):
    for data in (blobs(), lazy(blobs()), unknown(blobs())):
        with pytest.raises(DataError, match="every sample_weight of the 60 rows is zero; give at least one"):
            GaussianMixture().fit(data, sample_weight=0.0)
        with pytest.raises(DataError, match="every sample_weight of its 60 rows is zero"):
            model.score(data, sample_weight=0)


@pytest.mark.parametrize("shape", [(N + 1,), (N - 1,), (N, 1), (1,), ()])
def test_weights_of_another_shape(model, shape):
    for X in (blobs(), lazy(blobs())):
        for method in (GaussianMixture().fit, model.score):
            with pytest.raises(DataError, match=r"sample_weight has shape .*; expected one weight for each row, \(60"):
                method(X, sample_weight=np.ones(shape))
    with pytest.raises(DataError, match="sample_weight has shape"):
        GaussianMixture().fit(lazy(blobs()), sample_weight=da.ones(shape))


def test_weights_that_are_no_numbers():
    for data in (blobs(), lazy(blobs())):
        for weights in (np.array(["a"] * N), np.ones(N, dtype=complex), np.array([None] * N)):
            with pytest.raises(DataTypeError, match=r"sample_weight has dtype .*, which holds no real numbers"):
                GaussianMixture().fit(data, sample_weight=weights)
    with pytest.raises(DataError, match="sample_weight is a masked array"):
        GaussianMixture().fit(blobs(), sample_weight=np.ma.masked_array(np.ones(N), mask=np.arange(N) > 3))


def test_weights_that_cannot_be_matched_with_rows_of_unknown_length(model):
    for method in (GaussianMixture().fit, model.score):
        with pytest.raises(DataError, match=r"lengths of X are unknown; call X.compute_chunk_sizes\(\) first"):
            method(unknown(blobs()), sample_weight=np.ones(N))
        with pytest.raises(DataError, match=r"sample_weight has 6 chunks and X has 3.*chunk both alike"):
            method(unknown(blobs()), sample_weight=da.ones(N, chunks=10))
        with pytest.raises(DataError, match=r"chunk \d has 20 rows and 15 weights; chunk both alike"):
            method(unknown(blobs()), sample_weight=unknown(np.ones(45), 15))


def test_lazy_weights_beside_rows_in_memory(model):
    for method in (GaussianMixture().fit, model.score):
        with pytest.raises(ParameterError, match="sample_weight is a dask array and X is not; give both as"):
            method(blobs(), sample_weight=da.ones(N))


# -- covariances that do not exist --------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_components", [1, 2])
def test_constant_features_without_reg_covar(family, n_components):
    X = spoilt(0.0)
    X[:, 1] = 7.5
    mixture = GaussianMixture(n_components, covariance_type=family, reg_covar=0.0, random_state=0)
    for data in (X, lazy(X)):
        if family == "spherical":  # one variance for all features exists
            assert np.isfinite(mixture.set_params(max_iter=300).fit(data).covariances_).all()
            continue
        with pytest.raises(DataError, match=r"feature 1 is constant \(7.5 in every row\).*drop the feature, or set"):
            mixture.fit(data)
    with pytest.raises(DataError, match=r"feature 0 is constant"):
        GaussianMixture(1, covariance_type=family, reg_covar=0.0).fit(np.ones((10, 2)))


@pytest.mark.parametrize("family", ["full", "diag", "spherical"])
def test_a_component_that_collapses_without_reg_covar(family):
    X = np.concatenate([blobs(), np.tile([[100.0, 100.0, 100.0]], (30, 1))])
    start = make_start(X, 2, family)
    start = start_parameters([2 / 3, 1 / 3], [[0, 0, 0], [100, 100, 100]], start[2], family)
    mixture = GaussianMixture(**start, reg_covar=0.0)
    with pytest.raises(IllDefinedCovarianceError, match=r"component 1 is not positive definite.*increase"):
        mixture.fit(X)


@pytest.mark.parametrize("family", ["full", "tied"])
def test_dependent_features_without_reg_covar(family):
    X = np.repeat(np.arange(20.0)[:, None] ** 2, 2, axis=1)
    with pytest.raises(IllDefinedCovarianceError, match=r"feature 1 is a linear combination .* set reg_covar above 0"):
        GaussianMixture(1, covariance_type=family, reg_covar=0.0).fit(X)


def test_every_deliberate_error_is_a_dgmm_error_and_a_value_error():
    for kind in (DataError, DataTypeError, IllDefinedCovarianceError, ParameterError):
        assert issubclass(kind, DgmmError)
        assert issubclass(kind, ValueError)
    assert issubclass(DataTypeError, TypeError)


def test_a_failed_fit_leaves_the_model_as_it_was(model):
    own = GaussianMixture(2, random_state=0, max_iter=300).fit(blobs())
    with pytest.raises(DataError):
        own.fit(spoilt(np.nan))
    assert np.array_equal(own.score_samples(blobs()), model.score_samples(blobs()))
    with pytest.warns(ConvergenceWarning):
        GaussianMixture(2, random_state=0, max_iter=1).fit(blobs())
