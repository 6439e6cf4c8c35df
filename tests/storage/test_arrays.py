"""Stored arrays: opened lazily, written whole or not at all."""

from __future__ import annotations

import pickle

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmm.errors import DataError, FormatError
from dgmm.storage.arrays import open_array
from dgmm.storage.listing import layout_of, list_arrays
from dgmm.storage.storing import write_array


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(100, 3))


def no_compute(dsk, keys, **kwargs):
    raise AssertionError("computed")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_array_that_zarr_wrote_is_opened_with_its_chunks(tmp_path, values, zarr_format):
    z = zarr.create_array(tmp_path / "a", shape=(100, 3), chunks=(30, 3), dtype="f8", zarr_format=zarr_format)
    z[:] = values
    with dask.config.set(scheduler=no_compute):
        x = open_array(tmp_path / "a")
    assert x.chunks == ((30, 30, 30, 10), (3,))
    np.testing.assert_array_equal(x.compute(), values)


@pytest.mark.parametrize(
    ("shards", "inner", "expected"),
    [
        ((50, 3), (5, 3), (50, 3)),  # small: as a whole
        ((2**20, 4), (2**16, 4), (2**19, 4)),  # 32 MiB: in halves
        ((3 * 2**19, 4), (2**19, 2), (2**19, 4)),  # 48 MiB of three chunks
        ((2**20, 64), (2**20, 1), (2**20, 64)),  # one long chunk cannot be read in parts
    ],
)
def test_long_shards_are_read_in_parts_of_whole_chunks(tmp_path, shards, inner, expected):
    shape = (2 * shards[0], shards[1])
    zarr.create_array(tmp_path / "a", shape=shape, chunks=inner, shards=shards, dtype="f8")
    assert open_array(tmp_path / "a").chunksize == expected


def test_chunks_are_the_shards_of_a_sharded_array(tmp_path, values):
    z = zarr.create_array(tmp_path / "a", shape=(100, 3), chunks=(5, 3), shards=(50, 3), dtype="f8")
    z[:] = values
    x = open_array(tmp_path / "a")
    assert x.chunks == ((50, 50), (3,))
    np.testing.assert_array_equal(x.compute(), values)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("where", ["the group", "the group, with a name", "the array"])
@pytest.mark.parametrize("packing", [{}, {"dtype": "i2", "scale_factor": 0.5, "add_offset": 3.0, "_FillValue": -99}])
def test_an_array_that_xarray_wrote_has_the_values_that_xarray_reads(tmp_path, zarr_format, where, packing):
    values = np.arange(30.0).reshape(10, 3)
    values[2, 1] = np.nan
    dataset = xr.Dataset({"f": (("row", "band"), values)}, coords={"band": [1, 2, 3]}).chunk(row=4)
    dataset.to_zarr(tmp_path / "s", zarr_format=zarr_format, encoding={"f": packing}, consolidated=False)
    path = tmp_path / "s" / "f" if where == "the array" else tmp_path / "s"
    x = open_array(path, "f" if where.endswith("name") else None)
    assert x.chunks[0] == (4, 4, 2)
    np.testing.assert_array_equal(x.compute(), xr.open_zarr(tmp_path / "s", consolidated=False).f.values)
    np.testing.assert_array_equal(x.compute(), values)


def test_a_group_of_several_arrays_wants_a_name(tmp_path):
    group = zarr.open_group(tmp_path / "g", mode="w")
    group.create_array("b", shape=(2, 2), dtype="f8")
    group.create_array("a", shape=(3, 2), dtype="f8")
    with pytest.raises(DataError, match=r"holds 2 arrays.*give the name of one.*: a, b"):
        open_array(tmp_path / "g")
    assert open_array(tmp_path / "g", "a").shape == (3, 2)
    with pytest.raises(DataError, match=r"no array 'c' in this group; the arrays in it: a, b"):
        open_array(tmp_path / "g", "c")
    with pytest.raises(DataError, match="remove the name"):
        open_array(tmp_path / "g" / "a", "a")


def test_a_npy_file_is_not_read_and_travels_as_its_path(tmp_path, values):
    np.save(tmp_path / "x.npy", values)
    x = open_array(tmp_path / "x.npy")
    np.testing.assert_array_equal(x.compute(), values)
    assert len(pickle.dumps(dict(x.__dask_graph__()))) < values.nbytes
    with dask.config.set({"array.chunk-size": "1kiB"}):
        x = open_array(tmp_path / "x.npy")
    assert x.numblocks[0] > 1
    assert x.numblocks[1] == 1
    np.testing.assert_array_equal(x[10:60].compute(), values[10:60])


def test_a_wrong_path_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no such file or folder"):
        open_array(tmp_path / "nothing")


chunkings = st.lists(st.integers(1, 12), min_size=1, max_size=6).map(tuple)


