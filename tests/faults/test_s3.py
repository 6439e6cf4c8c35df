"""Fits whose checkpoints lie in an object store, over a loopback S3 that fails now and then."""

import itertools
import os
import signal

import dask
import psutil
import pytest
from faults.small_fit import (
    FEW,
    fit,
    in_a_process,
    is_result,
    rows,
    run_and_copy,
    run_and_die,
    run_for,
    same_bits,
    save,
    with_environment,
)

from dgmm import Checkpoint
from dgmm.errors import CheckpointInUseError, CheckpointWarning
from dgmm.fitting.events import PassAdvanced, PassStarted
from dgmm.storage.places import open_place

REALLY = 8


def in_a_process_with_s3(target, *arguments, **keywords):
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return in_a_process(with_environment, environment, target, *arguments, **keywords)


class StoppedError(Exception):
    pass


def stop_in_pass_2(event):
    if isinstance(event, PassAdvanced) and event.index == 2:
        raise StoppedError


def at_pass(number, action):
    """A callback that does something when a pass begins."""
    return lambda event: action() if isinstance(event, PassStarted) and event.index == number else None


def test_a_fit_that_was_stopped_in_a_pass_goes_on(s3):
    begun = []
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(StoppedError):
            fit(rows(), Checkpoint(s3, interval=0.0), [stop_in_pass_2])
        model = fit(rows(), Checkpoint(s3, interval=0.0), [begun.append])
    assert next(event.index for event in begun if isinstance(event, PassStarted)) == 2
    assert same_bits(model, fit(rows()))


def test_a_process_that_was_killed_at_random_goes_on(s3, tmp_path):
    result, expected = tmp_path / "result.npz", fit(rows())
    for seconds in (0.4, 0.8, None):
        in_a_process_with_s3(run_for, s3, result, seconds, "threads", 2)
    assert is_result(result, expected)


def test_a_kill_before_every_change_of_the_store(s3, tmp_path, capsys):
    """Each is gone on from in this process: from copies of one run, and from what processes leave that are killed."""
    X, few, expected = rows(2), {"max_iter": 1}, fit(rows(2), max_iter=1)
    survived = tried = 0
    assert in_a_process_with_s3(run_and_copy, s3, f"{s3}-copy", 2, **few) == 0
    for number in itertools.count(1):
        places = [f"{s3}-copy-{number}"]
        if number % REALLY == 1:
            places.append(f"{s3}-{number}")
            code = in_a_process_with_s3(run_and_die, places[1], tmp_path / "result.npz", number, 2, **few)
            if code == 0:
                assert is_result(tmp_path / "result.npz", expected)
                break
            assert code == -signal.SIGKILL
        elif open_place(places[0]).names() is None:
            continue
        tried += 1
        with dask.config.set(scheduler="synchronous"):
            survived += all(same_bits(fit(X, Checkpoint(place, interval=0.0), **few), expected) for place in places)
    with capsys.disabled():
        print(f"\nkilled before each change of the object store: survived {survived} of {tried}")
    assert survived == tried >= 30


def test_a_second_process_takes_over_and_the_first_stops(s3, tmp_path):
    result, expected = tmp_path / "result.npz", fit(rows())

    def take_over():
        assert in_a_process_with_s3(run_for, s3, result, None, "synchronous", 1) == 0

    with pytest.raises(CheckpointInUseError, match="has taken this checkpoint over"):
        fit(rows(), Checkpoint(s3, interval=0.0), [at_pass(2, take_over)])
    assert is_result(result, expected)
    save(fit(rows(), Checkpoint(s3)), result)
    assert is_result(result, expected)


def test_an_answer_that_failed_is_asked_for_again(s3, gate):
    expected = fit(rows())
    model = fit(rows(), Checkpoint(s3, interval=0.0), [at_pass(2, lambda: gate.fail(3))])
    assert gate.refused.is_set()
    assert same_bits(model, expected)


def test_a_store_that_is_gone_for_a_while_ends_no_fit(s3, gate, soon):
    expected = fit(rows())
    callbacks = [at_pass(2, gate.fail), at_pass(3, gate.open_once_refused)]
    with pytest.warns(CheckpointWarning, match="could not be written, the fit goes on"):
        model = fit(rows(), Checkpoint(s3, interval=0.0), callbacks)
    assert same_bits(model, expected)
    begun = []
    assert same_bits(fit(rows(), Checkpoint(s3, interval=0.0), [begun.append]), expected)
    assert not [event for event in begun if isinstance(event, PassStarted)]  # it was finished


@pytest.mark.parametrize("how", ["500", "refused"])
def test_a_store_that_does_not_come_back_ends_no_fit(s3, gate, soon, how):
    fall = gate.fail if how == "500" else gate.close
    with pytest.warns(CheckpointWarning, match="could not be written, the fit goes on"):
        model = fit(rows(), Checkpoint(s3, interval=0.0), [at_pass(2, fall)])
    assert same_bits(model, fit(rows()))


def test_many_fits_leave_no_threads_and_no_connections(s3):
    """obstore keeps one pool of threads for the process, whatever the number of stores."""

    def held():
        return psutil.Process().num_threads(), psutil.Process().num_fds()

    with dask.config.set(scheduler="synchronous"):
        fit(rows(FEW), Checkpoint(s3))
        before = held()
        for _ in range(5):
            fit(rows(FEW), Checkpoint(s3, resume="never"))
        after = held()
    assert after[0] <= before[0] + 2, (before, after)
    assert after[1] <= before[1] + 4, (before, after)
