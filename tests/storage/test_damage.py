"""Whatever happens to the bytes of a checkpoint: an earlier one is read and said so, or an error of dgmm's own."""

import errno
import hashlib
import json
import os
import resource
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dgmm.errors import CheckpointError, FormatError
from dgmm.storage.checkpoint import Checkpoint, CheckpointStore
from dgmm.storage.documents import canonical
from dgmm.storage.objects import ObjectPlace
from dgmm.storage.places import LOCK

FINGERPRINT = {"rows": 10, "seed": 7}
OLD, NEW = ((1, -2.0, np.arange(3.0)), (2, -1.0, np.arange(4.0)))


def write(path):
    """Two checkpoints: one part that both have, and one that each has of its own."""
    shared = np.arange(6, dtype=np.int64).reshape(3, 2)
    with CheckpointStore(Checkpoint(path)) as store:
        store.save(FINGERPRINT, {"shared": shared, "state": OLD})
        store.save(FINGERPRINT, {"shared": shared, "state": NEW})


def load(path, **options):
    with CheckpointStore(Checkpoint(path, **options)) as store:
        return store.load()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("damage") / "fit"
    write(path)
    (path / LOCK).unlink()
    return path


@contextmanager
def copied(original):
    """A copy to be damaged; a folder of its own for each example of hypothesis."""
    path = original.with_name("copy")
    shutil.copytree(original, path)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def same(a, b):
    return a[:2] == b[:2] and np.array_equal(a[2], b[2])


def load_or_error(path):
    """What is read, or an error of dgmm's that names the place."""
    try:
        return load(path)
    except (CheckpointError, FormatError) as caught:
        error = caught
    assert str(path) in str(error)
    return error


def check(path):
    """Load what is left: the newest, or the one before with a sentence, or an error that names the place."""
    found = load_or_error(path)
    if isinstance(found, Exception):
        return None
    assert found.fingerprint == FINGERPRINT
    assert found.finished is False
    assert same(found.parts["state"], NEW if found.number > 1 else OLD)
    if found.number == 1:
        assert any(str(path) in sentence for sentence in found.skipped)
    return found.number


def files(path):
    return sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())


def choose(data, path):
    return path / data.draw(st.sampled_from(files(path)))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_byte_is_noticed(original, data):
    with copied(original) as path:
        file = choose(data, path)
        content = bytearray(file.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        file.write_bytes(content)
        assert check(path) is not None or "shared" in str(file)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_truncated_or_longer_file_is_noticed(original, data):
    with copied(original) as path:
        file = choose(data, path)
        content = file.read_bytes()
        longer = data.draw(st.booleans())
        file.write_bytes(content + b"\0" if longer else content[: data.draw(st.integers(0, len(content) - 1))])
        assert check(path) is not None or "shared" in str(file)


@pytest.mark.parametrize(
    "kind", ["removed", "a folder", "random bytes", "a pipe", "a link to itself", "a large number"]
)
def test_every_file_may_be_anything(original, kind):
    for name in files(original):
        with copied(original) as path:
            file = path / name
            content = file.read_bytes()
            file.unlink()
            if kind == "a folder":
                file.mkdir()
            elif kind == "random bytes":
                file.write_bytes(np.random.default_rng(0).bytes(len(content)))
            elif kind == "a pipe":
                os.mkfifo(file)
            elif kind == "a link to itself":
                file.symlink_to(file)
            elif kind == "a large number":
                file.write_text("1" * 5000)
            # What all have in common, and a pointer that is no file at all, cannot be done without.
            needed = "shared" in str(name) or (len(name.parts) == 1 and kind in ("a folder", "a pipe"))
            assert check(path) is not None or needed or kind == "a link to itself"


def test_parts_that_are_swapped_are_noticed(original):
    with copied(original) as path:
        old, new = sorted(path.glob("state-*"))
        spare = path / "spare"
        (old / "zarr.json").rename(spare)
        (new / "zarr.json").rename(old / "zarr.json")
        spare.rename(new / "zarr.json")
        assert check(path) is None


def test_what_was_passed_over_is_named_and_goes_with_the_next_save(original):
    with copied(original) as path:
        (new,) = path.glob("state-2-*")
        (new / "c.0").write_bytes((new / "c.0").read_bytes()[:-1])
        found = load(path)
        assert found.number == 1
        (sentence,) = found.skipped
        assert sentence.startswith(f"{path}: checkpoint 2 cannot be read: part 'state' ({new.name}): its data have")
        with CheckpointStore(Checkpoint(path)) as store:
            store.save(FINGERPRINT, store.load().parts | {"state": NEW})
        assert not new.exists()
        found = load(path)
        assert (found.number, found.skipped) == (3, ())


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_text("{")])
def test_without_a_pointer_the_newest_is_found_by_its_parts(original, damage):
    with copied(original) as path:
        damage(path / "zarr.json")
        for _ in range(2):  # reading changes nothing
            found = load(path, resume="must")
            assert found.number == 2
            assert "looked for by their parts" in found.skipped[0]
        with CheckpointStore(Checkpoint(path)) as store:
            store.save(FINGERPRINT, store.load().parts | {"state": NEW})
        found = load(path)
        assert (found.number, found.skipped) == (3, ())


