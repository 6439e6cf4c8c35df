"""Stores that fail now and then, chunks and checkpoints that are damaged, a disk that is full."""

import errno
import logging
import shutil
import subprocess
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from dask.multiprocessing import initialize_worker_process
from faults.small_fit import fit, rows, same_bits

from dgmm import Checkpoint, Execution, GaussianMixture
from dgmm.cli import main
from dgmm.errors import CheckpointWarning, ReadError
from dgmm.fitting.events import PassAdvanced, PassStarted
from dgmm.storage import reading
from dgmm.storage.arrays import open_array
from dgmm.storage.places import LocalPlace
from dgmm.storage.reading import ZarrSource


class StopAt:
    """A callback that raises when a pass begins."""

    class StoppedError(Exception):
        pass

    def __init__(self, index):
        self.index = index

    def __call__(self, event):
        if isinstance(event, PassStarted) and event.index == self.index:
            raise self.StoppedError


class StopInPass(StopAt):
    """Raises in the middle of a pass: after some chunks of it are done."""

    def __call__(self, event):
        if isinstance(event, PassAdvanced) and event.index == self.index and event.chunks_done >= 8:
            raise self.StoppedError


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(reading, "_PAUSES", (0.0, 0.0, 0.0))


class Failing:
    """Reading chunk 5 fails so many times in a row, each pass anew."""

    def __init__(self, times):
        self.times, self.failed, self.lock = times, 0, threading.Lock()

    def __call__(self, block, block_info=None):
        if block_info[0]["chunk-location"][0] == 5:
            with self.lock:
                self.failed += 1
                if self.failed % (self.times + 1):
                    raise ConnectionResetError("the store hung up")
        return block


def test_a_store_that_fails_now_and_then_is_read_again(no_pauses, caplog):
    caplog.set_level(logging.WARNING, "dgmm")
    failing = Failing(times=2)
    assert same_bits(fit(rows().map_blocks(failing, dtype=np.float64)), fit(rows()))
    assert failing.failed == 3 * 3
    assert "reading failed (chunk 5 of X: ConnectionResetError: the store hung up); trying again" in caplog.text


def test_a_chunk_that_cannot_be_read_is_named_and_the_fit_goes_on_when_it_can(no_pauses, tmp_path):
    place, failing = Checkpoint(tmp_path / "place", interval=0.0), Failing(times=10**6)
    X = rows().map_blocks(failing, dtype=np.float64)
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(ReadError, match=r"chunk 5 of X .* in 4 attempts \(ConnectionResetError") as caught,
    ):
        fit(X, place)
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    assert "run again to go on" in caught.value.__notes__[0]
    failing.times = 0
    assert same_bits(fit(X, place), fit(rows()))


@pytest.fixture(params=["crc32c", "no checksum"])
def stored(request, tmp_path):
    """Rows in a zarr store, with or without checksums, and whether it has them."""
    checked = request.param == "crc32c"
    compressors = [zarr.codecs.Crc32cCodec()] if checked else []
    array = zarr.create_array(
        tmp_path / "x.zarr", shape=(1600, 2), chunks=(100, 2), dtype="float64", compressors=compressors
    )
    array[:] = rows().compute()
    return tmp_path / "x.zarr", checked


def chunk_file(store, number):
    return store / "c" / str(number) / "0"


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "truncated":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2 + 6] ^= 16
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_a_damaged_chunk_is_named(stored, how, no_pauses, tmp_path):
    """A flipped bit of a store without checksums is a number like any other: nobody can see it."""
    store, checked = stored
    place, expected = Checkpoint(tmp_path / "place", interval=0.0), fit(da.from_zarr(store))
    whole = chunk_file(store, 7).read_bytes()
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(StopAt.StoppedError):
            fit(da.from_zarr(store), place, [StopAt(2)])
        damage(chunk_file(store, 7), how)
        if how == "flipped" and not checked:
            assert not same_bits(fit(da.from_zarr(store)), expected)
            return
        with pytest.raises(ReadError, match="chunk 7 of X could not be read"):
            fit(da.from_zarr(store), place)
        chunk_file(store, 7).write_bytes(whole)
        assert same_bits(fit(da.from_zarr(store), place), expected)


@pytest.fixture
def failing_source(monkeypatch):
    """Reading rows 500 to 599 from a store fails so many times in a row; counts the attempts."""
    failing, read = Failing(times=2), ZarrSource.read
    location = {False: [{"chunk-location": (0, 0)}], True: [{"chunk-location": (5, 0)}]}
    monkeypatch.setattr(
        ZarrSource, "read", lambda source, key: failing(read(source, key), location[key[0].start == 500])
    )
    return failing


def test_labels_of_a_store_that_fails_now_and_then(stored, failing_source, no_pauses, tmp_path, capsys):
    store, _ = stored
    fit(da.from_zarr(store)).save(tmp_path / "m.zarr")
    assert main(["predict", str(tmp_path / "m.zarr"), str(store), str(tmp_path / "l.zarr")]) == 0
    assert failing_source.failed == 3
    assert "reading failed (chunk (5, 0) of" in capsys.readouterr().err
    labels = GaussianMixture.load(tmp_path / "m.zarr").predict(rows().compute())
    np.testing.assert_array_equal(open_array(tmp_path / "l.zarr").compute(), labels)


