"""Data that are odd but legal: fitted, in memory and chunked, and held to an independent reference."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import dask.array as da
import dask.dataframe as frames
import numpy as np
import pandas as pd
import pytest
import sklearn.mixture
import xarray as xr
from reference import FAMILIES, PEERS_FAMILIES, make_blobs, make_start, plain_em, start_parameters
from sklearn.exceptions import ConvergenceWarning

from dgmm import GaussianMixture
from dgmm.errors import RegularizationWarning

RNG = np.random.default_rng(5)
WHERE = {"in memory": lambda X: X, "chunked": lambda X: da.from_array(X, chunks=(23, 2))}
where = pytest.mark.parametrize("where", WHERE)


def gaussian(X: Any, w: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and covariance in long double."""
    X = np.asarray(X).astype(np.longdouble)
    w = np.ones(len(X), np.longdouble) if w is None else np.asarray(w).astype(np.longdouble)
    w = w / w.max()
    mean = w @ X / w.sum()
    return mean, (X - mean).T @ ((X - mean) * w[:, None]) / w.sum()


# -- one component: exact formulas ----------------------------------------------------------------

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def integers(dtype: str) -> np.ndarray:
    bounds = np.iinfo(dtype)
    return RNG.integers(bounds.min, bounds.max, size=(90, 3), dtype=dtype, endpoint=True)


def padded(X: np.ndarray) -> np.ndarray:
    room = np.zeros((2 * len(X), 2 * X.shape[1]), dtype=X.dtype)
    room[::2, ::2] = X
    return room[::2, ::2]


def frozen(X: np.ndarray) -> np.ndarray:
    X = X.copy()
    X.flags.writeable = False
    return X


ROWS = make_blobs(90, 3, 2, seed=8, spread=8.0)
LEGAL = {
    **{dtype: integers(dtype) for dtype in INTEGERS},
    **{
        f"big-endian {dtype}": integers(dtype).astype(np.dtype(dtype).newbyteorder(">"))
        for dtype in ("int16", "uint64")
    },
    "integers above 2**53": 2**60 + RNG.integers(0, 2**59, size=(90, 3), dtype="uint64"),
    "bool": RNG.integers(0, 2, size=(90, 3)).astype(bool),
    "float16": ROWS.astype(np.float16),
    "float32": ROWS.astype(np.float32),
    "big-endian float32": ROWS.astype(">f4"),
    "big-endian float64": ROWS.astype(">f8"),
    "long double": ROWS.astype(np.longdouble),
    "Fortran order": np.asfortranarray(ROWS),
    "every other place": padded(ROWS),
    "backwards": ROWS[::-1],
    "transposed": np.ascontiguousarray(ROWS.T).T,
    "read-only": frozen(ROWS),
    "one value for all": np.broadcast_to(np.float64(3.0), (90, 3)),
    "one row": ROWS[:1],
    "one feature": ROWS[:, :1],
    "300 features": make_blobs(40, 300, 2, seed=3),
    "at 1e6, 1e-6 wide": 1e6 + 1e-6 * ROWS,
    "1e150": ROWS * 1e150,
    "1e-150": ROWS * 1e-150,
    "1e-310, subnormal": ROWS * 1e-310,
    "from 1e-300 to 1e150": ROWS * [1e-300, 1.0, 1e150],
}


@where
@pytest.mark.parametrize("name", LEGAL)
def test_one_component_is_the_mean_and_the_covariance(name, where):
    X = LEGAL[name]
    before = X.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RegularizationWarning)
        model = GaussianMixture(1).fit(WHERE[where](X))
    mean, covariance = gaussian(X)
    narrow = X.dtype.newbyteorder("=") == np.float32
    scale = np.abs(X.astype(np.float64)).max(axis=0)
    rtol = 1e-5 if narrow else 1e-12
    np.testing.assert_allclose(model.means_[0] / np.maximum(scale, 1e-307), mean / np.maximum(scale, 1e-307), atol=rtol)
    expected = covariance.astype(np.float64) + 1e-6 * np.eye(X.shape[1])
    deviation = np.sqrt(np.diagonal(expected))
    np.testing.assert_allclose(
        model.covariances_[0] / deviation[:, None] / deviation,
        expected / deviation[:, None] / deviation,
        atol=1e-4 if narrow else 1e-9,
    )
    assert np.array_equal(X, before)
    assert (np.asarray(model.predict(WHERE[where](X))) == 0).all()


