"""Jobs on features of signals: fitted in one read, kept, taken again, and told of."""

import json
import re
import shutil

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from dgmm import BFRGaussianMixture, EigenMoments, GaussianMixture, StationaryCorrelation
from dgmm.cli import main
from dgmm.errors import CheckpointMismatchError, DataError, JobError
from dgmm.fitting.events import IterationFinished, PassFinished
from dgmm.jobs import load_job, run_file, run_job
from dgmm.jobs.progress import LogReporter
from dgmm.jobs.runs.logs import PASSES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

JOB = """
input: {path: waves.zarr, variable: wave}
preprocess: {kind: eigenmoments, n_components: 3, order: [3, 2], noise: 0.5}
model: {n_components: 2, max_iter: 4, tol: 0.0, random_state: 0}
output: {model: out/model.zarr, preprocess: out/features.zarr, labels: out/labels.zarr, report: out/report.json}
cluster: {kind: synchronous}
"""
SAVED = "{kind: saved, path: out/features.zarr}"
FITTED = "{kind: eigenmoments, n_components: 3, order: [3, 2], noise: 0.5}"
WRITTEN = "{model: out/model.zarr, preprocess: out/features.zarr, labels: out/labels.zarr, report: out/report.json}"
N, SHAPE = 240, (6, 5)


def waves(n=N, seed=0):
    """Images of two kinds, in noise."""
    rng = np.random.default_rng(seed)
    y, x = (np.linspace(-1.0, 1.0, size) for size in SHAPE)
    kinds = np.stack([np.outer(np.cos(2 * y), 1 + x), np.outer(y, np.sin(2 * x))])
    return kinds[np.arange(n) % 2] * 3.0 + rng.normal(0.0, 0.7, (n, *SHAPE))


def dataset(n=N, seed=0):
    rng = np.random.default_rng(seed + 1)
    variables = {
        "wave": (("time", "y", "x"), waves(n, seed)),
        "weight": ("time", rng.integers(1, 4, n).astype(float)),
        "known": ("time", np.where(rng.random(n) < 0.2, np.arange(n) % 2, -1)),
    }
    return xr.Dataset(variables, {"time": np.arange(n) * 3, "station": ("time", rng.integers(9, size=n))})


@pytest.fixture
def folder(tmp_path):
    dataset().chunk(time=60).to_zarr(tmp_path / "waves.zarr", consolidated=False)
    return tmp_path


class DiedError(Exception):
    pass


class Told(LogReporter):
    def __init__(self, at=None):
        super().__init__()
        self.at, self.passes, self.steps = at, [], []

    def __call__(self, event):
        if isinstance(event, PassFinished):
            self.passes.append(event.name)
        if isinstance(event, IterationFinished) and event.iteration == self.at:
            raise DiedError

    def step(self, text):
        self.steps.append(text)


def written(folder, text=JOB, **changes):
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "job.yaml").write_text(text)
    return folder / "job.yaml"


def run(folder, told=None, **changes):
    return run_job(load_job(written(folder, **changes)), told)


def lazy(folder):
    return xr.open_zarr(folder / "waves.zarr", consolidated=False).chunk(time=60)


def expected_of(source, features=None, **more):
    """The features of the job and the mixture of these, by the classes themselves."""
    features = features or EigenMoments(3, order=(3, 2), noise=0.5).fit(source)
    model = GaussianMixture(2, max_iter=4, tol=0.0, random_state=0)
    return features, model.fit(features.transform(source), **more)


def same(model, other):
    names = ("weights_", "means_", "covariances_", "lower_bounds_")
    return all(np.array_equal(getattr(model, name), getattr(other, name)) for name in names)


# -- one job ----------------------------------------------------------------------------------------


