"""Places keep what they are given, whole; who holds one keeps others out; no secret is repeated."""

import os
import sys
import traceback

import pytest

from dgmm.errors import CheckpointInUseError, ExistsError, MissingExtraError, ParameterError
from dgmm.storage.objects import StalePointerError
from dgmm.storage.places import LOCK, LocalPlace, open_place

BOTH = pytest.mark.parametrize("place", ["local", "s3"], indirect=True)
OBJECTS = {"c.0": [b"abc", memoryview(b"de"), b""], "zarr.json": [b"{}"]}


@BOTH
def test_a_place_keeps_folders_and_a_pointer(place):
    place = open_place(place)
    assert place.names() is None
    place.acquire()
    assert place.read_pointer() is None
    place.put("a-1", OBJECTS)
    place.swap_pointer(b"first")
    place.swap_pointer(b"second")
    assert place.read_pointer() == place.read("", "zarr.json") == b"second"
    assert place.read("a-1", "c.0") == b"abcde"
    assert place.read("a-1", "none") is None
    assert place.read("none", "c.0") is None
    assert set(place.names()) - {LOCK} == {"a-1", "zarr.json"}
    place.remove("a-1", ["zarr.json", "c.0"])
    assert set(place.names()) - {LOCK} == {"zarr.json"}
    place.release()


WRITES = {
    "put": ("make_folder", "write_file", "sync_folder", "rename_folder"),
    "swap_pointer": ("write_file", "replace_file", "sync_folder"),
}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("write", "operation"), [(write, name) for write, names in WRITES.items() for name in names])
def test_a_write_that_fails_leaves_nothing_half_done(tmp_path, monkeypatch, write, operation, after):
    place = LocalPlace(tmp_path / "fit")
    place.acquire()
    place.swap_pointer(b"old")
    inner = getattr(LocalPlace, operation)

    def fail(*arguments):
        if after:
            inner(*arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalPlace, operation, fail)
    arguments = ("a-1", OBJECTS) if write == "put" else (b"new",)
    with pytest.raises(OSError, match="No space"):
        getattr(place, write)(*arguments)
    place.release()
    assert not [name for name in place.names() if place.is_temporary(name)]
    assert place.read_pointer() in (b"old", b"new")
    assert (place.read("a-1", "zarr.json"), place.read("a-1", "c.0")) in ((None, None), (b"{}", b"abcde"))


def test_operations_are_named_for_those_who_count_them():
    used = {name for names in WRITES.values() for name in names}
    assert used | {"unlink", "remove_folder"} == set(LocalPlace.DURABLE)


def test_a_relative_path_stays_where_it_was_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = open_place("fit")
    monkeypatch.chdir("/")
    place.acquire()
    place.release()
    assert (tmp_path / "fit" / LOCK).exists()
    assert open_place(f"file://{tmp_path}/a%20b").path == tmp_path / "a b"


def test_reading_does_not_wait_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "zarr.json")
    assert LocalPlace(tmp_path).read_pointer() is None


# -- who holds it -------------------------------------------------------------------------------


def test_another_process_is_named(tmp_path, hold):
    holder = hold(tmp_path / "fit")
    assert holder.save("a") == "saved"
    with pytest.raises(CheckpointInUseError, match=f"process {holder.process.pid} on '.+' works with this checkpoint"):
        LocalPlace(tmp_path / "fit").acquire()


def test_the_same_process_is_kept_out_too(tmp_path):
    first, second = LocalPlace(tmp_path / "fit"), LocalPlace(tmp_path / "fit")
    first.acquire()
    with pytest.raises(CheckpointInUseError, match=f"process {os.getpid()}"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_killed_process_holds_nothing(tmp_path, hold):
    holder = hold(tmp_path / "fit")
    assert holder.save("a") == "saved"
    holder.process.kill()
    holder.process.wait(timeout=60)
    place = LocalPlace(tmp_path / "fit")
    place.acquire()
    place.release()


def test_a_lock_that_is_a_link_empties_nobodys_file(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / LOCK).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        LocalPlace(tmp_path / "fit").acquire()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"host": 1}', '{"pid": "x", "host": 2}', "\xff"])
def test_a_lock_file_may_say_anything(tmp_path, text):
    first, second = LocalPlace(tmp_path), LocalPlace(tmp_path)
    first.acquire()
    (tmp_path / LOCK).write_text(text)
    with pytest.raises(CheckpointInUseError, match="another process works"):
        second.acquire()
    first.release()


