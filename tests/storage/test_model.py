"""Models as zarr groups: round trip, readable by others, whole or not at all."""

import json
import pickle
import shutil
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from reference import FAMILIES, make_blobs

from dgmm import GaussianMixture
from dgmm.errors import FormatError
from dgmm.estimators._base import MixtureEstimator

N, D, K = 100, 3, 2
ARRAYS = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
SCALARS = ("n_iter_", "converged_", "lower_bound_", "lower_bounds_", "n_features_in_", "stop_reason_")


def blobs(dtype=np.float64):
    return make_blobs(N, D, K, seed=1, spread=6.0).astype(dtype)


def fitted(family="full", dtype=np.float64, **parameters):
    return GaussianMixture(K, covariance_type=family, random_state=0, max_iter=300, **parameters).fit(blobs(dtype))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.zarr"
    fitted().save(path)
    return path


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_round_trip_keeps_every_bit(tmp_path, family, dtype, monkeypatch):
    model = fitted(family, dtype, tol="auto", init_params="k-means++", n_init=2)
    model.save(tmp_path / "model.zarr")
    with monkeypatch.context() as patch:  # nothing is unpickled
        patch.setattr(pickle, "loads", None)
        patch.setattr(pickle, "load", None)
        twin = GaussianMixture.load(tmp_path / "model.zarr")
    for name in ARRAYS:
        a, b = getattr(twin, name), getattr(model, name)
        assert a.dtype == b.dtype, name
        assert np.array_equal(a, b), name
    for name in SCALARS:
        assert getattr(twin, name) == getattr(model, name), name
        assert type(getattr(twin, name)) is type(getattr(model, name)), name
    assert twin.get_params() == model.get_params()
    X = blobs(dtype)
    for method in ("predict", "predict_proba", "score_samples"):
        assert np.array_equal(getattr(twin, method)(X), getattr(model, method)(X)), method
    assert twin.bic(X) == model.bic(X)
    assert np.array_equal(twin.sample(5)[0], model.sample(5)[0])


def test_saving_a_loaded_model_gives_the_same_model(tmp_path, saved):
    model = GaussianMixture.load(saved)
    model.save(tmp_path / "again.zarr")
    again = GaussianMixture.load(tmp_path / "again.zarr")
    assert np.array_equal(again.score_samples(blobs()), model.score_samples(blobs()))
    assert again.set_params(warm_start=True).fit(blobs()).n_iter_ <= model.n_iter_


def test_every_parameter_comes_back(tmp_path):
    parameters = {
        "weights_init": np.array([0.25, 0.75]),
        "means_init": blobs()[:2],
        "precisions_init": np.stack([np.eye(D)] * 2),
        "random_state": np.int64(7),
        "reg_covar": np.float32(1e-3),
        "sample_rows": 50,
        "verbose_interval": 3,
        "max_iter": np.int32(400),
    }
    model = GaussianMixture(K, **parameters).fit(blobs())
    model.save(tmp_path / "m")
    twin = GaussianMixture.load(tmp_path / "m")
    for name, value in parameters.items():
        np.testing.assert_array_equal(getattr(twin, name), value, err_msg=name)
    twin.fit(blobs())  # can be fitted again
    np.testing.assert_allclose(twin.means_, model.means_)
    for generator in (np.random.RandomState(0), np.random.default_rng(0)):
        GaussianMixture(1, random_state=generator).fit(blobs()).save(tmp_path / "g", overwrite=True)
        assert GaussianMixture.load(tmp_path / "g").random_state is None


def test_feature_names_come_back(tmp_path):
    frame = pd.DataFrame(blobs(), columns=["temperature", "salinity", "ä"])
    GaussianMixture(K, random_state=0).fit(frame).save(tmp_path / "m")
    twin = GaussianMixture.load(tmp_path / "m")
    assert twin.feature_names_in_.tolist() == ["temperature", "salinity", "ä"]
    assert twin.predict(frame).shape == (N,)
    with pytest.raises(ValueError, match="feature names"):
        twin.predict(frame.rename(columns={"ä": "b"}))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_set_by_hand_can_be_saved(tmp_path, family):
    source = fitted(family)
    model = GaussianMixture(K, covariance_type=family)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(model, name, getattr(source, name))
    model.save(tmp_path / "m")
    twin = GaussianMixture.load(tmp_path / "m")
    assert np.array_equal(twin.predict(blobs()), source.predict(blobs()))
    np.testing.assert_allclose(twin.score_samples(blobs()), source.score_samples(blobs()), atol=1e-9)