def test_a_job_is_the_two_estimators_one_after_the_other(folder):
    source = lazy(folder).wave
    features, model = expected_of(source)
    told, stages = Told(), []

    def perform(name, do):
        stages.append(name)
        do()

    result = run_job(load_job(written(folder)), told, perform=perform)
    assert stages == ["prepare", "open", "preprocess", "fit", "write"]
    assert told.passes[:2] == ["signals", "moments"]
    assert told.passes.count("signals") == 1
    assert same(result.model, model)
    assert same(GaussianMixture.load(folder / "out" / "model.zarr"), model)
    kept = EigenMoments.load(folder / "out" / "features.zarr")
    np.testing.assert_array_equal(kept.components_, features.components_)
    labels = xr.open_zarr(folder / "out" / "labels.zarr").labels
    assert labels.dims == ("time",)
    xr.testing.assert_equal(labels.astype(int), model.predict(features.transform(source)).compute())
    assert {*labels.coords} == {"time", "station"}
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["n_features"] == 3
    assert report["feature_names"] == [f"eigenmoment[{i}]" for i in range(3)]
    assert report["preprocess"]["eigenvalues"] == features.eigenvalues_.tolist()
    assert {"preprocess", "fit", "total"} == {*report["seconds"]}
    assert any(re.match(r"finding features of 240 signals of 6 x 5 samples on ", step) for step in told.steps)
    assert any(re.match(r"3 features of 12 moments keep \d\d\.\d\d% of the ratio", step) for step in told.steps)


def test_a_run_tells_of_the_stage_and_a_second_one_does_nothing(folder, capsys):
    job = written(folder, **{"report: out/report.json": "report: out/report.json, page: out/report.html"})
    made = run_file(job)
    lines = [json.loads(line) for line in (made.folder / PASSES).read_text().splitlines()]
    assert [line["stage"] for line in lines if "stage" in line] == ["prepare", "open", "preprocess", "fit", "write"]
    assert next(line for line in lines if line.get("name") == "signals")["rows"] == N
    page = (folder / "out" / "report.html").read_text()
    assert "preprocess.information_loss" in page
    assert "features of the signals" in page
    told = Told()
    assert run_file(job, told).result is None
    assert "nothing is left to do" in told.steps[-1]
    shutil.rmtree(folder / "out" / "features.zarr")
    assert run_file(job).result is not None
    assert EigenMoments.load(folder / "out" / "features.zarr").n_signals_ == N
    assert main(["inspect", str(folder / "out" / "features.zarr")]) == 0
    shown = capsys.readouterr().out
    assert "EigenMoments" in shown
    assert "6 x 5 samples (y, x), 240 were read" in shown


@pytest.mark.parametrize("checkpoint", ["", "checkpoint: {path: progress, interval: 0.0}\n"])
def test_a_run_that_was_ended_goes_on_with_the_same_bits(folder, checkpoint):
    _, model = expected_of(lazy(folder).wave)
    written(folder, JOB + checkpoint)
    with pytest.raises(DiedError):
        run_file(folder / "job.yaml", Told(at=2))
    assert not (folder / "out").exists()
    told = Told()
    result = run_file(folder / "job.yaml", told).result
    assert told.passes.count("signals") == 1
    assert told.passes.count("statistics") < 4
    assert same(result.model, model)


def test_a_checkpoint_of_other_features_is_refused(folder):
    text = JOB + "checkpoint: {path: progress, interval: 0.0}\n"
    with pytest.raises(DiedError):
        run_job(load_job(written(folder, text)), Told(at=2))
    with pytest.raises(CheckpointMismatchError, match=r"source: preprocess: noise was 0\.5 and is 0\.25"):
        run_job(load_job(written(folder, text.replace("noise: 0.5", "noise: 0.25"))))
    run_job(load_job(written(folder, text)))


SOURCES = {
    "weights and labels by name": "{path: waves.zarr, variable: wave, sample_weight: weight, labels: known}",
    "beside the only variable": "{path: three.zarr, sample_weight: weight, labels: known}",
    "in another order": "{path: turned.zarr, sample_weight: weight.npy, labels: known.npy, sample_dims: [time]}",
    "without names": "{path: plain.zarr, sample_weight: weight.npy, labels: known.npy}",
    "flat": "{path: flat.npy, sample_weight: weight.npy, labels: known.npy}",
    "columns": "{path: rows.parquet, sample_weight: weight, labels: known}",
    "named columns": "{path: rows.parquet, sample_weight: weight, labels: known, features: [FEATURES]}",
}


