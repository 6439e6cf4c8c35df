"""Every kind of input gives the same rows, the same model to the bit, and answers in its own shape."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from reference import make_blobs

from dgmm import BFRGaussianMixture, BFRKMeans, GaussianMixture, open_rows

N, D, CHUNK = 90, 3, 30
NAMES = ["oxygen", "salt", "temp"]
X = make_blobs(N, D, 2, seed=3, spread=6.0)
W = np.random.default_rng(0).integers(0, 4, size=N).astype(float)
DAYS = pd.date_range("2020-01-01", periods=N)


def in_file(folder):
    array = zarr.create_array(folder / "x.zarr", shape=X.shape, chunks=(CHUNK, D), dtype=float)
    array[:] = X
    return array


def in_group(folder, *, local):
    group = zarr.open_group(folder / "g.zarr", mode="w") if local else zarr.create_group({})
    for name, values in {**dict(zip(NAMES, X.T, strict=True)), "time": np.arange(float(N))}.items():
        group.create_array(name, data=values, chunks=(CHUNK,), dimension_names=("time",))
    return group


def lazy(values):
    return da.from_array(values, chunks=(CHUNK, *values.shape[1:]))


def like(source):
    """The dask array that a source in chunks is compared with: lengths of partitions are unknown."""
    own = lazy(X)
    return own[da.ones(N, chunks=CHUNK, dtype=bool)] if hasattr(source, "divisions") else own


def frame(**others):
    return pd.DataFrame(X, columns=NAMES, index=DAYS).assign(**others)


def dataset():
    return xr.Dataset({name: ("time", lazy(values)) for name, values in zip(NAMES, X.T, strict=True)}, {"time": DAYS})


# Each makes rows in three chunks from a folder that it may write to.
KINDS = {
    "dask array": lambda folder: lazy(X),
    "DataArray": lambda folder: xr.DataArray(lazy(X), {"time": DAYS}, dims=("time", "feature")),
    "DataArray, turned": lambda folder: xr.DataArray(da.from_array(X.T, chunks=(2, CHUNK)), dims=("feature", "time")).T,
    "Dataset": lambda folder: dataset(),
    "Dataset, in part in memory": lambda folder: dataset().assign(temp=("time", X[:, 2])),
    "dask dataframe": lambda folder: dd.from_pandas(frame(), npartitions=3),
    "dask dataframe of unknown divisions": lambda folder: dd.from_pandas(frame(), npartitions=3).clear_divisions(),
    "zarr array": in_file,
    "zarr array in memory": lambda folder: zarr.create_array({}, data=X, chunks=(CHUNK, D)),
    "zarr group": lambda folder: in_group(folder, local=True),
    "zarr group in memory": lambda folder: in_group(folder, local=False),
    "path": lambda folder: in_file(folder) and str(folder / "x.zarr"),
    "Table": lambda folder: open_rows(lazy(X)),
}
HERE = {
    "list": lambda: X.tolist(),
    "DataFrame": frame,
    "DataArray in memory": lambda: xr.DataArray(X, dims=("time", "feature")),
    "Dataset in memory": lambda: dataset().compute(),
    "Table": lambda: open_rows(X),
}
ESTIMATORS = {
    "mixture": lambda: GaussianMixture(2, random_state=0),
    "scan": lambda: BFRGaussianMixture(2, batch_rows=40, random_state=0),
    "clusters": lambda: BFRKMeans(2, batch_rows=40, random_state=0),
}


def parameters(model):
    names = ("cluster_centers_", "cluster_variances_") if isinstance(model, BFRKMeans) else ("means_", "covariances_")
    return [getattr(model, name) for name in names]


def values_of(result):
    if hasattr(result, "compute"):
        result = result.compute(scheduler="synchronous")
    return np.asarray(result)


@pytest.mark.parametrize(
    ("kind", "estimator"),
    [
        *((kind, "mixture") for kind in KINDS),
        *((kind, name) for kind in ("Dataset", "dask dataframe", "path") for name in ("scan", "clusters")),
    ],
)
def test_a_kind_gives_the_model_and_the_answers_of_a_dask_array(kind, estimator, tmp_path):
    source, make = KINDS[kind](tmp_path), ESTIMATORS[estimator]
    model, plain = make().fit(source), make().fit(like(source))
    for own, other in zip(parameters(model), parameters(plain), strict=True):
        np.testing.assert_array_equal(own, other)
    methods = ("predict", "transform") if isinstance(model, BFRKMeans) else ("predict", "score_samples")
    for method in methods:
        np.testing.assert_array_equal(
            values_of(getattr(model, method)(source)), values_of(getattr(plain, method)(lazy(X)))
        )


@pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS)
@pytest.mark.parametrize("kind", HERE.values(), ids=HERE)
def test_a_kind_in_memory_gives_the_model_and_the_answers_of_a_numpy_array(kind, make):
    model, plain = make().fit(kind()), make().fit(X)
    for own, other in zip(parameters(model), parameters(plain), strict=True):
        np.testing.assert_array_equal(own, other)
    found = model.predict(kind())
    assert isinstance(found, np.ndarray) or isinstance(found.data, np.ndarray)
    np.testing.assert_array_equal(found, plain.predict(X))


WEIGHTED = {
    "DataFrame": lambda: frame(w=W),
    "dask dataframe": lambda: dd.from_pandas(frame(w=W), npartitions=3),
    "Dataset": lambda: dataset().assign(w=("time", W)),
    "Dataset in memory": lambda: dataset().assign(w=("time", W)).compute(),
}


@pytest.mark.parametrize("kind", WEIGHTED.values(), ids=WEIGHTED)
def test_weights_by_name_are_those_weights_and_no_feature(kind):
    source = kind()
    lazily = hasattr(source, "divisions") or getattr(source, "chunks", None)
    plain, weights = (like(source), lazy(W)) if lazily else (X, W)
    model = GaussianMixture(2, random_state=0).fit(source, sample_weight="w")
    other = GaussianMixture(2, random_state=0).fit(plain, sample_weight=weights)
    assert model.feature_names_in_.tolist() == NAMES
    np.testing.assert_array_equal(model.means_, other.means_)
    for criterion in ("score", "aic", "bic", "icl"):
        own = getattr(model, criterion)(source, sample_weight="w")
        assert own == getattr(other, criterion)(plain, sample_weight=weights), criterion
    np.testing.assert_array_equal(values_of(model.predict(source)), values_of(other.predict(plain)))


@pytest.mark.parametrize("kind", [*WEIGHTED, "zarr group"])
def test_features_are_found_by_name_in_any_order_and_among_others(kind, tmp_path):
    source = WEIGHTED[kind]() if kind in WEIGHTED else in_group(tmp_path, local=True)
    model = GaussianMixture(2, random_state=0).fit(X)
    model.feature_names_in_ = np.array(["salt", "temp"], dtype=object)
    model.means_, model.n_features_in_ = model.means_[:, [1, 2]], 2
    model.precisions_cholesky_ = model.precisions_cholesky_[:, 1:, 1:]
    np.testing.assert_array_equal(values_of(model.predict(source)), model.predict(frame()[["temp", "salt"]]))


def test_names_and_dimensions_are_remembered_and_saved(tmp_path):
    scene = xr.DataArray(X.reshape(9, 10, 3), {"band": ["r", "g", "b"]}, ("y", "x", "band"))
    model = GaussianMixture(2, random_state=0).fit(scene)
    model.save(tmp_path / "m.zarr")
    for own in (model, GaussianMixture.load(tmp_path / "m.zarr")):
        assert own.feature_names_in_.tolist() == ["r", "g", "b"]
        assert (own.sample_dims_, own.feature_dims_) == (("y", "x"), ("band",))
        found = own.predict(scene.isel(band=[2, 0, 1]).transpose("band", "x", "y"))
        assert found.dims == ("x", "y")
        np.testing.assert_array_equal(found.T, own.predict(scene))
        assert own.predict(scene.expand_dims(time=3)).dims == ("time", "y", "x")
        assert own.predict(scene[0]).dims == ("x",)
    model.fit(X)
    assert not any(hasattr(model, name) for name in ("feature_names_in_", "sample_dims_", "feature_dims_"))


def test_partial_fit_finds_its_features_by_name():
    scan = BFRGaussianMixture(2, random_state=0).partial_fit(frame()[:50]).partial_fit(frame()[50:][NAMES[::-1]])
    other = BFRGaussianMixture(2, random_state=0).partial_fit(X[:50]).partial_fit(X[50:])
    np.testing.assert_array_equal(scan.means_ if hasattr(scan, "means_") else 0, getattr(other, "means_", 0))
    assert scan.n_rows_ == other.n_rows_ == N
