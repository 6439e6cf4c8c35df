"""What is opened from a path or URL, against plain zarr, xarray, pandas and numpy reading the same."""

from __future__ import annotations

import pickle

import cloudpickle
import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
import zarr
from obstore.store import from_url
from zarr.storage import ObjectStore

from dgmm.errors import DataError, DgmmError, FormatError, MissingExtraError, ParameterError, ReadError, StoreError
from dgmm.inputs.sources import open_source
from dgmm.storage import parquet, reading
from dgmm.storage.storing import consolidate

PACKED = {"dtype": "i2", "scale_factor": 1e-3, "add_offset": 2.0, "_FillValue": -1}


def scene():
    """Two variables, one of which is packed and has a gap, coordinates of all sorts."""
    rng = np.random.default_rng(0)
    red = np.round(rng.random((4, 6, 5)), 2)
    red[1, 2, 3] = np.nan
    dataset = xr.Dataset(
        {
            "red": (("time", "y", "x"), red, {"units": "1", "grid_mapping": "crs"}),
            "age": (("y", "x"), rng.integers(0, 90, (6, 5)), {"units": "days"}),
            "crs": ((), 0, {"grid_mapping_name": "latitude_longitude"}),
        },
        coords={
            "time": pd.date_range("2020-01-01", periods=4),
            "y": np.arange(6.0)[::-1],
            "lat": (("y", "x"), rng.random((6, 5)), {"long_name": "latitude"}),
        },
        attrs={"title": "a scene"},
    )
    dataset["red"].encoding = PACKED
    return dataset


@pytest.fixture
def no_compute():
    def refuse(graph, keys, **options):
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        yield


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(reading, "_PAUSES", (0.0,))


def compute(opened):
    with dask.config.set(scheduler="threads"):
        return opened.compute()


def assert_is_scene(opened):
    expected = scene().set_coords("crs")
    assert set(opened.data_vars) == {"red", "age"}
    loaded = compute(opened)
    loaded["red"].attrs["grid_mapping"] = loaded["red"].encoding.pop("grid_mapping")
    xr.testing.assert_identical(loaded.drop_encoding().round(6), expected.drop_encoding())


# -- zarr ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_zarr_group_is_what_xarray_wrote(tmp_path, no_compute, zarr_format, consolidated):
    written = scene().chunk(time=2, y=4)
    with dask.config.set(scheduler="threads"):
        if zarr_format == 3 and consolidated:
            written.to_zarr(tmp_path / "s.zarr", zarr_format=3, consolidated=False)
            consolidate(tmp_path / "s.zarr")
        else:
            written.to_zarr(tmp_path / "s.zarr", zarr_format=zarr_format, consolidated=consolidated)
    opened = open_source(tmp_path / "s.zarr")
    assert opened["red"].chunks == ((2, 2), (4, 2), (5,))
    assert_is_scene(opened)


def test_a_sharded_variable_is_read_by_shards(tmp_path):
    values = np.random.default_rng(0).random((40, 6, 3))
    group = zarr.open_group(tmp_path / "s.zarr", mode="w")
    array = group.create_array(
        "v", shape=values.shape, chunks=(5, 3, 3), shards=(20, 6, 3), dtype="f8", dimension_names=("t", "x", "band")
    )
    array[...] = values
    opened = open_source(tmp_path / "s.zarr")
    assert isinstance(opened, xr.DataArray)
    assert opened.chunks == ((20, 20), (6,), (3,))
    np.testing.assert_array_equal(opened.values, values)


def test_one_variable_is_a_data_array_with_its_coordinates(tmp_path):
    scene().chunk(time=2).to_zarr(tmp_path / "s.zarr", consolidated=False)
    opened = open_source(tmp_path / "s.zarr", variable="age")
    assert opened.dims == ("y", "x")
    assert set(opened.coords) == {"y", "lat", "crs"}
    with pytest.raises(DataError, match=r"no array 'blue' in this group; the arrays in it: age, crs, lat, red"):
        open_source(tmp_path / "s.zarr", variable="blue")


