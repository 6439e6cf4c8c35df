"""A store keeps whole checkpoints, finds the newest that can be read, and touches nothing that is not its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from storing import FINGERPRINT, load, opened, save

from dgmm.errors import (
    CheckpointError,
    CheckpointInUseError,
    CheckpointMismatchError,
    ExistsError,
    FormatError,
    NotFoundError,
    ParameterError,
    StoreError,
)
from dgmm.storage.checkpoint import Checkpoint
from dgmm.storage.documents import part_name
from dgmm.storage.objects import ObjectPlace
from dgmm.storage.places import LOCK, LocalPlace

BOTH = pytest.mark.parametrize("place", ["local", "s3"], indirect=True)


def names_in(path):
    return sorted(file.name for file in path.iterdir())


def parts_in(path):
    return {name for name in names_in(path) if part_name(name)}


# -- saving and loading -------------------------------------------------------------------------


@BOTH
def test_the_newest_is_read_back(place):
    with opened(place) as store:
        assert store.load() is None
        store.save(FINGERPRINT, {"state": (1, 2.5), "more": np.arange(3)})
        store.save(FINGERPRINT, {"state": (2, 3.5)}, finished=True)
    found = load(place)
    assert (found.number, found.fingerprint, found.finished, found.skipped) == (2, FINGERPRINT, True, ())
    assert found.parts == {"state": (2, 3.5)}
    assert load(place) == found


@BOTH
def test_numbers_go_on_after_a_load(place):
    save(place, "a", "b")
    with opened(place) as store:
        assert store.load().number == 2
        store.save(FINGERPRINT, {"state": "c"})
    assert load(place).number == 3


@pytest.fixture
def puts(monkeypatch):
    """Names of the parts that are written."""
    written = []
    inner = LocalPlace.put

    def put(self, folder, objects):
        written.append(part_name(folder))
        inner(self, folder, objects)

    monkeypatch.setattr(LocalPlace, "put", put)
    return written


def test_parts_that_are_the_same_objects_are_not_written_again(tmp_path, puts):
    large, small = np.zeros(1000), (1, 2)
    with opened(tmp_path / "fit") as store:
        store.save(FINGERPRINT, {"large": large, "state": small})
        store.save(FINGERPRINT, {"large": large, "state": (3,)})
        store.save(FINGERPRINT, {"large": large.copy(), "state": store._last["state"][0]})
        assert puts == ["large", "state", "state", "large"]
    with opened(tmp_path / "fit") as store:
        found = store.load()
        store.save(FINGERPRINT, found.parts | {"state": 7})
    assert puts[4:] == ["state"]
    back = load(tmp_path / "fit")
    assert back.parts["state"] == 7
    np.testing.assert_array_equal(back.parts["large"], large)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_as_many_are_kept_as_asked_for(tmp_path, keep):
    path = tmp_path / "fit"
    save(path, *"abcde", keep=keep)
    assert {name.split("-")[1] for name in parts_in(path)} == {str(number) for number in range(6 - keep, 6)}
    assert len(zarr.open_group(path, mode="r").attrs["checkpoints"]) == keep
    assert not [name for name in names_in(path) if name.startswith(".") and name != LOCK]


def test_a_checkpoint_is_plain_zarr(tmp_path):
    large = np.arange(6.0)
    with opened(tmp_path / "fit") as store:
        store.save(FINGERPRINT, {"large": large, "state": (1,)})
    group = zarr.open_group(tmp_path / "fit", mode="r")
    (checkpoint,) = group.attrs["checkpoints"]
    assert (group.attrs["format"], group.attrs["format_version"]) == ("dgmm-checkpoint", 1)
    part = group[checkpoint["parts"]["large"]]
    (spec,) = part.attrs["arrays"]
    np.testing.assert_array_equal(part[spec["offset"] :].view(spec["dtype"]), large)
    assert group[checkpoint["parts"]["state"]].attrs["tree"] == [1]
    # What zarr itself makes of the same array has the same metadata.
    document = json.loads((tmp_path / "fit" / checkpoint["parts"]["large"] / "zarr.json").read_text())
    assert part.metadata.to_dict() == zarr.core.metadata.ArrayV3Metadata.from_dict(document).to_dict()


def test_other_names_and_values_are_refused_and_nothing_is_written(tmp_path):
    with opened(tmp_path / "fit") as store:
        store.save(FINGERPRINT, {"state": 1})
        before = names_in(tmp_path / "fit")
        for name in ("", "A", "a-b", "a/b", "..", "1a", "\u00e4"):
            with pytest.raises(FormatError, match="name of a part"):
                store.save(FINGERPRINT, {"a": 1, name: 1})
        with pytest.raises(FormatError, match="cannot be stored"):
            store.save(FINGERPRINT, {"a": 1, "b": object()})
        with pytest.raises(FormatError, match="not JSON"):
            store.save({"x": float("nan")}, {"a": 1})
        assert names_in(tmp_path / "fit") == before
        assert store.load().parts == {"state": 1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"interval": -1.0}, "interval is -1.0"),
        ({"interval": float("nan")}, "interval is nan"),
        ({"interval": float("inf")}, "interval is inf"),
        ({"interval": "60"}, "interval is '60'"),
        ({"interval": True}, "interval is True"),
        ({"keep": 0}, "keep is 0"),
        ({"keep": 1.5}, "keep is 1.5"),
        ({"keep": True}, "keep is True"),
        ({"resume": "yes"}, "resume is 'yes'; it must be one of 'auto'"),
        ({"resume": None}, "resume is None"),
        ({"path": 7}, "path is of type int"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(ParameterError, match=words):
        Checkpoint(**{"path": "fit", **options})


# -- resume -------------------------------------------------------------------------------------


@BOTH
def test_must_does_not_start_without_one(place, tmp_path):
    with pytest.raises(NotFoundError, match="no checkpoint to go on from"):
        opened(place, resume="must")
    assert not (tmp_path / "fit").exists()
    save(place, "a")
    assert load(place, resume="must").parts == {"state": "a"}


@BOTH
def test_never_replaces_with_the_first_save(place):
    save(place, "a", "b")
    assert load(place, resume="never") is None
    assert load(place).parts == {"state": "b"}
    save(place, "c", resume="never")
    found = load(place)
    assert (found.number, found.parts) == (3, {"state": "c"})
    with opened(place) as store:
        assert len(store._manifests) == 1


# -- what lies there ----------------------------------------------------------------------------


def model(path):
    shutil.copytree(Path(__file__).parent / "data" / "model-v1.zarr", path)


def folder_with(**files):
    def make(path):
        path.mkdir()
        for name, text in files.items():
            (path / name.replace("_", ".")).write_text(text)

    return make


FOREIGN = {
    "a model": model,
    "a file": lambda path: path.write_text("text"),
    "a folder with a file": folder_with(notes_txt="text"),
    "a hidden file": folder_with(_hidden="text"),
    "a download that is not finished": folder_with(_download_part="text"),
    "a lock of another tool": folder_with(_lock="text"),
    "a zarr group with a lock of another tool": folder_with(zarr_json="{}", _lock="text"),
    "a zarr group of another kind": lambda path: zarr.open_group(path, mode="w", attributes={"format": "other"}),
    "a zarr array": lambda path: zarr.create_array(path, shape=(3,), dtype="f8"),
    "zarr metadata that are no JSON": folder_with(zarr_json="{"),
    "zarr metadata that are a list": folder_with(zarr_json="[]"),
    "zarr metadata of nothing": folder_with(zarr_json=""),
    "a file that looks like a part beside another": folder_with(state="", other=""),
}


def contents(path):
    if path.is_file():
        return path.read_bytes()
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("resume", ["auto", "never", "must"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_checkpoint_is_not_touched(tmp_path, kind, resume):
    path = tmp_path / "fit"
    FOREIGN[kind](path)
    before = contents(path)
    with pytest.raises(ExistsError, match=r"no checkpoint|is a folder"):
        opened(path, resume=resume)
    assert contents(path) == before


def test_a_foreign_object_in_a_store_is_not_touched(s3):
    place = ObjectPlace(s3)
    place.put_object("notes.txt", b"text")
    with pytest.raises(ExistsError, match=r"no checkpoint \(notes.txt\)"):
        opened(s3)
    assert place.names() == ["notes.txt"]


def test_nothing_stays_open(tmp_path):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    save(tmp_path / "fit", "a")
    before = descriptors()
    for _ in range(50):
        load(tmp_path / "fit")
        with opened(tmp_path / "fit"), pytest.raises(CheckpointInUseError):
            opened(tmp_path / "fit")
        with pytest.raises(ExistsError):
            opened(tmp_path / "fit" / "zarr.json")
    assert descriptors() == before


def test_a_closed_store_saves_nothing(tmp_path):
    with opened(tmp_path / "fit") as store:
        store.save(FINGERPRINT, {"state": "a"})
    with pytest.raises(CheckpointError, match="has been closed"):
        store.save(FINGERPRINT, {"state": "b"})
    assert load(tmp_path / "fit").parts == {"state": "a"}


def test_settings_that_are_missing_are_told(monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(StoreError, match="az://container/fit: could not be opened"):
        opened("az://container/fit")


def test_an_empty_folder_will_do(tmp_path):
    save(tmp_path, "a")
    assert load(tmp_path).parts == {"state": "a"}


def test_a_users_file_in_a_checkpoint_stays(tmp_path):
    save(tmp_path / "fit", "a")
    (tmp_path / "fit" / "notes.txt").write_text("text")
    save(tmp_path / "fit", *"bcd")
    assert (tmp_path / "fit" / "notes.txt").read_text() == "text"


def test_leftovers_are_removed_when_it_is_opened(tmp_path):
    path = tmp_path / "fit"
    save(path, "a", "b")
    names = names_in(path)
    shutil.copytree(path / min(parts_in(path)), path / "state-9-0123abcd")
    shutil.copytree(path / min(parts_in(path)), path / ".state-9-0123abcd.part")
    (path / "more-9-0123abcd").mkdir()
    (path / ".zarr.json-01234567.part").write_text("{")
    opened(path).close()
    assert names_in(path) == names


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((CheckpointError, ExistsError)):
        opened(tmp_path / "file" / "fit")
    with pytest.raises(CheckpointError, match=r"cannot be opened: .*too long"):
        opened(tmp_path / ("a" * 300))


# -- another version ----------------------------------------------------------------------------


def edit(path, change):
    """Change a JSON file by a function of its document."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("resume", ["auto", "must"])
