"""Nothing is computed before it must be, and each pass of a fit is one compute."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from reference import make_blobs

from dgmm import BFRKMeans, GaussianMixture, open_rows

X = make_blobs(60, 3, 2, seed=1, spread=6.0)
NAMES = ["a", "b", "c"]


def in_chunks():
    return da.from_array(X, chunks=(20, 2))


def dataset():
    return xr.Dataset({name: ("row", values) for name, values in zip(NAMES, X.T, strict=True)}, {"row": np.arange(60)})


def open_netcdf(folder):
    dataset().to_netcdf(folder / "x.nc", engine="scipy")
    return xr.open_dataset(folder / "x.nc", engine="scipy")


def open_zarr(folder):
    dataset().to_zarr(folder / "x.zarr", consolidated=False)
    return zarr.open_group(folder / "x.zarr", mode="r")


KINDS = {
    "dask array": lambda folder: in_chunks(),
    "DataArray": lambda folder: xr.DataArray(in_chunks(), dims=("row", "band")),
    "Dataset": lambda folder: dataset().chunk(row=20),
    "open NetCDF file": open_netcdf,
    "dask dataframe": lambda folder: dd.from_pandas(pd.DataFrame(X, columns=NAMES), npartitions=3).clear_divisions(),
    "zarr array": lambda folder: zarr.create_array(folder / "y.zarr", data=X, chunks=(20, 3)),
    "zarr group": open_zarr,
}


def in_memory(found):
    """What of a result, or the input, has been read."""
    parts = found.values() if isinstance(found, xr.Dataset) else found if isinstance(found, tuple) else [found]
    return [part for part in parts if not hasattr(part, "dask") and not getattr(part, "chunks", None)]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_answers_are_built_without_a_compute(kind, tmp_path, computes):
    source = kind(tmp_path)
    models = [GaussianMixture(2, random_state=0).fit(source), BFRKMeans(2, random_state=0).fit(source)]
    with computes() as runs:
        table = open_rows(source)
        built = [model.predict(source) for model in models]
        built += [models[0].predict_proba(source), models[0].score_samples(source), models[1].transform(source)]
        built += [models[0].predict_proba(source, top=1), table.X]
    assert not runs
    assert not any(in_memory(found) for found in built)
    if isinstance(source, xr.Dataset) and not source.chunks:  # a file that is open
        assert not any(values.variable._in_memory for values in source.data_vars.values())
        source.close()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_fit_computes_once_a_pass(kind, tmp_path, computes):
    source = kind(tmp_path)
    with computes() as runs:
        model = GaussianMixture(2, random_state=0).fit(source)
    assert len(runs) == model.n_reads_
    with computes() as runs:
        model.bic(source)
    assert len(runs) == 1
    if isinstance(source, xr.Dataset):
        source.close()


def test_columns_of_one_table_are_read_together(computes):
    reads = []

    def read(number):
        reads.append(number)
        return pd.DataFrame(X[number * 20 :][:20], columns=NAMES).assign(w=1.0)

    meta = pd.DataFrame(X[:0], columns=NAMES).assign(w=1.0)
    frame = dd.from_map(read, range(3), meta=meta)
    with computes():
        model = GaussianMixture(2, random_state=0).fit(frame, sample_weight="w")
    assert len(reads) == 3 * model.n_reads_