@pytest.mark.parametrize("name", SOURCES)
def test_whatever_signals_lie_in(folder, name):
    data = dataset()
    flat = data.wave.values.reshape(N, -1)
    if "columns" in name:
        columns = [f"p{i:02}" for i in range(flat.shape[1])]
        frame = pd.DataFrame(flat, columns=columns)
        if name == "named columns":
            frame = frame.assign(other=7.0)[[*columns[::-1], "other"]]
        frame.assign(weight=data.weight.values, known=data.known.values).to_parquet(folder / "rows.parquet")
    data.chunk(time=60).to_zarr(folder / "three.zarr", consolidated=False)
    turned = data.wave.transpose("y", "time", "x").drop_vars(["time", "station"]).to_dataset().chunk(time=60)
    turned.to_zarr(folder / "turned.zarr", consolidated=False)
    zarr.save_array(folder / "plain.zarr", data.wave.values)
    for key, values in {"flat": flat, "weight": data.weight.values, "known": data.known.values}.items():
        np.save(folder / f"{key}.npy", values)
    given = SOURCES[name].replace("FEATURES", ", ".join(f"p{i:02}" for i in range(flat.shape[1])))
    shape = "signal_shape: [6, 5], " if name == "flat" or "columns" in name else ""
    result = run(
        folder,
        **{
            "{path: waves.zarr, variable: wave}": given,
            "n_components: 3": f"{shape}n_components: 3",
            "labels: out/labels.zarr": "labels: out/labels.parquet",
        },
    )
    features = EigenMoments(3, order=(3, 2), noise=0.5).fit(data.wave.values, sample_weight=data.weight.values)
    _, model = expected_of(data.wave.values, features, sample_weight=data.weight.values, labels=data.known.values)
    np.testing.assert_allclose(result.model.means_, model.means_, rtol=1e-8)
    np.testing.assert_allclose(result.model.weights_, model.weights_, rtol=1e-8)
    assert result.report["n_rows"] == N


def test_signals_along_several_dimensions_give_labels_of_these(folder):
    data = dataset().wave
    scene = xr.Dataset({"wave": (("channel", "time", "y", "x"), data.values.reshape(4, 60, *SHAPE))})
    scene.chunk(channel=2, time=30).to_zarr(folder / "scene.zarr", consolidated=False)
    result = run(
        folder,
        **{
            "path: waves.zarr, variable: wave": "path: scene.zarr",
            "n_components: 3": "signal_dims: [y, x], n_components: 3",
        },
    )
    labels = xr.open_zarr(folder / "out" / "labels.zarr").labels
    assert labels.sizes == {"channel": 4, "time": 60}
    kinds = (labels.values.reshape(-1) == labels.values[0, 0]).astype(int)
    assert (kinds == 1 - np.arange(N) % 2).mean() > 0.95
    assert result.report["preprocess"]["signal_shape"] == [6, 5]


def test_noise_alone_a_formula_and_a_type(folder):
    noise = np.random.default_rng(5).normal(0.0, 0.7, (90, *SHAPE))
    np.save(folder / "noise.npy", noise)
    source = lazy(folder).wave
    run(folder, **{"noise: 0.5": "noise_signals: noise.npy, center: true, dtype: float32"})
    kept = EigenMoments.load(folder / "out" / "features.zarr")
    expected = EigenMoments(3, order=(3, 2), center=True).fit(source, noise_signals=noise)
    np.testing.assert_allclose(kept.components_, expected.components_, rtol=1e-8, atol=1e-12)
    assert GaussianMixture.load(folder / "out" / "model.zarr").means_.dtype == np.float32
    shutil.rmtree(folder / "out")
    run(folder, **{"noise: 0.5": "correlation: {kind: stationary, c: [1.0, 2.0]}, method: two-step, basis: monomial"})
    kept = EigenMoments.load(folder / "out" / "features.zarr")
    assert kept.get_params()["correlation"] == StationaryCorrelation((1.0, 2.0))
    given = {"method": "two-step", "basis": "monomial", "correlation": StationaryCorrelation((1.0, 2.0))}
    np.testing.assert_array_equal(kept.components_, EigenMoments(3, order=(3, 2), **given).fit(source).components_)


def test_invariants(folder):
    run(folder, **{"order: [3, 2]": "order: 4, invariant: [rotation]"})
    kept = EigenMoments.load(folder / "out" / "features.zarr")
    expected = EigenMoments(3, order=4, noise=0.5, invariant=("rotation",), random_state=0).fit(lazy(folder).wave)
    np.testing.assert_array_equal(kept.components_, expected.components_)
    with pytest.raises(
        JobError, match=r"job\.yaml:3: preprocess\.order: \(3, 2\), but with invariant it is the highest"
    ):
        run(folder, **{"noise: 0.5": "noise: 0.5, invariant: [rotation]", WRITTEN: "{model: m.zarr}"})


