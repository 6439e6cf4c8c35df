"""xarray objects as rows and back: cell by cell what numpy says of the same cells, whatever the order of dimensions."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import make_blobs

from dgmm import BFRKMeans, GaussianMixture, open_rows
from dgmm.errors import DataError, DataTypeError, ParameterError

SIZES = {"time": 3, "y": 4, "x": 5, "depth": 2}
SAMPLES = ("time", "y", "x")
COORDS = {
    "time": pd.date_range("2020-01-01", periods=3),
    "x": np.arange(5) * 0.5,
    "depth": [5.0, 10.0],
    "area": (("x", "y"), np.arange(20.0).reshape(5, 4)),
    "level": ("depth", ["top", "low"]),
    "station": "A7",
}
RNG = np.random.default_rng(0)
VALUES = {
    "temp": (SAMPLES, RNG.normal(size=(3, 4, 5))),
    "salt": ((*SAMPLES, "depth"), RNG.normal(size=(3, 4, 5, 2)).astype(np.float32)),
    "height": (("y", "x"), RNG.normal(size=(4, 5))),
    "season": (("time",), RNG.integers(0, 4, size=3)),
}
COLUMNS = ["temp", "salt[5.0]", "salt[10.0]", "height", "season"]


def by_hand(dims):
    """The features of each cell, (*dims, 5), with numpy alone."""
    temp, salt, height, season = (values for _, values in VALUES.values())
    shape = (3, 4, 5)
    cells = np.stack(
        [
            temp,
            salt[..., 0],
            salt[..., 1],
            np.broadcast_to(height, shape),
            np.broadcast_to(season[:, None, None], shape),
        ],
        axis=-1,
    )
    return cells.transpose(*(SAMPLES.index(dim) for dim in dims), 3)


@pytest.fixture(scope="module")
def model():
    """A mixture that tells these cells apart."""
    mixture = GaussianMixture(3, random_state=0, max_iter=500, reg_covar=1e-3)
    return mixture.fit(xr.Dataset(VALUES, COORDS), sample_dims=SAMPLES)


@st.composite
def scenes(draw):
    """A Dataset with its variables' dimensions in any order, and each, or some, in chunks of its own."""
    variables = {}
    for name, (dims, values) in VALUES.items():
        order = draw(st.permutations(dims))
        data = np.ascontiguousarray(values.transpose([dims.index(dim) for dim in order]))
        if draw(st.booleans()):
            chunks = [draw(cuts(SIZES[dim])) for dim in order]
            data = da.from_array(data, chunks=tuple(chunks))
        variables[name] = (order, data)
    return xr.Dataset(variables, COORDS)


def cuts(length):
    """Chunk lengths that sum to a length."""
    ends = st.sets(st.integers(1, length - 1)) if length > 1 else st.just(set())
    return ends.map(lambda found: tuple(np.diff([0, *sorted(found), length]).tolist()))


@settings(max_examples=25, deadline=None)
@given(scene=scenes(), method=st.sampled_from(["predict", "score_samples", "predict_proba"]))
def test_answers_lie_where_their_cells_do(model, scene, method):
    found = getattr(model, method)(scene)
    dims = scene.temp.dims
    values = found.compute(scheduler="synchronous").transpose(*dims, ...)
    plain = getattr(model, method)(pd.DataFrame(by_hand(dims).reshape(-1, 5), columns=COLUMNS))
    np.testing.assert_allclose(values, plain.reshape(values.shape), rtol=1e-12, atol=1e-12)
    assert found.dims[:3] == dims
    kept = scene.drop_dims("depth").coords
    assert {*found.coords} - {"component"} == {*kept}
    for name, coord in kept.items():
        xr.testing.assert_identical(found[name].variable, coord.variable)
    if any(values.chunks for values in scene.data_vars.values()):
        own = {dim: {values.chunksizes[dim] for values in scene.data_vars.values() if dim in values.chunksizes}
               for dim in dims}  # fmt: skip
        for dim in dims:
            ends = {end for sizes in own[dim] for end in np.cumsum(sizes)}
            assert {*np.cumsum(found.chunksizes[dim])} == ends | {SIZES[dim]}
    else:
        assert isinstance(found.data, np.ndarray)


