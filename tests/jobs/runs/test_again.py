"""Jobs that are run again leave alone what is done, go on with what is not, and run anew what has changed."""

import logging
import os
import shutil

import numpy as np
import pytest
import rerunning
import zarr
from rerunning import JOB, DiedError, Told, die, expected_of, somebodys, stamps, store

from dgmm import GaussianMixture
from dgmm.cli import main
from dgmm.errors import JobError, JobRunningError
from dgmm.fitting.events import FitFinished, FitResumed, IterationFinished, PassStarted
from dgmm.jobs import answers, run_file
from dgmm.jobs.runs.folders import PROGRESS, runs_in
from dgmm.storage.checkpoint import Checkpoint, CheckpointStore

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def job(tmp_path):
    store(tmp_path)
    return written(tmp_path)


def written(folder, text="", **changes):
    return rerunning.written(folder, JOB + text, **changes)


def run(job, **options):
    """Run a job; returns what it told."""
    told = Told(**{key: options.pop(key) for key in ("kind", "action") if key in options})
    run_file(job, told, **options)
    return told


def died(job, kind=IterationFinished):
    with pytest.raises(DiedError):
        run(job, kind=kind, action=die)


def states(job):
    return [one.record.state for one in runs_in(job.parent / "runs")]


def test_a_second_run_changes_nothing_and_says_so(job, tmp_path):
    first = run_file(job, Told())
    before = stamps(tmp_path / "out")
    told = Told()
    again = run_file(job, told)
    assert not told.events
    assert told.steps[-1].startswith("the input is as it was, and everything was written before: nothing is left to do")
    assert (again.report, again.outputs, again.folder) == (first.report, first.outputs, first.folder)
    assert again.result is None
    assert stamps(tmp_path / "out") == before
    assert states(job) == ["done"]
    assert runs_in(tmp_path / "runs")[0].record.again["times"] == 1


def test_a_half_finished_run_is_gone_on_with_to_the_same_bits(job, tmp_path):
    expected = expected_of(tmp_path)
    died(job)
    assert states(job) == ["bug"]
    told = run(job)
    assert told.of(FitResumed)[0].n_reads > 0
    found = GaussianMixture.load(tmp_path / "out" / "model.zarr")
    assert np.array_equal(found.means_, expected.means_)
    assert np.array_equal(found.covariances_, expected.covariances_)
    last, first = runs_in(tmp_path / "runs")
    assert (last.record.attempt, last.record.resumed_from) == (2, first.record.id)
    assert not list((tmp_path / "runs").rglob(PROGRESS))  # nobody needs it any more


def test_outputs_half_written_are_its_own(job, tmp_path, monkeypatch):
    def write_and_die(*arguments, **keywords):
        raise DiedError

    monkeypatch.setattr(answers, "write_answer", write_and_die)
    with pytest.raises(DiedError):
        run(job)
    monkeypatch.undo()
    assert (tmp_path / "out" / "model.zarr").exists()
    assert not run(job).of(PassStarted)  # the fit was finished
    assert (tmp_path / "out" / "report.json").exists()


@pytest.mark.parametrize("checkpoint", ["none", "{path: progress}"])
def test_without_progress_half_written_outputs_are_its_own_too(checkpoint, job, tmp_path, monkeypatch):
    job = written(tmp_path, f"checkpoint: {checkpoint}\n")
    monkeypatch.setattr(answers, "write_answer", lambda *_, **__: die())
    with pytest.raises(DiedError):
        run(job)
    monkeypatch.undo()
    assert not list((tmp_path / "runs").rglob(PROGRESS))
    told = run(job)
    assert bool(told.of(PassStarted)) == (checkpoint == "none")
    assert states(job) == ["done", "bug"]


def test_an_output_that_is_gone_is_made_again(job, tmp_path):
    run(job)
    shutil.rmtree(tmp_path / "out" / "labels.zarr")
    told = run(job)
    assert "is gone or was changed (labels): running again" in told.steps[0]
    assert (tmp_path / "out" / "labels.zarr").exists()
    assert "nothing is left to do" in run(job).steps[-1]


@pytest.mark.parametrize("how", ["other rows", "one value in place", "touched"])
def test_an_input_that_changed_is_run_anew_where_outputs_may_be_replaced(how, job, tmp_path):
    job = written(tmp_path, **{"report: out/report.json": "report: out/report.json, overwrite: true"})
    run(job)
    before = GaussianMixture.load(tmp_path / "out" / "model.zarr")
    if how == "other rows":
        store(tmp_path, seed=5)
    elif how == "one value in place":
        zarr.open_array(tmp_path / "X.zarr", mode="r+")[333, 0] = 50.0
    else:
        os.utime(tmp_path / "X.zarr" / "zarr.json")
    told = run(job)
    assert "the input is not what it was" in told.steps[0]
    assert told.of(PassStarted)
    after = GaussianMixture.load(tmp_path / "out" / "model.zarr")
    assert np.array_equal(before.means_, after.means_) == (how == "touched")


