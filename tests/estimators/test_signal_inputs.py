"""EigenMoments: signals as people have them, the same features of each, and what is said of those that do not fit."""

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.pipeline import Pipeline

from dgmm import EigenMoments, GaussianMixture
from dgmm.errors import DataError, ParameterError

N, SHAPE = 200, (8, 8)
S = np.random.default_rng(0).normal(size=(N, 64)).cumsum(axis=1)
IMAGES = S.reshape(N, *SHAPE)
NOISE = np.random.default_rng(1).normal(size=(50, 64)) * np.linspace(0.5, 2.0, 64)


def labelled(values=IMAGES):
    coords = {
        "row": np.arange(N) + 3,
        "y": np.arange(8.0) * 2,
        "x": np.arange(8.0),
        "height": (("y", "x"), np.arange(64.0).reshape(SHAPE)),
        "place": 5,
    }
    return xr.DataArray(values, coords, ("row", "y", "x"), name="image")


def frame(values=S):
    return pd.DataFrame(values, columns=[f"p{i}" for i in range(64)])


def chunked(values=IMAGES, chunk=50):
    return da.from_array(values, chunks=(chunk, *values.shape[1:]))


# -- what is missing -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["_FillValue", "missing_value"])
@pytest.mark.parametrize("make", [lambda x: x, lambda x: x.chunk(row=50)], ids=["memory", "dask"])
@pytest.mark.parametrize("mark", [np.float64(-999.0), np.int16(-999)])
def test_samples_that_attributes_say_are_missing(key, make, mark):
    scene = labelled().round().astype(mark.dtype)
    scene[7, 1, 1] = mark
    source = make(scene.assign_attrs({key: mark, "units": "K"}))
    with pytest.raises(DataError, match=r"NaN, first at chunk 0, row 7, feature 9; the moments of a signal need"):
        EigenMoments(3).fit(source)
    found = EigenMoments(3).fit(scene[8:])
    with pytest.raises(DataError, match="NaN, first at chunk 0, row 7"):
        found.transform(source).compute()


def test_answers_have_no_attributes_of_the_signals():
    source = labelled().assign_attrs(_FillValue=np.float64(-999.0), units="K")
    found = EigenMoments(3).fit(source)
    features = found.transform(source)
    assert {*features.attrs} == {"long_name", "units"}
    assert features.attrs["units"] == "1"
    assert found.inverse_transform(features).attrs == {}


# -- the same features of all ----------------------------------------------------------------------


def test_noise_of_a_dataframe_is_known_by_its_columns():
    right = EigenMoments(3).fit(frame(), noise_signals=frame(NOISE))
    turned = frame(NOISE)[[f"p{i}" for i in reversed(range(64))]]
    for noise in (turned, dd.from_pandas(turned, npartitions=2)):
        found = EigenMoments(3).fit(frame(), noise_signals=noise)
        np.testing.assert_allclose(found.noise_, right.noise_, rtol=1e-10, atol=1e-12)
    with pytest.raises(DataError, match=r"noise_signals: The feature names should match(.|\n)*p63"):
        EigenMoments(3).fit(frame(), noise_signals=frame(NOISE).rename(columns={"p63": "q"}))