def test_a_chunk_is_not_read_again_by_the_pass_when_its_reader_gave_up(stored, failing_source, no_pauses):
    """Whoever reads it first is named too."""
    failing_source.times = 10**6
    words = r"chunk 5 of X could not be read in 4 attempts \(chunk \(5, 0\) of .*x.zarr: ConnectionResetError: "
    with dask.config.set(scheduler="synchronous"), pytest.raises(ReadError, match=words):
        fit(open_array(stored[0]))
    assert failing_source.failed == 4


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes", "distributed"])
def test_a_lazy_prediction_names_the_chunk_that_cannot_be_read(stored, scheduler, request):
    store, _ = stored
    model = fit(da.from_zarr(store))
    damage(chunk_file(store, 7), "truncated")
    with (
        set_scheduler(scheduler, request),
        pytest.raises(ReadError, match=r"chunk \(7, 0\) of .*x.zarr could not be read .*check what it comes from"),
    ):
        model.score_samples(open_array(store)).compute()


@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(how, tmp_path):
    place, expected = Checkpoint(tmp_path / "place", interval=0.0), fit(rows())
    with dask.config.set(scheduler="synchronous"), pytest.raises(StopAt.StoppedError):
        fit(rows(), place, [StopAt(3)])
    newest = max((tmp_path / "place").glob("progress-*"), key=lambda path: int(path.name.split("-")[1]))
    damage(newest / "c.0", how)
    with pytest.warns(CheckpointWarning, match="checkpoint [0-9]+ cannot be read") as told:
        model = fit(rows(), place)
    assert len(told) == 1
    assert same_bits(model, expected)


class SmallDisk:
    """A file system of a few hundred kilobytes; where none may be mounted, one whose writes are refused."""

    def __init__(self, folder, monkeypatch):
        self.folder, self._monkeypatch = folder, monkeypatch
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
        self.mounted = shutil.which("mount") is not None and not subprocess.run(command, capture_output=True).returncode

    def fill(self):
        if not self.mounted:
            self._monkeypatch.setattr(LocalPlace, "write_file", refuse)
            return
        with (self.folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1024))

    def empty(self):
        if self.mounted:
            (self.folder / "filler").unlink()
        else:
            self._monkeypatch.undo()

    def close(self):
        if self.mounted:
            subprocess.run(["umount", str(self.folder)], check=True)


def refuse(place, path, buffers):
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


@pytest.fixture(params=["mounted", "refusing"])
def small_disk(request, tmp_path, monkeypatch):
    if request.param == "refusing":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    disk = SmallDisk(tmp_path / "disk", monkeypatch)
    try:
        yield disk
    finally:
        disk.close()


def test_a_full_disk_under_the_checkpoint_ends_no_fit(small_disk):
    place, expected = Checkpoint(small_disk.folder / "place", interval=0.0), fit(rows())

    def fill(event):
        if isinstance(event, PassStarted) and event.index == 2:
            small_disk.fill()

    with pytest.warns(CheckpointWarning, match="could not be written, the fit goes on"):
        assert same_bits(fit(rows(), place, [fill]), expected)
    small_disk.empty()
    begun = []
    model = fit(rows(), place, [lambda event: begun.append(event) if isinstance(event, PassStarted) else None])
    assert min(event.index for event in begun) <= 2  # from the last one that was written
    assert same_bits(model, expected)


def set_scheduler(name, request):
    if name == "distributed":
        request.getfixturevalue("client")
    scheduler, _, workers = name.partition(" ")
    # Processes start once, not for each pass.
    pool = request.getfixturevalue("_processes") if scheduler == "processes" else None
    return dask.config.set(scheduler=scheduler, num_workers=int(workers or 1), pool=pool)


@pytest.fixture
def _processes():
    with ProcessPoolExecutor(2, get_context("spawn"), initialize_worker_process) as pool:
        yield pool


@pytest.mark.parametrize(
    ("first", "then", "persist"),
    [
        ("threads 1", "threads 3", False),
        ("threads 1", "processes 2", False),
        ("threads 1", "distributed", True),
        ("threads 4", "synchronous", True),
        ("distributed", "synchronous", False),
        ("distributed", "threads 1", True),
        ("distributed", "distributed", False),
    ],
)
def test_a_fit_goes_on_with_other_workers(first, then, persist, request, tmp_path):
    place, execution = Checkpoint(tmp_path / "place", interval=0.0), Execution(persist=persist)
    with set_scheduler("synchronous", request):
        expected = fit(rows())
    with set_scheduler(first, request), pytest.raises(StopAt.StoppedError):
        fit(rows(), place, [StopInPass(2)], execution)
    begun = []
    with set_scheduler(then, request):
        model = fit(rows(), place, [begun.append], execution)
    assert next(event.index for event in begun if isinstance(event, PassStarted)) == 2
    assert same_bits(model, expected)
