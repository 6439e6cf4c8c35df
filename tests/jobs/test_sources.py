"""Jobs and commands from every kind of source to every kind of result, against the same done by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import rasterio
import rioxarray  # the accessor rio
import xarray as xr
import yaml
import zarr
from obstore.store import from_url
from zarr.storage import ObjectStore

from dgmm import GaussianMixture
from dgmm.cli import main
from dgmm.errors import CheckpointMismatchError, DataError, JobError, MissingExtraError, ParameterError
from dgmm.jobs import load_job, run_job

assert rioxarray

STARTS = [[0.0, 0.0], [6.0, 3.0]]
MODEL = {"n_components": 2, "means_init": STARTS, "tol": 1e-6}


def rows(n):
    rng = np.random.default_rng(0)
    known = rng.integers(0, 2, n)
    return rng.normal(size=(n, 2)) + np.asarray(STARTS)[known], known


def ocean():
    """Temperature and salinity of a small ocean, with a column of weights and coordinates."""
    values, known = rows(4 * 10 * 8)
    cells = values.reshape(4, 10, 8, 2)
    return xr.Dataset(
        {
            "temperature": (("time", "lat", "lon"), cells[..., 0], {"units": "degC"}),
            "salinity": (("lat", "lon", "time"), cells[..., 1].transpose(1, 2, 0)),
            "area": (("lat",), 1.0 + np.arange(10) % 3),
            "basin": (("time", "lat", "lon"), known.reshape(4, 10, 8)),
        },
        coords={"time": pd.date_range("2024-01-01", periods=4), "lat": 50.0 - np.arange(10), "lon": np.arange(8.0)},
    ).rio.write_crs("EPSG:4326")


def run(folder, **sections):
    job = {"input": {}, "model": MODEL, "output": {"model": "m.zarr"}} | sections
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return run_job(load_job(folder / "job.yaml"))


def fitted(X, **keywords):
    return GaussianMixture(**MODEL).fit(X, **keywords)


def test_a_zarr_group_becomes_labels_in_netcdf(tmp_path):
    sea = ocean()
    sea.chunk(time=2, lat=5).to_zarr(tmp_path / "sea.zarr", consolidated=False)
    result = run(
        tmp_path,
        input={"path": "sea.zarr", "features": ["temperature", "salinity"], "sample_weight": "area"},
        output={
            "model": "m.zarr",
            "labels": "l.nc",
            "probabilities": {"path": "p.zarr", "top": 1},
            "log_densities": "d.nc",
            "report": "r.json",
        },
    )
    features = np.stack([sea["temperature"], sea["salinity"].transpose("time", "lat", "lon")], axis=-1)
    weights = np.broadcast_to(sea["area"].to_numpy()[:, None], (4, 10, 8))
    expected = fitted(features.reshape(-1, 2), sample_weight=weights.ravel())
    np.testing.assert_allclose(result.model.means_, expected.means_, rtol=1e-9)
    assert list(GaussianMixture.load(tmp_path / "m.zarr").feature_names_in_) == ["temperature", "salinity"]
    assert result.report["feature_names"] == ["temperature", "salinity"]
    assert json.loads((tmp_path / "r.json").read_text())["n_rows"] == 320
    with xr.open_dataset(tmp_path / "l.nc", decode_coords="all") as found:
        labels = found["labels"].load()
    assert labels.dims == ("time", "lat", "lon")
    np.testing.assert_array_equal(labels.to_numpy().ravel(), expected.predict(features.reshape(-1, 2)))
    assert labels.rio.crs.to_epsg() == 4326
    for name in ("time", "lat", "lon"):
        np.testing.assert_array_equal(labels[name], sea[name])
    with xr.open_dataset(tmp_path / "d.nc") as found:
        densities = expected.score_samples(features.reshape(-1, 2)).reshape(4, 10, 8)
        np.testing.assert_allclose(found["log_density"], densities, rtol=1e-8)
    top = xr.open_zarr(tmp_path / "p.zarr")
    np.testing.assert_array_equal(top["component"].isel(rank=0), labels)
    np.testing.assert_allclose(top["probability"].sum("rank") + top["remainder"], 1.0)


def test_parquet_becomes_labels_in_parquet(tmp_path):
    values, _ = rows(300)
    frame = pd.DataFrame(values, columns=["delay", "speed"]).assign(n=1.0 + np.arange(300) % 2, carrier="AA")
    (tmp_path / "flights").mkdir()
    for i, part in enumerate(np.array_split(np.arange(300), 3)):
        frame.iloc[part].to_parquet(tmp_path / "flights" / f"{i}.parquet")
    output = {"model": "m.zarr", "labels": "l.parquet", "probabilities": "p.parquet", "report": "r.json"}
    section = {"path": "flights", "features": ["delay", "speed"], "sample_weight": "n"}
    result = run(tmp_path, input=section, output=output)
    expected = fitted(values, sample_weight=frame["n"].to_numpy())
    np.testing.assert_allclose(result.model.means_, expected.means_, rtol=1e-9)
    labels = pd.read_parquet(tmp_path / "l.parquet")
    assert labels.index.tolist() == list(range(300))
    np.testing.assert_array_equal(labels["labels"], expected.predict(values))
    assert result.report["n_rows"] == 300
    assert result.report["bic"] == pytest.approx(expected.bic(values, sample_weight=frame["n"].to_numpy()), rel=1e-9)
    probabilities = pd.read_parquet(tmp_path / "p.parquet")
    np.testing.assert_allclose(probabilities.to_numpy(), expected.predict_proba(values), atol=1e-9)
    with pytest.raises(DataError, match=r"output.labels: .*l.zarr: how many rows .* write .parquet"):
        run(tmp_path, input=section, output={"labels": "l.zarr"})


def test_netcdf_becomes_labels_in_a_geotiff(tmp_path):
    sea = ocean().isel(time=0, drop=True)[["temperature", "salinity"]]
    sea.to_netcdf(tmp_path / "sea.nc")
    result = run(tmp_path, input={"path": "sea.nc"}, output={"labels": "l.tif"})
    with rasterio.open(tmp_path / "l.tif") as found:
        labels = found.read(1)
        assert found.crs.to_epsg() == 4326
        assert found.xy(0, 0) == (0.0, 50.0)
        assert found.nodata == -1
    features = np.stack([sea["temperature"], sea["salinity"]], axis=-1).reshape(-1, 2)
    np.testing.assert_array_equal(labels.ravel(), fitted(features).predict(features))
    assert result.report["n_rows"] == 80
    with pytest.raises(DataError, match="needs two dimensions of space"):
        run(tmp_path, input={"path": "sea.nc", "sample_dims": ["lon"]}, output={"labels": "l2.tif"})
    most = {"model": "m2.zarr", "probabilities": {"path": "p.tif", "top": 2}}
    with pytest.raises(DataError, match=r"output.probabilities: .* these are several: component, probability"):
        run(tmp_path, input={"path": "sea.nc"}, output=most)
    most["probabilities"] = {"path": "p.nc", "top": 50}
    with pytest.raises(ParameterError, match="top is 50; it must be"):
        run(tmp_path, input={"path": "sea.nc"}, output=most)
    assert not (tmp_path / "m2.zarr").exists()  # nothing was fitted


def test_weights_and_labels_may_lie_in_files_of_their_own_and_beside_a_variable(tmp_path):
    sea = ocean()
    scene = xr.concat([sea["temperature"], sea["salinity"]], dim="band").transpose("band", "time", "lat", "lon")
    sea.assign(scene=scene).drop_vars(["temperature", "salinity"]).to_zarr(tmp_path / "s.zarr", consolidated=False)
    weights = sea["area"].broadcast_like(sea["basin"]).transpose("time", "lat", "lon")
    np.save(tmp_path / "w.npy", weights)
    dims = ["time", "lat", "lon"]
    output = {"model": "m.zarr", "overwrite": True}
    section = {"path": "s.zarr", "variable": "scene", "sample_dims": dims}
    found = [run(tmp_path, input=section | {"sample_weight": given}, output=output) for given in ("w.npy", "area")]
    features = scene.transpose(..., "band").to_numpy().reshape(-1, 2)
    expected = fitted(features, sample_weight=weights.to_numpy().ravel()).means_
    for result in found:
        np.testing.assert_allclose(result.model.means_, expected, rtol=1e-9)


def test_a_url_is_read_by_the_command_line(s3, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    values, _ = rows(200)
    zarr.create_array(ObjectStore(from_url(s3)), data=values, chunks=(50, 2))
    assert main(["fit", s3, "-k", "2", "-o", "m.zarr", "--random-state", "0"]) == 0
    assert main(["predict", "m.zarr", s3, "l.nc", "--probabilities", "p.nc", "--top", "1"]) == 0
    model = GaussianMixture.load("m.zarr")
    with xr.open_dataset("l.nc") as found:
        np.testing.assert_array_equal(found["labels"], model.predict(values))
    with xr.open_dataset("p.nc") as found:
        np.testing.assert_allclose(found["probability"][:, 0], model.predict_proba(values).max(axis=1))
    assert "marker" not in "".join(capsys.readouterr())


def test_names_are_looked_for_where_a_model_has_some(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    values, _ = rows(200)
    frame = pd.DataFrame(values, columns=["delay", "speed"])
    frame.to_parquet("a.parquet")
    frame[["speed", "delay"]].assign(other=1.0).to_parquet("b.parquet")
    frame.rename(columns={"speed": "pace"}).to_parquet("c.parquet")
    assert main(["fit", "a.parquet", "-k", "2", "-o", "m.zarr", "--random-state", "0"]) == 0
    assert main(["predict", "m.zarr", "a.parquet", "la.parquet"]) == 0
    assert main(["predict", "m.zarr", "b.parquet", "lb.parquet"]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet("la.parquet"), pd.read_parquet("lb.parquet"))
    capsys.readouterr()
    assert main(["predict", "m.zarr", "c.parquet", "lc.parquet"]) == 65
    assert "yet now missing:\n- speed" in capsys.readouterr().err
    assert main(["predict", "m.zarr", "b.parquet", "lc.parquet", "--features", "speed,delay"]) == 2
    assert "--features: speed, delay, but the model was fitted to delay, speed" in capsys.readouterr().err
    assert main(["predict", "m.zarr", "a.parquet", "lc.parquet", "--features", "delay,sped"]) == 2
    assert "did you mean 'speed'" in capsys.readouterr().err


def test_a_choice_that_is_wrong_is_said_with_its_line(tmp_path):
    ocean().to_zarr(tmp_path / "sea.zarr", consolidated=False)
    for key, value, words in (
        (
            "features",
            ["temperature", "lat"],
            r"job.yaml:\d: input.features: 'lat' is a coordinate of X, not a variable",
        ),
        ("sample_dims", ["lattitude"], r"job.yaml:\d: input.sample_dims: .*lattitude"),
        ("sample_weight", "aera", r"job.yaml:\d: input.sample_weight: 'aera' is not in .*did you mean 'area'"),
    ):
        with pytest.raises(JobError, match=words):
            run(tmp_path, input={"path": "sea.zarr", "features": ["temperature"]} | {key: value})
    with pytest.raises(JobError, match=r"input.path: there is no such file or folder"):
        run(tmp_path, input={"path": "gone.nc"})
    with pytest.raises(DataError, match="no Parquet file that this means"):
        run(tmp_path, input={"path": "*.parquet"})
    with pytest.raises(JobError, match=r"output.labels: .*l.parquet is matched by input.path"):
        run(tmp_path, input={"path": "*.parquet"}, output={"labels": "l.parquet"})


def test_a_checkpoint_of_other_features_is_refused(tmp_path):
    ocean().to_zarr(tmp_path / "sea.zarr", consolidated=False)
    job = {"output": {"model": "m.zarr", "overwrite": True}, "checkpoint": {"path": "progress"}}
    run(tmp_path, input={"path": "sea.zarr", "features": ["temperature", "salinity"]}, **job)
    with pytest.raises(CheckpointMismatchError, match=r"source: features was .*'salinity'.* and is .*'basin'"):
        run(tmp_path, input={"path": "sea.zarr", "features": ["temperature", "basin"]}, **job)


def test_a_package_that_an_output_takes_is_missed_before_the_fit(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", rows(50)[0])
    monkeypatch.setitem(__import__("sys").modules, "netCDF4", None)
    with pytest.raises(MissingExtraError, match=r"dgmm\[netcdf\]"):
        run(tmp_path, input={"path": "x.npy"}, output={"labels": "l.nc"})


def test_a_prediction_of_nothing_names_what_can_be_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "m.zarr", "x.npy"]) == 2
    assert "give one of LABELS, --probabilities, --log-densities" in capsys.readouterr().err