WEIGHTS = {
    "1e-300": np.full(90, 1e-300),
    "1e300": np.full(90, 1e300),
    "some 1e-300": np.where(np.arange(90) % 3, 1e-300, 2e-300),
    "from 1e-300 to 1e300": np.logspace(-300, 300, 90),
    "subnormal": np.full(90, 5e-324),
    "a sum near the largest": np.full(90, np.finfo(np.float64).max / 100),
    "float32": RNG.uniform(0.5, 2.0, size=90).astype(np.float32),
    "bool": np.arange(90) % 2 == 0,
    "int8": RNG.integers(0, 100, size=90).astype(np.int8),
    "big-endian": RNG.integers(1, 100, size=90).astype(">i8"),
}


@where
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_any_size(name, where):
    w = WEIGHTS[name]
    for weights in (w, *([da.from_array(w, chunks=31)] if where == "chunked" else [])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RegularizationWarning)
            model = GaussianMixture(1).fit(WHERE[where](ROWS), sample_weight=weights)
        mean, covariance = gaussian(ROWS, w)
        np.testing.assert_allclose(model.means_[0], mean.astype(float), rtol=1e-10)
        np.testing.assert_allclose(model.covariances_[0], covariance + 1e-6 * np.eye(3), rtol=1e-9, atol=1e-12)


# -- several components: expectation maximisation, step by step -----------------------------------


@dataclass(frozen=True)
class Scaled:
    """Blobs ``Z`` that are moved and scaled: ``X = shift + scale Z``, by a power of two so that Z is known exactly."""

    shift: float
    scale: float
    weights: np.ndarray | None = None


N, D, K, STEPS = 120, 2, 2, 6
SCALED = {
    "1e-6 wide at 1e6": Scaled(2.0**20, 2.0**-20),
    "2**500 wide": Scaled(0.0, 2.0**500),
    "2**-500 wide": Scaled(0.0, 2.0**-500),
    "weights of 1e-300": Scaled(0.0, 1.0, np.linspace(1.0, 2.0, N) * 1e-300),
    "weights of 1e300": Scaled(0.0, 1.0, np.linspace(1.0, 2.0, N) * 1e300),
}