def test_an_input_that_changed_replaces_no_outputs_that_may_not_be_replaced(job, tmp_path):
    run(job)
    store(tmp_path, seed=5)
    before = stamps(tmp_path / "out")
    with pytest.raises(JobError, match=r"output\.model: .* exists already"):
        run(job)
    assert stamps(tmp_path / "out") == before
    assert states(job) == ["bad job", "done"]
    run(job, anew=True)  # somebody says that it may be done again
    assert states(job)[0] == "done"


def test_an_input_that_changed_within_a_run_is_fitted_from_the_beginning(job, tmp_path):
    died(job)
    store(tmp_path, seed=5)
    told = run(job)
    assert not told.of(FitResumed)
    expected = expected_of(tmp_path)
    assert np.array_equal(GaussianMixture.load(tmp_path / "out" / "model.zarr").means_, expected.means_)


def test_a_changed_job_is_another_one(job, tmp_path):
    died(job)
    other = written(tmp_path, **{"n_components: 2": "n_components: 3"})
    assert not run(other).of(FitResumed)
    assert GaussianMixture.load(tmp_path / "out" / "model.zarr").n_components == 3


def test_where_it_computes_is_not_part_of_a_job(job, tmp_path):
    run(job)
    told = run(written(tmp_path, "cluster: {kind: synchronous}\nrun: {keep: 5}\ncheckpoint: {path: progress}\n"))
    assert not told.events


@pytest.mark.parametrize("overwrite", ["true", "false"])
def test_what_somebody_put_in_the_place_of_an_output_stays_unless_it_may_be_replaced(overwrite, job, tmp_path):
    job = written(tmp_path, **{"report: out/report.json": f"report: out/report.json, overwrite: {overwrite}"})
    run(job)
    is_there = somebodys(tmp_path / "out" / "model.zarr")
    if overwrite == "true":
        assert "was changed (model)" in run(job).steps[0]
        assert not is_there()
    else:
        for _ in range(2):
            with pytest.raises(JobError, match=r"output\.model: .* exists already"):
                run(job)
        assert is_there()


def test_anew_does_all_again(job):
    run(job)
    assert run(job, anew=True).of(PassStarted)
    died_ = Told(IterationFinished, die)
    with pytest.raises(DiedError):
        run_file(job, died_, anew=True)
    assert not run(job, anew=True).of(FitResumed)


def test_a_checkpoint_that_is_never_gone_on_with_is_never_done(job, tmp_path):
    text = "checkpoint: {path: progress, resume: never}\n"
    job = written(tmp_path, text, **{"report: out/report.json": "report: out/report.json, overwrite: true"})
    for _ in range(2):
        assert run(job).of(FitFinished)


def test_what_somebody_puts_there_during_the_fit_stays(job, tmp_path):
    def put():
        (tmp_path / "out" / "report.json").write_text("mine")

    with pytest.raises(JobError, match="exists already"):
        run(job, kind=FitFinished, action=put)
    for _ in range(2):
        with pytest.raises(JobError, match=r"output\.report: .* exists already"):
            run(job)
    assert stamps(tmp_path / "out").keys() == {tmp_path / "out" / "report.json"}
    (tmp_path / "out" / "report.json").unlink()
    assert not run(job).of(PassStarted)  # the fit was done


def test_a_checkpoint_that_is_never_gone_on_with_replaces_nothing(job, tmp_path):
    job = written(tmp_path, "checkpoint: {path: progress, resume: never}\n")
    run(job)
    with pytest.raises(JobError, match="exists already"):
        run(job)


def test_progress_that_cannot_be_used_is_not_in_the_way(job, tmp_path, caplog):
    caplog.set_level(logging.WARNING, "dgmm")
    died(job)
    (progress,) = (tmp_path / "runs").rglob(PROGRESS)
    with CheckpointStore(Checkpoint(progress)) as kept:
        stored = kept.load()
        kept.save({**stored.fingerprint, "plan": {}}, stored.parts)  # as another version of dgmm would cut the rows
    told = run(job)
    assert told.of(FitFinished)
    assert "cannot be used, all is done anew" in caplog.text
    assert not list((tmp_path / "runs").rglob(PROGRESS))


def test_no_folder_of_runs_keeps_nothing(job, tmp_path):
    job = written(tmp_path, "run: {folder: none}\n")
    assert run_file(job, Told()).folder is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["X.zarr", "job.yaml", "out"]
    with pytest.raises(JobError, match="exists already"):
        run(job)


def test_a_default_folder_that_cannot_be_there_ends_no_run(job, tmp_path, caplog):
    caplog.set_level(logging.WARNING, "dgmm")
    (tmp_path / "runs").write_text("mine")
    run(job)
    assert "no record of this run is kept" in caplog.text
    assert (tmp_path / "runs").read_text() == "mine"
    with pytest.raises(JobError, match=r"job\.yaml:5: run\.folder: .* is no folder"):
        run(written(tmp_path, "run: {folder: runs}\n"))