@pytest.mark.parametrize("dims", [None, ("y", "x")])
def test_arrays_after_and_beside_labelled_signals(dims):
    noise = NOISE.reshape(-1, *SHAPE)
    found = EigenMoments(3, signal_dims=dims).fit(labelled(), noise_signals=noise)
    plain = EigenMoments(3).fit(IMAGES, noise_signals=NOISE)
    np.testing.assert_array_equal(found.noise_, plain.noise_)
    expected = plain.transform(IMAGES)
    for X in (IMAGES, S, labelled().values, labelled()):
        np.testing.assert_allclose(found.transform(X), expected, rtol=1e-9, atol=1e-9)
    again = EigenMoments(3).fit(IMAGES, noise_signals=labelled(np.resize(noise, IMAGES.shape))[:50])
    np.testing.assert_allclose(again.noise_, plain.noise_, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("make", [lambda x: x, lambda x: x.chunk(r=50)], ids=["memory", "dask"])
def test_labelled_rows_of_signals(make, tmp_path):
    rows = make(xr.DataArray(S, {"s": np.arange(64) * 0.5}, dims=("r", "s")))
    found = EigenMoments(3, signal_shape=SHAPE).fit(rows)
    expected = EigenMoments(3).fit(IMAGES)
    features = found.transform(rows)
    assert features.dims == ("r", "eigenmoment")
    np.testing.assert_allclose(features, expected.transform(IMAGES), rtol=1e-9, atol=1e-9)
    back = found.inverse_transform(features)
    assert back.dims == ("r", "s")
    np.testing.assert_array_equal(back["s"], rows["s"])
    found.save(tmp_path / "features.zarr")
    again = EigenMoments.load(tmp_path / "features.zarr")
    assert again.inverse_transform(again.transform(rows)).dims == ("r", "s")


def test_labelled_rows_along_several_dimensions():
    rows = xr.DataArray(S.reshape(20, 10, 64), dims=("time", "place", "s"))
    found = EigenMoments(3, signal_shape=SHAPE).fit_transform(rows)
    assert found.dims == ("time", "place", "eigenmoment")
    whole = xr.DataArray(IMAGES.reshape(20, 10, *SHAPE), dims=("time", "place", "y", "x"))
    np.testing.assert_allclose(found, EigenMoments(3, signal_shape=SHAPE).fit_transform(whole), rtol=1e-9, atol=1e-9)


def test_numbers_of_samples_and_degrees_as_arrays(tmp_path):
    for order in (np.array([3]), np.array(3)):
        assert EigenMoments(3, order=order).fit(S).order_ == (3,)
    found = EigenMoments(3, order=np.array([3, 2]), signal_shape=np.array(SHAPE)).fit(S)
    assert (found.order_, found.signal_shape_) == ((3, 2), SHAPE)
    found.save(tmp_path / "features.zarr")
    assert EigenMoments.load(tmp_path / "features.zarr").get_params()["order"] == (3, 2)
    for wrong in (np.array([[3]]), np.array([2.5]), np.array([-1]), np.array([], dtype=int)):
        with pytest.raises(ParameterError, match=r"order is array\(.*it must be"):
            EigenMoments(order=wrong).fit(S)


# -- datasets --------------------------------------------------------------------------------------


def dataset():
    return xr.Dataset({"image": labelled(), "w": ("row", np.arange(N) % 3 * 1.0)})


def test_a_variable_of_weights_beside_the_signals(tmp_path):
    found = EigenMoments(3)
    features = found.fit_transform(dataset(), sample_weight="w")
    direct = EigenMoments(3).fit(IMAGES, sample_weight=dataset()["w"].values)
    np.testing.assert_allclose(features, direct.transform(IMAGES), rtol=1e-9, atol=1e-9)
    # One more of the same dimensions: that of the fit is meant.
    more = dataset().assign(other=labelled() * 2)
    np.testing.assert_array_equal(found.transform(more), features)
    found.save(tmp_path / "features.zarr")
    again = EigenMoments.load(tmp_path / "features.zarr")
    np.testing.assert_array_equal(again.transform(dataset()), features)
    with pytest.raises(DataError, match="signals are one variable"):
        again.transform(more)
    with pytest.raises(DataError, match="variables 'image', 'other', and signals are one variable"):
        EigenMoments(3, signal_dims=("y", "x")).fit(more)


def test_a_variable_of_weights_in_a_pipeline():
    steps = [("features", EigenMoments(3)), ("mixture", GaussianMixture(2, random_state=0))]
    found = Pipeline(steps).fit(dataset(), features__sample_weight="w")
    assert found.predict(dataset()).dims == ("row",)


# -- too large, too few ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("large", "words"),
    [
        ((IMAGES * 1e36).astype(np.float32), "leave the range of float32: infinity, first at chunk 0, row 0"),
        (IMAGES * 1e305, "leave the range of float64: .*first at chunk 0, row 0"),
    ],
    ids=["float32", "float64"],
)
def test_features_beyond_what_numbers_can_hold(large, words):
    found = EigenMoments(3, noise=1e-30).fit(IMAGES)
    with pytest.raises(DataError, match=f"{words}.*; scale the signals"):
        found.transform(large)
    mixed = np.concatenate([IMAGES[:50].astype(large.dtype), large[:50]])
    with pytest.raises(DataError, match=r"first at chunk 1, row 0, feature .*scale the signals"):
        found.transform(chunked(mixed)).compute(scheduler="sync")


def with_an_empty_chunk():
    def kept(block, block_info=None):
        return block[:0] if block_info[0]["chunk-location"][0] in (0, 2) else block

    blocks = da.from_array(np.concatenate([IMAGES[:40], IMAGES[:50], IMAGES[:40], IMAGES[50:]]), chunks=(10, 8, 8))
    blocks = blocks.rechunk(((40, 50, 40, 150), 8, 8))
    return da.map_blocks(kept, blocks, chunks=((0, 50, 0, 150), (8,), (8,)), dtype=float, meta=np.empty((0, 0, 0)))


def without_some_rows():
    keep = da.from_array(np.arange(N) % 100 >= 50, chunks=50)
    return chunked()[keep], IMAGES[np.arange(N) % 100 >= 50]


@pytest.mark.parametrize("make", [lambda: (with_an_empty_chunk(), IMAGES), without_some_rows], ids=["known", "unknown"])
def test_chunks_without_rows(make):
    lazy, values = make()
    with dask.config.set(scheduler="sync"):
        found, expected = EigenMoments(5).fit(lazy), EigenMoments(5).fit(values)
        assert found.n_signals_ == len(values)
        np.testing.assert_allclose(found.eigenvalues_, expected.eigenvalues_, rtol=1e-9)
        features = found.transform(lazy)
        np.testing.assert_allclose(features.compute(), expected.transform(values), rtol=1e-7, atol=1e-7)
        back = found.inverse_transform(features)
        np.testing.assert_allclose(back.compute(), expected.inverse_transform(expected.transform(values)), atol=1e-7)