@settings(max_examples=25, deadline=None)
@given(rows=chunkings, columns=chunkings)
def test_any_chunking_is_written_and_read_back(tmp_path_factory, rows, columns):
    path = tmp_path_factory.mktemp("any") / "a.zarr"
    values = np.random.default_rng(1).integers(0, 100, (sum(rows), sum(columns)))
    write_array(da.from_array(values, chunks=(rows, columns)), path, name="v", dims=("y", "x"))
    dataset = xr.open_zarr(path)
    assert dataset["v"].dims == ("y", "x")
    np.testing.assert_array_equal(dataset["v"].values, values)
    np.testing.assert_array_equal(open_array(path).compute(), values)


def test_plain_xarray_reads_what_is_written(tmp_path):
    write_array(da.arange(10, chunks=4), tmp_path / "a.zarr", name="a", dims=["row"], attrs={"long_name": "n"})
    dataset = xr.open_zarr(tmp_path / "a.zarr")
    assert dataset["a"].dtype == np.int64
    assert dataset["a"].attrs == {"long_name": "n"}
    assert zarr.open_group(tmp_path / "a.zarr", mode="r").metadata.zarr_format == 3
    assert names(tmp_path) == ["a.zarr"]


@pytest.mark.parametrize("scheduler", ["threads", "synchronous", "processes"])
def test_every_scheduler_writes_the_same(tmp_path, scheduler):
    with dask.config.set(scheduler=scheduler, num_workers=2):
        write_array(da.arange(1000, chunks=100) * 2, tmp_path / "a.zarr", name="a", dims=["row"])
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "a.zarr").a.values, np.arange(1000) * 2)


def test_an_empty_array_is_written(tmp_path):
    write_array(da.zeros((0, 3), chunks=(1, 3)), tmp_path / "a.zarr", name="a", dims=["row", "band"])
    assert open_array(tmp_path / "a.zarr").shape == (0, 3)


def fail_in(block, block_info=None):
    if block_info[0]["chunk-location"][0] == 7:
        raise ZeroDivisionError("block 7")
    return block


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_a_failed_write_leaves_nothing_new(tmp_path, overwrite, scheduler):
    path = tmp_path / "a.zarr"
    if overwrite:
        write_array(da.ones(3), path, name="a", dims=["row"])
    bad = da.zeros((4000, 50), chunks=(100, 50)).map_blocks(fail_in, dtype=float)
    with dask.config.set(scheduler=scheduler), pytest.raises(ZeroDivisionError):
        write_array(bad, path, name="a", dims=["row", "band"], overwrite=overwrite)
    assert names(tmp_path) == (["a.zarr"] if overwrite else [])
    if overwrite:
        np.testing.assert_array_equal(xr.open_zarr(path).a.values, np.ones(3))


def test_nothing_is_replaced_unless_asked(tmp_path):
    path = tmp_path / "a.zarr"
    write_array(da.ones(3), path, name="a", dims=["row"])
    with pytest.raises(FormatError, match="exists already; choose another path or ask for overwrite"):
        write_array(da.zeros(3), path, name="a", dims=["row"])
    assert float(open_array(path).sum()) == 3
    # The new values may be made from the old ones.
    write_array(open_array(path) * 2, path, name="a", dims=["row"], overwrite=True)
    assert float(open_array(path).sum()) == 6
    assert names(tmp_path) == ["a.zarr"]


def test_a_folder_that_is_no_zarr_store_is_never_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("precious")
    with pytest.raises(FormatError, match="is no zarr store, so it is never overwritten"):
        write_array(da.ones(3), tmp_path / "home", name="a", dims=["row"], overwrite=True)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "precious"


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(DataError, match="2 dimensions and 1 names"):
        write_array(da.ones((3, 3)), tmp_path / "a", name="a", dims=["row"])
    x = da.ones(9, chunks=3)
    with pytest.raises(DataError, match="lengths of its chunks are unknown"):
        write_array(x[x > 0], tmp_path / "a", name="a", dims=["row"])
    assert names(tmp_path) == []


def test_a_listing_states_what_is_stored(tmp_path):
    write_array(da.ones((6, 4), chunks=(3, 4)), tmp_path / "a.zarr", name="v", dims=["y", "x"])
    (item,) = list_arrays(tmp_path / "a.zarr")
    assert (item.name, item.shape, item.chunks, item.dims) == ("v", (6, 4), (3, 4), ("y", "x"))
    assert item.dtype == np.float64
    assert layout_of(tmp_path / "a.zarr") is None
    np.save(tmp_path / "x.npy", np.zeros((5, 2), np.float32))
    (item,) = list_arrays(tmp_path / "x.npy")
    assert (item.name, item.shape, item.dtype) == ("", (5, 2), np.float32)