@pytest.mark.parametrize("kind", ["bfr", "selection"])
def test_other_kinds_of_jobs(folder, kind):
    source = lazy(folder).wave
    features = EigenMoments(3, order=(3, 2), noise=0.5).fit(source)
    model = {"bfr": "{kind: bfr, n_components: 2, random_state: 0}"}
    model["selection"] = "{kind: selection, n_components: [1, 2], covariance_type: diag, random_state: 0}"
    result = run(folder, **{"{n_components: 2, max_iter: 4, tol: 0.0, random_state: 0}": model[kind]})
    if kind == "bfr":
        expected = BFRGaussianMixture(2, random_state=0).fit(features.transform(source))
        assert same(result.model, expected)
    assert result.model.n_components == 2
    assert result.report["preprocess"]["n_features"] == 3


# -- features that are there already ----------------------------------------------------------------


def test_saved_features_and_a_saved_model_label_new_signals(folder, capsys):
    run(folder)
    features = EigenMoments.load(folder / "out" / "features.zarr")
    model = GaussianMixture.load(folder / "out" / "model.zarr")
    dataset(90, seed=7).chunk(time=40).to_zarr(folder / "new.zarr", consolidated=False)
    told = Told()
    changes = {
        "path: waves.zarr": "path: new.zarr",
        FITTED: SAVED,
        "{n_components: 2, max_iter: 4, tol: 0.0, random_state: 0}": "{kind: saved, path: out/model.zarr}",
        "model: out/model.zarr, preprocess: out/features.zarr, ": "",
        "out/labels": "new/labels",
        "out/report": "new/report",
    }
    result = run(folder, told, **changes)
    assert "signals" not in told.passes
    assert "reading the features features.zarr" in told.steps
    source = xr.open_zarr(folder / "new.zarr", consolidated=False).wave
    expected = model.predict(features.transform(source))
    labels = xr.open_zarr(folder / "new" / "labels.zarr").labels
    xr.testing.assert_equal(labels.astype(int), expected.compute())
    assert result.report["preprocess"]["n_signals"] == N
    paths = [str(folder / name) for name in ("out/model.zarr", "new.zarr", "by_hand.zarr")]
    command = ["predict", *paths, "--variable", "wave", "--preprocess"]
    assert main([*command, str(folder / "out" / "features.zarr")]) == 0
    by_hand = xr.open_zarr(folder / "by_hand.zarr").labels
    xr.testing.assert_identical(by_hand, labels)
    page = ["report", *paths[:2], "--variable", "wave", "--output", str(folder / "page.html"), "--preprocess"]
    assert main([*page, str(folder / "out" / "features.zarr")]) == 0
    assert main(["report", paths[0], "--preprocess", str(folder / "out" / "features.zarr")]) == 2
    capsys.readouterr()
    assert main([*command, str(folder / "gone.zarr"), "--overwrite"]) == 2
    assert "--preprocess: there is no such file or folder" in capsys.readouterr().err
    assert main([*command, paths[0], "--overwrite"]) == 65
    assert "is a dgmm model, not a feature map" in capsys.readouterr().err
    assert main([*command[:-1], "--overwrite"]) == 65
    assert capsys.readouterr().err.endswith("; for signals, give the features of the fit: --preprocess PATH\n")


def test_a_refit_compares_models_of_the_same_features(folder):
    run(folder)
    changes = {FITTED: SAVED, "preprocess: out/features.zarr, ": "", "out/model": "nights/model"}
    text = written(folder, **changes).read_text().replace("out/labels", "nights/labels") + "refit: {}\n"
    text = text.replace("max_iter: 4, tol: 0.0", "max_iter: 100").replace("out/report", "nights/report")
    first = run_job(load_job(written(folder, text))).report
    shutil.rmtree(folder / "waves.zarr")
    dataset(seed=3).chunk(time=60).to_zarr(folder / "waves.zarr", consolidated=False)
    second = run_job(load_job(written(folder, text.replace("cluster:", "checkpoint: {path: p}\ncluster:")))).report
    assert first["refit"]["before"] is None
    assert second["refit"]["distances"]
    assert second["preprocess"] == first["preprocess"]
    assert xr.open_zarr(folder / "nights" / "labels.zarr").labels.dims == ("time",)


