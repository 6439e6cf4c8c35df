"""What a model says of rows, written and read back by plain xarray, pandas and rasterio."""

from __future__ import annotations

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import rasterio
import rioxarray  # the accessor rio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmm import GaussianMixture, write_results
from dgmm.errors import DataError, DataTypeError, ExistsError, MissingExtraError, ParameterError, WriteError

assert rioxarray


def scene(dims=("time", "y", "x"), chunks=None, dtype=np.int64):
    """Labels of a scene with coordinates of all sorts, some of them without a label."""
    sizes = {"time": 3, "y": 7, "x": 5}
    values = np.random.default_rng(0).integers(-1, 4, [sizes[dim] for dim in dims]).astype(dtype)
    coords = {
        "time": pd.date_range("2020-01-01", periods=3),
        "y": 60.0 - 0.5 * np.arange(7),
        "x": 10.0 + 0.25 * np.arange(5),
        "height": (("y", "x"), np.random.default_rng(1).random((7, 5)), {"units": "m"}),
        "station": ("x", list("abcde")),
    }
    coords = {name: coord for name, coord in coords.items() if name in dims or not isinstance(coord, np.ndarray)}
    if "time" not in dims:
        coords.pop("time", None)
    labels = xr.DataArray(values, dims=dims, coords=coords, name="labels").rio.write_crs("EPSG:4326")
    labels.encoding["grid_mapping"] = "spatial_ref"
    return labels if chunks is None else labels.chunk(chunks)


orders = st.permutations(["time", "y", "x"]).map(tuple)
chunkings = st.fixed_dictionaries({"time": st.integers(1, 3), "y": st.integers(1, 7), "x": st.integers(1, 5)})


def assert_same(read, written):
    """Cells, coordinates, dimensions and the reference system; the code of no label is said."""
    read = read.load()
    assert read.dims == written.dims
    assert read.dtype == np.int32
    assert read.attrs["flag_values"] == -1
    assert read.attrs["flag_meanings"] == "no_label"
    np.testing.assert_array_equal(read, written)
    assert set(read.coords) == set(written.coords)
    for name, coord in written.coords.items():
        if name != "spatial_ref":
            np.testing.assert_array_equal(read[name], coord)
            assert read[name].attrs == coord.attrs
    assert read.rio.crs == written.rio.crs


@settings(max_examples=12, deadline=None)
@given(dims=orders, chunks=st.none() | chunkings)
def test_zarr_and_netcdf_give_back_every_cell_and_coordinate(tmp_path_factory, dims, chunks):
    labels, folder = scene(dims, chunks), tmp_path_factory.mktemp("out")
    with dask.config.set(scheduler="synchronous"):
        for path, read in (("l.zarr", xr.open_zarr), ("l.nc", xr.open_dataset)):
            write_results(labels, folder / path)
            with read(folder / path, decode_coords="all") as found:
                assert_same(found["labels"], labels)
    assert sorted(path.name for path in folder.iterdir()) == ["l.nc", "l.zarr"]


@settings(max_examples=12, deadline=None)
@given(dims=st.permutations(["time", "y", "x"]).map(tuple) | st.permutations(["y", "x"]).map(tuple), chunks=chunkings)
def test_a_geotiff_gives_back_every_pixel_and_its_place(tmp_path_factory, dims, chunks):
    labels = scene(dims, {dim: chunks[dim] for dim in dims}).astype(np.int16, keep_attrs=True)
    labels.encoding["grid_mapping"] = "spatial_ref"
    path = tmp_path_factory.mktemp("out") / "l.tif"
    with dask.config.set(scheduler="synchronous"):
        write_results(labels, path)
    with rasterio.open(path) as file:
        expected = labels.transpose(..., "y", "x").to_numpy()
        np.testing.assert_array_equal(file.read(), expected.reshape(-1, 7, 5))
        assert (file.nodata, file.dtypes[0], file.crs.to_epsg()) == (-1, "int16", 4326)
        assert file.xy(0, 0) == (10.0, 60.0)
        assert file.xy(6, 4) == (11.0, 57.0)
        assert file.tags()["flag_meanings"] == "no_label"
        assert len({*file.descriptions}) == file.count


