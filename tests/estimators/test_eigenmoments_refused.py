"""EigenMoments: what is refused, and in which words."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from sklearn.datasets import load_digits

from dgmm import EigenMoments, StationaryCorrelation
from dgmm.errors import DataError, DataTypeError, NotFittedError, ParameterError

INDEFINITE = np.eye(8)
INDEFINITE[0, 1] = INDEFINITE[1, 0] = 30.0


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
        ({"noise": -np.eye(8)}, np.ones((5, 8)), ParameterError, r"noise has -1 at \[0, 0\]; no variance is below 0"),
        ({"noise": np.array([1.0, -5.0] * 4)}, np.ones((5, 8)), ParameterError, r"noise has -5 at \[1\]"),
        ({"noise": INDEFINITE}, np.ones((5, 8)), DataError, "noise is no covariance"),
        ({"noise": 1j * np.ones(8)}, np.ones((5, 8)), ParameterError, "array of numbers of shape"),
        ({"noise": 1.0, "correlation": INDEFINITE}, np.ones((5, 8)), DataError, "correlation is none: .*below 0"),
        ({"noise": 1.0}, np.full((5, 8), 1e160), DataError, "out of the range of float64; scale the signals"),
        ({}, np.random.default_rng(0).normal(size=(5, 8)) * 1e160, DataError, "out of the range of float64"),
        ({"noise": 1.0}, np.full((5, 8), 1e-160), DataError, "out of the range of float64; scale the signals"),
        ({"noise": 1e-320}, np.ones((5, 8)), DataError, "noise of the moments is out of the range of float64"),
        ({"noise": 1.0, "center": True}, np.full((10, 64), 3.7), DataError, "look whether all signals are the same"),
        ({"noise": 1.0, "center": True}, np.full((1000, 8, 8), 1e6 / 3), DataError, "all signals are the same"),
        ({}, np.outer(np.linspace(0.1, 3, 100), np.linspace(-1, 1, 64)), DataError, "noise is 0: .*constant or linear"),
        ({"noise": 1.0, "order": 63}, np.ones((5, 64)), DataError, "64 moments is singular: .*basis='gram'"),
        ({"random_state": "a"}, np.ones((5, 8)), ParameterError, "random_state is 'a'"),
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


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"noise": np.ones(7)}, "noise has shape"),
        ({"noise": 0.0}, "noise is 0"),
        ({"noise": np.ones((8, 8))}, "is singular"),
        ({"noise": 1.0, "basis": "monomial", "order": 30, "signal_shape": 40}, "is singular"),
        ({"correlation": np.eye(7)}, "correlation has shape"),
        ({"correlation": StationaryCorrelation((1.0, 2.0, 3.0))}, "have [12] axes"),
        ({"correlation": np.eye(64), "invariant": ("scale",), "signal_shape": (8, 8)}, "given beside invariant"),
    ],
    ids=str,
)
def test_parameters_are_refused_before_anything_is_read(params, words):
    def load(block):
        raise AssertionError("read")

    n = int(np.prod(params.get("signal_shape", 64 if np.ndim(params.get("correlation")) == 2 else 8)))
    lazy = da.ones((100, n), chunks=(10, n)).map_blocks(load, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises((ParameterError, DataError), match=words):
        EigenMoments(**params).fit(lazy)


def test_a_correlation_beside_centring_reads_the_mean(digits):
    found = EigenMoments(2, center=True, correlation=StationaryCorrelation(1.0), noise=1.0).fit(digits)
    np.testing.assert_allclose(found.mean_[0], digits.mean(), rtol=1e-12)
