"""A process that dies before, in or after any operation on a place loses at most the save that it was in."""

import os

import numpy as np
import pytest

from dgmm.storage.checkpoint import Checkpoint, CheckpointStore
from dgmm.storage.documents import part_name
from dgmm.storage.objects import ObjectPlace
from dgmm.storage.places import LOCK, LocalPlace, open_place

N_SAVES = 3
TORN = {"write_file": lambda path, buffers: (path, [b"".join(map(bytes, buffers))[:-5]])}


class Killed(BaseException):
    """Nothing catches it, and after it no operation changes anything."""


class Reaper:
    """Counts the operations on places, and lets the process die at one of them."""

    def __init__(self, monkeypatch, at=None, moment=None):
        self.operations = []
        self.dead = False
        for place in (LocalPlace, ObjectPlace):
            for name in place.DURABLE:
                monkeypatch.setattr(place, name, self._wrapped(name, getattr(place, name), at, moment))

    def _wrapped(self, name, inner, at, moment):
        def operation(place, *arguments):
            if self.dead:
                raise Killed
            self.dead = len(self.operations) == at
            self.operations.append(name)
            if self.dead and moment == "torn":
                inner(place, *TORN[name](*arguments))
            if self.dead and moment != "after":
                raise Killed
            result = inner(place, *arguments)
            if self.dead:
                raise Killed
            return result

        return operation


def work(path, begun):
    """Saves some checkpoints: one part that all have, one that each has of its own, one that comes and goes."""
    shared = np.arange(3)
    store = None
    try:
        store = CheckpointStore(Checkpoint(path))
        for n in range(N_SAVES):
            begun.append(n)
            parts = {"shared": shared, "state": (n, np.full(n, 1.0))}
            store.save({"rows": 1}, parts | ({"extra": n} if n % 2 else {}), finished=n == N_SAVES - 1)
    finally:
        if store is not None:
            store._place.release()


def die(path, at, moment):
    """Work until the death; returns which save it came in (-1: at the opening), or None if there was none."""
    begun = [-1]
    with pytest.MonkeyPatch.context() as patch:
        reaper = Reaper(patch, at, moment)
        try:
            work(path, begun)
        except Killed:
            assert reaper.dead
        else:
            assert not reaper.dead
            return None
    return begun[-1]


def resume(path):
    """Open what is left; returns the number of the state and what lies there."""
    with CheckpointStore(Checkpoint(path)) as store:
        found = store.load()
        names = set(open_place(path).names()) - {LOCK, "zarr.json"}
        parts = {stored for manifest in store._manifests for stored in manifest.parts.values()}
    assert names == parts
    assert all(part_name(name) for name in names)
    if found is None:
        return -1
    assert found.skipped == ()
    n, array = found.parts["state"]
    np.testing.assert_array_equal(array, np.full(n, 1.0))
    assert ("extra" in found.parts) == (n % 2 == 1)
    assert found.finished == (n == N_SAVES - 1)
    return n


@pytest.mark.parametrize(
    ("place", "moment"),
    [("local", "before"), ("local", "after"), ("local", "torn"), ("s3", "before"), ("s3", "after")],
    indirect=["place"],
)
def test_every_operation_may_be_the_last(place, moment, monkeypatch):
    # The disk need not be waited for where only processes die.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    with pytest.MonkeyPatch.context() as patch:
        operations = Reaper(patch).operations
        work(f"{place}-count", [])
    tried = [at for at, name in enumerate(operations) if moment != "torn" or name in TORN]
    assert len(tried) > 10
    for at in tried:
        path = f"{place}-{at}"
        save = die(path, at, moment)
        assert save is not None
        assert resume(path) in ((-1,) if save < 0 else (save - 1, save))
        # The next process finishes as if nothing had been.
        assert die(path, None, None) is None
        assert resume(path) == N_SAVES - 1
    print(f"{len(tried)} of {len(tried)} survived, {moment} an operation of {type(open_place(place)).__name__}")