@settings(max_examples=12, deadline=None)
@given(dims=orders, chunks=st.none() | chunkings)
def test_parquet_has_the_rows_that_xarray_makes(tmp_path_factory, dims, chunks):
    labels, path = scene(dims, chunks), tmp_path_factory.mktemp("out") / "l.parquet"
    with dask.config.set(scheduler="synchronous"):
        write_results(labels, path)
    expected = labels.drop_vars("spatial_ref").to_dataframe().reset_index().sort_values(list(dims), ignore_index=True)
    found = pd.read_parquet(path).sort_values(list(dims), ignore_index=True)
    pd.testing.assert_frame_equal(found[expected.columns], expected.astype({"labels": np.int32}), check_dtype=False)
    assert found["labels"].dtype == np.int32


def test_a_large_raster_is_written_in_tiles(tmp_path):
    values = np.random.default_rng(0).random((600, 500)).astype(np.float32)
    written = xr.DataArray(da.from_array(values, chunks=(170, 130)), dims=("y", "x"), name="log_density")
    write_results(written, tmp_path / "d.tif")
    with rasterio.open(tmp_path / "d.tif") as file:
        np.testing.assert_array_equal(file.read(1), values)
        assert file.block_shapes == [(256, 256)]
        assert np.isnan(file.nodata)


# -- what estimators return ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    X = np.random.default_rng(0).normal(size=(500, 2)) + 5 * np.random.default_rng(1).integers(0, 3, (500, 1))
    return GaussianMixture(3, random_state=0).fit(X)


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(3).normal(size=(7, 5, 2)) * 3


QUESTIONS = {
    "predict": lambda model, X: model.predict(X),
    "dense": lambda model, X: model.predict_proba(X),
    "top": lambda model, X: model.predict_proba(X, top=2),
    "densities": lambda model, X: model.score_samples(X),
}


def assert_cells(found, expected):
    """The variables of a file hold what numpy input gives, cell by cell."""
    for name, cells in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]).reshape(cells.shape), cells, rtol=1e-12)


def as_variables(question, answer):
    if question == "top":
        return answer._asdict()
    return {{"predict": "labels", "dense": "probability", "densities": "log_density"}[question]: answer}


