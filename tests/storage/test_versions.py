"""Models that follow one another: one is there at any time, whatever is killed."""

import shutil
from pathlib import Path

import pytest

from dgmm.errors import FormatError
from dgmm.storage.versions import Versions


def saved(path, seed):
    """What looks like a model, since nothing here opens one."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    (path / "zarr.json").write_text(str(seed))


def seed_of(path):
    return int((path / "zarr.json").read_text())


@pytest.fixture
def versions(tmp_path):
    return Versions(tmp_path / "model.zarr")


def promote(versions, seed, keep=7):
    versions.recover()
    saved(versions.next, seed)
    versions.decide(versions.name_for(promoted=True), {"seed": seed})
    versions.settle(keep)


def test_models_follow_one_another(versions):
    assert versions.current is None
    assert versions.recover() is None
    for seed in range(4):
        promote(versions, seed, keep=2)
        assert seed_of(versions.path) == seed
        assert versions.recover()["seed"] == seed
    assert [path.name[:6] for path in versions.earlier] == ["000002", "000003"]
    assert [seed_of(path) for path in versions.earlier] == [1, 2]
    assert not versions.path.readlink().is_absolute()


def test_a_model_that_is_kept(versions):
    promote(versions, 0)
    before = versions.current
    saved(versions.next, 1)
    versions.decide(versions.name_for(promoted=False), {})
    assert versions.current == before
    assert versions.next.exists()
    versions.settle(7)
    assert not versions.next.exists()
    assert versions.current == before


def test_the_folder_may_be_moved(versions, tmp_path):
    promote(versions, 3)
    (tmp_path / "there").mkdir()
    for path in (versions.path, versions.folder):
        path.rename(tmp_path / "there" / path.name)
    assert seed_of(tmp_path / "there" / "model.zarr") == 3


def test_a_model_that_was_there_becomes_the_first(versions):
    saved(versions.path, 5)
    versions.recover()
    assert versions.path.is_symlink()
    assert seed_of(versions.path) == 5
    promote(versions, 6)
    assert [seed_of(path) for path in versions.earlier] == [5]


class KilledError(BaseException):
    pass


STEPS = ("rename", "replace", "symlink_to")


def killed_at(monkeypatch, step, action):
    """Do something, and die before the given change of a name."""
    left = [step]

    def dying(name):
        change = getattr(Path, name)

        def changed(self, *arguments, **keywords):
            left[0] -= 1
            if left[0] == 0:
                raise KilledError(name)
            return change(self, *arguments, **keywords)

        return changed

    with monkeypatch.context() as patch:
        for name in STEPS:
            patch.setattr(Path, name, dying(name))
        try:
            action()
        except KilledError:
            return True
    return False


@pytest.mark.parametrize("found", ["nothing", "folder", "link"])
@pytest.mark.parametrize("step", range(1, 8))
def test_killed_at_any_moment(versions, found, step, monkeypatch):
    if found == "folder":
        saved(versions.path, 0)
    elif found == "link":
        promote(versions, 0)
    saved(versions.next, 1)

    def whole():
        versions.recover()
        versions.decide(versions.name_for(promoted=True), {"seed": 1})
        versions.settle(7)

    died = killed_at(monkeypatch, step, whole)
    if found == "link":  # readers find one or the other at any moment
        assert seed_of(versions.path) in (0, 1)
    note = versions.recover()
    if note is None or note.get("seed") != 1:  # it came not so far as to decide
        assert versions.current is None or seed_of(versions.path) == 0
        versions.decide(versions.name_for(promoted=True), {"seed": 1})
    versions.settle(7)
    assert seed_of(versions.path) == 1
    assert len(versions.earlier) == (found != "nothing")
    assert versions.recover() == versions.recover()
    names = sorted(path.name for path in versions.folder.iterdir() if not path.name.startswith(".refit"))
    assert len(names) == len(versions.earlier) + 2
    assert died or step > 4


def test_a_model_that_was_put_in_the_place_of_the_link(versions, tmp_path):
    for seed in range(2):
        promote(versions, seed)
    versions.path.unlink()
    saved(versions.path, 5)
    promote(versions, 6)
    assert [seed_of(path) for path in versions.earlier] == [0, 1, 5]


def test_going_back_by_hand_is_obeyed(versions):
    for seed in range(3):
        promote(versions, seed)
    versions.path.unlink()
    versions.path.symlink_to(Path(versions.folder.name, versions._all()[0].name))
    versions.recover()
    assert seed_of(versions.path) == 0
    promote(versions, 7)
    assert seed_of(versions.path) == 7
    assert [seed_of(path) for path in versions.earlier] == [0, 1, 2]


def test_what_is_not_a_refits_is_named(versions, tmp_path):
    assert versions.problem() is None
    versions.path.write_text("mine")
    assert "exists and is no zarr store" in versions.problem()
    versions.path.unlink()
    saved(tmp_path / "other.zarr", 0)
    versions.path.symlink_to(tmp_path / "other.zarr")
    assert "is a link to" in versions.problem()
    versions.path.unlink()
    saved(versions.path, 0)
    assert versions.problem() is None
    promote(versions, 1)
    assert versions.problem() is None


def test_a_damaged_note_is_an_error(versions):
    promote(versions, 0)
    (versions.folder / "refit.json").write_text('{"current": "../../x"}')
    with pytest.raises(FormatError, match="remove it: the next run then compares anew"):
        versions.recover()


def test_a_version_that_somebody_removed(versions):
    promote(versions, 0)
    shutil.rmtree(versions.current)
    assert versions.current is None
    promote(versions, 1)
    assert seed_of(versions.path) == 1