def test_outputs_may_lie_beside_the_runs_but_runs_not_in_outputs(job, tmp_path):
    run(written(tmp_path, **{"out/model.zarr": "runs/model.zarr"}))
    assert "nothing is left to do" in run(tmp_path / "job.yaml").steps[-1]
    with pytest.raises(JobError, match=r"run\.folder: .* lies within, output\.model"):
        run(written(tmp_path, "run: {folder: out/model.zarr/runs}\n"))


def test_so_many_runs_are_kept_as_asked_for(job, tmp_path):
    job = written(tmp_path, "run: {keep: 2}\n")
    run(job)
    done = runs_in(tmp_path / "runs")[0].record.id
    (tmp_path / "out" / "report.json").write_text("mine")
    for _ in range(4):
        with pytest.raises(JobError, match="exists already"):
            run(job)
    # The last one that was done stays too: it says what is done.
    assert states(job) == ["bad job", "bad job", "done"]
    assert runs_in(tmp_path / "runs")[-1].record.id == done


def test_doing_all_again_goes_on_when_it_was_ended_within(job, tmp_path):
    run(job)
    for options in ({"anew": True}, {}):  # the second one is ended within, too
        with pytest.raises(DiedError):
            run_file(job, Told(IterationFinished, die), **options)
    told = run(job)
    assert told.of(FitResumed)
    assert "writing the model to model.zarr" in told.steps
    assert not list((tmp_path / "runs").rglob(PROGRESS))
    assert not run(job).events


def test_progress_that_nobody_goes_on_with_is_removed(job, tmp_path):
    died(job)
    store(tmp_path, seed=5)
    run(job)
    assert not list((tmp_path / "runs").rglob(PROGRESS))


def test_a_job_file_that_stays_wrong_leaves_one_record(job, tmp_path, capsys):
    run(job)
    wrong = rerunning.written(tmp_path, JOB, **{"n_components: 2": "n_components: two"})
    for _ in range(3):
        with pytest.raises(JobError, match="found 'two'"):
            run(wrong)
    last, first = runs_in(tmp_path / "runs")
    assert (last.record.state, last.record.again["times"], first.record.state) == ("bad job", 2, "done")
    assert main(["runs", "show", "last", str(wrong)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "asked for 2 times more" in out
    assert "correct what the error names" in out
    run(written(tmp_path, "run: {keep: 5}\n", **{"n_components: 2": "n_components: 3", "out/": "other/"}))
    assert main(["runs", "show", last.record.id, str(wrong)]) == 0
    assert "which came after it: done" in " ".join(capsys.readouterr().out.split())


def test_so_many_wrong_job_files_are_kept_as_asked_for(job, tmp_path):
    run(job)
    for word in ("one", "two", "three", "four"):
        wrong = written(tmp_path, "run: {keep: 2}\n", **{"n_components: 2": f"n_components: {word}"})
        with pytest.raises(JobError, match=f"found '{word}'"):
            run(wrong)
    assert states(job) == ["bad job", "bad job", "done"]


@pytest.mark.parametrize("where", ["{folder: elsewhere}", "{folder: none}"])
def test_jobs_with_other_folders_of_runs_do_not_write_to_one_place_at_once(where, job, tmp_path):
    (tmp_path / "other").mkdir()
    changes = {"X.zarr": "../X.zarr", "out/": "../out/"}
    same = rerunning.written(tmp_path / "other", f"{JOB}run: {where}\n", **changes)
    changes["n_components: 2"] = "n_components: 3"
    other = rerunning.written(tmp_path / "other", f"{JOB}run: {where}\n", "other.yaml", **changes)

    def run_the_other():
        with pytest.raises(JobRunningError, match="runs this job since 20"):
            run(same)
        with pytest.raises(JobRunningError, match=r"runs .*job\.yaml, which writes the same output\.model, since 20"):
            run(other)

    assert run(job, kind=FitFinished, action=run_the_other).of(FitFinished)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["labels.zarr", "model.zarr", "report.json"]
    assert not list((tmp_path / "other").rglob("run.json"))  # nothing ran, so nothing is left


def test_the_story_of_a_job_with_a_model_names_the_model(job, tmp_path, capsys):
    run(job)
    text = "input: {path: X.zarr}\nmodel: {kind: saved, path: out/model.zarr}\noutput: {labels: again.zarr}\n"
    (tmp_path / "label.yaml").write_text(text)
    run(tmp_path / "label.yaml")
    assert main(["runs", "show", "last", str(tmp_path / "label.yaml")]) == 0
    out = "".join(capsys.readouterr().out.split())
    assert f"{tmp_path}/out/model.zarr," in out
    assert "model.path" not in out