def test_arrays_without_names_of_dimensions_are_dask_arrays(tmp_path):
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    group.create_array("a", shape=(8, 3), chunks=(4, 3), dtype="f4")
    assert open_source(tmp_path / "g.zarr").chunks == ((4, 4), (3,))
    group.create_array("b", shape=(8, 3), dtype="f4", dimension_names=("row", "band"))
    with pytest.raises(DataError, match="2 arrays that could be meant; give the name of one"):
        open_source(tmp_path / "g.zarr")
    assert open_source(tmp_path / "g.zarr", variable="a").shape == (8, 3)
    assert open_source(tmp_path / "g.zarr", variable="b").dims == ("row", "band")
    assert open_source(tmp_path / "g.zarr" / "a").shape == (8, 3)
    assert open_source(tmp_path / "g.zarr" / "b").dims == ("row", "band")


# -- an object store ----------------------------------------------------------------------------


def in_store(url):
    return ObjectStore(from_url(url))


def test_a_group_in_an_object_store_is_opened_by_whoever_reads(s3, no_compute):
    """The graph holds a URL; the credentials are those of the environment it is computed in."""
    with dask.config.set(scheduler="threads"):
        scene().chunk(time=2).to_zarr(in_store(s3), consolidated=False)
    opened = open_source(s3)
    assert_is_scene(opened)
    travels = cloudpickle.dumps(opened.__dask_graph__()) + pickle.dumps(opened)
    assert b"marker-of-a" not in travels
    assert s3.encode() in travels
    np.testing.assert_array_equal(compute(pickle.loads(pickle.dumps(opened))["age"]), scene()["age"])
    assert_is_scene(open_source(f"{s3}/"))
    assert open_source(f"{s3}/red").dims == ("time", "y", "x")


def test_an_array_of_format_2_in_an_object_store(s3):
    array = zarr.create_array(in_store(s3), shape=(10, 3), chunks=(4, 3), dtype="f8", zarr_format=2)
    array[...] = np.arange(30.0).reshape(10, 3)
    np.testing.assert_array_equal(open_source(s3).compute(), np.arange(30.0).reshape(10, 3))


def test_what_an_object_store_refuses_is_said_without_secrets(s3, monkeypatch, no_pauses):
    zarr.create_array(in_store(s3), shape=(10, 3), chunks=(5, 3), dtype="f8")[...] = 1.0
    opened = open_source(s3)
    with pytest.raises(FormatError, match=r"s3://.*/nothing: not a zarr store"):
        open_source(f"{s3}/nothing")
    with pytest.raises(ParameterError, match="credentials are taken from the environment"):
        open_source("s3://me:marker@bucket/x.zarr")
    with pytest.raises(ParameterError, match="scheme 'ftp'"):
        open_source("ftp://host/x.zarr")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("dgmm.storage.objects._RETRIES", {"max_retries": 0})
    with pytest.raises(StoreError, match=r"chunk \(\d, 0\) of s3://.*could not be opened|could not be read") as caught:
        opened.compute(scheduler="synchronous")
    assert "marker" not in f"{caught.value} {caught.value.__cause__!r} {caught.value.__cause__.__cause__!r}"
    with pytest.raises(DgmmError, match="see to the bucket, the network"):
        open_source(s3)


def test_a_codec_that_could_run_code_is_refused_in_an_object_store_too(s3):
    zarr.create_array(in_store(s3), shape=(4, 2), dtype="f8", zarr_format=2)[...] = 1.0
    store = from_url(s3)
    text = bytes(store.get(".zarray").bytes()).replace(b'"filters": null', b'"filters": [{"id": "pickle"}]')
    assert b"pickle" in text
    store.put(".zarray", text)
    with pytest.raises(FormatError, match="the codec 'pickle' is not one"):
        open_source(s3)


# -- NetCDF -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_64BIT"])
def test_a_netcdf_file_is_what_xarray_reads(tmp_path, no_compute, kind):
    written = scene()
    written["age"] = written["age"].astype(np.int32)
    written.to_netcdf(tmp_path / "s.nc", format=kind)
    opened = open_source(tmp_path / "s.nc")
    opened["age"] = opened["age"].astype(np.int64)
    assert_is_scene(opened)
    assert open_source(tmp_path / "s.nc", variable="age").dims == ("y", "x")
    with pytest.raises(DataError, match="no variable 'blue' in this file; the variables in it: red, age"):
        open_source(tmp_path / "s.nc", variable="blue")


