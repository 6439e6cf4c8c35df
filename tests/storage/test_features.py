"""Fitted features of signals as zarr groups: exact, whole or not at all, and nothing else is taken for them."""

import json
import pickle
import shutil

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from dgmm import EigenMoments, GaussianMixture, StationaryCorrelation
from dgmm.errors import ExistsError, FormatError, NotFittedError, NotFoundError
from dgmm.estimators.loading import load_mixture
from dgmm.storage.listing import layout_of

N, SHAPE = 60, (6, 5)


def waves():
    rng = np.random.default_rng(0)
    return np.add.outer(rng.normal(size=N), np.outer(np.arange(6.0), np.arange(5.0))) + rng.normal(size=(N, *SHAPE))


def labelled():
    return xr.DataArray(da.from_array(waves(), chunks=(20, *SHAPE)), dims=("time", "y", "x"))


def table():
    return pd.DataFrame(waves().reshape(N, -1), columns=[f"p{i}" for i in range(30)])


def images():
    """Images of a positive sum, as centre and size need it."""
    return np.exp(waves() / 5.0)


VARIANCES = np.linspace(1.0, 2.0, 30)
FITS = {
    "by default": lambda: EigenMoments().fit(waves()),
    "a share, centred, two-step": lambda: EigenMoments(0.9, method="two-step", center=True, noise=0.5).fit(waves()),
    "orders and a basis": lambda: EigenMoments(2, order=[3, 2], basis="monomial", noise_floor=0.1).fit(waves()),
    "labelled": lambda: EigenMoments(3, signal_dims=("y", "x")).fit(labelled()),
    "a table": lambda: EigenMoments(3, signal_shape=SHAPE, noise="differences").fit(table()),
    "variances": lambda: EigenMoments(3, noise=VARIANCES, noisy=False, random_state=np.int64(3)).fit(waves()),
    "a covariance": lambda: EigenMoments(np.int64(3), noise=np.diag(VARIANCES)).fit(waves()),
    "noise alone": lambda: EigenMoments(3, noise_floor=0.1).fit(waves(), noise_signals=waves()[::2] + 1.0),
    "a formula": lambda: EigenMoments(
        3, signal_shape=SHAPE, correlation=StationaryCorrelation((1.0, 2.0), 3.0), noise=np.float32(0.1)
    ).fit(None),
    "a correlation": lambda: EigenMoments(3, signal_shape=30, correlation=np.diag(VARIANCES), noise=0.1).fit(None),
    "invariants": lambda: EigenMoments(2, order=4, noise=0.01, invariant=("scale", "translation")).fit(images()),
    "a generator": lambda: EigenMoments(3, random_state=np.random.default_rng(0)).fit(waves()),
}