@settings(max_examples=20, deadline=None)
@given(
    order=st.permutations(("time", "y", "x", "depth")),
    chunks=st.tuples(*(cuts(size) for size in SIZES.values())),
    samples=st.sampled_from([SAMPLES, ("x", "time", "y"), ["y", "x", "time"]]),
)
def test_rows_of_an_array_are_its_cells_block_by_block(order, chunks, samples):
    values = np.arange(120.0).reshape(3, 4, 5, 2)
    array = xr.DataArray(da.from_array(values, chunks=chunks), dims=(*SAMPLES, "depth")).transpose(*order)
    table = open_rows(array, sample_dims=samples)
    rows = table.X.compute(scheduler="synchronous")
    dims = [dim for dim in order if dim != "depth"]
    # By hand: C order of blocks, C order within.
    moved = array.transpose(*dims, "depth").data
    blocks = [moved.blocks[block].compute(scheduler="synchronous") for block in np.ndindex(*moved.numblocks[:3])]
    np.testing.assert_array_equal(rows, np.concatenate([block.reshape(-1, 2) for block in blocks]))
    back = table.origin.restore(table.X[:, 1], "second")
    np.testing.assert_array_equal(back.compute(scheduler="synchronous"), array.isel(depth=1))
    assert back.chunksizes == {dim: array.chunksizes[dim] for dim in dims}


def scene(*, chunks=None):
    found = xr.Dataset(VALUES, COORDS)
    return found if chunks is None else found.chunk(chunks)


@pytest.mark.parametrize("chunks", [None, {"time": 1, "x": 3}], ids=["in memory", "in chunks"])
def test_weights_and_labels_may_be_variables_arrays_and_numbers(chunks):
    weights = xr.DataArray(np.arange(20.0).reshape(5, 4), dims=("x", "y"))
    labels = np.arange(60).reshape(3, 4, 5) % 3 - 1
    source = scene(chunks=chunks).assign(w=weights, k=(SAMPLES, labels.astype(float)))
    tables = [
        open_rows(source, sample_dims=SAMPLES, sample_weight="w", labels="k"),
        open_rows(source.drop_vars(["w", "k"]), sample_dims=SAMPLES, sample_weight=weights, labels=labels),
        open_rows(
            source.drop_vars(["w", "k"]),
            sample_dims=SAMPLES,
            sample_weight=weights.chunk(x=2),
            labels=da.from_array(labels, chunks=2),
        ),
    ]
    for table in tables:
        assert table.feature_names == tuple(COLUMNS)
        area, kinds = (np.asarray(table.origin.restore(values, "?")) for values in (table.weights, table.labels))
        np.testing.assert_array_equal(area, np.broadcast_to(weights.values.T, (3, 4, 5)))
        np.testing.assert_array_equal(kinds, labels)
    twice = open_rows(source, sample_dims=SAMPLES, sample_weight=2)
    assert np.asarray(twice.weights).tolist() == [2.0] * 60


def test_features_may_be_chosen_by_variable_column_and_number():
    source = scene(chunks={"y": 2})
    table = open_rows(source, sample_dims=SAMPLES, features=["salt", "temp"])
    assert table.feature_names == ("salt[5.0]", "salt[10.0]", "temp")
    table = open_rows(source, sample_dims=SAMPLES, features=["height", "salt[10.0]"])
    np.testing.assert_array_equal(
        table.origin.restore(table.X, "x", columns=("column", [0, 1])), by_hand(SAMPLES)[..., [3, 2]]
    )
    array = xr.DataArray(np.arange(12).reshape(2, 2, 3), {"band": ["r", "g", "b"]}, ("y", "x", "band"))
    for features in (["b", "r"], [2, 0]):
        table = open_rows(array, features=features)
        assert (table.X.tolist(), table.feature_names) == ([[2, 0], [5, 3], [8, 6], [11, 9]], ("b", "r"))


