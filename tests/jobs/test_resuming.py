"""Jobs that are run again: they go on, they do nothing twice, and they replace nothing that is not theirs."""

import errno
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import rerunning
import xarray as xr
from rerunning import JOB, DiedError, Told, die, expected_of, somebodys, stamps, store

from dgmm import Checkpoint, GaussianMixture
from dgmm.errors import CheckpointInUseError, CheckpointMismatchError, CheckpointWarning, JobError, JobRunningError
from dgmm.fitting.events import FitFinished, FitResumed, IterationFinished, PassStarted
from dgmm.jobs import answers, load_job, run_job, running
from dgmm.storage.checkpoint import NOTE, CheckpointStore
from dgmm.storage.replacing import remove_leftovers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WITH = f"{JOB}checkpoint: {{path: progress, interval: 0.0}}\n"


@pytest.fixture
def job(tmp_path):
    store(tmp_path)
    return written(tmp_path)


def written(folder, **changes):
    return load_job(rerunning.written(folder, WITH, **changes))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def died(job, kind=IterationFinished):
    with pytest.raises(DiedError):
        run_job(job, Told(kind, die))


def test_a_job_that_died_goes_on_and_then_does_nothing(job, out):
    expected = expected_of(out.parent)
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
    store(out.parent, seed=5)
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


def test_a_job_that_asks_for_other_answers_is_done_anew_without_a_fit(job, out):
    text = "labels: out/labels.zarr, probabilities: {path: out/p.zarr, top: 1}"
    run_job(written(out.parent, **{"labels: out/labels.zarr": text}))
    changed = written(out.parent, **{"labels: out/labels.zarr": text.replace("top: 1", "top: 2")})
    told = Told()
    run_job(changed, told)
    assert not told.of(PassStarted)  # the fit was done
    assert xr.open_zarr(out / "p.zarr").sizes["rank"] == 2
    run_job(changed, told := Told())
    assert "nothing is left to do" in told.steps[-1]


def test_what_somebody_changed_is_no_output_of_the_job_any_more(job, out):
    run_job(job)
    is_there = somebodys(out / "model.zarr")
    for _ in range(2):
        with pytest.raises(JobError, match=r"output\.model: .* exists already"):
            run_job(job)
    assert is_there()
    told = Told()
    run_job(written(out.parent, **{"report: out/report.json": "report: out/report.json, overwrite: true"}), told)
    assert not is_there()
    assert not told.of(PassStarted)


def test_anew_begins_from_the_beginning(job, out):
    run_job(job)
    told = Told()
    run_job(job, told, anew=True)
    assert told.of(PassStarted)
    assert not told.of(FitResumed)
    run_job(job, told := Told())
    assert "nothing is left to do" in told.steps[-1]


def test_a_job_holds_what_it_writes_and_leaves_no_locks(job, out):
    other = replace(job, checkpoint=None)  # of another progress, and the same outputs

    def run_the_other():
        with pytest.raises(JobRunningError, match=r"job\.yaml: process \d+ on .* runs this job since 20.* UTC; wait"):
            run_job(other)

    run_job(job, told := Told(FitFinished, run_the_other))
    assert told.of(FitFinished)
    assert sorted(path.name for path in out.iterdir()) == ["labels.zarr", "model.zarr", "report.json"]