def test_if_nothing_can_be_read_the_error_lists_what_was_found_and_nothing_is_touched(original):
    with copied(original) as path:
        for part in path.glob("state-*"):
            (part / "c.0").write_bytes(b"")
        before = files(path)
        with pytest.raises(CheckpointError, match=r"\(1\) .*checkpoint 2 .*\(2\) .*checkpoint 1 .*") as caught:
            load(path)
        assert "resume='never'" in str(caught.value)
        for part in path.glob("state-*"):
            (part / "zarr.json").write_bytes(b"")
        (path / "zarr.json").write_text("{")
        with pytest.raises(CheckpointError, match="is damaged"):
            load(path)
        assert set(files(path)) - set(before) == {Path(LOCK)}
        assert load(path, resume="never") is None


def test_a_store_of_objects_falls_back_too(s3):
    write(s3)
    place = ObjectPlace(s3)
    (new,) = [name for name in place.names() if name.startswith("state-2-")]
    place.put_object(f"{new}/c.0", place.read(new, "c.0")[:-1])
    assert check(s3) == 1
    place.delete_objects(["zarr.json"])
    assert check(s3) == 1
    with CheckpointStore(Checkpoint(s3)) as store:
        store.load()
        store.save(FINGERPRINT, {"state": NEW})
    assert check(s3) == 3


# -- hostile files: with the right checksums ----------------------------------------------------


def places_in(value, path=()):
    """Paths of everything within JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places_in(item, (*path, key))


def changed(value, path, new):
    """JSON with another value at a path; without it if that is ``...``."""
    if not path:
        return None if new is ... else new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and new is ...:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def signed(document):
    """JSON with the checksum that its attributes should have."""
    attributes = document.get("attributes") if isinstance(document, dict) else None
    if not isinstance(attributes, dict):
        return document
    rest = {name: value for name, value in attributes.items() if name != "sha256"}
    return document | {"attributes": rest | {"sha256": hashlib.sha256(canonical(rest)).hexdigest()}}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["<f8", "|O", "C", "F", "../fit", "state-1-00000000", "/etc/passwd", "dgmm-checkpoint", "x" * 99])
    | st.sampled_from([2**31, 2**62, 2**63, 10**18, -1, 2**80]) | st.just(...),
    lambda inner: st.lists(inner.filter(lambda item: item is not ...), max_size=3)
    | st.dictionaries(st.sampled_from(["array", "int", "record", "fields", "dtype"]),
                      inner.filter(lambda item: item is not ...), max_size=2),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_hostile_metadata_end_in_an_error_of_ours(original, data):
    with copied(original) as path:
        file = path / data.draw(st.sampled_from([name for name in files(path) if name.name == "zarr.json"]))
        document = json.loads(file.read_text())
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.sampled_from(list(places_in(document))))
            document = changed(document, at, data.draw(anything))
        file.write_text(json.dumps(signed(document)))
        load_or_error(path)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"shape": [2**40]}, "does not lie where"),
        ({"shape": [2**61, 2**61, 0]}, "larger than any memory"),
        ({"shape": [0, 2**62]}, "larger than any memory"),
        ({"shape": [1] * 40}, "larger than any memory"),
        ({"shape": [-3]}, "0 or more"),
        ({"shape": [3.0]}, "0 or more"),
        ({"shape": [True]}, "0 or more"),
        ({"shape": 3}, "0 or more"),
        ({"shape": [2]}, "its arrays take 16 bytes; there are 24"),
        ({"dtype": "|O"}, "dtype of numbers"),
        ({"dtype": "<U3"}, "dtype of numbers"),
        ({"dtype": "f8"}, "dtype of numbers"),
        ({"dtype": ["<f8"]}, "dtype of numbers"),
        ({"dtype": "|b1", "shape": [24]}, "neither 0 nor 1"),
        ({"order": "K"}, "order C or F"),
        ({"offset": 8}, "does not lie where"),
        ({"offset": -64}, "does not lie where"),
        ({"offset": 0.0}, "does not lie where"),
        ({"more": 1}, "expected dtype, shape, order and offset"),
    ],
    ids=str,
)
def test_hostile_shapes_are_refused_before_anything_is_allocated(original, spec, words):
    with copied(original) as path:
        (part,) = path.glob("state-1-*")
        shutil.rmtree(next(path.glob("state-2-*")))
        document = json.loads((part / "zarr.json").read_text())
        document["attributes"]["arrays"][0] |= spec
        (part / "zarr.json").write_text(json.dumps(signed(document)))
        with pytest.raises(CheckpointError, match=words):
            load(path)


def test_json_that_is_too_deep_is_refused(original):
    for name in files(original):
        with copied(original) as path:
            (path / name).write_text("[" * 100_000 + "]" * 100_000)
            check(path)
            (path / name).write_text('{"attributes":' * 400 + "1" + "}" * 400)
            check(path)


# -- a full disk --------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for a few kilobytes: a file system of its own, or else a limit on the size of files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "dgmm-test", folder], check=False, capture_output=True
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if mounted.returncode:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        if not mounted.returncode:
            subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_the_last_checkpoint_and_no_leftovers(small_disk):
    path = small_disk / "fit"
    with CheckpointStore(Checkpoint(path)) as store:
        store.save(FINGERPRINT, {"state": OLD})
        before = files(path)
        for _ in range(3):
            with pytest.raises(OSError, match=r"No space|too large") as caught:
                store.save(FINGERPRINT, {"state": NEW, "large": np.zeros(2**15)})
            assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
            assert files(path) == before
        store.save(FINGERPRINT, {"state": NEW})
    assert check(path) == 2