def equal(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    return a == b


@pytest.mark.parametrize("name", FITS)
def test_a_round_trip_keeps_every_bit(tmp_path, name, monkeypatch):
    features = FITS[name]()
    features.save(tmp_path / "f.zarr")
    with monkeypatch.context() as patch:  # nothing is unpickled
        patch.setattr(pickle, "loads", None)
        patch.setattr(pickle, "load", None)
        twin = EigenMoments.load(tmp_path / "f.zarr")
    params, given = twin.get_params(), features.get_params()
    for key, value in vars(features).items():
        if key not in params:
            assert equal(value, vars(twin)[key]), key
    assert vars(twin).keys() == vars(features).keys()
    for key, value in given.items():
        if key != "random_state" or isinstance(value, np.integer):
            np.testing.assert_array_equal(params[key], value, err_msg=key)
    source = {"a table": table, "labelled": labelled, "invariants": images}.get(name, waves)()
    source = source.reshape(N, -1) if features.signal_shape_ == (30,) else source
    assert np.array_equal(twin.transform(source), features.transform(source))
    if name != "invariants":  # which do not say what signals they are of
        back = features.inverse_transform(features.transform(source))
        assert np.array_equal(twin.inverse_transform(twin.transform(source)), back)
    twin.save(tmp_path / "again.zarr")
    a, b = (xr.open_zarr(tmp_path / each).load() for each in ("f.zarr", "again.zarr"))
    assert a.attrs["digest"] == b.attrs["digest"]
    assert twin.set_params(noise=1.0).fit(source).n_signals_ in (0, N)  # can be fitted again


def test_a_parameter_that_was_changed_after_the_fit_changes_no_features(tmp_path):
    features = EigenMoments(3, basis="monomial").fit(waves()).set_params(basis="legendre", order=2)
    features.save(tmp_path / "f.zarr")
    np.testing.assert_array_equal(
        EigenMoments.load(tmp_path / "f.zarr").transform(waves()), features.transform(waves())
    )


def test_features_at_a_url(s3):
    for k in (2, 3):
        features = EigenMoments(k).fit(waves())
        features.save(s3, overwrite=True)
        np.testing.assert_array_equal(EigenMoments.load(s3).components_, features.components_)
    with pytest.raises(ExistsError):
        features.save(s3)
    assert layout_of(s3).noun == "feature map"
    with pytest.raises(FormatError, match="is a dgmm feature map, not a model"):
        GaussianMixture.load(s3)


def test_xarray_reads_features_without_dgmm(tmp_path):
    features = EigenMoments(3, noise=VARIANCES).fit(waves())
    features.save(tmp_path / "f.zarr")
    found = xr.open_zarr(tmp_path / "f.zarr").load()
    assert found.components.dims == ("eigenmoment", "moment")
    assert found.correlation.dims == found.noise_correlation.dims == ("moment", "moment_2")
    np.testing.assert_array_equal(found.snr, features.snr_)
    np.testing.assert_array_equal(found.given_noise, VARIANCES)


def test_the_one_is_not_taken_for_the_other(tmp_path):
    EigenMoments(3).fit(waves()).save(tmp_path / "f.zarr")
    GaussianMixture(2, random_state=0).fit(np.arange(20.0).reshape(10, 2)).save(tmp_path / "m.zarr")
    for load in (GaussianMixture.load, load_mixture):
        with pytest.raises(FormatError, match=r"f\.zarr is a dgmm feature map, not a model; EigenMoments\.load opens"):
            load(tmp_path / "f.zarr")
    with pytest.raises(FormatError, match=r"m\.zarr is a dgmm model, not a feature map; load of the mixture's class"):
        EigenMoments.load(tmp_path / "m.zarr")
    zarr.create_group(tmp_path / "g.zarr")
    with pytest.raises(FormatError, match=r"no dgmm feature map \(its attribute 'format' is not 'dgmm-feature-map'\)"):
        EigenMoments.load(tmp_path / "g.zarr")
    with pytest.raises(NotFoundError, match="there is no feature map at"):
        EigenMoments.load(tmp_path / "gone.zarr")

    class OtherMoments(EigenMoments):
        pass

    with pytest.raises(FormatError, match="is a EigenMoments; load it with that class"):
        OtherMoments.load(tmp_path / "f.zarr")


def test_whole_or_not_at_all(tmp_path):
    with pytest.raises(NotFittedError):
        EigenMoments().save(tmp_path / "f.zarr")
    assert list(tmp_path.iterdir()) == []
    EigenMoments(3).fit(waves()).save(tmp_path / "f.zarr")
    other = EigenMoments(2).fit(waves())
    with pytest.raises(ExistsError, match="exists already"):
        other.save(tmp_path / "f.zarr")
    other.save(tmp_path / "f.zarr", overwrite=True)
    assert len(EigenMoments.load(tmp_path / "f.zarr").components_) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["f.zarr"]


# -- refused ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "f.zarr"
    EigenMoments(3, order=(3, 2), signal_dims=("y", "x")).fit(labelled()).save(path)
    return path


@pytest.fixture
def saved(original, tmp_path):
    return shutil.copytree(original, tmp_path / "f.zarr")


def edit(path, change):
    """Change details of features, and take the digest away."""
    metadata = json.loads((path / "zarr.json").read_text())
    details = json.loads(metadata["attributes"]["details"])
    change(details)
    metadata["attributes"]["details"] = json.dumps(details)
    del metadata["attributes"]["digest"]
    (path / "zarr.json").write_text(json.dumps(metadata))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("fit", "signal_shape", [2**40, 5]),
        ("fit", "signal_shape", [6, 5, 1]),
        ("fit", "signal_shape", 30),
        ("fit", "signal_shape", [6.0, 5]),
        ("fit", "order", [2, 2]),
        ("fit", "order", [7, 2]),
        ("fit", "order", [True, 2]),
        ("fit", "basis", "chebyshev"),
        ("fit", "basis", ["legendre"]),
        ("fit", "invariant", ["mirror"]),
        ("fit", "invariant", ["scale"]),
        ("fit", "flat", 0),
        ("fit", "n_signals", -1),
        ("fit", "noise", -1.0),
        ("fit", "noise", "auto"),
        ("fit", "information_loss", None),
        ("fit", "signal_dims", ["y"]),
        ("fit", "signal_dims", "yx"),
        ("fit", "feature_names_in", ["a"]),
        ("params", "method", "svd"),
        ("params", "noise", -1.0),
        ("params", "correlation", {"c": -1.0, "variance": 1.0}),
        ("params", "correlation", {"c": 1.0}),
        ("params", "random_state", {"a": 1}),
        ("params", "n_component", 3),
    ],
)
def test_details_that_do_not_hold_together(saved, section, key, value):
    edit(saved, lambda details: details[section].update({key: value}))
    with pytest.raises(FormatError, match=r"the feature map at .* is damaged: "):
        EigenMoments.load(saved)


@pytest.mark.parametrize("name", ["components", "eigenvalues", "snr", "mean", "correlation", "noise_correlation"])
def test_a_changed_digit_or_shape(saved, name):
    array = zarr.open_array(saved / name, mode="r+")
    array[...] = np.nextafter(array[...], np.inf)
    with pytest.raises(FormatError, match="its content is not what was written"):
        EigenMoments.load(saved)
    edit(saved, lambda details: None)
    EigenMoments.load(saved)  # as numbers these are possible
    first = (0,) * array.ndim
    array[first] = np.nan
    with pytest.raises(FormatError, match=f"damaged: {name} contains NaN"):
        EigenMoments.load(saved)
    array[first] = 0.0
    array.resize((array.shape[0] + 1, *array.shape[1:]))
    with pytest.raises(FormatError, match=f"damaged: .*{name}|damaged: .* has shape"):
        EigenMoments.load(saved)
    shutil.rmtree(saved / name)
    with pytest.raises(FormatError, match=f"damaged.*{name}"):
        EigenMoments.load(saved)