def test_defaults_of_the_sample_dimensions():
    array = xr.DataArray(np.zeros((2, 3, 4)), dims=("y", "x", "band"))
    assert open_rows(array).origin.sample_dims == ("y", "x")
    assert open_rows(array.rename(band="time").transpose("time", "x", "y")).origin.sample_dims == ("time", "x")
    shared = xr.Dataset({"a": (("y", "x"), np.zeros((2, 3))), "b": (("depth", "x", "y"), np.zeros((2, 3, 2)))})
    table = open_rows(shared)
    assert (table.origin.sample_dims, table.feature_names) == (("y", "x"), ("a", "b[0]", "b[1]"))
    one = open_rows(array[0, 0], sample_dims="band")
    assert (one.X.shape, one.feature_names) == ((4, 1), None)
    assert open_rows(array[0, 0].rename("depth"), sample_dims="band").feature_names == ("depth",)


@pytest.mark.parametrize(
    ("kinds", "dtype"),
    [
        (("float32", "float32"), "float32"),
        (("float32", "int16"), "float32"),
        (("float32", "float64"), "float64"),
        (("int8", "uint8"), "float64"),
        (("bool", "float64"), "float64"),
    ],
)
def test_variables_of_several_types_become_what_numpy_makes_of_them(kinds, dtype):
    X = (make_blobs(40, 2, 1, seed=0) * 10).clip(-100, 100)
    source = xr.Dataset(
        {name: ("row", abs(X[:, i]).astype(kind)) for i, (name, kind) in enumerate(zip("ab", kinds, strict=True))}
    )
    for own in (source, source.chunk(row=10)):
        assert GaussianMixture(1).fit(own).means_.dtype == dtype


def test_the_projection_of_a_map_stays_with_the_answers():
    source = xr.Dataset(
        {"a": (("y", "x"), np.eye(3)), "b": (("y", "x"), np.ones((3, 3)))}, {"spatial_ref": 0}
    )  # as rioxarray has it
    source.a.encoding["grid_mapping"] = "spatial_ref"
    found = open_rows(source).origin.restore(np.arange(9), "labels")
    assert found.encoding["grid_mapping"] == "spatial_ref"
    assert "spatial_ref" in found.coords


def test_an_index_of_several_levels_is_kept():
    array = xr.DataArray(np.zeros((2, 3, 2)), dims=("y", "x", "band"), coords={"y": [1, 2], "x": [1, 2, 3]})
    stacked = array.stack(cell=("y", "x")).transpose("cell", "band")
    found = open_rows(stacked).origin.restore(np.arange(6), "labels")
    np.testing.assert_array_equal(found.unstack("cell"), np.arange(6).reshape(2, 3))


def test_clusters_answer_in_the_shape_of_the_scene():
    source = scene(chunks={"x": 2})
    scan = BFRKMeans(2, random_state=0).fit(source, sample_dims=SAMPLES)
    assert scan.labels_.dims == scan.predict(source).dims == SAMPLES
    distances = scan.transform(source)
    assert (distances.dims, distances.name) == ((*SAMPLES, "component"), "distance")
    plain = BFRKMeans(2, random_state=0).fit(open_rows(source, sample_dims=SAMPLES).X)
    np.testing.assert_array_equal(scan.cluster_centers_, plain.cluster_centers_)
    assert scan.score(source) == plain.score(open_rows(source, sample_dims=SAMPLES).X)


REFUSED = {
    "a coordinate": ({"features": ["temp", "area"]}, DataError, "'area' is a coordinate of X, not a variable"),
    "a dimension": ({"features": ["time"]}, DataError, "'time' is a coordinate of X"),
    "no variable": ({"features": ["tmp"]}, DataError, "'tmp' is not in the variables of X, did you mean 'temp'"),
    "no column": ({"features": ["salt[7.0]"]}, DataError, r"'salt\[7.0\]' is not in X"),
    "no number": ({"features": [9]}, DataError, "there is no column 9 in X; allowed: 0 to 4"),
    "twice": ({"features": ["temp", "temp"]}, ParameterError, "names a column twice"),
    "a word": ({"features": "temp"}, ParameterError, "features is 'temp'; it must be a list"),
    "nothing": ({"features": []}, ParameterError, "it must be a list"),
    "labels of a coordinate": ({"labels": "area"}, DataError, "labels: 'area' is a coordinate"),
    "labels of another shape": ({"labels": np.zeros(60)}, DataError, r"labels has shape \(60,\); expected that of"),
    "labels that are words": ({"labels": np.full((3, 4, 5), "a")}, DataTypeError, "labels has dtype <U1"),
    "a variable to choose": ({"variable": "temp"}, ParameterError, "variable is 'temp', but X is a Dataset"),
}


