"""The writer saves in the background: nothing waits for it, nothing is lost but what is older, and it ends."""

import errno
import threading
import warnings

import numpy as np
import pytest

from dgmm.errors import CheckpointInUseError, CheckpointWarning, FormatError
from dgmm.storage.checkpoint import Checkpoint, CheckpointStore
from dgmm.storage.writer import CheckpointWriter

WAIT = 60.0


class Gate:
    """A store whose saves wait until they are let through, and fail if they should."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.open = threading.Semaphore(0)
        self.saved = []
        self.errors = []

    def save(self, fingerprint, parts, *, finished=False):
        self.begun.release()
        assert self.open.acquire(timeout=WAIT)
        if self.errors:
            raise self.errors.pop(0)
        self.saved.append((parts["n"], finished))

    def let(self, count=1):
        for _ in range(count):
            self.open.release()


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def writer(gate):
    writer = CheckpointWriter(gate, {})
    yield writer
    gate.let(100)
    writer.close()
    assert "dgmm-checkpoint" not in [thread.name for thread in threading.enumerate()]


def test_older_ones_that_wait_are_dropped(gate, writer):
    writer.submit({"n": 0})
    assert gate.begun.acquire(timeout=WAIT)
    for n in range(1, 5):
        writer.submit({"n": n}, finished=n == 4)
    gate.let(2)
    writer.flush()
    assert gate.saved == [(0, False), (4, True)]
    assert writer.failure is None


def test_flush_without_anything_and_close_twice(gate):
    writer = CheckpointWriter(gate, {})
    writer.flush()
    writer.close()
    writer.close()
    assert threading.active_count() == len(threading.enumerate())


def test_a_failure_is_told_once_and_the_next_is_tried(gate, writer):
    full, other = OSError(errno.ENOSPC, "No space left on device"), PermissionError(errno.EACCES, "denied")
    gate.errors = [full, full, other]
    gate.let(10)
    writer.submit({"n": 0})
    with pytest.warns(
        CheckpointWarning, match="could not be written, the fit goes on without it: .*No space"
    ) as caught:
        writer.flush()
    assert caught[0].filename == __file__
    assert writer.failure is full
    writer.submit({"n": 1})
    writer.flush()  # the same again: no warning
    writer.submit({"n": 2})
    with pytest.warns(CheckpointWarning, match="denied"):
        writer.flush()
    writer.submit({"n": 3})
    writer.flush()
    assert writer.failure is None
    assert gate.saved == [(3, False)]


def test_warnings_as_errors_reach_the_caller_and_leave_no_thread(gate):
    writer = CheckpointWriter(gate, {})
    gate.errors = [OSError("full")]
    gate.let(10)
    writer.submit({"n": 0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CheckpointWarning, match="full"):
            writer.close()
    assert "dgmm-checkpoint" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("error", [CheckpointInUseError("taken"), FormatError("no"), MemoryError("none")])
def test_other_errors_are_raised_in_the_caller(gate, error):
    writer = CheckpointWriter(gate, {})
    gate.errors = [error]
    gate.let(10)
    writer.submit({"n": 0})
    for call in (writer.flush, lambda: writer.submit({"n": 1}), writer.close):
        with pytest.raises(type(error)) as caught:
            call()
        assert caught.value is error
    assert gate.saved == []
    assert "dgmm-checkpoint" not in [thread.name for thread in threading.enumerate()]


def test_it_writes_what_a_store_reads(tmp_path):
    threads = set(threading.enumerate())
    with CheckpointStore(Checkpoint(tmp_path / "fit")) as store:
        writer = CheckpointWriter(store, {"rows": 1})
        for n in range(50):
            writer.submit({"state": (n, np.full(3, n))})
        writer.close()
    with CheckpointStore(Checkpoint(tmp_path / "fit")) as store:
        found = store.load()
    assert found.parts["state"][0] == 49
    assert set(threading.enumerate()) == threads


def test_a_place_that_was_taken_over_ends_the_writer(s3):
    with CheckpointStore(Checkpoint(s3)) as first:
        writer = CheckpointWriter(first, {})
        writer.submit({"state": 1})
        writer.flush()
        with CheckpointStore(Checkpoint(s3)) as second:
            second.save({}, {"state": 2})
        writer.submit({"state": 3})
        with pytest.raises(CheckpointInUseError, match="has taken this checkpoint over"):
            writer.close()
