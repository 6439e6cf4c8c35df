"""The most probable components of each row, against all of them sorted by numpy."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import make_blobs

from dgmm import GaussianMixture
from dgmm.errors import ParameterError
from dgmm.estimators._outputs import TopProbabilities
from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.ranking import largest

X = make_blobs(300, 2, 5, seed=2, spread=1.0)


@pytest.fixture(scope="module")
def model():
    return GaussianMixture(5, random_state=0, max_iter=500).fit(X)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.lists(st.sampled_from([-np.inf, 0.0, 1.0, 2.0]), min_size=3, max_size=3), min_size=1, max_size=6)
)
def test_the_largest_are_those_of_a_stable_sort(values):
    array = np.array(values)
    for top in range(1, len(array) + 1):
        np.testing.assert_array_equal(largest(array, top), np.argsort(-array, axis=0, kind="stable")[:top].T)


@pytest.mark.parametrize("top", [1, 2, 5])
@pytest.mark.parametrize("wrap", [np.asarray, lambda X: da.from_array(X, chunks=(70, 2))], ids=["numpy", "dask"])
def test_the_most_probable_components_of_each_row(model, wrap, top):
    found = model.predict_proba(wrap(X), top=top)
    assert isinstance(found, TopProbabilities)
    assert all(type(part) is type(wrap(X)) for part in found)
    component, probability, remainder = map(np.asarray, found)
    every = model.predict_proba(X)
    assert (component.dtype, probability.dtype) == (np.int64, np.float64)
    np.testing.assert_array_equal(component[:, 0], model.predict(X))
    np.testing.assert_array_equal(component, np.argsort(-every, axis=1, kind="stable")[:, :top])
    np.testing.assert_array_equal(probability, np.take_along_axis(every, component, axis=1))
    np.testing.assert_allclose(remainder, 1.0 - probability.sum(axis=1), atol=1e-15)
    assert (remainder >= 0.0).all()


def test_a_scene_gives_a_dataset(model):
    scene = xr.DataArray(da.from_array(X.reshape(20, 15, 2), chunks=(6, 15, 1)), {"y": np.arange(20)}, ("y", "x", "b"))
    found = model.predict_proba(scene, top=2)
    assert {name: values.dims for name, values in found.items()} == {
        "component": ("y", "x", "rank"),
        "probability": ("y", "x", "rank"),
        "remainder": ("y", "x"),
    }
    assert found["rank"].values.tolist() == [0, 1]
    assert found.chunksizes["y"] == (6, 6, 6, 2)
    plain = model.predict_proba(X, top=2)
    for name, values in found.items():
        np.testing.assert_array_equal(values.values.reshape(getattr(plain, name).shape), getattr(plain, name))


def test_float32_stays(model):
    narrow = GaussianMixture(2, random_state=0).fit(X.astype(np.float32))
    assert narrow.predict_proba(X.astype(np.float32), top=1).probability.dtype == np.float32


def test_never_all_components_of_more_rows_than_a_block(model, monkeypatch):
    def refuse(*args):
        raise AssertionError("n x K were made")

    monkeypatch.setattr(BlockKernel, "responsibilities", refuse)
    assert len(model.predict_proba(X, top=3).component) == 300


@pytest.mark.parametrize("top", [0, 6, -1, 1.0, True, "two", [1]])
def test_other_numbers_are_refused(model, top):
    with pytest.raises(ParameterError, match=r"top is .*; it must be None, or an int from 1 to 5, the number of comp"):
        model.predict_proba(X, top=top)