@pytest.mark.parametrize(("options", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_there_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        open_rows(scene(), **{"sample_dims": SAMPLES} | options)


def test_labels_that_are_not_whole_are_refused_where_they_are_read():
    for source in (scene(), scene(chunks={"time": 1})):
        with pytest.raises(DataError, match=r"labels contains .*, first at chunk 0, row 0; .* are not the number of a"):
            GaussianMixture(2).fit(source, labels="temp", sample_dims=SAMPLES)


@pytest.mark.parametrize("chunks", [None, {"y": 2}])
def test_bounds_and_grid_mappings_are_no_features(chunks):
    source = xr.Dataset(
        {
            "a": (("y", "x"), np.eye(4), {"grid_mapping": "crs"}),
            "b": (("y", "x"), np.ones((4, 4))),
            "y_bounds": (("y", "side"), np.zeros((4, 2))),
            "crs": ((), 0),
        },
        {"y": ("y", np.arange(4.0), {"bounds": "y_bounds"})},
    )
    table = open_rows(source if chunks is None else source.chunk(chunks), sample_dims=("y", "x"))
    assert table.feature_names == ("a", "b")
    found = table.origin.restore(table.X[:, 0], "labels")
    assert "crs" in found.coords
    assert found.encoding["grid_mapping"] == "crs"


@pytest.mark.parametrize("chunks", [None, {"x": 2}])
@pytest.mark.parametrize(("dtype", "expected"), [("int16", "float64"), ("float32", "float32"), ("float64", "float64")])
def test_marks_of_missing_values_that_were_not_decoded_are_missing(chunks, dtype, expected):
    bands = np.array([[[3, -99], [5, 6]], [[1, 2], [-99, 4]]], dtype)
    source = xr.DataArray(bands, dims=("band", "y", "x"), attrs={"_FillValue": np.array(-99, dtype)[()]})
    table = open_rows(source if chunks is None else source.chunk(chunks), sample_dims=("y", "x"))
    assert table.X.dtype == expected
    found = table.origin.restore(table.X, "X", columns=("band", range(2))).transpose("band", "y", "x")
    np.testing.assert_array_equal(found, np.where(bands == -99, np.nan, bands))


def test_a_dimension_of_features_is_not_guessed_among_several():
    cube = xr.DataArray(np.random.default_rng(0).normal(size=(4, 4, 4)), dims=("band", "y", "x"))
    cubes = GaussianMixture(2, random_state=0).fit(cube, sample_dims=("y", "x"))
    other = cube.rename(band="channel")
    with pytest.raises(DataError, match="none of them is 'band', which held the features of the fit"):
        cubes.predict(other)
    found = cubes.predict(open_rows(other, sample_dims=("y", "x")))
    np.testing.assert_array_equal(found, cubes.predict(cube))


def test_answers_do_not_meet_coordinates_or_dimensions_of_their_names(model):
    before = model.predict(scene())
    named = scene().assign_coords(labels=before, probability=before)
    assert (
        model.predict(named).to_dataset().labels.identical(before.to_dataset().labels.assign_coords(probability=before))
    )
    assert model.predict_proba(named, top=2).probability.dims == (*SAMPLES, "rank")
    for dim, top in (("component", None), ("rank", 1), ("remainder", 1)):
        with pytest.raises(DataError, match=f"X has a dimension '{dim}', .* rename it"):
            model.predict_proba(scene().rename(x=dim), top=top)


def test_bands_are_features_wherever_they_stand():
    raster = scene().temp.rename(time="band")
    first = raster.transpose("band", ...)
    table = open_rows(first)
    assert table.X.shape == (raster.sizes["x"] * raster.sizes["y"], raster.sizes["band"])
    np.testing.assert_array_equal(table.X, first.values.reshape(len(first), -1).T)
    assert open_rows(first.to_dataset(name="a")).X.shape == table.X.shape