def test_signals_that_arrive(folder):
    run(folder)
    features = EigenMoments.load(folder / "out" / "features.zarr")
    array = zarr.create_array(folder / "grows.zarr", shape=(120, *SHAPE), chunks=(40, *SHAPE), dtype=float)
    array[:] = waves()[:120]
    model = "{kind: bfr, n_components: 2, sample_rows: 80, batch_rows: 40, random_state: 0}"
    text = JOB.replace("{path: waves.zarr, variable: wave}", "{path: grows.zarr, growing: true}").replace(FITTED, SAVED)
    text = text.replace("{n_components: 2, max_iter: 4, tol: 0.0, random_state: 0}", model) + "checkpoint: {path: p}\n"
    text = text.replace("preprocess: out/features.zarr, labels: out/labels.zarr, ", "").replace("out/model", "s/model")
    written(folder, text.replace("out/report", "s/report"))
    assert run_job(load_job(folder / "job.yaml")).report["n_rows"] == 120
    array.append(waves()[120:])
    result = run_job(load_job(folder / "job.yaml"))
    assert result.report["n_rows"] == N
    scan = BFRGaussianMixture(2, sample_rows=80, batch_rows=40, random_state=0)
    for first, stop in ((0, 120), (120, N)):
        scan.partial_fit(da.from_array(features.transform(waves()[first:stop]), chunks=(40, 3)))
    np.testing.assert_allclose(result.model.means_, scan.means_, rtol=1e-8)


# -- refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"order: [3, 2]": "order: [3, 9]"}, r"job\.yaml:3: preprocess\.order: 9 along axis 1, but signals have 5"),
        ({"n_components: 3": "n_components: 13"}, r"job\.yaml:3: preprocess\.n_components: 13, but there are 12"),
        ({"noise: 0.5": "signal_dims: [y, z]"}, r"job\.yaml:3: preprocess\.signal_dims: .*'z'"),
        ({"variable: wave": "variable: wave, sample_dims: [tim]"}, r"job\.yaml:2: input\.sample_dims: .*'tim'"),
        ({"n_components: 3": "n_components: 1.5"}, r"job\.yaml:3: preprocess\.n_components: found 1\.5"),
        ({"kind: eigenmoments": "kind: eigen"}, r"job\.yaml:3: preprocess\.kind: found 'eigen'; allowed: none, eigenm"),
        ({"noise: 0.5": "noise_signals: gone.npy"}, r"job\.yaml:3: preprocess\.noise_signals: there is no such file"),
        ({FITTED: "{kind: saved, path: gone.zarr}", "preprocess: out/features.zarr, ": ""}, r"3: preprocess\.path"),
        ({FITTED: SAVED}, r"yaml:5: output\.preprocess: needs preprocess\.kind: eigenmoments"),
        ({"noise: 0.5": "noise: 0.5, invariant: [scale], correlation: {kind: stationary, c: 1}"}, "preprocess.correl"),
        ({"cluster:": "refit: {}\ncluster:"}, r"job\.yaml:3: preprocess\.kind: .* give kind: saved"),
        ({"out/features.zarr": "waves.zarr"}, r"output\.preprocess: .* or lies within, input\.path"),
        (
            {"{n_components: 2, max_iter: 4, tol: 0.0, random_state: 0}": "{kind: saved, path: m.zarr}"},
            r"job\.yaml:3: preprocess\.kind: .* give kind: saved",
        ),
        (
            {"{path: waves.zarr, variable: wave}": "{image: china.jpg, store: s.zarr}"},
            r"job\.yaml:3: preprocess\.kind: needs input\.path",
        ),
    ],
)  # fmt: skip
def test_what_is_refused_is_said_with_its_line(folder, changes, words):
    with pytest.raises(JobError, match=words):
        run(folder, **changes)
    assert not (folder / "out").exists()


def test_signals_that_cannot_be_used(folder):
    np.save(folder / "flat.npy", waves().reshape(N, -1))
    with pytest.raises(DataError, match=r"rows of 30 samples, but signals of shape \(6, 6\) have 36"):
        run(
            folder, **{"{path: waves.zarr, variable: wave}": "{path: flat.npy}", "order": "signal_shape: [6, 6], order"}
        )
    run(folder)
    with pytest.raises(DataError, match=r"features\.zarr: a feature map of dgmm, not data"):
        run(folder, **{WRITTEN: "{model: m.zarr}", "waves.zarr, variable: wave": "out/features.zarr"})
    xr.Dataset({"wave": (("time", "y", "x"), waves()[:, :5])}).to_zarr(folder / "small.zarr", consolidated=False)
    with pytest.raises(DataError, match=r"signals of shape \(5, 5\); expected \(6, 5\)"):
        run(folder, **{"waves.zarr": "small.zarr", FITTED: SAVED, WRITTEN: "{model: m.zarr}"})
