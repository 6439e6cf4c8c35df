"""EigenMoments: what is refused, and in which words."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from sklearn.datasets import load_digits

from dgmm import EigenMoments
from dgmm.errors import DataError, DataTypeError, NotFittedError, ParameterError


@pytest.fixture(scope="module")
def digits():
    return load_digits().images + np.random.default_rng(0).normal(0.0, 2.0, (1797, 8, 8))


@pytest.mark.parametrize(
    ("params", "X", "error", "words"),
    [
        ({"n_components": 50}, np.ones((5, 8, 8)), ParameterError, "n_components is 50, but there are 49 moments"),
        ({"n_components": 0}, np.ones((5, 8)), ParameterError, "n_components is 0; it must be None, an int"),
        ({"n_components": 1.0}, np.ones((5, 8)), ParameterError, "n_components is 1.0"),
        ({"order": 8}, np.ones((5, 8, 9)), ParameterError, "order is 8 along axis 0, but signals have 8 samples"),
        ({"order": -1}, np.ones((5, 8)), ParameterError, "order is -1"),
        ({"method": "pca"}, np.ones((5, 8)), ParameterError, "one of 'gep', 'two-step'"),
        ({"noise": "none"}, np.ones((5, 8)), ParameterError, "noise is 'none'; it must be 'auto'"),
        ({"noise": -1.0}, np.ones((5, 8)), ParameterError, "noise is -1.0"),
        (
            {"noise": np.ones(7)},
            np.ones((5, 8)),
            ParameterError,
            r"noise has shape \(7,\); expected \(n,\) = \(8,\) or",
        ),
        ({"noise": np.triu(np.ones((8, 8)))}, np.ones((5, 8)), ParameterError, "noise must be symmetric"),
        ({"noise": np.full(8, np.inf)}, np.ones((5, 8)), ParameterError, r"noise contains inf at \[0\]"),
        ({"noise": 0.0}, np.ones((5, 8)), DataError, "noise is 0"),
        ({}, np.ones((5, 8, 8)), DataError, "noise is 0: .*constant or linear"),
        ({"noise": -np.eye(8)}, np.ones((5, 8)), DataError, "noise is no covariance"),
        ({"noise": np.ones((8, 8))}, np.ones((5, 8)), DataError, "7 moments is singular"),
        ({"noise": 1.0, "center": True}, np.ones((5, 8)), DataError, "look whether all signals are the same"),
        ({"noise": 1.0}, np.zeros((5, 8)), DataError, "no moments that differ from 0"),
        ({"signal_shape": (8, 8)}, np.ones((5, 60)), DataError, r"rows of 60 samples, but signals of shape \(8, 8\)"),
        ({"signal_shape": (8, 8)}, np.ones((5, 8, 9)), DataError, r"signals of shape \(8, 9\); expected \(8, 8\)"),
        ({"signal_dims": "x"}, np.ones((5, 8)), ParameterError, "whose dimensions have no names"),
        ({"correlation": np.eye(7)}, np.ones((5, 8)), ParameterError, r"correlation has shape \(7, 7\)"),
        ({}, np.ones(8), DataError, "Expected 2D array"),
        ({}, np.array([["a", "b"]]), DataTypeError, "no real numbers"),
        ({}, np.empty((0, 8)), DataError, "minimum of 1"),
        ({}, da.empty((0, 8)), DataError, "it has no signals"),
    ],
    ids=lambda value: None if isinstance(value, np.ndarray) else str(value)[:30],
)
def test_what_is_refused(params, X, error, words):
    with pytest.raises(error, match=words):
        EigenMoments(**params).fit(X)


def test_a_bad_sample_is_named(digits):
    bad = digits.copy()
    bad[1203, 2, 5] = np.nan
    words = "NaN, first at chunk 3, row 3 .*row 1203 of the data.*, feature 21; the moments of a signal need all"
    with pytest.raises(DataError, match=words):
        EigenMoments().fit(da.from_array(bad, chunks=(400, 8, 8)))
    found = EigenMoments().fit(digits)
    with pytest.raises(DataError, match="NaN, first at chunk 3, row 3"):
        found.transform(da.from_array(bad, chunks=(400, 8, 8))).compute()


def test_before_the_fit(digits):
    for call in ("transform", "inverse_transform"):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(EigenMoments(), call)(digits)
    with pytest.raises(NotFittedError):
        _ = EigenMoments().filters_


def test_other_signals_than_those_of_the_fit(digits):
    found = EigenMoments().fit(digits)
    with pytest.raises(DataError, match=r"signals of shape \(8, 7\); expected \(8, 8\)"):
        found.transform(digits[:, :, :7])
    with pytest.raises(DataError, match="63 features, but EigenMoments is expecting 64"):
        found.transform(digits.reshape(-1, 64)[:, :63])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: (x.to_dataset(name="a").assign(b=x), {}), "variables 'a', 'b', and signals are one variable"),
        (lambda x: (x, {"signal_dims": ("y", "z")}), "signal_dims: .*'z'"),
        (lambda x: (x, {"signal_dims": ("row", "y", "x")}), "all of which are those of one signal"),
    ],
)
def test_labelled_arrays_that_are_refused(digits, make, words):
    source, params = make(xr.DataArray(digits[:9], dims=("row", "y", "x")))
    with pytest.raises(DataError, match=words):
        EigenMoments(**params).fit(source)