def test_a_loaded_model_works_on_dask_arrays(saved):
    labels = GaussianMixture.load(saved).predict(da.from_array(blobs(), chunks=(30, D)))
    assert np.array_equal(labels.compute(), fitted().predict(blobs()))


def test_a_model_of_format_version_1_stays_readable():
    """Written by dgmm 0.1.0: two components of two features, float32, from a dataframe."""
    model = GaussianMixture.load(Path(__file__).parent / "data" / "model-v1.zarr")
    assert model.get_params()["init_params"] == "k-means++"
    assert model.feature_names_in_.tolist() == ["temperature", "salinity"]
    assert (model.n_iter_, model.converged_, model.stop_reason_.name) == (5, True, "TOLERANCE")
    assert model.means_.dtype == np.float32
    np.testing.assert_array_equal(model.weights_, np.float32([0.50309265, 0.49690738]))
    np.testing.assert_array_equal(model.means_, np.float32([[5.0452204, 1.0223492], [0.92537427, -0.9992038]]))
    np.testing.assert_array_equal(model.covariances_[0], np.float32([[0.6074595, -0.3239238], [-0.3239238, 1.0436087]]))
    X = pd.DataFrame({"temperature": [-0.9692889, 4.4184957], "salinity": [-2.2473466, 0.3308184]}, dtype=np.float32)
    assert model.predict(X).tolist() == [1, 0]
    np.testing.assert_allclose(model.score_samples(X), [-5.473373, -3.1337936], rtol=1e-5)


# -- what others see ----------------------------------------------------------------------------