def test_no_rows_in_memory():
    found = EigenMoments(3).fit(IMAGES)
    assert found.inverse_transform(np.ones((0, 3))).shape == (0, *SHAPE)
    with pytest.raises(DataError, match="minimum of 1"):
        found.transform(IMAGES[:0])


# -- the way back ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda x: x, lambda x: x.chunk(row=50)], ids=["memory", "dask"])
def test_signals_come_back_with_their_coordinates(make):
    source = make(labelled())
    found = EigenMoments(3).fit(source)
    back = found.inverse_transform(found.transform(source))
    assert back.dims == source.dims
    xr.testing.assert_equal(back.coords.to_dataset(), source.coords.to_dataset())
    np.testing.assert_allclose(back, found.inverse_transform(found.transform(IMAGES)), atol=1e-9)


def test_levels_of_stacked_samples_come_back():
    source = labelled().stack(pixel=("y", "x"))
    found = EigenMoments(3, order=3).fit(source)
    back = found.inverse_transform(found.transform(source))
    assert back.indexes["pixel"].equals(source.indexes["pixel"])


def test_columns_of_a_dask_dataframe_come_back():
    lazy = dd.from_pandas(frame(), npartitions=4)
    found = EigenMoments(3).fit(lazy)
    features = found.transform(lazy)
    assert [*features.columns] == ["eigenmoment_0", "eigenmoment_1", "eigenmoment_2"]
    back = found.inverse_transform(features)
    assert [*back.columns] == [*lazy.columns]
    expected = found.inverse_transform(features.compute().to_numpy())
    np.testing.assert_allclose(back.compute().to_numpy(), expected, atol=1e-9)


# -- what is refused -------------------------------------------------------------------------------


def of_unknown_width():
    lazy = da.from_array(IMAGES, chunks=(50, 8, 4))
    return lazy[:, :, da.from_array(np.arange(8) < 5, chunks=4)]


@pytest.mark.parametrize(
    ("X", "params", "error", "words"),
    [
        (labelled(), {"signal_dims": ("y", "y")}, ParameterError, "signal_dims names a dimension twice: 'y', 'y'"),
        (of_unknown_width(), {}, DataError, r"shape \(8, nan\), of which Dask does not know .* compute_chunk_sizes"),
        (xr.DataArray(of_unknown_width()), {}, DataError, r"shape \(8, nan\).* compute_chunk_sizes"),
        (labelled()[:, :0], {}, DataError, r"X has signals of shape \(0, 8\), without samples"),
        (IMAGES[:, :0], {}, DataError, r"X has signals of shape \(0, 8\), without samples"),
        (labelled().rename(row="sample_of_signal"), {}, DataError, "dimension 'sample_of_signal', .*rename it"),
        (labelled()[0, 0], {}, DataError, "dimensions 'x', none of which is left for a signal"),
        (labelled()[0, 0, 0], {}, DataError, "dimensions none, none of which is left for a signal"),
        (xr.DataArray(S[:, :60]), {"signal_shape": SHAPE}, DataError, r"signals of shape \(60,\); expected \(8, 8\)"),
        (labelled()[0], {"signal_shape": SHAPE}, DataError, "all of which are those of one signal"),
    ],
    ids=lambda value: None if hasattr(value, "dtype") else str(value)[:30],
)
def test_what_is_refused(X, params, error, words):
    with pytest.raises(error, match=words):
        EigenMoments(**params).fit(X)


def test_samples_may_be_called_as_rows_call_them():
    """Of the signal, or a coordinate beside the rows."""
    source = labelled().rename(y="sample_of_signal")
    found = EigenMoments(3).fit(source)
    assert found.inverse_transform(found.transform(source)).dims == source.dims
    source = labelled().drop_vars("row").assign_coords(sample_of_signal=("row", np.arange(N)))
    np.testing.assert_array_equal(EigenMoments(3).fit_transform(source), EigenMoments(3).fit_transform(IMAGES))


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (IMAGES[:, :7], r"^noise_signals has signals of shape \(7, 8\); expected \(8, 8\)"),
        (S[:, :60], r"^noise_signals have 60 samples; expected those of X, \(8, 8\)"),
        (np.where(np.arange(64) == 9, np.nan, S), "^noise_signals contains NaN, first at chunk 0, row 0, feature 9"),
        (labelled().rename(y="X"), "^signal_dims: 'y' is not in the dimensions of noise_signals; it has: 'row', 'X'"),
        (IMAGES[:0], "^.*noise_signals"),
        (np.array([["a"] * 64]), "^noise_signals .*no real numbers"),
    ],
)
def test_errors_about_noise_signals_say_so(noise, words):
    with pytest.raises((DataError, TypeError), match=words):
        EigenMoments(3).fit(labelled(), noise_signals=noise)
