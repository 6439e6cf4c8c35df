"""Two processes at one place: the second is refused, or takes over and loses nothing."""

import pytest
from storing import FINGERPRINT, load, opened

from dgmm.errors import CheckpointInUseError
from dgmm.storage.documents import part_name
from dgmm.storage.objects import ObjectPlace


def test_a_second_process_is_refused(tmp_path, hold):
    path = tmp_path / "fit"
    first, second = hold(path), None
    assert first.save("a") == "saved"
    second = hold(path)
    assert "CheckpointInUseError" in second.end()
    assert first.save("b") == "saved"
    first.process.kill()
    first.process.wait(timeout=60)
    assert load(path).parts == {"state": "b"}


def test_in_a_store_the_later_process_takes_over_and_nothing_is_lost(s3, hold):
    first = hold(s3)
    assert first.save("a") == "saved"
    second = hold(s3)
    assert second.save("b") == "saved"
    assert first.save("c").startswith("CheckpointInUseError")
    words = first.save("c")
    assert f"process {second.process.pid} on" in words
    assert "has taken this checkpoint over" in words
    assert second.save("d") == "saved"
    for holder in (first, second):
        assert holder.end() == ""
    found = load(s3)
    assert (found.number, found.parts) == (3, {"state": "d"})
    assert len([name for name in ObjectPlace(s3).names() if part_name(name)]) == 2


def test_the_earlier_stops_even_if_the_later_saved_nothing(s3):
    with opened(s3) as first:
        first.save(FINGERPRINT, {"state": "a"})
        with opened(s3) as second:
            with pytest.raises(CheckpointInUseError, match="has taken this checkpoint over"):
                first.save(FINGERPRINT, {"state": "b"})
            assert second.load().parts == {"state": "a"}
            second.save(FINGERPRINT, {"state": "c"})
    assert load(s3).parts == {"state": "c"}


@pytest.mark.parametrize("n_saves", [1, 3, 100])
def test_saves_while_it_is_taken_over_are_not_lost(s3, monkeypatch, n_saves):
    put, left = ObjectPlace.put_if, list(range(n_saves))
    with opened(s3) as first:

        def save_and_put(self, key, data, mode):
            monkeypatch.setattr(ObjectPlace, "put_if", put)
            first.save(FINGERPRINT, {"state": left.pop(0)})
            if left:
                monkeypatch.setattr(ObjectPlace, "put_if", save_and_put)
            return put(self, key, data, mode)

        monkeypatch.setattr(ObjectPlace, "put_if", save_and_put)
        if n_saves < 100:
            with opened(s3) as second:
                assert second.load().parts == {"state": n_saves - 1}
        else:
            with pytest.raises(CheckpointInUseError, match="faster than it can be taken over"):
                opened(s3)


def test_a_swap_whose_answer_was_lost_is_no_other_process(s3, monkeypatch):
    with opened(s3) as store:
        store.save(FINGERPRINT, {"state": "a"})
        put, get = ObjectPlace.put_if, ObjectPlace._get

        def fail(*arguments):
            raise OSError("no answer")

        def put_and_fail(self, key, data, mode):
            put(self, key, data, mode)
            monkeypatch.setattr(ObjectPlace, "_get", fail)
            raise FileNotFoundError

        monkeypatch.setattr(ObjectPlace, "put_if", put_and_fail)
        with pytest.raises(OSError, match="no answer"):
            store.save(FINGERPRINT, {"state": "b"})
        monkeypatch.setattr(ObjectPlace, "put_if", put)
        monkeypatch.setattr(ObjectPlace, "_get", get)
        store.save(FINGERPRINT, {"state": "c"})
    assert load(s3).parts == {"state": "c"}
