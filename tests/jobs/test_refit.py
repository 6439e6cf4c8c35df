"""Refits: what is promoted, what is kept and why, the same rows twice, and deaths in between."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

import dgmm
from dgmm import GaussianMixture
from dgmm.errors import DataError, FormatError, JobError
from dgmm.fitting.events import IterationFinished, PassStarted
from dgmm.jobs import load_job, run_file, run_job
from dgmm.jobs.progress import LogReporter
from dgmm.jobs.report import in_words
from dgmm.storage.versions import Versions

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

JOB = """
input: {path: X.zarr}
model: {n_components: 3, random_state: 0}
refit: {keep: 2}
output: {model: out/model.zarr, labels: out/labels.zarr, report: out/report.json}
checkpoint: {path: progress, interval: 0.0}
cluster: {kind: synchronous}
"""
CENTRES = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])


def arrive(folder, seed, shares=(0.5, 0.3, 0.2), shift=0.0, n=4_000):
    """The rows of a night; ``shift`` moves the last cluster."""
    rng = np.random.default_rng(seed)
    which = rng.choice(3, p=shares, size=n)
    X = CENTRES[which] + rng.normal(size=(n, 2))
    X[which == 2] += shift
    shutil.rmtree(folder / "X.zarr", ignore_errors=True)
    zarr.create_array(folder / "X.zarr", data=X, chunks=(1_000, 2))


class DiedError(BaseException):
    pass


class Told(LogReporter):
    def __init__(self, kind=(), at=0):
        super().__init__()
        self.kind, self.left, self.events, self.steps = kind, at, [], []

    def __call__(self, event):
        self.events.append(event)
        if isinstance(event, self.kind):
            self.left -= 1
            if self.left == 0:
                raise DiedError

    def step(self, text):
        self.steps.append(text)


@pytest.fixture
def folder(tmp_path):
    arrive(tmp_path, 0)
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


def run(folder, told=None):
    return run_job(load_job(folder / "job.yaml"), told).report


def change(folder, old, new):
    text = (folder / "job.yaml").read_text()
    assert old in text
    (folder / "job.yaml").write_text(text.replace(old, new))


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def current(folder):
    return GaussianMixture.load(folder / "out" / "model.zarr")


def versions(folder):
    return sorted(path.name[:6] for path in (folder / "out" / "model.versions").iterdir() if path.name[0] != ".")


def test_nights(folder):
    first = run(folder)
    assert first["refit"]["promoted"]
    assert first["refit"]["before"] is None
    assert "the first model, 000001-" in in_words(first)
    model = current(folder)

    arrive(folder, 1)  # the same clusters
    quiet = run(folder)["refit"]
    assert not quiet["promoted"]
    assert quiet["reasons"][0].startswith("nothing has changed")
    assert abs(quiet["drift"]) < 4 * quiet["drift_error"]
    assert quiet["rare_share"] == pytest.approx(quiet["rare_share_expected"], abs=3e-3)
    assert np.array_equal(current(folder).means_, model.means_)

    arrive(folder, 2, shares=(0.2, 0.3, 0.5), shift=0.5)  # the order of their sizes is another one
    report = run(folder)
    told = report["refit"]
    assert told["promoted"]
    assert told["gain"] > told["gain_needed"]
    assert told["components"] == [[0, 0], [1, 1], [2, 2]]
    assert told["distances"][2] > 0.1 > max(told["distances"][:2])
    assert in_words(report).endswith("needed)")
    new = current(folder)
    assert np.abs(new.means_ - model.means_).max() < 0.8  # numbers are kept
    assert new.weights_[2] > 0.45
    labels = xr.open_zarr(folder / "out" / "labels.zarr").labels.values
    np.testing.assert_array_equal(labels, new.predict(zarr.open_array(folder / "X.zarr")[:]))
    assert versions(folder) == ["000001", "000002", "refit."]
    assert not new.warm_start
    # The level of what was promoted is that of its own rows.
    arrive(folder, 3, shares=(0.2, 0.3, 0.5), shift=0.5)
    later = run(folder)["refit"]
    score = new.score(zarr.open_array(folder / "X.zarr")[:])
    assert later["drift"] == pytest.approx(report["mean_log_likelihood"] - score, abs=1e-9)


def test_only_so_many_are_kept(folder):
    for night in range(5):
        arrive(folder, night, shift=0.5 * night)
        assert run(folder)["refit"]["promoted"]
    assert versions(folder) == ["000003", "000004", "000005", "refit."]


@pytest.mark.parametrize("settled", [True, False], ids=["well", "without its outputs"])
def test_the_same_rows_again(settled, folder):
    for night in range(2):
        arrive(folder, night, shift=0.5 * night)
        report = run(folder)
    if not settled:
        (folder / "out" / "report.json").unlink()
    before, told = stamps(folder / "out"), Told()
    assert run(folder, told)["refit"] == report["refit"]
    assert [event.name for event in told.events if isinstance(event, PassStarted)] == []
    if settled:
        assert "nothing is left to do" in told.steps[-1]
        assert stamps(folder / "out") == before
    else:
        assert json.loads((folder / "out" / "report.json").read_text())["refit"] == report["refit"]
        assert stamps(folder / "out" / "model.versions").keys() == {
            path for path in before if "model.versions" in path.parts
        } - {folder / "out" / "model.versions"}


WHY = {
    "not converged": (
        "random_state: 0}",
        "random_state: 0, max_iter: 1, accelerate: null}",
        {"shift": 1.0},
        "converge",
    ),
    "drift": ("keep: 2}", "keep: 2, max_distance: null}", {"shift": 80.0}, "refit.max_drift is 10"),
    "distance": ("keep: 2}", "keep: 2, max_drift: null}", {"shift": 80.0}, "not found again: Hellinger distance"),
    "gain": ("keep: 2}", "keep: 2, min_gain: 1.0}", {"shift": 0.5}, "refit.min_gain is 1"),
}


@pytest.mark.parametrize(("old", "new", "night", "words"), WHY.values(), ids=WHY)
def test_what_is_kept_out_and_why(old, new, night, words, folder):
    run(folder)
    before = current(folder)
    change(folder, old, new)
    arrive(folder, 1, **night)
    report = run(folder)
    assert not report["refit"]["promoted"]
    assert words in "; ".join(report["refit"]["reasons"])
    assert "is kept: " in in_words(report)
    assert np.array_equal(current(folder).means_, before.means_)
    labels = xr.open_zarr(folder / "out" / "labels.zarr").labels.values
    np.testing.assert_array_equal(labels, before.predict(zarr.open_array(folder / "X.zarr")[:]))


def test_a_person_lets_it_through(folder):
    run(folder)
    arrive(folder, 1, shift=80.0)
    assert not run(folder)["refit"]["promoted"]
    change(folder, "keep: 2}", "keep: 2, max_distance: null, max_drift: null}")
    assert run(folder)["refit"]["promoted"]


def test_another_number_of_components(folder):
    run(folder)
    model = current(folder)
    change(folder, "n_components: 3", "n_components: 4")
    change(folder, "keep: 2}", "keep: 2, min_gain: 0.0}")
    arrive(folder, 1, shift=1.0)
    told = run(folder)["refit"]
    assert told["promoted"]
    assert len(told["unmatched_new"]) == 1
    assert len(dgmm.match(model, current(folder)).pairs) == 3


def test_features_of_the_model_are_asked_for(folder):
    run(folder)
    shutil.rmtree(folder / "X.zarr")
    zarr.create_array(folder / "X.zarr", data=np.ones((100, 3)))
    before = stamps(folder / "out" / "model.versions")
    with pytest.raises(DataError, match="3 features"):
        run(folder)
    assert stamps(folder / "out" / "model.versions") == before


def test_a_model_that_is_there_is_refitted(folder):
    X = zarr.open_array(folder / "X.zarr")[:]
    GaussianMixture(3, random_state=3).fit(X).save(folder / "out" / "model.zarr")
    arrive(folder, 1, shift=1.0)
    assert run(folder)["refit"]["before"].startswith("000001-")
    assert versions(folder) == ["000001", "000002", "refit."]


def test_a_model_of_one_scan_is_refused(folder):
    X = zarr.open_array(folder / "X.zarr")[:]
    dgmm.BFRGaussianMixture(3, random_state=3).fit(X).save(folder / "out" / "model.zarr")
    with pytest.raises(FormatError, match="BFRGaussianMixture"):
        run(folder)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("model: {n_components: 3,", "model: {kind: bfr, n_components: 3,", "refit: needs a model of kind"),
        ("model: out/model.zarr, ", "", r"refit: needs output\.model"),
        ("out/model.zarr", "s3://bucket/model.zarr", r"output\.model: a URL"),
        ("keep: 2", "keep: 0", r"refit\.keep: found 0"),
        ("keep: 2", "min_gain: no", r"refit\.min_gain: found 'no'"),
        ("labels: out/labels.zarr", "labels: out/model.versions/x.zarr", "lies within, the models of the refit"),
    ],
)
def test_refusals(old, new, words, folder):
    change(folder, old, new)
    with pytest.raises(JobError, match=words):
        run(folder)


def test_what_is_no_model_of_a_refit_is_not_replaced(folder):
    (folder / "out").mkdir()
    (folder / "out" / "model.zarr").write_text("mine")
    with pytest.raises(JobError, match=r"output\.model: .* exists and is no zarr store"):
        run(folder)


def nights(folder):
    """A night that changes much after one that nobody disturbed."""
    run(folder)
    arrive(folder, 1, shift=0.7)


def ended(folder):
    report = json.loads((folder / "out" / "report.json").read_text())
    del report["seconds"], report["input"], report["refit"]["model"], report["refit"]["before"]
    labels = xr.open_zarr(folder / "out" / "labels.zarr").labels.values
    return report, current(folder).means_.tolist(), labels.tolist(), versions(folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    arrive(folder, 0)
    (folder / "job.yaml").write_text(JOB)
    nights(folder)
    run(folder)
    return ended(folder)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("rename", 1),
        ("rename", 2),
        ("replace", 1),
        ("replace", 2),
        ("replace", 3),
        ("symlink_to", 1),
        ("write_text", 2),
    ],
)
def test_killed_at_any_change_of_a_name(name, step, folder, undisturbed, monkeypatch):
    nights(folder)
    left, original = [step], getattr(Path, name)

    def dying(self, *arguments, **keywords):
        left[0] -= 1
        if left[0] == 0 and "progress" not in self.parts:
            raise DiedError
        return original(self, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(Path, name, dying)
        try:
            run(folder)
        except DiedError:
            assert GaussianMixture.load(folder / "out" / "model.zarr").means_.shape == (3, 2)
    run(folder)
    assert ended(folder) == undisturbed


@pytest.mark.parametrize("kind", [PassStarted, IterationFinished])
def test_killed_within_the_fit(kind, folder, undisturbed):
    nights(folder)
    with pytest.raises(DiedError):
        run(folder, Told(kind, 2))
    run(folder)
    assert ended(folder) == undisturbed


def test_rows_that_changed_after_a_death_are_those_that_count(folder):
    nights(folder)
    with pytest.raises(DiedError):
        run(folder, Told(IterationFinished, 1))
    arrive(folder, 2, shift=-0.7)
    told = Told()
    report = run(folder, told)
    assert report["refit"]["promoted"]
    assert any("another refit" in step for step in told.steps)
    assert current(folder).means_[2] == pytest.approx([-0.7, 5.3], abs=0.2)


def test_a_decision_without_outputs_stands_when_other_rows_come(folder, monkeypatch):
    nights(folder)

    def die(*arguments):
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(Versions, "settle", die)
        with pytest.raises(DiedError):
            run(folder)
    assert versions(folder) == ["000001", "000002", "refit."]
    arrive(folder, 2, shift=0.7)
    told = Told()
    assert not run(folder, told)["refit"]["promoted"]
    assert any("what it decided stands" in step for step in told.steps)
    assert versions(folder) == ["000001", "000002", "refit."]


def test_other_outputs_of_the_same_rows_are_written_and_nothing_is_decided_again(folder):
    change(folder, "labels: out/labels.zarr", "labels: out/labels.zarr, probabilities: {path: out/p.zarr, top: 1}")
    nights(folder)
    decided = run(folder)["refit"]
    change(folder, "top: 1", "top: 2")
    told = Told()
    assert run(folder, told)["refit"] == decided
    assert not any(isinstance(event, PassStarted) for event in told.events)
    assert xr.open_zarr(folder / "out" / "p.zarr").sizes["rank"] == 2
    run(folder, told := Told())
    assert "nothing is left to do" in told.steps[-1]


@pytest.mark.parametrize("progress", ["path: progress, interval: 0.0", ""])
def test_anew_compares_the_same_rows_anew(progress, folder):
    if not progress:
        change(folder, "checkpoint: {path: progress, interval: 0.0}\n", "")
    nights(folder)
    assert run_file(folder / "job.yaml").report["refit"]["promoted"]
    again = run_file(folder / "job.yaml", anew=True).report["refit"]
    assert not again["promoted"]  # by now the current model is the one of these rows
    assert again["reasons"][0].startswith("nothing has changed")
    assert run_file(folder / "job.yaml").result is None


def test_what_somebody_put_in_the_place_of_an_output_is_not_replaced(folder):
    run(folder)
    (folder / "out" / "report.json").write_text("mine")
    arrive(folder, 1)
    with pytest.raises(JobError, match=r"output\.report: .* exists already"):
        run(folder)
    assert (folder / "out" / "report.json").read_text() == "mine"
