"""Jobs that are run again: they go on, they do nothing twice, and they replace nothing that is not theirs."""

import errno
import os
import shutil

import dask.array as da
import numpy as np
import pytest

from dgmm import Checkpoint, GaussianMixture
from dgmm.errors import CheckpointInUseError, CheckpointMismatchError, CheckpointWarning, JobError
from dgmm.fitting.events import FitFinished, FitResumed, IterationFinished, PassStarted
from dgmm.jobs import answers, load_job, run_job, running
from dgmm.jobs.progress import LogReporter
from dgmm.storage.checkpoint import NOTE, CheckpointStore
from dgmm.storage.replacing import remove_leftovers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

JOB = """
input: {path: X.zarr}
model: {n_components: 2, max_iter: 4, tol: 0.0, random_state: 0}
output: {model: out/model.zarr, labels: out/labels.zarr, report: out/report.json}
checkpoint: {path: progress, interval: 0.0}
"""


class DiedError(Exception):
    pass


class Told(LogReporter):
    """Keeps the events, and does something at one of them."""

    def __init__(self, kind=(), action=None):
        super().__init__()
        self.kind, self.action, self.events, self.steps = kind, action, [], []

    def __call__(self, event):
        self.events.append(event)
        if isinstance(event, self.kind):
            self.action()

    def step(self, text):
        self.steps.append(text)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def die():
    raise DiedError


@pytest.fixture
def job(tmp_path):
    X = np.random.default_rng(0).normal(size=(600, 2))
    X[::2] += 4.0
    da.from_array(X, chunks=(50, 2)).to_zarr(str(tmp_path / "X.zarr"))
    return written(tmp_path)


def written(folder, **changes):
    text = JOB
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "job.yaml").write_text(text)
    return load_job(folder / "job.yaml")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def somebodys(path):
    """A model of somebody else's, to be found again."""
    model = GaussianMixture(1, random_state=1).fit(np.random.default_rng(1).normal(size=(50, 5)))
    model.save(path)
    return lambda: np.array_equal(GaussianMixture.load(path).means_, model.means_)


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def died(job, kind=IterationFinished):
    with pytest.raises(DiedError):
        run_job(job, Told(kind, die))


def test_a_job_that_died_goes_on_and_then_does_nothing(job, out):
    expected = GaussianMixture(2, max_iter=4, tol=0.0, random_state=0).fit(da.from_zarr(str(out.parent / "X.zarr")))
    died(job)
    told = Told()
    run_job(job, told)
    assert told.of(FitResumed)[0].n_reads > 0
    found = GaussianMixture.load(out / "model.zarr")
    assert np.array_equal(found.means_, expected.means_)
    assert np.array_equal(found.covariances_, expected.covariances_)
    before, told = stamps(out), Told()
    result = run_job(job, told)
    assert stamps(out) == before
    assert not told.of(PassStarted)
    assert "nothing is left to do" in told.steps[-1]
    assert result.report["iterations"] == 4


def test_what_somebody_put_there_meanwhile_stays(job, out):
    died(job)
    is_there = somebodys(out / "model.zarr")
    for _ in range(2):
        with pytest.raises(JobError, match=r"output\.model: .* exists already; remove it"):
            run_job(job)
    assert is_there()
    shutil.rmtree(out)
    run_job(job)
    assert sorted(path.name for path in out.iterdir()) == ["labels.zarr", "model.zarr", "report.json"]


@pytest.mark.parametrize("name", ["model.zarr", "report.json"])
def test_what_somebody_puts_there_during_the_fit_stays(name, job, out):
    def put():
        out.mkdir(exist_ok=True)
        if name == "model.zarr":
            somebodys(out / name)
        else:
            (out / name).write_text("mine")

    with pytest.raises(JobError, match="exists already"):
        run_job(job, Told(FitFinished, put))
    before = stamps(out)
    with pytest.raises(JobError, match="exists already"):
        run_job(job)
    assert stamps(out) == before


