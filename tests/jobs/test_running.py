"""Jobs run from their files: the outputs, against what scikit-learn and scipy say."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import yaml
from PIL import Image
from scipy.stats import multivariate_normal
from sklearn.datasets import load_sample_image
from sklearn.mixture import GaussianMixture as Peer

from dgmm import GaussianMixture
from dgmm.errors import DataError, JobError
from dgmm.jobs import load_job, run_file, run_job
from dgmm.jobs.progress import LogReporter
from dgmm.jobs.runs.stamps import stamp_of
from dgmm.storage.storing import write_array

QUICKSTART = Path(__file__).parents[2] / "workflows" / "quickstart.yaml"
OUTPUTS = ["labels.zarr", "model.zarr", "pixels.zarr", "report.html", "report.json", "segmentation.png"]


def tree(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The quickstart, run twice in a folder of its own, and asked for once more."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "workflows").mkdir()
    shutil.copy(QUICKSTART, folder / "workflows")
    job = load_job(folder / "workflows" / "quickstart.yaml")
    first = run_job(job)
    assert tree(folder / "quickstart") == OUTPUTS
    pixels = (folder / "quickstart" / "pixels.zarr" / "pixels" / "zarr.json").stat().st_mtime_ns
    second = run_file(folder / "workflows" / "quickstart.yaml")  # run_job leaves no record of what it did
    assert tree(folder / "quickstart") == sorted([*OUTPUTS, "runs"])
    assert (folder / "quickstart" / "pixels.zarr" / "pixels" / "zarr.json").stat().st_mtime_ns == pixels
    np.testing.assert_array_equal(first.model.means_, second.result.model.means_)
    before = stamp_of(folder / "quickstart" / "labels.zarr")
    assert run_file(folder / "workflows" / "quickstart.yaml").result is None  # nothing was left to do
    assert stamp_of(folder / "quickstart" / "labels.zarr") == before
    return folder / "quickstart"


def read_model(folder):
    model = xr.open_zarr(folder / "model.zarr")
    return model.weights.values, model.means.values, model.covariances.values


def test_quickstart_writes_the_pixels_in_chunks(quickstart):
    pixels = xr.open_zarr(quickstart / "pixels.zarr").pixels
    assert pixels.dims == ("y", "x", "colour")
    assert pixels.chunks[0] == (64,) * 6 + (43,)
    np.testing.assert_array_equal(pixels.values, load_sample_image("china.jpg"))


def test_quickstart_labels_are_the_most_likely_components(quickstart):
    labels = xr.open_zarr(quickstart / "labels.zarr").labels
    assert labels.dims == ("y", "x")
    assert labels.shape == (427, 640)
    weights, means, covariances = read_model(quickstart)
    pixels = load_sample_image("china.jpg").astype(float)
    densities = [
        np.log(w) + multivariate_normal(m, c).logpdf(pixels)
        for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    np.testing.assert_array_equal(labels.values, np.argmax(densities, axis=0))


def test_quickstart_has_converged_where_scikit_learn_stays(quickstart):
    weights, means, covariances = read_model(quickstart)
    pixels = load_sample_image("china.jpg").reshape(-1, 3).astype(float)
    peer = Peer(
        8,
        reg_covar=1.0,
        tol=1e-4,
        weights_init=weights,
        means_init=means,
        precisions_init=np.linalg.inv(covariances),
        max_iter=5,
    ).fit(pixels)
    assert peer.converged_
    report = json.loads((quickstart / "report.json").read_text())
    assert peer.lower_bounds_[0] == pytest.approx(report["mean_log_likelihood"], rel=1e-9)
    assert report["log_likelihood"] == pytest.approx(peer.lower_bounds_[0] * 273_280, rel=1e-9)
    assert report["bic"] == pytest.approx(-2 * report["log_likelihood"] + 79 * np.log(273_280), rel=1e-12)


def test_quickstart_report_says_what_ran(quickstart):
    report = json.loads((quickstart / "report.json").read_text())
    assert (report["n_rows"], report["n_features"], report["n_components"]) == (273_280, 3, 8)
    assert report["converged"] is True
    assert report["iterations"] == len(report["lower_bounds"])
    assert np.diff(report["lower_bounds"]).min() > -1e-9
    assert 0 < report["seconds"]["fit"] <= report["seconds"]["total"] < 60
    assert set(report["versions"]) >= {"python", "dgmm", "dask", "numpy", "zarr"}
    assert report["model"]["covariance_type"] == "full"


def test_quickstart_picture_shows_both(quickstart):
    image = np.asarray(Image.open(quickstart / "segmentation.png").convert("RGB"))
    assert image.shape[1] == 1800
    _, means, _ = read_model(quickstart)
    scale = np.array([65_536, 256, 1])
    assert set(np.rint(means).astype(int) @ scale) <= set(np.unique(image[:600, 900:].astype(int) @ scale))
    photograph = np.asarray(load_sample_image("china.jpg"), float)
    # The photograph's mean colour is found again in its half of the upper part.
    upper = image[60:560, 150:910].reshape(-1, 3)
    np.testing.assert_allclose(upper.mean(axis=0), photograph.reshape(-1, 3).mean(axis=0), atol=6)


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    return np.concatenate([rng.normal(0, 1, (300, 3)), rng.normal(9, 1, (100, 3))])


def job_file(folder: Path, **sections) -> Path:
    job = {"input": {"path": "x.npy"}, "model": {"n_components": 2, "random_state": 0}, "output": {"model": "m.zarr"}}
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job | sections))
    return path


def run(folder: Path, **sections):
    return run_job(load_job(job_file(folder, **sections)))


def test_features_and_dtype_are_applied(tmp_path, data):
    np.save(tmp_path / "x.npy", data)
    result = run(tmp_path, input={"path": "x.npy", "features": [2, 0]}, preprocess={"dtype": "float32"})
    assert result.model.means_.dtype == np.float32
    assert result.report["n_features"] == 2
    order = np.argsort(result.model.means_[:, 0])
    expected = np.stack([data[:300, [2, 0]].mean(axis=0), data[300:, [2, 0]].mean(axis=0)])
    np.testing.assert_allclose(result.model.means_[order], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(GaussianMixture.load(tmp_path / "m.zarr").means_, result.model.means_)


def test_weights_are_frequencies(tmp_path, data):
    counts = np.random.default_rng(0).integers(0, 4, len(data)).astype(float)
    np.save(tmp_path / "x.npy", data)
    np.save(tmp_path / "w.npy", counts)
    model = {"n_components": 2, "means_init": [[0, 0, 0], [9, 9, 9]], "tol": 1e-8}
    weighted = run(tmp_path, input={"path": "x.npy", "sample_weight": "w.npy"}, model=model)
    repeated = np.repeat(data, counts.astype(int), axis=0)
    peer = Peer(2, means_init=model["means_init"], tol=1e-8).fit(repeated)
    order = np.argsort(weighted.model.means_[:, 0])
    np.testing.assert_allclose(weighted.model.means_[order], peer.means_[np.argsort(peer.means_[:, 0])], rtol=1e-6)
    assert weighted.report["bic"] == pytest.approx(peer.bic(repeated), rel=1e-6)


def test_a_scene_of_several_dimensions_gets_labels_of_its_shape(tmp_path, data):
    scene = da.from_array(data.reshape(20, 20, 3), chunks=(8, 7, 2))
    write_array(scene, tmp_path / "x.zarr", name="radiance", dims=("lat", "lon", "band"))
    run(tmp_path, input={"path": "x.zarr"}, output={"labels": "l.zarr"})
    labels = xr.open_zarr(tmp_path / "l.zarr").labels
    assert labels.dims == ("lat", "lon")
    truth = np.repeat([0, 1], [300, 100]).reshape(20, 20)
    assert (labels.values == truth).all() or (labels.values == 1 - truth).all()


def test_all_problems_with_the_files_are_reported_at_once(tmp_path):
    job = job_file(tmp_path, input={"path": "no.npy", "sample_weight": "no2.npy"}, output={"picture": "p.png"})
    job.write_text(job.read_text().replace("picture: p.png", "model: job.yaml"))
    with pytest.raises(JobError) as caught:
        run_job(load_job(job))
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "input.path",
        "input.sample_weight",
        "output.model",  # no zarr store
        "output.model",  # the job file itself
    ]


def test_outputs_are_replaced_if_asked(tmp_path, data):
    np.save(tmp_path / "x.npy", data)
    output = {"model": "m.zarr", "labels": "l.zarr", "report": "r.json", "overwrite": True}
    for n_components in (2, 3):
        run(tmp_path, model={"n_components": n_components, "random_state": 0}, output=output)
        assert tree(tmp_path) == ["job.yaml", "l.zarr", "m.zarr", "r.json", "x.npy"]
        assert len(GaussianMixture.load(tmp_path / "m.zarr").means_) == n_components
        assert int(xr.open_zarr(tmp_path / "l.zarr").labels.max()) == n_components - 1
        assert json.loads((tmp_path / "r.json").read_text())["n_components"] == n_components


def test_a_store_of_another_picture_is_refused_and_replaced_only_if_asked(tmp_path):
    Image.new("RGB", (8, 6), (9, 99, 199)).save(tmp_path / "a.png")
    colours = np.random.default_rng(0).integers(0, 255, (30, 20, 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "b.png")
    write_array(da.zeros(3), tmp_path / "s.zarr", name="pixels", dims=["row"], attrs={"source_sha256": "00"})
    picture = {"image": "b.png", "store": "s.zarr", "chunk_rows": 7}
    model = {"n_components": 1}
    with pytest.raises(JobError, match=r"input.store: .* was made from another picture or with other chunks"):
        run(tmp_path, input=picture, model=model)
    run(tmp_path, input=picture, model=model, output={"model": "m.zarr", "overwrite": True})
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "s.zarr").pixels.values, colours)
    model_means = GaussianMixture.load(tmp_path / "m.zarr").means_
    np.testing.assert_allclose(model_means[0], colours.reshape(-1, 3).mean(axis=0))


def test_bad_data_leave_no_output(tmp_path, data):
    data[17, 1] = np.nan
    np.save(tmp_path / "x.npy", data)
    with pytest.raises(DataError, match="row 17, feature 1"):
        run(tmp_path, output={"model": "m.zarr", "labels": "l.zarr", "report": "r.json"})
    assert tree(tmp_path) == ["job.yaml", "x.npy"]


def test_an_old_report_never_stands_beside_new_outputs(tmp_path, data, monkeypatch):
    np.save(tmp_path / "x.npy", data)
    output = {"model": "m.zarr", "report": "r.json", "overwrite": True}
    run(tmp_path, output=output)

    def full(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(GaussianMixture, "save", full)
    with pytest.raises(OSError, match="disk full"):
        run(tmp_path, output=output)
    assert not (tmp_path / "r.json").exists()


def test_the_log_names_every_step(tmp_path, data, caplog):
    np.save(tmp_path / "x.npy", data)
    caplog.set_level(logging.INFO, "dgmm")
    job = load_job(job_file(tmp_path, output={"model": "m.zarr", "labels": "l.zarr", "report": "r.json"}))
    result = run_job(job, LogReporter())
    messages = [record.message for record in caplog.records]
    assert messages[0] == "fitting 2 components (full) to 400 rows of 3 features on threads, one per core"
    assert messages[-3:] == ["scoring the model", "writing the model to m.zarr", "writing the labels to l.zarr"]
    iterations = [message for message in messages if message.startswith("iteration ")]
    assert len(iterations) == result.model.n_iter_
    assert f"log-likelihood {result.model.lower_bounds_[-1]:.6f} nats per row" in iterations[-1]


@pytest.mark.cluster
def test_a_local_cluster_gives_the_same_model(tmp_path, data):
    np.save(tmp_path / "x.npy", data)
    here = run(tmp_path)
    there = run(
        tmp_path,
        output={"model": "there.zarr", "labels": "l.zarr"},
        cluster={"kind": "local", "n_workers": 1, "threads_per_worker": 1},
    )
    np.testing.assert_array_equal(here.model.means_, there.model.means_)
    labels = xr.open_zarr(tmp_path / "l.zarr").labels.values
    np.testing.assert_array_equal(labels, np.asarray(here.model.predict(data)))
