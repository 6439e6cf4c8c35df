"""Locks of files: one holder, none after its death, none in its forks."""

import json
import os

import pytest

from dgmm.storage.locks import FileLock, HeldError, is_held


@pytest.fixture
def lock(tmp_path):
    lock = FileLock(tmp_path / "lock")
    lock.acquire({"pid": 1})
    yield lock
    lock.release()


def test_who_comes_second_is_told_who_holds_it(lock):
    with pytest.raises(HeldError) as caught:
        FileLock(lock.path).acquire({"pid": 2})
    assert json.loads(caught.value.holder) == {"pid": 1}
    assert is_held(lock.path)
    lock.release()
    assert not is_held(lock.path)
    assert lock.path.read_bytes() == b""
    other = FileLock(lock.path)
    other.acquire({"pid": 2})
    assert json.loads(lock.path.read_bytes()) == {"pid": 2}
    other.release()


def test_a_lock_that_is_not_there_is_not_held(tmp_path):
    assert is_held(tmp_path / "none") is False


def test_a_link_is_no_lock(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"):
        FileLock(tmp_path / "lock").acquire({})
    assert is_held(tmp_path / "lock") is None
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_does_not_share_the_lock(lock):
    end, ended = os.pipe()
    begin, begun = os.pipe()
    child = os.fork()
    if not child:  # it outlives the holder until the pipe is closed
        os.close(ended)
        os.write(begun, b"x")
        os.read(end, 1)
        os._exit(0)
    try:
        os.read(begin, 1)
        # As if the process had died: nothing unlocks it, the descriptor is only closed.
        lock.forget()
        assert not is_held(lock.path)
    finally:
        os.close(ended)
        os.waitpid(child, 0)
        for descriptor in (end, begin, begun):
            os.close(descriptor)