def test_a_job_that_died_while_it_wrote_writes_all_again(job, out, monkeypatch):
    write = answers.write_answer

    def write_and_die(*arguments, **keywords):
        with pytest.raises(CheckpointInUseError):  # nobody else may run the job meanwhile
            CheckpointStore(Checkpoint(out.parent / "progress"))
        write(*arguments, **keywords)
        raise DiedError

    monkeypatch.setattr(answers, "write_answer", write_and_die)
    with pytest.raises(DiedError):
        run_job(job)
    monkeypatch.undo()
    assert not (out / "report.json").exists()
    told = Told()
    run_job(job, told)
    assert not told.of(PassStarted)
    assert (out / "report.json").exists()


def test_an_output_that_is_gone_is_made_again(job, out):
    run_job(job)
    shutil.rmtree(out / "labels.zarr")
    told = Told()
    run_job(job, told)
    assert not told.of(PassStarted)
    assert (out / "labels.zarr").exists()


def test_another_output_leaves_those_before_alone(job, out):
    run_job(job)
    before = stamps(out / "model.zarr")
    is_there = somebodys(out / "other.zarr")
    other = written(out.parent, **{"model.zarr": "other.zarr"})
    with pytest.raises(JobError, match=r"other\.zarr exists already"):
        run_job(other)
    assert is_there()
    shutil.rmtree(out / "other.zarr")
    run_job(other)
    assert stamps(out / "model.zarr") == before


def test_other_data_are_refused_also_after_the_end(job, out):
    run_job(job)
    before = stamps(out)
    shutil.rmtree(out.parent / "X.zarr")
    da.from_array(np.random.default_rng(5).normal(size=(600, 2)), chunks=(50, 2)).to_zarr(str(out.parent / "X.zarr"))
    with pytest.raises(CheckpointMismatchError, match="other data"):
        run_job(job)
    assert stamps(out) == before


@pytest.mark.parametrize(
    "change", [lambda report: {}, lambda report: {**report, "iterations": "4"}, lambda report: [report]]
)
def test_a_report_that_is_none_is_made_anew(change, job, out):
    run_job(job)
    with CheckpointStore(Checkpoint(out.parent / "progress")) as store:
        note = store.load().fingerprint[NOTE]
        store.annotate({**note, "report": change(note["report"])})
    told = Told()
    assert run_job(job, told).report["iterations"] == 4
    assert "scoring the model" in told.steps


def test_outputs_are_written_also_where_the_checkpoint_cannot_be(job, out, monkeypatch):
    run_fit = running._fitted

    def fit_and_fill_the_disk(*arguments):
        result = run_fit(*arguments)

        def full(*arguments, **keywords):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(CheckpointStore, "save", full)
        return result

    monkeypatch.setattr(running, "_fitted", fit_and_fill_the_disk)
    with pytest.warns(CheckpointWarning, match="could not be noted in the checkpoint: .*No space left"):
        run_job(job)
    assert (out / "report.json").exists()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("file://{folder}/out/model.zarr", r"output\.model: .* lies within, checkpoint\.path"),
        ("out/labels.zarr/progress", r"output\.labels: .* lies within, checkpoint\.path"),
        ("X.zarr/progress", r"checkpoint\.path: .* lies within, input\.path"),
        ("job.yaml", r"checkpoint\.path: .* lies within, the job file"),
    ],
)
def test_places_that_overlap_are_refused_at_the_start(place, words, job, tmp_path):
    before = stamps(tmp_path / "X.zarr")
    bad = written(tmp_path, **{"path: progress": f"path: '{place.format(folder=tmp_path)}'"})
    with pytest.raises(JobError, match=words):
        run_job(bad)
    assert stamps(tmp_path / "X.zarr") == before
    assert not (tmp_path / "out").exists()


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    theirs = [".model.zarr.part", ".other.zarr.0123abcd.part", "model.zarr.0123abcd.part"]
    for name in [".model.zarr.0123abcd.part", ".model.zarr.4567abcd.part.old", *theirs]:
        (tmp_path / name).mkdir()
    (tmp_path / ".model.zarr.89abcdef.part").write_text("half")
    remove_leftovers(tmp_path / "model.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(theirs)