@pytest.mark.parametrize("suffix", ["zarr", "nc"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_every_answer_is_written_for_labelled_and_plain_input(model, values, tmp_path, question, suffix):
    flat = values.reshape(-1, 2)
    expected = as_variables(question, QUESTIONS[question](model, flat))
    inputs = {
        "numpy": flat,
        "dask": da.from_array(flat, chunks=(10, 2)),
        "xarray": xr.DataArray(values, dims=("y", "x", "band"), coords={"y": np.arange(7.0)}),
        "lazy xarray": xr.DataArray(values, dims=("y", "x", "band")).chunk(y=3),
    }
    read = {"zarr": xr.open_zarr, "nc": xr.open_dataset}[suffix]
    for kind, X in inputs.items():
        path = tmp_path / f"{kind}.{suffix}"
        write_results(QUESTIONS[question](model, X), path)
        with read(path) as found:
            assert set(found.data_vars) == set(expected)
            assert_cells(found, expected)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_answer_is_a_table_for_frames(model, values, tmp_path, question):
    frame = pd.DataFrame(values.reshape(-1, 2), columns=["a", "b"], index=pd.Index(np.arange(35) * 2, name="cast"))
    expected = as_variables(question, QUESTIONS[question](model, values.reshape(-1, 2)))
    write_results(QUESTIONS[question](model, dd.from_pandas(frame, npartitions=3)), tmp_path / "a.parquet")
    found = pd.read_parquet(tmp_path / "a.parquet")
    assert found.index.tolist() == frame.index.tolist()
    cells = np.column_stack(list(expected.values()))
    np.testing.assert_allclose(found.to_numpy(dtype=float), cells, rtol=1e-12)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_answer_is_a_table_for_labelled_input(model, values, tmp_path, question):
    X = xr.DataArray(values, dims=("y", "x", "band"), coords={"y": np.arange(7.0)}).chunk(y=3)
    expected = as_variables(question, QUESTIONS[question](model, values.reshape(-1, 2)))
    write_results(QUESTIONS[question](model, X), tmp_path / "a.parquet")
    found = pd.read_parquet(tmp_path / "a.parquet").sort_values(["y", "x"])
    cells = np.column_stack(list(expected.values()))
    np.testing.assert_allclose(found.drop(columns=["y", "x"]).to_numpy(dtype=float), cells, rtol=1e-12)


def test_several_results_of_a_block_read_it_once(model, values, tmp_path):
    reads = []

    def count(block):
        reads.append(block.shape)
        return block

    X = da.from_array(values, chunks=(2, 5, 2)).map_blocks(count, meta=np.empty((0, 0, 0)))
    for path in ("a.zarr", "a.nc", "a.parquet"):
        reads.clear()
        with dask.config.set(scheduler="synchronous"):
            write_results(model.predict_proba(xr.DataArray(X, dims=("y", "x", "band")), top=2), tmp_path / path)
        assert len(reads) == 4


def test_few_blocks_are_in_memory_at_once(tmp_path, monkeypatch):
    """Blocks are dropped once they are written: at no time do more live than threads and a batch hold."""
    import weakref

    monkeypatch.setattr("dgmm.storage.windows._MOST_BLOCKS", 4)
    alive, most = weakref.WeakSet(), []

    class Tracked(np.ndarray):
        __hash__ = object.__hash__

    def track(block):
        found = block.view(Tracked)
        alive.add(found)
        most.append(len(alive))
        return found

    lazy = da.zeros((64, 30), chunks=(1, 30), dtype=np.int32).map_blocks(track, meta=np.empty((0, 0), np.int32))
    labels = xr.DataArray(lazy, dims=("y", "x"), name="labels")
    for path in ("a.zarr", "a.nc", "a.tif", "a.parquet"):
        most.clear()
        with dask.config.set(scheduler="threads", num_workers=2):
            write_results(labels, tmp_path / path)
        assert len(most) == 64
        assert max(most) <= 12, path


# -- whole or not at all ------------------------------------------------------------------------


def fails(block, block_info=None):
    if block_info[0]["chunk-location"][0] == 3:
        raise ZeroDivisionError("block 3")
    return block


PATHS = ["l.zarr", "l.nc", "l.parquet", "l.tif"]


@pytest.mark.parametrize("path", PATHS)
def test_what_fails_leaves_what_was_there(tmp_path, path):
    labels = scene(("y", "x"), {"y": 2, "x": 5})
    bad = labels.copy(data=labels.data.map_blocks(fails, dtype=labels.dtype))
    with pytest.raises(ZeroDivisionError):
        write_results(bad, tmp_path / path)
    assert list(tmp_path.iterdir()) == []
    write_results(labels, tmp_path / path)
    with pytest.raises(ExistsError, match="exists already"):
        write_results(labels, tmp_path / path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(ZeroDivisionError):
        write_results(bad, tmp_path / path, overwrite=True)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    write_results(labels + 1, tmp_path / path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("path", PATHS)
def test_what_is_of_another_kind_is_never_replaced(tmp_path, path):
    (tmp_path / path).write_text("precious")
    with pytest.raises(ExistsError, match="so it is never overwritten"):
        write_results(scene(("y", "x")), tmp_path / path, overwrite=True)
    (tmp_path / path).unlink()
    (tmp_path / path).mkdir()
    (tmp_path / path / "thesis.txt").write_text("precious")
    with pytest.raises(ExistsError, match="so it is never overwritten"):
        write_results(scene(("y", "x")), tmp_path / path, overwrite=True)
    assert (tmp_path / path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("path", PATHS)
def test_a_place_that_cannot_be_written_is_named(tmp_path, path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=f"file/{path}: cannot be written"):
        write_results(scene(("y", "x")), tmp_path / "file" / path)


@pytest.mark.parametrize("path", ["l.zarr", "l.nc", "l.parquet"])
@pytest.mark.parametrize("chunks", [None, {"cell": 20}])
def test_an_index_of_several_levels_becomes_coordinates(tmp_path, path, chunks):
    labels = scene(("y", "x"), chunks=None).stack(cell=("y", "x"))
    write_results(labels if chunks is None else labels.chunk(chunks), tmp_path / path)
    if path == "l.parquet":
        read = pd.read_parquet(tmp_path / path)
    else:
        with xr.open_dataset(tmp_path / path, engine="zarr" if path == "l.zarr" else None) as opened:
            read = opened.load()
    for name in ("labels", "y", "x"):
        np.testing.assert_array_equal(read[name], labels if name == "labels" else labels[name])


@pytest.mark.parametrize("which", [slice(None), 0], ids=["all times", "one time"])
def test_times_of_other_calendars_are_text_in_parquet(tmp_path, which):
    times = xr.date_range("2001-02-27", periods=3, calendar="noleap", use_cftime=True)
    labels = scene(chunks={"time": 2}).assign_coords(time=times).isel(time=which)
    write_results(labels, tmp_path / "l.parquet")
    found = pd.read_parquet(tmp_path / "l.parquet").time.unique().tolist()
    assert found == ["2001-02-27 00:00:00", "2001-02-28 00:00:00", "2001-03-01 00:00:00"][: 1 if which == 0 else 3]


@pytest.mark.parametrize("path", ["l.zarr", "l.nc", "l.parquet"])
@pytest.mark.parametrize("chunks", [None, {"y": 2}])
def test_a_coordinate_that_a_format_cannot_hold_is_refused(tmp_path, path, chunks):
    odd = np.array([1, "a", None, 2.0, 3, 4, 5], dtype=object)
    labels = scene(chunks=chunks).assign_coords(odd=("y", odd))
    with pytest.raises(DataError, match=f"{path}: a coordinate or an attribute of the results cannot be kept"):
        write_results(labels, tmp_path / path)
    assert list(tmp_path.iterdir()) == []


# -- what cannot be written so --------------------------------------------------------------------

FRAME = dd.from_pandas(pd.DataFrame({"labels": [0, 1]}), npartitions=1)
UNEVEN = scene(("y", "x")).assign_coords(x=[0.0, 1.0, 2.0, 4.0, 8.0])
REFUSED = {
    "another suffix": (np.zeros(3), "labels.csv", ParameterError, "written as .zarr, .nc, .parquet, .tif"),
    "a URL": (np.zeros(3), "s3://bucket/l.nc", ParameterError, "written to a URL as .zarr"),
    "a list": ([1, 2], "l.zarr", DataTypeError, "results are of type list"),
    "a frame as zarr": (FRAME, "l.zarr", DataError, "not known before it is computed; write .parquet"),
    "unknown lengths": (da.zeros(4)[da.zeros(4) > 1], "l.zarr", DataError, "compute_chunk_sizes"),
    "rows as a raster": (np.zeros(3), "l.tif", DataError, "needs two dimensions of space, as y and x; found row"),
    "four dimensions": (scene().expand_dims("run"), "l.tif", DataError, "one dimension beside y and x"),
    "uneven steps": (UNEVEN, "l.tif", DataError, "coordinate x is not evenly spaced .steps of 1 to 4"),
    "places that are no numbers": (
        scene(("y", "x")).assign_coords(x=list("abcde")),
        "l.tif",
        DataError,
        "coordinate x is of dtype <U1; a GeoTIFF needs numbers",
    ),
    "several": (
        xr.Dataset({"a": scene(), "b": scene()}),
        "l.tif",
        DataError,
        "these are several: a, b",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_format_cannot_hold_is_refused(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    results, path, kind, words = REFUSED[what]
    with pytest.raises(kind, match=words):
        write_results(results, path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "extra", "path"),
    [("netCDF4", "netcdf", "l.nc"), ("pyarrow", "parquet", "l.parquet"), ("rioxarray", "geotiff", "l.tif")],
)
def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch, module, extra, path):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"dgmm\[{extra}\]"):
        write_results(scene(("y", "x")), tmp_path / path)