def test_a_netcdf_file_is_read_in_parts_by_many_threads(tmp_path, monkeypatch):
    monkeypatch.setattr("dgmm.storage.groups.PART_BYTES", 2000)
    values = np.random.default_rng(0).random((64, 30))
    xr.DataArray(values, dims=("row", "band"), name="v").to_netcdf(tmp_path / "s.nc")
    opened = open_source(tmp_path / "s.nc")
    assert opened.data.npartitions > 4
    with dask.config.set(scheduler="threads", num_workers=8):
        np.testing.assert_array_equal(opened.values, values)


# -- Parquet ------------------------------------------------------------------------------------


def table(n=100, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"delay": rng.normal(size=n), "hour": rng.integers(0, 24, n), "carrier": rng.choice(["AA", "UA"], n)}
    )


def assert_same_rows(read, expected):
    """Dask has a kind of text of its own, and partitions count their rows each."""
    read, expected = (each.reset_index(drop=True).astype({"carrier": object}) for each in (read, expected))
    pd.testing.assert_frame_equal(read, expected)


def test_a_parquet_file_is_what_pandas_reads(tmp_path, no_compute):
    frame = table()
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=30)
    opened = open_source(tmp_path / "t.parquet")
    assert list(opened.columns) == ["delay", "hour", "carrier"]
    assert_same_rows(compute(opened), frame)


def test_a_folder_and_a_pattern_are_read_in_the_order_of_numbers(tmp_path):
    frames = [table(20, seed) for seed in range(12)]
    for i, frame in enumerate(frames):
        frame.to_parquet(tmp_path / f"part.{i}.parquet")
    (tmp_path / "_metadata.parquet").write_bytes(b"")
    expected = pd.concat(frames, ignore_index=True)
    for path in (tmp_path, tmp_path / "part.*.parquet"):
        opened = open_source(path)
        assert opened.npartitions == 12
        assert_same_rows(opened.compute(), expected)


def test_row_groups_are_partitions_and_unused_columns_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("dgmm.storage.parquet._PARTITION_BYTES", 1)
    table().to_parquet(tmp_path / "t.parquet", row_group_size=30)
    asked = []
    original = parquet._Reader._read
    monkeypatch.setattr(parquet._Reader, "_read", lambda *a: asked.append(a[2]) or original(*a))
    opened = open_source(tmp_path / "t.parquet")
    assert opened.npartitions == 4
    with dask.config.set(scheduler="synchronous"):
        values = opened[["hour", "delay"]].to_dask_array().compute()
    np.testing.assert_array_equal(values, table()[["hour", "delay"]].to_numpy())
    assert {frozenset(columns) for columns in asked} == {frozenset({"hour", "delay"})}


def test_gaps_in_whole_numbers_are_nan_in_all_partitions(tmp_path, monkeypatch):
    monkeypatch.setattr("dgmm.storage.parquet._PARTITION_BYTES", 1)
    columns = pa.table({"a": pa.array([1, 2, None, 4]), "b": pa.array([1, 2, 3, 4]), "c": [True, False, None, True]})
    pq.write_table(columns, tmp_path / "t.parquet", row_group_size=2)
    opened = open_source(tmp_path / "t.parquet")
    assert opened.npartitions == 2
    assert opened.dtypes.to_dict() == {"a": np.dtype("f8"), "b": np.dtype("i8"), "c": np.dtype("f8")}
    assert [part.dtype.kind for part in dask.compute(*opened["a"].to_delayed())] == ["f", "f"]
    np.testing.assert_array_equal(opened["a"].compute(), [1, 2, np.nan, 4])


def test_the_rows_keep_the_names_that_pandas_gave_them(tmp_path):
    frame = table(4).set_axis(pd.Index([5, 6, 7, 8], name="flight"), axis=0)
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=2)
    opened = open_source(tmp_path / "t.parquet")[["hour"]].compute()
    pd.testing.assert_frame_equal(opened, frame[["hour"]])


# -- numpy --------------------------------------------------------------------------------------


def test_a_npy_file_is_a_dask_array(tmp_path):
    values = np.random.default_rng(0).random((20, 3))
    np.save(tmp_path / "x.npy", values)
    np.testing.assert_array_equal(open_source(tmp_path / "x.npy").compute(), values)
    with pytest.raises(DataError, match="holds no arrays with names; remove the name 'v'"):
        open_source(tmp_path / "x.npy", variable="v")