def test_another_version_is_refused_by_name(tmp_path, resume, monkeypatch):
    path = tmp_path / "fit"
    monkeypatch.setattr("dgmm.storage.documents.FORMAT_VERSION", 2)
    monkeypatch.setattr("dgmm.storage.documents.__version__", "9.9")
    save(path, "a")
    monkeypatch.undo()
    before = contents(path)
    with pytest.raises(CheckpointMismatchError, match=r"format version 2 \(dgmm 9.9\); this dgmm .* reads version 1"):
        opened(path, resume=resume)
    assert contents(path) == before
    edit(path / "zarr.json", lambda document: document["attributes"].pop("sha256"))
    with pytest.raises(CheckpointMismatchError, match="format version 2"):
        opened(path, resume=resume)
    assert load(path, resume="never") is None
    save(path, "b", resume="never")
    assert load(path).parts == {"state": "b"}


# -- secrets ------------------------------------------------------------------------------------


def test_no_secret_is_in_the_files(s3):
    save(s3, "a", "b")
    place = ObjectPlace(s3)
    found = [place.read("", "zarr.json")]
    for name in place.names():
        found += [place.read(name, key) or b"" for key in ("zarr.json", "c.0")]
    assert len(b"".join(found)) > 1000
    assert b"marker" not in b"".join(found)


# -- old files ----------------------------------------------------------------------------------


def test_a_checkpoint_of_version_1_stays_readable(tmp_path):
    shutil.copytree(Path(__file__).parents[1] / "data" / "checkpoint-v1", tmp_path / "fit")
    found = load(tmp_path / "fit", resume="must")
    assert (found.number, found.finished, found.skipped) == (2, False, ())
    assert found.fingerprint == {"rows": 100, "features": 2, "dtype": "float32"}
    state, statistics, moments = (found.parts[name] for name in ("state", "statistics", "moments"))
    assert state.lower_bounds == (-3.0, -2.5)
    assert (state.parameters.n_components, state.parameters.n_features) == (3, 2)
    assert statistics.records[0].second.flags.f_contiguous
    assert moments.sample.rows.dtype == np.float32
    assert found.parts["odd"] == (None, True, 2**70, float("inf"), {"key": ()})
