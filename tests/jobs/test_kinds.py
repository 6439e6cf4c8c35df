"""Jobs that choose, and jobs that label with a model that is there."""

import json

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import dgmm
from dgmm import BFRGaussianMixture, GaussianMixture
from dgmm.errors import DataError, FormatError, JobError
from dgmm.fitting.events import PassStarted
from dgmm.jobs import load_job, run_job
from dgmm.jobs.progress import LogReporter
from dgmm.jobs.report import in_words

CHOOSE = """
input: {path: X.zarr}
model: {kind: selection, n_components: {from: 1, to: 3}, covariance_type: [full, diag], random_state: 0}
output: {model: out/model.zarr, labels: out/labels.zarr, report: out/report.json}
checkpoint: {path: progress, interval: 0.0}
cluster: {kind: synchronous}
"""
LABEL = """
input: {path: rows.parquet}
model: {kind: saved, path: model.zarr}
output: {labels: out/labels.parquet, log_densities: out/densities.parquet, report: out/report.json}
cluster: {kind: synchronous}
"""


def blobs(seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return np.array([[0.0, 0.0], [7.0, 3.0]])[rng.integers(2, size=900)] + shift + rng.normal(size=(900, 2))


@pytest.fixture
def folder(tmp_path):
    da.from_array(blobs(0), chunks=(300, 2)).to_zarr(str(tmp_path / "X.zarr"))
    frame = pd.DataFrame(blobs(0), columns=["a", "b"])
    GaussianMixture(2, random_state=0).fit(frame).save(tmp_path / "model.zarr")
    rows = pd.DataFrame(blobs(1), columns=["a", "b"]).assign(c="x")[["c", "b", "a"]]
    rows.to_parquet(tmp_path / "rows.parquet")
    return tmp_path


def loaded(folder, text, **changes):
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "job.yaml").write_text(text)
    return load_job(folder / "job.yaml")


class Told(LogReporter):
    def __init__(self, at=0):
        super().__init__()
        self.at, self.passes, self.steps = at, [], []

    def __call__(self, event):
        if isinstance(event, PassStarted):
            self.passes.append(event.name)
            if event.index == self.at:
                raise KeyboardInterrupt

    def step(self, text):
        self.steps.append(text)


def test_a_job_that_chooses_is_a_selection(folder):
    X = da.from_zarr(str(folder / "X.zarr"))
    expected = dgmm.select(X, range(1, 4), ["full", "diag"], random_state=0)
    result = run_job(loaded(folder, CHOOSE))
    assert (result.model.covariance_type, result.model.n_components) == expected.best == ("diag", 2)
    np.testing.assert_array_equal(GaussianMixture.load(folder / "out" / "model.zarr").means_, result.model.means_)
    told = json.loads((folder / "out" / "report.json").read_text())["selection"]
    assert told["criterion"] == "bic"
    for row in told["candidates"]:
        found = expected.table.sel(covariance_type=row["covariance_type"], n_components=row["n_components"])
        assert row["bic"] == float(found.bic)
        assert row["status"] in ("ranked", "not ranked")
    assert "chosen among 6 by BIC: 2 components (diag), 900 rows" in in_words(result.report)
    labels = xr.open_zarr(folder / "out" / "labels.zarr").labels.values
    np.testing.assert_array_equal(labels, expected.best_model.predict(blobs(0)))


def test_a_choice_that_was_interrupted_goes_on_and_then_does_nothing(folder):
    job = loaded(folder, CHOOSE)
    with pytest.raises(KeyboardInterrupt):
        run_job(job, Told(at=3))
    assert not (folder / "out").exists()
    expected = run_job(loaded(folder, CHOOSE, **{"out/": "other/", "path: progress": "path: elsewhere"})).report
    told = Told()
    report = run_job(loaded(folder, CHOOSE), told).report
    assert "moments" not in told.passes[1:]  # the first one looks whether the rows are the same
    for name in ("means", "n_components", "covariance_type", "mean_log_likelihood"):
        assert report[name] == expected[name]
    told = Told()
    run_job(loaded(folder, CHOOSE), told)
    assert "nothing is left to do" in told.steps[-1]


def test_the_simplest_of_held_out_rows(folder):
    asked = {"random_state: 0": "random_state: 0, criterion: heldout, held_out: 0.3, choose: simplest"}
    report = run_job(loaded(folder, CHOOSE, **asked)).report
    chosen = {"covariance_type": report["covariance_type"], "n_components": report["n_components"]}
    assert chosen == report["selection"]["simplest"]
    assert report["selection"]["n_rows_held_out"] > 100
    assert "by held-out rows" in in_words(report)