def test_a_file_is_no_place(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(ExistsError, match="is a file"):
        LocalPlace(tmp_path / "file").names()


# -- object stores ------------------------------------------------------------------------------


def test_a_pointer_that_another_has_swapped_is_noticed(s3):
    first, second = open_place(s3), open_place(s3)
    for place in (first, second):
        assert place.read_pointer() is None
    first.swap_pointer(b"1")
    with pytest.raises(StalePointerError):
        second.swap_pointer(b"2")
    assert second.read_pointer() == b"1"
    second.swap_pointer(b"2")
    for _ in range(2):
        with pytest.raises(StalePointerError):
            first.swap_pointer(b"3")
    assert first.read("", "zarr.json") == b"2"
    second.delete_objects(["zarr.json"])
    with pytest.raises(StalePointerError):
        second.swap_pointer(b"4")


def test_an_answer_that_is_lost_is_no_other_writer(s3, monkeypatch):
    place = open_place(s3)
    place.swap_pointer(b"1")
    put = type(place).put_if

    def put_twice(self, key, data, mode):
        put(self, key, data, mode)
        return put(self, key, data, mode)

    monkeypatch.setattr(type(place), "put_if", put_twice)
    place.swap_pointer(b"2")
    monkeypatch.undo()


def chain(error):
    """An error as it is printed, and everything that hangs on it."""
    return "".join(traceback.format_exception(error)) + repr(error.__dict__)


@pytest.mark.parametrize("operation", ["names", "put", "swap_pointer", "read"])
def test_failures_of_a_store_tell_no_secrets(s3, monkeypatch, operation):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("dgmm.storage.objects._RETRIES", {"max_retries": 0})
    place = open_place(s3)
    arguments = {"put": ("a-1", OBJECTS), "swap_pointer": (b"1",), "read": ("a-1", "c.0")}.get(operation, ())
    with pytest.raises(OSError, match=r"^s3://dgmm-test/.* could not be (listed|written|read)") as caught:
        getattr(place, operation)(*arguments)
    assert "marker" not in chain(caught.value)
    assert "marker" not in repr(vars(place))


def test_a_bucket_that_is_not_there(s3):
    place = open_place(s3.replace("dgmm-test", "dgmm-none"))
    with pytest.raises(OSError, match="the bucket to be listed is not there"):
        place.names()
    with pytest.raises(OSError, match="is not there"):
        place.put("a-1", OBJECTS)


def test_obstore_is_asked_for_only_where_it_is_needed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "obstore", None)
    open_place(tmp_path / "fit")
    with pytest.raises(MissingExtraError, match=r"dgmm\[s3\]"):
        open_place("s3://bucket/fit")


# -- paths --------------------------------------------------------------------------------------

REFUSED = {
    "s3://marker:marker@bucket/fit": "user name",
    "s3://marker@bucket/fit": "user name",
    "s3://bucket/fit?aws_secret_access_key=marker": "query",
    "s3://bucket/fit?": "query",
    "s3://bucket/fit#marker": "fragment",
    "file://marker/fit": "another machine",
    "file://": "another machine",
    "s3://bucket": "without a folder",
    "s3:///fit": "without a folder",
    "s3:/bucket/marker": "too few slashes",
    "s3://bucket/../marker": "write it out",
    "http://marker/fit": "scheme 'http'",
    "s3://[marker/fit": "no URL",
    "": "is empty",
    " ": "is empty",
    "a\0marker": "code 0",
    b"marker": "of type bytes",
    7: "of type int",
    None: "of type NoneType",
}


@pytest.mark.parametrize("path", REFUSED, ids=repr)
def test_impossible_paths_are_refused_and_not_repeated(path):
    with pytest.raises(ParameterError, match=REFUSED[path]) as caught:
        open_place(path)
    assert "marker" not in chain(caught.value).replace(repr(path), "")
    assert "marker" not in str(caught.value)