@where
@pytest.mark.parametrize("accelerate", [None, "auto"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", SCALED)
def test_any_scale_is_fitted_as_the_textbook_fits_it_about_the_origin(name, family, accelerate, where):
    case = SCALED[name]
    X = case.shift + case.scale * make_blobs(N, D, K, seed=4, spread=6.0)
    Z = (X - case.shift) / case.scale  # exact
    w = None if case.weights is None else case.weights / case.weights.max()
    start = make_start(Z, K, family)
    own = (start[0], case.shift + case.scale * start[1], case.scale**2 * start[2])
    steps = STEPS if accelerate is None else 150
    expected = plain_em(Z, *start, family, 0.0, steps, w)
    model = GaussianMixture(
        **start_parameters(*own, family),
        reg_covar=0.0,
        tol=0.0,
        max_iter=STEPS if accelerate is None else 60,
        accelerate=accelerate,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(WHERE[where](X), sample_weight=case.weights)
    # Means at 2**20 are rounded to 2**-12 of a blob's width.
    rtol = 2.0**-11 if case.shift else 1e-5 if accelerate else 1e-9
    np.testing.assert_allclose(model.weights_, expected[0], rtol=rtol)
    np.testing.assert_allclose((model.means_ - case.shift) / case.scale, expected[1], rtol=rtol, atol=rtol)
    np.testing.assert_allclose(model.covariances_ / case.scale**2, expected[2], rtol=10 * rtol, atol=rtol)
    bound = model.lower_bounds_[-1] + D * np.log(case.scale)
    assert bound == pytest.approx(expected[3][-1], rel=max(rtol, 1e-6))


@where
@pytest.mark.parametrize("family", PEERS_FAMILIES)
def test_three_hundred_features_are_fitted_as_scikit_learn_does(family, where):
    X = make_blobs(450, 300, 2, seed=2, spread=1.0)
    start = start_parameters(*make_start(X, 2, family), family)
    settings = {"reg_covar": 1e-3, "tol": 0.0, "max_iter": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer = sklearn.mixture.GaussianMixture(**start, **settings).fit(X)
        table = X if where == "in memory" else da.from_array(X, chunks=(200, 100))
        model = GaussianMixture(**start, **settings, accelerate=None).fit(table)
    np.testing.assert_allclose(model.means_, peer.means_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(model.covariances_, peer.covariances_, rtol=1e-6, atol=1e-8)
    assert model.lower_bound_ == pytest.approx(peer.lower_bound_, rel=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_as_many_components_as_rows_or_duplicates_only(family):
    """Each component sits on its row, with the covariance of ``reg_covar``; duplicates change only the weights."""
    X = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [30.0, 30.0]])
    for rows in (X, np.repeat(X, 5, axis=0), da.from_array(X, chunks=1)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = GaussianMixture(4, covariance_type=family, means_init=X, random_state=0, tol=1e-9).fit(rows)
        np.testing.assert_allclose(model.means_, X, atol=1e-9)
        np.testing.assert_allclose(model.weights_, 0.25)
        np.testing.assert_allclose(np.max(model.covariances_), 1e-6, rtol=1e-6)


@where
def test_one_variance_for_all_features_exists_beside_a_constant_one(where):
    X = ROWS.copy()
    X[:, 1] = 7.5
    model = GaussianMixture(1, covariance_type="spherical", reg_covar=0.0).fit(WHERE[where](X))
    np.testing.assert_allclose(model.covariances_, [X.var(axis=0).mean()], rtol=1e-12)


# -- forms of data --------------------------------------------------------------------------------


def cut(X: np.ndarray, *chunks: int) -> da.Array:
    return da.from_array(X, chunks=(chunks, X.shape[1]))


def test_chunks_of_any_kind_are_the_same_rows():
    expected = GaussianMixture(2, random_state=0).fit(ROWS)
    forms = {
        "empty chunks": cut(ROWS, 0, 30, 0, 0, 60, 0),
        "one row a chunk": cut(ROWS, *[1] * 90),
        "one chunk": cut(ROWS, 90),
        "unmasked blocks": da.from_array(np.ma.masked_array(ROWS, mask=False), chunks=(30, 3)),
        "chunks of unknown length": cut(ROWS, 30, 60)[da.ones(90, chunks=45, dtype=bool)],
        "a dataframe's array": frames.from_pandas(pd.DataFrame(ROWS), npartitions=3).to_dask_array(lengths=True),
        "xarray's array": xr.DataArray(cut(ROWS, 30, 60), dims=("row", "feature")).data,
        "lists": ROWS.tolist(),
        "tuples": tuple(map(tuple, ROWS)),
        "a dataframe": pd.DataFrame(ROWS),
        "a dataframe of nullable numbers": pd.DataFrame(ROWS).convert_dtypes(),
        "an xarray array in memory": xr.DataArray(ROWS),
    }
    for name, X in forms.items():
        model = GaussianMixture(2, random_state=0).fit(X)
        np.testing.assert_allclose(model.means_, expected.means_, rtol=1e-9, err_msg=name)
        labels = model.predict(X)
        np.testing.assert_array_equal(np.asarray(labels), expected.predict(ROWS), err_msg=name)


def test_no_rows_have_no_labels():
    model = GaussianMixture(2, random_state=0).fit(ROWS)
    for X in (da.empty((0, 3), chunks=(1, 3)), cut(ROWS, 45, 45)[da.zeros(90, chunks=45, dtype=bool)]):
        assert model.predict(X).compute().shape == (0,)
        assert model.predict_proba(X).compute().shape == (0, 2)


def test_a_bad_chunk_does_not_spoil_the_others():
    X = ROWS.copy()
    X[70, 1] = np.nan
    labels = GaussianMixture(2, random_state=0).fit(ROWS).predict(cut(X, 30, 30, 30))
    assert len(labels[:60].compute()) == 60


@pytest.mark.parametrize("kind", [dict, list])
def test_what_a_callback_raises_comes_out_as_it_is(kind):
    def careless(event):
        raise kind  # not an exception

    model = GaussianMixture(2, random_state=0).fit(ROWS)
    before = dict(vars(model))
    with pytest.raises(TypeError, match="exceptions must derive"):
        model.fit(ROWS, callbacks=careless)
    assert vars(model) == before