# -- what is wrong ------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_parquet(folder):
    table().to_parquet(folder / "x")
    cut(folder / "x")


def cut_netcdf(folder):
    scene().to_netcdf(folder / "x.nc")
    cut(folder / "x.nc")


def group_without_arrays(folder):
    zarr.open_group(folder / "x", mode="w")


def group_whose_array_is_gone(folder):
    xr.Dataset({"a": ("row", np.arange(3.0)), "b": ("row", np.arange(3.0))}).to_zarr(
        folder / "x", zarr_format=2, consolidated=True
    )
    (folder / "x" / "a").rename(folder / "a")


def group_without_metadata(folder):
    scene().to_zarr(folder / "x", consolidated=False)
    (folder / "x" / "zarr.json").unlink()


def other_columns(folder):
    (folder / "x").mkdir()
    table().to_parquet(folder / "x" / "1.parquet")
    table().rename(columns={"hour": "time"}).to_parquet(folder / "x" / "2.parquet")


WRONG = {
    "a Parquet file cut short": (cut_parquet, "x", "not a Parquet file that can be read, or one that was cut short"),
    "a NetCDF file cut short": (cut_netcdf, "x.nc", "not a NetCDF file that can be read, or one that was cut short"),
    "text as NetCDF": (lambda f: (f / "x.nc").write_text("hello"), "x.nc", "not a NetCDF file"),
    "text as Parquet": (lambda f: (f / "x.parquet").write_text("hello"), "x.parquet", "not a Parquet file"),
    "an empty folder": (lambda f: (f / "x").mkdir(), "x", "of no kind that is read"),
    "text": (lambda f: (f / "x.csv").write_text("a,b"), "x.csv", "of no kind that is read; expected a zarr store"),
    "nothing": (lambda f: None, "x", "there is no such file or folder"),
    "no file of a pattern": (lambda f: None, "*.parquet", "no Parquet file that this means"),
    "a group without arrays": (group_without_arrays, "x", "no array in this zarr group; was its writer ended"),
    "a group whose array is gone": (group_whose_array_is_gone, "x", "a: not there, although the metadata"),
    "a group without metadata": (group_without_metadata, "x", "of no kind that is read"),
    "files of other columns": (other_columns, "x", r"the column '(hour|time)' is (not there|int64|double) and in"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_damaged_or_of_no_kind_is_refused_with_its_path(tmp_path, what):
    make, name, words = WRONG[what]
    make(tmp_path)
    with pytest.raises(DgmmError, match=words) as caught:
        open_source(tmp_path / name)
    assert str(tmp_path) in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_chunk_and_a_row_group_that_are_damaged_are_named(tmp_path, no_pauses):
    scene().chunk(time=2).to_zarr(tmp_path / "s.zarr", consolidated=False)
    cut(tmp_path / "s.zarr" / "red" / "c" / "1" / "0" / "0")
    with pytest.raises(ReadError, match=r"chunk \(1, 0, 0\) of .*s.zarr/red could not be read"):
        open_source(tmp_path / "s.zarr")["red"].compute()
    table().to_parquet(tmp_path / "t.parquet")
    opened = open_source(tmp_path / "t.parquet")
    cut(tmp_path / "t.parquet")
    with pytest.raises(ReadError, match=r"row group 0 of .*t.parquet could not be read"):
        opened.compute()
    scene().to_netcdf(tmp_path / "s.nc")
    opened = open_source(tmp_path / "s.nc")["age"].data
    cut(tmp_path / "s.nc")
    with pytest.raises(ReadError, match=r"part of age in .*s.nc that begins at \(0, 0\) could not be read"):
        opened.compute()


@pytest.mark.parametrize(("module", "extra"), [("netCDF4", "netcdf"), ("pyarrow", "parquet"), ("obstore", "s3")])
def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch, module, extra):
    scene().to_netcdf(tmp_path / "s.nc")
    table().to_parquet(tmp_path / "t.parquet")
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"dgmm\[{extra}\]"):
        open_source({"netcdf": tmp_path / "s.nc", "parquet": tmp_path / "t.parquet", "s3": "s3://bucket/x"}[extra])