DIMENSIONS = {
    "full": ("component", "feature", "feature_2"),
    "tied": ("feature", "feature_2"),
    "diag": ("component", "feature"),
    "spherical": ("component",),
    "tied-diag": ("feature",),
    "tied-spherical": (),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_xarray_reads_a_model_without_dgmm(tmp_path, family):
    model = fitted(family)
    model.save(tmp_path / "m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xr.open_zarr(tmp_path / "m").load()
    assert dataset.weights.dims == ("component",)
    assert dataset.means.dims == ("component", "feature")
    assert dataset.covariances.dims == dataset.precisions_cholesky.dims == DIMENSIONS[family]
    assert dataset.lower_bounds.dims == ("iteration",)
    assert {str(array.dtype) for array in dataset.data_vars.values()} == {"float64"}
    np.testing.assert_array_equal(dataset.means, model.means_)
    np.testing.assert_array_equal(dataset.covariances, model.covariances_)
    assert dataset.attrs["format"] == "dgmm-model"
    assert dataset.attrs["format_version"] == 1
    assert dataset.attrs["class"] == "GaussianMixture"
    assert json.loads(dataset.attrs["details"])["params"]["covariance_type"] == family


def test_every_file_is_json_or_a_chunk_of_numbers(saved):
    assert zarr.open_group(saved, mode="r").metadata.zarr_format == 3
    for path in saved.rglob("*"):
        if path.is_file() and "c" not in path.relative_to(saved).parts:
            assert path.name == "zarr.json"
            json.loads(path.read_text())


# -- refused ------------------------------------------------------------------------------------


def edit(path, **attributes):
    """Change attributes of a saved model, and make it one of the time before the digest."""
    file = path / "zarr.json"
    metadata = json.loads(file.read_text())
    metadata["attributes"] |= attributes
    metadata["attributes"].pop("digest", None)
    file.write_text(json.dumps(metadata))


def change_details(path, section, **values):
    details = json.loads(json.loads((path / "zarr.json").read_text())["attributes"]["details"])
    details[section] |= values
    edit(path, details=json.dumps(details))


def test_another_version(saved):
    edit(saved, format_version=2, dgmm_version="9.9")
    with pytest.raises(FormatError, match=r"format version 2; this dgmm reads version 1: it was written by dgmm 9.9"):
        GaussianMixture.load(saved)


def test_another_class(saved):
    class OtherMixture(GaussianMixture):
        pass

    with pytest.raises(FormatError, match="is a GaussianMixture; load it with that class"):
        OtherMixture.load(saved)
    assert issubclass(OtherMixture, MixtureEstimator)


@pytest.mark.parametrize("name", ["weights", "means", "covariances", "precisions_cholesky", "lower_bounds"])
def test_a_missing_array(saved, name):
    shutil.rmtree(saved / name)
    metadata = json.loads((saved / "zarr.json").read_text())
    del metadata["consolidated_metadata"]["metadata"][name]
    (saved / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(FormatError, match=f"damaged.*{name}"):
        GaussianMixture.load(saved)


def test_damaged_metadata(saved):
    text = (saved / "zarr.json").read_text()
    (saved / "zarr.json").write_text(text[: len(text) // 2])
    with pytest.raises(FormatError, match="not a zarr group"):
        GaussianMixture.load(saved)


@pytest.mark.parametrize("details", ["{", "[]", "{}", '{"params": {}}', '{"params": {"n": 3}, "fit": {}}', "3"])
def test_damaged_details(saved, details):
    edit(saved, details=details)
    with pytest.raises(FormatError, match="damaged"):
        GaussianMixture.load(saved)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("params", {"tol": -1.0}),
        ("params", {"covariance_type": "diag"}),
        ("fit", {"stop_reason_": "BOREDOM"}),
        ("fit", {"n_features_in_": 7}),
    ],
)
def test_details_that_do_not_fit_the_arrays(saved, section, values):
    change_details(saved, section, **values)
    with pytest.raises(FormatError, match="damaged"):
        GaussianMixture.load(saved)


def test_values_that_are_no_mixture(saved):
    group = zarr.open_group(saved, mode="r+")
    group["means"][0, 0] = np.nan
    with pytest.raises(FormatError, match=r"damaged.*the digest differs"):
        GaussianMixture.load(saved)
    edit(saved)
    with pytest.raises(FormatError, match=r"damaged.*means contains NaN"):
        GaussianMixture.load(saved)


# -- whole or not at all ------------------------------------------------------------------------


def test_an_unfitted_model_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        GaussianMixture().save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept_unless_overwrite(saved):
    other = GaussianMixture(1).fit(blobs())
    with pytest.raises(FileExistsError, match=r"exists already; choose another path.*overwrite=True"):
        other.save(saved)
    assert GaussianMixture.load(saved).n_components == K
    other.save(saved, overwrite=True)
    assert GaussianMixture.load(saved).n_components == 1
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_what_is_no_zarr_store_is_never_overwritten(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists and is no zarr store, so it is never overwritten"):
        fitted().save(tmp_path / "notes", overwrite=True)
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"


def test_missing_folders_are_made(tmp_path):
    fitted().save(str(tmp_path / "a" / "b" / "model.zarr"))
    assert GaussianMixture.load(str(tmp_path / "a" / "b" / "model.zarr")).n_components == K


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_write_that_fails_leaves_nothing_new(tmp_path, monkeypatch, overwrite):
    path = tmp_path / "model.zarr"
    if overwrite:
        fitted().save(path)
    original = xr.Dataset.to_zarr

    def fail(self, *args, **kwargs):
        original(self, *args, **kwargs)
        raise OSError("disk full")

    monkeypatch.setattr(xr.Dataset, "to_zarr", fail)
    with pytest.raises(OSError, match="disk full"):
        GaussianMixture(1).fit(blobs()).save(path, overwrite=overwrite)
    assert [entry.name for entry in tmp_path.iterdir()] == (["model.zarr"] if overwrite else [])
    if overwrite:
        assert GaussianMixture.load(path).n_components == K


def test_a_move_that_fails_brings_the_old_model_back(saved, monkeypatch):
    original = Path.rename

    def fail(self, target):
        if self.name.endswith(".part"):
            raise OSError("no")
        return original(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no"):
        GaussianMixture(1).fit(blobs()).save(saved, overwrite=True)
    monkeypatch.undo()
    assert GaussianMixture.load(saved).n_components == K
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