def test_features_of_a_saved_model_are_found_by_their_names(folder):
    result = run_job(loaded(folder, LABEL))
    model = GaussianMixture.load(folder / "model.zarr")
    rows = pd.read_parquet(folder / "rows.parquet")[["a", "b"]]
    labels = pd.read_parquet(folder / "out" / "labels.parquet")["labels"]
    np.testing.assert_array_equal(labels, model.predict(rows))
    densities = model.score_samples(rows)
    assert result.report["mean_log_likelihood"] == pytest.approx(densities.mean())
    drawn, _ = model.sample(200_000)
    below = np.quantile(model.score_samples(pd.DataFrame(drawn, columns=["a", "b"])), 1e-3)
    assert result.report["rare_log_density"] == pytest.approx(below, abs=0.3)
    assert result.report["rare_share"] == (densities < result.report["rare_log_density"]).mean()
    assert "of the rows are rare (0.10% expected)" in in_words(result.report)


def test_rows_unlike_those_of_the_fit_are_rare(folder):
    pd.DataFrame(blobs(1, shift=30.0), columns=["a", "b"]).to_parquet(folder / "rows.parquet")
    assert run_job(loaded(folder, LABEL)).report["rare_share"] == 1.0


def test_a_model_of_one_scan_labels_too(folder):
    frame = pd.DataFrame(blobs(0), columns=["a", "b"])
    scan = BFRGaussianMixture(2, random_state=0).fit(frame)
    scan.save(folder / "model.zarr", overwrite=True)
    run_job(loaded(folder, LABEL))
    rows = pd.read_parquet(folder / "rows.parquet")[["a", "b"]]
    np.testing.assert_array_equal(pd.read_parquet(folder / "out" / "labels.parquet")["labels"], scan.predict(rows))


def test_rows_without_a_feature_of_the_model_are_refused(folder):
    pd.DataFrame({"a": [0.0], "c": [1.0]}).to_parquet(folder / "rows.parquet")
    with pytest.raises(DataError, match="b"):
        run_job(loaded(folder, LABEL))


def test_what_is_no_model_is_refused(folder):
    with pytest.raises(JobError, match=r"model\.path: there is no model at .*none\.zarr"):
        run_job(loaded(folder, LABEL, **{"path: model.zarr": "path: none.zarr"}))
    with pytest.raises(FormatError, match="no dgmm model"):
        run_job(loaded(folder, LABEL, **{"path: model.zarr": "path: X.zarr"}))
    with pytest.raises(JobError, match=r"lies within, model\.path"):
        run_job(loaded(folder, LABEL, **{"out/labels.parquet": "model.zarr/labels.parquet"}))


@pytest.mark.parametrize(
    ("text", "old", "new", "words"),
    [
        (CHOOSE, "{from: 1, to: 3}", "{from: 3, to: 1}", "from must be at least 1, and to at least as large"),
        (CHOOSE, "{from: 1, to: 3}", "{from: 1, upto: 3}", "expected the keys from and to"),
        (CHOOSE, "{from: 1, to: 3}", "[1, 0]", r"model\.n_components\[1\]: found 0"),
        (CHOOSE, "{from: 1, to: 3}", "[2, 2]", "an entry stands twice"),
        (CHOOSE, "[full, diag]", "[full, diagonal]", r"model\.covariance_type\[1\]: found 'diagonal'"),
        (CHOOSE, "random_state: 0", "criterion: BIC", r"model\.criterion: found 'BIC'; allowed: auto"),
        (CHOOSE, "random_state: 0", "init_params: bfr", r"model\.init_params: found 'bfr'"),
        (CHOOSE, "random_state: 0", "means_init: [[1]]", r"model\.means_init: unknown key"),
        (LABEL, "labels: out/labels.parquet", "model: out/m.zarr", r"output\.model: the model is there already"),
        (LABEL, "cluster:", "checkpoint: {path: progress}\ncluster:", "checkpoint: nothing is fitted"),
        (LABEL, "path: model.zarr", "rare: 2.0", r"model\.rare: found 2\.0"),
    ],
)  # fmt: skip
def test_refusals(text, old, new, words, folder):
    with pytest.raises(JobError, match=words):
        loaded(folder, text, **{old: new})


def test_another_choice_among_the_same_candidates_fits_nothing(folder):
    run_job(loaded(folder, CHOOSE))
    told = Told()
    report = run_job(loaded(folder, CHOOSE, **{"random_state: 0": "random_state: 0, choose: simplest"}), told).report
    assert report["model"]["choose"] == "simplest"
    assert "writing the model to model.zarr" in told.steps
    assert not any("EM" in name for name in told.passes)
