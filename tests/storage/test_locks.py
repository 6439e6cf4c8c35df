"""Locks of files: one holder, none after its death, none in its forks."""

import json
import os
import threading

import pytest

from dgmm.storage.locks import FileLock, HeldError, holding_place, is_held


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


def test_a_lock_that_its_holder_removes_is_no_lock_for_who_waits(lock):
    """The file that is at the path in the end is the one that is locked."""
    waiting, taken = FileLock(lock.path), threading.Event()
    thread = threading.Thread(target=lambda: (waiting.acquire({}, wait=True), taken.set()))
    thread.start()
    lock.release(remove=True)
    thread.join(60)
    assert taken.is_set()
    with pytest.raises(HeldError):
        FileLock(lock.path).acquire({})
    waiting.release()


def test_a_place_is_held_without_a_trace(tmp_path):
    place = tmp_path / "a" / "b" / "model.zarr"
    with holding_place(place, {"pid": 1}) as is_held_:
        assert is_held_
        with pytest.raises(HeldError) as caught, holding_place(place, {"pid": 2}):
            pass
        assert json.loads(caught.value.holder) == {"pid": 1}
        with holding_place(place.with_name("other.zarr"), {"pid": 2}):
            pass
    assert not list(tmp_path.iterdir())
    with holding_place(place, {}):
        place.mkdir()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b", "model.zarr"]


def test_a_place_where_nothing_can_be_written_cannot_be_held(tmp_path):
    (tmp_path / "file").write_text("")
    with holding_place(tmp_path / "file" / "model.zarr", {}) as is_held_:
        assert not is_held_
